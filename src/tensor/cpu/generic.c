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

static void multiply_add(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += a[i] * b[i];
}

static float slope_of(tomo_activation activation, float x) {
    float s, u, t;
    switch (activation) {
    case TOMO_ACT_NONE:
        return 1;
    case TOMO_ACT_GELU: /* Phi(x) + x phi(x) */
        return 0.5f * (1 + erff(x * 0.70710678f)) + x * expf(-0.5f * x * x) * 0.39894228f;
    case TOMO_ACT_GELU_TANH:
        u = 0.79788456f * (x + 0.044715f * x * x * x);
        t = tanhf(u);
        return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.79788456f * (1 + 3 * 0.044715f * x * x);
    case TOMO_ACT_QUICK_GELU:
        s = sigmoid(1.702f * x);
        return s + 1.702f * x * s * (1 - s);
    case TOMO_ACT_SILU:
        s = sigmoid(x);
        return s + x * s * (1 - s);
    case TOMO_ACT_SIGMOID:
        s = sigmoid(x);
        return s * (1 - s);
    case TOMO_ACT_TANH:
        t = tanhf(x);
        return 1 - t * t;
    }
    return 0;
}

static void activate_backward(tomo_activation activation, float *dx, const float *x, const float *dy,
                              int64_t n) {
    for (int64_t i = 0; i < n; i++) dx[i] += dy[i] * slope_of(activation, x[i]);
}

static void silu_multiply_backward(float *dgate, float *dup, const float *gate, const float *up,
                                   const float *dy, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float s = sigmoid(gate[i]);
        dgate[i] += dy[i] * up[i] * (s + gate[i] * s * (1 - s));
        dup[i] += dy[i] * gate[i] * s;
    }
}

/* With x^ = (x - mean) inverse and g = dy (weight + offset): dx += inverse (g - mean(g) - x^ mean(g x^)); not
 * centred, there is no mean(g). */
static void norm_backward(float *dx, const float *x, const float *dy, const float *weight, float offset,
                          int64_t n, float eps, bool centred, float moments[2]) {
    double sum = 0, squares = 0, of_g = 0, of_gx = 0;
    for (int64_t i = 0; i < n && centred; i++) sum += (double)x[i];
    double mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += ((double)x[i] - mean) * ((double)x[i] - mean);
    double inverse = 1 / sqrt(squares / (double)n + (double)eps);
    moments[0] = (float)mean;
    moments[1] = (float)inverse;
    for (int64_t i = 0; i < n && dx != NULL; i++) {
        double g = (double)dy[i] * (weight == NULL ? 1 : (double)(weight[i] + offset));
        of_g += centred ? g : 0;
        of_gx += g * ((double)x[i] - mean) * inverse;
    }
    for (int64_t i = 0; i < n && dx != NULL; i++) {
        double g = (double)dy[i] * (weight == NULL ? 1 : (double)(weight[i] + offset));
        double along = ((double)x[i] - mean) * inverse * of_gx / (double)n;
        dx[i] += (float)(inverse * (g - of_g / (double)n - along));
    }
}

static void norm_weight_backward(float *dweight, const float *x, const float *dy, const float moments[2],
                                 int64_t n) {
    for (int64_t i = 0; i < n; i++) dweight[i] += dy[i] * (x[i] - moments[0]) * moments[1];
}

static void adam(float *p, float *m, float *v, const float *g, int64_t n, const tomo_adam_factors *f) {
    for (int64_t i = 0; i < n; i++) {
        double slope = (double)g[i] + f->decay * (double)p[i];
        double mean = f->beta1 * (double)m[i] + (1 - f->beta1) * slope;
        double square = f->beta2 * (double)v[i] + (1 - f->beta2) * slope * slope;
        m[i] = (float)mean;
        v[i] = (float)square;
        p[i] = (float)((double)p[i] * f->keep - f->step * mean / (sqrt(square) * f->root + f->eps));
    }
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
    .multiply_add = multiply_add,
    .activate_backward = activate_backward,
    .silu_multiply_backward = silu_multiply_backward,
    .norm_backward = norm_backward,
    .norm_weight_backward = norm_weight_backward,
    .adam = adam,
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
