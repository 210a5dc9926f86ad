/* packed_generic.c - the reference of products with packed weights: plain loops that read like the formula.
 */
#include "tensor/cpu/packed_kernels.h"
#include "tensor/packed.h"

#include <math.h>
#include <string.h>

static void prepare_bf16(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    uint16_t *y = out;
    for (int64_t i = 0; i < k; i++) y[i] = tomo_float_to_bf16(x[i]);
    for (int64_t i = k; i < steps * 2; i++) y[i] = 0;
    (void)scale;
}

static void tile_bf16(float *out, int64_t out_stride, const void *x, int64_t x_stride,
                      const tomo_row_scale *x_scale, int rows, const void *panel, const float *w_scale,
                      int64_t steps) {
    (void)x_scale;
    (void)w_scale;
    for (int r = 0; r < rows; r++) {
        const uint16_t *row = (const uint16_t *)(const void *)((const char *)x + r * x_stride);
        for (int j = 0; j < TOMO_PANEL; j++) {
            float sum = 0;
            for (int64_t i = 0; i < steps * 2; i++) {
                uint16_t w = ((const uint16_t *)panel)[(i / 2 * TOMO_PANEL + j) * 2 + i % 2];
                sum += tomo_bf16_to_float(row[i]) * tomo_bf16_to_float(w);
            }
            out[r * out_stride + j] = sum;
        }
    }
}

static void prepare_int8(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    int8_t *y = out;
    float largest = 0;
    for (int64_t i = 0; i < k; i++) largest = fmaxf(largest, fabsf(x[i]));
    float inverse = largest > 0 ? 127.0f / largest : 0;
    int32_t sum = 0;
    for (int64_t i = 0; i < k; i++) {
        y[i] = (int8_t)lrintf(x[i] * inverse);
        sum += y[i];
    }
    for (int64_t i = k; i < steps * 4; i++) y[i] = 0;
    *scale = (tomo_row_scale){largest / 127.0f, TOMO_INT8_ZERO * sum};
}

static void tile_int8(float *out, int64_t out_stride, const void *x, int64_t x_stride,
                      const tomo_row_scale *x_scale, int rows, const void *panel, const float *w_scale,
                      int64_t steps) {
    for (int r = 0; r < rows; r++) {
        const int8_t *row = (const int8_t *)x + r * x_stride;
        for (int j = 0; j < TOMO_PANEL; j++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < steps * 4; i++) {
                sum += row[i] * ((const uint8_t *)panel)[(i / 4 * TOMO_PANEL + j) * 4 + i % 4];
            }
            out[r * out_stride + j] = (float)(sum - x_scale[r].shift) * (x_scale[r].scale * w_scale[j]);
        }
    }
}

const tomo_packed_kernels tomo_packed_generic = {
    .name = "generic",
    .native_bf16 = true,
    .bf16 = {"generic", 2, sizeof(uint16_t), prepare_bf16, tile_bf16},
    .int8 = {"generic", 4, sizeof(int8_t), prepare_int8, tile_int8},
};
