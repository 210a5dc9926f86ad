/* kernels.h - the inner loops, one table an instruction set, chosen once at run time.
 *
 * cpu/generic.c is the reference: plain C that reads like the formula. cpu/simd.h holds one vector source
 * that is compiled for AVX2 and for AVX-512 (and, for tests, AVX-512's width on AVX2). tests/unit/
 * tensor_kernels.c compares every table that this machine can run with the reference. */
#ifndef TOMO_TENSOR_KERNELS_H
#define TOMO_TENSOR_KERNELS_H

#include "base/dtype.h"
#include "base/status.h"

typedef enum tomo_activation {
    TOMO_ACT_NONE,
    TOMO_ACT_GELU,       /* x Phi(x), exact (erf) */
    TOMO_ACT_GELU_TANH,  /* the tanh approximation of GELU */
    TOMO_ACT_QUICK_GELU, /* x sigmoid(1.702 x) */
    TOMO_ACT_SILU,       /* x sigmoid(x) */
    TOMO_ACT_SIGMOID,
    TOMO_ACT_TANH
} tomo_activation;

/* Most rows of the left matrix that `product` takes. */
#define TOMO_PRODUCT_ROWS 8

/* What a step of AdamW multiplies with (train/optimizer.c). */
typedef struct tomo_adam_factors {
    double beta1, beta2, eps;
    double keep, step, root; /* of the weight; learning rate / (1 - b1^t); 1 / sqrt(1 - b2^t) */
    double decay;            /* added to the gradient, times the weight: Adam's; else 0 */
} tomo_adam_factors;

typedef struct tomo_kernels {
    const char *name; /* "generic", "avx2", "avx512", "amx" */

    /* out[i] = activation(x[i]); out may be x. */
    void (*activate)(tomo_activation activation, float *out, const float *x, int64_t n);
    /* out[i] = silu(gate[i]) * up[i] */
    void (*silu_multiply)(float *out, const float *gate, const float *up, int64_t n);
    /* out[i] = a[i] + b[i]; out[i] = a[i] * b[i]; out[i] += scale * x[i] */
    void (*add)(float *out, const float *a, const float *b, int64_t n);
    void (*multiply)(float *out, const float *a, const float *b, int64_t n);
    void (*add_scaled)(float *out, float scale, const float *x, int64_t n);
    /* out[i] += a[i] * b[i] */
    void (*multiply_add)(float *out, const float *a, const float *b, int64_t n);

    /* Ways back. dx[i] += dy[i] * activation'(x[i]). */
    void (*activate_backward)(tomo_activation activation, float *dx, const float *x, const float *dy,
                              int64_t n);
    /* Of silu(gate[i]) * up[i]: adds to dgate and dup. */
    void (*silu_multiply_backward)(float *dgate, float *dup, const float *gate, const float *up,
                                   const float *dy, int64_t n);
    /* Of one row of layer_norm (centred) or rms_norm (not): adds to dx, or with dx NULL nothing; moments
     * become the row's mean (0 where not centred) and 1 / sqrt(variance + eps). weight [n] or NULL. */
    void (*norm_backward)(float *dx, const float *x, const float *dy, const float *weight, float offset,
                          int64_t n, float eps, bool centred, float moments[2]);
    /* dweight[i] += dy[i] * (x[i] - mean) * inverse */
    void (*norm_weight_backward)(float *dweight, const float *x, const float *dy, const float moments[2],
                                 int64_t n);
    /* AdamW: m = b1 m + (1 - b1) g, v = b2 v + (1 - b2) g^2, p = keep p - step m / (root v + eps), in
     * double. */
    void (*adam)(float *p, float *m, float *v, const float *g, int64_t n, const tomo_adam_factors *f);

    /* One row: (x - mean) / sqrt(biased variance + eps) * weight + bias. weight, bias [n] or NULL. */
    void (*layer_norm)(float *out, const float *x, const float *weight, const float *bias, int64_t n,
                       float eps);
    /* One row: x / sqrt(mean(x^2) + eps) * (weight + offset). */
    void (*rms_norm)(float *out, const float *x, const float *weight, float offset, int64_t n, float eps);
    /* One row, in place: exp(scale x - max) / sum. */
    void (*softmax)(float *x, float scale, int64_t n);
    /* Turns pairs (x[i], x[i + half]): out[i] = x[i] c[i] - x[i+half] s[i], out[i+half] = x[i+half] c[i] +
     * x[i] s[i]; cosine, sine [half]; out may be x. */
    void (*rotate)(float *out, const float *x, const float *cosine, const float *sine, int64_t half);

    float (*dot)(const float *a, const float *b, int64_t n);
    /* Puts a row of k floats into the order in which `product` of this table wants it beside BF16 weights
     * (two of them lie in one 32-bit word); out is not x. */
    void (*arrange)(float *out, const float *x, int64_t k);
    /* out[r * out_stride + j] = sum_k x[r * x_stride + k] * w[j * w_stride + k] for r < rows <=
     * TOMO_PRODUCT_ROWS, j < n. w holds F32, F16, or BF16, beside which the rows of x are arranged. Reads
     * each weight once. */
    void (*product)(float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t rows,
                    const void *w, tomo_dtype dtype, int64_t w_stride, int64_t n, int64_t k);
    /* out[r * out_stride + c] = sum_j p[r * p_stride + j] * v[j * v_stride + c] for c < n, r < rows. */
    void (*weighted_sum)(float *out, int64_t out_stride, const float *p, int64_t p_stride, int64_t rows,
                         const float *v, int64_t v_stride, int64_t count, int64_t n);

    /* BF16, F16 or whole blocks (or F32: a copy) to float. */
    void (*widen)(float *out, const void *x, tomo_dtype dtype, int64_t n);
} tomo_kernels;

/* What this CPU offers, as the program sees it. */
typedef struct tomo_cpu_features {
    bool avx2, avx512, avx512_bf16, avx512_vnni, amx; /* amx: BF16 and INT8, with all the others */
} tomo_cpu_features;
tomo_cpu_features tomo_cpu_detect(void);

/* The best table of this CPU, or the named one. TOMO_E_USAGE: no such table, or the CPU cannot run it. */
tomo_status tomo_kernels_select(const char *name, const tomo_kernels **kernels, tomo_error *err);
/* Writes every table that this CPU can run into list[room] and returns how many; for tests. Among them is
 * "avx512-on-avx2": the source of the wide path, narrowed by the compiler, so that its logic is tested on
 * machines without AVX-512. */
size_t tomo_kernels_runnable(const tomo_kernels **list, size_t room);

/* One value; also what the vector code does with the ends of rows. */
float tomo_bf16_to_float(uint16_t x);
float tomo_f16_to_float(uint16_t x);
uint16_t tomo_float_to_bf16(float x); /* to nearest, ties to even */
uint16_t tomo_float_to_f16(float x);

#endif
