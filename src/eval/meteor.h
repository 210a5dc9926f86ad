/* meteor.h - METEOR as nltk 3.9.1's meteor_score computes it for one pair: Banerjee and Lavie, METEOR: An
 * Automatic Metric for MT Evaluation, 2005, with alpha 0.9, beta 3, gamma 0.5. Private to src/eval. */
#ifndef TOMO_EVAL_METEOR_H
#define TOMO_EVAL_METEOR_H

#include "eval/synonyms.h"
#include "eval/tokens.h"

typedef enum tomo_meteor_stage {
    TOMO_METEOR_FREE,
    TOMO_METEOR_EXACT,
    TOMO_METEOR_STEM,
    TOMO_METEOR_SYNONYM
} tomo_meteor_stage;

/* What stands opposite a word of the prediction. */
typedef struct tomo_meteor_match {
    size_t reference;        /* the position there */
    tomo_meteor_stage stage; /* TOMO_METEOR_FREE: nothing */
} tomo_meteor_match;

typedef struct tomo_meteor {
    double score, precision, recall, fmean, penalty; /* all 0 without a match */
    size_t matches, chunks;
    const tomo_meteor_match *alignment; /* [prediction words], in the arena */
    /* What the synonym stage compares, in small letters: stems of the words that the first stage left free;
     * [words] each, in the arena. */
    const tomo_points *prediction_stems, *reference_stems;
} tomo_meteor;

/* Token lists are those of tomo_tokens_words. synonyms belongs to one thread. False when out of memory. */
bool tomo_meteor_score(tomo_arena *arena, tomo_synonyms *synonyms, const tomo_tokens *prediction,
                       const tomo_tokens *reference, tomo_meteor *meteor);

#endif
