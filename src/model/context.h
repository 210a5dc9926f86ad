/* context.h - what lies behind the public tomo_context. */
#ifndef TOMO_MODEL_CONTEXT_H
#define TOMO_MODEL_CONTEXT_H

#include "base/hooks.h"
#include "tensor/kernels.h"
#include "tensor/pool.h"
#include "volume/volume.h"

struct tomo_context {
    const tomo_kernels *kernels;
    tomo_pool *pool;
    tomo_hooks hooks;
    tomo_volume_limits limits;
};

/* *text = the printed value, which tomo_free frees; takes over `value` (NULL: out of memory). */
tomo_status tomo_json_hand_out(cJSON *value, char **text, tomo_error *err);

#endif
