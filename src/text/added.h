/* added.h - added tokens: texts that become one id wherever they stand, before words are cut. Private to
 * src/text. The rules are those of tokenizers' AddedVocabulary. */
#ifndef TOMO_TEXT_ADDED_H
#define TOMO_TEXT_ADDED_H

#include "text/tokenizer.h"
#include "text/vocabulary.h"

typedef struct tomo_added_token {
    char *text;
    size_t size;
    int32_t id;
    bool special, single_word, strip_left, strip_right, normalized;
    bool left_out;        /* by decoding that skips special tokens */
    unsigned char *bytes; /* what it decodes to */
    size_t byte_size;
    char *pattern; /* what is looked for: the text, normalised where that is asked */
    size_t pattern_size;
} tomo_added_token;

/* Tokens to look for in one pass. */
typedef struct tomo_added_set {
    const tomo_added_token **sorted; /* by pattern */
    size_t count;
    bool begins[256]; /* whether some pattern begins with this byte */
} tomo_added_set;

typedef struct tomo_added {
    tomo_added_token *tokens;
    size_t count;
    int32_t *by_id; /* index into tokens for each id below `size`, or -1 */
    int32_t size;   /* largest id + 1 */
    tomo_added_set raw, normalized;
} tomo_added;

/* list: the "added_tokens" of tokenizer.json. tokenizer: its normalizer was read already. Free what
 * was begun also after a failure. */
tomo_status tomo_added_read(tomo_added *added, const char *file, const cJSON *list,
                            const tomo_vocabulary *vocabulary, const tomo_tokenizer *tokenizer,
                            tomo_error *err);
void tomo_added_free(tomo_added *added);

const tomo_added_token *tomo_added_at(const tomo_added *added, int32_t id); /* NULL: none */
const tomo_added_token *tomo_added_find(const tomo_added *added, const char *text);

/* Gets one part of the text after another: token NULL is text between tokens. */
typedef tomo_status (*tomo_added_fn)(void *user, const unsigned char *text, size_t size,
                                     const tomo_added_token *token, tomo_error *err);
tomo_status tomo_added_split(const tomo_added_set *set, const unsigned char *text, size_t size,
                             tomo_added_fn part, void *user, tomo_error *err);

#endif
