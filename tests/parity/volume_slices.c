/* volume_slices.c - windows, resize, spacing, M3D's chain and pictures: every entry of tests/reference/volume
 * that has such outputs. Tolerances are those of the entries: 2e-6 for windows (float32 rounding), 1e-5 of
 * the range for resizing, 2e-5 for spacing, one grey level for pictures. */
#include "base/file.h"
#include "base/json.h"
#include "support/parity.h"
#include "volume/geometry.h"
#include "volume/resample.h"
#include "volume/slices.h"

#include <math.h>
#include <png.h>
#include <stdlib.h>
#include <string.h>

typedef struct input {
    parity *p;
    const char *case_name, *folder;
    const cJSON *entry;
    char path[4096];
    tomo_volume *volume;
} input;

static double number(const cJSON *object, const char *key, double otherwise) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

static const char *text(const cJSON *object, const char *key) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : NULL;
}

static void shape_of(const cJSON *list, int64_t shape[3]) {
    for (int i = 0; i < 3; i++) shape[i] = (int64_t)cJSON_GetArrayItem(list, i)->valuedouble;
}

/* Name of one output: CASE/PATH: WHAT. */
static const char *label(const input *in, const char *what, char name[512]) {
    (void)snprintf(name, 512, "%s/%s: %s", in->case_name, text(in->entry, "path"), what);
    return name;
}

/* ------------------------------------------------------------------ comparing */

/* Distance to the golden array `npy`, or to the slices kept_z in `npy_slices`; `planes` x `plane` values. */
static double golden_distance(const input *in, const cJSON *output, const float *got, int64_t planes,
                              int64_t plane) {
    char path[8192];
    bool whole = text(output, "npy") != NULL;
    const char *file = whole ? text(output, "npy") : text(output, "npy_slices");
    if (file == NULL) return 0;
    (void)snprintf(path, sizeof path, "%s/%s", in->folder, file);
    tomo_volume *golden = NULL;
    if (tomo_volume_open(path, NULL, &golden, NULL) != TOMO_OK) return INFINITY;
    int64_t n = golden->shape[0] * golden->shape[1] * golden->shape[2];
    double worst = INFINITY;
    if (whole) {
        if (n == planes * plane) worst = parity_distance(got, golden->voxels, n);
    } else if (golden->shape[1] * golden->shape[2] == plane) {
        const cJSON *z;
        int64_t i = 0;
        worst = 0;
        cJSON_ArrayForEach(z, tomo_json_get(output, "kept_z")) {
            double d =
                parity_distance(got + (int64_t)z->valuedouble * plane, golden->voxels + i++ * plane, plane);
            worst = d > worst ? d : worst;
        }
    }
    tomo_volume_free(golden);
    return worst;
}

/* Mean and deviation within the tolerance; what the goldens leave out is at least held against these. */
static bool moments_match(const cJSON *output, const float *got, int64_t n, double tolerance) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)got[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)got[i] - mean) * ((double)got[i] - mean);
    double spread = sqrt(squares / (double)n);
    return fabs(mean - number(output, "mean", mean)) <= tolerance + 1e-9 &&
           fabs(spread - number(output, "std", spread)) <= 2 * tolerance + 1e-9;
}

static void judge(input *in, const char *name, const cJSON *output, const float *got, int64_t planes,
                  int64_t plane) {
    double tolerance = number(output, "tolerance_abs", 0),
           d = golden_distance(in, output, got, planes, plane);
    if (!(d <= tolerance)) {
        parity_fail(in->p, name, "%g away, %g allowed", d, tolerance);
    } else if (!moments_match(output, got, planes * plane, tolerance)) {
        parity_fail(in->p, name, "another mean or deviation");
    } else {
        parity_pass(in->p, name);
    }
}

/* The largest difference in grey levels between a recorded picture and values in 0..1. */
static double picture_distance(const input *in, const char *file, const float *values, int64_t height,
                               int64_t width) {
    char path[8192];
    (void)snprintf(path, sizeof path, "%s/%s", in->folder, file);
    png_image image = {.version = PNG_IMAGE_VERSION};
    double worst = INFINITY;
    if (!png_image_begin_read_from_file(&image, path)) return worst;
    image.format = PNG_FORMAT_GRAY;
    unsigned char *pixels = malloc(PNG_IMAGE_SIZE(image));
    if (pixels != NULL && image.height == (uint64_t)height && image.width == (uint64_t)width &&
        png_image_finish_read(&image, NULL, pixels, 0, NULL)) {
        worst = 0;
        for (int64_t i = 0; i < height * width; i++) {
            double clipped = fmin(fmax((double)values[i], 0), 1);
            worst = fmax(worst, fabs(rint(clipped * 255) - (double)pixels[i]));
        }
    }
    free(pixels);
    png_image_free(&image);
    return worst;
}

