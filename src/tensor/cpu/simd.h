/* simd.h - every kernel once, in the compiler's vector types, SIMD_WIDTH floats at a time.
 *
 * Included by one file an instruction set, which sets SIMD_WIDTH, SIMD_NAME and SIMD_TABLE (and a second name
 * and table, where two go by the same kernels) and is compiled with that set enabled and with a * b + c fused
 * (the tests compare with the reference, which is not). Sums run over SIMD_WIDTH lanes and are joined in one
 * fixed order, so a result depends on the length alone. */
#include "tensor/cpu/blocks.h"
#include "tensor/cpu/tables.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define W SIMD_WIDTH
typedef float vf __attribute__((vector_size(W * 4)));
typedef int32_t vi __attribute__((vector_size(W * 4)));
typedef uint16_t vh __attribute__((vector_size(W * 2)));
typedef uint32_t vu __attribute__((vector_size(W * 4)));

/* ------------------------------------------------------------------------------ basics */

static inline vf load(const float *p) {
    vf v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void store(float *p, vf v) {
    memcpy(p, &v, sizeof v);
}

static inline vf splat(float x) {
    vf v = {0};
    return v + x;
}

/* The first `count` lanes from p, the rest `fill`. */
static inline vf load_part(const float *p, int64_t count, float fill) {
#if W == 16 && defined(__AVX512F__)
    return (vf)_mm512_mask_loadu_ps((__m512)splat(fill), (__mmask16)((1u << count) - 1), p);
#else
    float lanes[W];
    for (int64_t i = 0; i < W; i++) lanes[i] = i < count ? p[i] : fill;
    return load(lanes);
#endif
}

static inline void store_part(float *p, vf v, int64_t count) {
#if W == 16 && defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)v);
#else
    memcpy(p, &v, (size_t)count * sizeof(float));
#endif
}

static inline vf blend(vi mask, vf yes, vf no) {
    return (vf)((mask & (vi)yes) | (~mask & (vi)no));
}
static inline vf at_least(vf x, vf low) {
    return blend(x > low, x, low);
}
static inline vf at_most(vf x, vf high) {
    return blend(x < high, x, high);
}

/* Lanes are joined in halves: 0 + W/2, 1 + W/2 + 1, ... */
static inline float sum_lanes(vf v) {
    float lanes[W];
    store(lanes, v);
    for (int step = W / 2; step > 0; step /= 2) {
        for (int i = 0; i < step; i++) lanes[i] += lanes[i + step];
    }
    return lanes[0];
}

static inline vf from_bf16(const uint16_t *p) {
    vh half;
    memcpy(&half, p, sizeof half);
    return (vf)(__builtin_convertvector(half, vu) << 16);
}

static inline vf from_f16(const uint16_t *p) {
#if W == 16 && defined(__AVX512F__)
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
#else
    vf v;
    for (int i = 0; i < W; i += 8) {
        __m256 part = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(p + i)));
        memcpy((float *)&v + i, &part, sizeof part);
    }
    return v;
#endif
}

/* ----------------------------------------------------------------- elementary functions */

/* exp(x): 2^n times a polynomial on [-ln2/2, ln2/2]; relative error 2e-7. Below -87.3: 0. */
static inline vf exp_of(vf x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    const vf x0 = x;
    vi underflow = x < splat(-87.3f);
    x = at_most(at_least(x, splat(-87.3f)), splat(88.3f));
    vf n = (x * 1.44269504f + magic) - magic;
    vf r = x - n * 0.693359375f; /* ln 2 in two parts, the first exact in few bits */
    r = r + n * 2.12194440e-4f;
    /* Taylor to the 7th power: on this range the rest is below 1e-8. */
    vf p = r * (1.0f / 5040) + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    vi exponent = (__builtin_convertvector(n, vi) + 127) << 23;
    return blend(x0 == x0, blend(underflow, splat(0), p * (vf)exponent),
                 x0); /* what is no number stays none */
}

static inline vf sigmoid_of(vf x) {
    return 1.0f / (1.0f + exp_of(-x));
}

