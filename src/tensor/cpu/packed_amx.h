/* packed_amx.h - tiles of packed products for AMX; cpu/packed_avx512.c has the table they are part of. */
#ifndef TOMO_TENSOR_CPU_PACKED_AMX_H
#define TOMO_TENSOR_CPU_PACKED_AMX_H

#include "tensor/cpu/packed_kernels.h"

/* The calling thread's tile registers, ready for tiles of up to so many rows, and given back. */
void tomo_amx_enter(int64_t rows);
void tomo_amx_leave(void);

/* Between the two alone. Reads rows of x up to the next multiple of 16. */
void tomo_amx_tile_bf16(const tomo_tile *tile);
void tomo_amx_tile_int8(const tomo_tile *tile);

#endif