/* ------------------------------------------------------------------ families */

static void check_resize(input *in, const cJSON *output, const tomo_volume *from) {
    char name[512];
    int64_t to[3];
    shape_of(tomo_json_get(in->entry, "to_zyx"), to);
    int64_t n = to[0] * to[1] * to[2];
    float *got = malloc((size_t)n * sizeof *got);
    (void)label(in, text(output, "mode"), name);
    tomo_status status = TOMO_OK;
    if (got == NULL) {
        status = TOMO_E_MEMORY;
    } else if (strcmp(text(output, "mode"), "area") == 0) {
        tomo_resize_area(from->voxels, from->shape, got, to);
    } else {
        status = tomo_resize_trilinear(from->voxels, from->shape, got, to, NULL);
    }
    if (status == TOMO_OK) {
        judge(in, name, output, got, to[0], to[1] * to[2]);
    } else {
        parity_fail(in->p, name, "%s", tomo_status_name(status));
    }
    free(got);
}

static void check_spacing(input *in, const cJSON *output) {
    static const char *const names[] = {"monai_spacing", "sitk_origin", "same_fov"};
    char name[512];
    double mm[3];
    int convention = 0;
    tomo_volume *got = NULL;
    tomo_error err;
    (void)label(in, text(output, "convention"), name);
    while (convention < 3 && strcmp(text(output, "convention"), names[convention]) != 0) convention++;
    if (convention == 3) {
        parity_skip(in->p, name, "no such convention");
        return;
    }
    for (int i = 0; i < 3; i++) {
        mm[i] = cJSON_GetArrayItem(tomo_json_get(in->entry, "to_spacing_xyz"), 2 - i)->valuedouble;
    }
    if (tomo_volume_resample(in->volume, mm, (tomo_spacing_convention)convention, INT64_MAX, NULL, &got,
                             &err) != TOMO_OK) {
        parity_fail(in->p, name, "%s", err.message);
        return;
    }
    const cJSON *affine = tomo_json_get(output, "affine_ras");
    double worst = 0;
    for (int i = 0; affine != NULL && i < 12; i++) {
        double want = cJSON_GetArrayItem(cJSON_GetArrayItem(affine, i / 4), i % 4)->valuedouble;
        worst = fmax(worst, fabs(got->affine_ras.m[i / 4][i % 4] - want));
    }
    if (worst > 1e-3) {
        parity_fail(in->p, name, "affine %g away", worst);
    } else {
        judge(in, name, output, got->voxels, got->shape[0], got->shape[1] * got->shape[2]);
    }
    tomo_volume_free(got);
}

/* The settings that a recorded window stands for. */
static tomo_slices_settings window_settings(const cJSON *output) {
    tomo_slices_settings s = tomo_slices_defaults();
    const cJSON *percentiles = tomo_json_get(output, "percentiles");
    if (percentiles == NULL) percentiles = tomo_json_get(output, "percentile");
    if (tomo_json_get(output, "level") != NULL) {
        s.kind = TOMO_WINDOW_HU;
        s.n_windows = 1;
        s.windows[0] = (tomo_window){number(output, "level", 0), number(output, "width", 1)};
    } else if (percentiles != NULL) {
        s.kind = TOMO_WINDOW_PERCENTILE;
        for (int i = 0; i < 2; i++) s.percentile[i] = cJSON_GetArrayItem(percentiles, i)->valuedouble;
    }
    return s;
}

static bool picture_matches(input *in, const char *name, const char *file, const float *values,
                            double levels) {
    if (file == NULL) return true;
    double d = picture_distance(in, file, values, in->volume->shape[1], in->volume->shape[2]);
    if (d > levels) parity_fail(in->p, name, "%g grey levels away from %s", d, file);
    return d <= levels;
}

static void check_window(input *in, const cJSON *output, const char *what, bool golden) {
    char name[512];
    tomo_slices_settings settings = window_settings(output);
    tomo_channel channels[3];
    int count = 0;
    const cJSON *z = tomo_json_get(golden ? in->entry : output, "z");
    int64_t plane = in->volume->shape[1] * in->volume->shape[2],
            planes = z == NULL ? in->volume->shape[0] : 1;
    const float *from = in->volume->voxels + (z == NULL ? 0 : (int64_t)z->valuedouble * plane);
    float *got = malloc((size_t)(planes * plane) * sizeof *got);
    (void)label(in, what, name);
    if (got == NULL || tomo_channels_make(in->volume, &settings, channels, &count, NULL) != TOMO_OK) {
        parity_fail(in->p, name, "out of memory");
        free(got);
        return;
    }
    tomo_channel_map(channels[0], from, planes * plane, got);
    const char *file = golden ? text(output, "png") : text(output, "file");
    double low = number(output, "lo", (double)channels[0].low);
    if (fabs(low - (double)channels[0].low) > 1e-6 * (1 + fabs(low))) {
        parity_fail(in->p, name, "starts at %g, not %g", (double)channels[0].low, low);
    } else if (picture_matches(in, name, file, got, 1)) {
        if (golden) {
            judge(in, name, output, got, planes, plane);
        } else {
            parity_pass(in->p, name);
        }
    }
    free(got);
}

