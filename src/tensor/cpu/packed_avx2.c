/* packed_avx2.c - INT8 products with packed weights for AVX2; BF16 has no instruction there. */
#include "tensor/cpu/packed_kernels.h"
#include "tensor/packed.h"

#include <immintrin.h>
#include <string.h>

static float largest_of(const float *x, int64_t k) {
    const __m256 no_sign = _mm256_castsi256_ps(_mm256_set1_epi32(0x7fffffff));
    __m256 most = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) most = _mm256_max_ps(most, _mm256_and_ps(_mm256_loadu_ps(x + i), no_sign));
    float lanes[8], largest = 0;
    _mm256_storeu_ps(lanes, most);
    for (int j = 0; j < 8; j++) largest = lanes[j] > largest ? lanes[j] : largest;
    for (; i < k; i++) {
        float a = x[i] < 0 ? -x[i] : x[i];
        largest = a > largest ? a : largest;
    }
    return largest;
}

static void prepare_int8(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    int8_t *y = out;
    float largest = largest_of(x, k), inverse = largest > 0 ? 127.0f / largest : 0;
    __m256 factor = _mm256_set1_ps(inverse);
    int32_t sum = 0, lanes[8];
    int64_t i = 0;
    for (; i + 8 <= k; i += 8) {
        __m256i q = _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), factor));
        _mm256_storeu_si256((__m256i *)(void *)lanes, q);
        for (int j = 0; j < 8; j++) {
            y[i + j] = (int8_t)lanes[j];
            sum += lanes[j];
        }
    }
    for (; i < k; i++) {
        /* The conversion instruction, so that ends of rows are rounded as their middles are. */
        int q = _mm_cvtss_si32(_mm_set_ss(x[i] * inverse));
        y[i] = (int8_t)q;
        sum += q;
    }
    for (; i < steps * 4; i++) y[i] = 0;
    *scale = (tomo_row_scale){largest / 127.0f, TOMO_INT8_ZERO * sum};
}

