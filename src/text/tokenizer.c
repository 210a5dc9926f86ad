/* Encoding: added tokens are found in the raw text; each rest is normalised, added tokens that ask for it are
 * found in that; each rest of that is cut into words, and each word merged from its bytes. */
#include "text/tokenizer_impl.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one text: positions in a word are int32. */
#define LIMIT_TEXT ((size_t)1 << 30)

bool tomo_ids_add(tomo_ids *ids, int32_t id) {
    if (ids->count == ids->capacity) {
        size_t capacity = ids->capacity == 0 ? 64 : ids->capacity * 2;
        if (capacity > SIZE_MAX / sizeof *ids->data) return false;
        int32_t *data = realloc(ids->data, capacity * sizeof *data);
        if (data == NULL) return false;
        ids->data = data;
        ids->capacity = capacity;
    }
    ids->data[ids->count++] = id;
    return true;
}

void tomo_ids_free(tomo_ids *ids) {
    free(ids->data);
    *ids = (tomo_ids){0};
}

tomo_status tomo_ids_check(const int32_t *ids, size_t count, int64_t vocabulary, const char *folder,
                           tomo_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && ids[i] < vocabulary) continue;
        return tomo_fail(err, TOMO_E_HEADER, "%s: the tokenizer gives id %d; 0 to %lld are wanted", folder,
                         (int)ids[i], (long long)vocabulary - 1);
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ encoding */

typedef struct encoder {
    const tomo_tokenizer *tokenizer;
    tomo_ids *ids;
    tomo_bpe_scratch bpe;
    tomo_matcher matchers[TOMO_STEPS]; /* one a step: a step's spans are cut while its own search goes on */
    tomo_buffer normalized;
} encoder;

static void encoder_free(encoder *e) {
    tomo_bpe_scratch_free(&e->bpe);
    for (size_t i = 0; i < TOMO_STEPS; i++) tomo_matcher_free(&e->matchers[i]);
    tomo_buffer_free(&e->normalized);
}

static tomo_status run_steps(encoder *e, size_t step, const unsigned char *text, size_t size,
                             tomo_error *err);

/* A span of one step, which the next ones cut further. */
typedef struct cut {
    encoder *encoder;
    size_t step;
    const unsigned char *text;
} cut;

static tomo_status cut_further(void *user, size_t begin, size_t end, bool matched, tomo_error *err) {
    const cut *c = user;
    if (!matched && c->encoder->tokenizer->steps[c->step].matches_only) return TOMO_OK;
    return run_steps(c->encoder, c->step + 1, c->text + begin, end - begin, err);
}

static tomo_status run_step(encoder *e, size_t step, const unsigned char *text, size_t size,
                            tomo_error *err) {
    const tomo_step *s = &e->tokenizer->steps[step];
    cut c = {e, step, text};
    if (s->pattern == NULL) return run_steps(e, step + 1, text, size, err);
    return tomo_pattern_split(s->pattern, &e->matchers[step], text, size, cut_further, &c, err);
}

/* Cuts text (not empty) by the steps from `step` on and encodes the words. */
static tomo_status run_steps(encoder *e, size_t step, const unsigned char *text, size_t size,
                             tomo_error *err) {
    const tomo_tokenizer *t = e->tokenizer;
    if (t->has_wordpiece) {
        return tomo_wordpiece_encode(&t->wordpiece, &t->bpe.vocabulary, text, size, &e->bpe.text, e->ids,
                                     err);
    }
    if (step == t->step_count) return tomo_bpe_encode(&t->bpe, text, size, &e->bpe, e->ids, err);
    if (!t->steps[step].prefix_space || text[0] == ' ') return run_step(e, step, text, size, err);
    tomo_buffer spaced = {.maximum = SIZE_MAX};
    (void)tomo_buffer_add(&spaced, " ", 1);
    tomo_status status = tomo_buffer_add(&spaced, text, size) ? TOMO_OK : tomo_fail_memory(err, "text", size);
    if (status == TOMO_OK) status = run_step(e, step, (const unsigned char *)spaced.data, spaced.size, err);
    tomo_buffer_free(&spaced);
    return status;
}

static tomo_status normalized_part(void *user, const unsigned char *text, size_t size,
                                   const tomo_added_token *token, tomo_error *err) {
    encoder *e = user;
    if (token == NULL) return run_steps(e, 0, text, size, err);
    return tomo_ids_add(e->ids, token->id) ? TOMO_OK : tomo_fail_memory(err, "tokens", e->ids->count);
}

tomo_status tomo_tokenizer_normalize(const tomo_tokenizer *t, const unsigned char *text, size_t size,
                                     tomo_buffer *out, tomo_error *err) {
    if (t->nfc) return tomo_unicode_nfc(text, size, out, err);
    bool good = t->has_wordpiece ? tomo_wordpiece_normalize(&t->wordpiece, text, size, out)
                                 : tomo_buffer_add(out, text, size);
    return good ? TOMO_OK : tomo_fail_memory(err, "text", size);
}

