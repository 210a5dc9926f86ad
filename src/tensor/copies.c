/* copies.c - joining, copying, and rows by their places; each with its backward. */
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/rowwise.h"
#include "tensor/tape.h"

#include <assert.h>
#include <string.h>

/* ------------------------------------------------------------------------------ copies */

typedef struct copy_job {
    const tomo_tensor *x;
    float *out;
    int64_t out_stride, column;
} copy_job;

static void copy_rows(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end) {
    (void)kernels;
    const copy_job *job = argument;
    int64_t n = tomo_tensor_width(job->x), step = job->x->stride[job->x->rank - 1];
    for (int64_t r = first; r < end; r++) {
        const float *from = tomo_tensor_row(job->x, r);
        float *to = job->out + r * job->out_stride;
        if (step == 1) {
            memcpy(to, from, (size_t)n * sizeof *to);
        } else {
            for (int64_t i = 0; i < n; i++) to[i] = from[i * step];
        }
    }
}

/* The gradient of a copied part: dx += the columns of dy that it became. */
static void copy_rows_backward(const void *argument, const tomo_kernels *kernels, int64_t first,
                               int64_t end) {
    const tomo_node *node = argument;
    const copy_job *job = node->attributes;
    const tomo_tensor *x = &node->inputs[0];
    int64_t n = tomo_tensor_width(x), step = x->stride[x->rank - 1];
    for (int64_t r = first; r < end; r++) {
        const float *dy = node->output.grad + job->column + r * job->out_stride;
        float *dx = x->grad + (tomo_tensor_row(x, r) - tomo_tensor_f32(x));
        if (step == 1) {
            kernels->add(dx, dx, dy, n);
        } else {
            for (int64_t i = 0; i < n; i++) dx[i * step] += dy[i];
        }
    }
}

static void copy_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0];
    if (x->grad == NULL) return;
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), copy_rows_backward, node);
}

/* Copies x into `out` from `column` on. */
static void copy_into(tomo_exec *exec, const tomo_tensor *x, tomo_tensor *out, int64_t column) {
    copy_job job = {x, tomo_tensor_f32(out) + column, tomo_tensor_width(out), column};
    tomo_rows_run(exec, tomo_tensor_rows(x), tomo_tensor_width(x), copy_rows, &job);
    if (x->grad != NULL) tomo_tape_record(exec, copy_backward, out, &x, 1, &job, sizeof job);
}

static tomo_tensor *run_concat(tomo_exec *exec, const tomo_tensor *const *parts, int count) {
    int64_t shape[TOMO_LIMIT_RANK], width = 0;
    for (int i = 0; i < count; i++) {
        if (tomo_exec_broken(exec, parts[i], parts[0])) return NULL;
        width += tomo_tensor_width(parts[i]);
        assert(tomo_tensor_rows(parts[i]) == tomo_tensor_rows(parts[0]));
    }
    for (int i = 0; i < parts[0]->rank; i++) shape[i] = parts[0]->shape[i];
    shape[parts[0]->rank - 1] = width;
    tomo_tensor *out = tomo_exec_tensor(exec, parts[0]->rank, shape);
    if (out == NULL) return NULL;
    int64_t column = 0;
    bool wanted = false;
    for (int i = 0; i < count; i++) {
        copy_into(exec, parts[i], out, column);
        column += tomo_tensor_width(parts[i]);
        wanted = wanted || parts[i]->grad != NULL;
    }
    if (!wanted) out->grad = NULL;
    return out;
}

tomo_tensor *tomo_op_concat(tomo_exec *exec, const tomo_tensor *const *parts, int count) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_concat(exec, parts, count);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

static tomo_tensor *run_contiguous(tomo_exec *exec, const tomo_tensor *x) {
    if (tomo_exec_broken(exec, x, x)) return NULL;
    tomo_tensor *out = tomo_exec_like(exec, x);
    if (out == NULL) return NULL;
    copy_into(exec, x, out, 0);
    if (x->grad == NULL) out->grad = NULL;
    return out;
}

tomo_tensor *tomo_op_contiguous(tomo_exec *exec, const tomo_tensor *x) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_contiguous(exec, x);
    tomo_profile_end(exec, TOMO_PROFILE_POINTWISE, start);
    return y;
}

typedef struct embedding_attributes {
    const int32_t *ids;
    int64_t count;
} embedding_attributes;

