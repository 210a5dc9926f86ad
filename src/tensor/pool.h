/* pool.h - threads that share the blocks of one operation.
 *
 * What a block computes depends on shapes alone and each block runs on one thread, so results are identical
 * for any number of threads. Own threads instead of OpenMP: the host program may use another OpenMP runtime,
 * sessions must share one pool, and the whole is clean under ThreadSanitizer. */
#ifndef TOMO_TENSOR_POOL_H
#define TOMO_TENSOR_POOL_H

#include "base/status.h"

typedef struct tomo_pool tomo_pool;

/* Computes block `block` (0 <= block < blocks). `worker` (0 <= worker < threads) is held by one thread at a
 * time within one tomo_pool_run, for choosing scratch memory. */
typedef void (*tomo_block_fn)(void *argument, int64_t block, int worker);

/* Threads of a pool hold back signals, so handlers of the host program never run on them.
 * threads: 1 to 256, the calling thread among them; 0: one for each CPU that this process may use. */
tomo_status tomo_pool_create(int threads, tomo_pool **pool, tomo_error *err);
void tomo_pool_free(tomo_pool *pool);
int tomo_pool_threads(const tomo_pool *pool);

/* Runs every block and returns when all are done; the caller works too. While another thread holds the pool
 * the caller runs all blocks alone rather than wait. Allocates nothing. */
void tomo_pool_run(tomo_pool *pool, int64_t blocks, tomo_block_fn run, void *argument);

#endif
