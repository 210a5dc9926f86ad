/* leakage.h - texts that occur in training. Two texts are the same when they are equal after lower-casing and
 * collapsing white space. Private to src/eval. */
#ifndef TOMO_EVAL_LEAKAGE_H
#define TOMO_EVAL_LEAKAGE_H

#include "eval/points.h"
#include "eval/results.h"
#include "train/dataset.h"

/* The text as it is compared; false when out of memory. */
bool tomo_text_normalise(tomo_arena *arena, const char *utf8, size_t size, tomo_points *text);

/* (*unseen)[row]: whether a row's text stands in no training sample of the data set at `train`: of a caption
 * the report, of a question the question together with its answer. Freed by free. */
tomo_status tomo_unseen_rows(const tomo_results *results, const char *train, bool **unseen, tomo_error *err);

#endif
