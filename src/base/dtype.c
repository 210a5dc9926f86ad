#include "base/dtype.h"

static const struct {
    size_t size;
    const char *name;
} types[TOMO_DTYPE_COUNT] = {
    [TOMO_F32] = {4, "F32"}, [TOMO_F16] = {2, "F16"},   [TOMO_BF16] = {2, "BF16"}, [TOMO_F64] = {8, "F64"},
    [TOMO_I64] = {8, "I64"}, [TOMO_I32] = {4, "I32"},   [TOMO_I16] = {2, "I16"},   [TOMO_I8] = {1, "I8"},
    [TOMO_U8] = {1, "U8"},   [TOMO_BOOL] = {1, "BOOL"},
};

size_t tomo_dtype_size(tomo_dtype dtype) {
    return types[dtype].size;
}

const char *tomo_dtype_name(tomo_dtype dtype) {
    return types[dtype].name;
}
