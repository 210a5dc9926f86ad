/* ops.h - the operations that every network here is made of.
 *
 * All take and return F32 tensors of the exec's arena (weights may be BF16 or F16) and follow the failure
 * rule of exec.h. "[..., n]" means any leading axes. Inputs are contiguous unless said otherwise. */
#ifndef TOMO_TENSOR_OPS_H
#define TOMO_TENSOR_OPS_H

#include "base/size.h"
#include "tensor/exec.h"

/* One linear layer: y = x W^T + bias, plus lora_scale * B (A x) where an adapter is present. */
typedef struct tomo_linear {
    tomo_tensor weight; /* [out, in], of any type that tomo_gemm takes */
    tomo_tensor bias;   /* [out] F32, or data NULL */
    tomo_tensor lora_a; /* [rank, in] F32, or data NULL */
    tomo_tensor lora_b; /* [out, rank] F32 */
    float lora_scale;
    /* The weight in the form of a faster, less exact product (packed.h), or NULL. With a tape it is used
     * where the transposed weight is there too, for the way back. */
    const struct tomo_packed *packed, *packed_back;
} tomo_linear;

/* x [..., in] -> activation(x W^T + bias + adapter) + residual, [..., out]. residual: [..., out] or NULL. */
tomo_tensor *tomo_op_linear(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer,
                            tomo_activation activation, const tomo_tensor *residual);

/* Several layers of the same x at once: out[i] = x W_i^T + bias_i + adapter_i, NULL after a failure; at
 * most 4. Packed layers that are alike share one run of the threads. */
void tomo_op_linears(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *const *layers, int count,
                     tomo_tensor **out);

/* x [..., n], weight and bias [n] (data NULL: absent). torch.nn.LayerNorm. */
tomo_tensor *tomo_op_layer_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                const tomo_tensor *bias, double eps);
/* x [..., n] / rms * (weight + offset). x may have any strides but the last, which is 1. */
tomo_tensor *tomo_op_rms_norm(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight, double offset,
                              double eps);

tomo_tensor *tomo_op_activate(tomo_exec *exec, const tomo_tensor *x, tomo_activation activation);
/* silu(gate) * up, both the same shape. */
tomo_tensor *tomo_op_silu_multiply(tomo_exec *exec, const tomo_tensor *gate, const tomo_tensor *up);
/* a + b and a * b; b's shape is the tail of a's (a vector for each row, a table for each image). */
tomo_tensor *tomo_op_add(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b);
tomo_tensor *tomo_op_multiply(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b);
/* x [K, ..., d] + place [K, d], the same row for all cells of a slice. */
tomo_tensor *tomo_op_add_spread(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *place);
/* a * near + (1 - a) * far, all the same shape. */
tomo_tensor *tomo_op_mix(tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *near,
                         const tomo_tensor *far);

/* Joins along the last axis: [..., n_0], [..., n_1], ... -> [..., sum n_i]. */
tomo_tensor *tomo_op_concat(tomo_exec *exec, const tomo_tensor *const *parts, int count);
/* A contiguous copy of a view of any strides. */
tomo_tensor *tomo_op_contiguous(tomo_exec *exec, const tomo_tensor *x);

/* table [vocabulary, n] (F32, BF16, F16), ids [count] within it -> [count, n]. */
tomo_tensor *tomo_op_embedding(tomo_exec *exec, const tomo_tensor *table, const int32_t *ids, int64_t count);

/* Some rows [count] of x [T, n], by their places, in any order -> [count, n]. */
tomo_tensor *tomo_op_rows(tomo_exec *exec, const tomo_tensor *x, const int64_t *places, int64_t count);
/* Means of the rows starts[i] .. starts[i + 1] - 1 of x [T, n], none of them empty -> [count, n]. */
tomo_tensor *tomo_op_mean_rows(tomo_exec *exec, const tomo_tensor *x, const int64_t *starts, int64_t count);
/* x [T, n] with rows [count, n] in place of those at places [count], ascending. */
tomo_tensor *tomo_op_replace_rows(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *rows,
                                  const int64_t *places);

/* The same in place: x's own memory and gradient, where nobody else reads x afterwards; costs as much as the
 * rows, however large x is. */
tomo_tensor *tomo_op_put_rows(tomo_exec *exec, tomo_tensor *x, const tomo_tensor *rows,
                              const int64_t *places);

/* Rotary positions. x [T, heads, head_dim]; cosine, sine [T, half]; elements i and i + half of each head turn
 * together, those past 2 * half stay. */
tomo_tensor *tomo_op_rope(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *cosine,
                          const tomo_tensor *sine);

/* softmax(scale q k^T) v a head. q [B, T, heads, d]; k, v [B, S, kv_heads, d] with heads a multiple of
 * kv_heads; strides are free but for the last, which is 1. causal: query t sees keys 0 .. S - T + t.
 * -> [B, T, heads * d]. */
tomo_tensor *tomo_op_attention(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                               const tomo_tensor *v, double scale, bool causal);

/* The same for sequences that lie one behind the other: q [T, heads, d]; k, v [T, kv_heads, d]; sequence i
 * has the rows starts[i] .. starts[i + 1] - 1, its length at least 1, and sees itself alone, and before that
 * all of sequence prefixes[i] (-1: none), which has no prefix itself and after which come, without a gap, the
 * sequences that have it as theirs. prefixes NULL: none has one; else causal. -> [T, heads * d]. */
tomo_tensor *tomo_op_attention_packed(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                      const tomo_tensor *v, const int64_t *starts, const int64_t *prefixes,
                                      int64_t count, double scale, bool causal);

/* Non-overlapping patches: images [S, C, H, W], rows and columns that no whole patch covers left out ->
 * [S, (H/p)(W/p), C * p * p], the row order of a convolution weight [out, C, p, p]. */
tomo_tensor *tomo_op_patches(tomo_exec *exec, const tomo_tensor *images, int64_t patch);

/* A filter a channel over three axes, cross-correlation, zero-padded: x [K, h, w, d], weight [d, 1, 3, 3, 3],
 * bias [d] -> [K, h, w, d]. torch.nn.Conv3d(d, d, 3, padding=1, groups=d). */
tomo_tensor *tomo_op_depthwise_conv3d(tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                                      const tomo_tensor *bias);

/* Half-open range of the cells that adaptive pooling averages into bin i of `bins`. */
static inline void tomo_pool_window(int64_t i, int64_t size, int64_t bins, int64_t *first, int64_t *end) {
    *first = i * size / bins;
    *end = tomo_pieces((i + 1) * size, bins);
}
/* x [K, h, w, d] -> [bins[0], bins[1], bins[2], d]. torch.nn.functional.adaptive_avg_pool3d. */
tomo_tensor *tomo_op_adaptive_pool3d(tomo_exec *exec, const tomo_tensor *x, const int64_t bins[3]);
/* x [n m, d], n groups of m rows -> [(n + 1) m, d]: x, and behind it the largest values of each row over the
 * groups. Where several are largest the first gets the gradient. */
tomo_tensor *tomo_op_append_largest(tomo_exec *exec, const tomo_tensor *x, int64_t m);

#endif
