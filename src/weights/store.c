#include "weights/store.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What may be copied beyond twice the mapped bytes: small tensors that views repeat (stride 0). */
#define COPY_ALLOWANCE ((size_t)64 << 20)

tomo_status tomo_store_create(const char *path, tomo_checkpoint **checkpoint, tomo_error *err) {
    *checkpoint = NULL;
    tomo_checkpoint *c = calloc(1, sizeof *c);
    if (c == NULL) return tomo_fail_memory(err, path, sizeof *c);
    c->path = strdup(path);
    c->arena = tomo_arena_create(0);
    c->copy_limit = COPY_ALLOWANCE;
    if (c->path == NULL || c->arena == NULL) {
        tomo_checkpoint_free(c);
        return tomo_fail_memory(err, path, strlen(path) + 1);
    }
    *checkpoint = c;
    return TOMO_OK;
}

void tomo_checkpoint_free(tomo_checkpoint *c) {
    if (c == NULL) return;
    for (size_t i = 0; i < c->map_count; i++) tomo_map_close(&c->maps[i]);
    free(c->maps);
    free(c->tensors);
    free(c->unread);
    tomo_arena_free(c->arena);
    free(c->path);
    free(c);
}

tomo_status tomo_store_map(tomo_checkpoint *c, const char *file, tomo_map *map, tomo_error *err) {
    tomo_map *maps = realloc(c->maps, (c->map_count + 1) * sizeof *maps);
    if (maps == NULL) return tomo_fail_memory(err, file, (c->map_count + 1) * sizeof *maps);
    c->maps = maps;
    tomo_status status = tomo_map_open(file, map, err);
    if (status == TOMO_OK) c->maps[c->map_count++] = *map;
    return status;
}

/* Room for one more item in an array that doubles. */
static bool grow(void **items, size_t count, size_t *capacity, size_t item_size) {
    if (count < *capacity) return true;
    size_t wanted = *capacity == 0 ? 64 : *capacity * 2, bytes;
    if (!tomo_size_mul(wanted, item_size, &bytes)) return false;
    void *grown = realloc(*items, bytes);
    if (grown == NULL) return false;
    *items = grown;
    *capacity = wanted;
    return true;
}

static const char *keep_text(tomo_checkpoint *c, const char *text) {
    size_t size = strlen(text) + 1;
    char *kept = tomo_arena_alloc(c->arena, size);
    if (kept != NULL) memcpy(kept, text, size);
    return kept;
}

static tomo_status too_many(const tomo_checkpoint *c, tomo_error *err) {
    return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %d tensors; at most that many are read", c->path,
                     TOMO_LIMIT_TENSORS);
}

tomo_status tomo_store_add(tomo_checkpoint *c, const tomo_stored *tensor, tomo_error *err) {
    static const uint64_t nothing; /* what the data of an empty tensor point to: never NULL */
    if (c->count >= TOMO_LIMIT_TENSORS) return too_many(c, err);
    tomo_stored kept = *tensor;
    kept.name = keep_text(c, tensor->name);
    if (kept.count == 0) kept.data = &nothing;
    void *items = c->tensors;
    bool room = grow(&items, c->count, &c->capacity, sizeof *c->tensors);
    c->tensors = items;
    if (kept.name == NULL || !room) return tomo_fail_memory(err, c->path, sizeof *c->tensors);
    c->tensors[c->count++] = kept;
    return TOMO_OK;
}

tomo_status tomo_store_add_unread(tomo_checkpoint *c, const char *name, const char *type, tomo_error *err) {
    if (c->unread_count >= TOMO_LIMIT_TENSORS) return too_many(c, err);
    tomo_unread kept = {keep_text(c, name), keep_text(c, type)};
    void *items = c->unread;
    bool room = grow(&items, c->unread_count, &c->unread_capacity, sizeof *c->unread);
    c->unread = items;
    if (kept.name == NULL || kept.type == NULL || !room) return tomo_fail_memory(err, c->path, sizeof kept);
    c->unread[c->unread_count++] = kept;
    return TOMO_OK;
}

