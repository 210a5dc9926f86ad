#include "model/recorder.h"

#include "base/size.h"
#include "weights/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST 64

struct tomo_recorder {
    tomo_stored tensors[MOST];
    char names[MOST][64];
    size_t count;
};

tomo_status tomo_recorder_create(tomo_recorder **recorder, tomo_error *err) {
    *recorder = calloc(1, sizeof **recorder);
    return *recorder == NULL ? tomo_fail_memory(err, "trace", sizeof **recorder) : TOMO_OK;
}

void tomo_recorder_free(tomo_recorder *r) {
    if (r == NULL) return;
    for (size_t i = 0; i < r->count; i++) free((void *)(uintptr_t)r->tensors[i].data);
    free(r);
}

static tomo_stored *find(tomo_recorder *r, const char *name) {
    for (size_t i = 0; i < r->count; i++) {
        if (strcmp(r->names[i], name) == 0) return &r->tensors[i];
    }
    return NULL;
}

tomo_status tomo_recorder_add(tomo_recorder *r, const char *name, tomo_dtype dtype, int rank,
                              const int64_t *shape, const void *data, tomo_error *err) {
    int64_t count;
    size_t bytes;
    if (!tomo_shape_count(shape, rank, &count) ||
        !tomo_size_mul((size_t)count, tomo_dtype_size(dtype), &bytes)) {
        return tomo_fail(err, TOMO_E_LIMIT, "trace: \"%s\" is too large", name);
    }
    tomo_stored *t = find(r, name);
    if (t == NULL && r->count == MOST)
        return tomo_fail(err, TOMO_E_INTERNAL, "trace: more than %d tensors", MOST);
    void *copy = calloc(1, bytes > 0 ? bytes : 1);
    if (copy == NULL) return tomo_fail_memory(err, "trace", bytes);
    if (data != NULL && bytes > 0) memcpy(copy, data, bytes);
    if (t == NULL) {
        (void)snprintf(r->names[r->count], sizeof r->names[0], "%s", name);
        t = &r->tensors[r->count];
        t->name = r->names[r->count++];
    } else {
        free((void *)(uintptr_t)t->data);
    }
    t->dtype = dtype;
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    t->count = count;
    t->data = copy;
    return TOMO_OK;
}

void *tomo_recorder_data(tomo_recorder *r, const char *name) {
    tomo_stored *t = find(r, name);
    return t == NULL ? NULL : (void *)(uintptr_t)t->data;
}

tomo_status tomo_recorder_add_ids(tomo_recorder *r, const char *name, const int32_t *ids, size_t count,
                                  tomo_error *err) {
    int64_t shape = (int64_t)count;
    tomo_status status = tomo_recorder_add(r, name, TOMO_I64, 1, &shape, NULL, err);
    if (status != TOMO_OK) return status;
    int64_t *wide = tomo_recorder_data(r, name);
    for (size_t i = 0; i < count; i++) wide[i] = ids[i];
    return TOMO_OK;
}

tomo_status tomo_recorder_write(const tomo_recorder *r, const char *path, tomo_error *err) {
    return tomo_safetensors_write(path, r->tensors, r->count, NULL, err);
}
