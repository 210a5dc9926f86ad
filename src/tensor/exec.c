#include "tensor/exec.h"

#include "base/size.h"
#include "tensor/tape.h"

#include <stdarg.h>
#include <stdio.h>

tomo_status tomo_exec_init(tomo_exec *exec, const tomo_kernels *kernels, tomo_pool *pool,
                           const tomo_hooks *hooks, size_t arena_reserve, tomo_error *err) {
    *exec = (tomo_exec){.kernels = kernels, .pool = pool, .hooks = hooks};
    exec->arena = tomo_arena_create(arena_reserve);
    if (exec->arena == NULL) return tomo_fail_memory(err, "activations", arena_reserve);
    return TOMO_OK;
}

void tomo_exec_release(tomo_exec *exec) {
    tomo_arena_free(exec->arena);
    *exec = (tomo_exec){0};
}

tomo_status tomo_exec_status(tomo_exec *exec, tomo_error *err) {
    tomo_status status = exec->error.status;
    if (status != TOMO_OK && err != NULL) *err = exec->error;
    exec->error.status = TOMO_OK;
    return status;
}

void *tomo_exec_alloc(tomo_exec *exec, int64_t count, size_t size) {
    if (exec->error.status != TOMO_OK) return NULL;
    size_t bytes = 0;
    void *memory = NULL;
    if (count >= 0 && tomo_size_mul((size_t)count, size, &bytes))
        memory = tomo_arena_alloc(exec->arena, bytes);
    if (memory == NULL) (void)tomo_fail_memory(&exec->error, "activations", bytes);
    return memory;
}

tomo_tensor *tomo_exec_view(tomo_exec *exec, tomo_tensor view) {
    tomo_tensor *t = tomo_exec_alloc(exec, 1, sizeof *t);
    if (t != NULL) *t = view;
    return t;
}

tomo_tensor *tomo_exec_tensor(tomo_exec *exec, int rank, const int64_t *shape) {
    int64_t count;
    if (!tomo_shape_count(shape, rank, &count)) {
        if (exec->error.status == TOMO_OK) {
            (void)tomo_fail(&exec->error, TOMO_E_LIMIT, "a tensor of the model has too many elements");
        }
        return NULL;
    }
    float *data = tomo_exec_alloc(exec, count, sizeof *data);
    if (data == NULL) return NULL;
    tomo_tensor t = tomo_tensor_over(data, TOMO_F32, rank, shape);
    if (exec->tape != NULL) {
        t.grad = tomo_tape_gradient(exec, count);
        if (t.grad == NULL) return NULL;
    }
    return tomo_exec_view(exec, t);
}

tomo_tensor *tomo_exec_keep(tomo_exec *exec, tomo_arena_mark mark, const tomo_tensor *t) {
    if (t == NULL || exec->error.status != TOMO_OK) return NULL;
    if (exec->tape != NULL) { /* the backward pass needs what lies between */
        tomo_tape_next_layer(exec);
        return tomo_exec_view(exec, *t);
    }
    tomo_tensor kept = *t; /* the description lies in the arena too */
    size_t bytes = (size_t)tomo_tensor_count(t) * tomo_dtype_size(t->dtype);
    kept.data = tomo_arena_keep(exec->arena, mark, t->data, bytes);
    if (kept.data == NULL) {
        (void)tomo_fail_memory(&exec->error, "activations", bytes);
        return NULL;
    }
    return tomo_exec_view(exec, kept);
}

void tomo_exec_show(tomo_exec *exec, const tomo_tensor *value, const char *name, ...) {
    if (exec->trace == NULL || value == NULL) return;
    char full[128];
    va_list arguments;
    va_start(arguments, name);
    (void)vsnprintf(full, sizeof full, name, arguments);
    va_end(arguments);
    exec->trace->see(exec->trace->user, full, value);
}

int64_t tomo_exec_rows_per_block(int64_t width) {
    int64_t rows = 16384 / (width < 1 ? 1 : width); /* 64 KB of floats: worth a hand-over, fits the cache */
    return rows < 1 ? 1 : rows;
}
