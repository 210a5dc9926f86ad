/* sampling.h - choosing the next token from logits, in the order in which transformers' generate chains its
 * processors: repetition penalty, temperature, top_k, top_p, min_p (tests/reference/language/README.md). */
#ifndef TOMO_TEXT_SAMPLING_H
#define TOMO_TEXT_SAMPLING_H

#include "base/status.h"

typedef struct tomo_sampling {
    double temperature;        /* 0: greedy (arg-max, lowest id on ties; the other filters play no part) */
    int32_t top_k;             /* 0: off */
    double top_p;              /* 1: off */
    double min_p;              /* 0: off */
    double repetition_penalty; /* 1: off; applies to greedy choice too */
    uint64_t seed;
} tomo_sampling;

/* Refuses (TOMO_E_USAGE) values out of range, naming the one. */
tomo_status tomo_sampling_check(const tomo_sampling *sampling, tomo_error *err);

/* One sampler a stream of tokens; owns its random state and scratch for `vocabulary` logits. */
typedef struct tomo_sampler tomo_sampler;
tomo_status tomo_sampler_create(const tomo_sampling *sampling, int32_t vocabulary, tomo_sampler **sampler,
                                tomo_error *err);
void tomo_sampler_free(tomo_sampler *sampler);

/* Applies penalty and filters to logits [vocabulary] in place (removed ones become -infinity).
 * history[count]: the ids that the penalty looks at. Allocates nothing. */
void tomo_sampler_process(tomo_sampler *sampler, float *logits, const int32_t *history, size_t count);
/* tomo_sampler_process, then the choice. Logits that are not numbers are never chosen; -1 when none is left.
 */
int32_t tomo_sampler_choose(tomo_sampler *sampler, float *logits, const int32_t *history, size_t count);

#endif
