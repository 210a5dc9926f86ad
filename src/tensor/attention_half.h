/* attention_half.h - attention of many queries with products in BF16. */
#ifndef TOMO_TENSOR_ATTENTION_HALF_H
#define TOMO_TENSOR_ATTENTION_HALF_H

#include "tensor/exec.h"

/* tomo_op_attention (ops.h) where exec->half is set and nothing is taped: queries, keys, values and weights
 * of the values rounded to BF16, sums and soft-max in float. */
tomo_tensor *tomo_attention_half(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                 const tomo_tensor *v, double scale, bool causal);

#endif
