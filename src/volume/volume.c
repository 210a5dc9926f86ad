#include "volume/volume.h"

#include "base/decimal.h"
#include "base/limits.h"
#include "base/text.h"
#include "volume/dicom_series.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* Voxels below this and not below the second are taken for the air of a CT when the file does not say. */
#define AIR_HU (-500.0F)
#define LOWEST_HU (-32768.0F)

void tomo_volume_free(tomo_volume *volume) {
    if (volume == NULL) return;
    free(volume->voxels);
    cJSON_Delete(volume->record);
    free(volume);
}

void tomo_volume_warn(tomo_volume *volume, const char *code, const char *format, ...) {
    for (int i = 0; i < volume->n_warnings; i++) {
        if (strcmp(volume->warnings[i].code, code) == 0) return;
    }
    if (volume->n_warnings == TOMO_VOLUME_WARNINGS) return; /* there are fewer codes */
    tomo_warning *w = &volume->warnings[volume->n_warnings++];
    (void)snprintf(w->code, sizeof w->code, "%s", code);
    va_list arguments;
    va_start(arguments, format);
    (void)tomo_decimal_vformat(w->text, sizeof w->text, format, arguments);
    va_end(arguments);
}

/* ------------------------------------------------------------------ after reading */

/* NaN and -Inf become the smallest finite voxel, +Inf the largest. */
static void replace_nonfinite(tomo_volume *v, int64_t n) {
    float low = INFINITY, high = -INFINITY;
    int64_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v->voxels[i])) {
            bad++;
        } else {
            low = v->voxels[i] < low ? v->voxels[i] : low;
            high = v->voxels[i] > high ? v->voxels[i] : high;
        }
    }
    if (bad == n) low = high = 0;
    for (int64_t i = 0; bad > 0 && i < n; i++) {
        if (!isfinite(v->voxels[i])) v->voxels[i] = v->voxels[i] > 0 ? high : low;
    }
    if (bad > 0) {
        tomo_volume_warn(v, "W_NONFINITE",
                         "%lld voxels were not finite; they became the smallest or largest value",
                         (long long)bad);
    }
    v->minimum = low;
    v->maximum = high;
}

static void measure(tomo_volume *v, int64_t n) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v->voxels[i];
    v->mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)v->voxels[i] - v->mean;
        squares += d * d;
    }
    v->deviation = sqrt(squares / (double)n);
}

static void settle(tomo_volume *v) {
    int64_t n = v->shape[0] * v->shape[1] * v->shape[2];
    replace_nonfinite(v, n);
    measure(v, n);
}

tomo_status tomo_volume_create(float *voxels, const int64_t shape[3], const tomo_affine *affine_ras,
                               tomo_intensity intensity, tomo_volume **volume, tomo_error *err) {
    *volume = calloc(1, sizeof **volume);
    if (*volume == NULL) return tomo_fail_memory(err, "volume", sizeof **volume);
    tomo_volume *v = *volume;
    v->record = cJSON_CreateObject();
    if (v->record == NULL) {
        tomo_volume_free(v);
        *volume = NULL;
        return tomo_fail_memory(err, "volume", 64);
    }
    v->voxels = voxels;
    memcpy(v->shape, shape, sizeof v->shape);
    v->intensity = intensity;
    tomo_volume_set_affine(v, affine_ras);
    settle(v);
    return TOMO_OK;
}

static void complete(tomo_reader *reader) {
    tomo_volume *v = reader->volume;
    settle(v);
    double angle = tomo_affine_obliquity(&v->affine_ras);
    if (angle > 0.01) {
        tomo_volume_warn(v, "W_OBLIQUE", "the grid is turned by up to %.1f degrees against the body's axes",
                         angle * 180 / M_PI);
    }
    const cJSON *kind = cJSON_GetObjectItemCaseSensitive(v->record, "kind");
    bool unsaid = !cJSON_IsString(kind) || strcmp(kind->valuestring, "DICOM") != 0;
    if (unsaid && v->minimum <= AIR_HU && v->minimum >= LOWEST_HU) v->intensity = TOMO_INTENSITY_HU;
}

