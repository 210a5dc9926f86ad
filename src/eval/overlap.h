/* overlap.h - BLEU-1 and ROUGE-1: how many words two texts share. Private to src/eval. */
#ifndef TOMO_EVAL_OVERLAP_H
#define TOMO_EVAL_OVERLAP_H

#include "eval/tokens.h"

/* As Hugging Face evaluate's bleu with max_order=1 computes it for one pair: score = brevity * precision, no
 * smoothing. Where a side has no token the benchmark's script ends with an error; the score is 0 then, and
 * `defined` false. */
typedef struct tomo_bleu {
    double score, precision, brevity;
    bool defined;
} tomo_bleu;

/* As rouge_score's rouge1; 0 where a side is empty. */
typedef struct tomo_rouge {
    double precision, recall, f;
} tomo_rouge;

/* Each returns false when out of memory. Token lists are those of tomo_tokens_bleu and tomo_tokens_rouge. */
bool tomo_bleu_score(tomo_arena *arena, const tomo_tokens *prediction, const tomo_tokens *reference,
                     tomo_bleu *bleu);
bool tomo_rouge_score(tomo_arena *arena, const tomo_tokens *prediction, const tomo_tokens *reference,
                      tomo_rouge *rouge);

#endif
