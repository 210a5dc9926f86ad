/* tokenizer.h - text to token ids and back, as a model's own tokenizer.json describes it.
 *
 * Equal to the Python library tokenizers 0.23 (tests/reference/tokenizer/README.md). */
#ifndef TOMO_TEXT_TOKENIZER_H
#define TOMO_TEXT_TOKENIZER_H

#include "base/buffer.h"
#include "base/json.h"
#include "base/status.h"

/* A growing list of token ids; start with {0}, end with tomo_ids_free. */
typedef struct tomo_ids {
    int32_t *data;
    size_t count, capacity;
} tomo_ids;

bool tomo_ids_add(tomo_ids *ids, int32_t id); /* false: out of memory */
void tomo_ids_free(tomo_ids *ids);
/* TOMO_E_HEADER, naming folder and id, unless a model with this vocabulary has every id: its tokenizer is a
 * file of its own, and may be another's. */
tomo_status tomo_ids_check(const int32_t *ids, size_t count, int64_t vocabulary, const char *folder,
                           tomo_error *err);

/* Immutable after opening: any number of threads may use one. */
typedef struct tomo_tokenizer tomo_tokenizer;

/* folder: holds tokenizer.json of a byte-level BPE or a WordPiece tokenizer. Other kinds (SentencePiece,
 * Unigram) are TOMO_E_UNSUPPORTED, and the message names file and kind. */
tomo_status tomo_tokenizer_open(const char *folder, tomo_tokenizer **tokenizer, tomo_error *err);
/* The same from the bytes of a tokenizer.json; `name` is used in messages. */
tomo_status tomo_tokenizer_open_memory(const char *name, const void *bytes, size_t size,
                                       tomo_tokenizer **tokenizer, tomo_error *err);
/* The same from a document, which is not referred to afterwards. */
tomo_status tomo_tokenizer_open_document(const char *name, const cJSON *root, tomo_tokenizer **tokenizer,
                                         tomo_error *err);
void tomo_tokenizer_free(tomo_tokenizer *tokenizer);

typedef struct tomo_encode_options {
    bool add_special; /* what the post-processor adds: begin and end of text */
    bool plain;       /* added tokens in the text are ordinary text: the user's own words must be encoded so,
                         or a question could forge a turn or an image */
} tomo_encode_options;

/* Appends the ids of text[size] (UTF-8; invalid bytes count as U+FFFD). */
tomo_status tomo_tokenizer_encode(const tomo_tokenizer *tokenizer, const char *text, size_t size,
                                  tomo_encode_options options, tomo_ids *ids, tomo_error *err);

/* Appends the text of ids[count]. Ids that do not exist are skipped. skip_special leaves out special tokens.
 */
tomo_status tomo_tokenizer_decode(const tomo_tokenizer *tokenizer, const int32_t *ids, size_t count,
                                  bool skip_special, tomo_buffer *text, tomo_error *err);

/* The id of a token by its exact content (added tokens first), or -1. */
int32_t tomo_tokenizer_id(const tomo_tokenizer *tokenizer, const char *token);
/* Largest id + 1. */
int32_t tomo_tokenizer_size(const tomo_tokenizer *tokenizer);
bool tomo_tokenizer_is_special(const tomo_tokenizer *tokenizer, int32_t id);

/* Decodes one token after another and never hands out part of a character. */
typedef struct tomo_decode_stream tomo_decode_stream;
tomo_status tomo_decode_stream_create(const tomo_tokenizer *tokenizer, bool skip_special,
                                      tomo_decode_stream **stream, tomo_error *err);
void tomo_decode_stream_free(tomo_decode_stream *stream);
/* Appends to `text` what id completes (maybe nothing). */
tomo_status tomo_decode_stream_push(tomo_decode_stream *stream, int32_t id, tomo_buffer *text,
                                    tomo_error *err);
/* Appends what is left: bytes that never became a character, as U+FFFD. */
tomo_status tomo_decode_stream_finish(tomo_decode_stream *stream, tomo_buffer *text, tomo_error *err);

#endif
