#include "train/feature_noise.h"

#include "tensor/pool.h"

#include <math.h>

/* A block is a slice of a layer. */
typedef struct noise_job {
    const float *x;
    float *out;
    int64_t places, width, slices; /* of a slice; channels; slices of a layer */
    double *sums;                  /* [blocks, 2, C]: of values, of squares */
    float *factor, *offset;        /* [L, C] */
} noise_job;

static void sum_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const noise_job *job = argument;
    int64_t C = job->width;
    const float *x = job->x + block * job->places * C;
    double *sum = job->sums + block * 2 * C, *square = sum + C;
    for (int64_t i = 0; i < 2 * C; i++) sum[i] = 0;
    for (int64_t p = 0; p < job->places; p++, x += C) {
        for (int64_t c = 0; c < C; c++) {
            sum[c] += (double)x[c];
            square[c] += (double)x[c] * (double)x[c];
        }
    }
}

static void change_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const noise_job *job = argument;
    int64_t C = job->width, start = block * job->places * C;
    const float *factor = job->factor + block / job->slices * C,
                *offset = job->offset + block / job->slices * C;
    for (int64_t p = 0; p < job->places; p++, start += C) {
        for (int64_t c = 0; c < C; c++) job->out[start + c] = job->x[start + c] * factor[c] + offset[c];
    }
}

/* Factor and offset of each channel of a layer. */
static void draw(const noise_job *job, int64_t layer, double amount, tomo_random *random) {
    int64_t C = job->width;
    double count = (double)(job->slices * job->places);
    for (int64_t c = 0; c < C; c++) {
        double sum = 0, square = 0;
        for (int64_t s = layer * job->slices; s < (layer + 1) * job->slices; s++) {
            sum += job->sums[s * 2 * C + c];
            square += job->sums[s * 2 * C + C + c];
        }
        double mean = sum / count, variance = square / count - mean * mean;
        double factor = exp(amount / 2 * tomo_random_normal(random));
        double shift = amount * tomo_random_normal(random) * sqrt(variance > 0 ? variance : 0);
        job->factor[layer * C + c] = (float)factor;
        job->offset[layer * C + c] = (float)(mean + shift - mean * factor);
    }
}

const float *tomo_feature_noise(tomo_exec *exec, const tomo_features *f, double amount, tomo_random random) {
    int64_t C = f->width, blocks = f->layers * f->kept_count, places = f->grid[0] * f->grid[1];
    noise_job job = {.x = f->values, .places = places, .width = C, .slices = f->kept_count};
    job.out = tomo_exec_alloc(exec, blocks * places * C, sizeof *job.out);
    job.sums = tomo_exec_alloc(exec, blocks * 2 * C, sizeof *job.sums);
    job.factor = tomo_exec_alloc(exec, 2 * f->layers * C, sizeof *job.factor);
    if (job.out == NULL || job.sums == NULL || job.factor == NULL) return NULL;
    job.offset = job.factor + f->layers * C;
    tomo_pool_run(exec->pool, blocks, sum_block, &job);
    for (int64_t l = 0; l < f->layers; l++) draw(&job, l, amount, &random);
    tomo_pool_run(exec->pool, blocks, change_block, &job);
    return job.out;
}
