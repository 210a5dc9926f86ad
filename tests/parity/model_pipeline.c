/* model_pipeline.c - whole model directories on real scans against reference/pipeline: every stage, the
 * prompts, the answers.
 *
 * Tolerance 1e-4 of the larger of 1 and a tensor's largest value (float32 itself is 7e-5 off in features),
 * volume 1e-5; kept slices and ids equal (reference/pipeline/README.md). Logits are recorded to 5 decimals:
 * 5e-4. */
#include "base/file.h"
#include "base/json.h"
#include "model/session.h"
#include "support/tensors.h"

#include <stdlib.h>
#include <string.h>

static tomo_context *context;

/* The recorded tensor `name`, or one of its pieces, against what the recorder holds; "" or what is wrong. */
static void compare(tomo_recorder *r, const tomo_checkpoint *expected, const char *name, char *text,
                    size_t size) {
    const tomo_stored *want = tomo_checkpoint_find(expected, name);
    const float *got = tomo_recorder_data(r, name);
    if (text[0] != '\0' || want == NULL) return;
    if (got == NULL) {
        (void)snprintf(text, size, "%s was not computed", name);
        return;
    }
    double largest = parity_largest(want->data, want->count);
    double d = parity_distance(got, want->data, want->count) / (largest > 1 ? largest : 1);
    if (!(d <= 1e-4)) (void)snprintf(text, size, "%s is %.2e off; 1e-4 is allowed", name, d);
}

/* volume.every_4th_slice [C, S/4, H, W] against volume [C, S, H, W]. */
static void compare_volume(tomo_recorder *r, const tomo_checkpoint *expected, int64_t slices, char *text,
                           size_t size) {
    const tomo_stored *want = tomo_checkpoint_find(expected, "volume.every_4th_slice");
    const float *got = tomo_recorder_data(r, "volume");
    if (want == NULL || got == NULL || want->rank != 4) {
        (void)snprintf(text, size, "volume.every_4th_slice is not recorded or volume not computed");
        return;
    }
    int64_t plane = want->shape[2] * want->shape[3], some = want->shape[1];
    for (int64_t c = 0; c < want->shape[0]; c++) {
        for (int64_t s = 0; s < some; s++) {
            double d = parity_distance(got + (c * slices + 4 * s) * plane,
                                       (const float *)want->data + (c * some + s) * plane, plane);
            if (!(d <= 1e-5)) {
                (void)snprintf(text, size, "volume: slice %lld is %.2e off; 1e-5 is allowed",
                               (long long)(4 * s), d);
                return;
            }
        }
    }
}

static void compare_ids(const cJSON *want, const int64_t *got, size_t count, const char *name, char *text,
                        size_t size) {
    bool same = text[0] == '\0' && cJSON_GetArraySize(want) == (int)count;
    const cJSON *item = want == NULL ? NULL : want->child;
    for (size_t i = 0; i < count && same; i++, item = item->next) same = got[i] == (int64_t)item->valuedouble;
    if (!same && text[0] == '\0') (void)snprintf(text, size, "%s are not as recorded", name);
}

static void run_question(tomo_session *s, const cJSON *answer, char *text, size_t size) {
    tomo_error err = {0};
    tomo_answer got = {0};
    const cJSON *ids = tomo_json_get(answer, "ids"), *prompt = tomo_json_get(answer, "prompt_ids");
    const cJSON *logits = tomo_json_get(answer, "first_logits"), *item;
    tomo_generate_options options = {.max_tokens = cJSON_GetArraySize(ids)};
    if (tomo_session_ask(s, tomo_json_get(answer, "question")->valuestring, &options, &got, &err) !=
        TOMO_OK) {
        (void)snprintf(text, size, "%s", err.message);
        return;
    }
    compare_ids(prompt, tomo_recorder_data(s->recorder, "prompt_ids"), got.prompt_tokens, "prompt ids", text,
                size);
    compare_ids(ids, tomo_recorder_data(s->recorder, "ids"), (size_t)cJSON_GetArraySize(ids), "ids", text,
                size);
    const float *first = tomo_recorder_data(s->recorder, "logits");
    cJSON_ArrayForEach(item, logits) {
        double d = item->valuedouble - (double)*first++;
        if (!(d <= 5e-4 && d >= -5e-4) && text[0] == '\0') {
            (void)snprintf(text, size, "a logit after the prompt is %.2e off; 5e-4 is allowed", d);
        }
    }
    if (text[0] == '\0' && strcmp(got.text, tomo_json_get(answer, "text")->valuestring) != 0) {
        (void)snprintf(text, size, "the text is \"%.200s\"; another is recorded", got.text);
    }
    tomo_answer_clear(&got);
}

