#include "model/likelihood.h"

#include "model/prompt.h"

#include <math.h>
#include <string.h>

/* Rows of logits that are held at a time: a vocabulary of 150,000 takes 38 MB. */
#define ROWS 64

static double log_of_sum(const float *logits, int64_t n) {
    double largest = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) largest = fmax(largest, (double)logits[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)logits[i] - largest);
    return largest + log(sum);
}

/* Reads ids `from` .. `to` - 1 and adds what each says of the next one. */
static void score_rows(tomo_session *s, const tomo_ids *ids, size_t from, size_t to, double *sum) {
    int64_t V = tomo_decoder_get_config(s->model->decoder)->vocabulary;
    tomo_ids piece = {.data = ids->data + from, .count = to - from};
    tomo_tensor *x = tomo_prompt_embed(s->model, &s->exec, &piece, NULL, 0);
    tomo_tensor *hidden = tomo_decoder_forward(s->model->decoder, &s->exec, s->cache, x);
    tomo_tensor *logits = tomo_decoder_logits(s->model->decoder, &s->exec, hidden);
    for (size_t i = from; i < to && logits != NULL; i++) {
        const float *row = tomo_tensor_f32(logits) + (int64_t)(i - from) * V;
        *sum += (double)row[ids->data[i + 1]] - log_of_sum(row, V);
    }
}

tomo_status tomo_session_score(tomo_session *s, const float *first, const tomo_ids *ids, double *sum,
                               tomo_error *err) {
    int64_t V = tomo_decoder_get_config(s->model->decoder)->vocabulary;
    int64_t length = tomo_kv_cache_length(s->cache);
    tomo_status status = tomo_ids_check(ids->data, ids->count, V, s->model->folder, err);
    if (status != TOMO_OK) return status;
    *sum = (double)first[ids->data[0]] - log_of_sum(first, V);
    tomo_arena_mark mark = tomo_arena_get_mark(s->exec.arena);
    for (size_t from = 0; from + 1 < ids->count && s->exec.error.status == TOMO_OK; from += ROWS) {
        size_t to = from + ROWS < ids->count - 1 ? from + ROWS : ids->count - 1;
        score_rows(s, ids, from, to, sum);
        tomo_arena_rewind(s->exec.arena, mark);
    }
    tomo_kv_cache_truncate(s->cache, length);
    return tomo_exec_status(&s->exec, err);
}

/* Prompt and text as ids; without a scan the prompt is the text's first token. */
static tomo_status encode(const tomo_session *s, const char *question, const char *text, tomo_ids *prompt,
                          tomo_ids *ids, tomo_error *err) {
    const tomo_model *m = s->model;
    tomo_encode_options plain = {.plain = true};
    tomo_status status = tomo_tokenizer_encode(m->tokenizer, text, strlen(text), plain, ids, err);
    if (status != TOMO_OK) return status;
    if (s->has_scan) {
        int64_t tokens = tomo_model_config_image_tokens(&m->config);
        status = question != NULL ? tomo_prompt_question(m, question, tokens, prompt, err)
                                  : tomo_prompt_report(m, NULL, tokens, prompt, err);
    } else if (ids->count > 1) {
        if (!tomo_ids_add(prompt, ids->data[0])) return tomo_fail_memory(err, "a text", ids->count);
        memmove(ids->data, ids->data + 1, --ids->count * sizeof *ids->data);
    }
    if (status == TOMO_OK && (ids->count == 0 || prompt->count == 0))
        return tomo_fail(err, TOMO_E_USAGE, "a text of at least two tokens is wanted");
    return status;
}

tomo_status tomo_session_log_probability(tomo_session *s, const char *question, const char *text,
                                         double *log_probability, size_t *tokens, tomo_error *err) {
    tomo_ids prompt = {0}, ids = {0};
    tomo_error failure = {0};
    tomo_status status = encode(s, question, text, &prompt, &ids, err);
    if (status == TOMO_OK) {
        tomo_tensor *logits = tomo_session_prefill(s, &prompt, s->has_scan, (int64_t)ids.count, &failure);
        int64_t room = logits == NULL ? 0 : tomo_kv_cache_capacity(s->cache) - tomo_kv_cache_length(s->cache);
        if (logits == NULL) {
            status = failure.status;
            if (err != NULL) *err = failure;
        } else if (room < (int64_t)ids.count) {
            status =
                tomo_fail(err, TOMO_E_LIMIT, "%s: a text of %zu tokens does not fit into the model's context",
                          s->model->folder, ids.count);
        } else {
            status = tomo_session_score(s, tomo_tensor_f32(logits), &ids, log_probability, err);
        }
    }
    *tokens = ids.count;
    tomo_ids_free(&prompt);
    tomo_ids_free(&ids);
    return status;
}
