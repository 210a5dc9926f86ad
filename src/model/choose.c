/* choose.c - closed questions: how likely each offered answer is. */
#include "model/likelihood.h"
#include "model/prompt.h"
#include "model/session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_CHOICES 26

static tomo_status encode(const tomo_model *m, tomo_ids *ids, const char *text, tomo_error *err) {
    tomo_status status = tomo_tokenizer_encode(m->tokenizer, text, strlen(text),
                                               (tomo_encode_options){.plain = true}, ids, err);
    if (status == TOMO_OK && ids->count == 0) {
        status =
            tomo_fail(err, TOMO_E_HEADER, "%s: the tokenizer gives no token for \"%.40s\"", m->folder, text);
    }
    return status;
}

/* Soft-max over the choices, in place. */
static void normalise(tomo_choice *results, size_t count) {
    double largest = -INFINITY, sum = 0;
    for (size_t i = 0; i < count; i++) largest = fmax(largest, results[i].probability);
    for (size_t i = 0; i < count; i++) sum += results[i].probability = exp(results[i].probability - largest);
    for (size_t i = 0; i < count; i++) results[i].probability /= sum;
}

static tomo_status score_choices(tomo_session *s, const tomo_ids *prompt, tomo_ids *answers, size_t count,
                                 const int32_t *letters, tomo_choice *results, tomo_error *err) {
    int64_t longest = 0, V = tomo_decoder_get_config(s->model->decoder)->vocabulary;
    for (size_t i = 0; i < count; i++) {
        if ((int64_t)answers[i].count > longest) longest = (int64_t)answers[i].count;
    }
    tomo_error failure = {0};
    tomo_tensor *logits = tomo_session_prefill(s, prompt, true, longest, &failure);
    if (logits == NULL) {
        if (err != NULL) *err = failure;
        return failure.status;
    }
    if (tomo_kv_cache_capacity(s->cache) - tomo_kv_cache_length(s->cache) < longest - 1) {
        return tomo_fail(err, TOMO_E_LIMIT,
                         "%s: question and answers do not fit into the model's context of %lld tokens",
                         s->model->folder, (long long)tomo_kv_cache_capacity(s->cache));
    }
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        status = tomo_ids_check(&letters[i], 1, V, s->model->folder, err);
        if (status != TOMO_OK) break;
        results[i].probability = (double)tomo_tensor_f32(logits)[letters[i]];
        status =
            tomo_session_score(s, tomo_tensor_f32(logits), &answers[i], &results[i].log_probability, err);
        results[i].log_probability_per_token = results[i].log_probability / (double)answers[i].count;
        /* Where the letter comes last, the first token says nothing of it. */
        if (s->model->config.text_first) results[i].probability = results[i].log_probability;
    }
    if (status == TOMO_OK) normalise(results, count);
    return status;
}

/* The ids of each letter alone and of the whole answer. */
static tomo_status encode_choices(const tomo_model *m, const char *const *choices, size_t count,
                                  int32_t *letters, tomo_ids *answers, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        tomo_buffer text = {.maximum = SIZE_MAX / 2};
        tomo_ids letter = {0};
        const char name[2] = {(char)('A' + i), '\0'};
        status = encode(m, &letter, name, err);
        if (status == TOMO_OK) {
            letters[i] = letter.data[0];
            status = tomo_prompt_answer(m->config.text_first, name, choices[i], &text)
                         ? encode(m, &answers[i], text.data, err)
                         : tomo_fail_memory(err, "a choice", strlen(choices[i]));
        }
        tomo_ids_free(&letter);
        tomo_buffer_free(&text);
    }
    return status;
}

tomo_status tomo_session_choose(tomo_session *session, const char *question, const char *const *choices,
                                size_t count, tomo_choice *results, tomo_error *err) {
    if (count < 2 || count > MOST_CHOICES) {
        return tomo_fail(err, TOMO_E_USAGE, "%zu choices; 2 to %d are wanted", count, MOST_CHOICES);
    }
    if (!session->has_scan) return tomo_fail(err, TOMO_E_USAGE, "no scan was read into this session");
    const tomo_model *m = session->model;
    tomo_ids prompt = {0}, answers[MOST_CHOICES] = {{0}};
    int32_t letters[MOST_CHOICES];
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    int64_t tokens = tomo_model_config_image_tokens(&m->config);
    tomo_status status = tomo_buffer_add_text(&text, question) && tomo_prompt_offer(choices, count, &text)
                             ? tomo_prompt_question(m, text.data, tokens, &prompt, err)
                             : tomo_fail_memory(err, "a question", text.size);
    if (status == TOMO_OK) status = encode_choices(m, choices, count, letters, answers, err);
    if (status == TOMO_OK) status = score_choices(session, &prompt, answers, count, letters, results, err);
    for (size_t i = 0; i < count; i++) tomo_ids_free(&answers[i]);
    tomo_ids_free(&prompt);
    tomo_buffer_free(&text);
    return status;
}
