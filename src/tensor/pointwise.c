/* pointwise.c - activations, sums and products element by element, rotary positions; each with its backward.
 */
#include "base/size.h"
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/rowwise.h"
#include "tensor/tape.h"

#include <assert.h>
#include <string.h>

/* -------------------------------------------------------------------- element by element */

typedef enum pair_kind { PAIR_ADD, PAIR_MULTIPLY, PAIR_SILU_MULTIPLY, PAIR_ACTIVATE, PAIR_MIX } pair_kind;

/* Rows of n elements; row r of b is row r % b_rows. */
typedef struct pair_job {
    pair_kind kind;
    tomo_activation activation;
    float *out;
    const float *a, *b, *c;
    int64_t n, b_rows;
} pair_job;

static void mix_row(float *out, const float *gate, const float *near, const float *far, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = gate[i] * near[i] + (1.0f - gate[i]) * far[i];
}

static void pair_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const pair_job *job = argument;
    int64_t n = job->n;
    for (int64_t r = first; r < end; r++) {
        float *out = job->out + r * n;
        const float *a = job->a + r * n, *b = job->b == NULL ? NULL : job->b + r % job->b_rows * n;
        switch (job->kind) {
        case PAIR_ADD:
            kernels->add(out, a, b, n);
            break;
        case PAIR_MULTIPLY:
            kernels->multiply(out, a, b, n);
            break;
        case PAIR_SILU_MULTIPLY:
            kernels->silu_multiply(out, a, b, n);
            break;
        case PAIR_ACTIVATE:
            kernels->activate(job->activation, out, a, n);
            break;
        case PAIR_MIX:
            mix_row(out, a, b, job->c + r * n, n);
            break;
        }
    }
}

/* Gradients of one row; da, db, dc are NULL where none is wanted. b and db are the row's own, also where b's
 * rows are used several times. */
typedef struct pair_row {
    const float *dy, *a, *b, *c;
    float *da, *db, *dc;
} pair_row;

static void mix_row_backward(pair_row r, int64_t n) {
    for (int64_t i = 0; i < n && r.da != NULL; i++) r.da[i] += r.dy[i] * (r.b[i] - r.c[i]);
    for (int64_t i = 0; i < n && r.dc != NULL; i++) r.dc[i] += r.dy[i] * (1.0f - r.a[i]);
}

/* `spare` [n] takes what nobody wants. */
static void pair_row_backward(const pair_job *job, const tomo_kernels *kernels, pair_row r, float *spare) {
    int64_t n = job->n;
    switch (job->kind) {
    case PAIR_ADD:
        if (r.da != NULL) kernels->add(r.da, r.da, r.dy, n);
        if (r.db != NULL) kernels->add(r.db, r.db, r.dy, n);
        break;
    case PAIR_MULTIPLY:
        if (r.da != NULL) kernels->multiply_add(r.da, r.dy, r.b, n);
        if (r.db != NULL) kernels->multiply_add(r.db, r.dy, r.a, n);
        break;
    case PAIR_SILU_MULTIPLY:
        kernels->silu_multiply_backward(r.da != NULL ? r.da : spare, r.db != NULL ? r.db : spare, r.a, r.b,
                                        r.dy, n);
        break;
    case PAIR_ACTIVATE:
        if (r.da != NULL) kernels->activate_backward(job->activation, r.da, r.a, r.dy, n);
        break;
    case PAIR_MIX:
        mix_row_backward(r, n);
        if (r.db != NULL) kernels->multiply_add(r.db, r.dy, r.a, n);
        break;
    }
}

typedef struct pair_gradient {
    const pair_job *job;
    const tomo_node *node;
    const tomo_kernels *kernels;
    float *spare; /* one row a worker */
    int64_t rows, rows_per_block;
} pair_gradient;

/* Row r of a and what stands beside it. */
static void pair_gradient_row(const pair_gradient *g, int64_t r, int worker) {
    const pair_job *job = g->job;
    const tomo_tensor *inputs = g->node->inputs;
    int64_t n = job->n, other = job->b == NULL ? 0 : r % job->b_rows;
    pair_row row = {.dy = g->node->output.grad + r * n, .a = job->a + r * n};
    if (inputs[0].grad != NULL) row.da = inputs[0].grad + r * n;
    if (job->b != NULL) row.b = job->b + other * n;
    if (job->b != NULL && inputs[1].grad != NULL) row.db = inputs[1].grad + other * n;
    if (job->c != NULL) row.c = job->c + r * n;
    if (job->c != NULL && inputs[2].grad != NULL) row.dc = inputs[2].grad + r * n;
    pair_row_backward(job, g->kernels, row, g->spare + worker * n);
}

/* Some rows, each beside its own. */
static void pair_block(void *argument, int64_t block, int worker) {
    const pair_gradient *g = argument;
    int64_t first = block * g->rows_per_block, end = first + g->rows_per_block;
    for (int64_t r = first; r < end && r < g->rows; r++) pair_gradient_row(g, r, worker);
}

