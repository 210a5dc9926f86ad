/* torch_tensors.c - storages and strided views of a PyTorch checkpoint as contiguous tensors. */
#include "weights/torch.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

bool tomo_torch_storage_bytes(const tomo_pickle_storage *storage, size_t *bytes) {
    return tomo_size_mul((size_t)storage->count, tomo_dtype_size(storage->dtype), bytes);
}

static bool holds_tensors(const tomo_pickle_value *dict) {
    if (dict == NULL || dict->kind != TOMO_PICKLE_DICT) return false;
    for (size_t i = 0; i + 1 < dict->list.count; i += 2) {
        if (dict->list.items[i + 1]->kind == TOMO_PICKLE_TENSOR) return true;
    }
    return false;
}

/* A training checkpoint keeps the state dict under a key, beside epochs and optimiser states. */
static const tomo_pickle_value *find_state_dict(const tomo_pickle_value *root) {
    static const char *const keys[] = {"state_dict", "model_state_dict", "model"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const tomo_pickle_value *inner = tomo_pickle_get(root, keys[i]);
        if (holds_tensors(inner)) return inner;
    }
    return holds_tensors(root) ? root : NULL;
}

static bool is_contiguous(const tomo_pickle_tensor *t) {
    int64_t expected = 1;
    for (int i = t->rank - 1; i >= 0; i--) {
        if (t->shape[i] != 1 && t->stride[i] != expected) return false;
        expected *= t->shape[i]; /* fits: the product of the shape was checked */
    }
    return true;
}

/* Copies the view in C order. `from` points at its first element. */
static void gather(const tomo_pickle_tensor *t, size_t width, const unsigned char *from, unsigned char *to) {
    int64_t index[TOMO_LIMIT_RANK] = {0}, at = 0;
    for (int64_t n = 0; n < t->count; n++) {
        memcpy(to + (size_t)n * width, from + (size_t)at * width, width);
        for (int axis = t->rank - 1; axis >= 0; axis--) {
            at += t->stride[axis];
            if (++index[axis] < t->shape[axis]) break;
            at -= t->stride[axis] * t->shape[axis];
            index[axis] = 0;
        }
    }
}

static tomo_status place(tomo_checkpoint *c, const tomo_pickle_tensor *t, const unsigned char *storage,
                         const void **data, tomo_error *err) {
    size_t width = tomo_dtype_size(t->storage->dtype), bytes = 0;
    const unsigned char *first = storage + (size_t)t->offset * width;
    *data = first;
    if (is_contiguous(t)) return TOMO_OK;
    if (!tomo_size_mul((size_t)t->count, width, &bytes)) return tomo_fail_memory(err, c->path, SIZE_MAX);
    unsigned char *copy = NULL;
    tomo_status status = tomo_store_reserve(c, bytes, &copy, err);
    if (status != TOMO_OK) return status;
    gather(t, width, first, copy);
    *data = copy;
    return TOMO_OK;
}

static tomo_status add_tensor(tomo_checkpoint *c, const char *file, const tomo_pickle_value *key,
                              const tomo_pickle_tensor *t, tomo_torch_source source, tomo_error *err) {
    tomo_stored stored = {.dtype = t->storage->dtype, .rank = t->rank, .count = t->count};
    memcpy(stored.shape, t->shape, sizeof stored.shape);
    if (key->kind != TOMO_PICKLE_TEXT || memchr(key->text.bytes, 0, key->text.size) != NULL) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: a tensor whose name is no text", file);
    }
    const unsigned char *storage = NULL;
    tomo_status status = TOMO_OK;
    if (t->count > 0) {
        status = source.find(source.self, t->storage, &storage, err);
        if (status == TOMO_OK) status = place(c, t, storage, &stored.data, err);
    }
    if (status != TOMO_OK) return status;
    char *name = strndup((const char *)key->text.bytes, key->text.size);
    if (name == NULL) return tomo_fail_memory(err, file, key->text.size);
    stored.name = name;
    status = tomo_store_add(c, &stored, err);
    free(name);
    return status;
}

tomo_status tomo_torch_add_all(tomo_checkpoint *c, const char *file, const tomo_pickle_value *root,
                               tomo_torch_source source, tomo_error *err) {
    const tomo_pickle_value *dict = find_state_dict(root);
    if (dict == NULL) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: no tensors in it; a state dict is wanted", file);
    }
    for (size_t i = 0; i + 1 < dict->list.count; i += 2) {
        const tomo_pickle_value *item = dict->list.items[i + 1];
        if (item->kind != TOMO_PICKLE_TENSOR) continue;
        tomo_status status = add_tensor(c, file, dict->list.items[i], item->tensor, source, err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}
