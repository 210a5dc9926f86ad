#include "tensor/pool.h"

#include "base/signals.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX() ((void)0)
#endif

/* OpenMP's standard calls, from the runtime that Debian's oneDNN is linked with (libgomp). Declared here so
 * that any compiler builds this without an OpenMP of its own, whose settings oneDNN would not see. */
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);

/* How often a worker looks for new work before it sleeps. One look takes some 20 to 40 ns, so this bridges
 * the pauses between the operations of one token (microseconds) and not those between tokens of a slow
 * reader. */
#define SPINS 2000

typedef struct worker {
    tomo_pool *pool;
    pthread_t thread;
    int index;
} worker;

struct tomo_pool {
    int threads; /* with the caller */
    int started; /* workers that run */
    worker *workers;
    pthread_mutex_t owner; /* held by the thread whose job runs */
    pthread_mutex_t lock;  /* for sleeping */
    pthread_cond_t work, finished;
    atomic_ulong generation; /* counts jobs; a change is the signal to start */
    atomic_bool stop;
    atomic_int busy; /* workers that have not finished the current job */
    /* The current job. Written by the owner before `generation` changes. */
    tomo_block_fn run;
    void *argument;
    int64_t blocks;
    atomic_llong next;
};

static void take_blocks(tomo_pool *pool, int index) {
    for (;;) {
        int64_t block = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (block >= pool->blocks) return;
        pool->run(pool->argument, block, index);
    }
}

/* Waits until the generation differs from `seen`; first spinning, then asleep. */
static void wait_for_work(tomo_pool *pool, unsigned long seen) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->generation, memory_order_acquire) != seen) return;
        RELAX();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->generation, memory_order_acquire) == seen) {
        pthread_cond_wait(&pool->work, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

static void *worker_main(void *argument) {
    worker *w = argument;
    tomo_pool *pool = w->pool;
    omp_set_num_threads(1); /* oneDNN, called inside a block, must not start threads of its own */
    for (unsigned long seen = 0;; seen++) {
        wait_for_work(pool, seen);
        if (atomic_load_explicit(&pool->stop, memory_order_acquire)) return NULL;
        take_blocks(pool, w->index);
        if (atomic_fetch_sub_explicit(&pool->busy, 1, memory_order_acq_rel) == 1) {
            pthread_mutex_lock(&pool->lock);
            pthread_cond_signal(&pool->finished);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

static void announce(tomo_pool *pool) {
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add_explicit(&pool->generation, 1, memory_order_release);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->lock);
}

static void wait_for_workers(tomo_pool *pool) {
    for (int i = 0; i < SPINS; i++) {
        if (atomic_load_explicit(&pool->busy, memory_order_acquire) == 0) return;
        RELAX();
    }
    pthread_mutex_lock(&pool->lock);
    while (atomic_load_explicit(&pool->busy, memory_order_acquire) != 0) {
        pthread_cond_wait(&pool->finished, &pool->lock);
    }
    pthread_mutex_unlock(&pool->lock);
}

static int available_cpus(void) {
    cpu_set_t set;
    int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return count < 1 ? 1 : count > 256 ? 256 : count;
}

/* Workers hold back signals for good: handlers of the host program run on its own threads, never in the
 * middle of a product (tensor/gemm.h). */
static bool start_workers(tomo_pool *pool) {
    sigset_t before = tomo_signals_hold();
    bool good = true;
    for (int i = 0; i < pool->threads - 1 && good; i++) {
        pool->workers[i] = (worker){.pool = pool, .index = i + 1};
        good = pthread_create(&pool->workers[i].thread, NULL, worker_main, &pool->workers[i]) == 0;
        pool->started += good;
    }
    tomo_signals_release(&before);
    return good;
}

tomo_status tomo_pool_create(int threads, tomo_pool **result, tomo_error *err) {
    *result = NULL;
    if (threads < 0 || threads > 256) {
        return tomo_fail(err, TOMO_E_USAGE, "threads: %d; 1 to 256 are wanted (0: one a CPU)", threads);
    }
    tomo_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) return tomo_fail_memory(err, "threads", sizeof *pool);
    pool->threads = threads == 0 ? available_cpus() : threads;
    pthread_mutex_init(&pool->owner, NULL);
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->work, NULL);
    pthread_cond_init(&pool->finished, NULL);
    pool->workers = calloc((size_t)pool->threads, sizeof *pool->workers);
    if (pool->workers == NULL) {
        tomo_pool_free(pool);
        return tomo_fail_memory(err, "threads", (size_t)pool->threads * sizeof *pool->workers);
    }
    if (!start_workers(pool)) {
        tomo_status status =
            tomo_fail(err, TOMO_E_MEMORY, "cannot start thread %d of %d", pool->started + 2, pool->threads);
        tomo_pool_free(pool);
        return status;
    }
    *result = pool;
    return TOMO_OK;
}

void tomo_pool_free(tomo_pool *pool) {
    if (pool == NULL) return;
    atomic_store_explicit(&pool->stop, true, memory_order_release);
    announce(pool);
    for (int i = 0; i < pool->started; i++) pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->finished);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->lock);
    pthread_mutex_destroy(&pool->owner);
    free(pool->workers);
    free(pool);
}

int tomo_pool_threads(const tomo_pool *pool) {
    return pool->threads;
}

static void run_alone(int64_t blocks, tomo_block_fn run, void *argument) {
    for (int64_t block = 0; block < blocks; block++) run(argument, block, 0);
}

void tomo_pool_run(tomo_pool *pool, int64_t blocks, tomo_block_fn run, void *argument) {
    /* The calling thread belongs to the host program: its own OpenMP setting is put back. */
    int host_threads = omp_get_max_threads();
    if (host_threads != 1) omp_set_num_threads(1);
    if (blocks <= 1 || pool->threads == 1 || pthread_mutex_trylock(&pool->owner) != 0) {
        run_alone(blocks, run, argument);
    } else {
        pool->run = run;
        pool->argument = argument;
        pool->blocks = blocks;
        atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
        atomic_store_explicit(&pool->busy, pool->started, memory_order_relaxed);
        announce(pool);
        take_blocks(pool, 0);
        wait_for_workers(pool);
        pthread_mutex_unlock(&pool->owner);
    }
    if (host_threads != 1) omp_set_num_threads(host_threads);
}