/* erf(x) = x P(x^2) / Q(x^2) on |x| <= 3.95 (beyond, +-1 in float): rational fit by iteratively reweighted
 * least squares on 6,500 points; relative error 2e-8 exact, 3e-7 in float. */
static inline vf erf_of(vf x) {
    x = at_most(at_least(x, splat(-3.95f)), splat(3.95f));
    vf s = x * x;
    vf p = s * 2.02727345e-06f + 0.000284633529f;
    p = p * s + 0.00380383651f;
    p = p * s + 0.052862153f;
    p = p * s + 0.191443632f;
    p = p * s + 1.12837914f;
    vf q = s * 3.78431577e-05f + 0.00116975945f;
    q = q * s + 0.015046361f;
    q = q * s + 0.114516273f;
    q = q * s + 0.502995193f;
    q = q * s + 1.0f;
    return x * p / q;
}

static inline vf gelu_of(vf x) {
    return 0.5f * x * (1.0f + erf_of(x * 0.70710678f));
}

/* 0.5 (1 + tanh u) is sigmoid(2 u). */
static inline vf gelu_tanh_of(vf x) {
    return x * sigmoid_of(1.59576912f * (x + 0.044715f * x * x * x));
}
static inline vf quick_gelu_of(vf x) {
    return x * sigmoid_of(1.702f * x);
}
static inline vf silu_of(vf x) {
    return x * sigmoid_of(x);
}

/* 2 sigmoid(2 x) - 1 loses digits near 0, where x - x^3/3 + 2 x^5/15 - 17 x^7/315 does not. */
static inline vf tanh_of(vf x) {
    vf s = x * x;
    vf small = x * (1.0f + s * (-0.333333333f + s * (0.133333333f - s * 0.0539682540f)));
    return blend(s < splat(0.0225f), small, 2.0f * sigmoid_of(2.0f * x) - 1.0f);
}

/* ------------------------------------------------------------------------- pointwise */

#define POINTWISE(name, function)                                                                            \
    static void name(float *out, const float *x, int64_t n) {                                                \
        int64_t i = 0;                                                                                       \
        for (; i + W <= n; i += W) store(out + i, function(load(x + i)));                                    \
        if (i < n) store_part(out + i, function(load_part(x + i, n - i, 0)), n - i);                         \
    }

POINTWISE(gelu_row, gelu_of)
POINTWISE(gelu_tanh_row, gelu_tanh_of)
POINTWISE(quick_gelu_row, quick_gelu_of)
POINTWISE(silu_row, silu_of)
POINTWISE(sigmoid_row, sigmoid_of)
POINTWISE(tanh_row, tanh_of)

static void activate(tomo_activation activation, float *out, const float *x, int64_t n) {
    switch (activation) {
    case TOMO_ACT_NONE:
        if (out != x) memmove(out, x, (size_t)n * sizeof *x);
        break;
    case TOMO_ACT_GELU:
        gelu_row(out, x, n);
        break;
    case TOMO_ACT_GELU_TANH:
        gelu_tanh_row(out, x, n);
        break;
    case TOMO_ACT_QUICK_GELU:
        quick_gelu_row(out, x, n);
        break;
    case TOMO_ACT_SILU:
        silu_row(out, x, n);
        break;
    case TOMO_ACT_SIGMOID:
        sigmoid_row(out, x, n);
        break;
    case TOMO_ACT_TANH:
        tanh_row(out, x, n);
        break;
    }
}

static void silu_multiply(float *out, const float *gate, const float *up, int64_t n) {
    int64_t i = 0;
    for (; i + W <= n; i += W) store(out + i, silu_of(load(gate + i)) * load(up + i));
    if (i < n) {
        vf y = silu_of(load_part(gate + i, n - i, 0)) * load_part(up + i, n - i, 0);
        store_part(out + i, y, n - i);
    }
}

/* These three are vectorised by the compiler. */
static void add(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = a[i] + b[i];
}

static void multiply(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] = a[i] * b[i];
}

