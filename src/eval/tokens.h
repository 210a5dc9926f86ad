/* tokens.h - the words that each score counts. Texts are stripped before (str.strip). Private to src/eval. */
#ifndef TOMO_EVAL_TOKENS_H
#define TOMO_EVAL_TOKENS_H

#include "eval/points.h"
#include "eval/punkt.h"

typedef struct tomo_tokens {
    tomo_points *items; /* none is empty; like what they point to, in the arena */
    size_t count;
} tomo_tokens;

/* Each returns false when out of memory. */

/* Tokenizer 13a of Hugging Face evaluate's bleu: the case is kept. */
bool tomo_tokens_bleu(tomo_arena *arena, tomo_points text, tomo_tokens *tokens);
/* rouge_score 0.1.2 without a stemmer: lower(), then runs of a-z and 0-9. */
bool tomo_tokens_rouge(tomo_arena *arena, tomo_points text, tomo_tokens *tokens);
/* nltk 3.9.1's word_tokenize: sentences by punkt, then NLTKWordTokenizer on each. */
bool tomo_tokens_words(tomo_arena *arena, const tomo_punkt *punkt, tomo_points text, tomo_tokens *tokens);

/* NLTKWordTokenizer on one sentence; adds to tokens, which has room for one a code point. */
bool tomo_tokens_add_sentence(tomo_arena *arena, tomo_points sentence, tomo_tokens *tokens);
/* str.split(); adds to tokens, which has room for every word of the text. */
void tomo_tokens_add_split(tomo_points text, tomo_tokens *tokens);

#endif
