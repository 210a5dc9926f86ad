/* volume.h - a reader, read from a file, folder or zip, as one canonical volume.
 *
 * Reads DICOM (file, folder, zip), NIfTI-1 and -2 (.nii, .nii.gz, .hdr with .img), NRRD (raw or gzip,
 * attached or detached) and NPY. Refuses what would show a wrong picture: colour, complex and vector voxels,
 * several channels, damaged or cut files. The rules are those of tests/reference/volume/README.md. */
#ifndef TOMO_VOLUME_VOLUME_H
#define TOMO_VOLUME_VOLUME_H

#include "base/hooks.h"

#include <cjson/cJSON.h>

/* Maps voxel indices (x, y, z, 1) to millimetres; m[row][column], the last row is 0 0 0 1. */
typedef struct tomo_affine {
    double m[4][4];
} tomo_affine;

/* What the numbers mean. HU: a CT from DICOM with a rescale, or a file without such knowledge (NIfTI, NRRD,
 * NPY) whose smallest voxel is air: from -500 down to -32768. Everything else, MR included, is arbitrary. */
typedef enum tomo_intensity { TOMO_INTENSITY_ARBITRARY, TOMO_INTENSITY_HU } tomo_intensity;

/* Something that a reader of the report should know, and that did not stop the reading. The codes (W_4D,
 * W_OBLIQUE, ...) are listed in tests/reference/volume/README.md. */
typedef struct tomo_warning {
    char code[24];
    char text[232];
} tomo_warning;

#define TOMO_VOLUME_WARNINGS 32

/* Owned by the caller of tomo_volume_open. */
typedef struct tomo_volume {
    float *voxels;        /* [z][y][x]: x to the patient's Left, y to Posterior, z to Superior; all finite */
    int64_t shape[3];     /* z, y, x */
    double spacing_mm[3]; /* z, y, x: from voxel to voxel, the lengths of the affine's columns */
    bool spacing_unknown; /* the file does not tell it: 1 mm along some axis is a stand-in */
    tomo_affine affine_ras; /* (x, y, z, 1) -> mm, x to Right, y to Anterior, z to Superior */
    tomo_intensity intensity;
    float minimum, maximum;
    double mean, deviation; /* of all voxels; the population's standard deviation */
    tomo_warning warnings[TOMO_VOLUME_WARNINGS];
    int n_warnings;
    cJSON *record; /* what the reader found out, for the manifest; no patient data unless log_phi */
} tomo_volume;

/* How much an input may ask for; 0 takes the default of base/limits.h. */
typedef struct tomo_volume_limits {
    int64_t voxels, slices, expanded_bytes, files, folder_depth;
} tomo_volume_limits;

typedef struct tomo_volume_options {
    const char *series; /* a DICOM series: its UID, its SeriesNumber, or "#N", the N-th of the list from 1;
                           NULL: the one with most slices */
    int64_t index;      /* which volume of a 4D NIfTI; 0 is the first, and then W_4D tells of the others */
    bool log_phi;       /* let series UIDs, descriptions and names of single DICOM files into messages and the
                           record */
    tomo_volume_limits limits;
    const tomo_hooks *hooks;
} tomo_volume_options;

/* Reads the scan at `path`; options may be NULL. *volume is freed by tomo_volume_free; on failure it is NULL
 * and *err names the path. */
tomo_status tomo_volume_open(const char *path, const tomo_volume_options *options, tomo_volume **volume,
                             tomo_error *err);
/* The same for the bytes of a file; `name` stands in messages and its suffix helps to tell the format.
 * Formats of two files (.hdr with .img, .nhdr) are refused. */
tomo_status tomo_volume_open_memory(const char *name, const unsigned char *bytes, size_t size,
                                    const tomo_volume_options *options, tomo_volume **volume,
                                    tomo_error *err);
void tomo_volume_free(tomo_volume *volume);

/* The series of a DICOM folder, zip or file: an array of {"series": "#N", "number", "modality", "slices",
 * "size" [columns, rows], "chosen", "why"}; with log_phi also "uid" and "description". Freed by cJSON_Delete.
 */
tomo_status tomo_volume_list_series(const char *path, const tomo_volume_options *options, cJSON **list,
                                    tomo_error *err);

/* A volume around voxels [shape[0]][shape[1]][shape[2]] (canonical order), which it takes over: on success
 * they are freed with it. Non-finite voxels are replaced, minimum to deviation are computed. */
tomo_status tomo_volume_create(float *voxels, const int64_t shape[3], const tomo_affine *affine_ras,
                               tomo_intensity intensity, tomo_volume **volume, tomo_error *err);

/* All that is known of the volume: what was read and how, geometry, intensities, warnings. `slices` (NULL:
 * none) is the record of tomo_slices_make and becomes the member "slices". Freed by cJSON_Delete; NULL when
 * out of memory. */
cJSON *tomo_volume_manifest(const tomo_volume *volume, const cJSON *slices);

/* Adds a warning, once for each code. */
void tomo_volume_warn(tomo_volume *volume, const char *code, const char *format, ...) TOMO_PRINTF(3, 4);

#endif
