/* spatial.c - operations that look at neighbours: patches, depthwise convolution, adaptive pooling,
 * the largest of a row over groups. */
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
    const float *bias; /* NULL: the result is added to what is there */
    float *out;
} conv_job;

/* How far cells z, y, x apart tap `tap` looks. */
static void tap_offset(int64_t tap, int64_t by[3]) {
    by[0] = tap / 9 - 1;
    by[1] = tap / 3 % 3 - 1;
    by[2] = tap % 3 - 1;
}

static void conv_cell(const conv_job *job, const tomo_kernels *kernels, int64_t cell) {
    const int64_t *n = job->x->shape;
    int64_t d = n[3], z = cell / (n[1] * n[2]), y = cell / n[2] % n[1], x = cell % n[2], by[3];
    float *out = job->out + cell * d;
    if (job->bias != NULL) memcpy(out, job->bias, (size_t)d * sizeof *out);
    for (int64_t tap = 0; tap < 27; tap++) {
        tap_offset(tap, by);
        int64_t a = z + by[0], b = y + by[1], c = x + by[2];
        if (a < 0 || a >= n[0] || b < 0 || b >= n[1] || c < 0 || c >= n[2]) continue;
        kernels->multiply_add(out, job->taps + tap * d,
                              tomo_tensor_f32(job->x) + ((a * n[1] + b) * n[2] + c) * d, d);
    }
}

static void conv_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    for (int64_t cell = first; cell < end; cell++) conv_cell(argument, kernels, cell);
}

/* to [27, d] = the weight [d, 27], tap by tap, or from the last tap to the first. */
static void turn_taps(const tomo_tensor *weight, int64_t d, bool backwards, float *to) {
    for (int64_t c = 0; c < d; c++) {
        for (int64_t tap = 0; tap < 27; tap++) {
            to[(backwards ? 26 - tap : tap) * d + c] = tomo_tensor_f32(weight)[c * 27 + tap];
        }
    }
}

typedef struct conv_gradient {
    const tomo_node *node;
    const tomo_kernels *kernels;
    float *sums; /* [28, d]: of each tap's weights, and of the bias */
} conv_gradient;

/* Cells along an axis of n whose neighbour `by` away is there. */
static void cells_with_neighbour(int64_t n, int64_t by, int64_t *first, int64_t *end) {
    *first = by < 0 ? -by : 0;
    *end = by > 0 ? n - by : n;
}

/* The gradient of one tap's weights over all cells, in order; the last block is the bias. */
static void conv_tap_backward(void *argument, int64_t tap, int worker) {
    (void)worker;
    const conv_gradient *g = argument;
    const tomo_tensor *x = &g->node->inputs[0];
    const int64_t *n = x->shape;
    int64_t d = n[3], by[3] = {0, 0, 0}, first[3], end[3];
    float *sum = g->sums + tap * d;
    memset(sum, 0, (size_t)d * sizeof *sum);
    if (tap < 27) tap_offset(tap, by);
    for (int i = 0; i < 3; i++) cells_with_neighbour(n[i], by[i], &first[i], &end[i]);
    for (int64_t a = first[0]; a < end[0]; a++) {
        for (int64_t b = first[1]; b < end[1]; b++) {
            for (int64_t c = first[2]; c < end[2]; c++) {
                const float *dy = g->node->output.grad + ((a * n[1] + b) * n[2] + c) * d;
                int64_t from = (((a + by[0]) * n[1] + b + by[1]) * n[2] + c + by[2]) * d;
                if (tap < 27) {
                    g->kernels->multiply_add(sum, dy, tomo_tensor_f32(x) + from, d);
                } else {
                    g->kernels->add(sum, sum, dy, d);
                }
            }
        }
    }
}

/* dx is the convolution of dy with the taps in the opposite order. */
static void conv_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0], *weight = &node->inputs[1], *bias = &node->inputs[2];
    int64_t d = x->shape[3];
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    float *sums = tomo_exec_alloc(exec, 28 * d, sizeof *sums);
    float *taps = tomo_exec_alloc(exec, 27 * d, sizeof *taps);
    if (sums == NULL || taps == NULL) return;
    if (x->grad != NULL) {
        turn_taps(weight, d, true, taps);
        tomo_tensor dy = node->output;
        dy.data = node->output.grad;
        conv_job job = {&dy, taps, NULL, x->grad};
        tomo_rows_run(exec, tomo_tensor_rows(x), 27 * d, conv_rows, &job);
    }
    if (weight->grad != NULL || bias->grad != NULL) {
        conv_gradient g = {node, exec->kernels, sums};
        tomo_pool_run(exec->pool, 28, conv_tap_backward, &g);
        for (int64_t c = 0; c < d && weight->grad != NULL; c++) {
            for (int64_t tap = 0; tap < 27; tap++) weight->grad[c * 27 + tap] += sums[tap * d + c];
        }
        if (bias->grad != NULL) exec->kernels->add(bias->grad, bias->grad, sums + 27 * d, d);
    }
    tomo_arena_rewind(exec->arena, mark);
}

