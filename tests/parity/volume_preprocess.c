/* volume_preprocess.c - one plane to an encoder's input: every preprocess case of tests/reference/vision.
 *
 * Float against Pillow's mode F: 1e-6 in [0, 1] (Pillow itself is 1e-7 off the formula in double); against
 * torch's own resampler 1e-5; normalised values 5e-5. Bytes: exactly Pillow's. */
#include "base/file.h"
#include "base/json.h"
#include "support/parity.h"
#include "volume/image.h"
#include "weights/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What a preprocessor file says, of either library. */
typedef struct recipe {
    const char *name;
    int64_t edge, height, width; /* edge 0: height x width */
    int64_t crop;                /* 0: none */
    bool torchvision;            /* open_clip: crop offset of torchvision */
    double mean[3], std[3];
} recipe;

typedef struct preprocess_case {
    parity *p;
    char name[256];
    const tomo_checkpoint *expected;
    const float *image;
    uint8_t *bytes;
    int64_t height, width;
} preprocess_case;

static int64_t whole(const cJSON *object, const char *key) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsNumber(item) ? (int64_t)item->valuedouble : 0;
}

static void triple(const cJSON *list, double values[3]) {
    for (int i = 0; i < 3; i++) values[i] = cJSON_GetArrayItem(list, i)->valuedouble;
}

static recipe read_recipe(const char *name, const cJSON *root) {
    recipe r = {.name = name};
    const cJSON *open_clip = tomo_json_get(root, "preprocess_cfg");
    if (open_clip != NULL) {
        r.edge = r.crop = whole(open_clip, "size");
        r.torchvision = true;
        triple(tomo_json_get(open_clip, "mean"), r.mean);
        triple(tomo_json_get(open_clip, "std"), r.std);
        return r;
    }
    const cJSON *size = tomo_json_get(root, "size");
    r.edge = cJSON_IsNumber(size) ? (int64_t)size->valuedouble : whole(size, "shortest_edge");
    r.height = whole(size, "height");
    r.width = whole(size, "width");
    if (cJSON_IsTrue(tomo_json_get(root, "do_center_crop"))) {
        const cJSON *crop = tomo_json_get(root, "crop_size");
        r.crop = cJSON_IsNumber(crop) ? (int64_t)crop->valuedouble : whole(crop, "height");
    }
    triple(tomo_json_get(root, "image_mean"), r.mean);
    triple(tomo_json_get(root, "image_std"), r.std);
    return r;
}

/* The recorded tensor NAME.SUFFIX as floats (bytes are converted), freed by the caller; NULL: not recorded.
 */
static float *recorded(const preprocess_case *c, const recipe *r, const char *suffix, int64_t *count) {
    char name[256];
    (void)snprintf(name, sizeof name, "%s.%s", r->name, suffix);
    const tomo_stored *t = tomo_checkpoint_find(c->expected, name);
    if (t == NULL) return NULL;
    float *values = malloc((size_t)t->count * sizeof *values);
    for (int64_t i = 0; values != NULL && i < t->count; i++) {
        values[i] = t->dtype == TOMO_U8 ? (float)((const uint8_t *)t->data)[i] : ((const float *)t->data)[i];
    }
    *count = t->count;
    return values;
}

static void compare(preprocess_case *c, const recipe *r, const char *suffix, const float *got, int64_t n,
                    double tolerance) {
    char name[600];
    int64_t count = 0;
    float *want = recorded(c, r, suffix, &count);
    if (want == NULL) return;
    (void)snprintf(name, sizeof name, "%s/%s.%s", c->name, r->name, suffix);
    double d = n == count ? parity_distance(got, want, n) : INFINITY;
    if (d <= tolerance) {
        parity_pass(c->p, name);
    } else {
        parity_fail(c->p, name, "%g away, %g allowed", d, tolerance);
    }
    free(want);
}

/* Crops, repeats to three channels and normalises; [3][crop][crop]. */
static float *finish(const recipe *r, const float *resized, int64_t height, int64_t width, double scale,
                     int64_t *count) {
    int64_t h = r->crop > 0 ? r->crop : height, w = r->crop > 0 ? r->crop : width;
    int64_t top = tomo_image_crop_offset(height, h, r->torchvision),
            left = tomo_image_crop_offset(width, w, r->torchvision);
    float *out = malloc((size_t)(3 * h * w) * sizeof *out);
    *count = 3 * h * w;
    for (int64_t i = 0; out != NULL && i < 3 * h * w; i++) {
        int64_t c = i / (h * w), y = i / w % h + top, x = i % w + left;
        bool inside = y >= 0 && x >= 0 && y < height && x < width; /* shorter than the crop: zeros */
        double value = inside ? (double)resized[y * width + x] * scale : 0;
        out[i] = (float)((value - r->mean[c]) / r->std[c]);
    }
    return out;
}

