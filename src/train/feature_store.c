/* feature_store.c - an entry is FOLDER/ab/KEY.features, ab being the key's first two digits. FOLDER/size
 * holds the entries' total in 8 bytes and is the lock of everything that changes it. */
#include "train/feature_store.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/size.h"
#include "base/text.h"
#include "tensor/kernels.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Entries go until this part of the limit is left, so that not every put has to look at all of them. */
#define KEEP_PART 0.9
/* Temporary files of processes that died; a put takes far less than an hour. */
#define STALE_SECONDS 3600

static const char magic[8] = {'T', 'O', 'M', 'O', 'F', 'E', 'A', '2'};

/* After the magic: these (the distance of slices as the bits of a double), kept [K], kept_z [K] as int64, the
 * values, and the SHA-256 of all before. */
enum { FIELD_LAYERS, FIELD_KEPT, FIELD_HEIGHT, FIELD_WIDTH, FIELD_CHANNELS, FIELD_SLICES, FIELD_MM, FIELDS };

struct tomo_feature_store {
    char *folder;
    int64_t limit;
    int fd;                /* of FOLDER/size */
    pthread_mutex_t mutex; /* a file lock holds off other processes alone */
};

bool tomo_features_count(const tomo_features *f, int64_t *count) {
    const int64_t shape[] = {f->layers, f->kept_count, f->grid[0], f->grid[1], f->width};
    for (int i = 0; i < 5; i++) {
        if (shape[i] <= 0) return false;
    }
    return tomo_shape_count(shape, 5, count) && *count <= INT64_MAX / 8;
}

/* FOLDER/ab, or FOLDER/ab/KEY.features; freed by free. */
static char *entry_path(const tomo_feature_store *s, const char *key, bool folder) {
    char *path = NULL;
    int n = folder ? asprintf(&path, "%s/%.2s", s->folder, key)
                   : asprintf(&path, "%s/%.2s/%s.features", s->folder, key, key);
    return n < 0 ? NULL : path;
}

/* ------------------------------------------------------------------------------ the lock */

static tomo_status lock(tomo_feature_store *s, tomo_error *err) {
    (void)pthread_mutex_lock(&s->mutex);
    int done;
    do {
        done = flock(s->fd, LOCK_EX);
    } while (done != 0 && errno == EINTR);
    if (done == 0) return TOMO_OK;
    tomo_status status = tomo_fail_errno(err, s->folder, "lock the cache");
    (void)pthread_mutex_unlock(&s->mutex);
    return status;
}

static void unlock(tomo_feature_store *s) {
    (void)flock(s->fd, LOCK_UN);
    (void)pthread_mutex_unlock(&s->mutex);
}

static int64_t read_total(const tomo_feature_store *s) {
    int64_t total = 0;
    return pread(s->fd, &total, sizeof total, 0) == (ssize_t)sizeof total && total > 0 ? total : 0;
}

/* Whoever opens the cache next counts again, so a failure here is no harm. */
static void write_total(const tomo_feature_store *s, int64_t total) {
    (void)!pwrite(s->fd, &total, sizeof total, 0);
}

/* ------------------------------------------------------------------------------ all entries */

typedef struct entry {
    char *path;
    int64_t bytes;
    struct timespec used;
} entry;

typedef struct entry_list {
    entry *items;
    size_t count, capacity;
    int64_t bytes;
    bool failed; /* out of memory */
} entry_list;

static void free_list(entry_list *list) {
    for (size_t i = 0; i < list->count; i++) free(list->items[i].path);
    free(list->items);
}

