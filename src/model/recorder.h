/* recorder.h - copies of every stage's output, for tomo trace. */
#ifndef TOMO_MODEL_RECORDER_H
#define TOMO_MODEL_RECORDER_H

#include "tensor/exec.h"

typedef struct tomo_recorder tomo_recorder;

tomo_status tomo_recorder_create(tomo_recorder **recorder, tomo_error *err);
void tomo_recorder_free(tomo_recorder *recorder);

/* Keeps a copy of contiguous elements; an earlier one of that name is replaced. */
tomo_status tomo_recorder_add(tomo_recorder *recorder, const char *name, tomo_dtype dtype, int rank,
                              const int64_t *shape, const void *data, tomo_error *err);
/* The elements of a recorded tensor, to be filled in: `data` NULL in tomo_recorder_add leaves them zero. */
void *tomo_recorder_data(tomo_recorder *recorder, const char *name);
/* ids as I64 [count]. */
tomo_status tomo_recorder_add_ids(tomo_recorder *recorder, const char *name, const int32_t *ids, size_t count,
                                  tomo_error *err);
/* One safetensors file. */
tomo_status tomo_recorder_write(const tomo_recorder *recorder, const char *path, tomo_error *err);

#endif
