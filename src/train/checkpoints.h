/* checkpoints.h - the states of a run by their places: RUN/checkpoints/SS-NNNNNNNN for stage and step, and
 * RUN/checkpoints/best-SS. */
#ifndef TOMO_TRAIN_CHECKPOINTS_H
#define TOMO_TRAIN_CHECKPOINTS_H

#include "base/hooks.h"
#include "train/recipe.h"
#include "train/state.h"

/* Both are freed by free; NULL when out of memory. */
char *tomo_checkpoint_folder(const tomo_recipe *recipe, int64_t stage, int64_t step);
char *tomo_checkpoint_best(const tomo_recipe *recipe, int64_t stage);

/* The newest whole checkpoint of a run; *folder NULL: there is none. Damaged ones are told and passed over.
 */
tomo_status tomo_checkpoint_newest(const tomo_recipe *recipe, const tomo_hooks *hooks, char **folder,
                                   tomo_position *position, tomo_error *err);
/* Removes all but the newest `keep`; the best ones stay. */
void tomo_checkpoint_prune(const tomo_recipe *recipe, int64_t keep);

#endif
