/* pack.h - bringing a network's linear layers into the order and type of fast products, once, after opening.
 */
#ifndef TOMO_WEIGHTS_PACK_H
#define TOMO_WEIGHTS_PACK_H

#include "tensor/ops.h"
#include "tensor/packed.h"
#include "weights/checkpoint.h"

/* The packed weights of a network, which owns them. Start with {0}, end with tomo_packs_free. */
typedef struct tomo_packs {
    tomo_packed **list;
    size_t count, room;
    int64_t saved; /* bytes of the originals less those of the packed weights */
} tomo_packs;
void tomo_packs_free(tomo_packs *packs);

/* Packs a layer (nothing where it is absent); what the checkpoint holds of it is given back to the system,
 * and stays readable. Layers with the same weights (a tied head) may each be packed. */
tomo_status tomo_packs_add(tomo_packs *packs, tomo_pool *pool, const tomo_kernels *kernels,
                           const tomo_checkpoint *checkpoint, tomo_linear *layer, tomo_packing packing,
                           tomo_error *err);

/* Packs the transposed weight of a layer that is packed in BF16, for gradients; others stay as they are. */
tomo_status tomo_packs_add_back(tomo_packs *packs, tomo_pool *pool, const tomo_kernels *kernels,
                                tomo_linear *layer, tomo_error *err);

#endif
