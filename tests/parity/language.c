/* language.c - decoders against reference/language and reference/training's adapters: hidden states, logits
 * of a full pass, of stepwise decoding through the cache and with image embeddings, greedy continuations.
 *
 * Tolerance: logits 5e-4 absolute and relative L2 1e-5, hidden states relative L2 1e-5, five times the
 * library's own float32 error (reference/language/README.md). Ids must be equal. */
#include "base/file.h"
#include "language/decoder.h"
#include "support/tensors.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static test_machine machine;

typedef struct run_state {
    const tomo_decoder *decoder;
    tomo_checkpoint *inputs, *expected;
    tomo_kv_cache *cache;
    tomo_tensor ids; /* [1, T] I64 */
    char wrong[640]; /* the first thing that is not as recorded, or "" */
} run_state;

static void wrong(run_state *s, const char *format, ...) TOMO_PRINTF(2, 3);
static void wrong(run_state *s, const char *format, ...) {
    if (s->wrong[0] != '\0') return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(s->wrong, sizeof s->wrong, format, arguments);
    va_end(arguments);
}

/* The ids of row `row` that the mask (or NULL) lets through, as int32; the caller frees. */
static int32_t *ids_of(const tomo_tensor *ids, const tomo_tensor *mask, int64_t row, int64_t *count) {
    int64_t width = tomo_tensor_width(ids);
    int32_t *out = calloc((size_t)width + 1, sizeof *out);
    *count = 0;
    for (int64_t i = 0; i < width; i++) {
        if (mask == NULL || ((const int64_t *)mask->data)[row * width + i] != 0) {
            out[(*count)++] = (int32_t)((const int64_t *)ids->data)[row * width + i];
        }
    }
    return out;
}

static void compare_logits(run_state *s, const tomo_tensor *got, const char *name, int64_t first_row) {
    tomo_tensor want = test_tensor(s->expected, name);
    if (got == NULL || want.data == NULL) {
        tomo_error err = {0};
        (void)tomo_exec_status(&machine.exec, &err);
        wrong(s, "%s: %s", name, got == NULL ? err.message : "not recorded");
        return;
    }
    int64_t n = tomo_tensor_count(got);
    const float *w = tomo_tensor_f32(&want) + first_row * tomo_tensor_width(got);
    double d = parity_distance(tomo_tensor_f32(got), w, n),
           l2 = parity_relative_l2(tomo_tensor_f32(got), w, n);
    if (!(d <= 5e-4)) wrong(s, "%s is %.2e off; 5e-4 is allowed", name, d);
    if (!(l2 <= 1e-5)) wrong(s, "%s has a relative L2 error of %.2e; 1e-5 is allowed", name, l2);
}

static int32_t largest(const tomo_tensor *logits) {
    const float *x = tomo_tensor_f32(logits);
    int64_t n = tomo_tensor_width(logits), best = 0;
    for (int64_t i = 1; i < n; i++) best = x[i] > x[best] ? i : best;
    return (int32_t)best;
}

/* Embeddings of ids, with rows from image_start on replaced where the case has image embeddings. */
static tomo_tensor *embed(run_state *s, const int32_t *ids, int64_t count, bool with_image) {
    tomo_tensor *x = tomo_decoder_embed(s->decoder, &machine.exec, ids, count);
    if (x == NULL || !with_image) return x;
    tomo_tensor image = test_tensor(s->inputs, "image_embeds"), start = test_tensor(s->inputs, "image_start");
    int64_t at = ((const int64_t *)start.data)[0];
    memcpy(tomo_tensor_f32(x) + at * tomo_tensor_width(x), image.data,
           (size_t)tomo_tensor_count(&image) * sizeof(float));
    return x;
}

static void full_pass(run_state *s, bool with_image, const char *name) {
    int64_t count;
    int32_t *ids = ids_of(&s->ids, NULL, 0, &count);
    test_compare compare = {.expected = s->expected, .measure = TEST_RELATIVE_L2, .tolerance = 1e-5};
    tomo_trace trace = {test_compare_see, &compare};
    tomo_kv_cache_truncate(s->cache, 0);
    tomo_tensor *x = embed(s, ids, count, with_image);
    if (!with_image) machine.exec.trace = &trace;
    tomo_tensor *hidden = tomo_decoder_forward(s->decoder, &machine.exec, s->cache, x);
    machine.exec.trace = NULL;
    if (compare.failure[0] != '\0') wrong(s, "%s", compare.failure);
    compare_logits(s, tomo_decoder_logits(s->decoder, &machine.exec, hidden), name, 0);
    tomo_arena_reset(machine.exec.arena);
    free(ids);
}

