/* spatial.c - operations that look at neighbours: patches, depthwise convolution, adaptive pooling. */
#include "tensor/ops.h"
#include "tensor/rowwise.h"
#include "tensor/tape.h"

#include <assert.h>
#include <string.h>

/* ---------------------------------------------------------------------------- patches */

typedef struct patches_job {
    const tomo_tensor *images;
    float *out;
    int64_t patch, across, down;
} patches_job;

static void patches_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    (void)kernels;
    const patches_job *job = argument;
    const int64_t *shape = job->images->shape;
    int64_t p = job->patch, channels = shape[1], height = shape[2], width = shape[3];
    for (int64_t r = first; r < end; r++) {
        int64_t s = r / (job->down * job->across), y = r / job->across % job->down * p,
                x = r % job->across * p;
        float *out = job->out + r * channels * p * p;
        for (int64_t c = 0; c < channels; c++) {
            const float *plane = tomo_tensor_f32(job->images) + ((s * channels + c) * height + y) * width + x;
            for (int64_t i = 0; i < p; i++, out += p) {
                memcpy(out, plane + i * width, (size_t)p * sizeof *out);
            }
        }
    }
}

tomo_tensor *tomo_op_patches(tomo_exec *exec, const tomo_tensor *images, int64_t patch) {
    if (images == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(images->rank == 4 && tomo_tensor_is_contiguous(images));
    patches_job job = {images, NULL, patch, images->shape[3] / patch, images->shape[2] / patch};
    int64_t width = images->shape[1] * patch * patch, count = job.down * job.across;
    tomo_tensor *out = tomo_exec_tensor(exec, 3, (int64_t[]){images->shape[0], count, width});
    if (out == NULL) return NULL;
    job.out = tomo_tensor_f32(out);
    tomo_rows_run(exec, images->shape[0] * count, width, patches_rows, &job);
    out->grad = NULL; /* nobody wants the gradient of pixels */
    return out;
}

/* -------------------------------------------------------------- depthwise convolution */

typedef struct conv_job {
    const tomo_tensor *x;
    const float *taps; /* [27, d]: the weight with channels last, so that rows of x are walked in order */
    const float *bias;
    float *out;
} conv_job;

/* out[i] += w[i] * x[i]; the compiler makes vectors of it. */
static void multiply_add(float *out, const float *w, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += w[i] * x[i];
}

static void conv_cell(const conv_job *job, int64_t cell) {
    const int64_t *n = job->x->shape;
    int64_t d = n[3], z = cell / (n[1] * n[2]), y = cell / n[2] % n[1], x = cell % n[2];
    float *out = job->out + cell * d;
    memcpy(out, job->bias, (size_t)d * sizeof *out);
    for (int64_t tap = 0; tap < 27; tap++) {
        int64_t a = z + tap / 9 - 1, b = y + tap / 3 % 3 - 1, c = x + tap % 3 - 1;
        if (a < 0 || a >= n[0] || b < 0 || b >= n[1] || c < 0 || c >= n[2]) continue;
        multiply_add(out, job->taps + tap * d, tomo_tensor_f32(job->x) + ((a * n[1] + b) * n[2] + c) * d, d);
    }
}

static void conv_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    (void)kernels;
    for (int64_t cell = first; cell < end; cell++) conv_cell(argument, cell);
}

/* Channels that one block of the backward pass walks over all cells with, in order: input, weight and bias
 * gradients of a channel concern no other channel. */
#define CONV_CHANNELS 16

static void conv_channels_backward(void *argument, int64_t block, int worker) {
    (void)worker;
    const tomo_node *node = argument;
    const tomo_tensor *x = &node->inputs[0], *weight = &node->inputs[1], *bias = &node->inputs[2];
    const int64_t *n = x->shape;
    int64_t d = n[3], first = block * CONV_CHANNELS,
            end = first + CONV_CHANNELS < d ? first + CONV_CHANNELS : d;
    const float *w = tomo_tensor_f32(weight);
    for (int64_t cell = 0; cell < n[0] * n[1] * n[2]; cell++) {
        int64_t z = cell / (n[1] * n[2]), y = cell / n[2] % n[1], c = cell % n[2];
        const float *dy = node->output.grad + cell * d;
        for (int64_t i = first; i < end && bias->grad != NULL; i++) bias->grad[i] += dy[i];
        for (int64_t tap = 0; tap < 27; tap++) {
            int64_t at[3] = {z + tap / 9 - 1, y + tap / 3 % 3 - 1, c + tap % 3 - 1};
            if (at[0] < 0 || at[0] >= n[0] || at[1] < 0 || at[1] >= n[1] || at[2] < 0 || at[2] >= n[2])
                continue;
            int64_t from = ((at[0] * n[1] + at[1]) * n[2] + at[2]) * d;
            for (int64_t i = first; i < end; i++) {
                if (x->grad != NULL) x->grad[from + i] += dy[i] * w[i * 27 + tap];
                if (weight->grad != NULL) weight->grad[i * 27 + tap] += dy[i] * tomo_tensor_f32(x)[from + i];
            }
        }
    }
}

