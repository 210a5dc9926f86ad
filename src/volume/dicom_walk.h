/* dicom_walk.h - walks the structure of a DICOM file before GDCM sees it.
 *
 * GDCM believes the lengths that it reads and reserves memory for them, and it follows sequences as deep as
 * they go. The walk touches element headers only: every length is compared with the bytes that remain,
 * nesting has a limit, and a deflated data set is inflated up to a limit. What passes is safe to parse. */
#ifndef TOMO_VOLUME_DICOM_WALK_H
#define TOMO_VOLUME_DICOM_WALK_H

#include "base/status.h"

typedef struct tomo_dicom_outline {
    char transfer_syntax[65];      /* as the file says; implicit little endian when it says nothing */
    bool encapsulated;             /* the pixel data are fragments */
    bool has_pixels;               /* (7FE0,0010) at the top level */
    int64_t pixel_bytes;           /* of native pixel data, or of all fragments */
    int64_t fragments;             /* without the offset table */
    const unsigned char *fragment; /* the first one, in the file's bytes; NULL for native or deflated data */
    size_t fragment_size;
} tomo_dicom_outline;

/* Whether the bytes may be a DICOM file: its mark, or a data set without preamble. Looks at 256 bytes at
 * most. */
bool tomo_dicom_is_plausible(const unsigned char *bytes, size_t size);

/* Not DICOM, unknown value representations, wrong nesting: TOMO_E_FORMAT; cut: TOMO_E_TRUNCATED; a deflated
 * data set of more than `expanded_limit` bytes: TOMO_E_LIMIT. */
tomo_status tomo_dicom_walk(const char *name, const unsigned char *bytes, size_t size, int64_t expanded_limit,
                            tomo_dicom_outline *outline, tomo_error *err);

#endif