/* Normalises text in which no more raw tokens are, and encodes it. */
static tomo_status encode_rest(encoder *e, const unsigned char *text, size_t size, bool plain,
                               tomo_error *err) {
    if (e->tokenizer->nfc || e->tokenizer->has_wordpiece) {
        tomo_buffer_clear(&e->normalized);
        tomo_status status = tomo_tokenizer_normalize(e->tokenizer, text, size, &e->normalized, err);
        if (status != TOMO_OK) return status;
        text = (const unsigned char *)e->normalized.data;
        size = e->normalized.size;
    }
    if (size == 0) return TOMO_OK;
    if (plain) return run_steps(e, 0, text, size, err);
    return tomo_added_split(&e->tokenizer->added.normalized, text, size, normalized_part, e, err);
}

static tomo_status raw_part(void *user, const unsigned char *text, size_t size, const tomo_added_token *token,
                            tomo_error *err) {
    encoder *e = user;
    if (token == NULL) return encode_rest(e, text, size, false, err);
    return tomo_ids_add(e->ids, token->id) ? TOMO_OK : tomo_fail_memory(err, "tokens", e->ids->count);
}

static tomo_status add_affixes(tomo_ids *ids, const int32_t *affixes, size_t count, tomo_error *err) {
    for (size_t i = 0; i < count; i++) {
        if (!tomo_ids_add(ids, affixes[i])) return tomo_fail_memory(err, "tokens", ids->count);
    }
    return TOMO_OK;
}

static bool is_valid_utf8(const unsigned char *text, size_t size) {
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t c;
        length = tomo_utf8_next(text + at, size - at, &c, NULL);
        if (c == 0xfffd && !(length == 3 && text[at] == 0xef)) return false;
    }
    return true;
}

tomo_status tomo_tokenizer_encode(const tomo_tokenizer *t, const char *text, size_t size,
                                  tomo_encode_options options, tomo_ids *ids, tomo_error *err) {
    encoder e = {.tokenizer = t, .ids = ids};
    e.bpe.text.maximum = e.normalized.maximum = SIZE_MAX;
    tomo_buffer repaired = {.maximum = SIZE_MAX};
    const unsigned char *bytes = (const unsigned char *)text;
    if (size > LIMIT_TEXT) {
        return tomo_fail(err, TOMO_E_LIMIT, "a text of %zu bytes; at most %zu are encoded", size, LIMIT_TEXT);
    }
    tomo_status status = TOMO_OK;
    if (!is_valid_utf8(bytes, size)) {
        if (!tomo_utf8_repair(bytes, size, &repaired)) status = tomo_fail_memory(err, "text", size);
        bytes = (const unsigned char *)repaired.data;
        size = repaired.size;
    }
    if (status == TOMO_OK && options.add_special) status = add_affixes(ids, t->before, t->before_count, err);
    if (status == TOMO_OK && size > 0) {
        status = options.plain ? encode_rest(&e, bytes, size, true, err)
                               : tomo_added_split(&t->added.raw, bytes, size, raw_part, &e, err);
    }
    if (status == TOMO_OK && options.add_special) status = add_affixes(ids, t->behind, t->behind_count, err);
    encoder_free(&e);
    tomo_buffer_free(&repaired);
    return status;
}

/* ------------------------------------------------------------------------------ decoding */

const char *tomo_tokenizer_text(const tomo_tokenizer *t, int32_t id) {
    const tomo_added_token *added = tomo_added_at(&t->added, id);
    if (added != NULL) return added->pattern; /* tokenizers 0.23 decodes to the normalised text */
    const tomo_vocabulary *v = &t->bpe.vocabulary;
    return id >= 0 && id < v->size ? v->tokens[id].text : NULL;
}

bool tomo_tokenizer_bytes(const tomo_tokenizer *t, int32_t id, const unsigned char **bytes, size_t *size) {
    const tomo_added_token *added = tomo_added_at(&t->added, id);
    if (added != NULL) {
        *bytes = added->bytes;
        *size = added->byte_size;
        return true;
    }
    const tomo_vocabulary *v = &t->bpe.vocabulary;
    if (id < 0 || id >= v->size || v->tokens[id].text == NULL) return false;
    *bytes = v->tokens[id].bytes;
    *size = v->tokens[id].byte_size;
    return true;
}

tomo_status tomo_tokenizer_decode(const tomo_tokenizer *t, const int32_t *ids, size_t count,
                                  bool skip_special, tomo_buffer *text, tomo_error *err) {
    tomo_decode_stream *stream = NULL;
    tomo_status status = tomo_decode_stream_create(t, skip_special, &stream, err);
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        status = tomo_decode_stream_push(stream, ids[i], text, err);
    }
    if (status == TOMO_OK) status = tomo_decode_stream_finish(stream, text, err);
    tomo_decode_stream_free(stream);
    return status;
}

int32_t tomo_tokenizer_id(const tomo_tokenizer *t, const char *token) {
    const tomo_added_token *added = tomo_added_find(&t->added, token);
    return added != NULL ? added->id : tomo_vocabulary_find(&t->bpe.vocabulary, token, strlen(token));
}

int32_t tomo_tokenizer_size(const tomo_tokenizer *t) {
    return t->added.size > t->bpe.vocabulary.size ? t->added.size : t->bpe.vocabulary.size;
}

bool tomo_tokenizer_is_special(const tomo_tokenizer *t, int32_t id) {
    const tomo_added_token *added = tomo_added_at(&t->added, id);
    return added != NULL && added->special;
}