/* Takes over path. */
static void see_file(entry_list *list, char *path) {
    struct stat info;
    bool keep = false;
    if (path != NULL && stat(path, &info) == 0 && S_ISREG(info.st_mode)) {
        if (tomo_ends_with(path, ".part") && time(NULL) - info.st_mtime > STALE_SECONDS) (void)unlink(path);
        keep = tomo_ends_with(path, ".features");
    }
    if (keep && list->count == list->capacity) {
        size_t capacity = list->capacity * 2 + 64;
        entry *items = realloc(list->items, capacity * sizeof *items);
        if (items == NULL) {
            list->failed = true;
            keep = false;
        } else {
            list->items = items;
            list->capacity = capacity;
        }
    }
    if (!keep) {
        free(path);
        return;
    }
    list->items[list->count++] = (entry){path, (int64_t)info.st_size, info.st_mtim};
    list->bytes += (int64_t)info.st_size;
}

static void see_folder(entry_list *list, const char *folder, int depth) {
    DIR *stream = opendir(folder);
    if (stream == NULL) return;
    for (const struct dirent *e; (e = readdir(stream)) != NULL;) {
        if (e->d_name[0] == '.') continue;
        char *path = tomo_path_join(folder, e->d_name);
        if (path != NULL && depth == 0 && strlen(e->d_name) == 2) {
            see_folder(list, path, 1);
            free(path);
        } else {
            see_file(list, path);
        }
    }
    (void)closedir(stream);
}

static int oldest_first(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->used.tv_sec != y->used.tv_sec) return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
    if (x->used.tv_nsec != y->used.tv_nsec) return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
    return strcmp(x->path, y->path);
}

/* Counts anew and, over the limit, deletes what was not used for the longest time. */
static void tidy(tomo_feature_store *s, int64_t *evicted) {
    entry_list list = {0};
    see_folder(&list, s->folder, 0);
    if (s->limit > 0 && list.bytes > s->limit) {
        qsort(list.items, list.count, sizeof *list.items, oldest_first);
        int64_t least = (int64_t)((double)s->limit * KEEP_PART);
        for (size_t i = 0; i < list.count && list.bytes > least; i++) {
            if (unlink(list.items[i].path) != 0 && errno != ENOENT) continue;
            list.bytes -= list.items[i].bytes;
            (*evicted)++;
        }
    }
    if (!list.failed) write_total(s, list.bytes);
    free_list(&list);
}

/* ------------------------------------------------------------------------------ opening */

static tomo_status open_size(tomo_feature_store *s, tomo_error *err) {
    char *path = tomo_path_join(s->folder, "size");
    if (path == NULL) return tomo_fail_memory(err, s->folder, 0);
    s->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    tomo_status status = s->fd < 0 ? tomo_fail_errno(err, path, "open") : TOMO_OK;
    free(path);
    return status;
}

tomo_status tomo_feature_store_open(const char *folder, int64_t limit_bytes, tomo_feature_store **store,
                                    tomo_error *err) {
    tomo_feature_store *s = calloc(1, sizeof *s);
    *store = NULL;
    if (s == NULL) return tomo_fail_memory(err, folder, sizeof *s);
    *s = (tomo_feature_store){.limit = limit_bytes, .fd = -1, .folder = strdup(folder)};
    (void)pthread_mutex_init(&s->mutex, NULL);
    tomo_status status =
        s->folder == NULL ? tomo_fail_memory(err, folder, 0) : tomo_make_folders(folder, err);
    if (status == TOMO_OK) status = open_size(s, err);
    if (status == TOMO_OK) status = lock(s, err);
    if (status != TOMO_OK) {
        tomo_feature_store_free(s);
        return status;
    }
    int64_t evicted = 0;
    tidy(s, &evicted);
    unlock(s);
    *store = s;
    return TOMO_OK;
}

void tomo_feature_store_free(tomo_feature_store *store) {
    if (store == NULL) return;
    if (store->fd >= 0) (void)close(store->fd);
    (void)pthread_mutex_destroy(&store->mutex);
    free(store->folder);
    free(store);
}

/* ------------------------------------------------------------------------------ reading */

