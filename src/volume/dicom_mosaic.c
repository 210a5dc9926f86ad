/* Siemens mosaics: the tiles of one picture, row by row, are the slices. Number and normal of the slices
 * stand in the private CSA header only. ImagePositionPatient is that of the first pixel of a single picture
 * of the mosaic's size around the same centre, so half the difference of the sizes leads to the first tile's
 * corner. */
#include "volume/dicom_header.h"
#include "volume/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tiles of a mosaic; the scanner's largest is 16 x 16. */
#define TILES_MOST 1024

/* ------------------------------------------------------------------ CSA header
 *
 * "SV10" 4 3 2 1, number of tags, 77; each tag: name [64], multiplicity, representation [4], type, number of
 * items, 77; each item: four numbers, the second of which is the length of a text, padded to 4. Little
 * endian. */

#define CSA_TAG 84
#define CSA_ITEM 16

static uint32_t get32(const unsigned char *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

/* Reads the items of one tag as numbers; returns the bytes that they take, 0 when they are cut. */
static size_t csa_items(const unsigned char *p, size_t size, uint32_t items, double *numbers, int most,
                        int *found) {
    size_t at = 0;
    for (uint32_t i = 0; i < items; i++) {
        if (size - at < CSA_ITEM) return 0;
        size_t length = get32(p + at + 4), padded = (length + 3) / 4 * 4;
        at += CSA_ITEM;
        if (length > 1 << 20 || padded > size - at) return 0;
        char text[64] = {0};
        const char *rest;
        if (length > 0 && numbers != NULL && *found < most) {
            memcpy(text, p + at, length < sizeof text - 1 ? length : sizeof text - 1);
            if (tomo_number_parse(text, &rest, &numbers[*found])) (*found)++;
        }
        at += padded;
    }
    return at;
}

/* How many numbers the tag `name` holds, at most `most`. */
static int csa_numbers(const tomo_dicom_data *data, const char *name, double *numbers, int most) {
    const char *bytes;
    size_t size;
    int found = 0;
    if (!tomo_dicom_value(data, TOMO_DICOM_ROOT, 0x0029, 0x1010, &bytes, &size)) return 0;
    const unsigned char *p = (const unsigned char *)bytes;
    if (size < 16 || memcmp(p, "SV10", 4) != 0) return 0;
    uint32_t tags = get32(p + 8);
    size_t at = 16;
    for (uint32_t t = 0; t < tags && size - at >= CSA_TAG; t++) {
        bool wanted = strncmp((const char *)p + at, name, 64) == 0;
        uint32_t items = get32(p + at + 76);
        at += CSA_TAG;
        size_t taken = csa_items(p + at, size - at, items, wanted ? numbers : NULL, most, &found);
        if (wanted || (taken == 0 && items > 0)) return found;
        at += taken;
    }
    return 0;
}

/* ------------------------------------------------------------------ tiles */

static bool slice_normal(const tomo_dicom_data *data, double normal[3]) {
    if (csa_numbers(data, "SliceNormalVector", normal, 3) != 3) return false;
    double length = sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
    return length > 0.9 && length < 1.1;
}

void tomo_dicom_mosaic_split(const tomo_dicom_data *data, tomo_dicom_image *image) {
    double count = 0, normal[3], step = 0;
    tomo_dicom_frame whole = image->frames[0];
    if (csa_numbers(data, "NumberOfImagesInMosaic", &count, 1) != 1 || !(count >= 1) || count > TILES_MOST ||
        !slice_normal(data, normal) ||
        tomo_dicom_decimals(data, TOMO_DICOM_ROOT, 0x0018, 0x0088, &step, 1) != 1 || !(step > 0) ||
        !whole.placed) {
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED,
                                "a Siemens mosaic without number, normal and distance of its slices");
        return;
    }
    int64_t n = (int64_t)count, across = (int64_t)ceil(sqrt((double)n));
    tomo_dicom_frame *frames = calloc((size_t)n, sizeof *frames);
    if (frames == NULL || image->stored_rows % across != 0 || image->stored_columns % across != 0) {
        free(frames);
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED, "a Siemens mosaic whose tiles do not fill it");
        return;
    }
    image->rows = image->stored_rows / across;
    image->columns = image->stored_columns / across;
    double right = whole.column_spacing * (double)(image->stored_columns - image->columns) / 2;
    double down = whole.row_spacing * (double)(image->stored_rows - image->rows) / 2;
    for (int64_t t = 0; t < n; t++) {
        frames[t] = whole;
        frames[t].pitch = image->stored_columns;
        frames[t].offset = t / across * image->rows * image->stored_columns + t % across * image->columns;
        for (int i = 0; i < 3; i++) {
            frames[t].position[i] +=
                right * whole.along_row[i] + down * whole.down[i] + (double)t * step * normal[i];
        }
    }
    free(image->frames);
    image->frames = frames;
    image->n_frames = n;
}
