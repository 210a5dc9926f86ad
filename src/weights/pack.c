#include "weights/pack.h"

#include <stdlib.h>
#include <string.h>

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

/* Rows and columns exchanged a square at a time, so that both sides stay in the cache. */
#define SQUARE 32

static void transpose(const char *from, char *to, int64_t rows, int64_t columns, size_t size) {
    for (int64_t r = 0; r < rows; r += SQUARE) {
        for (int64_t c = 0; c < columns; c += SQUARE) {
            for (int64_t i = r; i < rows && i < r + SQUARE; i++) {
                for (int64_t k = c; k < columns && k < c + SQUARE; k++) {
                    memcpy(to + (size_t)(k * rows + i) * size, from + (size_t)(i * columns + k) * size, size);
                }
            }
        }
    }
}

tomo_status tomo_packs_add_back(tomo_packs *packs, tomo_pool *pool, const tomo_kernels *kernels,
                                tomo_linear *layer, tomo_error *err) {
    const tomo_tensor *w = &layer->weight;
    if (layer->packed == NULL || tomo_packed_packing(layer->packed) != TOMO_PACK_BF16 ||
        tomo_dtype_block(w->dtype) > 1) {
        return TOMO_OK;
    }
    if (!grow(packs)) return tomo_fail_memory(err, "packed weights", packs->room * sizeof *packs->list);
    size_t bytes = tomo_dtype_bytes(w->dtype, tomo_tensor_count(w));
    char *turned = malloc(bytes);
    if (turned == NULL) return tomo_fail_memory(err, "packed weights", bytes);
    transpose(w->data, turned, w->shape[0], w->shape[1], tomo_dtype_size(w->dtype));
    tomo_tensor t = tomo_tensor_over(turned, w->dtype, 2, (int64_t[]){w->shape[1], w->shape[0]});
    tomo_packed *packed = NULL;
    tomo_status status = tomo_packed_create(pool, kernels, &t, TOMO_PACK_BF16, &packed, err);
    free(turned);
    if (status != TOMO_OK) return status;
    packs->list[packs->count++] = packed;
    layer->packed_back = packed;
    return TOMO_OK;
}
