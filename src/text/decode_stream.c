/* decode_stream.c - decoding one token after another without handing out part of a character. */
#include "text/tokenizer_impl.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Bytes that may yet become a character: at most three, as the fourth completes the longest. */
struct tomo_decode_stream {
    const tomo_tokenizer *tokenizer;
    bool skip_special;
    bool started; /* WordPiece: a token was decoded */
    unsigned char held[4];
    size_t held_size;
};

tomo_status tomo_decode_stream_create(const tomo_tokenizer *tokenizer, bool skip_special,
                                      tomo_decode_stream **stream, tomo_error *err) {
    tomo_decode_stream *s = calloc(1, sizeof *s);
    *stream = s;
    if (s == NULL) return tomo_fail_memory(err, "decoding", sizeof *s);
    s->tokenizer = tokenizer;
    s->skip_special = skip_special;
    return TOMO_OK;
}

void tomo_decode_stream_free(tomo_decode_stream *stream) {
    free(stream);
}

static tomo_status put(tomo_buffer *text, const void *bytes, size_t size, tomo_error *err) {
    return tomo_buffer_add(text, bytes, size) ? TOMO_OK
                                              : tomo_fail_memory(err, "decoded text", text->size + size);
}

/* Takes one byte more; writes what has become certain. */
static tomo_status take(tomo_decode_stream *s, unsigned char byte, tomo_buffer *text, tomo_error *err) {
    s->held[s->held_size++] = byte;
    while (s->held_size > 0) {
        uint32_t c;
        bool cut = false;
        size_t length = tomo_utf8_next(s->held, s->held_size, &c, &cut);
        if (cut) return TOMO_OK;
        unsigned char bytes[4];
        tomo_status status = put(text, bytes, tomo_utf8_put(c, bytes), err);
        if (status != TOMO_OK) return status;
        s->held_size -= length;
        memmove(s->held, s->held + length, s->held_size);
    }
    return TOMO_OK;
}

/* Tokens of WordPiece are whole characters. */
static tomo_status push_wordpiece(tomo_decode_stream *s, int32_t id, tomo_buffer *text, tomo_error *err) {
    const char *token = tomo_tokenizer_text(s->tokenizer, id);
    const tomo_added_token *added = tomo_added_at(&s->tokenizer->added, id);
    if (token == NULL || (s->skip_special && added != NULL && added->left_out)) return TOMO_OK;
    bool first = !s->started;
    s->started = true;
    return tomo_wordpiece_decode(&s->tokenizer->wordpiece, token, first, text, err);
}

tomo_status tomo_decode_stream_push(tomo_decode_stream *s, int32_t id, tomo_buffer *text, tomo_error *err) {
    if (s->tokenizer->has_wordpiece) return push_wordpiece(s, id, text, err);
    const unsigned char *bytes = NULL;
    size_t size = 0;
    if (!tomo_tokenizer_bytes(s->tokenizer, id, &bytes, &size)) return TOMO_OK;
    const tomo_added_token *added = tomo_added_at(&s->tokenizer->added, id);
    if (s->skip_special && added != NULL && added->left_out) return TOMO_OK;
    for (size_t i = 0; i < size; i++) {
        tomo_status status = take(s, bytes[i], text, err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

tomo_status tomo_decode_stream_finish(tomo_decode_stream *s, tomo_buffer *text, tomo_error *err) {
    if (s->held_size == 0) return TOMO_OK;
    s->held_size = 0;
    return put(text, "\xef\xbf\xbd", 3, err);
}
