/* augment.h - M3D's random changes of a training volume, done to the windowed slices (0..1): a quarter turn
 * over height and width with probability 0.5, a flip of each axis with 0.1, v * (1 + factor) and v + offset
 * with factor and offset in +-0.1, each with 0.5. Nothing is clamped. */
#ifndef TOMO_TRAIN_AUGMENT_H
#define TOMO_TRAIN_AUGMENT_H

#include "volume/slices.h"

typedef struct tomo_augmentation {
    int quarter_turns;    /* 0 to 3, from height to width, as numpy.rot90 turns */
    bool flip[3];         /* slices, height, width; after the turn */
    double scale, offset; /* v * (1 + scale) + offset, rounded after each step; 0: left as it is */
} tomo_augmentation;

/* Depends on seed, epoch and index alone. */
tomo_augmentation tomo_augmentation_draw(uint64_t seed, uint64_t epoch, uint64_t index);
bool tomo_augmentation_is_none(const tomo_augmentation *augmentation);

/* values [channels, S, H, W] with shape {S, H, W}; a turn by one or three quarters exchanges shape[1] and
 * [2]. scratch holds as many values. Done in place. */
void tomo_augment(const tomo_augmentation *augmentation, int64_t channels, int64_t shape[3], float *values,
                  float *scratch);
/* The same for slices as they come from tomo_slices_make; source_z follows a flip of the slices. */
tomo_status tomo_augment_slices(const tomo_augmentation *augmentation, tomo_slices *slices, tomo_error *err);

#endif
