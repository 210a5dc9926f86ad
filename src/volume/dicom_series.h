/* dicom_series.h - the images of a folder sorted into volumes, and the choice of one.
 *
 * A group is what can be stacked: one SeriesInstanceUID, one size, one orientation. File names,
 * InstanceNumber, SliceLocation and SliceThickness are not trusted: slices are ordered by
 * ImagePositionPatient on the normal. */
#ifndef TOMO_VOLUME_DICOM_SERIES_H
#define TOMO_VOLUME_DICOM_SERIES_H

#include "volume/dicom_header.h"

/* One slice of a group: a frame of an image. */
typedef struct tomo_dicom_slice {
    int64_t image, frame;
    double along; /* mm on the normal */
} tomo_dicom_slice;

typedef struct tomo_dicom_group {
    tomo_dicom_slice *slices;
    int64_t n_slices, capacity;
    bool readable; /* no image of it has a problem */
} tomo_dicom_group;

typedef struct tomo_dicom_study {
    tomo_dicom_image *images;
    int64_t n_images, image_capacity;
    int64_t n_frames;         /* of all images; at most limits.files, which is what one a file comes to */
    int64_t n_others;         /* DICOM files without pixels */
    tomo_dicom_group *groups; /* ordered by SeriesNumber, UID, size */
    int64_t n_groups;
} tomo_dicom_study;

/* Reads all headers. A damaged DICOM file is an error: leaving out a slice in silence would change the
 * volume. No image at all: TOMO_E_NO_IMAGE. *study is closed by the caller even after a failure. */
tomo_status tomo_dicom_study_read(const tomo_reader *reader, tomo_dicom_files *files, tomo_dicom_study *study,
                                  tomo_error *err);
void tomo_dicom_study_close(tomo_dicom_study *study);

/* The group that options.series names, else the one with most slices; *why tells. */
tomo_status tomo_dicom_study_choose(const tomo_reader *reader, const tomo_dicom_study *study, int64_t *group,
                                    const char **why, tomo_error *err);
/* What tomo_volume_list_series returns. */
cJSON *tomo_dicom_study_list(const tomo_reader *reader, const tomo_dicom_study *study, int64_t chosen,
                             const char *why);

static inline const tomo_dicom_frame *tomo_dicom_slice_frame(const tomo_dicom_study *study,
                                                             const tomo_dicom_slice *slice) {
    return &study->images[slice->image].frames[slice->frame];
}

/* Sorts the slices of a group by position and drops all but one of those at one place (W_DUPLICATE_SLICES).
 * Slices without positions: by InstanceNumber and frame, none is dropped. */
void tomo_dicom_group_order(tomo_volume *volume, const tomo_dicom_study *study, tomo_dicom_group *group);

/* Reads the scan out of the files, and the list of series. */
tomo_status tomo_dicom_read(tomo_reader *reader, tomo_dicom_files *files, tomo_error *err);
tomo_status tomo_dicom_list(tomo_reader *reader, tomo_dicom_files *files, cJSON **list, tomo_error *err);

#endif