/* Four products of bytes to one sum of 32 bits. Pairs are added in 16 bits: 2 * 127 * 127 fits. */
static inline __m256i add_products(__m256i sum, __m256i w, __m256i x) {
    __m256i pairs = _mm256_maddubs_epi16(w, x);
    return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

static inline void put_floats(const tomo_tile *t, int r, int j, __m256 y) {
    if (t->bias != NULL) y = _mm256_add_ps(y, _mm256_loadu_ps(t->bias + j));
    if (t->residual != NULL) y = _mm256_add_ps(y, _mm256_loadu_ps(t->residual + r * t->out_stride + j));
    _mm256_storeu_ps(t->out + r * t->out_stride + j, y);
}

/* 8 outputs of row r from output j of the panel. */
static inline void put(const tomo_tile *t, int r, int j, __m256i sum) {
    tomo_row_scale x_scale = t->x_scale[r];
    __m256 value = _mm256_cvtepi32_ps(_mm256_sub_epi32(sum, _mm256_set1_epi32(x_scale.shift)));
    __m256 scale = _mm256_mul_ps(_mm256_set1_ps(x_scale.scale), _mm256_loadu_ps(t->w_scale + j));
    put_floats(t, r, j, _mm256_mul_ps(value, scale));
}

/* 16 outputs (half a panel, from output `half`) for R rows: 2 R sums and two vectors of weights fit 16
 * registers. */
#define INT8_TILE(R)                                                                                         \
    static void int8_##R(const tomo_tile *t, int first, int half) {                                          \
        __m256i sum[R][2];                                                                                   \
        const char *x = (const char *)t->x + first * t->x_stride,                                            \
                   *panel = (const char *)t->panel + half * 4;                                               \
        _Pragma("GCC unroll 4") for (int r = 0; r < R; r++) {                                                \
            sum[r][0] = sum[r][1] = _mm256_setzero_si256();                                                  \
        }                                                                                                    \
        for (int64_t i = 0; i < t->steps; i++) {                                                             \
            __m256i w0 = _mm256_loadu_si256((const __m256i *)(const void *)(panel + i * 128));               \
            __m256i w1 = _mm256_loadu_si256((const __m256i *)(const void *)(panel + i * 128 + 32));          \
            _Pragma("GCC unroll 4") for (int r = 0; r < R; r++) {                                            \
                int32_t four;                                                                                \
                memcpy(&four, x + r * t->x_stride + i * 4, sizeof four);                                     \
                __m256i a = _mm256_set1_epi32(four);                                                         \
                sum[r][0] = add_products(sum[r][0], w0, a);                                                  \
                sum[r][1] = add_products(sum[r][1], w1, a);                                                  \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 4") for (int r = 0; r < R; r++) {                                                \
            put(t, first + r, half, sum[r][0]);                                                              \
            put(t, first + r, half + 8, sum[r][1]);                                                          \
        }                                                                                                    \
    }

INT8_TILE(1)
INT8_TILE(2)
INT8_TILE(4)

static void tile_int8(const tomo_tile *t) {
    for (int half = 0; half < TOMO_PANEL; half += 16) {
        int r = 0;
        for (; r + 4 <= t->rows; r += 4) int8_4(t, r, half);
        for (; r + 2 <= t->rows; r += 2) int8_2(t, r, half);
        if (r < t->rows) int8_1(t, r, half);
    }
}

/* ------------------------------------------------------------------------------ groups */

static void prepare_groups(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    (void)k;
    (void)scale;
    tomo_group_scale *scales = out;
    int8_t *q = (int8_t *)(scales + steps);
    for (int64_t g = 0; g < steps; g++) {
        tomo_row_scale row;
        prepare_int8(q + g * TOMO_GROUP, x + g * TOMO_GROUP, TOMO_GROUP, TOMO_GROUP / 4, &row);
        scales[g] = (tomo_group_scale){row.scale, row.scale * (float)(row.shift / TOMO_INT8_ZERO)};
    }
}

static inline __m256 halves_at(const char *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}

static inline __m256i bytes_at(const char *p) {
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline __m256i four_at(const int8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Signed by signed: the sign of w goes to x, since pairs of bytes above 127 would not fit 16 bits. */
static inline __m256i add_signed(__m256i sum, __m256i w, __m256i x) {
    return add_products(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* 16 outputs of a row: y += w x_scale whole + offset x_sum, a group at a time. */
static void q8_row(const tomo_tile *t, int r, int half) {
    const tomo_group_scale *scales = (const void *)((const char *)t->x + r * t->x_stride);
    const int8_t *x = (const int8_t *)(scales + t->steps);
    __m256 y0 = _mm256_setzero_ps(), y1 = y0;
    const __m256i zero = _mm256_set1_epi8((char)-128);
    for (int64_t g = 0; g < t->steps; g++) {
        const char *step = (const char *)t->panel + (size_t)g * (TOMO_PANEL * (2 + TOMO_GROUP));
        const char *q = step + TOMO_PANEL * 2 + half * 4;
        __m256i a = _mm256_setzero_si256(), b = a;
        for (int i = 0; i < 8; i++) {
            __m256i four = four_at(x + g * TOMO_GROUP + i * 4);
            a = add_signed(a, _mm256_xor_si256(bytes_at(q + i * 128), zero), four);
            b = add_signed(b, _mm256_xor_si256(bytes_at(q + i * 128 + 32), zero), four);
        }
        __m256 scale = _mm256_set1_ps(scales[g].scale);
        y0 = _mm256_fmadd_ps(_mm256_mul_ps(halves_at(step + half * 2), scale), _mm256_cvtepi32_ps(a), y0);
        y1 =
            _mm256_fmadd_ps(_mm256_mul_ps(halves_at(step + half * 2 + 16), scale), _mm256_cvtepi32_ps(b), y1);
    }
    put_floats(t, r, half, y0);
    put_floats(t, r, half + 8, y1);
}

static void q4_row(const tomo_tile *t, int r, int half) {
    const tomo_group_scale *scales = (const void *)((const char *)t->x + r * t->x_stride);
    const int8_t *x = (const int8_t *)(scales + t->steps);
    __m256 y0 = _mm256_setzero_ps(), y1 = y0;
    const __m256i low = _mm256_set1_epi8(15);
    for (int64_t g = 0; g < t->steps; g++) {
        const char *step = (const char *)t->panel + (size_t)g * (TOMO_PANEL * (4 + TOMO_GROUP / 2));
        const char *q = step + TOMO_PANEL * 4 + half * 4;
        __m256i a = _mm256_setzero_si256(), b = a;
        for (int i = 0; i < 4; i++) {
            __m256i x0 = four_at(x + g * TOMO_GROUP + i * 4), x1 = four_at(x + g * TOMO_GROUP + 16 + i * 4);
            __m256i w = bytes_at(q + i * 128), v = bytes_at(q + i * 128 + 32);
            a = add_products(a, _mm256_and_si256(w, low), x0);
            a = add_products(a, _mm256_and_si256(_mm256_srli_epi16(w, 4), low), x1);
            b = add_products(b, _mm256_and_si256(v, low), x0);
            b = add_products(b, _mm256_and_si256(_mm256_srli_epi16(v, 4), low), x1);
        }
        __m256 scale = _mm256_set1_ps(scales[g].scale), sum = _mm256_set1_ps(scales[g].sum);
        const char *s = step + half * 2, *o = s + TOMO_PANEL * 2;
        y0 = _mm256_fmadd_ps(_mm256_mul_ps(halves_at(s), scale), _mm256_cvtepi32_ps(a), y0);
        y1 = _mm256_fmadd_ps(_mm256_mul_ps(halves_at(s + 16), scale), _mm256_cvtepi32_ps(b), y1);
        y0 = _mm256_fmadd_ps(halves_at(o), sum, y0);
        y1 = _mm256_fmadd_ps(halves_at(o + 16), sum, y1);
    }
    put_floats(t, r, half, y0);
    put_floats(t, r, half + 8, y1);
}

static void tile_q8(const tomo_tile *t) {
    for (int half = 0; half < TOMO_PANEL; half += 16) {
        for (int r = 0; r < t->rows; r++) q8_row(t, r, half);
    }
}
static void tile_q4(const tomo_tile *t) {
    for (int half = 0; half < TOMO_PANEL; half += 16) {
        for (int r = 0; r < t->rows; r++) q4_row(t, r, half);
    }
}

/* ------------------------------------------------------------------------------- table */

/* The reference, so that a forced BF16 gives the same answer on a CPU that has no instruction for it. */
static void prepare_bf16(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    tomo_packed_generic.bf16.prepare(out, x, k, steps, scale);
}
static void tile_bf16(const tomo_tile *t) {
    tomo_packed_generic.bf16.tile(t);
}
static float weigh(uint16_t *out, const float *scores, int64_t count, int64_t steps, float scale) {
    return tomo_packed_generic.weigh(out, scores, count, steps, scale);
}

static void interleave(uint16_t *out, const float *a, const float *b, int64_t n) {
    tomo_packed_generic.interleave(out, a, b, n);
}
static void tile_columns(const tomo_tile *t) {
    tomo_packed_generic.tile_columns(t);
}

const tomo_packed_kernels tomo_packed_avx2 = {
    .name = "avx2",
    .native_bf16 = false,
    .bf16 = {"generic", TOMO_BF16_STEP, prepare_bf16, tile_bf16, TOMO_VECTOR_ROWS, NULL, NULL},
    .int8 = {"avx2", TOMO_INT8_STEP, prepare_int8, tile_int8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q8 = {"avx2", TOMO_Q8_STEP, prepare_groups, tile_q8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q4 = {"avx2", TOMO_Q4_STEP, prepare_groups, tile_q4, TOMO_VECTOR_ROWS, NULL, NULL},
    .weigh = weigh,
    .interleave = interleave,
    .tile_columns = tile_columns,
};
