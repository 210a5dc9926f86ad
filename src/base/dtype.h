/* dtype.h - element types of tensors, in files and in memory. */
#ifndef TOMO_BASE_DTYPE_H
#define TOMO_BASE_DTYPE_H

#include <stddef.h>

typedef enum tomo_dtype {
    TOMO_F32,
    TOMO_F16,
    TOMO_BF16,
    TOMO_F64,
    TOMO_I64,
    TOMO_I32,
    TOMO_I16,
    TOMO_I8,
    TOMO_U8,
    TOMO_BOOL,
    TOMO_DTYPE_COUNT
} tomo_dtype;

/* Bytes of one element. */
size_t tomo_dtype_size(tomo_dtype dtype);
/* The name that safetensors uses: "F32", "BF16", ... */
const char *tomo_dtype_name(tomo_dtype dtype);

#endif
