/* quantise.h - floats to the blocks of GGUF files. */
#ifndef TOMO_TENSOR_QUANTISE_H
#define TOMO_TENSOR_QUANTISE_H

#include "base/dtype.h"

/* n floats, whole blocks, to Q8_0, Q4_0 or Q4_1 (cpu/blocks.h has the layouts). Every whole number is the
 * nearest to the value with the scale and offset as they are stored, in half floats. */
void tomo_quantise(void *out, const float *x, tomo_dtype dtype, int64_t n);
/* Whether tomo_quantise writes the type. */
bool tomo_quantise_writes(tomo_dtype dtype);

#endif
