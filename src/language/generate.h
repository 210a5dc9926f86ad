/* generate.h - one answer, token by token. */
#ifndef TOMO_LANGUAGE_GENERATE_H
#define TOMO_LANGUAGE_GENERATE_H

#include "language/decoder.h"
#include "text/sampling.h"
#include "text/tokenizer.h"

typedef struct tomo_generation {
    tomo_sampling sampling;
    int64_t max_tokens;
    int32_t end_id;         /* ends the turn beside the model's own end ids; -1: none */
    const int32_t *history; /* ids of the prompt that the repetition penalty counts; with image embeddings
                               none, as in transformers' generate */
    size_t history_count;
    tomo_text_fn text; /* or NULL */
    void *user;
} tomo_generation;

typedef struct tomo_generated {
    tomo_ids ids;       /* with the id that ended the turn, if one did */
    size_t count;       /* without it */
    tomo_buffer text;   /* special tokens left out */
    const char *finish; /* "stop", "length" or "callback"; static */
} tomo_generated;

/* Continues what the cache holds. logits [1, V]: after the last token, in the exec's arena (they are used
 * up). Allocates nothing between two tokens once the arena has seen one. Cancelled by the exec's hooks. `out`
 * is zero before and freed by tomo_generated_free, also after a failure. */
tomo_status tomo_generate(const tomo_decoder *decoder, const tomo_tokenizer *tokenizer, tomo_exec *exec,
                          tomo_kv_cache *cache, tomo_tensor *logits, const tomo_generation *how,
                          tomo_generated *out, tomo_error *err);
void tomo_generated_free(tomo_generated *generated);

#endif
