/* volume_pipeline.c - a scan to the encoder's input: the first two stages of every case of
 * tests/reference/pipeline.
 *
 * Slices within 1e-5, pixel values within 1e-4 of the larger of 1 and the tensor's largest value: the
 * README's. */
#include "base/file.h"
#include "base/json.h"
#include "support/parity.h"
#include "volume/image.h"
#include "weights/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* Reads mean and standard deviation out of the encoder's files. */
static bool read_moments(const char *folder, float mean[3], float std[3]) {
    static const char *const names[] = {"preprocessor_config.json", "open_clip_config.json"};
    char path[8192];
    for (int i = 0; i < 2; i++) {
        cJSON *root = NULL;
        (void)snprintf(path, sizeof path, "%s/model/encoder/%s", folder, names[i]);
        if (!tomo_path_exists(path) || tomo_json_open(path, &root, NULL) != TOMO_OK) continue;
        const cJSON *from = i == 0 ? root : tomo_json_get(root, "preprocess_cfg");
        for (int c = 0; c < 3; c++) {
            mean[c] = (float)cJSON_GetArrayItem(tomo_json_get(from, i == 0 ? "image_mean" : "mean"), c)
                          ->valuedouble;
            std[c] =
                (float)cJSON_GetArrayItem(tomo_json_get(from, i == 0 ? "image_std" : "std"), c)->valuedouble;
        }
        cJSON_Delete(root);
        return true;
    }
    return false;
}

static void judge(parity *p, const char *name, const char *what, double d, double tolerance) {
    char label[512];
    (void)snprintf(label, sizeof label, "%s: %s", name, what);
    if (d <= tolerance) {
        parity_pass(p, label);
    } else {
        parity_fail(p, label, "%g away, %g allowed", d, tolerance);
    }
}

/* Every fourth slice [channels, ceil(S/4), H, W]. */
static void check_slices(parity *p, const char *name, const tomo_slices *s, const tomo_stored *want) {
    int64_t plane = s->height * s->width, n = (s->slices + 3) / 4;
    double worst = want->count == s->channels * n * plane ? 0 : 1e30;
    for (int64_t c = 0; worst < 1e30 && c < s->channels; c++) {
        for (int64_t i = 0; i < n; i++) {
            double d = parity_distance(s->values + (c * s->slices + 4 * i) * plane,
                                       (const float *)want->data + (c * n + i) * plane, plane);
            worst = d > worst ? d : worst;
        }
    }
    judge(p, name, "slices", worst, 1e-5);
}

static void check_pixels(parity *p, const char *name, const char *folder, const tomo_slices *s,
                         const tomo_stored *want) {
    float mean[3], std[3];
    int64_t size = want->shape[3];
    tomo_image_resizer *resizer = NULL;
    if (want->shape[0] != s->slices || !read_moments(folder, mean, std) ||
        tomo_image_resizer_create(s->height, s->width, size, size, &resizer, NULL) != TOMO_OK) {
        parity_fail(p, name, "pixel values cannot be made");
        return;
    }
    float *work = malloc(tomo_image_encode_work(resizer, size) * sizeof *work);
    float *pixels = malloc((size_t)want->count * sizeof *pixels);
    /* In two ranges, as two threads would. */
    int64_t half = s->slices / 2;
    tomo_image_encode_slices(s, resizer, 0, half, size, mean, std, work, pixels);
    tomo_image_encode_slices(s, resizer, half, s->slices - half, size, mean, std, work,
                             pixels + half * 3 * size * size);
    double largest = parity_largest(want->data, want->count);
    judge(p, name, "pixel values", parity_distance(pixels, want->data, want->count),
          1e-4 * (largest > 1 ? largest : 1));
    free(work);
    free(pixels);
    tomo_image_resizer_free(resizer);
}

static void run_scan(parity *p, const char *name, const char *folder, const char *scan, const cJSON *config,
                     const tomo_checkpoint *expected) {
    tomo_volume *volume = NULL;
    tomo_slices *slices = NULL;
    tomo_slices_settings settings;
    tomo_error err;
    tomo_json_at at = {"config.json", "volume."};
    tomo_status status = tomo_volume_open(scan, NULL, &volume, &err);
    if (status == TOMO_OK)
        status = tomo_slices_settings_parse(tomo_json_get(config, "volume"), at, &settings, &err);
    if (status == TOMO_OK) status = tomo_slices_make(volume, &settings, NULL, &slices, &err);
    if (status == TOMO_OK) {
        check_slices(p, name, slices, tomo_checkpoint_find(expected, "volume.every_4th_slice"));
        check_pixels(p, name, folder, slices, tomo_checkpoint_find(expected, "pixel_values"));
    } else {
        parity_fail(p, name, "%s", err.message);
    }
    tomo_slices_free(slices);
    tomo_volume_free(volume);
}

static void run_case(parity *p, const char *name, const char *path) {
    char file[8192];
    cJSON *facts = NULL, *config = NULL;
    tomo_checkpoint *expected = NULL;
    tomo_error err = {0};
    (void)snprintf(file, sizeof file, "%s/expected.json", path);
    tomo_status status = tomo_json_open(file, &facts, &err);
    (void)snprintf(file, sizeof file, "%s/model/config.json", path);
    if (status == TOMO_OK) status = tomo_json_open(file, &config, &err);
    (void)snprintf(file, sizeof file, "%s/expected.safetensors", path);
    if (status == TOMO_OK) status = tomo_checkpoint_open(file, &expected, &err);
    const cJSON *scan = tomo_json_get(facts, "scan");
    char *scan_path = tomo_path_join(parity_data_folder(), cJSON_IsString(scan) ? scan->valuestring : "");
    if (status != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else if (!tomo_path_exists(scan_path)) {
        parity_skip(p, name, "the scan is not in %s", parity_data_folder());
    } else {
        run_scan(p, name, path, scan_path, config, expected);
    }
    free(scan_path);
    tomo_checkpoint_free(expected);
    cJSON_Delete(config);
    cJSON_Delete(facts);
}

int main(void) {
    parity p;
    parity_begin(&p, "pipeline");
    parity_each_folder(&p, "", run_case);
    return parity_end(&p);
}