static void add_scaled(float *out, float scale, const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += scale * x[i];
}

/* ----------------------------------------------------------------------- ways back */

static void multiply_add(float *out, const float *a, const float *b, int64_t n) {
    for (int64_t i = 0; i < n; i++) out[i] += a[i] * b[i];
}

/* Phi(x) + x phi(x) */
static inline vf gelu_slope(vf x) {
    return 0.5f * (1.0f + erf_of(x * 0.70710678f)) + x * exp_of(-0.5f * x * x) * 0.39894228f;
}
static inline vf gelu_tanh_slope(vf x) {
    vf t = tanh_of(0.79788456f * (x + 0.044715f * x * x * x));
    return 0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.79788456f * (1.0f + 3 * 0.044715f * x * x);
}
static inline vf quick_gelu_slope(vf x) {
    vf s = sigmoid_of(1.702f * x);
    return s + 1.702f * x * s * (1.0f - s);
}
static inline vf silu_slope(vf x) {
    vf s = sigmoid_of(x);
    return s + x * s * (1.0f - s);
}
static inline vf sigmoid_slope(vf x) {
    vf s = sigmoid_of(x);
    return s * (1.0f - s);
}
static inline vf tanh_slope(vf x) {
    vf t = tanh_of(x);
    return 1.0f - t * t;
}

#define SLOPE(name, function)                                                                                \
    static void name(float *dx, const float *x, const float *dy, int64_t n) {                                \
        int64_t i = 0;                                                                                       \
        for (; i + W <= n; i += W) store(dx + i, load(dx + i) + load(dy + i) * function(load(x + i)));       \
        if (i < n) {                                                                                         \
            vf part = load_part(dy + i, n - i, 0) * function(load_part(x + i, n - i, 0));                    \
            store_part(dx + i, load_part(dx + i, n - i, 0) + part, n - i);                                   \
        }                                                                                                    \
    }

SLOPE(gelu_back, gelu_slope)
SLOPE(gelu_tanh_back, gelu_tanh_slope)
SLOPE(quick_gelu_back, quick_gelu_slope)
SLOPE(silu_back, silu_slope)
SLOPE(sigmoid_back, sigmoid_slope)
SLOPE(tanh_back, tanh_slope)

static void activate_backward(tomo_activation activation, float *dx, const float *x, const float *dy,
                              int64_t n) {
    switch (activation) {
    case TOMO_ACT_NONE:
        add(dx, dx, dy, n);
        break;
    case TOMO_ACT_GELU:
        gelu_back(dx, x, dy, n);
        break;
    case TOMO_ACT_GELU_TANH:
        gelu_tanh_back(dx, x, dy, n);
        break;
    case TOMO_ACT_QUICK_GELU:
        quick_gelu_back(dx, x, dy, n);
        break;
    case TOMO_ACT_SILU:
        silu_back(dx, x, dy, n);
        break;
    case TOMO_ACT_SIGMOID:
        sigmoid_back(dx, x, dy, n);
        break;
    case TOMO_ACT_TANH:
        tanh_back(dx, x, dy, n);
        break;
    }
}

/* `count` lanes of a row, all of them or the last. */
static inline vf lanes_of(const float *p, int64_t count) {
    return count >= W ? load(p) : load_part(p, count, 0);
}
static inline void put_lanes(float *p, vf v, int64_t count) {
    if (count >= W) {
        store(p, v);
    } else {
        store_part(p, v, count);
    }
}

static void silu_multiply_backward(float *dgate, float *dup, const float *gate, const float *up,
                                   const float *dy, int64_t n) {
    for (int64_t i = 0; i < n; i += W) {
        vf g = lanes_of(gate + i, n - i), u = lanes_of(up + i, n - i), d = lanes_of(dy + i, n - i);
        vf s = sigmoid_of(g);
        put_lanes(dgate + i, lanes_of(dgate + i, n - i) + d * u * (s + g * s * (1.0f - s)), n - i);
        put_lanes(dup + i, lanes_of(dup + i, n - i) + d * g * s, n - i);
    }
}

