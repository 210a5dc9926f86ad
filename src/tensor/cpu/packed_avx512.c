/* packed_avx512.c - products with packed weights for AVX512_BF16 and AVX512_VNNI. */
#include "tensor/cpu/packed_amx.h"
#include "tensor/cpu/packed_ends.h"
#include "tensor/cpu/packed_kernels.h"
#include "tensor/packed.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------- BF16 */

static void prepare_bf16(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    (void)scale;
    uint16_t *y = out;
    int64_t i = 0;
    for (; i + 32 <= k; i += 32) {
        __m512bh pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
        memcpy(y + i, &pair, sizeof pair);
    }
    for (; i < k; i++) y[i] = tomo_float_to_bf16(x[i]);
    for (; i < steps * 2; i++) y[i] = 0;
}

/* Bytes that a panel is fetched ahead; measured (SPEED.md). */
#define AHEAD 1024

/* Two vectors of 16 outputs for each of R rows from row `first`; a pair of x is broadcast from memory by the
 * product itself. */
#define BF16_TILE(R)                                                                                         \
    static void bf16_##R(const tomo_tile *t, int first) {                                                    \
        __m512 sum[R][2];                                                                                    \
        const char *x = (const char *)t->x + first * t->x_stride, *panel = t->panel;                         \
        const int64_t x_stride = t->x_stride, steps = t->steps;                                              \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                               \
            sum[r][0] = sum[r][1] = _mm512_setzero_ps();                                                     \
        }                                                                                                    \
        for (int64_t i = 0; i < steps; i++) {                                                                \
            __m512bh w0 = (__m512bh)_mm512_loadu_si512(panel + i * 128);                                     \
            __m512bh w1 = (__m512bh)_mm512_loadu_si512(panel + i * 128 + 64);                                \
            _mm_prefetch(panel + i * 128 + AHEAD, _MM_HINT_T0);                                              \
            _mm_prefetch(panel + i * 128 + AHEAD + 64, _MM_HINT_T0);                                         \
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                           \
                int32_t pair;                                                                                \
                memcpy(&pair, x + r * x_stride + i * 4, sizeof pair);                                        \
                __m512bh a = (__m512bh)_mm512_set1_epi32(pair);                                              \
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], w0, a);                                              \
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], w1, a);                                              \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) put(t, first + r, sum[r][0], sum[r][1]);        \
    }

BF16_TILE(1)
BF16_TILE(2)
BF16_TILE(3)
BF16_TILE(4)
BF16_TILE(5)
BF16_TILE(6)
BF16_TILE(7)
BF16_TILE(8)
BF16_TILE(9)
BF16_TILE(10)
BF16_TILE(11)
BF16_TILE(12)

typedef struct tile_size {
    int rows;
    void (*run)(const tomo_tile *t, int first);
} tile_size;

/* Covers the rows of a tile with the compiled sizes, largest first; the last size is 1. */
static void cover(const tomo_tile *t, const tile_size *sizes) {
    for (int r = 0; r < t->rows;) {
        if (t->rows - r < sizes->rows) {
            sizes++;
            continue;
        }
        sizes->run(t, r);
        r += sizes->rows;
    }
}

static void tile_bf16(const tomo_tile *t) {
    static const tile_size sizes[] = {{12, bf16_12}, {11, bf16_11}, {10, bf16_10}, {9, bf16_9},
                                      {8, bf16_8},   {7, bf16_7},   {6, bf16_6},   {5, bf16_5},
                                      {4, bf16_4},   {3, bf16_3},   {2, bf16_2},   {1, bf16_1}};
    cover(t, sizes);
}

/* 16 pairs from 16 floats each; the lanes of the conversion are those of a, then those of b. */
static inline __m512i pairs_of(__m512 a, __m512 b) {
    static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), (__m512i)_mm512_cvtne2ps_pbh(b, a));
}

static void interleave(uint16_t *out, const float *a, const float *b, int64_t n) {
    for (int64_t j = 0; j < n; j += 16) {
        __mmask16 some = (__mmask16)(n - j >= 16 ? 0xffff : (1u << (n - j)) - 1);
        __m512 odd = b != NULL ? _mm512_maskz_loadu_ps(some, b + j) : _mm512_setzero_ps();
        _mm512_mask_storeu_epi32(out + 2 * j, some, pairs_of(_mm512_maskz_loadu_ps(some, a + j), odd));
    }
}

