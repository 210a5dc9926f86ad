/* optimizer.h - AdamW over a list of parameters, and clipping of their gradients.
 *
 * Everything is cut into blocks by the parameters' sizes alone and summed in a fixed order, so a step is the
 * same for any number of threads. */
#ifndef TOMO_TRAIN_OPTIMIZER_H
#define TOMO_TRAIN_OPTIMIZER_H

#include "tensor/exec.h"
#include "weights/bind.h"

typedef struct tomo_adam {
    double beta1, beta2, eps, weight_decay;
    bool coupled; /* Adam: the decay is added to the gradient, instead of AdamW's p *= 1 - lr * decay */
} tomo_adam;

/* Decay concerns parameters with two or more dimensions: no norm and no bias. */
typedef struct tomo_optimizer {
    tomo_adam settings;
    const tomo_kernels *kernels;
    const tomo_parameters *parameters; /* borrowed */
    float **mean, **square;            /* [parameters]: moving averages of gradient and its square */
    double *partial;                   /* sums of blocks, for the norm */
    int64_t blocks;                    /* of all parameters */
    int64_t steps;                     /* done so far */
} tomo_optimizer;

/* Averages start at zero. Ended by tomo_optimizer_free, which accepts {0}. */
tomo_status tomo_optimizer_create(const tomo_adam *settings, const tomo_kernels *kernels,
                                  const tomo_parameters *parameters, tomo_optimizer *optimizer,
                                  tomo_error *err);
void tomo_optimizer_free(tomo_optimizer *optimizer);

void tomo_optimizer_zero_gradients(tomo_optimizer *optimizer, tomo_pool *pool);
/* The L2 norm of all gradients together. */
double tomo_optimizer_gradient_norm(tomo_optimizer *optimizer, tomo_pool *pool);
/* Multiplies all gradients by `factor`. */
void tomo_optimizer_scale(tomo_optimizer *optimizer, tomo_pool *pool, double factor);
/* Multiplies all gradients by most / (norm + 1e-6) where that is below 1. */
void tomo_optimizer_clip(tomo_optimizer *optimizer, tomo_pool *pool, double norm, double most);
/* One step. rates [parameters]: the learning rate of each. */
void tomo_optimizer_step(tomo_optimizer *optimizer, tomo_pool *pool, const double *rates);

#endif
