/* checkpoint.h - a set of named tensors from a file or folder, whatever wrote it.
 *
 * Read: safetensors (one file, or shards with model.safetensors.index.json) and PyTorch .bin (zip and legacy
 * format) by a restricted unpickler that knows tensors only and runs nothing. Files are mapped; a tensor
 * points into the mapping where it lies there contiguous and aligned, and into memory of the checkpoint
 * otherwise. */
#ifndef TOMO_WEIGHTS_CHECKPOINT_H
#define TOMO_WEIGHTS_CHECKPOINT_H

#include "base/dtype.h"
#include "base/limits.h"
#include "base/status.h"

/* One tensor as stored: C order, contiguous, little endian, aligned to its element size. Owned by the
 * checkpoint. */
typedef struct tomo_stored {
    const char *name;
    tomo_dtype dtype;
    int rank;
    int64_t shape[TOMO_LIMIT_RANK];
    int64_t count; /* elements */
    const void *data;
} tomo_stored;

typedef struct tomo_checkpoint tomo_checkpoint;

/* path: a file (by its content: safetensors, zip or legacy pickle), or a folder, in which the first of these
 * is taken: model.safetensors, model.safetensors.index.json, open_clip_model.safetensors,
 * open_clip_pytorch_model.bin, pytorch_model.bin, pytorch_model.bin.index.json. */
tomo_status tomo_checkpoint_open(const char *path, tomo_checkpoint **checkpoint, tomo_error *err);
/* The same from the bytes of one file, which must outlive the checkpoint; `name` is used in messages. */
tomo_status tomo_checkpoint_open_memory(const char *name, const void *bytes, size_t size,
                                        tomo_checkpoint **checkpoint, tomo_error *err);
void tomo_checkpoint_free(tomo_checkpoint *checkpoint);

/* In the order of names, sorted. */
size_t tomo_checkpoint_count(const tomo_checkpoint *checkpoint);
const tomo_stored *tomo_checkpoint_at(const tomo_checkpoint *checkpoint, size_t index);
/* NULL when there is none of that name. */
const tomo_stored *tomo_checkpoint_find(const tomo_checkpoint *checkpoint, const char *name);
/* The same for a tensor that must be there: a message says that it is missing (TOMO_E_HEADER) or of an
 * element type that is not read, such as F8_E4M3 (TOMO_E_UNSUPPORTED; such a tensor is neither counted nor
 * found). */
tomo_status tomo_checkpoint_need(const tomo_checkpoint *checkpoint, const char *name,
                                 const tomo_stored **tensor, tomo_error *err);
/* The file or folder that was opened, for messages. */
const char *tomo_checkpoint_path(const tomo_checkpoint *checkpoint);

/* Tells the system that a tensor will not be read again soon (its values are packed elsewhere): the memory of
 * the pages that it alone fills is given back. Reading it later is correct and slow. */
void tomo_checkpoint_release(const tomo_checkpoint *checkpoint, const tomo_stored *tensor);

/* Writes tensors (in the order given) as one safetensors file, atomically. metadata: key, value, key, value,
 * ..., NULL; or NULL. */
tomo_status tomo_safetensors_write(const char *path, const tomo_stored *tensors, size_t count,
                                   const char *const *metadata, tomo_error *err);

#endif