static void norm_weight_backward(float *dweight, const float *x, const float *dy, const float moments[2],
                                 int64_t n) {
    float mean = moments[0], inverse = moments[1];
    for (int64_t i = 0; i < n; i++) dweight[i] += dy[i] * (x[i] - mean) * inverse;
}

/* Half as many doubles. */
typedef double vd __attribute__((vector_size(W * 4)));
typedef float half_vf __attribute__((vector_size(W * 2)));

static inline vd load_doubles(const float *p) {
    half_vf v;
    memcpy(&v, p, sizeof v);
    return __builtin_convertvector(v, vd);
}

static inline void store_doubles(float *p, vd v) {
    half_vf h = __builtin_convertvector(v, half_vf);
    memcpy(p, &h, sizeof h);
}

static inline vd root_of(vd x) {
#if W == 16 && defined(__AVX512F__)
    return (vd)_mm512_sqrt_pd((__m512d)x);
#else
    for (int i = 0; i < W / 2; i += 4) {
        __m256d part;
        memcpy(&part, (char *)&x + (size_t)i * sizeof(double), sizeof part);
        part = _mm256_sqrt_pd(part);
        memcpy((char *)&x + (size_t)i * sizeof(double), &part, sizeof part);
    }
    return x;
#endif
}

/* W / 2 elements. */
static inline void adam_lanes(float *p, float *m, float *v, const float *g, const tomo_adam_factors *f) {
    vd weight = load_doubles(p), slope = load_doubles(g) + f->decay * weight;
    vd mean = f->beta1 * load_doubles(m) + (1 - f->beta1) * slope;
    vd square = f->beta2 * load_doubles(v) + (1 - f->beta2) * slope * slope;
    store_doubles(m, mean);
    store_doubles(v, square);
    store_doubles(p, weight * f->keep - f->step * mean / (root_of(square) * f->root + f->eps));
}

static void adam(float *p, float *m, float *v, const float *g, int64_t n, const tomo_adam_factors *f) {
    int64_t i = 0, lanes = W / 2;
    for (; i + lanes <= n; i += lanes) adam_lanes(p + i, m + i, v + i, g + i, f);
    if (i == n) return;
    float last[4][W / 2] = {{0}};
    float *const rows[] = {p, m, v};
    size_t bytes = (size_t)(n - i) * sizeof(float);
    for (int k = 0; k < 3; k++) memcpy(last[k], rows[k] + i, bytes);
    memcpy(last[3], g + i, bytes);
    adam_lanes(last[0], last[1], last[2], last[3], f);
    for (int k = 0; k < 3; k++) memcpy(rows[k] + i, last[k], bytes);
}

/* ---------------------------------------------------------------------------- rows */

static float sum_row(const float *x, int64_t n) {
    vf a = splat(0), b = splat(0);
    int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        a += load(x + i);
        b += load(x + i + W);
    }
    for (; i < n; i += W) a += n - i >= W ? load(x + i) : load_part(x + i, n - i, 0);
    return sum_lanes(a + b);
}

/* sum of (x - mean)^2 */
static float squares_row(const float *x, float mean, int64_t n) {
    vf a = splat(0), b = splat(0);
    int64_t i = 0;
    for (; i + 2 * W <= n; i += 2 * W) {
        vf d = load(x + i) - mean, e = load(x + i + W) - mean;
        a += d * d;
        b += e * e;
    }
    for (; i < n; i += W) {
        vf d = (n - i >= W ? load(x + i) : load_part(x + i, n - i, mean)) - mean;
        a += d * d;
    }
    return sum_lanes(a + b);
}

static void layer_norm(float *out, const float *x, const float *weight, const float *bias, int64_t n,
                       float eps) {
    float mean = sum_row(x, n) / (float)n;
    float inverse = 1.0f / sqrtf(squares_row(x, mean, n) / (float)n + eps);
    if (weight != NULL && bias != NULL) {
        for (int64_t i = 0; i < n; i++) out[i] = (x[i] - mean) * inverse * weight[i] + bias[i];
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        float y = (x[i] - mean) * inverse;
        if (weight != NULL) y *= weight[i];
        out[i] = bias != NULL ? y + bias[i] : y;
    }
}

