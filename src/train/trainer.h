/* trainer.h - the loop of a stage: steps, evaluations, checkpoints. */
#ifndef TOMO_TRAIN_TRAINER_H
#define TOMO_TRAIN_TRAINER_H

#include "train/checkpoints.h"
#include "train/metrics.h"
#include "train/parallel.h"
#include "train/task.h"

typedef struct tomo_trainer {
    const tomo_recipe *recipe;
    const tomo_stage *stage;
    tomo_task *task;
    tomo_parallel *parallel;
    tomo_metrics *metrics; /* NULL in all processes but the first */
    tomo_position *position;
    tomo_train_fn progress; /* or NULL */
    void *user;
} tomo_trainer;

/* From position->step to the end of the stage; state: the folder to go on from, or NULL. Afterwards the
 * weights are the best ones, where the stage evaluates and keeps them, else the last. A run that is cancelled
 * has written a checkpoint. */
tomo_status tomo_trainer_run(const tomo_trainer *trainer, const char *state, tomo_error *err);

/* Steps of a stage with so many samples. */
int64_t tomo_stage_steps(const tomo_stage *stage, size_t samples);

#endif
