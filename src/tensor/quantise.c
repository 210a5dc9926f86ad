#include "tensor/quantise.h"

#include "tensor/kernels.h"

#include <math.h>
#include <string.h>

#define BLOCK 32

static float put_half(uint8_t *out, float value) {
    uint16_t half = tomo_float_to_f16(value);
    memcpy(out, &half, sizeof half);
    return tomo_f16_to_float(half);
}

/* The whole number nearest to x / d, within least .. most. */
static int whole(float x, float d, int least, int most) {
    float q = d == 0 ? 0 : rintf(x / d);
    return q < (float)least ? least : q > (float)most ? most : (int)q;
}

static void block_q8_0(uint8_t *out, const float *x) {
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) largest = fmaxf(largest, fabsf(x[i]));
    float d = put_half(out, largest / 127);
    for (int i = 0; i < BLOCK; i++) out[2 + i] = (uint8_t)(int8_t)whole(x[i], d, -127, 127);
}

/* The value largest in magnitude becomes -8, the end of the range that reaches further. */
static void block_q4_0(uint8_t *out, const float *x) {
    float largest = 0;
    for (int i = 0; i < BLOCK; i++) largest = fabsf(x[i]) > fabsf(largest) ? x[i] : largest;
    float d = put_half(out, largest / -8);
    for (int i = 0; i < BLOCK / 2; i++) {
        out[2 + i] = (uint8_t)((whole(x[i], d, -8, 7) + 8) | (whole(x[i + BLOCK / 2], d, -8, 7) + 8) << 4);
    }
}

static void block_q4_1(uint8_t *out, const float *x) {
    float low = x[0], high = x[0];
    for (int i = 1; i < BLOCK; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    float d = put_half(out, (high - low) / 15), m = put_half(out + 2, low);
    for (int i = 0; i < BLOCK / 2; i++) {
        out[4 + i] = (uint8_t)(whole(x[i] - m, d, 0, 15) | whole(x[i + BLOCK / 2] - m, d, 0, 15) << 4);
    }
}

bool tomo_quantise_writes(tomo_dtype dtype) {
    return dtype == TOMO_Q8_0 || dtype == TOMO_Q4_0 || dtype == TOMO_Q4_1;
}

void tomo_quantise(void *out, const float *x, tomo_dtype dtype, int64_t n) {
    uint8_t *block = out;
    for (int64_t i = 0; i < n; i += BLOCK, block += tomo_dtype_size(dtype)) {
        if (dtype == TOMO_Q8_0) block_q8_0(block, x + i);
        if (dtype == TOMO_Q4_0) block_q4_0(block, x + i);
        if (dtype == TOMO_Q4_1) block_q4_1(block, x + i);
    }
}