/* In the order of the ids: one that occurs twice gets both. */
static void embedding_backward(tomo_exec *exec, const tomo_node *node) {
    const embedding_attributes *at = node->attributes;
    int64_t n = node->output.shape[1];
    for (int64_t i = 0; i < at->count; i++) {
        float *row = node->inputs[0].grad + at->ids[i] * n;
        exec->kernels->add(row, row, node->output.grad + i * n, n);
    }
}

tomo_tensor *tomo_op_embedding(tomo_exec *exec, const tomo_tensor *table, const int32_t *ids, int64_t count) {
    if (tomo_exec_broken(exec, table, table)) return NULL;
    int64_t n = table->shape[1];
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){count, n});
    if (out == NULL) return NULL;
    size_t row = tomo_dtype_bytes(table->dtype, n);
    for (int64_t i = 0; i < count; i++) {
        assert(ids[i] >= 0 && ids[i] < table->shape[0]);
        exec->kernels->widen(tomo_tensor_f32(out) + i * n, (const char *)table->data + (size_t)ids[i] * row,
                             table->dtype, n);
    }
    embedding_attributes at = {.count = count};
    if (exec->tape != NULL && table->grad != NULL) {
        int32_t *copy = tomo_exec_alloc(exec, count, sizeof *copy);
        if (copy == NULL) return NULL;
        memcpy(copy, ids, (size_t)count * sizeof *copy);
        at.ids = copy;
    }
    tomo_tape_record(exec, embedding_backward, out, &table, 1, &at, sizeof at);
    return out;
}

/* ------------------------------------------------------------- rows in place of others */

typedef struct replace_attributes {
    const int64_t *places;
} replace_attributes;

static void replace_backward(tomo_exec *exec, const tomo_node *node) {
    const int64_t *places = ((const replace_attributes *)node->attributes)->places;
    const tomo_tensor *x = &node->inputs[0], *rows = &node->inputs[1];
    int64_t n = x->shape[1];
    for (int64_t r = 0, next = 0; r < x->shape[0]; r++) {
        bool replaced = next < rows->shape[0] && places[next] == r;
        float *to = replaced          ? rows->grad == NULL ? NULL : rows->grad + next * n
                    : x->grad == NULL ? NULL
                                      : x->grad + r * n;
        if (to != NULL) exec->kernels->add(to, to, node->output.grad + r * n, n);
        next += replaced;
    }
}

tomo_tensor *tomo_op_replace_rows(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *rows,
                                  const int64_t *places) {
    if (tomo_exec_broken(exec, x, rows)) return NULL;
    int64_t n = x->shape[1], count = rows->shape[0];
    assert(tomo_tensor_is_contiguous(x) && tomo_tensor_is_contiguous(rows) && rows->shape[1] == n);
    tomo_tensor *out = tomo_exec_like(exec, x);
    int64_t *copy = tomo_exec_alloc(exec, count, sizeof *copy);
    if (out == NULL || copy == NULL) return NULL;
    memcpy(copy, places, (size_t)count * sizeof *copy);
    memcpy(out->data, x->data, (size_t)tomo_tensor_count(x) * sizeof(float));
    for (int64_t i = 0; i < count; i++) {
        assert(places[i] >= 0 && places[i] < x->shape[0] && (i == 0 || places[i] > places[i - 1]));
        memcpy(tomo_tensor_f32(out) + places[i] * n, tomo_tensor_f32(rows) + i * n,
               (size_t)n * sizeof(float));
    }
    replace_attributes at = {copy};
    const tomo_tensor *inputs[] = {x, rows};
    tomo_tape_record(exec, replace_backward, out, inputs, 2, &at, sizeof at);
    return out;
}

/* What was there before has no gradient any more. */
static void put_backward(tomo_exec *exec, const tomo_node *node) {
    const int64_t *places = ((const replace_attributes *)node->attributes)->places;
    const tomo_tensor *rows = &node->inputs[1];
    int64_t n = node->output.shape[1];
    for (int64_t i = 0; i < rows->shape[0]; i++) {
        float *dy = node->output.grad + places[i] * n;
        if (rows->grad != NULL) exec->kernels->add(rows->grad + i * n, rows->grad + i * n, dy, n);
        memset(dy, 0, (size_t)n * sizeof *dy);
    }
}

