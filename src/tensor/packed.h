/* clang-format off */
/* packed.h - weights of a linear layer in the order and type in which a product reads them.
 *
 * Weights [n, k] are cut into panels of TOMO_PANEL rows (outputs); inside a panel `step` consecutive elements
 * of k lie side by side for one output, then those of the next output: [panels][k / step][TOMO_PANEL][step].
 * A panel is read from front to back once for up to a dozen rows of x, whose sums stay in registers, so the
 * same memory order serves one row (decoding) and many (prompts, slices). What is missing of k and n is zero.
 *
 *   TOMO_PACK_BF16  weights and x rounded to BF16, sums in float. Products are exact in float, so the error is
 *                   that of the rounding: 2^-9 relative for each factor.
 *   TOMO_PACK_INT8  weights in -63..63 with a scale an output, x in -127..127 with a scale a row, taken from the
 *                   row's largest value; sums are exact. 7 bits, so that a pair of products fits the 16 bits
 *                   that AVX2 adds them in: all kernels give the same whole numbers.
 *   TOMO_PACK_Q8    weights in -128..127 with a half-float scale for 32 of them, x in -127..127 with a scale for
 *                   32: 8.5 bits a weight. Blocks of Q8_0 and Q5_0 come over exactly; floats are rounded.
 *   TOMO_PACK_Q4    weights in 0..15 with a scale and an offset for 32: 5 bits a weight. For blocks of Q4_0,
 *                   Q4_1 (exactly) and Q4_K (its scales rounded to half floats).
 *
 * The float32 path (gemm.h) needs no packing and stays the one that equals the reference libraries. */
/* clang-format on */
#ifndef TOMO_TENSOR_PACKED_H
#define TOMO_TENSOR_PACKED_H

#include "tensor/gemm.h"

#define TOMO_PANEL 32

typedef enum tomo_packing { TOMO_PACK_BF16, TOMO_PACK_INT8, TOMO_PACK_Q8, TOMO_PACK_Q4 } tomo_packing;

/* How products are computed, as users choose it (tomo_model_options.precision). */
typedef enum tomo_precision {
    TOMO_PRECISION_F32,
    TOMO_PRECISION_BF16,
    TOMO_PRECISION_FAST,
    TOMO_PRECISION_INT8
} tomo_precision;

typedef struct tomo_packed tomo_packed;

/* Whether these kernels have an instruction for the packing (generic: whether there is a loop for it, so that
 * tests run everywhere). Without one BF16 is slower than float32. */
bool tomo_packing_is_native(const tomo_kernels *kernels, tomo_packing packing);

/* For tomo_exec.half: the products in BF16 of these kernels. */
const struct tomo_packed_kernels *tomo_half_products(const tomo_kernels *kernels);

/* The packing in whole numbers that suits weights of a type best: Q4 or Q8 for blocks that come over, Q8 for
 * floats; false where there is none (Q5_1, Q5_K, Q6_K: their groups have offsets of 5 bits, or 16 members).
 */
bool tomo_packing_in_groups(tomo_dtype dtype, tomo_packing *packing);

/* w [n, k] F32, BF16, F16 or blocks, contiguous, not referred to afterwards; packings in groups take the
 * types that tomo_packing_in_groups names for them, and k a multiple of 32. Freed by tomo_packed_free. */
tomo_status tomo_packed_create(tomo_pool *pool, const tomo_kernels *kernels, const tomo_tensor *w,
                               tomo_packing packing, tomo_packed **packed, tomo_error *err);
void tomo_packed_free(tomo_packed *packed);
/* Bytes that a product reads of it. */
size_t tomo_packed_bytes(const tomo_packed *packed);
tomo_packing tomo_packed_packing(const tomo_packed *packed);

/* out [m, n] (row stride out_stride) = epilogue(x [m, k] w^T), x contiguous; as tomo_gemm. Results depend on
 * neither m nor the number of threads: a row's sums have one order. */
void tomo_packed_product(tomo_exec *exec, float *out, int64_t out_stride, const float *x, int64_t m,
                         const tomo_packed *packed, tomo_epilogue epilogue);

/* One of several products of the same x. */
typedef struct tomo_packed_target {
    const tomo_packed *packed;
    float *out;
    int64_t out_stride;
    tomo_epilogue epilogue;
} tomo_packed_target;

#define TOMO_PACKED_TARGETS 4

/* The same for up to TOMO_PACKED_TARGETS layers that are alike, with one preparation of x and one run of the
 * threads: what decoding a token costs beyond reading weights is mostly runs. */
void tomo_packed_products(tomo_exec *exec, const tomo_packed_target *targets, int count, const float *x,
                          int64_t m);
/* Whether two layers have the same packing and read the same k. */
bool tomo_packed_alike(const tomo_packed *a, const tomo_packed *b);

#endif
