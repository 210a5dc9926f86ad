/* avx512.c - the vector kernels for AVX-512 (F, BW, DQ, VL): 16 floats at a time. */
#define SIMD_WIDTH 16
#define SIMD_NAME "avx512"
#define SIMD_TABLE tomo_kernels_avx512
/* CPUs with AMX: what is not a packed product is the same there. */
#define SIMD_SECOND_NAME "amx"
#define SIMD_SECOND_TABLE tomo_kernels_amx
#include "tensor/cpu/simd.h"
