#include "tensor/groups.h"

#include "tensor/cpu/blocks.h"

#include <math.h>
#include <string.h>

/* Floats to Q8; the scale as it is stored decides the whole numbers. */
tomo_weight_group tomo_group_of_floats(const float *x) {
    tomo_weight_group g = {.offset = 0};
    float largest = 0;
    for (int i = 0; i < TOMO_GROUP; i++) largest = fmaxf(largest, fabsf(x[i]));
    g.scale = tomo_float_to_f16(largest / 127.0f);
    float scale = tomo_f16_to_float(g.scale);
    for (int i = 0; i < TOMO_GROUP; i++) {
        float q = scale > 0 ? rintf(x[i] / scale) : 0;
        g.codes[i] = (uint8_t)((int)fmaxf(-128, fminf(127, q)) + 128);
    }
    return g;
}

static void nibbles(uint8_t *codes, const uint8_t *q) {
    for (int i = 0; i < 16; i++) {
        codes[i] = q[i] & 15;
        codes[i + 16] = q[i] >> 4;
    }
}

/* Group j of eight of a Q4_K block: cpu/blocks.h has the layout. */
static void group_of_q4_k(tomo_weight_group *g, const uint8_t *b, int j) {
    const uint8_t *q = b + 16 + j / 2 * 32;
    float scale, offset;
    k_scale(b + 4, j, &scale, &offset);
    uint16_t d, dmin;
    memcpy(&d, b, sizeof d);
    memcpy(&dmin, b + 2, sizeof dmin);
    g->scale = tomo_float_to_f16(tomo_f16_to_float(d) * scale);
    g->offset = tomo_float_to_f16(-tomo_f16_to_float(dmin) * offset);
    for (int i = 0; i < TOMO_GROUP; i++) g->codes[i] = j % 2 == 0 ? q[i] & 15 : q[i] >> 4;
}

/* b: the block; j: which of its groups. */
tomo_weight_group tomo_group_of_block(const uint8_t *b, tomo_dtype dtype, int j) {
    tomo_weight_group g = {0};
    memcpy(&g.scale, b, sizeof g.scale);
    if (dtype == TOMO_Q8_0) {
        for (int i = 0; i < TOMO_GROUP; i++) g.codes[i] = b[2 + i] ^ 0x80;
    } else if (dtype == TOMO_Q5_0) {
        uint32_t high;
        memcpy(&high, b + 2, sizeof high);
        nibbles(g.codes, b + 6);
        for (int i = 0; i < TOMO_GROUP; i++)
            g.codes[i] = (uint8_t)((g.codes[i] | (high >> i & 1) << 4) + 112);
    } else if (dtype == TOMO_Q4_0) {
        g.offset = tomo_float_to_f16(-8 * tomo_f16_to_float(g.scale));
        nibbles(g.codes, b + 2);
    } else if (dtype == TOMO_Q4_1) {
        memcpy(&g.offset, b + 2, sizeof g.offset);
        nibbles(g.codes, b + 4);
    } else {
        group_of_q4_k(&g, b, j);
    }
    return g;
}
