/* task_contrastive.c - a 2D encoder on slices and their scans' texts, as CLIP. */
#include "train/task.h"

tomo_status tomo_task_contrastive(const tomo_task_options *o, tomo_task **task, tomo_error *err) {
    *task = NULL;
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "stage %s: contrastive stages are not done yet",
                     o->stage->name);
}