static void rms_norm(float *out, const float *x, const float *weight, float offset, int64_t n, float eps) {
    float inverse = 1.0f / sqrtf(squares_row(x, 0, n) / (float)n + eps);
    for (int64_t i = 0; i < n; i++) out[i] = x[i] * inverse * (weight[i] + offset);
}

/* generic.c has the formula. */
static void norm_backward(float *dx, const float *x, const float *dy, const float *weight, float offset,
                          int64_t n, float eps, bool centred, float moments[2]) {
    float mean = centred ? sum_row(x, n) / (float)n : 0;
    float inverse = 1.0f / sqrtf(squares_row(x, mean, n) / (float)n + eps);
    moments[0] = mean;
    moments[1] = inverse;
    if (dx == NULL) return;
    vf sum = splat(0), along = splat(0), one = splat(1.0f);
    for (int64_t i = 0; i < n; i += W) {
        vf w = weight == NULL ? one : lanes_of(weight + i, n - i) + offset;
        vf g = lanes_of(dy + i, n - i) * w;
        sum += g;
        along += g * (lanes_of(x + i, n - i) - mean);
    }
    float of_g = centred ? sum_lanes(sum) / (float)n : 0;
    float of_gx = sum_lanes(along) * inverse * inverse / (float)n;
    for (int64_t i = 0; i < n; i += W) {
        vf w = weight == NULL ? one : lanes_of(weight + i, n - i) + offset;
        vf g = lanes_of(dy + i, n - i) * w;
        vf d = inverse * (g - of_g - (lanes_of(x + i, n - i) - mean) * of_gx);
        put_lanes(dx + i, lanes_of(dx + i, n - i) + d, n - i);
    }
}

static float largest_of(const float *x, int64_t n) {
    vf most = splat(-INFINITY);
    for (int64_t i = 0; i < n; i += W) {
        vf v = n - i >= W ? load(x + i) : load_part(x + i, n - i, -INFINITY);
        most = at_least(v, most);
    }
    float lanes[W];
    store(lanes, most);
    for (int i = 1; i < W; i++) lanes[0] = lanes[i] > lanes[0] ? lanes[i] : lanes[0];
    return lanes[0];
}

static void softmax(float *x, float scale, int64_t n) {
    /* A negative scale would need the smallest; no caller has one, and the reference would show it. */
    vf shift = splat(scale * largest_of(x, n));
    vf sum = splat(0);
    int64_t i = 0;
    for (; i + W <= n; i += W) {
        vf y = exp_of(load(x + i) * scale - shift);
        store(x + i, y);
        sum += y;
    }
    if (i < n) {
        vf y = exp_of(load_part(x + i, n - i, -INFINITY) * scale - shift);
        store_part(x + i, y, n - i);
        sum += y;
    }
    float inverse = 1.0f / sum_lanes(sum);
    for (i = 0; i < n; i++) x[i] *= inverse;
}

static void rotate(float *out, const float *x, const float *cosine, const float *sine, int64_t half) {
    for (int64_t i = 0; i < half; i++) {
        float a = x[i], b = x[i + half];
        out[i] = a * cosine[i] - b * sine[i];
        out[i + half] = b * cosine[i] + a * sine[i];
    }
}

/* ------------------------------------------------------------------------- products */

static inline vf weights_at(const void *w, tomo_dtype dtype, int64_t i) {
    if (dtype == TOMO_F32) return load((const float *)w + i);
    if (dtype == TOMO_BF16) return from_bf16((const uint16_t *)w + i);
    return from_f16((const uint16_t *)w + i);
}

static inline float weight_at(const void *w, tomo_dtype dtype, int64_t i) {
    if (dtype == TOMO_F32) return ((const float *)w)[i];
    uint16_t half = ((const uint16_t *)w)[i];
    return dtype == TOMO_BF16 ? tomo_bf16_to_float(half) : tomo_f16_to_float(half);
}