/* Bytes of an entry of this shape; false when it makes no sense. */
static bool entry_bytes(const tomo_features *f, size_t *bytes) {
    int64_t count = 0;
    if (!tomo_features_count(f, &count) || f->slices < f->kept_count) return false;
    size_t lists = 0, values = 0;
    if (!tomo_size_mul((size_t)f->kept_count, 2 * sizeof(int64_t), &lists)) return false;
    if (!tomo_size_mul((size_t)count, sizeof(uint16_t), &values)) return false;
    return tomo_size_add(lists, values, bytes) &&
           tomo_size_add(*bytes, sizeof magic + FIELDS * sizeof(int64_t) + TOMO_DIGEST_BYTES, bytes);
}

static bool checksum_agrees(const tomo_map *map) {
    tomo_digest *digest = NULL;
    unsigned char want[TOMO_DIGEST_BYTES];
    if (tomo_digest_create(&digest, NULL) != TOMO_OK) return false;
    tomo_digest_add(digest, map->data, map->size - TOMO_DIGEST_BYTES);
    tomo_digest_bytes(digest, want);
    tomo_digest_free(digest);
    return memcmp(want, map->data + map->size - TOMO_DIGEST_BYTES, TOMO_DIGEST_BYTES) == 0;
}

/* The shape, once the entry is known to be whole. */
static bool read_head(const tomo_map *map, tomo_features *f) {
    int64_t fields[FIELDS];
    size_t bytes = 0;
    if (map->size < sizeof magic + sizeof fields || memcmp(map->data, magic, sizeof magic) != 0) return false;
    memcpy(fields, map->data + sizeof magic, sizeof fields);
    *f = (tomo_features){.layers = fields[FIELD_LAYERS],
                         .kept_count = fields[FIELD_KEPT],
                         .grid = {fields[FIELD_HEIGHT], fields[FIELD_WIDTH]},
                         .width = fields[FIELD_CHANNELS],
                         .slices = fields[FIELD_SLICES]};
    memcpy(&f->slice_mm, &fields[FIELD_MM], sizeof f->slice_mm);
    return entry_bytes(f, &bytes) && bytes == map->size && checksum_agrees(map);
}

static tomo_status read_entry(const tomo_map *map, tomo_features *f, tomo_error *err) {
    int64_t count = 0;
    size_t list = (size_t)f->kept_count * sizeof(int64_t);
    const unsigned char *at = map->data + sizeof magic + FIELDS * sizeof(int64_t);
    (void)tomo_features_count(f, &count);
    f->kept = malloc(list);
    f->kept_z = malloc(list);
    f->values = malloc((size_t)count * sizeof *f->values);
    if (f->kept == NULL || f->kept_z == NULL || f->values == NULL) {
        tomo_features_free(f);
        return tomo_fail_memory(err, "features", (size_t)count * sizeof *f->values);
    }
    memcpy(f->kept, at, list);
    memcpy(f->kept_z, at + list, list);
    at += 2 * list;
    for (int64_t i = 0; i < count; i++, at += sizeof(uint16_t)) {
        uint16_t x;
        memcpy(&x, at, sizeof x);
        f->values[i] = tomo_bf16_to_float(x);
    }
    return TOMO_OK;
}

tomo_status tomo_feature_store_get(tomo_feature_store *s, const char key[TOMO_DIGEST_TEXT],
                                   tomo_features *features, tomo_lookup *found, tomo_error *err) {
    tomo_map map = {0};
    tomo_features f = {0};
    char *path = entry_path(s, key, false);
    tomo_status status = TOMO_OK;
    *found = TOMO_LOOKUP_MISS;
    if (path == NULL) return tomo_fail_memory(err, "cache", 0);
    if (tomo_map_open(path, &map, NULL) == TOMO_OK) {
        if (read_head(&map, &f)) {
            status = read_entry(&map, &f, err);
            *found = TOMO_LOOKUP_HIT;
            (void)utimensat(AT_FDCWD, path, NULL, 0);
        } else {
            *found = TOMO_LOOKUP_DAMAGED;
            (void)unlink(path);
        }
        tomo_map_close(&map);
    }
    free(path);
    if (status == TOMO_OK && *found == TOMO_LOOKUP_HIT) *features = f;
    return status;
}

