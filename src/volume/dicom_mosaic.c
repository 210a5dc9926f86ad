/* Siemens mosaics: the tiles of one picture, row by row, are the slices. Number and normal of the slices
 * stand in the private CSA header only. ImagePositionPatient is that of the first pixel of a single picture
 * of the mosaic's size around the same centre, so half the difference of the sizes leads to the first tile's
 * corner. */
#include "volume/dicom_header.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Tiles of a mosaic; the scanner's largest is 16 x 16. */
#define TILES_MOST 1024

static bool slice_normal(const tomo_gdcm_set *root, double normal[3]) {
    if (tomo_gdcm_csa(root, 0x1010, "SliceNormalVector", normal, 3) != 3) return false;
    double length = sqrt(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]);
    return length > 0.9 && length < 1.1;
}

void tomo_dicom_mosaic_split(const tomo_gdcm_set *root, tomo_dicom_image *image) {
    double count = 0, normal[3], step = 0;
    tomo_dicom_frame whole = image->frames[0];
    if (tomo_gdcm_csa(root, 0x1010, "NumberOfImagesInMosaic", &count, 1) != 1 || !(count >= 1) ||
        count > TILES_MOST || !slice_normal(root, normal) ||
        tomo_dicom_decimals(root, 0x0018, 0x0088, &step, 1) != 1 || !(step > 0) || !whole.placed) {
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED,
                                "a Siemens mosaic without number, normal and distance of its slices");
        return;
    }
    int64_t n = (int64_t)count, across = (int64_t)ceil(sqrt(count));
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