tomo_status tomo_store_reserve(tomo_checkpoint *c, size_t bytes, unsigned char **memory, tomo_error *err) {
    if (bytes > c->copy_limit - c->copied) {
        return tomo_fail(err, TOMO_E_LIMIT,
                         "%s: its tensors need more than %zu bytes outside the file; at most that is held",
                         c->path, c->copy_limit);
    }
    *memory = tomo_arena_alloc(c->arena, bytes);
    if (*memory == NULL) return tomo_fail_memory(err, c->path, bytes);
    c->copied += bytes;
    return TOMO_OK;
}

tomo_status tomo_store_align(tomo_checkpoint *c, const unsigned char **data, size_t bytes, size_t alignment,
                             tomo_error *err) {
    if (((uintptr_t)*data & (alignment - 1)) == 0) return TOMO_OK;
    unsigned char *copy = NULL;
    tomo_status status = tomo_store_reserve(c, bytes, &copy, err);
    if (status != TOMO_OK) return status;
    memcpy(copy, *data, bytes);
    *data = copy;
    return TOMO_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const tomo_stored *)a)->name, ((const tomo_stored *)b)->name);
}

static int unread_by_name(const void *a, const void *b) {
    return strcmp(((const tomo_unread *)a)->name, ((const tomo_unread *)b)->name);
}

tomo_status tomo_store_finish(tomo_checkpoint *c, const char *file, tomo_error *err) {
    if (c->count > 1) qsort(c->tensors, c->count, sizeof *c->tensors, by_name);
    if (c->unread_count > 1) qsort(c->unread, c->unread_count, sizeof *c->unread, unread_by_name);
    for (size_t i = 1; i < c->count; i++) {
        if (strcmp(c->tensors[i - 1].name, c->tensors[i].name) == 0) {
            return tomo_fail(err, TOMO_E_FORMAT, "%s: tensor \"%.*s\" is there twice; once is wanted", file,
                             TOMO_NAME_SHOWN, c->tensors[i].name);
        }
    }
    return TOMO_OK;
}

size_t tomo_checkpoint_count(const tomo_checkpoint *c) {
    return c->count;
}

const tomo_stored *tomo_checkpoint_at(const tomo_checkpoint *c, size_t index) {
    return index < c->count ? &c->tensors[index] : NULL;
}

const tomo_stored *tomo_checkpoint_find(const tomo_checkpoint *c, const char *name) {
    tomo_stored key = {.name = name};
    return c->count == 0 ? NULL : bsearch(&key, c->tensors, c->count, sizeof *c->tensors, by_name);
}

tomo_status tomo_checkpoint_need(const tomo_checkpoint *c, const char *name, const tomo_stored **tensor,
                                 tomo_error *err) {
    *tensor = tomo_checkpoint_find(c, name);
    if (*tensor != NULL) return TOMO_OK;
    tomo_unread key = {.name = name};
    const tomo_unread *unread =
        c->unread_count == 0 ? NULL : bsearch(&key, c->unread, c->unread_count, sizeof key, unread_by_name);
    if (unread != NULL) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: tensor \"%.*s\" has the type %.40s, which is not read; F32, F16, BF16, F64 or "
                         "an integer type is wanted",
                         c->path, TOMO_NAME_SHOWN, name, unread->type);
    }
    return tomo_fail(err, TOMO_E_HEADER, "%s: tensor \"%.*s\" is missing", c->path, TOMO_NAME_SHOWN, name);
}

const char *tomo_checkpoint_path(const tomo_checkpoint *c) {
    return c->path;
}

void tomo_checkpoint_release(const tomo_checkpoint *c, const tomo_stored *tensor) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t begin = (uintptr_t)tensor->data;
    uintptr_t end = begin + tomo_dtype_bytes(tensor->dtype, tensor->count);
    for (size_t i = 0; i < c->map_count; i++) { /* copies lie in no mapping, and stay */
        uintptr_t map = (uintptr_t)c->maps[i].data;
        if (begin < map || end > map + c->maps[i].size) continue;
        begin = (begin + page - 1) / page * page;
        end = end / page * page;
        if (end > begin) (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        return;
    }
}
