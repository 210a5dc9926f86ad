#include "train/optimizer.h"

#include "base/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Elements of one block: a hand-over is worth them, and there are enough of them for all threads. */
#define BLOCK 16384

static int64_t blocks_of(const tomo_tensor *t) {
    return tomo_pieces(tomo_tensor_count(t), BLOCK);
}

tomo_status tomo_optimizer_create(const tomo_adam *settings, const tomo_kernels *kernels,
                                  const tomo_parameters *parameters, tomo_optimizer *o, tomo_error *err) {
    *o = (tomo_optimizer){.settings = *settings, .kernels = kernels, .parameters = parameters};
    o->mean = calloc(parameters->count + 1, sizeof *o->mean);
    o->square = calloc(parameters->count + 1, sizeof *o->square);
    bool good = o->mean != NULL && o->square != NULL;
    int64_t elements = 0;
    for (size_t i = 0; i < parameters->count && good; i++) {
        int64_t count = tomo_tensor_count(&parameters->list[i].tensor);
        o->mean[i] = calloc((size_t)count + 1, sizeof(float));
        o->square[i] = calloc((size_t)count + 1, sizeof(float));
        good = o->mean[i] != NULL && o->square[i] != NULL;
        o->blocks += blocks_of(&parameters->list[i].tensor);
        elements += count;
    }
    o->partial = calloc((size_t)o->blocks + 1, sizeof *o->partial);
    if (good && o->partial != NULL) return TOMO_OK;
    tomo_optimizer_free(o);
    return tomo_fail_memory(err, "optimizer", (size_t)elements * 2 * sizeof(float));
}

void tomo_optimizer_free(tomo_optimizer *o) {
    for (size_t i = 0; o->parameters != NULL && i < o->parameters->count; i++) {
        if (o->mean != NULL) free(o->mean[i]);
        if (o->square != NULL) free(o->square[i]);
    }
    free(o->mean);
    free(o->square);
    free(o->partial);
    *o = (tomo_optimizer){0};
}

/* --------------------------------------------------------------------------- blocks */

typedef struct job {
    tomo_optimizer *optimizer;
    const double *rates;
    double factor;             /* what gradients are multiplied with */
    double correct1, correct2; /* 1 - beta^t */
} job;

/* Elements first .. first + count - 1 of one parameter. */
typedef struct piece {
    size_t parameter;
    int64_t first, count;
} piece;

static piece piece_of(const tomo_optimizer *o, int64_t block) {
    for (size_t i = 0; i < o->parameters->count; i++) {
        const tomo_tensor *t = &o->parameters->list[i].tensor;
        int64_t blocks = blocks_of(t), first = block * BLOCK, count = tomo_tensor_count(t) - first;
        if (block < blocks) return (piece){i, first, count < BLOCK ? count : BLOCK};
        block -= blocks;
    }
    return (piece){0, 0, 0};
}

static float *gradient(const tomo_optimizer *o, piece p) {
    return o->parameters->list[p.parameter].tensor.grad + p.first;
}

static void zero_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const job *j = argument;
    piece p = piece_of(j->optimizer, block);
    memset(gradient(j->optimizer, p), 0, (size_t)p.count * sizeof(float));
}

static void norm_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const job *j = argument;
    piece p = piece_of(j->optimizer, block);
    const float *g = gradient(j->optimizer, p);
    double sum = 0;
    for (int64_t i = 0; i < p.count; i++) sum += (double)g[i] * (double)g[i];
    j->optimizer->partial[block] = sum;
}

static void scale_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const job *j = argument;
    piece p = piece_of(j->optimizer, block);
    float *g = gradient(j->optimizer, p);
    for (int64_t i = 0; i < p.count; i++) g[i] = (float)((double)g[i] * j->factor);
}

/* m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps),
 * after p *= 1 - lr decay. */
static void step_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const job *j = argument;
    tomo_optimizer *o = j->optimizer;
    const tomo_adam *a = &o->settings;
    piece at = piece_of(o, block);
    const tomo_tensor *t = &o->parameters->list[at.parameter].tensor;
    float *p = tomo_tensor_f32(t) + at.first, *m = o->mean[at.parameter] + at.first;
    float *v = o->square[at.parameter] + at.first;
    const float *g = t->grad + at.first;
    double rate = j->rates[at.parameter], decay = t->rank >= 2 || a->coupled ? a->weight_decay : 0;
    tomo_adam_factors f = {.beta1 = a->beta1,
                           .beta2 = a->beta2,
                           .eps = a->eps,
                           .keep = a->coupled ? 1 : 1 - rate * decay,
                           .step = rate / j->correct1,
                           .root = 1 / sqrt(j->correct2),
                           .decay = a->coupled ? decay : 0};
    o->kernels->adam(p, m, v, g, at.count, &f);
}

/* --------------------------------------------------------------------------- together */

void tomo_optimizer_zero_gradients(tomo_optimizer *o, tomo_pool *pool) {
    tomo_pool_run(pool, o->blocks, zero_block, &(job){.optimizer = o});
}

double tomo_optimizer_gradient_norm(tomo_optimizer *o, tomo_pool *pool) {
    tomo_pool_run(pool, o->blocks, norm_block, &(job){.optimizer = o});
    double sum = 0;
    for (int64_t i = 0; i < o->blocks; i++) sum += o->partial[i];
    return sqrt(sum);
}

void tomo_optimizer_scale(tomo_optimizer *o, tomo_pool *pool, double factor) {
    tomo_pool_run(pool, o->blocks, scale_block, &(job){.optimizer = o, .factor = factor});
}

void tomo_optimizer_clip(tomo_optimizer *o, tomo_pool *pool, double norm, double most) {
    double factor = most / (norm + 1e-6);
    if (factor < 1) tomo_optimizer_scale(o, pool, factor);
}

void tomo_optimizer_step(tomo_optimizer *o, tomo_pool *pool, const double *rates) {
    o->steps++;
    job j = {.optimizer = o,
             .rates = rates,
             .correct1 = 1 - pow(o->settings.beta1, (double)o->steps),
             .correct2 = 1 - pow(o->settings.beta2, (double)o->steps)};
    tomo_pool_run(pool, o->blocks, step_block, &j);
}
