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

/* Decodes `fragments` (the items from the offset table's to the sequence's delimiter, with all lengths
 * checked) into out [most], pixels of all frames in the host's byte order. *bits_allocated (8, 16 or 32) is
 * the codec's, which may differ from the data set's. Returns the bytes written, 0 when GDCM cannot decode
 * them or they are of another size. Damaged streams may end the process: call it in one that may end. */
size_t tomo_gdcm_decode(const tomo_gdcm_image *image, const unsigned char *fragments, size_t size,
                        unsigned char *out, size_t most, unsigned *bits_allocated);

#ifdef __cplusplus
}
#endif

#endif
