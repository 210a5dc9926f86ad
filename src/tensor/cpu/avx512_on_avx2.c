/* avx512_on_avx2.c - the 16-wide source compiled for AVX2, so that its logic is tested on machines without
 * AVX-512. Never chosen for speed. */
#define SIMD_WIDTH 16
#define SIMD_NAME "avx512-on-avx2"
#define SIMD_TABLE tomo_kernels_avx512_on_avx2
#include "tensor/cpu/simd.h"
