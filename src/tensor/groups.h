/* groups.h - 32 quantised weights: as whole numbers with a scale, from floats and from the blocks of GGUF. */
#ifndef TOMO_TENSOR_GROUPS_H
#define TOMO_TENSOR_GROUPS_H

#include "tensor/cpu/packed_kernels.h"

/* Whole numbers, scale and offset (half floats) of one group of a row of weights. */
typedef struct tomo_weight_group {
    uint8_t codes[TOMO_GROUP];
    uint16_t scale, offset;
} tomo_weight_group;

/* x [TOMO_GROUP] -> whole numbers q + 128 with q in -128..127, no offset (TOMO_PACK_Q8). */
tomo_weight_group tomo_group_of_floats(const float *x);
/* Group j of the block b: Q8_0 and Q5_0 as TOMO_PACK_Q8, Q4_0, Q4_1 and Q4_K as TOMO_PACK_Q4. */
tomo_weight_group tomo_group_of_block(const uint8_t *b, tomo_dtype dtype, int j);

#endif
