/* machine.h - what this machine can do at most, measured: the limits that a bench holds its figures against.
 */
#ifndef TOMO_MODEL_MACHINE_H
#define TOMO_MODEL_MACHINE_H

#include "tensor/exec.h"

#include <cjson/cJSON.h>

/* One matrix product of a network: [m, k] x [k, n], done `times` in a pass. */
typedef struct tomo_product {
    int64_t m, n, k, times;
} tomo_product;

/* Buffers for the measurements, allocated once. */
typedef struct tomo_machine tomo_machine;
tomo_status tomo_machine_create(tomo_pool *pool, const tomo_product *products, int count,
                                tomo_machine **machine, tomo_error *err);
void tomo_machine_free(tomo_machine *machine);

/* Floating-point operations a second of oneDNN's own sgemm, all threads, over these products weighted as
 * often as they occur; one pass. */
double tomo_machine_gemm_rate(tomo_machine *machine, const tomo_product *products, int count);

/* Bytes a second that all threads read from memory: one pass over a buffer of at least 8 times the last-level
 * cache. */
double tomo_machine_read_rate(tomo_machine *machine);

/* {"cpu", "threads", "kernels", "avx2", "avx512", "avx512_bf16", "avx512_vnni", "amx"}; NULL when out of
 * memory. */
cJSON *tomo_machine_describe(const tomo_exec *exec);

/* The process's largest resident size so far, in bytes. */
int64_t tomo_machine_peak_rss(void);

#endif
