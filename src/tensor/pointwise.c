/* pointwise.c - norms, activations, sums and products, copies: work of one row at a time. */
#include "tensor/ops.h"
#include "tensor/rowwise.h"

#include <assert.h>
#include <string.h>

/* Row r of a tensor with free strides but the last. */
static const float *row_of(const tomo_tensor *t, int64_t r) {
    int64_t offset = 0;
    for (int i = t->rank - 2; i >= 0; i--) {
        offset += r % t->shape[i] * t->stride[i];
        r /= t->shape[i];
    }
    return tomo_tensor_f32(t) + offset;
}

static tomo_tensor *like(tomo_exec *exec, const tomo_tensor *x) {
    return tomo_exec_tensor(exec, x->rank, x->shape);
}

static bool broken(const tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    return exec->error.status != TOMO_OK || a == NULL || b == NULL;
}

/* ------------------------------------------------------------------------------ norms */

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
        kernels->layer_norm(job->out + r * n, row_of(job->x, r), job->weight, job->bias, n, job->eps);
    }
}

static void rms_norm_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    const norm_job *job = argument;
    int64_t n = tomo_tensor_width(job->x);
    for (int64_t r = first; r < end; r++) {
        kernels->rms_norm(job->out + r * n, row_of(job->x, r), job->weight, job->offset, n, job->eps);
    }
}

tomo_tensor *tomo_op_layer_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                const tomo_tensor *bias, double eps) {
    if (broken(exec, x, weight)) return NULL;
    assert(weight->data == NULL || weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = like(exec, x);
    if (out == NULL) return NULL;
    norm_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(weight), tomo_tensor_f32(bias), 0, (float)eps};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), layer_norm_rows, &job);
    return out;
}

tomo_tensor *tomo_op_rms_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight, double offset,
                              double eps) {
    if (broken(exec, x, weight)) return NULL;
    assert(x->stride[x->rank - 1] == 1 && weight->shape[0] == tomo_tensor_width(x));
    tomo_tensor *out = like(exec, x);
    if (out == NULL) return NULL;
    norm_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(weight), NULL, (float)offset, (float)eps};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), rms_norm_rows, &job);
    return out;
}

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

/* b may be the tail of a's shape; rows are then as long as b's last axis. */
static tomo_tensor *pairwise(tomo_exec *exec, pair_job job, const tomo_tensor *a, const tomo_tensor *b) {
    assert(tomo_tensor_is_contiguous(a) && (b == NULL || tomo_tensor_is_contiguous(b)));
    assert(b == NULL || tomo_tensor_count(a) % tomo_tensor_count(b) == 0);
    tomo_tensor *out = like(exec, a);
    if (out == NULL) return NULL;
    job.out = tomo_tensor_f32(out);
    job.a = tomo_tensor_f32(a);
    job.n = tomo_tensor_width(a);
    if (b != NULL) {
        assert(tomo_tensor_width(b) == job.n);
        job.b = tomo_tensor_f32(b);
        job.b_rows = tomo_tensor_rows(b);
    }
    tomo_rows_run(exec, tomo_tensor_rows(a), job.n, pair_rows, &job);
    return out;
}

tomo_tensor *tomo_op_activate(tomo_exec *exec, const tomo_tensor *x, tomo_activation activation) {
    if (broken(exec, x, x)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_ACTIVATE, .activation = activation}, x, NULL);
}

tomo_tensor *tomo_op_silu_multiply(tomo_exec *exec, const tomo_tensor *gate, const tomo_tensor *up) {
    if (broken(exec, gate, up)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_SILU_MULTIPLY}, gate, up);
}

tomo_tensor *tomo_op_add(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    if (broken(exec, a, b)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_ADD}, a, b);
}

tomo_tensor *tomo_op_multiply(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    if (broken(exec, a, b)) return NULL;
    return pairwise(exec, (pair_job){.kind = PAIR_MULTIPLY}, a, b);
}

