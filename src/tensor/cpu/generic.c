/* generic.c - the reference: every kernel as its formula. Never optimised; runs on any CPU. */
#include "tensor/cpu/blocks.h"
#include "tensor/cpu/tables.h"

#include <math.h>
#include <string.h>

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

static float activation_of(tomo_activation activation, float x) {
    switch (activation) {
    case TOMO_ACT_NONE:
        return x;
    case TOMO_ACT_GELU:
        return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
    case TOMO_ACT_GELU_TANH:
        return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
    case TOMO_ACT_QUICK_GELU:
        return x * sigmoid(1.702f * x);
    case TOMO_ACT_SILU:
        return x * sigmoid(x);
    case TOMO_ACT_SIGMOID:
        return sigmoid(x);
    case TOMO_ACT_TANH:
        return tanhf(x);
    }
    return x;
}

static void activate(tomo_activation activation, float *out, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = activation_of(activation, x[i]);
}

static void silu_multiply(float *out, const float *gate, const float *up, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = gate[i] * sigmoid(gate[i]) * up[i];
}

static void add(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

static void multiply(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = a[i] * b[i];
}

static void add_scaled(float *out, float scale, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += scale * x[i];
}

static void layer_norm(float *out, const float *x, const float *weight, const float *bias, int64_t n,
                       float eps) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1.0 / sqrt(squares / (double)n + (double)eps);
    for (int64_t i = 0; i < n; i++) {
        float y = (float)(((double)x[i] - mean) * inverse);
        if (weight != NULL) y *= weight[i];
        out[i] = bias != NULL ? y + bias[i] : y;
    }
}

static void rms_norm(float *out, const float *x, const float *weight, float offset, int64_t n, float eps) {
    double squares = 0;
    for (int64_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    float inverse = (float)(1.0 / sqrt(squares / (double)n + (double)eps));
    for (int64_t i = 0; i < n; i++) out[i] = x[i] * inverse * (weight[i] + offset);
}

static void softmax(float *x, float scale, int64_t n) {
    float largest = -INFINITY;
    for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, scale * x[i]);
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        x[i] = expf(scale * x[i] - largest);
        sum += (double)x[i];
    }
    for (int64_t i = 0; i < n; i++) x[i] = (float)((double)x[i] / sum);
}

static void rotate(float *out, const float *x, const float *cosine, const float *sine, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        out[i] = a * cosine[i] - b * sine[i];
        out[i + half] = b * cosine[i] + a * sine[i];
    }
}

static float dot(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)a[i] * (double)b[i];
    return (float)sum;
}

static float element(const void *x, tomo_dtype dtype, int64_t i) {
    if (dtype == TOMO_F32) return ((const float *)x)[i];
    uint16_t half = ((const uint16_t *)x)[i];
    return dtype == TOMO_BF16 ? tomo_bf16_to_float(half) : tomo_f16_to_float(half);
}

static void arrange(float *out, const float *x, int64_t k) {
    for (int64_t i = 0; i < k; i++) out[i] = x[i];
}

static void product(float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t rows,
                    const void *w, tomo_dtype dtype, int64_t w_stride, int64_t n, int64_t k) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++) {
                sum += (double)x[r * x_stride + i] * (double)element(w, dtype, j * w_stride + i);
            }
            out[r * out_stride + j] = (float)sum;
        }
    }
}

static void weighted_sum(float *out, int64_t out_stride, const float *p, int64_t p_stride, int64_t rows,
                         const float *v, int64_t v_stride, int64_t count, int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t c = 0; c < n; c++) {
            double sum = 0;
            for (int64_t j = 0; j < count; j++) {
                sum += (double)p[r * p_stride + j] * (double)v[j * v_stride + c];
            }
            out[r * out_stride + c] = (float)sum;
        }
    }
}

static void widen(float *out, const void *x, tomo_dtype dtype, int64_t n) {
    if (tomo_dtype_block(dtype) > 1) {
        widen_blocks(out, x, dtype, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) out[i] = element(x, dtype, i);
}

const tomo_kernels tomo_kernels_generic = {
    .name = "generic",
    .activate = activate,
    .silu_multiply = silu_multiply,
    .add = add,
    .multiply = multiply,
    .add_scaled = add_scaled,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .softmax = softmax,
    .rotate = rotate,
    .dot = dot,
    .arrange = arrange,
    .product = product,
    .weighted_sum = weighted_sum,
    .widen = widen,
};
