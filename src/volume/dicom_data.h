/* dicom_data.h - the structure of a DICOM file: which elements it holds and where their values lie.
 *
 * GDCM reads DICOM too, but not what is hostile: it reserves memory for lengths that it has only read, and
 * Debian's build has its assertions on, so that a field of the wrong length ends the process (both found by
 * fuzzing). Here every length is compared with the bytes that remain, nesting and number of elements have
 * limits, and a deflated data set is inflated up to a limit. GDCM gets compressed pixels alone: gdcm_shim.h.
 */
#ifndef TOMO_VOLUME_DICOM_DATA_H
#define TOMO_VOLUME_DICOM_DATA_H

#include "base/status.h"

typedef struct tomo_dicom_data tomo_dicom_data;

/* A set of elements: the data set itself, or an item of a sequence. */
typedef uint32_t tomo_dicom_set;
#define TOMO_DICOM_ROOT ((tomo_dicom_set)0)
#define TOMO_DICOM_NONE UINT32_MAX

/* Whether the bytes may be a DICOM file: its mark, or a data set without preamble. Looks at 132 bytes at
 * most. */
bool tomo_dicom_is_plausible(const unsigned char *bytes, size_t size);

/* The bytes must outlive the data. Not DICOM, unknown value representations, wrong nesting: TOMO_E_FORMAT;
 * cut: TOMO_E_TRUNCATED; a deflated data set of more than `expanded_limit` bytes, too many elements:
 * TOMO_E_LIMIT. */
tomo_status tomo_dicom_parse(const char *name, const unsigned char *bytes, size_t size,
                             int64_t expanded_limit, tomo_dicom_data **data, tomo_error *err);
void tomo_dicom_data_free(tomo_dicom_data *data);

/* As the file says; implicit or explicit little endian where it says nothing. */
const char *tomo_dicom_transfer_syntax(const tomo_dicom_data *data);
/* Whether values of more than one byte are to be swapped. */
bool tomo_dicom_is_big_endian(const tomo_dicom_data *data);

/* The value's bytes as stored. False: absent, empty, or a sequence. */
bool tomo_dicom_value(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t number,
                      const char **bytes, size_t *size);
/* The first item of a sequence and the one behind an item; TOMO_DICOM_NONE: there is none. */
tomo_dicom_set tomo_dicom_first_item(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group,
                                     uint16_t number);
tomo_dicom_set tomo_dicom_next_item(const tomo_dicom_data *data, tomo_dicom_set item);

/* (7FE0,0010). */
typedef struct tomo_dicom_pixel_data {
    bool present, encapsulated;
    const unsigned char *bytes; /* native: the pixels; encapsulated: from the offset table's item to the
                                   sequence's delimiter, both included */
    size_t size;
    int64_t fragments;             /* without the offset table */
    size_t offset_table_size;      /* bytes */
    const unsigned char *fragment; /* the first one, NULL when there is none */
    size_t fragment_size;
} tomo_dicom_pixel_data;
const tomo_dicom_pixel_data *tomo_dicom_pixels(const tomo_dicom_data *data);

#endif
