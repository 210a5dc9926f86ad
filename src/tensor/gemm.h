/* gemm.h - matrix products in blocks, each on one thread. */
#ifndef TOMO_TENSOR_GEMM_H
#define TOMO_TENSOR_GEMM_H

#include "tensor/exec.h"

/* What is done to a finished element: activation(y + bias) + residual. */
typedef struct tomo_epilogue {
    const float *bias; /* [n] or NULL */
    tomo_activation activation;
    const float *residual; /* [m, n] with the strides of out, or NULL */
} tomo_epilogue;

/* out [m, n] (row stride out_stride) = epilogue(x [m, k] w^T), w [n, k] contiguous, F32, BF16, F16 or blocks.
 * accumulate: the product is added to what out holds, before the epilogue. Few rows go through our own
 * kernels, which read each weight once; more through oneDNN's single-threaded sgemm, with 16-bit weights
 * widened a panel at a time. */
void tomo_gemm(tomo_exec *exec, float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t m,
               const tomo_tensor *w, bool accumulate, tomo_epilogue epilogue);

/* tomo_pool_run for blocks that call tomo_sgemm. oneDNN's products use the stack pointer for memory from the
 * heap; a handler that ran then would write its frame into whatever lies before it. So the calling thread
 * holds back signals until all blocks are done; the pool's own threads always do. */
void tomo_gemm_run(tomo_pool *pool, int64_t blocks, tomo_block_fn run, void *argument);

/* One thread, called inside a block of tomo_gemm_run: c [m, n] = alpha a [m, k] b + beta c, where b is [k,
 * n], or [n, k] with transposed_b. False when oneDNN failed (out of memory). */
bool tomo_sgemm(bool transposed_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t a_stride, const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride);

/* The same for c [m, n] = alpha a^T b + beta c, a [k, m], b [k, n]. */
bool tomo_sgemm_transposed(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_stride,
                           const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride);

/* Backward of y = x w^T + b, in one run of the threads: dx [m, k] += dy [m, n] w, dw [n, k] += dy^T x,
 * db [n] += the sum of dy's rows; NULL: not wanted. w [n, k] F32, BF16 or F16 (dw: of F32 alone). Each block
 * of dw and db sums over all rows, so the order is fixed. */
void tomo_gemm_backward(tomo_exec *exec, float *dx, float *dw, float *db, const float *dy, const float *x,
                        int64_t m, const tomo_tensor *w);
/* dx alone. */
void tomo_gemm_backward_input(tomo_exec *exec, float *dx, const float *dy, int64_t m, const tomo_tensor *w);
/* dw [n, k] += scale dy^T x alone. */
void tomo_gemm_backward_weight(tomo_exec *exec, float *dw, const float *dy, const float *x, int64_t m,
                               int64_t n, int64_t k, float scale);

#endif
