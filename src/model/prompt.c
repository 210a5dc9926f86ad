#include "model/prompt.h"

#include <string.h>

/* Begin-of-text and the like, as the tokenizer's post-processor puts them before a text. */
static tomo_status add_begin(const tomo_model *m, tomo_ids *ids, tomo_error *err) {
    return tomo_tokenizer_encode(m->tokenizer, "", 0, (tomo_encode_options){.add_special = true}, ids, err);
}

static tomo_status add_plain(const tomo_model *m, const char *text, tomo_ids *ids, tomo_error *err) {
    return tomo_tokenizer_encode(m->tokenizer, text, strlen(text), (tomo_encode_options){.plain = true}, ids,
                                 err);
}

bool tomo_prompt_answer(bool text_first, const char *letter, const char *text, tomo_buffer *answer) {
    return text_first ? tomo_buffer_format(answer, "%s: %s.", text, letter)
                      : tomo_buffer_format(answer, "%s. %s", letter, text);
}

#define OFFER " Choices:"
#define FIRST OFFER " A. "

bool tomo_prompt_offer(const char *const *choices, size_t count, tomo_buffer *question) {
    bool done = tomo_buffer_add_text(question, OFFER);
    for (size_t i = 0; i < count && done; i++) {
        done = tomo_buffer_format(question, " %c. %s", (char)('A' + i), choices[i]);
    }
    return done;
}

/* The first choice of the last offer in a question; or NULL. */
static const char *first_choice(const char *question) {
    const char *found = NULL;
    for (const char *at = strstr(question, FIRST); at != NULL; at = strstr(at, FIRST)) {
        found = at += strlen(FIRST);
    }
    return found;
}

bool tomo_prompt_has_choices(const char *question) {
    return first_choice(question) != NULL;
}

void tomo_prompt_correct_letter(const char *question, char *answer) {
    char *colon = strrchr(answer, ':');
    if (colon == NULL || colon[1] != ' ' || colon[2] < 'A' || colon[2] > 'Z' || colon[3] != '.') return;
    size_t length = (size_t)(colon - answer);
    char next[] = " B. "; /* what the choice after this one begins with */
    for (const char *choice = first_choice(question); choice != NULL; next[1]++) {
        const char *end = next[1] <= 'Z' ? strstr(choice, next) : NULL;
        size_t size = end != NULL ? (size_t)(end - choice) : strlen(choice);
        if (size == length && memcmp(choice, answer, length) == 0) {
            colon[2] = (char)(next[1] - 1);
            return;
        }
        choice = end != NULL ? end + strlen(next) : NULL;
    }
}

/* The benchmark's text: placeholders, and what stands behind them at once. */
tomo_status tomo_prompt_m3d(const tomo_model *m, const char *text, int64_t image_tokens, tomo_ids *ids,
                            tomo_error *err) {
    tomo_status status = add_begin(m, ids, err);
    for (int64_t i = 0; i < image_tokens && status == TOMO_OK; i++) {
        if (!tomo_ids_add(ids, m->image_id)) status = tomo_fail_memory(err, "prompt", ids->capacity);
    }
    return status == TOMO_OK ? add_plain(m, text, ids, err) : status;
}

/* A question stands behind a space. */
static tomo_status question_m3d(const tomo_model *m, const char *question, int64_t image_tokens,
                                tomo_ids *ids, tomo_error *err) {
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    tomo_status status = tomo_buffer_format(&text, " %s", question)
                             ? tomo_prompt_m3d(m, text.data, image_tokens, ids, err)
                             : tomo_fail_memory(err, "prompt", strlen(question));
    tomo_buffer_free(&text);
    return status;
}

static tomo_status needs_chat(const tomo_model *m, tomo_error *err) {
    if (m->chat != NULL) return TOMO_OK;
    if (err != NULL) *err = m->chat_error;
    return m->chat_error.status;
}

static tomo_status chat_scan(const tomo_model *m, const char *text, int64_t image_tokens, tomo_ids *ids,
                             tomo_error *err) {
    tomo_status status = needs_chat(m, err);
    if (status != TOMO_OK) return status;
    tomo_chat_message messages[2];
    size_t count = 0;
    if (m->config.system != NULL) messages[count++] = (tomo_chat_message){"system", m->config.system, 0};
    messages[count++] = (tomo_chat_message){"user", text, (int32_t)image_tokens};
    return tomo_chat_encode(m->chat, m->tokenizer, messages, count, true, m->image_id, ids, err);
}

tomo_status tomo_prompt_question(const tomo_model *m, const char *question, int64_t image_tokens,
                                 tomo_ids *ids, tomo_error *err) {
    if (m->config.prompt_format == TOMO_PROMPT_M3D) return question_m3d(m, question, image_tokens, ids, err);
    return chat_scan(m, question, image_tokens, ids, err);
}

tomo_status tomo_prompt_report(const tomo_model *m, const char *instruction, int64_t image_tokens,
                               tomo_ids *ids, tomo_error *err) {
    const char *text = instruction != NULL ? instruction : m->config.report;
    if (m->config.prompt_format == TOMO_PROMPT_M3D) return tomo_prompt_m3d(m, text, image_tokens, ids, err);
    return chat_scan(m, text, image_tokens, ids, err);
}

tomo_status tomo_prompt_text(const tomo_model *m, const char *text, bool chat, tomo_ids *ids,
                             tomo_error *err) {
    if (!chat) {
        tomo_encode_options options = {.add_special = true, .plain = true};
        return tomo_tokenizer_encode(m->tokenizer, text, strlen(text), options, ids, err);
    }
    tomo_status status = needs_chat(m, err);
    if (status != TOMO_OK) return status;
    tomo_chat_message message = {"user", text, 0};
    return tomo_chat_encode(m->chat, m->tokenizer, &message, 1, true, m->image_id, ids, err);
}

tomo_position_block tomo_prompt_positions(const tomo_model *m, const int32_t *ids, size_t count) {
    tomo_position_block block = {0};
    if (!m->config.image_positions_shared) return block;
    for (size_t i = 0; i < count; i++) {
        if (ids[i] != m->image_id) continue;
        if (block.count == 0) block.first = (int64_t)i;
        block.count = (int64_t)i + 1 - block.first;
    }
    return block;
}

tomo_tensor *tomo_prompt_embed(const tomo_model *m, tomo_exec *exec, const tomo_ids *ids, const float *tokens,
                               int64_t token_count) {
    const tomo_decoder_config *c = tomo_decoder_get_config(m->decoder);
    int64_t places = 0;
    if (tomo_ids_check(ids->data, ids->count, c->vocabulary, m->folder, &exec->error) != TOMO_OK) return NULL;
    for (size_t i = 0; i < ids->count; i++) {
        places += tokens != NULL && ids->data[i] == m->image_id;
    }
    if (tokens != NULL && places != token_count) {
        (void)tomo_fail(&exec->error, TOMO_E_INTERNAL, "the prompt has %lld places for %lld visual tokens",
                        (long long)places, (long long)token_count);
        return NULL;
    }
    tomo_tensor *x = tomo_decoder_embed(m->decoder, exec, ids->data, (int64_t)ids->count);
    for (size_t i = 0, next = 0; x != NULL && tokens != NULL && i < ids->count; i++) {
        if (ids->data[i] != m->image_id) continue;
        memcpy(tomo_tensor_f32(x) + (int64_t)i * c->hidden, tokens + next++ * (size_t)c->hidden,
               (size_t)c->hidden * sizeof(float));
    }
    return x;
}
