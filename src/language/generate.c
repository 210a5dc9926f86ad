#include "language/generate.h"

#include <stdlib.h>
#include <string.h>

/* Room for the text of one token when buffers are reserved ahead; longer ones make the buffer grow. */
#define BYTES_PER_TOKEN 16

typedef struct generator {
    const tomo_decoder *decoder;
    tomo_exec *exec;
    tomo_kv_cache *cache;
    const tomo_generation *how;
    tomo_generated *out;
    tomo_sampler *sampler;
    tomo_decode_stream *stream;
    int32_t *history; /* the prompt's part, then the generated ids */
    size_t history_count;
} generator;

static bool ends_turn(const generator *g, int32_t id) {
    const tomo_decoder_config *c = tomo_decoder_get_config(g->decoder);
    if (id == g->how->end_id) return true;
    for (int i = 0; i < c->end_count; i++) {
        if (id == c->ends[i]) return true;
    }
    return false;
}

/* All memory that the loop needs, before the first token. */
static tomo_status prepare(generator *g, const tomo_tokenizer *tokenizer, tomo_error *err) {
    const tomo_generation *how = g->how;
    int64_t vocabulary = tomo_decoder_get_config(g->decoder)->vocabulary;
    size_t most = how->history_count + (size_t)how->max_tokens;
    tomo_status status = tomo_sampler_create(&how->sampling, (int32_t)vocabulary, &g->sampler, err);
    if (status == TOMO_OK) status = tomo_decode_stream_create(tokenizer, true, &g->stream, err);
    if (status != TOMO_OK) return status;
    g->history = calloc(most + 1, sizeof *g->history);
    g->out->ids.data = calloc((size_t)how->max_tokens + 1, sizeof *g->out->ids.data);
    g->out->ids.capacity = (size_t)how->max_tokens + 1;
    size_t bytes = (size_t)how->max_tokens * BYTES_PER_TOKEN + 64;
    g->out->text = (tomo_buffer){.data = calloc(1, bytes), .capacity = bytes, .maximum = SIZE_MAX / 2};
    if (g->history == NULL || g->out->ids.data == NULL || g->out->text.data == NULL) {
        return tomo_fail_memory(err, "an answer", bytes);
    }
    if (how->history_count > 0) memcpy(g->history, how->history, how->history_count * sizeof *g->history);
    g->history_count = how->history_count;
    return TOMO_OK;
}

/* Hands the text behind `from` to the callback; false when it wants no more. */
static bool hand_out(const generator *g, size_t from) {
    const tomo_buffer *text = &g->out->text;
    if (g->how->text == NULL || text->size == from) return true;
    return g->how->text(g->how->user, text->data + from, text->size - from);
}

/* Takes in one token; *more tells whether another is wanted. */
static tomo_status take(generator *g, int32_t id, bool *more, tomo_error *err) {
    tomo_generated *out = g->out;
    *more = false;
    if (!tomo_ids_add(&out->ids, id)) return tomo_fail_memory(err, "an answer", out->ids.capacity);
    if (ends_turn(g, id)) {
        out->finish = "stop";
        return TOMO_OK;
    }
    out->count = out->ids.count;
    g->history[g->history_count++] = id;
    size_t from = out->text.size;
    tomo_status status = tomo_decode_stream_push(g->stream, id, &out->text, err);
    if (status != TOMO_OK) return status;
    if (!hand_out(g, from)) {
        out->finish = "callback";
    } else if ((int64_t)out->count >= g->how->max_tokens ||
               tomo_kv_cache_length(g->cache) >= tomo_kv_cache_capacity(g->cache)) {
        out->finish = "length";
    } else {
        *more = true;
    }
    return TOMO_OK;
}

static tomo_status loop(generator *g, tomo_tensor *logits, tomo_error *err) {
    tomo_arena_mark start = tomo_arena_get_mark(g->exec->arena);
    for (;;) {
        int32_t id = tomo_sampler_choose(g->sampler, tomo_tensor_f32(logits), g->history, g->history_count);
        if (id < 0)
            return tomo_fail(err, TOMO_E_HEADER,
                             "the language model gave no number for any token; its weights "
                             "or the scan's tokens are broken");
        bool more;
        tomo_status status = take(g, id, &more, err);
        if (status != TOMO_OK || !more) return status;
        status = tomo_progress(g->exec->hooks, "writing", (int64_t)g->out->count, g->how->max_tokens, err);
        if (status != TOMO_OK) return status;
        tomo_arena_rewind(g->exec->arena, start);
        tomo_tensor *x = tomo_decoder_embed(g->decoder, g->exec, &id, 1);
        logits = tomo_decoder_prefill(g->decoder, g->exec, g->cache, x);
        if (logits == NULL) return tomo_exec_status(g->exec, err);
    }
}

tomo_status tomo_generate(const tomo_decoder *decoder, const tomo_tokenizer *tokenizer, tomo_exec *exec,
                          tomo_kv_cache *cache, tomo_tensor *logits, const tomo_generation *how,
                          tomo_generated *out, tomo_error *err) {
    generator g = {.decoder = decoder, .exec = exec, .cache = cache, .how = how, .out = out};
    tomo_status status = prepare(&g, tokenizer, err);
    if (status == TOMO_OK) {
        status = loop(&g, logits, err);
        size_t from = out->text.size;
        bool refused =
            out->finish != NULL && strcmp(out->finish, "callback") == 0; /* nothing more is wanted */
        if (status == TOMO_OK && !refused) status = tomo_decode_stream_finish(g.stream, &out->text, err);
        if (status == TOMO_OK && !refused) (void)hand_out(&g, from);
    }
    tomo_sampler_free(g.sampler);
    tomo_decode_stream_free(g.stream);
    free(g.history);
    return status;
}

void tomo_generated_free(tomo_generated *generated) {
    tomo_ids_free(&generated->ids);
    tomo_buffer_free(&generated->text);
    *generated = (tomo_generated){0};
}
