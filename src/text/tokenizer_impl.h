/* tokenizer_impl.h - what a tokenizer consists of. Private to src/text. */
#ifndef TOMO_TEXT_TOKENIZER_IMPL_H
#define TOMO_TEXT_TOKENIZER_IMPL_H

#include "text/added.h"
#include "text/bpe.h"
#include "text/pattern.h"
#include "text/tokenizer.h"
#include "text/wordpiece.h"

/* Pre-tokenizers of one model; the longest published sequence has 8. */
#define TOMO_STEPS 16
/* What a post-processor puts before or behind a text. */
#define TOMO_AFFIXES 16

/* One pre-tokenizer. */
typedef struct tomo_step {
    tomo_pattern *pattern; /* NULL: nothing is cut */
    bool matches_only;     /* what lies between matches is dropped */
    bool prefix_space;     /* a piece that does not begin with a space gets one */
} tomo_step;

struct tomo_tokenizer {
    tomo_bpe bpe;
    tomo_added added;
    bool nfc;
    bool has_wordpiece; /* words are cut and encoded by `wordpiece`, with the vocabulary of `bpe` */
    tomo_wordpiece wordpiece;
    tomo_step steps[TOMO_STEPS];
    size_t step_count;
    int32_t before[TOMO_AFFIXES], behind[TOMO_AFFIXES];
    size_t before_count, behind_count;
};

/* The parts of tokenizer.json; `file` is for messages. */
tomo_status tomo_tokenizer_read(tomo_tokenizer *t, const char *file, const cJSON *root, tomo_error *err);
tomo_status tomo_pretokenizer_read(tomo_tokenizer *t, const char *file, const cJSON *root, tomo_error *err);

/* Appends the text as patterns of normalised tokens and everything behind raw tokens see it. */
tomo_status tomo_tokenizer_normalize(const tomo_tokenizer *t, const unsigned char *text, size_t size,
                                     tomo_buffer *out, tomo_error *err);

/* A token's own text; NULL when there is no such id. */
const char *tomo_tokenizer_text(const tomo_tokenizer *t, int32_t id);
/* The bytes that an id decodes to; false when there is no such id. */
bool tomo_tokenizer_bytes(const tomo_tokenizer *t, int32_t id, const unsigned char **bytes, size_t *size);

#endif