tomo_tensor *tomo_op_depthwise_conv3d(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                      const tomo_tensor *bias) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t d = x->shape[3];
    assert(x->rank == 4 && tomo_tensor_is_contiguous(x) && tomo_tensor_count(weight) == d * 27);
    tomo_tensor *out = tomo_exec_tensor(exec, 4, x->shape);
    float *taps = tomo_exec_alloc(exec, 27 * d, sizeof *taps);
    if (out == NULL || taps == NULL) return NULL;
    turn_taps(weight, d, false, taps);
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

typedef struct pool_gradient {
    const tomo_node *node;
    const tomo_kernels *kernels;
} pool_gradient;

/* Windows overlap: a block is one slice of the input, to which all windows add in order. */
static void pool_slice_backward(void *argument, int64_t z, int worker) {
    (void)worker;
    const pool_gradient *g = argument;
    const pool_job *job = g->node->attributes;
    const tomo_tensor *x = &g->node->inputs[0];
    const int64_t *n = x->shape;
    int64_t d = n[3], first[3], end[3];
    for (int64_t cell = 0; cell < job->bins[0] * job->bins[1] * job->bins[2]; cell++) {
        float share = 1.0f / (float)cell_window(n, job->bins, cell, first, end);
        if (z < first[0] || z >= end[0]) continue;
        for (int64_t y = first[1]; y < end[1]; y++) {
            for (int64_t c = first[2]; c < end[2]; c++) {
                g->kernels->add_scaled(x->grad + ((z * n[1] + y) * n[2] + c) * d, share,
                                       g->node->output.grad + cell * d, d);
            }
        }
    }
}

static void pool_backward(tomo_exec *exec, const tomo_node *node) {
    pool_gradient g = {node, exec->kernels};
    if (node->inputs[0].grad != NULL)
        tomo_pool_run(exec->pool, node->inputs[0].shape[0], pool_slice_backward, &g);
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

/* ------------------------------------------------------------- the largest over groups */

typedef struct largest_job {
    const float *x;
    float *out;
    int64_t groups, m, d;
    int32_t *from; /* [m, d]: the group whose value it is */
} largest_job;

static void largest_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    (void)kernels;
    const largest_job *job = argument;
    for (int64_t r = first; r < end; r++) {
        float *out = job->out + r * job->d;
        int32_t *from = job->from + r * job->d;
        memcpy(out, job->x + r * job->d, (size_t)job->d * sizeof *out);
        memset(from, 0, (size_t)job->d * sizeof *from);
        for (int64_t g = 1; g < job->groups; g++) {
            const float *x = job->x + (g * job->m + r) * job->d;
            for (int64_t i = 0; i < job->d; i++) {
                if (x[i] <= out[i]) continue;
                out[i] = x[i];
                from[i] = (int32_t)g;
            }
        }
    }
}

static void largest_backward(tomo_exec *exec, const tomo_node *node) {
    const largest_job *job = node->attributes;
    float *dx = node->inputs[0].grad;
    int64_t count = job->groups * job->m * job->d;
    if (dx == NULL) return;
    exec->kernels->add(dx, dx, node->output.grad, count);
    const float *dy = node->output.grad + count;
    for (int64_t i = 0; i < job->m * job->d; i++) dx[job->from[i] * job->m * job->d + i] += dy[i];
}

tomo_tensor *tomo_op_append_largest(tomo_exec *exec, const tomo_tensor *x, int64_t m) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(x->rank == 2 && tomo_tensor_is_contiguous(x) && x->shape[0] % m == 0 && x->shape[0] > 0);
    int64_t rows = x->shape[0], d = x->shape[1];
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){rows + m, d});
    int32_t *from = tomo_exec_alloc(exec, m * d, sizeof *from);
    if (out == NULL || from == NULL) return NULL;
    memcpy(out->data, x->data, (size_t)(rows * d) * sizeof(float));
    largest_job job = {tomo_tensor_f32(x), tomo_tensor_f32(out) + rows * d, rows / m, m, d, from};
    tomo_rows_run(exec, m, rows / m * d, largest_rows, &job);
    tomo_tape_record(exec, largest_backward, out, &x, 1, &job, sizeof job);
    return out;
}
