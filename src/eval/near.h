/* near.h - texts that are nearly the same: Jaccard similarity of their sets of word 5-grams, 0.8 or more.
 * Every such pair is found: a pair that is similar must share one of the rarest 5-grams of each text (prefix
 * filtering; Chaudhuri, Ganti and Kaushik, A primitive operator for similarity joins in data cleaning, 2006).
 * Private to src/eval. */
#ifndef TOMO_EVAL_NEAR_H
#define TOMO_EVAL_NEAR_H

#include "base/hooks.h"
#include "eval/points.h"

#define TOMO_NEAR_WORDS 5
#define TOMO_NEAR_LEAST 0.8

/* Gets each pair once, first < second. */
typedef void (*tomo_near_fn)(void *user, size_t first, size_t second, double similarity);

/* texts [count], normalised (leakage.h), all different. A text of fewer than five words is one piece. */
tomo_status tomo_near_pairs(const tomo_points *texts, size_t count, tomo_near_fn found, void *user,
                            const tomo_hooks *hooks, tomo_error *err);

#endif
