/* norm.c - layer norm and RMS norm, forward and backward. */
#include "base/size.h"
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/rowwise.h"
#include "tensor/tape.h"

#include <assert.h>

typedef struct norm_job {
    const tomo_tensor *x;
    float *out;
    const float *weight, *bias;
    float offset, eps;
} norm_job;

static void layer_norm_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const norm_job *job = argument;
    int64_t n = tomo_tensor_width(job->x);
    for (int64_t r = first; r < end; r++) {
        kernels->layer_norm(job->out + r * n, tomo_tensor_row(job->x, r), job->weight, job->bias, n,
                            job->eps);
    }
}

static void rms_norm_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const norm_job *job = argument;
    int64_t n = tomo_tensor_width(job->x);
    for (int64_t r = first; r < end; r++) {
        kernels->rms_norm(job->out + r * n, tomo_tensor_row(job->x, r), job->weight, job->offset, n,
                          job->eps);
    }
}

/* ------------------------------------------------------------------------- backward */

/* One job for both norms: RMS norm is not centred and has no bias, and its weight counts with `offset`. */
typedef struct norm_gradient {
    const tomo_node *node;
    const tomo_kernels *kernels;
    norm_job job;
    bool centred;
    float *moments; /* [rows, 2]: of each row of x */
} norm_gradient;

static void norm_rows_backward(const void *argument, const tomo_kernels *kernels, int64_t first,
                               int64_t end) {
    const norm_gradient *g = argument;
    const tomo_tensor *in = &g->node->inputs[0];
    int64_t n = tomo_tensor_width(in);
    for (int64_t r = first; r < end; r++) {
        const float *x = tomo_tensor_row(in, r);
        float *dx = in->grad == NULL ? NULL : in->grad + (x - tomo_tensor_f32(in));
        kernels->norm_backward(dx, x, g->node->output.grad + r * n, g->job.weight, g->job.offset, n,
                               g->job.eps, g->centred, g->moments + 2 * r);
    }
}

/* Columns that one block sums over all rows, in order. */
#define NORM_COLUMNS 32

static void norm_columns_backward(void *argument, int64_t block, int worker) {
    (void)worker;
    const norm_gradient *g = argument;
    const tomo_tensor *in = &g->node->inputs[0], *weight = &g->node->inputs[1], *bias = &g->node->inputs[2];
    int64_t n = tomo_tensor_width(in), rows = tomo_tensor_rows(in), first = block * NORM_COLUMNS;
    int64_t count = n - first < NORM_COLUMNS ? n - first : NORM_COLUMNS;
    float of_weight[NORM_COLUMNS] = {0}, of_bias[NORM_COLUMNS] = {0};
    for (int64_t r = 0; r < rows; r++) {
        const float *x = tomo_tensor_row(in, r) + first, *dy = g->node->output.grad + r * n + first;
        g->kernels->norm_weight_backward(of_weight, x, dy, g->moments + 2 * r, count);
        if (bias->grad != NULL) g->kernels->add(of_bias, of_bias, dy, count);
    }
    if (weight->grad != NULL) g->kernels->add(weight->grad + first, weight->grad + first, of_weight, count);
    if (bias->grad != NULL) g->kernels->add(bias->grad + first, bias->grad + first, of_bias, count);
}

static void norm_backward(tomo_exec *exec, const tomo_node *node, bool centred) {
    const tomo_tensor *x = &node->inputs[0];
    int64_t rows = tomo_tensor_rows(x), n = tomo_tensor_width(x);
    norm_gradient g = {.node = node,
                       .kernels = exec->kernels,
                       .job = *(const norm_job *)node->attributes,
                       .centred = centred};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    g.moments = tomo_exec_alloc(exec, 2 * rows, sizeof *g.moments);
    if (g.moments == NULL) return;
    tomo_rows_run(exec, rows, n, norm_rows_backward, &g);
    if (node->inputs[1].grad != NULL || node->inputs[2].grad != NULL) {
        tomo_pool_run(exec->pool, tomo_pieces(n, NORM_COLUMNS), norm_columns_backward, &g);
    }
    tomo_arena_rewind(exec->arena, mark);
}

static void layer_norm_backward(tomo_exec *exec, const tomo_node *node) {
    norm_backward(exec, node, true);
}
static void rms_norm_backward(tomo_exec *exec, const tomo_node *node) {
    norm_backward(exec, node, false);
}

/* -------------------------------------------------------------------------- forward */

static tomo_tensor *run_layer_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                   const tomo_tensor *bias, double eps) {
    if (tomo_exec_broken(exec, x, weight)) return NULL;
    assert(weight->data == NULL || weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = tomo_exec_like(exec, x);
    if (out == NULL) return NULL;
    norm_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(weight), tomo_tensor_f32(bias), 0, (float)eps};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), layer_norm_rows, &job);
    const tomo_tensor *inputs[] = {x, weight, bias};
    tomo_tape_record(exec, layer_norm_backward, out, inputs, 3, &job, sizeof job);
    return out;
}

tomo_tensor *tomo_op_layer_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                const tomo_tensor *bias, double eps) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_layer_norm(exec, x, weight, bias, eps);
    tomo_profile_end(exec, TOMO_PROFILE_NORM, start);
    return y;
}

static tomo_tensor *run_rms_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                 double offset, double eps) {
    if (tomo_exec_broken(exec, x, weight)) return NULL;
    assert(x->stride[x->rank - 1] == 1 && weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = tomo_exec_like(exec, x);
    if (out == NULL) return NULL;
    norm_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(weight), NULL, (float)offset, (float)eps};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), rms_norm_rows, &job);
    tomo_tensor none = {0};
    const tomo_tensor *inputs[] = {x, weight, &none};
    tomo_tape_record(exec, rms_norm_backward, out, inputs, 3, &job, sizeof job);
    return out;
}

tomo_tensor *tomo_op_rms_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight, double offset,
                              double eps) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_rms_norm(exec, x, weight, offset, eps);
    tomo_profile_end(exec, TOMO_PROFILE_NORM, start);
    return y;
}
