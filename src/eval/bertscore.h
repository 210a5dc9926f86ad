/* bertscore.h - BERTScore (Zhang et al., 2020) as bert_score 0.3.13 computes it for one pair: every token
 * takes the most similar token of the other text, [CLS] and [SEP] among them; the mean counts those two as
 * nothing. */
#ifndef TOMO_EVAL_BERTSCORE_H
#define TOMO_EVAL_BERTSCORE_H

#include "language/bert.h"
#include "model/context.h"

/* Belongs to one thread at a time. */
typedef struct tomo_bertscore tomo_bertscore;

typedef struct tomo_bertscore_options {
    int64_t
        layers; /* encoder layers whose output is compared; 0: 17 of 24, 9 of 12, else all (the package's
                   choices for BERT and RoBERTa of these depths: the layer that agreed best with people) */
    const char
        *baseline; /* a file "LAYER,P,R,F": scores are rescaled, (x - b) / (1 - b); NULL: they are not */
} tomo_bertscore_options;

/* folder: a BERT or RoBERTa as tomo_bert_open takes it. */
tomo_status tomo_bertscore_open(tomo_context *context, const char *folder,
                                const tomo_bertscore_options *options, tomo_bertscore **bertscore,
                                tomo_error *err);
void tomo_bertscore_free(tomo_bertscore *bertscore);

/* From now on tokens weigh log((N + 1) / (df + 1)), df being how many of N references hold them. Called once
 * for every reference, then once with NULL. */
tomo_status tomo_bertscore_count(tomo_bertscore *bertscore, const char *reference, size_t size,
                                 tomo_error *err);
/* A token's weight. */
double tomo_bertscore_weight(const tomo_bertscore *bertscore, int32_t id);

typedef struct tomo_bertscore_value {
    double precision, recall, f1; /* 0 where a text is empty; f1 is 0 too where no token weighs anything */
} tomo_bertscore_value;

/* Texts are stripped already (str.strip). */
tomo_status tomo_bertscore_score(tomo_bertscore *bertscore, const char *prediction, size_t prediction_size,
                                 const char *reference, size_t reference_size, tomo_bertscore_value *value,
                                 tomo_error *err);

#endif
