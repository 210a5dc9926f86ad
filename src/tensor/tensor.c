#include "tensor/tensor.h"

#include <assert.h>

tomo_tensor tomo_tensor_over(void *data, tomo_dtype dtype, int rank, const int64_t *shape) {
    assert(rank >= 1 && rank <= TOMO_LIMIT_RANK);
    tomo_tensor t = {.dtype = dtype, .rank = rank, .data = data};
    int64_t stride = 1;
    for (int i = rank - 1; i >= 0; i--) {
        t.shape[i] = shape[i];
        t.stride[i] = stride;
        stride *= shape[i];
    }
    return t;
}

tomo_tensor tomo_tensor_over_const(const float *data, int rank, const int64_t *shape) {
    return tomo_tensor_over((void *)(uintptr_t)data, TOMO_F32, rank, shape);
}

int64_t tomo_tensor_count(const tomo_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= t->shape[i];
    return count;
}

bool tomo_tensor_is_contiguous(const tomo_tensor *t) {
    int64_t stride = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != stride) return false;
        stride *= t->shape[i];
    }
    return true;
}

tomo_tensor tomo_tensor_reshape(const tomo_tensor *t, int rank, const int64_t *shape) {
    assert(tomo_tensor_is_contiguous(t));
    tomo_tensor view = tomo_tensor_over(t->data, t->dtype, rank, shape);
    view.grad = t->grad;
    assert(tomo_tensor_count(&view) == tomo_tensor_count(t));
    return view;
}

tomo_tensor tomo_tensor_narrow(const tomo_tensor *t, int axis, int64_t start, int64_t length) {
    assert(axis >= 0 && axis < t->rank && start >= 0 && length >= 0 && start + length <= t->shape[axis]);
    tomo_tensor view = *t;
    view.shape[axis] = length;
    view.data = (char *)t->data + (size_t)(start * t->stride[axis]) * tomo_dtype_size(t->dtype);
    if (t->grad != NULL) view.grad = t->grad + start * t->stride[axis];
    return view;
}

const float *tomo_tensor_row(const tomo_tensor *t, int64_t r) {
    int64_t offset = 0;
    for (int i = t->rank - 2; i >= 0; i--) {
        offset += r % t->shape[i] * t->stride[i];
        r /= t->shape[i];
    }
    return tomo_tensor_f32(t) + offset;
}

int64_t tomo_tensor_rows(const tomo_tensor *t) {
    int64_t rows = 1;
    for (int i = 0; i < t->rank - 1; i++) rows *= t->shape[i];
    return rows;
}