/* 16 x 16 words: pairs of rows are woven by words, then by double words, then by quarters of a vector. */
static void transpose(void *out, int64_t stride, const uint32_t *words, int64_t count) {
    __m512i a[TOMO_SQUARE], b[TOMO_SQUARE];
    for (int i = 0; i < TOMO_SQUARE; i++) a[i] = _mm512_loadu_si512(words + i * TOMO_SQUARE);
    for (int i = 0; i < TOMO_SQUARE; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    for (int i = 0; i < TOMO_SQUARE; i += 4) { /* a[i + c]: column c of each quarter, rows i to i + 3 */
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    for (int c = 0; c < 4; c++) {
        __m512i low = _mm512_shuffle_i32x4(a[c], a[c + 4], 0x88),
                high = _mm512_shuffle_i32x4(a[c], a[c + 4], 0xdd);
        __m512i low2 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(a[c + 8], a[c + 12], 0xdd);
        b[c] = _mm512_shuffle_i32x4(low, low2, 0x88);
        b[c + 8] = _mm512_shuffle_i32x4(low, low2, 0xdd);
        b[c + 4] = _mm512_shuffle_i32x4(high, high2, 0x88);
        b[c + 12] = _mm512_shuffle_i32x4(high, high2, 0xdd);
    }
    for (int64_t j = 0; j < count; j++) memcpy((char *)out + j * stride, &b[j], sizeof b[j]);
}

/* As BF16_TILE, with the pairs of all rows of a step side by side. */
#define COLUMNS_TILE(R)                                                                                      \
    static void columns_##R(const tomo_tile *t, int first) {                                                 \
        __m512 sum[R][2];                                                                                    \
        const char *x = (const char *)t->x + first * (int)sizeof(int32_t), *panel = t->panel;                \
        const int64_t x_step = t->x_step, steps = t->steps;                                                  \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                               \
            sum[r][0] = sum[r][1] = _mm512_setzero_ps();                                                     \
        }                                                                                                    \
        for (int64_t i = 0; i < steps; i++, x += x_step) {                                                   \
            __m512bh w0 = (__m512bh)_mm512_loadu_si512(panel + i * 128);                                     \
            __m512bh w1 = (__m512bh)_mm512_loadu_si512(panel + i * 128 + 64);                                \
            _mm_prefetch(panel + i * 128 + AHEAD, _MM_HINT_T0);                                              \
            _mm_prefetch(panel + i * 128 + AHEAD + 64, _MM_HINT_T0);                                         \
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                           \
                int32_t pair;                                                                                \
                memcpy(&pair, x + r * (int)sizeof pair, sizeof pair);                                        \
                __m512bh a = (__m512bh)_mm512_set1_epi32(pair);                                              \
                sum[r][0] = _mm512_dpbf16_ps(sum[r][0], w0, a);                                              \
                sum[r][1] = _mm512_dpbf16_ps(sum[r][1], w1, a);                                              \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) put(t, first + r, sum[r][0], sum[r][1]);        \
    }

COLUMNS_TILE(1)
COLUMNS_TILE(2)
COLUMNS_TILE(4)
COLUMNS_TILE(8)
COLUMNS_TILE(12)

static void tile_columns(const tomo_tile *t) {
    static const tile_size sizes[] = {
        {12, columns_12}, {8, columns_8}, {4, columns_4}, {2, columns_2}, {1, columns_1}};
    cover(t, sizes);
}

/* 2^x for x <= 0: a whole power by scalef, the rest in +-0.5 by the Taylor series to the fifth power, whose
 * error of 3e-6 is far below the rounding to BF16. Below the range of float: 0. */
static inline __m512 power_of_two(__m512 x) {
    __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 f = _mm512_sub_ps(x, whole), p = _mm512_set1_ps(0.00133335581f);
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.00961812911f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.0555041087f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.240226507f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693147181f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1));
    return _mm512_scalef_ps(p, whole);
}

static inline __mmask16 first(int64_t count) {
    uint32_t mask = count >= 16 ? 0xffffu : count <= 0 ? 0 : (1u << count) - 1;
    return (__mmask16)mask;
}

