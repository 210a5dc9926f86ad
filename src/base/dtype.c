#include "base/dtype.h"

static const struct {
    size_t size;
    int64_t block; /* 0: 1 */
    const char *name;
} types[TOMO_DTYPE_COUNT] = {
    [TOMO_F32] = {4, 0, "F32"},       [TOMO_F16] = {2, 0, "F16"},       [TOMO_BF16] = {2, 0, "BF16"},
    [TOMO_F64] = {8, 0, "F64"},       [TOMO_I64] = {8, 0, "I64"},       [TOMO_I32] = {4, 0, "I32"},
    [TOMO_I16] = {2, 0, "I16"},       [TOMO_I8] = {1, 0, "I8"},         [TOMO_U8] = {1, 0, "U8"},
    [TOMO_BOOL] = {1, 0, "BOOL"},     [TOMO_Q4_0] = {18, 32, "Q4_0"},   [TOMO_Q4_1] = {20, 32, "Q4_1"},
    [TOMO_Q5_0] = {22, 32, "Q5_0"},   [TOMO_Q5_1] = {24, 32, "Q5_1"},   [TOMO_Q8_0] = {34, 32, "Q8_0"},
    [TOMO_Q4_K] = {144, 256, "Q4_K"}, [TOMO_Q5_K] = {176, 256, "Q5_K"}, [TOMO_Q6_K] = {210, 256, "Q6_K"},
};

size_t tomo_dtype_size(tomo_dtype dtype) {
    return types[dtype].size;
}

int64_t tomo_dtype_block(tomo_dtype dtype) {
    return types[dtype].block == 0 ? 1 : types[dtype].block;
}

size_t tomo_dtype_bytes(tomo_dtype dtype, int64_t count) {
    return (size_t)(count / tomo_dtype_block(dtype)) * types[dtype].size;
}

const char *tomo_dtype_name(tomo_dtype dtype) {
    return types[dtype].name;
}