static void check_reading(tomo_session *s, const cJSON *expected, const tomo_checkpoint *tensors, char *text,
                          size_t size) {
    static const char *const names[] = {"pixel_values", "descriptors", "features", "compressed", "tokens"};
    const tomo_prune_result *p = &s->reading.prune;
    int64_t slices = 0;
    (void)tomo_json_whole(tomo_json_get(expected, "slices"), 0, 1 << 20, &slices);
    if (slices != s->reading.slices) {
        (void)snprintf(text, size, "%lld slices; %lld are recorded", (long long)s->reading.slices,
                       (long long)slices);
        return;
    }
    compare_ids(tomo_json_get(expected, "kept"), p->kept, (size_t)p->count, "kept slices", text, size);
    if (text[0] == '\0') compare_volume(s->recorder, tensors, slices, text, size);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        compare(s->recorder, tensors, names[i], text, size);
}

static void run_session(tomo_scan *scan, const char *model_path, const cJSON *expected,
                        const tomo_checkpoint *tensors, char *text, size_t size) {
    tomo_model *model = NULL;
    tomo_session *session = NULL;
    tomo_error err = {0};
    if (tomo_model_open(context, model_path, NULL, &model, &err) != TOMO_OK ||
        tomo_session_create(model, &session, &err) != TOMO_OK ||
        tomo_session_trace_start(session, &err) != TOMO_OK ||
        tomo_session_read_scan(session, scan, NULL, &err) != TOMO_OK) {
        (void)snprintf(text, size, "%s", err.message);
    } else {
        check_reading(session, expected, tensors, text, size);
        const cJSON *answer;
        cJSON_ArrayForEach(answer, tomo_json_get(expected, "answers")) {
            if (text[0] == '\0') run_question(session, answer, text, size);
        }
    }
    tomo_session_free(session);
    tomo_model_free(model);
}

static void run(parity *p, const char *name, const char *folder) {
    char *json = tomo_path_join(folder, "expected.json"), *model = tomo_path_join(folder, "model"),
         text[640] = "";
    cJSON *expected = NULL;
    tomo_error err = {0};
    tomo_scan *scan = NULL;
    tomo_checkpoint *tensors = test_open_tensors(folder, "expected.safetensors", &err);
    if (tensors == NULL || tomo_json_open(json, &expected, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else {
        char *path = tomo_path_join(parity_data_folder(), tomo_json_get(expected, "scan")->valuestring);
        if (!tomo_path_exists(path)) {
            parity_skip(p, name, "its scan %s is not there", path);
        } else if (tomo_scan_open(context, path, NULL, &scan, &err) != TOMO_OK) {
            parity_fail(p, name, "%s", err.message);
        } else {
            run_session(scan, model, expected, tensors, text, sizeof text);
            if (text[0] == '\0') {
                parity_pass(p, name);
            } else {
                parity_fail(p, name, "%s", text);
            }
        }
        free(path);
    }
    tomo_scan_free(scan);
    tomo_checkpoint_free(tensors);
    cJSON_Delete(expected);
    free(json);
    free(model);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "pipeline");
    tomo_context_options options = {.kernels = getenv("TOMO_KERNELS"), .threads = 2};
    if (tomo_context_create(&options, &context, &err) != TOMO_OK) {
        parity_fail(&p, "context", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    tomo_context_free(context);
    return parity_end(&p);
}
