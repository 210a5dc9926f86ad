/* store.h - the table of tensors behind a checkpoint while it is being read. Private to src/weights. */
#ifndef TOMO_WEIGHTS_STORE_H
#define TOMO_WEIGHTS_STORE_H

#include "base/arena.h"
#include "base/file.h"
#include "weights/checkpoint.h"

/* A tensor whose element type is not read: an error for whoever asks for it, not for the file. */
typedef struct tomo_unread {
    const char *name, *type;
} tomo_unread;

struct tomo_checkpoint {
    char *path;
    tomo_arena *arena; /* names, and tensors that cannot stay in a mapping */
    tomo_map *maps;
    size_t map_count;
    tomo_stored *tensors;
    size_t count, capacity;
    tomo_unread *unread;
    size_t unread_count, unread_capacity;
    size_t copied, copy_limit; /* bytes copied out of mappings, and how many may be: hostile files name one
                                  storage many times */
};

tomo_status tomo_store_create(const char *path, tomo_checkpoint **checkpoint, tomo_error *err);

/* Maps a file for as long as the checkpoint lives. */
tomo_status tomo_store_map(tomo_checkpoint *c, const char *file, tomo_map *map, tomo_error *err);

/* Adds a tensor; its name is copied, its data are not. */
tomo_status tomo_store_add(tomo_checkpoint *c, const tomo_stored *tensor, tomo_error *err);
tomo_status tomo_store_add_unread(tomo_checkpoint *c, const char *name, const char *type, tomo_error *err);

/* Uninitialised memory that lives as long as the checkpoint, counted against the limit of copies. */
tomo_status tomo_store_reserve(tomo_checkpoint *c, size_t bytes, unsigned char **memory, tomo_error *err);
/* *data where it is aligned to `alignment` (a power of two), a copy where not. */
tomo_status tomo_store_align(tomo_checkpoint *c, const unsigned char **data, size_t bytes, size_t alignment,
                             tomo_error *err);

/* Sorts by name and refuses names that occur twice. `file` is for the message. */
tomo_status tomo_store_finish(tomo_checkpoint *c, const char *file, tomo_error *err);

/* A name from a file, shortened for messages: %.*s with TOMO_NAME_SHOWN. */
#define TOMO_NAME_SHOWN 120

/* Readers of one file's bytes, which must outlive the checkpoint. `file` is for messages. */
tomo_status tomo_safetensors_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes,
                                  size_t size, tomo_error *err);
tomo_status tomo_torch_zip_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                                tomo_error *err);
tomo_status tomo_torch_legacy_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes,
                                   size_t size, tomo_error *err);
tomo_status tomo_gguf_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                           tomo_error *err);
/* Whichever of the four the bytes are. */
tomo_status tomo_store_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                            tomo_error *err);
/* An index (*.index.json) and the shards that it names, beside it. */
tomo_status tomo_shards_read(tomo_checkpoint *c, const char *index, tomo_error *err);

#endif
