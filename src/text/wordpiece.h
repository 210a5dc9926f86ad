/* wordpiece.h - BERT's tokenizer: BertNormalizer, BertPreTokenizer, WordPiece model and decoder of the
 * tokenizers library. Private to src/text. */
#ifndef TOMO_TEXT_WORDPIECE_H
#define TOMO_TEXT_WORDPIECE_H

#include "text/tokenizer.h"
#include "text/vocabulary.h"

typedef struct tomo_wordpiece {
    bool clean, split_chinese, strip_accents, lower; /* the normalizer */
    char prefix[16];                                 /* of a word's later pieces: "##" */
    size_t prefix_size;
    int32_t unknown; /* what stands for a word that no pieces make */
    int64_t longest; /* longer words, in characters, are unknown */
    char decoder_prefix[16];
    bool cleanup; /* the decoder takes spaces in front of punctuation away */
} tomo_wordpiece;

/* root: tokenizer.json. */
tomo_status tomo_wordpiece_read(tomo_wordpiece *w, tomo_vocabulary *vocabulary, const char *file,
                                const cJSON *root, tomo_error *err);

/* Appends the normalised text. False: out of memory. */
bool tomo_wordpiece_normalize(const tomo_wordpiece *w, const unsigned char *text, size_t size,
                              tomo_buffer *out);
/* Appends the ids of a normalised text. scratch is emptied. */
tomo_status tomo_wordpiece_encode(const tomo_wordpiece *w, const tomo_vocabulary *vocabulary,
                                  const unsigned char *text, size_t size, tomo_buffer *scratch, tomo_ids *ids,
                                  tomo_error *err);
/* Appends what a token adds to a decoded text. */
tomo_status tomo_wordpiece_decode(const tomo_wordpiece *w, const char *token, bool first, tomo_buffer *text,
                                  tomo_error *err);

#endif