/* Rows of x times J rows of w at once, R and J known to the compiler, so that the sums stay in registers. */
#define PRODUCT_TILE(R, J)                                                                                   \
    static inline __attribute__((always_inline)) void product_##R##x##J(                                     \
        float *out, int64_t out_stride, const float *x, int64_t x_stride, const void *w, tomo_dtype dtype,   \
        int64_t w_stride, int64_t first, int64_t k) {                                                        \
        vf sum[R][J];                                                                                        \
        for (int r = 0; r < R; r++) {                                                                        \
            for (int j = 0; j < J; j++) sum[r][j] = splat(0);                                                \
        }                                                                                                    \
        int64_t i = 0;                                                                                       \
        for (; i + W <= k; i += W) {                                                                         \
            vf b[J];                                                                                         \
            for (int j = 0; j < J; j++) b[j] = weights_at(w, dtype, (first + j) * w_stride + i);             \
            for (int r = 0; r < R; r++) {                                                                    \
                vf a = load(x + r * x_stride + i);                                                           \
                for (int j = 0; j < J; j++) sum[r][j] += a * b[j];                                           \
            }                                                                                                \
        }                                                                                                    \
        for (int r = 0; r < R; r++) {                                                                        \
            for (int j = 0; j < J; j++) {                                                                    \
                float s = sum_lanes(sum[r][j]);                                                              \
                for (int64_t e = i; e < k; e++) {                                                            \
                    s += x[r * x_stride + e] * weight_at(w, dtype, (first + j) * w_stride + e);              \
                }                                                                                            \
                out[r * out_stride + first + j] = s;                                                         \
            }                                                                                                \
        }                                                                                                    \
    }

PRODUCT_TILE(1, 4)
PRODUCT_TILE(1, 1)
PRODUCT_TILE(2, 4)
PRODUCT_TILE(2, 1)
PRODUCT_TILE(4, 2)
PRODUCT_TILE(4, 1)

/* All n rows of w for R rows of x; the dtype is a constant in each of the three copies. */
#define PRODUCT_ROWS(R, J)                                                                                   \
    static inline __attribute__((always_inline)) void rows_##R(                                              \
        float *out, int64_t out_stride, const float *x, int64_t x_stride, const void *w, tomo_dtype dtype,   \
        int64_t w_stride, int64_t n, int64_t k) {                                                            \
        int64_t j = 0;                                                                                       \
        for (; j + J <= n; j += J)                                                                           \
            product_##R##x##J(out, out_stride, x, x_stride, w, dtype, w_stride, j, k);                       \
        for (; j < n; j++) product_##R##x1(out, out_stride, x, x_stride, w, dtype, w_stride, j, k);          \
    }

PRODUCT_ROWS(1, 4)
PRODUCT_ROWS(2, 4)
PRODUCT_ROWS(4, 2)

/* Beside BF16 weights: 2 W of them are W words of 32 bits, whose upper halves are floats as they stand and
 * whose lower halves are after a shift, so no word has to be spread. x is arranged to match: of each 2 W
 * floats the even ones, then the odd ones; what is left at the end stays as it is. */
static void arrange(float *out, const float *x, int64_t k) {
    int64_t i = 0;
    for (; i + 2 * W <= k; i += 2 * W) {
        for (int j = 0; j < W; j++) {
            out[i + j] = x[i + 2 * j];
            out[i + W + j] = x[i + 2 * j + 1];
        }
    }
    for (; i < k; i++) out[i] = x[i];
}

