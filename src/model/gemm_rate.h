/* gemm_rate.h - how fast oneDNN multiplies matrices of given shapes on this machine, in a given type. */
#ifndef TOMO_MODEL_GEMM_RATE_H
#define TOMO_MODEL_GEMM_RATE_H

#include "model/machine.h"

typedef struct tomo_gemm_rate tomo_gemm_rate;

/* Products [m, k] x [k, n] in BF16 with float results, weights in oneDNN's own order, `threads` threads.
 * TOMO_E_UNSUPPORTED where oneDNN would run its reference loops, whose speed says nothing. */
tomo_status tomo_gemm_rate_create(const tomo_product *products, int count, int threads, tomo_gemm_rate **rate,
                                  tomo_error *err);
void tomo_gemm_rate_free(tomo_gemm_rate *rate);
/* Runs each product once: floating-point operations per second, weighted with how often each is run. */
double tomo_gemm_rate_measure(tomo_gemm_rate *rate);
/* oneDNN's name of the implementation, "brg:avx512_core_bf16". */
const char *tomo_gemm_rate_implementation(const tomo_gemm_rate *rate);

#endif
