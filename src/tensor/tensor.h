/* tensor.h - an n-dimensional array: shape, strides and a pointer to elements that somebody else owns. */
#ifndef TOMO_TENSOR_TENSOR_H
#define TOMO_TENSOR_TENSOR_H

#include "base/dtype.h"
#include "base/limits.h"
#include "base/status.h"

/* Weights are F32, BF16, F16 or in blocks of GGUF; activations are F32. Strides count elements. data NULL:
 * absent (a layer without a bias). Passed by pointer; a view is another tomo_tensor with the same data. */
typedef struct tomo_tensor {
    tomo_dtype dtype;
    int rank;
    int64_t shape[TOMO_LIMIT_RANK];
    int64_t stride[TOMO_LIMIT_RANK];
    void *data;
    float *grad; /* gradient of the loss, laid out as data; NULL: none is wanted */
} tomo_tensor;

/* A contiguous tensor over data. */
tomo_tensor tomo_tensor_over(void *data, tomo_dtype dtype, int rank, const int64_t *shape);
/* The same over F32 elements that are only read. */
tomo_tensor tomo_tensor_over_const(const float *data, int rank, const int64_t *shape);

int64_t tomo_tensor_count(const tomo_tensor *t);
bool tomo_tensor_is_contiguous(const tomo_tensor *t);
/* The elements as floats; the caller knows that they are F32. */
static inline float *tomo_tensor_f32(const tomo_tensor *t) {
    return (float *)t->data;
}

/* Views; the count (reshape: of a contiguous tensor) and the range are the caller's to get right. */
tomo_tensor tomo_tensor_reshape(const tomo_tensor *t, int rank, const int64_t *shape);
tomo_tensor tomo_tensor_narrow(const tomo_tensor *t, int axis, int64_t start, int64_t length);

/* Elements of the last axis, and the number of rows before it. */
static inline int64_t tomo_tensor_width(const tomo_tensor *t) {
    return t->shape[t->rank - 1];
}
int64_t tomo_tensor_rows(const tomo_tensor *t);
/* Row r of them, for any strides. */
const float *tomo_tensor_row(const tomo_tensor *t, int64_t r);

#endif
