/* dicom_header.h - what is known of one DICOM image file before its pixels are decoded. */
#ifndef TOMO_VOLUME_DICOM_HEADER_H
#define TOMO_VOLUME_DICOM_HEADER_H

#include "volume/dicom_data.h"
#include "volume/dicom_files.h"

/* One slice: a frame of the file, or a tile of a mosaic. Positions are LPS mm, as in the file. */
typedef struct tomo_dicom_frame {
    int64_t index;                      /* frame in the file */
    int64_t offset, pitch;              /* of its first pixel in the frame, and from row to row, in pixels */
    bool placed;                        /* position and orientation are known */
    double position[3];                 /* of the first pixel's centre */
    double along_row[3], down[3];       /* directions in which the column index and the row index grow */
    double row_spacing, column_spacing; /* mm from row to row, from column to column */
    bool rescaled;
    double slope, intercept;
} tomo_dicom_frame;

typedef struct tomo_dicom_image {
    int64_t file;
    char series_uid[65], syntax[65], modality[17], description[65];
    int64_t series_number, instance_number;
    int64_t rows, columns;               /* of a slice */
    int64_t stored_rows, stored_columns; /* of a frame; more than a slice in a mosaic */
    int64_t stored_frames;
    int bits_allocated, bits_stored;
    bool is_signed, encapsulated;
    bool is_mosaic;
    double thickness;         /* SliceThickness, else SpacingBetweenSlices, else 1 */
    tomo_dicom_frame *frames; /* in the order of the file */
    int64_t n_frames;
    tomo_status problem; /* why the pixels cannot be read; TOMO_OK: they can */
    char *message;       /* without the file's name */
} tomo_dicom_image;

/* Reads the header. *image is freed by tomo_dicom_image_close even after a failure. Only a lack of memory
 * fails here; what cannot be read otherwise is noted as `problem`. */
tomo_status tomo_dicom_image_read(const tomo_reader *reader, const tomo_dicom_data *data,
                                  tomo_dicom_image *image, tomo_error *err);
void tomo_dicom_image_close(tomo_dicom_image *image);

/* Siemens mosaic: the slices of a volume as tiles of one picture. Replaces the one frame by its tiles. */
void tomo_dicom_mosaic_split(const tomo_dicom_data *data, tomo_dicom_image *image);

/* Notes a problem, the first one only. */
void tomo_dicom_image_refuse(tomo_dicom_image *image, tomo_status status, const char *format, ...)
    TOMO_PRINTF(3, 4);

/* Reads up to `most` decimal numbers of an element; returns how many there are, or -1 for what is no number.
 */
int tomo_dicom_decimals(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t element,
                        double *numbers, int most);

#endif