#define PAIR_TILE(R, J)                                                                                      \
    static inline __attribute__((always_inline)) void pairs_##R##x##J(                                       \
        float *out, int64_t out_stride, const float *x, int64_t x_stride, const uint16_t *w,                 \
        int64_t w_stride, int64_t first, int64_t k) {                                                        \
        vf even[R][J], odd[R][J];                                                                            \
        for (int r = 0; r < R; r++) {                                                                        \
            for (int j = 0; j < J; j++) even[r][j] = odd[r][j] = splat(0);                                   \
        }                                                                                                    \
        int64_t i = 0;                                                                                       \
        for (; i + 2 * W <= k; i += 2 * W) {                                                                 \
            for (int j = 0; j < J; j++) {                                                                    \
                vu words;                                                                                    \
                memcpy(&words, w + (first + j) * w_stride + i, sizeof words);                                \
                __builtin_prefetch(w + (first + J + j) * w_stride + i);                                      \
                vf low = (vf)(words << 16), high = (vf)(words & 0xffff0000u);                                \
                for (int r = 0; r < R; r++) {                                                                \
                    even[r][j] += load(x + r * x_stride + i) * low;                                          \
                    odd[r][j] += load(x + r * x_stride + i + W) * high;                                      \
                }                                                                                            \
            }                                                                                                \
        }                                                                                                    \
        for (int r = 0; r < R; r++) {                                                                        \
            for (int j = 0; j < J; j++) {                                                                    \
                float s = sum_lanes(even[r][j] + odd[r][j]);                                                 \
                for (int64_t e = i; e < k; e++) {                                                            \
                    s += x[r * x_stride + e] * tomo_bf16_to_float(w[(first + j) * w_stride + e]);            \
                }                                                                                            \
                out[r * out_stride + first + j] = s;                                                         \
            }                                                                                                \
        }                                                                                                    \
    }

PAIR_TILE(1, 4)
PAIR_TILE(1, 1)
PAIR_TILE(2, 2)
PAIR_TILE(2, 1)
PAIR_TILE(4, 1)

#define PAIR_ROWS(R, J)                                                                                      \
    static inline __attribute__((always_inline)) void pair_rows_##R(                                         \
        float *out, int64_t out_stride, const float *x, int64_t x_stride, const uint16_t *w,                 \
        int64_t w_stride, int64_t n, int64_t k) {                                                            \
        int64_t j = 0;                                                                                       \
        for (; j + J <= n; j += J) pairs_##R##x##J(out, out_stride, x, x_stride, w, w_stride, j, k);         \
        for (; j < n; j++) pairs_##R##x1(out, out_stride, x, x_stride, w, w_stride, j, k);                   \
    }

PAIR_ROWS(1, 4)
PAIR_ROWS(2, 2)
PAIR_ROWS(4, 1)

/* Four rows of x at a time keep weights and sums in registers; a strip of weight rows small enough for the
 * first-level cache is used for all of them before the next strip is read, so memory is read once. */
#define STRIP 8
#define PRODUCT(NAME, DTYPE)                                                                                 \
    static void NAME(float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t rows,         \
                     const void *w, int64_t w_stride, int64_t n, int64_t k) {                                \
        size_t size = tomo_dtype_size(DTYPE);                                                                \
        for (int64_t j = 0; j < n; j += STRIP) {                                                             \
            int64_t count = n - j < STRIP ? n - j : STRIP, r = 0;                                            \
            const void *strip = (const char *)w + (size_t)(j * w_stride) * size;                             \
            for (; r + 4 <= rows; r += 4) {                                                                  \
                rows_4(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, DTYPE,       \
                       w_stride, count, k);                                                                  \
            }                                                                                                \
            for (; r + 2 <= rows; r += 2) {                                                                  \
                rows_2(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, DTYPE,       \
                       w_stride, count, k);                                                                  \
            }                                                                                                \
            if (r < rows) {                                                                                  \
                rows_1(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, DTYPE,       \
                       w_stride, count, k);                                                                  \
            }                                                                                                \
        }                                                                                                    \
    }

PRODUCT(product_f32, TOMO_F32)
PRODUCT(product_f16, TOMO_F16)