/* Row `block` of b and all rows of a that it stands beside, in order: sums do not depend on threads. */
static void shared_pair_block(void *argument, int64_t block, int worker) {
    const pair_gradient *g = argument;
    for (int64_t r = block; r < g->rows; r += g->job->b_rows) pair_gradient_row(g, r, worker);
}

static void pair_backward(tomo_exec *exec, const tomo_node *node) {
    const pair_job *job = node->attributes;
    pair_gradient g = {job, node, exec->kernels, NULL, tomo_tensor_rows(&node->output), 0};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    g.spare = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job->n, sizeof *g.spare);
    if (g.spare == NULL) return;
    memset(g.spare, 0, (size_t)(tomo_pool_threads(exec->pool) * job->n) * sizeof *g.spare);
    g.rows_per_block = tomo_exec_rows_per_block(job->n);
    if (job->b != NULL && job->b_rows < g.rows) {
        tomo_pool_run(exec->pool, job->b_rows, shared_pair_block, &g);
    } else {
        tomo_pool_run(exec->pool, tomo_pieces(g.rows, g.rows_per_block), pair_block, &g);
    }
    tomo_arena_rewind(exec->arena, mark);
}

/* b may be the tail of a's shape; rows are then as long as b's last axis. c is as a. */
static tomo_tensor *pairwise(tomo_exec *exec, pair_job job, const tomo_tensor *a, const tomo_tensor *b,
                             const tomo_tensor *c) {
    assert(tomo_tensor_is_contiguous(a) && (b == NULL || tomo_tensor_is_contiguous(b)));
    assert(b == NULL || tomo_tensor_count(a) % tomo_tensor_count(b) == 0);
    tomo_tensor *out = tomo_exec_like(exec, a), none = {0};
    if (out == NULL) return NULL;
    job.out = tomo_tensor_f32(out);
    job.a = tomo_tensor_f32(a);
    job.n = tomo_tensor_width(a);
    if (b != NULL) {
        assert(tomo_tensor_width(b) == job.n);
        job.b = tomo_tensor_f32(b);
        job.b_rows = tomo_tensor_rows(b);
    }
    if (c != NULL) {
        assert(tomo_tensor_is_contiguous(c) && tomo_tensor_count(c) == tomo_tensor_count(a));
        job.c = tomo_tensor_f32(c);
    }
    tomo_rows_run(exec, tomo_tensor_rows(a), job.n, pair_rows, &job);
    const tomo_tensor *inputs[] = {a, b == NULL ? &none : b, c == NULL ? &none : c};
    tomo_tape_record(exec, pair_backward, out, inputs, 3, &job, sizeof job);
    return out;
}

static tomo_tensor *run_activate(tomo_exec *exec, const tomo_tensor *x, tomo_activation activation) {
    if (tomo_exec_broken(exec, x, x)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_ACTIVATE, .activation = activation}, x, NULL, NULL);
}

tomo_tensor *tomo_op_activate(tomo_exec *exec, const tomo_tensor *x, tomo_activation activation) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_activate(exec, x, activation);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

static tomo_tensor *run_silu_multiply(tomo_exec *exec, const tomo_tensor *gate, const tomo_tensor *up) {
    if (tomo_exec_broken(exec, gate, up)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_SILU_MULTIPLY}, gate, up, NULL);
}

tomo_tensor *tomo_op_silu_multiply(tomo_exec *exec, const tomo_tensor *gate, const tomo_tensor *up) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_silu_multiply(exec, gate, up);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

static tomo_tensor *run_add(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    if (tomo_exec_broken(exec, a, b)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_ADD}, a, b, NULL);
}

tomo_tensor *tomo_op_add(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_add(exec, a, b);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

static tomo_tensor *run_multiply(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    if (tomo_exec_broken(exec, a, b)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_MULTIPLY}, a, b, NULL);
}

tomo_tensor *tomo_op_multiply(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_multiply(exec, a, b);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

static tomo_tensor *run_mix(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *near,
                            const tomo_tensor *far) {
    if (tomo_exec_broken(exec, a, near) || far == NULL) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_MIX}, a, near, far);
}

tomo_tensor *tomo_op_mix(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *near,
                         const tomo_tensor *far) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_mix(exec, a, near, far);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

/* ------------------------------------------------------------- one row for many others */

typedef struct spread_job {
    const float *x, *place;
    float *out;
    int64_t d, cells; /* rows of x beside one row of place */
} spread_job;

static void spread_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const spread_job *job = argument;
    for (int64_t r = first; r < end; r++) {
        kernels->add(job->out + r * job->d, job->x + r * job->d, job->place + r / job->cells * job->d,
                     job->d);
    }
}

typedef struct spread_gradient {
    const tomo_node *node;
    const tomo_kernels *kernels;
} spread_gradient;

