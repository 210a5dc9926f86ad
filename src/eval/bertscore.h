/* bertscore.h - BERTScore (Zhang et al., 2020) as bert_score 0.3.13 computes it for one pair: every token
 * takes the most similar token of the other text, the mean counts [CLS] and [SEP] as nothing. Private to
 * src/eval. */
#ifndef TOMO_EVAL_BERTSCORE_H
#define TOMO_EVAL_BERTSCORE_H

#include "base/status.h"

/* Belongs to one thread at a time. */
typedef struct tomo_bertscore tomo_bertscore;

typedef struct tomo_bertscore_value {
    double precision, recall, f1; /* 0 where a text is empty or f1 is no number */
} tomo_bertscore_value;

#endif
