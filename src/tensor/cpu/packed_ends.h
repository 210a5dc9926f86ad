/* packed_ends.h - how sums of 32 outputs leave a tile, for all packed products of AVX-512. */
#ifndef TOMO_TENSOR_CPU_PACKED_ENDS_H
#define TOMO_TENSOR_CPU_PACKED_ENDS_H

#include "tensor/cpu/packed_kernels.h"

#include <immintrin.h>

/* Row r of a tile, from its two vectors of sums: bias and residual are added, and it is stored. */
static inline __attribute__((always_inline)) void put(const tomo_tile *t, int r, __m512 y0, __m512 y1) {
    float *out = t->out + r * t->out_stride;
    if (t->bias != NULL) {
        y0 = _mm512_add_ps(y0, _mm512_loadu_ps(t->bias));
        y1 = _mm512_add_ps(y1, _mm512_loadu_ps(t->bias + 16));
    }
    if (t->residual != NULL) {
        const float *residual = t->residual + r * t->out_stride;
        y0 = _mm512_add_ps(y0, _mm512_loadu_ps(residual));
        y1 = _mm512_add_ps(y1, _mm512_loadu_ps(residual + 16));
    }
    _mm512_storeu_ps(out, y0);
    _mm512_storeu_ps(out + 16, y1);
}

/* Whole-number sums of a row of x with 16 outputs as results. */
static inline __m512 scaled(__m512i sum, tomo_row_scale x_scale, __m512 w_scale) {
    __m512 value = _mm512_cvtepi32_ps(_mm512_sub_epi32(sum, _mm512_set1_epi32(x_scale.shift)));
    return _mm512_mul_ps(value, _mm512_mul_ps(_mm512_set1_ps(x_scale.scale), w_scale));
}

#endif