/* A prefill, then the remaining tokens one at a time through the cache. */
static void stepwise(run_state *s) {
    int64_t count;
    int32_t *ids = ids_of(&s->ids, NULL, 0, &count);
    tomo_tensor length = test_tensor(s->inputs, "prefill_length");
    int64_t first = ((const int64_t *)length.data)[0];
    tomo_kv_cache_truncate(s->cache, 0);
    tomo_tensor *x = tomo_decoder_embed(s->decoder, &machine.exec, ids, first);
    compare_logits(s, tomo_decoder_prefill(s->decoder, &machine.exec, s->cache, x), "decode_logits", 0);
    for (int64_t t = first; t < count && s->wrong[0] == '\0'; t++) {
        tomo_arena_reset(machine.exec.arena);
        x = tomo_decoder_embed(s->decoder, &machine.exec, ids + t, 1);
        compare_logits(s, tomo_decoder_prefill(s->decoder, &machine.exec, s->cache, x), "decode_logits",
                       t - first + 1);
    }
    tomo_arena_reset(machine.exec.arena);
    free(ids);
}

/* Arg-max continuation of a prompt; ends tells whether an end id fills the rest with `pad`. */
static void greedy(run_state *s, const int32_t *ids, int64_t count, bool with_image, const char *name,
                   int64_t row, const char *first_logits) {
    tomo_tensor want = test_tensor(s->expected, name);
    if (want.data == NULL) {
        wrong(s, "%s is not recorded", name);
        return;
    }
    const tomo_decoder_config *c = tomo_decoder_get_config(s->decoder);
    int64_t steps = tomo_tensor_width(&want);
    const int64_t *recorded = (const int64_t *)want.data + row * steps;
    tomo_kv_cache_truncate(s->cache, 0);
    tomo_tensor *x = embed(s, ids, count, with_image);
    bool ended = false;
    for (int64_t t = 0; t < steps && s->wrong[0] == '\0' && !ended; t++) {
        tomo_tensor *logits = tomo_decoder_prefill(s->decoder, &machine.exec, s->cache, x);
        if (logits == NULL) {
            wrong(s, "%s: no logits", name);
            break;
        }
        if (t == 0 && first_logits != NULL) compare_logits(s, logits, first_logits, row);
        int32_t id = largest(logits);
        if (id != recorded[t])
            wrong(s, "%s: token %lld is %d; %lld is recorded", name, (long long)t, id,
                  (long long)recorded[t]);
        for (int i = 0; i < c->end_count && first_logits != NULL; i++) ended = ended || id == c->ends[i];
        tomo_arena_reset(machine.exec.arena);
        x = tomo_decoder_embed(s->decoder, &machine.exec, &id, 1);
    }
    tomo_arena_reset(machine.exec.arena);
}

static void greedy_runs(run_state *s) {
    int64_t count;
    int32_t *ids = ids_of(&s->ids, NULL, 0, &count);
    greedy(s, ids, count, false, "greedy_ids", 0, NULL);
    greedy(s, ids, count, true, "inputs_embeds.greedy_ids", 0, NULL);
    free(ids);
    tomo_tensor batch = test_tensor(s->inputs, "batch_input_ids"),
                mask = test_tensor(s->inputs, "batch_attention_mask");
    for (int64_t row = 0; batch.data != NULL && row < batch.shape[0]; row++) {
        ids = ids_of(&batch, &mask, row, &count);
        greedy(s, ids, count, false, "batch_ids", row, "batch_first_logits");
        free(ids);
    }
}

/* The same configuration in the other layout that libraries write must be read alike. */
static void other_layout(run_state *s, const char *folder) {
    char *path = tomo_path_join(folder, "config.other_layout.json");
    tomo_decoder_config other, c = *tomo_decoder_get_config(s->decoder);
    tomo_error err = {0};
    if (path != NULL && tomo_path_exists(path)) {
        if (tomo_decoder_config_open(path, &other, &err) != TOMO_OK) {
            wrong(s, "%s", err.message);
        } else if (other.hidden != c.hidden || other.layers != c.layers || other.heads != c.heads ||
                   other.kv_heads != c.kv_heads || other.head_dim != c.head_dim ||
                   other.context != c.context || other.intermediate != c.intermediate ||
                   other.vocabulary != c.vocabulary || other.tied != c.tied || other.qkv_bias != c.qkv_bias ||
                   other.qk_norm != c.qk_norm || other.norm_eps != c.norm_eps ||
                   memcmp(&other.rope, &c.rope, sizeof c.rope) != 0) {
            wrong(s, "%s is read differently", path);
        }
    }
    free(path);
}