static void check_m3d(input *in) {
    char name[512];
    tomo_slices_settings settings = tomo_slices_defaults();
    tomo_slices *got = NULL;
    tomo_error err;
    settings.crop_foreground = settings.has_size = true;
    shape_of(tomo_json_get(in->entry, "to_zyx"), settings.size);
    (void)label(in, "M3D", name);
    if (tomo_slices_make(in->volume, &settings, NULL, &got, &err) != TOMO_OK) {
        parity_fail(in->p, name, "%s", err.message);
        return;
    }
    const cJSON *crop = tomo_json_get(got->record, "crop_zyx");
    bool box =
        cJSON_Compare(tomo_json_get(crop, "begin"), tomo_json_get(in->entry, "crop_start_zyx"), true) &&
        cJSON_Compare(tomo_json_get(crop, "end"), tomo_json_get(in->entry, "crop_end_zyx"), true);
    const char *file = text(in->entry, "png");
    int64_t plane = got->height * got->width;
    double d = file == NULL ? 0
                            : picture_distance(in, file, got->values + got->slices / 2 * plane, got->height,
                                               got->width);
    if (!box || d > 1) {
        parity_fail(in->p, name, box ? "%g grey levels away from the picture" : "another crop box (%g)", d);
    } else {
        judge(in, name, in->entry, got->values, got->slices, plane);
    }
    tomo_slices_free(got);
}

/* ------------------------------------------------------------------ walking */

/* Where the entry asks for it, the values before resizing are M3D's min-max. */
static void minmax_first(tomo_volume *v) {
    tomo_slices_settings settings = tomo_slices_defaults();
    tomo_channel channels[3];
    int count;
    (void)tomo_channels_make(v, &settings, channels, &count, NULL);
    tomo_channel_map(channels[0], v->voxels, v->shape[0] * v->shape[1] * v->shape[2], v->voxels);
}

static void run_outputs(input *in) {
    const cJSON *output;
    if (tomo_json_get(in->entry, "crop_start_zyx") != NULL) check_m3d(in);
    if (tomo_json_get(in->entry, "before") != NULL) minmax_first(in->volume);
    cJSON_ArrayForEach(output, tomo_json_get(in->entry, "outputs")) {
        if (text(output, "mode") != NULL) check_resize(in, output, in->volume);
        if (text(output, "convention") != NULL) check_spacing(in, output);
        if (text(output, "window") != NULL) check_window(in, output, text(output, "window"), true);
    }
    cJSON_ArrayForEach(output, tomo_json_get(in->entry, "pictures")) {
        check_window(in, output, text(output, "file"), false);
    }
}

static bool has_outputs(const cJSON *entry) {
    static const char *const keys[] = {"outputs", "pictures", "crop_start_zyx"};
    bool any = false;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        any = any || cJSON_GetArraySize(tomo_json_get(entry, keys[i])) > 0;
    }
    return any;
}

static void run_entry(input *in) {
    const char *path = text(in->entry, "path");
    char name[512];
    tomo_error err = {0};
    bool data = strncmp(path, "data:", 5) == 0;
    (void)snprintf(in->path, sizeof in->path, "%s/%s", data ? parity_data_folder() : in->folder,
                   path + (data ? 5 : 0));
    (void)label(in, "input", name);
    if (data && !tomo_path_exists(in->path)) {
        parity_skip(in->p, name, "the scan is not in %s (its licence may not allow it)",
                    parity_data_folder());
    } else if (tomo_volume_open(in->path, NULL, &in->volume, &err) != TOMO_OK) {
        parity_fail(in->p, name, "%s", err.message);
    } else {
        run_outputs(in);
        tomo_volume_free(in->volume);
    }
}

static void run_case(parity *p, const char *name, const char *path) {
    char file[8192];
    cJSON *root = NULL;
    tomo_error err;
    (void)snprintf(file, sizeof file, "%s/expected.json", path);
    if (tomo_json_open(file, &root, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
        return;
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, tomo_json_get(root, "inputs")) {
        input in = {.p = p, .case_name = name, .folder = path, .entry = entry};
        if (has_outputs(entry)) run_entry(&in);
    }
    cJSON_Delete(root);
}

int main(void) {
    parity p;
    parity_begin(&p, "volume");
    parity_each_folder(&p, "", run_case);
    return parity_end(&p);
}