tomo_tensor *tomo_op_put_rows(tomo_exec *exec, tomo_tensor *x, const tomo_tensor *rows,
                              const int64_t *places) {
    if (tomo_exec_broken(exec, x, rows)) return NULL;
    int64_t n = x->shape[1], count = rows->shape[0];
    assert(tomo_tensor_is_contiguous(x) && tomo_tensor_is_contiguous(rows) && rows->shape[1] == n);
    tomo_tensor *out = tomo_exec_view(exec, *x);
    int64_t *copy = tomo_exec_alloc(exec, count, sizeof *copy);
    if (out == NULL || copy == NULL) return NULL;
    memcpy(copy, places, (size_t)count * sizeof *copy);
    for (int64_t i = 0; i < count; i++) {
        assert(places[i] >= 0 && places[i] < x->shape[0]);
        memcpy(tomo_tensor_f32(out) + places[i] * n, tomo_tensor_f32(rows) + i * n,
               (size_t)n * sizeof(float));
    }
    if (exec->tape != NULL && out->grad == NULL && rows->grad != NULL) {
        out->grad = tomo_tape_gradient(exec, tomo_tensor_count(out));
        if (out->grad == NULL) return NULL;
    }
    replace_attributes at = {copy};
    const tomo_tensor *inputs[] = {x, rows};
    tomo_tape_record(exec, put_backward, out, inputs, 2, &at, sizeof at);
    return out;
}

typedef struct rows_attributes {
    const int64_t *places;
} rows_attributes;

static void rows_backward(tomo_exec *exec, const tomo_node *node) {
    const int64_t *places = ((const rows_attributes *)node->attributes)->places;
    int64_t n = node->output.shape[1];
    for (int64_t i = 0; i < node->output.shape[0]; i++) {
        float *to = node->inputs[0].grad + places[i] * n;
        exec->kernels->add(to, to, node->output.grad + i * n, n);
    }
}

tomo_tensor *tomo_op_rows(tomo_exec *exec, const tomo_tensor *x, const int64_t *places, int64_t count) {
    if (tomo_exec_broken(exec, x, x)) return NULL;
    int64_t n = x->shape[1];
    assert(tomo_tensor_is_contiguous(x));
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){count, n});
    int64_t *copy = tomo_exec_alloc(exec, count, sizeof *copy);
    if (out == NULL || copy == NULL) return NULL;
    memcpy(copy, places, (size_t)count * sizeof *copy);
    for (int64_t i = 0; i < count; i++) {
        assert(places[i] >= 0 && places[i] < x->shape[0]);
        memcpy(tomo_tensor_f32(out) + i * n, tomo_tensor_f32(x) + places[i] * n, (size_t)n * sizeof(float));
    }
    rows_attributes at = {copy};
    tomo_tape_record(exec, rows_backward, out, &x, 1, &at, sizeof at);
    return out;
}

static void mean_rows_backward(tomo_exec *exec, const tomo_node *node) {
    const int64_t *starts = ((const rows_attributes *)node->attributes)->places;
    int64_t n = node->output.shape[1];
    for (int64_t i = 0; i < node->output.shape[0]; i++) {
        float share = 1.0f / (float)(starts[i + 1] - starts[i]);
        for (int64_t r = starts[i]; r < starts[i + 1]; r++) {
            exec->kernels->add_scaled(node->inputs[0].grad + r * n, share, node->output.grad + i * n, n);
        }
    }
}

tomo_tensor *tomo_op_mean_rows(tomo_exec *exec, const tomo_tensor *x, const int64_t *starts, int64_t count) {
    if (tomo_exec_broken(exec, x, x)) return NULL;
    int64_t n = x->shape[1];
    assert(tomo_tensor_is_contiguous(x));
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){count, n});
    int64_t *copy = tomo_exec_alloc(exec, count + 1, sizeof *copy);
    if (out == NULL || copy == NULL) return NULL;
    memcpy(copy, starts, (size_t)(count + 1) * sizeof *copy);
    for (int64_t i = 0; i < count; i++) {
        float *to = tomo_tensor_f32(out) + i * n, share = 1.0f / (float)(starts[i + 1] - starts[i]);
        assert(starts[i] >= 0 && starts[i] < starts[i + 1] && starts[i + 1] <= x->shape[0]);
        memset(to, 0, (size_t)n * sizeof *to);
        for (int64_t r = starts[i]; r < starts[i + 1]; r++) {
            exec->kernels->add(to, to, tomo_tensor_f32(x) + r * n, n);
        }
        for (int64_t k = 0; k < n; k++) to[k] *= share;
    }
    rows_attributes at = {copy};
    tomo_tape_record(exec, mean_rows_backward, out, &x, 1, &at, sizeof at);
    return out;
}
