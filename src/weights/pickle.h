/* pickle.h - a restricted unpickler: it builds the values that a PyTorch state dict is made of, in memory of
 * its own, and calls nothing. Protocols 2 to 5. Private to src/weights.
 *
 * Every opcode makes at most one value and nothing is copied that was shared, so memory is bounded by the
 * number of opcodes; no value is walked recursively here. */
#ifndef TOMO_WEIGHTS_PICKLE_H
#define TOMO_WEIGHTS_PICKLE_H

#include "base/arena.h"
#include "base/dtype.h"
#include "base/limits.h"
#include "base/status.h"

typedef enum tomo_pickle_kind {
    TOMO_PICKLE_NONE,
    TOMO_PICKLE_BOOL,
    TOMO_PICKLE_INT,
    TOMO_PICKLE_FLOAT,
    TOMO_PICKLE_TEXT,
    TOMO_PICKLE_BYTES, /* byte strings, and integers too long for int64 (little endian) */
    TOMO_PICKLE_TUPLE,
    TOMO_PICKLE_LIST,
    TOMO_PICKLE_DICT,
    TOMO_PICKLE_GLOBAL,
    TOMO_PICKLE_STORAGE,
    TOMO_PICKLE_TENSOR
} tomo_pickle_kind;

typedef struct tomo_pickle_value tomo_pickle_value;

/* The bytes that tensors share; where they are is for the container to say. */
typedef struct tomo_pickle_storage {
    const unsigned char *key; /* not '\0'-terminated */
    size_t key_size;
    tomo_dtype dtype;
    int64_t count;                          /* elements */
    const struct tomo_pickle_storage *next; /* the one that the pickle named before */
} tomo_pickle_storage;

/* A view of a storage. Checked: every element that it reaches lies in the storage. Offset and strides are in
 * elements. */
typedef struct tomo_pickle_tensor {
    const tomo_pickle_storage *storage;
    int64_t offset, count;
    int rank;
    int64_t shape[TOMO_LIMIT_RANK], stride[TOMO_LIMIT_RANK];
} tomo_pickle_tensor;

struct tomo_pickle_value {
    tomo_pickle_kind kind;
    union {
        int64_t number; /* BOOL, INT */
        double real;
        struct { /* TEXT, BYTES: within the pickle */
            const unsigned char *bytes;
            size_t size;
        } text;
        struct { /* TUPLE, LIST; DICT: key, value, key, value, ... in the order of insertion */
            tomo_pickle_value **items;
            size_t count, capacity;
        } list;
        int global;
        const tomo_pickle_storage *storage;
        const tomo_pickle_tensor *tensor;
    };
};

typedef struct tomo_pickle {
    const tomo_pickle_value *root;
    const tomo_pickle_storage *storages; /* every one that was named, by tensors or not, the last one first */
    size_t storage_count;
    size_t consumed; /* where the pickle ended */
} tomo_pickle;

/* Reads one pickle from the front of bytes[size]; what it holds lives in `arena` and points into bytes.
 * `file` is for messages. */
tomo_status tomo_pickle_read(const char *file, const unsigned char *bytes, size_t size, tomo_arena *arena,
                             tomo_pickle *pickle, tomo_error *err);

/* The value of a text key of a dict (the last one, as in Python), or NULL. */
const tomo_pickle_value *tomo_pickle_get(const tomo_pickle_value *dict, const char *key);

bool tomo_pickle_text_is(const tomo_pickle_value *value, const char *text);

/* The values that stand for tensors, built from what the pickle hands to PyTorch's functions. */
tomo_status tomo_pickle_make_storage(const char *file, const tomo_pickle_value *id, tomo_arena *arena,
                                     tomo_pickle_storage **out, tomo_error *err);
tomo_status tomo_pickle_call(const char *file, int global, tomo_pickle_value *arguments, tomo_arena *arena,
                             tomo_pickle_value **out, tomo_error *err);
/* The number of a global (module, name) that is known, for TOMO_PICKLE_GLOBAL values, or -1. */
int tomo_pickle_global(const char *module, size_t module_size, const char *name, size_t name_size);

#endif
