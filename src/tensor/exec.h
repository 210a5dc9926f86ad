/* exec.h - what operations run with: kernels, threads, and the arena that holds their results.
 *
 * Operations (ops.h) return their result as a tensor in the arena, or NULL after a failure, and take NULL as
 * input without harm; the first failure is kept here. A forward pass is therefore written straight down and
 * its status asked once at the end. Memory is given back by winding the arena to a mark.
 *
 * With a tape, every operation leaves a note of its inputs, its result and its attributes (tape.h), from
 * which the backward pass is run: the forward functions are the same in inference and in training. */
#ifndef TOMO_TENSOR_EXEC_H
#define TOMO_TENSOR_EXEC_H

#include "base/arena.h"
#include "base/hooks.h"
#include "tensor/kernels.h"
#include "tensor/pool.h"
#include "tensor/tensor.h"

/* Shown the named intermediate results of a forward pass, for `tomo trace` and for tests. The tensor is valid
 * during the call. */
typedef struct tomo_trace {
    void (*see)(void *user, const char *name, const tomo_tensor *value);
    void *user;
} tomo_trace;

/* What a forward pass records for its backward pass; tape.h. */
typedef struct tomo_tape tomo_tape;

/* One thread of control; not shared between threads. Kernels and pool are borrowed and may be shared. */
typedef struct tomo_exec {
    const tomo_kernels *kernels;
    tomo_pool *pool;
    tomo_arena *arena;
    const tomo_hooks *hooks;                /* or NULL */
    const tomo_trace *trace;                /* or NULL: nobody looks */
    const struct tomo_packed_kernels *half; /* or NULL; set: products of activations may be taken in BF16 */
    /* Or NULL; set: linear layers on the tape multiply in BF16, forward and back (gemm_half.h). */
    const struct tomo_packed_kernels *half_tape;
    struct tomo_profile *profile; /* profile.h; or NULL: nobody measures */
    tomo_tape *tape;              /* or NULL: no gradients are wanted, and memory is reused between layers */
    tomo_error error;             /* status TOMO_OK: nothing failed so far */
} tomo_exec;

/* arena_reserve: bytes to hold from the start. */
tomo_status tomo_exec_init(tomo_exec *exec, const tomo_kernels *kernels, tomo_pool *pool,
                           const tomo_hooks *hooks, size_t arena_reserve, tomo_error *err);
void tomo_exec_release(tomo_exec *exec);

/* The first failure since the last call, copied to err; clears it. */
tomo_status tomo_exec_status(tomo_exec *exec, tomo_error *err);

/* Uninitialised arena memory; NULL and a recorded failure when there is none. */
void *tomo_exec_alloc(tomo_exec *exec, int64_t count, size_t size);
/* A new F32 tensor with uninitialised elements. */
tomo_tensor *tomo_exec_tensor(tomo_exec *exec, int rank, const int64_t *shape);
/* The same of x's shape. */
static inline tomo_tensor *tomo_exec_like(tomo_exec *exec, const tomo_tensor *x) {
    return tomo_exec_tensor(exec, x->rank, x->shape);
}
/* Whether an operation on a and b has nothing to do: something failed before it. */
static inline bool tomo_exec_broken(const tomo_exec *exec, const tomo_tensor *a, const tomo_tensor *b) {
    return exec->error.status != TOMO_OK || a == NULL || b == NULL;
}
/* Winds the arena back to the mark and keeps t's elements alone, moved to the front (t contiguous, made since
 * the mark). Between the layers of a network this bounds memory by one layer's. */
tomo_tensor *tomo_exec_keep(tomo_exec *exec, tomo_arena_mark mark, const tomo_tensor *t);
/* A copy of the tensor's description (not its elements), so that a view can be returned. */
tomo_tensor *tomo_exec_view(tomo_exec *exec, tomo_tensor view);

/* Shows value (NULL: nothing) under a printf-style name to whoever traces. */
void tomo_exec_show(tomo_exec *exec, const tomo_tensor *value, const char *name, ...) TOMO_PRINTF(3, 4);

/* Blocks of rows for row-wise work of `width` elements a row: depends on the shape alone. */
int64_t tomo_exec_rows_per_block(int64_t width);

#endif