/* ------------------------------------------------------------------ formats */

typedef enum format {
    FORMAT_DICOM,
    FORMAT_ZIP,
    FORMAT_NIFTI,
    FORMAT_NRRD,
    FORMAT_NPY,
    FORMAT_UNKNOWN
} format;

static bool starts_with(const unsigned char *bytes, size_t size, const char *mark, size_t length) {
    return size >= length && memcmp(bytes, mark, length) == 0;
}

static bool is_nifti(const unsigned char *bytes, size_t size) {
    static const unsigned char marks[4][4] = {{92, 1, 0, 0}, {0, 0, 1, 92}, {28, 2, 0, 0}, {0, 0, 2, 28}};
    for (int i = 0; size >= 348 && i < 4; i++) { /* 348 or 540, in both byte orders */
        if (memcmp(bytes, marks[i], 4) == 0) return true;
    }
    return false;
}

/* The content decides; the name only where the content says nothing. */
static format recognise(const char *name, const unsigned char *bytes, size_t size) {
    if (starts_with(bytes, size, "\x93NUMPY", 6)) return FORMAT_NPY;
    if (starts_with(bytes, size, "NRRD000", 7)) return FORMAT_NRRD;
    if (starts_with(bytes, size, "PK\3\4", 4) || starts_with(bytes, size, "PK\5\6", 4)) return FORMAT_ZIP;
    if (is_nifti(bytes, size)) return FORMAT_NIFTI;
    if (size >= 132 && memcmp(bytes + 128, "DICM", 4) == 0) return FORMAT_DICOM;
    if (tomo_has_suffix(name, ".npy")) return FORMAT_NPY;
    if (tomo_has_suffix(name, ".nrrd") || tomo_has_suffix(name, ".nhdr")) return FORMAT_NRRD;
    static const char *const nifti[] = {".nii", ".nii.gz", ".hdr", ".hdr.gz"};
    for (size_t i = 0; i < sizeof nifti / sizeof nifti[0]; i++) {
        if (tomo_has_suffix(name, nifti[i])) return FORMAT_NIFTI;
    }
    if (tomo_has_suffix(name, ".npy.gz")) return FORMAT_NPY;
    if (tomo_source_is_gzip(bytes, size)) return FORMAT_NIFTI;
    if (tomo_dicom_is_plausible(bytes, size) || tomo_has_suffix(name, ".dcm")) return FORMAT_DICOM;
    return FORMAT_UNKNOWN;
}

static tomo_status use_files(tomo_reader *reader, tomo_dicom_files *files, cJSON **list, tomo_error *err) {
    tomo_status status =
        list != NULL ? tomo_dicom_list(reader, files, list, err) : tomo_dicom_read(reader, files, err);
    tomo_dicom_files_free(files);
    return status;
}

/* `list`: list the series instead of reading one. */
static tomo_status read_bytes(tomo_reader *reader, const unsigned char *bytes, size_t size, cJSON **list,
                              tomo_error *err) {
    if (size == 0) return tomo_fail(err, TOMO_E_FORMAT, "%s: the file is empty", reader->name);
    format f = recognise(reader->name, bytes, size);
    tomo_dicom_files *files = NULL;
    tomo_status status;
    if (f == FORMAT_DICOM || f == FORMAT_ZIP) {
        status = f == FORMAT_ZIP ? tomo_dicom_files_zip(reader, bytes, size, &files, err)
                                 : tomo_dicom_files_memory(reader, bytes, size, &files, err);
        return status == TOMO_OK ? use_files(reader, files, list, err) : status;
    }
    if (f == FORMAT_UNKNOWN) {
        return tomo_fail(
            err, TOMO_E_FORMAT,
            "%s: not a scan that is read; DICOM (file, folder or zip), NIfTI, NRRD or NPY is wanted",
            reader->name);
    }
    if (list != NULL) {
        *list = cJSON_CreateArray(); /* the other formats have no series */
        return *list == NULL ? tomo_fail_memory(err, reader->name, 64) : TOMO_OK;
    }
    if (reader->options.series != NULL) {
        return tomo_fail(err, TOMO_E_USAGE, "%s: has no DICOM series; a series can be named for DICOM only",
                         reader->name);
    }
    if (f == FORMAT_NPY) return tomo_npy_read(reader, bytes, size, err);
    if (f == FORMAT_NRRD) return tomo_nrrd_read(reader, bytes, size, err);
    return tomo_nifti_read(reader, bytes, size, err);
}

