/* torch.h - from an unpickled state dict to tensors of a checkpoint. Private to src/weights. */
#ifndef TOMO_WEIGHTS_TORCH_H
#define TOMO_WEIGHTS_TORCH_H

#include "weights/pickle.h"
#include "weights/store.h"

/* Finds the bytes of a storage: aligned to its element size, and at least as many as it claims. */
typedef struct tomo_torch_source {
    tomo_status (*find)(void *self, const tomo_pickle_storage *storage, const unsigned char **data,
                        tomo_error *err);
    void *self;
} tomo_torch_source;

/* Adds every tensor of the state dict that `root` is or holds (see torch_tensors.c) to the checkpoint. */
tomo_status tomo_torch_add_all(tomo_checkpoint *c, const char *file, const tomo_pickle_value *root,
                               tomo_torch_source source, tomo_error *err);

/* Bytes of a storage; false when that does not fit. */
bool tomo_torch_storage_bytes(const tomo_pickle_storage *storage, size_t *bytes);

#endif
