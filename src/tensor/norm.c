/* norm.c - layer norm and RMS norm, forward and backward. */
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/rowwise.h"
#include "tensor/tape.h"

#include <assert.h>
#include <math.h>

static tomo_tensor *like(tomo_exec *exec, const tomo_tensor *x) {
    return tomo_exec_tensor(exec, x->rank, x->shape);
}

static bool broken(const tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    return exec->error.status != TOMO_OK || a == NULL || b == NULL;
}

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

/* One job for both norms: RMS norm has mean 0 and no bias, and its weight counts with `offset`. */
typedef struct norm_gradient {
    const tomo_node *node;
    norm_job job;
    bool centred;
    float *means, *inverses; /* [rows]: of each row of x */
} norm_gradient;

/* With x^ = (x - mean) inverse and g = dy weight: dx += inverse (g - mean(g) - x^ mean(g x^)); RMS norm has
 * no mean(g). */
static void norm_row_backward(const norm_gradient *g, int64_t r) {
    const tomo_tensor *in = &g->node->inputs[0];
    int64_t n = tomo_tensor_width(in);
    const float *x = tomo_tensor_row(in, r), *dy = g->node->output.grad + r * n, *w = g->job.weight;
    double sum = 0, squares = 0, of_g = 0, of_gx = 0;
    for (int64_t i = 0; i < n && g->centred; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1 / sqrt(squares / (double)n + (double)g->job.eps);
    g->means[r] = (float)mean;
    g->inverses[r] = (float)inverse;
    if (in->grad == NULL) return;
    for (int64_t i = 0; i < n; i++) {
        double v = (double)dy[i] * (w == NULL ? 1 : (double)(w[i] + g->job.offset));
        of_g += g->centred ? v : 0;
        of_gx += v * ((double)x[i] - mean) * inverse;
    }
    float *dx = in->grad + (x - tomo_tensor_f32(in));
    for (int64_t i = 0; i < n; i++) {
        double v = (double)dy[i] * (w == NULL ? 1 : (double)(w[i] + g->job.offset));
        dx[i] +=
            (float)(inverse * (v - of_g / (double)n - ((double)x[i] - mean) * inverse * of_gx / (double)n));
    }
}

static void norm_rows_backward(const void *argument, const tomo_kernels *kernels, int64_t first,
                               int64_t end) {
    (void)kernels;
    for (int64_t r = first; r < end; r++) norm_row_backward(argument, r);
}

/* Columns that one block sums over all rows, in order. */
#define NORM_COLUMNS 32

static void norm_columns_backward(void *argument, int64_t block, int worker) {
    (void)worker;
    const norm_gradient *g = argument;
    const tomo_tensor *in = &g->node->inputs[0], *weight = &g->node->inputs[1], *bias = &g->node->inputs[2];
    int64_t n = tomo_tensor_width(in), rows = tomo_tensor_rows(in), first = block * NORM_COLUMNS;
    int64_t end = first + NORM_COLUMNS < n ? first + NORM_COLUMNS : n;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = tomo_tensor_row(in, r), *dy = g->node->output.grad + r * n;
        for (int64_t i = first; i < end && weight->grad != NULL; i++) {
            weight->grad[i] += dy[i] * (x[i] - g->means[r]) * g->inverses[r];
        }
        for (int64_t i = first; i < end && bias->grad != NULL; i++) bias->grad[i] += dy[i];
    }
}

static void norm_backward(tomo_exec *exec, const tomo_node *node, bool centred) {
    const tomo_tensor *x = &node->inputs[0];
    int64_t rows = tomo_tensor_rows(x), n = tomo_tensor_width(x);
    norm_gradient g = {.node = node, .job = *(const norm_job *)node->attributes, .centred = centred};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    g.means = tomo_exec_alloc(exec, rows, sizeof *g.means);
    g.inverses = tomo_exec_alloc(exec, rows, sizeof *g.inverses);
    if (g.inverses == NULL) return;
    tomo_rows_run(exec, rows, n, norm_rows_backward, &g);
    if (node->inputs[1].grad != NULL || node->inputs[2].grad != NULL) {
        tomo_pool_run(exec->pool, (n + NORM_COLUMNS - 1) / NORM_COLUMNS, norm_columns_backward, &g);
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
    if (broken(exec, x, weight)) return NULL;
    assert(weight->data == NULL || weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = like(exec, x);
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
    if (broken(exec, x, weight)) return NULL;
    assert(x->stride[x->rank - 1] == 1 && weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = like(exec, x);
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