static float weigh(uint16_t *out, const float *scores, int64_t count, int64_t steps, float scale) {
    __m512 most = _mm512_set1_ps(-INFINITY), sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; i += 16)
        most = _mm512_mask_max_ps(most, first(count - i), most,
                                  _mm512_maskz_loadu_ps(first(count - i), scores + i));
    __m512 factor = _mm512_set1_ps(scale * 1.44269504f), largest = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    for (int64_t i = 0; i < steps * 2; i += 16) {
        __mmask16 seen = first(count - i);
        __m512 x = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(seen, scores + i), largest), factor);
        __m512 w = _mm512_maskz_mov_ps(seen, power_of_two(x));
        sum = _mm512_add_ps(sum, w);
        _mm256_mask_storeu_epi16(out + i, first(steps * 2 - i), (__m256i)_mm512_cvtneps_pbh(w));
    }
    return _mm512_reduce_add_ps(sum);
}

/* ------------------------------------------------------------------------------- INT8 */

static float largest_of(const float *x, int64_t k) {
    __m512 most = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= k; i += 16) most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_loadu_ps(x + i)));
    if (i < k) {
        __mmask16 mask = (__mmask16)((1u << (k - i)) - 1);
        most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(mask, x + i)));
    }
    return _mm512_reduce_max_ps(most);
}

static void prepare_int8(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    int8_t *y = out;
    float largest = largest_of(x, k);
    __m512 inverse = _mm512_set1_ps(largest > 0 ? 127.0f / largest : 0);
    __m512i sum = _mm512_setzero_si512();
    for (int64_t i = 0; i < steps * 4; i += 16) {
        int64_t left = k - i < 16 ? k - i : 16, room = steps * 4 - i < 16 ? steps * 4 - i : 16;
        __mmask16 mask = (__mmask16)(left > 0 ? (1u << left) - 1 : 0);
        __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x + i), inverse));
        sum = _mm512_add_epi32(sum, q);
        _mm512_mask_cvtepi32_storeu_epi8(y + i, (__mmask16)((1u << room) - 1), q);
    }
    *scale = (tomo_row_scale){largest / 127.0f, TOMO_INT8_ZERO * _mm512_reduce_add_epi32(sum)};
}

/* sum += four products of unsigned w and signed x. Written out because gcc 12 copies every sum to the stack
 * and back around its intrinsic, which halves the speed. */
static inline __m512i add_products(__m512i sum, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(w), "v"(x));
    return sum;
}

#define INT8_TILE(R)                                                                                         \
    static void int8_##R(const tomo_tile *t, int first) {                                                    \
        __m512i sum[R][2];                                                                                   \
        const char *x = (const char *)t->x + first * t->x_stride, *panel = t->panel;                         \
        const int64_t x_stride = t->x_stride, steps = t->steps;                                              \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                               \
            sum[r][0] = sum[r][1] = _mm512_setzero_si512();                                                  \
        }                                                                                                    \
        for (int64_t i = 0; i < steps; i++) {                                                                \
            __m512i w0 = _mm512_loadu_si512(panel + i * 128);                                                \
            __m512i w1 = _mm512_loadu_si512(panel + i * 128 + 64);                                           \
            _mm_prefetch(panel + i * 128 + AHEAD, _MM_HINT_T0);                                              \
            _mm_prefetch(panel + i * 128 + AHEAD + 64, _MM_HINT_T0);                                         \
            _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                           \
                int32_t four;                                                                                \
                memcpy(&four, x + r * x_stride + i * 4, sizeof four);                                        \
                __m512i a = _mm512_set1_epi32(four);                                                         \
                sum[r][0] = add_products(sum[r][0], w0, a);                                                  \
                sum[r][1] = add_products(sum[r][1], w1, a);                                                  \
            }                                                                                                \
        }                                                                                                    \
        __m512 s0 = _mm512_loadu_ps(t->w_scale), s1 = _mm512_loadu_ps(t->w_scale + 16);                      \
        _Pragma("GCC unroll 12") for (int r = 0; r < R; r++) {                                               \
            tomo_row_scale scale = t->x_scale[first + r];                                                    \
            put(t, first + r, scaled(sum[r][0], scale, s0), scaled(sum[r][1], scale, s1));                   \
        }                                                                                                    \
    }

INT8_TILE(1)
INT8_TILE(2)
INT8_TILE(3)
INT8_TILE(4)
INT8_TILE(5)
INT8_TILE(6)
INT8_TILE(7)
INT8_TILE(8)
INT8_TILE(9)
INT8_TILE(10)
INT8_TILE(11)
INT8_TILE(12)

