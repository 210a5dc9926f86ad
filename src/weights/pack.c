#include "weights/pack.h"

#include <stdlib.h>

void tomo_packs_free(tomo_packs *packs) {
    for (size_t i = 0; i < packs->count; i++) tomo_packed_free(packs->list[i]);
    free(packs->list);
    *packs = (tomo_packs){0};
}

static bool grow(tomo_packs *packs) {
    if (packs->count < packs->room) return true;
    size_t room = packs->room == 0 ? 64 : 2 * packs->room;
    tomo_packed **list = realloc(packs->list, room * sizeof(tomo_packed *));
    if (list == NULL) return false;
    packs->list = list;
    packs->room = room;
    return true;
}

static void give_back(const tomo_checkpoint *checkpoint, const void *data) {
    for (size_t i = 0; i < tomo_checkpoint_count(checkpoint); i++) {
        const tomo_stored *stored = tomo_checkpoint_at(checkpoint, i);
        if (stored->data == data) tomo_checkpoint_release(checkpoint, stored);
    }
}

tomo_status tomo_packs_add(tomo_packs *packs, tomo_pool *pool, const tomo_kernels *kernels,
                           const tomo_checkpoint *checkpoint, tomo_linear *layer, tomo_packing packing,
                           tomo_error *err) {
    if (layer->weight.data == NULL) return TOMO_OK;
    if (!grow(packs)) return tomo_fail_memory(err, "packed weights", packs->room * sizeof *packs->list);
    tomo_packed *packed = NULL;
    tomo_status status = tomo_packed_create(pool, kernels, &layer->weight, packing, &packed, err);
    if (status != TOMO_OK) return status;
    packs->list[packs->count++] = packed;
    packs->saved += (int64_t)tomo_dtype_bytes(layer->weight.dtype, tomo_tensor_count(&layer->weight)) -
                    (int64_t)tomo_packed_bytes(packed);
    layer->packed = packed;
    give_back(checkpoint, layer->weight.data);
    return TOMO_OK;
}
