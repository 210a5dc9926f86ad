/* text_sampling.c - penalty and filters of sampling against transformers' logits processors.
 *
 * Runs every folder of the language family whose case.json lists "variants". The same tokens must be left;
 * scores within 1e-6 of the larger of 1 and the score (float32 rounds once or twice on the way),
 * probabilities within 2e-6 (ten times what float32 itself is off from float64, README of language). */
#include "base/file.h"
#include "base/json.h"
#include "support/parity.h"
#include "text/sampling.h"
#include "weights/checkpoint.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float *rows_of(const tomo_checkpoint *c, const char *name, int64_t *rows, int64_t *columns) {
    const tomo_stored *t = tomo_checkpoint_find(c, name);
    if (t == NULL || t->dtype != TOMO_F32 || t->rank != 2) return NULL;
    *rows = t->shape[0];
    *columns = t->shape[1];
    return t->data;
}

static tomo_sampling take_sampling(const cJSON *params) {
    tomo_sampling s = {.temperature = 1, .top_p = 1, .repetition_penalty = 1};
    tomo_json_at at = {"case.json", "params."};
    int64_t top_k = 0;
    (void)tomo_json_double(params, "temperature", at, false, 0, 1e9, &s.temperature, NULL);
    (void)tomo_json_double(params, "top_p", at, false, 0, 1, &s.top_p, NULL);
    (void)tomo_json_double(params, "min_p", at, false, 0, 1, &s.min_p, NULL);
    (void)tomo_json_double(params, "repetition_penalty", at, false, 0, 1e9, &s.repetition_penalty, NULL);
    (void)tomo_json_int(params, "top_k", at, false, 0, INT32_MAX, &top_k, NULL);
    s.top_k = (int32_t)top_k;
    return s;
}

static const char *row_difference(const float *got, const float *scores, const float *probs, int64_t n) {
    double most = -INFINITY, total = 0;
    for (int64_t i = 0; i < n; i++) {
        if (isinf(got[i]) != isinf(scores[i])) return "other tokens are left";
        if (!isinf(got[i]) &&
            fabs((double)got[i] - (double)scores[i]) > 1e-6 * fmax(1, fabs((double)scores[i]))) {
            return "scores";
        }
        most = fmax(most, (double)got[i]);
    }
    for (int64_t i = 0; i < n; i++) total += exp((double)got[i] - most);
    for (int64_t i = 0; i < n; i++) {
        if (fabs(exp((double)got[i] - most) / total - (double)probs[i]) > 2e-6) return "probabilities";
    }
    return NULL;
}

static int32_t *take_history(const tomo_checkpoint *c, int64_t rows, int64_t *length) {
    const tomo_stored *t = tomo_checkpoint_find(c, "history");
    if (t == NULL || t->dtype != TOMO_I64 || t->rank != 2 || t->shape[0] != rows) return NULL;
    int32_t *ids = calloc((size_t)t->count + 1, sizeof *ids);
    for (int64_t i = 0; ids != NULL && i < t->count; i++) ids[i] = (int32_t)((const int64_t *)t->data)[i];
    *length = t->shape[1];
    return ids;
}

static const char *variant_difference(const tomo_checkpoint *c, const cJSON *variant, int index) {
    char name[64];
    int64_t rows = 0, n = 0, length = 0, r1 = 0, n1 = 0;
    const cJSON *input = tomo_json_get(variant, "input");
    const float *logits = rows_of(c, cJSON_IsString(input) ? input->valuestring : "", &rows, &n);
    (void)snprintf(name, sizeof name, "variant.%d.scores", index);
    const float *scores = rows_of(c, name, &r1, &n1);
    (void)snprintf(name, sizeof name, "variant.%d.probs", index);
    const float *probs = rows_of(c, name, &r1, &n1);
    if (logits == NULL || scores == NULL || probs == NULL || r1 != rows || n1 != n)
        return "tensors are missing";
    int32_t *history = take_history(c, rows, &length);
    float *got = calloc((size_t)n, sizeof *got);
    tomo_sampling sampling = take_sampling(tomo_json_get(variant, "params"));
    tomo_sampler *sampler = NULL;
    const char *difference = "the sampler cannot be made";
    if (history != NULL && got != NULL &&
        tomo_sampler_create(&sampling, (int32_t)n, &sampler, NULL) == TOMO_OK) {
        difference = NULL;
    }
    for (int64_t r = 0; r < rows && difference == NULL; r++) {
        memcpy(got, logits + r * n, (size_t)n * sizeof *got);
        tomo_sampler_process(sampler, got, history + r * length, (size_t)length);
        difference = row_difference(got, scores + r * n, probs + r * n, n);
    }
    tomo_sampler_free(sampler);
    free(history);
    free(got);
    return difference;
}

static void run_folder(parity *p, const char *folder, const char *path) {
    char file[4096], name[256];
    cJSON *root = NULL;
    tomo_checkpoint *c = NULL;
    tomo_error err = {0};
    (void)snprintf(file, sizeof file, "%s/case.json", path);
    if (!tomo_path_exists(file) || tomo_json_open(file, &root, NULL) != TOMO_OK) return;
    const cJSON *variants = tomo_json_get(root, "variants"), *variant;
    (void)snprintf(file, sizeof file, "%s/expected.safetensors", path);
    if (variants != NULL && tomo_checkpoint_open(file, &c, &err) != TOMO_OK) {
        parity_fail(p, folder, "%s", err.message);
        variants = NULL;
    }
    int index = 0;
    cJSON_ArrayForEach(variant, variants) {
        const char *difference = variant_difference(c, variant, index);
        (void)snprintf(name, sizeof name, "%s/variant.%d", folder, index++);
        if (difference == NULL) {
            parity_pass(p, name);
        } else {
            parity_fail(p, name, "%s", difference);
        }
    }
    tomo_checkpoint_free(c);
    cJSON_Delete(root);
}

int main(void) {
    parity p;
    parity_begin(&p, "language");
    parity_each_folder(&p, "", run_folder);
    return parity_end(&p);
}