static void tile_int8(const tomo_tile *t) {
    static const tile_size sizes[] = {{12, int8_12}, {11, int8_11}, {10, int8_10}, {9, int8_9},
                                      {8, int8_8},   {7, int8_7},   {6, int8_6},   {5, int8_5},
                                      {4, int8_4},   {3, int8_3},   {2, int8_2},   {1, int8_1}};
    cover(t, sizes);
}

/* ------------------------------------------------------------------------------ groups */

static void prepare_groups(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    (void)k;
    (void)scale;
    tomo_group_scale *scales = out;
    int8_t *q = (int8_t *)(scales + steps);
    for (int64_t g = 0; g < steps; g++) {
        __m512 a = _mm512_loadu_ps(x + g * TOMO_GROUP), b = _mm512_loadu_ps(x + g * TOMO_GROUP + 16);
        float largest = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
        __m512 inverse = _mm512_set1_ps(largest > 0 ? 127.0f / largest : 0);
        __m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
        __m512i qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
        _mm_storeu_si128((__m128i *)(void *)(q + g * TOMO_GROUP), _mm512_cvtepi32_epi8(qa));
        _mm_storeu_si128((__m128i *)(void *)(q + g * TOMO_GROUP + 16), _mm512_cvtepi32_epi8(qb));
        int sum = _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
        scales[g] = (tomo_group_scale){largest / 127.0f, largest / 127.0f * (float)sum};
    }
}

static inline __m512 halves_at(const char *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

/* The sums of a group join those of the row: y += w x_scale whole + offset x_sum. */
static inline __m512 join(__m512 y, __m512i whole, __m512 w, __m512 offset, tomo_group_scale x) {
    y = _mm512_fmadd_ps(_mm512_mul_ps(w, _mm512_set1_ps(x.scale)), _mm512_cvtepi32_ps(whole), y);
    return _mm512_fmadd_ps(offset, _mm512_set1_ps(x.sum), y);
}

static inline __m512i four_at(const int8_t *p) {
    int32_t four;
    memcpy(&four, p, sizeof four);
    return _mm512_set1_epi32(four);
}

/* Six rows: 12 sums of a group and 12 of the rows stay in registers. */
#define GROUP_TILE(NAME, R, FOURS)                                                                           \
    static void NAME##_##R(const tomo_tile *t, int first) {                                                  \
        const size_t step_bytes = TOMO_PANEL * (FOURS ? 4 + TOMO_GROUP / 2 : 2 + TOMO_GROUP);                \
        const char *x = (const char *)t->x + first * t->x_stride;                                            \
        const int64_t x_stride = t->x_stride, steps = t->steps;                                              \
        const int64_t codes = steps * (int64_t)sizeof(tomo_group_scale);                                     \
        __m512 y[R][2];                                                                                      \
        _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) y[r][0] = y[r][1] = _mm512_setzero_ps();         \
        const __m512i low = _mm512_set1_epi8(15);                                                            \
        for (int64_t g = 0; g < steps; g++) {                                                                \
            const char *step = (const char *)t->panel + (size_t)g * step_bytes;                              \
            const char *q = step + (FOURS ? TOMO_PANEL * 4 : TOMO_PANEL * 2);                                \
            __m512i whole[R][2];                                                                             \
            _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) {                                            \
                whole[r][0] = whole[r][1] = _mm512_setzero_si512();                                          \
            }                                                                                                \
            _Pragma("GCC unroll 8") for (int i = 0; i < (FOURS ? 4 : 8); i++) {                              \
                __m512i w0 = _mm512_loadu_si512(q + i * 128), w1 = _mm512_loadu_si512(q + i * 128 + 64);     \
                _mm_prefetch(q + i * 128 + AHEAD, _MM_HINT_T0);                                              \
                _mm_prefetch(q + i * 128 + AHEAD + 64, _MM_HINT_T0);                                         \
                __m512i h0 = w0, h1 = w1;                                                                    \
                if (FOURS) {                                                                                 \
                    h0 = _mm512_and_si512(_mm512_srli_epi16(w0, 4), low);                                    \
                    h1 = _mm512_and_si512(_mm512_srli_epi16(w1, 4), low);                                    \
                    w0 = _mm512_and_si512(w0, low);                                                          \
                    w1 = _mm512_and_si512(w1, low);                                                          \
                }                                                                                            \
                _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) {                                        \
                    const int8_t *row = (const int8_t *)x + r * x_stride + codes + g * TOMO_GROUP + i * 4;   \
                    __m512i a = four_at(row);                                                                \
                    whole[r][0] = add_products(whole[r][0], w0, a);                                          \
                    whole[r][1] = add_products(whole[r][1], w1, a);                                          \
                    if (FOURS) {                                                                             \
                        a = four_at(row + 16);                                                               \
                        whole[r][0] = add_products(whole[r][0], h0, a);                                      \
                        whole[r][1] = add_products(whole[r][1], h1, a);                                      \
                    }                                                                                        \
                }                                                                                            \
            }                                                                                                \
            __m512 s0 = halves_at(step), s1 = halves_at(step + 32), o0, o1;                                  \
            if (FOURS) {                                                                                     \
                o0 = halves_at(step + 64);                                                                   \
                o1 = halves_at(step + 96);                                                                   \
            } else {                                                                                         \
                o0 = _mm512_mul_ps(s0, _mm512_set1_ps(-128));                                                \
                o1 = _mm512_mul_ps(s1, _mm512_set1_ps(-128));                                                \
            }                                                                                                \
            _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) {                                            \
                tomo_group_scale scale;                                                                      \
                memcpy(&scale, x + r * x_stride + g * (int64_t)sizeof scale, sizeof scale);                  \
                y[r][0] = join(y[r][0], whole[r][0], s0, o0, scale);                                         \
                y[r][1] = join(y[r][1], whole[r][1], s1, o1, scale);                                         \
            }                                                                                                \
        }                                                                                                    \
        _Pragma("GCC unroll 6") for (int r = 0; r < R; r++) put(t, first + r, y[r][0], y[r][1]);             \
    }

