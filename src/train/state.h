/* state.h - all that a run needs to go on exactly where it was, as a folder:
 *
 *     state.safetensors   the trained weights; "mean." and "square." + name: the optimiser's averages
 *     state.json          where the run was
 *     SHA256SUMS          of both, as sha256sum(1) writes and checks them
 *
 * A state is written beside its place and renamed when all of it is on the disk. Everything random in a run
 * is drawn from seed, epoch and index, so the position is all the state that randomness has. */
#ifndef TOMO_TRAIN_STATE_H
#define TOMO_TRAIN_STATE_H

#include "train/optimizer.h"

typedef struct tomo_position {
    int64_t stage, step; /* steps done in the stage */
    int64_t best_step;   /* 0: nothing was evaluated yet */
    double best;         /* its validation loss */
    int64_t stale;       /* evaluations since */
    bool evaluation_due; /* that of the step was interrupted */
    int64_t skipped, skipped_in_row;
    int64_t tokens; /* learned so far, in all stages */
    double seconds; /* of work so far */
    uint64_t seed;
} tomo_position;

/* What is kept: lists[count] of parameters (names differ between lists), and the optimiser of one of them. */
typedef struct tomo_trained {
    const tomo_parameters *lists[4];
    int count;
    tomo_optimizer *optimizer; /* or NULL */
} tomo_trained;

/* Writes the folder in place of what is there. On failure what was there stays. */
tomo_status tomo_state_write(const char *folder, const tomo_position *position, const tomo_trained *trained,
                             tomo_error *err);
/* Reads the position alone, after comparing the checksums (TOMO_E_FORMAT: damaged). */
tomo_status tomo_state_peek(const char *folder, tomo_position *position, tomo_error *err);
/* Fills weights and averages. Other names or shapes than those of the run: TOMO_E_HEADER, naming the first
 * difference. trained->optimizer NULL: the weights alone. Weights that the state does not have stay when
 * `partly`. */
tomo_status tomo_state_read(const char *folder, const tomo_trained *trained, bool partly, tomo_error *err);

#endif