tomo_tensor *tomo_op_mix(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *near,
                         const tomo_tensor *far) {
    if (broken(exec, a, near) || far == NULL) return NULL;
    assert(tomo_tensor_count(far) == tomo_tensor_count(a) && tomo_tensor_is_contiguous(far));
    return pairwise(exec, (pair_job){.kind = PAIR_MIX, .c = tomo_tensor_f32(far)}, a, near);
}

/* ------------------------------------------------------------------------------ copies */

typedef struct copy_job {
    const tomo_tensor *x;
    float *out;
    int64_t out_stride;
} copy_job;

static void copy_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    (void)kernels;
    const copy_job *job = argument;
    int64_t n = tomo_tensor_width(job->x), step = job->x->stride[job->x->rank - 1];
    for (int64_t r = first; r < end; r++) {
        const float *from = row_of(job->x, r);
        float *to = job->out + r * job->out_stride;
        if (step == 1) {
            memcpy(to, from, (size_t)n * sizeof *to);
        } else {
            for (int64_t i = 0; i < n; i++) to[i] = from[i * step];
        }
    }
}

tomo_tensor *tomo_op_concat(tomo_exec *exec, const tomo_tensor *const *parts, int count) {
    int64_t shape[TOMO_LIMIT_RANK], width = 0, rows = 0;
    for (int i = 0; i < count; i++) {
        if (broken(exec, parts[i], parts[0])) return NULL;
        width += tomo_tensor_width(parts[i]);
        rows = tomo_tensor_rows(parts[0]);
        assert(tomo_tensor_rows(parts[i]) == rows);
    }
    for (int i = 0; i < parts[0]->rank; i++) shape[i] = parts[0]->shape[i];
    shape[parts[0]->rank - 1] = width;
    tomo_tensor *out = tomo_exec_tensor(exec, parts[0]->rank, shape);
    if (out == NULL) return NULL;
    float *at = tomo_tensor_f32(out);
    for (int i = 0; i < count; i++) {
        copy_job job = {parts[i], at, width};
        tomo_rows_run(exec, rows, tomo_tensor_width(parts[i]), copy_rows, &job);
        at += tomo_tensor_width(parts[i]);
    }
    return out;
}

tomo_tensor *tomo_op_contiguous(tomo_exec *exec, const tomo_tensor *x) {
    if (broken(exec, x, x)) return NULL;
    tomo_tensor *out = like(exec, x);
    if (out == NULL) return NULL;
    copy_job job = {x, tomo_tensor_f32(out), tomo_tensor_width(x)};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), copy_rows, &job);
    return out;
}

tomo_tensor *tomo_op_embedding(tomo_exec *exec, const tomo_tensor *table, const int32_t *ids, int64_t count) {
    if (broken(exec, table, table)) return NULL;
    int64_t n = table->shape[1];
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){count, n});
    if (out == NULL) return NULL;
    size_t row = (size_t)n * tomo_dtype_size(table->dtype);
    for (int64_t i = 0; i < count; i++) {
        assert(ids[i] >= 0 && ids[i] < table->shape[0]);
        exec->kernels->widen(tomo_tensor_f32(out) + i * n, (const char *)table->data + (size_t)ids[i] * row,
                             table->dtype, n);
    }
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

tomo_tensor *tomo_op_rope(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *cosine,
                          const tomo_tensor *sine) {
    if (broken(exec, x, cosine) || sine == NULL) return NULL;
    assert(x->rank == 3 && x->stride[2] == 1 && cosine->shape[0] == x->shape[0]);
    tomo_tensor *out = like(exec, x);
    if (out == NULL) return NULL;
    rope_job job = {x, tomo_tensor_f32(out), tomo_tensor_f32(cosine), tomo_tensor_f32(sine),
                    cosine->shape[1]};
    tomo_rows_run(exec, x->shape[0], x->shape[1] * x->shape[2], rope_rows, &job);
    return out;
}