static tomo_status read_path(tomo_reader *reader, const char *path, cJSON **list, tomo_error *err) {
    if (tomo_path_is_folder(path)) {
        tomo_dicom_files *files = NULL;
        tomo_status status = tomo_dicom_files_folder(reader, path, &files, err);
        return status == TOMO_OK ? use_files(reader, files, list, err) : status;
    }
    tomo_map map = {0};
    tomo_status status = tomo_map_open(path, &map, err);
    if (status == TOMO_OK) status = read_bytes(reader, map.data, map.size, list, err);
    tomo_map_close(&map);
    return status;
}

/* ------------------------------------------------------------------ opening */

static int64_t given(int64_t wanted, int64_t otherwise) {
    return wanted > 0 ? wanted : otherwise;
}

static tomo_status start(tomo_reader *reader, const char *name, const tomo_volume_options *options,
                         tomo_error *err) {
    *reader = (tomo_reader){.name = name};
    if (options != NULL) reader->options = *options;
    tomo_volume_limits *l = &reader->options.limits;
    *l = (tomo_volume_limits){given(l->voxels, TOMO_LIMIT_VOXELS), given(l->slices, TOMO_LIMIT_SLICES),
                              given(l->expanded_bytes, TOMO_LIMIT_EXPANDED_BYTES),
                              given(l->files, TOMO_LIMIT_FILES),
                              given(l->folder_depth, TOMO_LIMIT_FOLDER_DEPTH)};
    reader->volume = calloc(1, sizeof *reader->volume);
    if (reader->volume == NULL) return tomo_fail_memory(err, name, sizeof *reader->volume);
    reader->volume->record = cJSON_CreateObject();
    if (reader->volume->record != NULL) return TOMO_OK;
    tomo_volume_free(reader->volume);
    return tomo_fail_memory(err, name, 64);
}

static tomo_status finish(tomo_reader *reader, tomo_status status, tomo_volume **volume) {
    if (status == TOMO_OK) {
        complete(reader);
        *volume = reader->volume;
    } else {
        tomo_volume_free(reader->volume);
    }
    return status;
}

tomo_status tomo_volume_open(const char *path, const tomo_volume_options *options, tomo_volume **volume,
                             tomo_error *err) {
    tomo_reader reader;
    *volume = NULL;
    tomo_status status = start(&reader, path, options, err);
    if (status != TOMO_OK) return status;
    reader.path = path;
    return finish(&reader, read_path(&reader, path, NULL, err), volume);
}

tomo_status tomo_volume_open_memory(const char *name, const unsigned char *bytes, size_t size,
                                    const tomo_volume_options *options, tomo_volume **volume,
                                    tomo_error *err) {
    tomo_reader reader;
    *volume = NULL;
    tomo_status status = start(&reader, name, options, err);
    if (status != TOMO_OK) return status;
    return finish(&reader, read_bytes(&reader, bytes, size, NULL, err), volume);
}

tomo_status tomo_volume_list_series(const char *path, const tomo_volume_options *options, cJSON **list,
                                    tomo_error *err) {
    tomo_reader reader;
    *list = NULL;
    tomo_status status = start(&reader, path, options, err);
    if (status != TOMO_OK) return status;
    reader.path = path;
    status = read_path(&reader, path, list, err);
    tomo_volume_free(reader.volume);
    return status;
}