static void product_bf16(float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t rows,
                         const uint16_t *w, int64_t w_stride, int64_t n, int64_t k) {
    for (int64_t j = 0; j < n; j += STRIP) {
        int64_t count = n - j < STRIP ? n - j : STRIP, r = 0;
        const uint16_t *strip = w + j * w_stride;
        for (; r + 4 <= rows; r += 4) {
            pair_rows_4(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, w_stride,
                        count, k);
        }
        for (; r + 2 <= rows; r += 2) {
            pair_rows_2(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, w_stride,
                        count, k);
        }
        if (r < rows) {
            pair_rows_1(out + r * out_stride + j, out_stride, x + r * x_stride, x_stride, strip, w_stride,
                        count, k);
        }
    }
}

static void product(float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t rows,
                    const void *w, tomo_dtype dtype, int64_t w_stride, int64_t n, int64_t k) {
    if (dtype == TOMO_F32) product_f32(out, out_stride, x, x_stride, rows, w, w_stride, n, k);
    if (dtype == TOMO_BF16) product_bf16(out, out_stride, x, x_stride, rows, w, w_stride, n, k);
    if (dtype == TOMO_F16) product_f16(out, out_stride, x, x_stride, rows, w, w_stride, n, k);
}

static float dot(const float *a, const float *b, int64_t n) {
    float sum;
    product_f32(&sum, 1, a, n, 1, b, n, 1, n);
    return sum;
}

static void weighted_sum(float *out, int64_t out_stride, const float *p, int64_t p_stride, int64_t rows,
                         const float *v, int64_t v_stride, int64_t count, int64_t n) {
    for (int64_t r = 0; r < rows; r++) {
        float *y = out + r * out_stride;
        const float *weight = p + r * p_stride;
        int64_t c = 0;
        for (; c + 4 * W <= n; c += 4 * W) {
            vf s0 = splat(0), s1 = splat(0), s2 = splat(0), s3 = splat(0);
            for (int64_t j = 0; j < count; j++) {
                const float *row = v + j * v_stride + c;
                s0 += weight[j] * load(row);
                s1 += weight[j] * load(row + W);
                s2 += weight[j] * load(row + 2 * W);
                s3 += weight[j] * load(row + 3 * W);
            }
            store(y + c, s0);
            store(y + c + W, s1);
            store(y + c + 2 * W, s2);
            store(y + c + 3 * W, s3);
        }
        for (; c + W <= n; c += W) {
            vf s = splat(0);
            for (int64_t j = 0; j < count; j++) s += weight[j] * load(v + j * v_stride + c);
            store(y + c, s);
        }
        for (; c < n; c++) {
            float s = 0;
            for (int64_t j = 0; j < count; j++) s += weight[j] * v[j * v_stride + c];
            y[c] = s;
        }
    }
}

static void widen(float *out, const void *x, tomo_dtype dtype, int64_t n) {
    if (tomo_dtype_block(dtype) > 1) {
        widen_blocks(out, x, dtype, n);
        return;
    }
    if (dtype == TOMO_F32) {
        memcpy(out, x, (size_t)n * sizeof *out);
        return;
    }
    int64_t i = 0;
    for (; i + W <= n; i += W) store(out + i, weights_at(x, dtype, i));
    for (; i < n; i++) out[i] = weight_at(x, dtype, i);
}

#define ENTRIES                                                                                              \
    .activate = activate, .silu_multiply = silu_multiply, .add = add, .multiply = multiply,                  \
    .add_scaled = add_scaled, .multiply_add = multiply_add, .activate_backward = activate_backward,          \
    .silu_multiply_backward = silu_multiply_backward, .norm_backward = norm_backward,                        \
    .norm_weight_backward = norm_weight_backward, .adam = adam, .layer_norm = layer_norm,                    \
    .rms_norm = rms_norm, .softmax = softmax, .rotate = rotate, .dot = dot, .arrange = arrange,              \
    .product = product, .weighted_sum = weighted_sum, .widen = widen

const tomo_kernels SIMD_TABLE = {.name = SIMD_NAME, ENTRIES};
#ifdef SIMD_SECOND_TABLE
const tomo_kernels SIMD_SECOND_TABLE = {.name = SIMD_SECOND_NAME, ENTRIES};
#endif
