/* gdcm_shim.h - GDCM's decoders behind one C function. No exception leaves it, and GDCM's own messages are
 * off.
 *
 * GDCM does not see the file: it gets a small one made here, with the few fields that a decoder needs, all
 * checked, and the fragments. Its reader trusts what it reads, and Debian builds it with assertions on. */
#ifndef TOMO_VOLUME_GDCM_SHIM_H
#define TOMO_VOLUME_GDCM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What the data set says of compressed pixels: one sample a pixel, 8, 16 or 32 bits allocated. */
typedef struct tomo_gdcm_image {
    const char *transfer_syntax;
    uint16_t columns, rows;
    uint32_t frames;
    uint16_t bits_allocated, bits_stored;
    bool is_signed;
} tomo_gdcm_image;

/* Pixels of all frames in the host's byte order; bytes are freed by free(). */
typedef struct tomo_gdcm_pixels {
    unsigned char *bytes;
    size_t size;
    unsigned bits_allocated; /* 8, 16 or 32: of the codec, which may differ from the data set's */
} tomo_gdcm_pixels;

/* Decodes `fragments`: the items from the offset table's to the sequence's delimiter, with all lengths
 * checked. `most` bounds the decoded bytes. False: GDCM cannot decode them, or they are of another size. */
bool tomo_gdcm_decode(const tomo_gdcm_image *image, const unsigned char *fragments, size_t size, size_t most,
                      tomo_gdcm_pixels *pixels);

#ifdef __cplusplus
}
#endif

#endif
