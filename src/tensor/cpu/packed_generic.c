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

static void put(const tomo_tile *t, int r, int j, float sum) {
    if (t->bias != NULL) sum += t->bias[j];
    if (t->residual != NULL) sum += t->residual[r * t->out_stride + j];
    t->out[r * t->out_stride + j] = sum;
}

static void tile_bf16(const tomo_tile *t) {
    for (int r = 0; r < t->rows; r++) {
        const uint16_t *row = (const uint16_t *)(const void *)((const char *)t->x + r * t->x_stride);
        for (int j = 0; j < TOMO_PANEL; j++) {
            float sum = 0;
            for (int64_t i = 0; i < t->steps * 2; i++) {
                uint16_t w = ((const uint16_t *)t->panel)[(i / 2 * TOMO_PANEL + j) * 2 + i % 2];
                sum += tomo_bf16_to_float(row[i]) * tomo_bf16_to_float(w);
            }
            put(t, r, j, sum);
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

static void tile_int8(const tomo_tile *t) {
    for (int r = 0; r < t->rows; r++) {
        const int8_t *row = (const int8_t *)t->x + r * t->x_stride;
        for (int j = 0; j < TOMO_PANEL; j++) {
            int32_t sum = 0;
            for (int64_t i = 0; i < t->steps * 4; i++) {
                sum += row[i] * ((const uint8_t *)t->panel)[(i / 4 * TOMO_PANEL + j) * 4 + i % 4];
            }
            put(t, r, j, (float)(sum - t->x_scale[r].shift) * (t->x_scale[r].scale * t->w_scale[j]));
        }
    }
}

const tomo_packed_kernels tomo_packed_generic = {
    .name = "generic",
    .native_bf16 = true,
    .bf16 = {"generic", 2, sizeof(uint16_t), prepare_bf16, tile_bf16},
    .int8 = {"generic", 4, sizeof(int8_t), prepare_int8, tile_int8},
};
