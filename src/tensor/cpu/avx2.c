/* avx2.c - the vector kernels for AVX2, FMA and F16C: 8 floats at a time. */
#define SIMD_WIDTH 8
#define SIMD_NAME "avx2"
#define SIMD_TABLE tomo_kernels_avx2
#include "tensor/cpu/simd.h"