static void conv_backward(tomo_exec *exec, const tomo_node *node) {
    int64_t d = node->inputs[0].shape[3];
    tomo_pool_run(exec->pool, (d + CONV_CHANNELS - 1) / CONV_CHANNELS, conv_channels_backward,
                  (void *)(uintptr_t)node);
}

tomo_tensor *tomo_op_depthwise_conv3d(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                      const tomo_tensor *bias) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t d = x->shape[3];
    assert(x->rank == 4 && tomo_tensor_is_contiguous(x) && tomo_tensor_count(weight) == d * 27);
    tomo_tensor *out = tomo_exec_tensor(exec, 4, x->shape);
    float *taps = tomo_exec_alloc(exec, 27 * d, sizeof *taps);
    if (out == NULL || taps == NULL) return NULL;
    for (int64_t c = 0; c < d; c++) {
        for (int64_t tap = 0; tap < 27; tap++) taps[tap * d + c] = tomo_tensor_f32(weight)[c * 27 + tap];
    }
    conv_job job = {x, taps, tomo_tensor_f32(bias), tomo_tensor_f32(out)};
    tomo_rows_run(exec, tomo_tensor_rows(x), 27 * d, conv_rows, &job);
    const tomo_tensor *inputs[] = {x, weight, bias};
    tomo_tape_record(exec, conv_backward, out, inputs, 3, NULL, 0);
    return out;
}

/* --------------------------------------------------------------------------- pooling */

typedef struct pool_job {
    const tomo_tensor *x;
    float *out;
    int64_t bins[3];
} pool_job;

/* The window of a cell of the output: its first place and its end on each axis; returns how many cells it
 * has. */
static int64_t cell_window(const int64_t *n, const int64_t *bins, int64_t cell, int64_t first[3],
                           int64_t end[3]) {
    int64_t at[3] = {cell / (bins[1] * bins[2]), cell / bins[2] % bins[1], cell % bins[2]}, count = 1;
    for (int i = 0; i < 3; i++) {
        tomo_pool_window(at[i], n[i], bins[i], &first[i], &end[i]);
        count *= end[i] - first[i];
    }
    return count;
}

static void pool_cell(const pool_job *job, const tomo_kernels *kernels, int64_t cell) {
    const int64_t *n = job->x->shape;
    int64_t d = n[3], first[3], end[3], count = cell_window(n, job->bins, cell, first, end);
    float *out = job->out + cell * d;
    memset(out, 0, (size_t)d * sizeof *out);
    for (int64_t z = first[0]; z < end[0]; z++) {
        for (int64_t y = first[1]; y < end[1]; y++) {
            const float *row = tomo_tensor_f32(job->x) + ((z * n[1] + y) * n[2]) * d;
            for (int64_t x = first[2]; x < end[2]; x++) kernels->add(out, out, row + x * d, d);
        }
    }
    for (int64_t i = 0; i < d; i++) out[i] /= (float)count;
}

static void pool_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    for (int64_t cell = first; cell < end; cell++) pool_cell(argument, kernels, cell);
}

/* Windows overlap, so one thread adds for all of them; this is a small part of a step. */
static void pool_backward(tomo_exec *exec, const tomo_node *node) {
    const pool_job *job = node->attributes;
    const tomo_tensor *x = &node->inputs[0];
    const int64_t *n = x->shape;
    int64_t d = n[3], first[3], end[3];
    if (x->grad == NULL) return;
    for (int64_t cell = 0; cell < job->bins[0] * job->bins[1] * job->bins[2]; cell++) {
        float share = 1.0f / (float)cell_window(n, job->bins, cell, first, end);
        for (int64_t z = first[0]; z < end[0]; z++) {
            for (int64_t y = first[1]; y < end[1]; y++) {
                for (int64_t c = first[2]; c < end[2]; c++) {
                    exec->kernels->add_scaled(x->grad + ((z * n[1] + y) * n[2] + c) * d, share,
                                              node->output.grad + cell * d, d);
                }
            }
        }
    }
}

tomo_tensor *tomo_op_adaptive_pool3d(tomo_exec *exec, const tomo_tensor *x, const int64_t bins[3]) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(x->rank == 4 && tomo_tensor_is_contiguous(x));
    int64_t d = x->shape[3], cells = bins[0] * bins[1] * bins[2];
    tomo_tensor *out = tomo_exec_tensor(exec, 4, (int64_t[]){bins[0], bins[1], bins[2], d});
    if (out == NULL) return NULL;
    pool_job job = {x, tomo_tensor_f32(out), {bins[0], bins[1], bins[2]}};
    tomo_rows_run(exec, cells, tomo_tensor_count(x) / (cells > 0 ? cells : 1), pool_rows, &job);
    tomo_tape_record(exec, pool_backward, out, &x, 1, &job, sizeof job);
    return out;
}