/* A row of place and the rows of x beside it, in order. */
static void spread_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const spread_gradient *g = argument;
    const spread_job *job = g->node->attributes;
    const tomo_tensor *x = &g->node->inputs[0], *place = &g->node->inputs[1];
    int64_t d = job->d, first = block * job->cells;
    const float *dy = g->node->output.grad + first * d;
    if (x->grad != NULL) g->kernels->add(x->grad + first * d, x->grad + first * d, dy, job->cells * d);
    for (int64_t r = 0; r < job->cells && place->grad != NULL; r++) {
        g->kernels->add(place->grad + block * d, place->grad + block * d, dy + r * d, d);
    }
}

static void spread_backward(tomo_exec *exec, const tomo_node *node) {
    spread_gradient g = {node, exec->kernels};
    tomo_pool_run(exec->pool, tomo_tensor_rows(&node->inputs[1]), spread_block, &g);
}

tomo_tensor *tomo_op_add_spread(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *place) {
    if (tomo_exec_broken(exec, x, place)) return NULL;
    assert(tomo_tensor_is_contiguous(x) && tomo_tensor_is_contiguous(place));
    assert(tomo_tensor_rows(x) % tomo_tensor_rows(place) == 0);
    tomo_tensor *out = tomo_exec_like(exec, x);
    if (out == NULL) return NULL;
    spread_job job = {tomo_tensor_f32(x), tomo_tensor_f32(place), tomo_tensor_f32(out), tomo_tensor_width(x),
                      tomo_tensor_rows(x) / tomo_tensor_rows(place)};
    tomo_rows_run(exec, tomo_tensor_rows(x), job.d, spread_rows, &job);
    const tomo_tensor *inputs[] = {x, place};
    tomo_tape_record(exec, spread_backward, out, inputs, 2, &job, sizeof job);
    return out;
}

/* ------------------------------------------------------------------------------- rope */

typedef struct rope_job {
    const tomo_tensor *x;
    float *out;
    const float *cosine, *sine;
    int64_t half;
} rope_job;

static void rope_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const rope_job *job = argument;
    int64_t heads = job->x->shape[1], d = job->x->shape[2], half = job->half;
    for (int64_t t = first; t < end; t++) {
        for (int64_t h = 0; h < heads; h++) {
            const float *x = tomo_tensor_f32(job->x) + t * job->x->stride[0] + h * job->x->stride[1];
            float *out = job->out + (t * heads + h) * d;
            kernels->rotate(out, x, job->cosine + t * half, job->sine + t * half, half);
            if (2 * half < d) memcpy(out + 2 * half, x + 2 * half, (size_t)(d - 2 * half) * sizeof *out);
        }
    }
}

/* The turn the other way: dx[i] += dy[i] c + dy[i+half] s, dx[i+half] += dy[i+half] c - dy[i] s. */
static void rope_rows_backward(const void *argument, const tomo_kernels *kernels, int64_t first,
                               int64_t end) {
    (void)kernels;
    const tomo_node *node = argument;
    const rope_job *job = node->attributes;
    const tomo_tensor *x = &node->inputs[0];
    int64_t heads = x->shape[1], d = x->shape[2], half = job->half;
    for (int64_t r = first * heads; r < end * heads; r++) {
        const float *c = job->cosine + r / heads * half, *s = job->sine + r / heads * half;
        const float *dy = node->output.grad + r * d;
        float *dx = x->grad + r / heads * x->stride[0] + r % heads * x->stride[1];
        for (int64_t i = 0; i < half; i++) {
            dx[i] += dy[i] * c[i] + dy[i + half] * s[i];
            dx[i + half] += dy[i + half] * c[i] - dy[i] * s[i];
        }
        for (int64_t i = 2 * half; i < d; i++) dx[i] += dy[i];
    }
}

static void rope_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0];
    tomo_rows_run(exec, x->shape[0], x->shape[1] * x->shape[2], rope_rows_backward, node);
}

static tomo_tensor *run_rope(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *cosine,
                             const tomo_tensor *sine) {
    if (tomo_exec_broken(exec, x, cosine) || sine == NULL) return NULL;
    assert(x->rank == 3 && x->stride[2] == 1 && cosine->shape[0] == x->shape[0]);
    tomo_tensor *out = tomo_exec_like(exec, x);
    if (out == NULL) return NULL;
    rope_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(cosine), tomo_tensor_f32(sine),
                    cosine->shape[1]};
    tomo_rows_run(exec, x->shape[0], x->shape[1] * x->shape[2], rope_rows, &job);
    tomo_tape_record(exec, rope_backward, out, &x, 1, &job, sizeof job);
    return out;
}

tomo_tensor *tomo_op_rope(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *cosine,
                          const tomo_tensor *sine) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_rope(exec, x, cosine, sine);
    tomo_profile_end(exec, TOMO_PROFILE_ROPE, start);
    return y;
}