static void run_case(parity *p, const char *name, const char *folder, const char *model) {
    run_state s = {0};
    tomo_error err = {0};
    tomo_decoder *decoder = NULL;
    tomo_status status = tomo_decoder_open(model, NULL, false, &decoder, &err);
    s.decoder = decoder;
    if (status == TOMO_E_UNSUPPORTED) {
        parity_skip(p, name, "%s", err.message);
        return;
    }
    s.inputs = test_open_tensors(folder, "inputs.safetensors", &err);
    s.expected = test_open_tensors(folder, "expected.safetensors", &err);
    if (status != TOMO_OK || s.inputs == NULL || s.expected == NULL ||
        tomo_kv_cache_create(decoder, 512, &s.cache, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else {
        s.ids = test_tensor(s.inputs, "input_ids");
        full_pass(&s, false, "logits");
        full_pass(&s, true, "inputs_embeds.logits");
        stepwise(&s);
        greedy_runs(&s);
        if (tomo_path_is_folder(model)) other_layout(&s, folder);
        if (s.wrong[0] == '\0') {
            parity_pass(p, name);
        } else {
            parity_fail(p, name, "%s", s.wrong);
        }
    }
    tomo_kv_cache_free(s.cache);
    tomo_checkpoint_free(s.inputs);
    tomo_checkpoint_free(s.expected);
    tomo_decoder_free(decoder);
}

static void run(parity *p, const char *name, const char *folder) {
    char *model = tomo_path_join(folder, "model");
    if (model != NULL && tomo_path_is_folder(model)) run_case(p, name, folder, model);
    free(model);
    /* The same weights as one GGUF file (tests/gguf/make_models.py), where a case has them: the same numbers.
     */
    model = tomo_path_join(folder, "model.gguf");
    if (model != NULL && tomo_path_exists(model)) {
        char label[128];
        (void)snprintf(label, sizeof label, "%s as GGUF", name);
        run_case(p, label, folder, model);
    }
    free(model);
}

/* ------------------------------------------------------------------- training's adapters */

/* Logits of every row of micro-batch 0 (right-padded; padding is left out of the comparison). */
static void adapter_logits(run_state *s, const char *name) {
    tomo_tensor ids = test_tensor(s->inputs, "input_ids"), mask = test_tensor(s->inputs, "attention_mask");
    tomo_tensor image = test_tensor(s->inputs, "image_embeds"), start = test_tensor(s->inputs, "image_start");
    tomo_tensor want = test_tensor(s->expected, name);
    int64_t B = ids.shape[1], T = ids.shape[2], K = image.shape[2], H = image.shape[3],
            V = tomo_tensor_width(&want);
    for (int64_t row = 0; row < B; row++) {
        int64_t count;
        int32_t *tokens = ids_of(&ids, &mask, row, &count);
        tomo_kv_cache_truncate(s->cache, 0);
        tomo_tensor *x = tomo_decoder_embed(s->decoder, &machine.exec, tokens, count);
        if (x != NULL) {
            memcpy(tomo_tensor_f32(x) + ((const int64_t *)start.data)[0] * H,
                   tomo_tensor_f32(&image) + row * K * H, (size_t)(K * H) * sizeof(float));
        }
        tomo_tensor *hidden = tomo_decoder_forward(s->decoder, &machine.exec, s->cache, x);
        tomo_tensor *logits = tomo_decoder_logits(s->decoder, &machine.exec, hidden);
        if (logits == NULL) {
            wrong(s, "%s: no logits", name);
        } else {
            double d =
                parity_distance(tomo_tensor_f32(logits), tomo_tensor_f32(&want) + row * T * V, count * V);
            if (!(d <= 5e-4)) wrong(s, "%s is %.2e off; 5e-4 is allowed", name, d);
        }
        tomo_arena_reset(machine.exec.arena);
        free(tokens);
    }
}

static void run_adapter(run_state *s, const char *base, const char *adapter, bool merge, const char *name) {
    tomo_error err = {0};
    tomo_decoder *decoder = NULL;
    if (tomo_decoder_open(base, adapter, merge, &decoder, &err) != TOMO_OK ||
        tomo_kv_cache_create(decoder, 512, &s->cache, &err) != TOMO_OK) {
        wrong(s, "%s", err.message);
    } else {
        s->decoder = decoder;
        adapter_logits(s, name);
    }
    tomo_kv_cache_free(s->cache);
    s->cache = NULL;
    tomo_decoder_free(decoder);
}

static void run_training(parity *p, const char *name, const char *folder) {
    char *base = tomo_path_join(folder, "base"), *initial = tomo_path_join(folder, "adapter_initial");
    char *final = tomo_path_join(folder, "adapter_final"), label[160];
    tomo_error err = {0};
    (void)snprintf(label, sizeof label, "training/%s", name);
    if (base != NULL && initial != NULL && final != NULL && tomo_path_is_folder(initial)) {
        run_state s = {.inputs = test_open_tensors(folder, "batches.safetensors", &err),
                       .expected = test_open_tensors(folder, "expected.safetensors", &err)};
        if (s.inputs == NULL || s.expected == NULL) {
            wrong(&s, "%s", err.message);
        } else {
            run_adapter(&s, base, NULL, false, "logits.base");
            run_adapter(&s, base, initial, false, "logits.initial");
            run_adapter(&s, base, final, false, "logits.final");
            run_adapter(&s, base, final, true, "logits.merged");
        }
        if (s.wrong[0] == '\0') {
            parity_pass(p, label);
        } else {
            parity_fail(p, label, "%s", s.wrong);
        }
        tomo_checkpoint_free(s.inputs);
        tomo_checkpoint_free(s.expected);
    }
    free(base);
    free(initial);
    free(final);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "language");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
        parity_each_folder(&p, "../training", run_training);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
