/* score.h - a table of predictions scored, as JSON: what tomo score and tomo eval share. Private to src/eval.
 */
#ifndef TOMO_EVAL_SCORE_H
#define TOMO_EVAL_SCORE_H

#include "eval/results.h"
#include "model/context.h"

/* Scores csv, which is taken over also on failure, and adds the result to `object`: what tomo_score_file
 * hands out. options->merge is not looked at. results (or NULL) gets the rows' scores, freed by
 * tomo_results_free. */
tomo_status tomo_score_csv(tomo_context *context, tomo_score_kind kind, tomo_csv *csv,
                           const tomo_score_options *options, cJSON *object, tomo_results **results,
                           tomo_error *err);

#endif