/* ------------------------------------------------------------------------------ writing */

static tomo_status write_part(tomo_writer *w, tomo_digest *digest, const void *bytes, size_t size,
                              tomo_error *err) {
    tomo_digest_add(digest, bytes, size);
    return tomo_writer_write(w, bytes, size, err);
}

static tomo_status write_entry(tomo_writer *w, const tomo_features *f, const uint16_t *values,
                               tomo_error *err) {
    tomo_digest *digest = NULL;
    unsigned char sum[TOMO_DIGEST_BYTES];
    int64_t fields[FIELDS] = {f->layers, f->kept_count, f->grid[0], f->grid[1], f->width, f->slices},
            count = 0;
    memcpy(&fields[FIELD_MM], &f->slice_mm, sizeof f->slice_mm);
    size_t list = (size_t)f->kept_count * sizeof(int64_t);
    tomo_status status = tomo_digest_create(&digest, err);
    if (status != TOMO_OK) return status;
    (void)tomo_features_count(f, &count);
    const struct {
        const void *bytes;
        size_t size;
    } parts[] = {{magic, sizeof magic},
                 {fields, sizeof fields},
                 {f->kept, list},
                 {f->kept_z, list},
                 {values, (size_t)count * sizeof *values}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && status == TOMO_OK; i++) {
        status = write_part(w, digest, parts[i].bytes, parts[i].size, err);
    }
    tomo_digest_bytes(digest, sum);
    tomo_digest_free(digest);
    return status == TOMO_OK ? tomo_writer_write(w, sum, sizeof sum, err) : status;
}

/* Under the lock: the entry takes its place and is counted. Ends the writer. */
static tomo_status place_entry(tomo_feature_store *s, tomo_writer *w, const char *path, int64_t bytes,
                               int64_t *evicted, tomo_error *err) {
    struct stat old;
    tomo_status status = lock(s, err);
    if (status != TOMO_OK) {
        tomo_writer_abort(w);
        return status;
    }
    int64_t total = read_total(s) + bytes - (stat(path, &old) == 0 ? (int64_t)old.st_size : 0);
    status = tomo_writer_commit(w, err);
    if (status == TOMO_OK) {
        write_total(s, total);
        if (s->limit > 0 && total > s->limit) tidy(s, evicted);
    }
    unlock(s);
    return status;
}

tomo_status tomo_feature_store_put(tomo_feature_store *s, const char key[TOMO_DIGEST_TEXT],
                                   const tomo_features *features, const uint16_t *values, int64_t *evicted,
                                   tomo_error *err) {
    char *folder = entry_path(s, key, true), *path = entry_path(s, key, false);
    tomo_writer *w = NULL;
    size_t bytes = 0;
    tomo_status status = TOMO_OK;
    if (folder == NULL || path == NULL) {
        status = tomo_fail_memory(err, "cache", 0);
    } else if (!entry_bytes(features, &bytes)) {
        status = tomo_fail(err, TOMO_E_INTERNAL, "features of a shape that makes no sense");
    } else if (mkdir(folder, 0777) != 0 && errno != EEXIST) {
        status = tomo_fail_errno(err, folder, "make the folder");
    }
    if (status == TOMO_OK) status = tomo_writer_open(path, &w, err);
    if (status == TOMO_OK) {
        status = write_entry(w, features, values, err);
        if (status == TOMO_OK) {
            status = place_entry(s, w, path, (int64_t)bytes, evicted, err);
        } else {
            tomo_writer_abort(w);
        }
    }
    free(folder);
    free(path);
    return status;
}
