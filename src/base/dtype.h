/* dtype.h - element types of tensors, in files and in memory. */
#ifndef TOMO_BASE_DTYPE_H
#define TOMO_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
    /* Blocks of quantised weights as GGUF files hold them (tensor/cpu/blocks.h says what is in them). */
    TOMO_Q4_0,
    TOMO_Q4_1,
    TOMO_Q5_0,
    TOMO_Q5_1,
    TOMO_Q8_0,
    TOMO_Q4_K,
    TOMO_Q5_K,
    TOMO_Q6_K,
    TOMO_DTYPE_COUNT
} tomo_dtype;

/* Bytes of one element; of one block where the type is of blocks. */
size_t tomo_dtype_size(tomo_dtype dtype);
/* Elements of one block; 1 for all ordinary types. */
int64_t tomo_dtype_block(tomo_dtype dtype);
/* Bytes of `count` elements, whole blocks of them; the product fits where the elements lie in memory. */
size_t tomo_dtype_bytes(tomo_dtype dtype, int64_t count);
/* The name that safetensors uses: "F32", "BF16", ... */
const char *tomo_dtype_name(tomo_dtype dtype);

#endif
