/* gguf_write.h - writing GGUF files (version 3). */
#ifndef TOMO_WEIGHTS_GGUF_WRITE_H
#define TOMO_WEIGHTS_GGUF_WRITE_H

#include "base/dtype.h"
#include "base/json.h"
#include "base/limits.h"

/* One tensor; shape slowest axis first, as everywhere here. */
typedef struct tomo_gguf_tensor {
    const char *name;
    tomo_dtype dtype;
    int rank;
    int64_t shape[TOMO_LIMIT_RANK];
} tomo_gguf_tensor;

/* Hands out the bytes of tensor `index`, valid until the next call. */
typedef tomo_status (*tomo_gguf_fill_fn)(void *user, size_t index, const void **bytes, tomo_error *err);

/* metadata: a flat object of texts, booleans, numbers and lists of texts or numbers. Whole numbers become
 * 32-bit unsigned (in lists signed), keys that end in "_epsilon", "_base" or "_factor" 32-bit floats. Written
 * whole or not at all. */
tomo_status tomo_gguf_write(const char *path, const cJSON *metadata, const tomo_gguf_tensor *tensors,
                            size_t count, tomo_gguf_fill_fn fill, void *user, tomo_error *err);

/* GGUF's name of a tensor of the downloaded form, into name[128]; false: it has none. */
bool tomo_gguf_tensor_name(const char *downloaded, char *name);

#endif
