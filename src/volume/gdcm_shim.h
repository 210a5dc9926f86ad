/* gdcm_shim.h - the little of GDCM that is used, behind C functions. No exception leaves it, and GDCM writes
 * nothing to the terminal. Bytes must have passed tomo_dicom_walk first: GDCM trusts what it reads. */
#ifndef TOMO_VOLUME_GDCM_SHIM_H
#define TOMO_VOLUME_GDCM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tomo_gdcm tomo_gdcm;         /* a parsed file */
typedef struct tomo_gdcm_set tomo_gdcm_set; /* its data set, or an item of a sequence in it */

/* Parses; without `pixels` it stops before the pixel data. NULL: GDCM refuses the file or memory ran out. */
tomo_gdcm *tomo_gdcm_parse(const unsigned char *bytes, size_t size, bool pixels);
void tomo_gdcm_free(tomo_gdcm *file);
const tomo_gdcm_set *tomo_gdcm_root(const tomo_gdcm *file);

/* The value of an element as bytes in the host's byte order, valid as long as the file. False: absent or
 * empty. */
bool tomo_gdcm_value(const tomo_gdcm_set *set, uint16_t group, uint16_t element, const char **bytes,
                     size_t *size);
/* The i-th item of a sequence, counted from 0, or NULL. */
const tomo_gdcm_set *tomo_gdcm_item(tomo_gdcm *file, const tomo_gdcm_set *set, uint16_t group,
                                    uint16_t element, size_t i);
size_t tomo_gdcm_item_count(tomo_gdcm *file, const tomo_gdcm_set *set, uint16_t group, uint16_t element);

/* A number list of the Siemens CSA header in `element` of group 0029 (1010: image, 1020: series); returns how
 * many numbers of `name` were found, at most `most`. */
size_t tomo_gdcm_csa(const tomo_gdcm_set *set, uint16_t element, const char *name, double *numbers,
                     size_t most);

/* Decoded pixels of all frames, in the host's byte order; bytes are freed by free(). */
typedef struct tomo_gdcm_pixels {
    unsigned char *bytes;
    size_t size;
    unsigned columns, rows, frames, samples;
    unsigned bits_allocated, bits_stored;
    bool is_signed;
} tomo_gdcm_pixels;

/* Decodes compressed pixel data; `most` bounds the bytes. False: GDCM cannot decode them. */
bool tomo_gdcm_decode(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels);
/* The same for JPEG of 12 bits, with the geometry and signedness of `pixels` set by the caller: GDCM's reader
 * tries its 8-bit codec first, whose libjpeg then writes a complaint to stderr. */
bool tomo_gdcm_decode_jpeg12(const unsigned char *bytes, size_t size, size_t most, tomo_gdcm_pixels *pixels);

#ifdef __cplusplus
}
#endif

#endif
