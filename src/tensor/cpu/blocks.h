/* clang-format off */
/* blocks.h - quantised weights in the blocks of GGUF files, to floats.
 *
 * Included by each instruction set's file, whose compiler options turn these loops into vector code; every
 * value is a whole number times a scale plus an offset, computed in float in the order written here, so all
 * instruction sets agree but for fused rounding. Layouts: the GGUF format as of ggml 2024; f16 are IEEE half
 * floats, little endian.
 *
 *   Q4_0  f16 d; 16 bytes              32 values d (q - 8); element i in the low half of byte i, i + 16 in the high
 *   Q4_1  f16 d, m; 16 bytes           d q + m
 *   Q5_0  f16 d; 32 bits; 16 bytes     d (q - 16); bit i of the 32 is the fifth bit of element i
 *   Q5_1  f16 d, m; 32 bits; 16 bytes  d q + m
 *   Q8_0  f16 d; 32 signed bytes       d q
 *   Q4_K  f16 d, dmin; 12 bytes with eight 6-bit scales and offsets; 128 bytes: 256 values in groups of 32,
 *         d scale q - dmin offset
 *   Q5_K  the same with 32 bytes of fifth bits before the 128
 *   Q6_K  128 bytes of low and 64 of high bits, 16 signed scales, f16 d: d scale (q - 32), groups of 16 */
/* clang-format on */
#ifndef TOMO_TENSOR_CPU_BLOCKS_H
#define TOMO_TENSOR_CPU_BLOCKS_H

#include "tensor/kernels.h"

#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#endif

static inline float half_at(const uint8_t *bytes) {
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
#if defined(__F16C__)
    return _cvtsh_ss(bits);
#else
    return tomo_f16_to_float(bits);
#endif
}

/* 32 elements in the halves of 16 bytes: value = d q + m. Codes first, values then: loops over whole vectors.
 */
static inline void widen_nibbles(float *restrict out, const uint8_t *restrict q, float d, float m) {
    for (int i = 0; i < 16; i++) out[i] = d * (float)(q[i] & 15) + m;
    for (int i = 0; i < 16; i++) out[i + 16] = d * (float)(q[i] >> 4) + m;
}

/* The same with a fifth bit each. */
static inline void widen_fives(float *restrict out, const uint8_t *high, const uint8_t *restrict q, float d,
                               float m) {
    uint32_t bits;
    memcpy(&bits, high, sizeof bits);
    for (int i = 0; i < 16; i++) {
        out[i] = d * (float)((q[i] & 15) | (int)(bits >> i & 1) << 4) + m;
        out[i + 16] = d * (float)(q[i] >> 4 | (int)(bits >> (i + 16) & 1) << 4) + m;
    }
}

static inline void widen_q8_0(float *restrict out, const uint8_t *restrict b) {
    float d = half_at(b);
    for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)b[2 + i];
}

/* Group j of eight: 6 bits each of scale and offset; groups 4 to 7 have their upper two bits in the bytes of
 * groups 0 to 3. */
static inline void k_scale(const uint8_t *packed, int j, float *scale, float *offset) {
    int s, o;
    if (j < 4) {
        s = packed[j] & 63;
        o = packed[j + 4] & 63;
    } else {
        s = (packed[j + 4] & 15) | (packed[j - 4] >> 6) << 4;
        o = packed[j + 4] >> 4 | (packed[j] >> 6) << 4;
    }
    *scale = (float)s;
    *offset = (float)o;
}

/* high: 32 bytes of fifth bits, bit j for group j; NULL for Q4_K. */
static inline void widen_k(float *out, const uint8_t *b, const uint8_t *high, const uint8_t *q) {
    float d = half_at(b), dmin = half_at(b + 2);
    for (int j = 0; j < 8; j++) {
        float scale, offset;
        k_scale(b + 4, j, &scale, &offset);
        scale *= d;
        offset *= dmin;
        const uint8_t *bytes = q + j / 2 * 32;
        for (int i = 0; i < 32; i++) {
            int value = j % 2 == 0 ? bytes[i] & 15 : bytes[i] >> 4;
            if (high != NULL) value |= (high[i] >> j & 1) << 4;
            out[j * 32 + i] = scale * (float)value - offset;
        }
    }
}

static inline void widen_q6_k(float *out, const uint8_t *b) {
    const uint8_t *low = b, *high = b + 128;
    const int8_t *scales = (const int8_t *)(b + 192);
    float d = half_at(b + 208);
    for (int half = 0; half < 2; half++) {
        for (int j = 0; j < 4; j++) { /* groups of 32 elements, two scales each */
            const uint8_t *l = low + half * 64 + j % 2 * 32, *h = high + half * 32;
            for (int part = 0; part < 32; part += 16) {
                float scale = d * (float)scales[half * 8 + j * 2 + part / 16];
                float *restrict to = out + half * 128 + j * 32 + part;
                for (int i = 0; i < 16; i++) {
                    int value = ((j < 2 ? l[part + i] : l[part + i] >> 4) & 15) | (h[part + i] >> (2 * j) & 3)
                                                                                      << 4;
                    to[i] = scale * (float)(value - 32);
                }
            }
        }
    }
}

/* Bytes that blocks are asked for ahead; measured (SPEED.md). */
#define BLOCKS_AHEAD 2048

/* n elements, whole blocks. */
static inline void widen_blocks(float *out, const void *x, tomo_dtype dtype, int64_t n) {
    const uint8_t *b = x;
    int64_t block = tomo_dtype_block(dtype);
    size_t size = tomo_dtype_size(dtype);
    for (int64_t i = 0; i < n; i += block, b += size) {
        float *y = out + i;
        __builtin_prefetch(b + BLOCKS_AHEAD);
        if (dtype == TOMO_Q4_0) widen_nibbles(y, b + 2, half_at(b), -8 * half_at(b));
        if (dtype == TOMO_Q4_1) widen_nibbles(y, b + 4, half_at(b), half_at(b + 2));
        if (dtype == TOMO_Q5_0) widen_fives(y, b + 2, b + 6, half_at(b), -16 * half_at(b));
        if (dtype == TOMO_Q5_1) widen_fives(y, b + 4, b + 8, half_at(b), half_at(b + 2));
        if (dtype == TOMO_Q8_0) widen_q8_0(y, b);
        if (dtype == TOMO_Q4_K) widen_k(y, b, NULL, b + 16);
        if (dtype == TOMO_Q5_K) widen_k(y, b, b + 16, b + 48);
        if (dtype == TOMO_Q6_K) widen_q6_k(y, b);
    }
}

#endif
