/* PyTorch's format before 1.6: five pickles in a row (a magic number, a version, facts about the machine, the
 * object, the keys of its storages), then each storage as an element count and its bytes. */
#include "weights/torch.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

#define LEGACY_VERSION 1001

/* One storage of the file. */
typedef struct block {
    const unsigned char *key;
    size_t key_size;
    const tomo_pickle_storage *storage; /* as the object's pickle describes it */
    const unsigned char *data;          /* aligned to its elements */
} block;

typedef struct legacy {
    tomo_checkpoint *checkpoint;
    const char *file;
    const unsigned char *at, *end;
    tomo_arena *arena;
    block *blocks; /* one for each key, sorted by key */
    size_t count;
} legacy;

static tomo_status bad(const legacy *l, const char *what, tomo_error *err) {
    return tomo_fail(err, TOMO_E_FORMAT, "%s: damaged checkpoint: %s", l->file, what);
}

static tomo_status next_pickle(legacy *l, tomo_pickle *pickle, tomo_error *err) {
    tomo_status status = tomo_pickle_read(l->file, l->at, (size_t)(l->end - l->at), l->arena, pickle, err);
    l->at += pickle->consumed;
    return status;
}

static bool is_magic(const tomo_pickle_value *value) {
    /* 0x1950a86a20f9469cfc6c, torch.serialization.MAGIC_NUMBER */
    static const unsigned char magic[] = {0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19};
    return value->kind == TOMO_PICKLE_BYTES && value->text.size == sizeof magic &&
           memcmp(value->text.bytes, magic, sizeof magic) == 0;
}

static tomo_status read_head(legacy *l, tomo_error *err) {
    tomo_pickle pickle;
    tomo_status status = next_pickle(l, &pickle, err);
    if (status != TOMO_OK) return status;
    if (!is_magic(pickle.root)) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: a pickle, but not of PyTorch; a checkpoint is wanted",
                         l->file);
    }
    status = next_pickle(l, &pickle, err);
    if (status != TOMO_OK) return status;
    if (pickle.root->kind != TOMO_PICKLE_INT || pickle.root->number != LEGACY_VERSION) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: an unknown version of PyTorch's format; %d is read",
                         l->file, LEGACY_VERSION);
    }
    status = next_pickle(l, &pickle, err);
    if (status != TOMO_OK) return status;
    const tomo_pickle_value *little = tomo_pickle_get(pickle.root, "little_endian");
    if (little != NULL && little->kind == TOMO_PICKLE_BOOL && little->number == 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: big endian; little endian is wanted", l->file);
    }
    return TOMO_OK;
}

static int by_key(const void *a, const void *b) {
    const block *x = a, *y = b;
    size_t common = x->key_size < y->key_size ? x->key_size : y->key_size;
    int order = common == 0 ? 0 : memcmp(x->key, y->key, common);
    if (order != 0) return order;
    return x->key_size < y->key_size ? -1 : x->key_size > y->key_size;
}

/* One block for each key among the storages; the same key must mean the same storage each time. */
static tomo_status list_blocks(legacy *l, const tomo_pickle *object, tomo_error *err) {
    size_t count = object->storage_count, kept = 0;
    l->blocks = calloc(count + 1, sizeof *l->blocks);
    if (l->blocks == NULL) return tomo_fail_memory(err, l->file, (count + 1) * sizeof *l->blocks);
    for (const tomo_pickle_storage *s = object->storages; s != NULL; s = s->next) {
        l->blocks[l->count++] = (block){s->key, s->key_size, s, NULL};
    }
    if (count > 1) qsort(l->blocks, count, sizeof *l->blocks, by_key);
    for (size_t i = 0; i < count; i++) {
        const block *last = kept == 0 ? NULL : &l->blocks[kept - 1];
        if (last == NULL || by_key(last, &l->blocks[i]) != 0) {
            l->blocks[kept++] = l->blocks[i];
        } else if (last->storage->dtype != l->blocks[i].storage->dtype ||
                   last->storage->count != l->blocks[i].storage->count) {
            return bad(l, "one storage with two descriptions", err);
        }
    }
    l->count = kept;
    return TOMO_OK;
}

static block *find_block(const legacy *l, const unsigned char *key, size_t key_size) {
    block wanted = {.key = key, .key_size = key_size};
    return l->count == 0 ? NULL : bsearch(&wanted, l->blocks, l->count, sizeof *l->blocks, by_key);
}

/* An int64 element count, then the elements. */
static tomo_status read_block(legacy *l, block *b, tomo_error *err) {
    size_t bytes = 0;
    uint64_t count = 0;
    if ((size_t)(l->end - l->at) < 8) {
        return tomo_fail(err, TOMO_E_TRUNCATED, "%s: ends before its last storage", l->file);
    }
    for (int i = 7; i >= 0; i--) count = count << 8 | l->at[i];
    l->at += 8;
    if (count != (uint64_t)b->storage->count) return bad(l, "a storage with two sizes", err);
    if (!tomo_torch_storage_bytes(b->storage, &bytes) || bytes > (size_t)(l->end - l->at)) {
        return tomo_fail(
            err, TOMO_E_TRUNCATED, "%s: a storage of %lld elements of %s, but %zu bytes are left", l->file,
            (long long)b->storage->count, tomo_dtype_name(b->storage->dtype), (size_t)(l->end - l->at));
    }
    b->data = l->at;
    l->at += bytes;
    return tomo_store_align(l->checkpoint, &b->data, bytes, tomo_dtype_size(b->storage->dtype), err);
}

static tomo_status read_blocks(legacy *l, const tomo_pickle_value *keys, tomo_error *err) {
    if (keys->kind != TOMO_PICKLE_LIST) return bad(l, "no list of storages", err);
    for (size_t i = 0; i < keys->list.count; i++) {
        const tomo_pickle_value *key = keys->list.items[i];
        block *b = key->kind == TOMO_PICKLE_TEXT ? find_block(l, key->text.bytes, key->text.size) : NULL;
        if (b == NULL || b->data != NULL) return bad(l, "a storage that nothing describes, or twice", err);
        tomo_status status = read_block(l, b, err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

static tomo_status find_storage(void *self, const tomo_pickle_storage *storage, const unsigned char **data,
                                tomo_error *err) {
    const legacy *l = self;
    const block *b = find_block(l, storage->key, storage->key_size);
    if (b == NULL || b->data == NULL) return bad(l, "a tensor without its storage", err);
    *data = b->data;
    return TOMO_OK;
}

static tomo_status read_all(legacy *l, tomo_error *err) {
    tomo_pickle object, keys;
    tomo_status status = read_head(l, err);
    if (status == TOMO_OK) status = next_pickle(l, &object, err);
    if (status == TOMO_OK) status = next_pickle(l, &keys, err);
    if (status == TOMO_OK) status = list_blocks(l, &object, err);
    if (status == TOMO_OK) status = read_blocks(l, keys.root, err);
    tomo_torch_source source = {find_storage, l};
    if (status == TOMO_OK) status = tomo_torch_add_all(l->checkpoint, l->file, object.root, source, err);
    return status;
}

tomo_status tomo_torch_legacy_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes,
                                   size_t size, tomo_error *err) {
    tomo_arena *arena = tomo_arena_create(0);
    if (arena == NULL) return tomo_fail_memory(err, file, sizeof(tomo_pickle_value));
    legacy l = {.checkpoint = c, .file = file, .at = bytes, .end = bytes + size, .arena = arena};
    tomo_status status = read_all(&l, err);
    free(l.blocks);
    tomo_arena_free(arena);
    return status;
}
