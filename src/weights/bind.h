/* bind.h - fetching a network's weights from a checkpoint by name and shape. */
#ifndef TOMO_WEIGHTS_BIND_H
#define TOMO_WEIGHTS_BIND_H

#include "base/arena.h"
#include "tensor/ops.h"
#include "weights/checkpoint.h"

/* Told of one parameter of a network. */
typedef void (*tomo_parameter_fn)(void *user, const char *name, int rank, const int64_t *shape);

/* The trainable tensors of a network, in the order in which its loader binds them. Start with {0}, end with
 * tomo_parameters_free; the elements belong to the network. */
typedef struct tomo_parameters {
    struct tomo_parameter {
        const char *name;   /* of the checkpoint */
        tomo_tensor tensor; /* F32, with a gradient */
    } * list;
    size_t count, room;
} tomo_parameters;
void tomo_parameters_free(tomo_parameters *parameters);
/* name must outlive the list. */
tomo_status tomo_parameters_add(tomo_parameters *parameters, const char *name, const tomo_tensor *tensor,
                                tomo_error *err);

/* Weights stay where the checkpoint has them; what must be float and is not is widened into the arena. The
 * first failure is kept (name, shape found, shape wanted) and everything after it gives absent tensors, so a
 * loader is written straight down and asks once. Checkpoint and arena outlive the bound tensors. */
typedef struct tomo_binder {
    const tomo_checkpoint *checkpoint;
    tomo_arena *arena;
    const char *prefix;        /* put before every name; "" for none */
    tomo_error error;          /* status TOMO_OK: nothing failed so far */
    int64_t bytes, parameters; /* of what was bound so far, as stored */
    /* Where set, nothing is fetched (checkpoint may be NULL): each tensor that would be is named here
     * instead, so that a network's own loader tells what a new checkpoint of it must hold. */
    tomo_parameter_fn collect;
    /* Where set, every tensor is a float copy in the arena with a gradient of zeros, and is listed here. */
    tomo_parameters *trainable;
    void *collect_user;
} tomo_binder;

/* The tensor prefix + name (printf style) with exactly this shape, in the type it is stored in (F32, BF16,
 * F16). */
tomo_tensor tomo_bind_weight(tomo_binder *binder, int rank, const int64_t *shape, const char *name, ...)
    TOMO_PRINTF(4, 5);
/* The same as F32. */
tomo_tensor tomo_bind_float(tomo_binder *binder, int rank, const int64_t *shape, const char *name, ...)
    TOMO_PRINTF(4, 5);
/* name + ".weight" [out, in] as stored and, with has_bias, name + ".bias" [out] as F32. */
tomo_linear tomo_bind_linear(tomo_binder *binder, int64_t out, int64_t in, bool has_bias, const char *name,
                             ...) TOMO_PRINTF(5, 6);

/* Whether prefix + name is there. */
bool tomo_bind_has(const tomo_binder *binder, const char *name, ...) TOMO_PRINTF(2, 3);
/* The stored tensor or NULL, for sizes that only the weights tell. */
const tomo_stored *tomo_bind_find(const tomo_binder *binder, const char *name, ...) TOMO_PRINTF(2, 3);

#endif
