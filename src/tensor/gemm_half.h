/* gemm_half.h - products of a linear layer in training whose factors are rounded to BF16.
 *
 * Trained weights are float32 and change with every step, so unlike frozen ones (packed.h) they are brought
 * into panels for each product, and so are activations and their gradients. Sums are float32. Products of two
 * BF16 numbers are exact in float, so the error is that of rounding each factor: 2^-9 relative. */
#ifndef TOMO_TENSOR_GEMM_HALF_H
#define TOMO_TENSOR_GEMM_HALF_H

#include "tensor/gemm.h"

/* Whether products of a layer on the tape are taken in BF16, forward and back (when nothing is recorded):
 * exec->half_tape is set, weights are float32, and rows are enough to be worth it. */
bool tomo_gemm_half_wanted(const tomo_exec *exec, const tomo_tensor *w, int64_t rows);

/* out [m, n] = x [m, k] w^T + bias; w [n, k], bias [n] or NULL, all contiguous. */
void tomo_gemm_half(tomo_exec *exec, float *out, const float *x, int64_t m, const tomo_tensor *w,
                    const float *bias);

/* Backward of it: dx [m, k] += dy [m, n] w, dw [n, k] += dy^T x; NULL: not wanted. Sums have one order for
 * any number of threads. */
void tomo_gemm_half_backward(tomo_exec *exec, float *dx, float *dw, const float *dy, const float *x,
                             int64_t m, const tomo_tensor *w);

#endif
