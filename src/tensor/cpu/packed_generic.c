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

static void interleave(uint16_t *out, const float *a, const float *b, int64_t n) {
    for (int64_t j = 0; j < n; j++) {
        out[2 * j] = tomo_float_to_bf16(a[j]);
        out[2 * j + 1] = b != NULL ? tomo_float_to_bf16(b[j]) : 0;
    }
}

static void tile_columns(const tomo_tile *t) {
    for (int r = 0; r < t->rows; r++) {
        for (int j = 0; j < TOMO_PANEL; j++) {
            float sum = 0;
            for (int64_t i = 0; i < t->steps; i++) {
                uint16_t pair[2];
                memcpy(pair, (const char *)t->x + i * t->x_step + r * (int)sizeof pair, sizeof pair);
                const uint16_t *w = (const uint16_t *)t->panel + (i * TOMO_PANEL + j) * 2;
                sum += tomo_bf16_to_float(pair[0]) * tomo_bf16_to_float(w[0]);
                sum += tomo_bf16_to_float(pair[1]) * tomo_bf16_to_float(w[1]);
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

static float weigh(uint16_t *out, const float *scores, int64_t count, int64_t steps, float scale) {
    float largest = -INFINITY;
    double sum = 0;
    for (int64_t i = 0; i < count; i++) largest = fmaxf(largest, scores[i]);
    for (int64_t i = 0; i < count; i++) {
        float w = expf(scale * (scores[i] - largest));
        sum += (double)w;
        out[i] = tomo_float_to_bf16(w);
    }
    for (int64_t i = count; i < steps * 2; i++) out[i] = 0;
    return (float)sum;
}

/* ------------------------------------------------------------------------------ groups */

static void prepare_groups(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale) {
    (void)scale;
    tomo_group_scale *scales = out;
    int8_t *q = (int8_t *)(scales + steps);
    for (int64_t g = 0; g < steps; g++) {
        const float *group = x + g * TOMO_GROUP;
        float largest = 0;
        int32_t sum = 0;
        for (int i = 0; i < TOMO_GROUP; i++) largest = fmaxf(largest, fabsf(group[i]));
        float inverse = largest > 0 ? 127.0f / largest : 0;
        for (int i = 0; i < TOMO_GROUP; i++) {
            q[g * TOMO_GROUP + i] = (int8_t)lrintf(group[i] * inverse);
            sum += q[g * TOMO_GROUP + i];
        }
        scales[g] = (tomo_group_scale){largest / 127.0f, largest / 127.0f * (float)sum};
    }
    (void)k;
}

static float half_at(const uint8_t *bytes) {
    uint16_t bits;
    memcpy(&bits, bytes, sizeof bits);
    return tomo_f16_to_float(bits);
}

/* Element i of a group, output j. */
static int code_q8(const uint8_t *step, int i, int j) {
    return step[TOMO_PANEL * 2 + (i / 4 * TOMO_PANEL + j) * 4 + i % 4];
}
static int code_q4(const uint8_t *step, int i, int j) {
    int byte = step[TOMO_PANEL * 4 + (i % 16 / 4 * TOMO_PANEL + j) * 4 + i % 4];
    return i < 16 ? byte & 15 : byte >> 4;
}

static void tile_groups(const tomo_tile *t, bool fours) {
    const size_t step_bytes = (size_t)TOMO_PANEL * (fours ? 4 + TOMO_GROUP / 2 : 2 + TOMO_GROUP);
    for (int r = 0; r < t->rows; r++) {
        const tomo_group_scale *scales = (const void *)((const char *)t->x + r * t->x_stride);
        const int8_t *x = (const int8_t *)(scales + t->steps);
        for (int j = 0; j < TOMO_PANEL; j++) {
            float sum = 0;
            for (int64_t g = 0; g < t->steps; g++) {
                const uint8_t *step = (const uint8_t *)t->panel + (size_t)g * step_bytes;
                int32_t whole = 0;
                for (int i = 0; i < TOMO_GROUP; i++)
                    whole += x[g * TOMO_GROUP + i] * (fours ? code_q4(step, i, j) : code_q8(step, i, j));
                float w = half_at(step + 2 * j);
                float offset = fours ? half_at(step + TOMO_PANEL * 2 + 2 * j) : -128 * w;
                sum += w * scales[g].scale * (float)whole + offset * scales[g].sum;
            }
            put(t, r, j, sum);
        }
    }
}

static void tile_q8(const tomo_tile *t) {
    tile_groups(t, false);
}
static void tile_q4(const tomo_tile *t) {
    tile_groups(t, true);
}

const tomo_packed_kernels tomo_packed_generic = {
    .name = "generic",
    .native_bf16 = true,
    .bf16 = {"generic", TOMO_BF16_STEP, prepare_bf16, tile_bf16, TOMO_VECTOR_ROWS, NULL, NULL},
    .int8 = {"generic", TOMO_INT8_STEP, prepare_int8, tile_int8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q8 = {"generic", TOMO_Q8_STEP, prepare_groups, tile_q8, TOMO_VECTOR_ROWS, NULL, NULL},
    .q4 = {"generic", TOMO_Q4_STEP, prepare_groups, tile_q4, TOMO_VECTOR_ROWS, NULL, NULL},
    .weigh = weigh,
    .interleave = interleave,
    .tile_columns = tile_columns,
};
