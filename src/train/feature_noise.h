/* feature_noise.h - other looks of a scan: each channel of its features stretched and shifted at random.
 *
 * A scanner, a kernel or a population that an encoder has not seen moves means and spreads of its channels
 * more than what sets one place of a scan off from another. Training that draws both anew in every epoch
 * leans less on them, and finds it harder to know a scan again (the idea of MixStyle, Zhou and others, 2021,
 * with drawn statistics in place of another sample's). It costs no run of the encoder, unlike augmented
 * pixels. */
#ifndef TOMO_TRAIN_FEATURE_NOISE_H
#define TOMO_TRAIN_FEATURE_NOISE_H

#include "base/random.h"
#include "tensor/exec.h"
#include "train/feature_cache.h"

/* Of each layer and channel, with mean m and standard deviation s over the scan's places:
 * m + s amount a + (x - m) exp(amount b / 2), a and b standard normal, drawn from `random`. -> [L, K, h, w,
 * C] in the exec's arena, the same for any number of threads; NULL and a recorded failure when there is no
 * memory. */
const float *tomo_feature_noise(tomo_exec *exec, const tomo_features *features, double amount,
                                tomo_random random);

#endif