static void check_pixels(preprocess_case *c, const recipe *r, const char *suffix, const float *resized,
                         int64_t h, int64_t w, double scale) {
    int64_t n = 0;
    float *pixels = finish(r, resized, h, w, scale, &n);
    compare(c, r, suffix, pixels, n, 5e-5);
    free(pixels);
}

static void run_recipe(preprocess_case *c, const recipe *r) {
    int64_t h = r->height, w = r->width;
    if (r->edge > 0) tomo_image_shortest_edge(c->height, c->width, r->edge, &h, &w);
    tomo_image_resizer *resizer = NULL;
    if (tomo_image_resizer_create(c->height, c->width, h, w, &resizer, NULL) != TOMO_OK) {
        parity_fail(c->p, c->name, "no resizer");
        return;
    }
    size_t n = (size_t)(h * w), work = tomo_image_resizer_work(resizer);
    float *buffer = malloc((work + n) * sizeof *buffer), *resized = buffer + work;
    uint8_t *byte_buffer = malloc(work + n), *small = byte_buffer + work;
    tomo_image_resize_float(resizer, c->image, buffer, resized);
    compare(c, r, "float_pil.resized", resized, (int64_t)n, 1e-6);
    compare(c, r, "float_torch.resized", resized, (int64_t)n, 1e-5);
    check_pixels(c, r, "float_pil.pixel_values", resized, h, w, 1);
    tomo_image_resize_bytes(resizer, c->bytes, byte_buffer, small);
    for (size_t i = 0; i < n; i++) resized[i] = (float)small[i];
    compare(c, r, "uint8_pil.resized", resized, (int64_t)n, 0);
    check_pixels(c, r, "uint8_pil.pixel_values", resized, h, w, 1.0 / 255);
    free(buffer);
    free(byte_buffer);
    tomo_image_resizer_free(resizer);
}

/* Each pipeline of the case has its preprocessor file. */
static void run_pipelines(preprocess_case *c, const char *folder) {
    char path[8192];
    cJSON *meta = NULL;
    (void)snprintf(path, sizeof path, "%s/meta.json", folder);
    if (tomo_json_open(path, &meta, NULL) != TOMO_OK) return;
    const cJSON *pipeline;
    cJSON_ArrayForEach(pipeline, tomo_json_get(meta, "pipelines")) {
        cJSON *config = NULL;
        (void)snprintf(path, sizeof path, "%s/preprocessor_config_%s.json", folder, pipeline->string);
        if (tomo_json_open(path, &config, NULL) != TOMO_OK) {
            parity_fail(c->p, c->name, "no %s", path);
            continue;
        }
        recipe r = read_recipe(pipeline->string, config);
        run_recipe(c, &r);
        cJSON_Delete(config);
    }
    cJSON_Delete(meta);
}

static void run_case(parity *p, const char *name, const char *path) {
    char file[8192];
    tomo_checkpoint *inputs = NULL, *expected = NULL;
    tomo_error err;
    preprocess_case c = {.p = p};
    (void)snprintf(c.name, sizeof c.name, "%s", name);
    (void)snprintf(file, sizeof file, "%s/inputs.safetensors", path);
    if (!tomo_path_exists(file) || tomo_checkpoint_open(file, &inputs, NULL) != TOMO_OK) return;
    const tomo_stored *image = tomo_checkpoint_find(inputs, "image");
    if (image != NULL) { /* other cases of the family hold encoders */
        (void)snprintf(file, sizeof file, "%s/expected.safetensors", path);
        c.image = image->data;
        c.height = image->shape[0];
        c.width = image->shape[1];
        c.bytes = malloc((size_t)image->count);
        for (int64_t i = 0; i < image->count; i++) c.bytes[i] = (uint8_t)rintf(c.image[i] * 255.0F);
        if (tomo_checkpoint_open(file, &expected, &err) == TOMO_OK) {
            c.expected = expected;
            run_pipelines(&c, path);
        } else {
            parity_fail(p, name, "%s", err.message);
        }
    }
    free(c.bytes);
    tomo_checkpoint_free(expected);
    tomo_checkpoint_free(inputs);
}

int main(void) {
    parity p;
    parity_begin(&p, "vision");
    parity_each_folder(&p, "", run_case);
    return parity_end(&p);
}