GROUP_TILE(q8, 1, false)
GROUP_TILE(q8, 2, false)
GROUP_TILE(q8, 4, false)
GROUP_TILE(q8, 6, false)
GROUP_TILE(q4, 1, true)
GROUP_TILE(q4, 2, true)
GROUP_TILE(q4, 4, true)
GROUP_TILE(q4, 6, true)

static void tile_q8(const tomo_tile *t) {
    static const tile_size sizes[] = {{6, q8_6}, {4, q8_4}, {2, q8_2}, {1, q8_1}};
    cover(t, sizes);
}
static void tile_q4(const tomo_tile *t) {
    static const tile_size sizes[] = {{6, q4_6}, {4, q4_4}, {2, q4_2}, {1, q4_1}};
    cover(t, sizes);
}

const tomo_packed_kernels tomo_packed_avx512 = {
    .name = "avx512",
    .native_bf16 = true,
    .bf16 = {"avx512_bf16", TOMO_BF16_STEP, prepare_bf16, tile_bf16, TOMO_VECTOR_ROWS, NULL, NULL},
    .int8 = {"avx512_vnni", TOMO_INT8_STEP, prepare_int8, tile_int8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q8 = {"avx512_vnni", TOMO_Q8_STEP, prepare_groups, tile_q8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q4 = {"avx512_vnni", TOMO_Q4_STEP, prepare_groups, tile_q4, TOMO_VECTOR_ROWS, NULL, NULL},
    .weigh = weigh,
    .interleave = interleave,
    .tile_columns = tile_columns,
};

/* Scales of groups come between the products of 32 elements: the matrix unit would wait for them. */
const tomo_packed_kernels tomo_packed_amx = {
    .name = "amx",
    .native_bf16 = true,
    .bf16 = {"amx_bf16", TOMO_BF16_STEP, prepare_bf16, tomo_amx_tile_bf16, TOMO_TILE_ROWS, tomo_amx_enter,
             tomo_amx_leave},
    .int8 = {"amx_int8", TOMO_INT8_STEP, prepare_int8, tomo_amx_tile_int8, TOMO_TILE_ROWS, tomo_amx_enter,
             tomo_amx_leave},
    .q8 = {"avx512_vnni", TOMO_Q8_STEP, prepare_groups, tile_q8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q4 = {"avx512_vnni", TOMO_Q4_STEP, prepare_groups, tile_q4, TOMO_VECTOR_ROWS, NULL, NULL},
    .weigh = weigh,
    .interleave = interleave,
    .transpose = transpose,
};
