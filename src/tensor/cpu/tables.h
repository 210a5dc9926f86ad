/* tables.h - the kernel tables of this build; cpu/select.c chooses among them. */
#ifndef TOMO_TENSOR_CPU_TABLES_H
#define TOMO_TENSOR_CPU_TABLES_H

#include "tensor/kernels.h"

extern const tomo_kernels tomo_kernels_generic;
#if defined(__x86_64__)
extern const tomo_kernels tomo_kernels_avx2;
extern const tomo_kernels tomo_kernels_avx512;
extern const tomo_kernels tomo_kernels_amx; /* AVX-512's, beside packed products of AMX */
extern const tomo_kernels tomo_kernels_avx512_on_avx2;
#endif

#endif
