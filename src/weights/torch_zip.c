/* PyTorch's zip format (since 1.6): FOLDER/data.pkl and one record FOLDER/data/KEY a storage. Records are
 * stored, not compressed, so their bytes are used where they lie in the mapping. */
#include "weights/torch.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

/* Deflate shrinks at most 1032 times; an entry that claims more lies about its size. */
#define LARGEST_RATIO 1100

/* The mapping as libzip reads it. libzip does not say where in the file an entry's bytes begin; `last_read`,
 * the place of the latest read, tells it for entries that are not compressed. */
typedef struct window {
    const unsigned char *bytes;
    zip_uint64_t size, at, last_read;
    zip_error_t error;
} window;

typedef struct archive {
    tomo_checkpoint *checkpoint;
    const char *file;
    window window;
    zip_t *zip;
    const unsigned char **data; /* per entry: its bytes once found, aligned to 8; or NULL */
    zip_uint64_t *sizes;
    zip_uint64_t count;
    size_t expanded;
    char *folder; /* with the '/' */
} archive;

static zip_int64_t window_read(window *w, void *data, zip_uint64_t length) {
    zip_uint64_t left = w->at < w->size ? w->size - w->at : 0;
    if (length > left) length = left;
    if (length > 0) memcpy(data, w->bytes + w->at, (size_t)length);
    w->last_read = w->at;
    w->at += length;
    return (zip_int64_t)length;
}

static zip_int64_t window_seek(window *w, void *data, zip_uint64_t length) {
    zip_int64_t to = zip_source_seek_compute_offset(w->at, w->size, data, length, &w->error);
    if (to < 0) return -1;
    w->at = (zip_uint64_t)to;
    return 0;
}

static zip_int64_t window_stat(const window *w, void *data) {
    zip_stat_t *stat = data;
    zip_stat_init(stat);
    stat->size = w->size;
    stat->valid = ZIP_STAT_SIZE;
    return (zip_int64_t)sizeof *stat;
}

static zip_int64_t window_command(void *user, void *data, zip_uint64_t length, zip_source_cmd_t command) {
    window *w = user;
    switch (command) {
    case ZIP_SOURCE_OPEN:
        w->at = 0;
        return 0;
    case ZIP_SOURCE_READ:
        return window_read(w, data, length);
    case ZIP_SOURCE_SEEK:
        return window_seek(w, data, length);
    case ZIP_SOURCE_TELL:
        return (zip_int64_t)w->at;
    case ZIP_SOURCE_STAT:
        return window_stat(w, data);
    case ZIP_SOURCE_ERROR:
        return zip_error_to_data(&w->error, data, length);
    case ZIP_SOURCE_CLOSE:
    case ZIP_SOURCE_FREE:
        return 0;
    case ZIP_SOURCE_SUPPORTS:
        return ZIP_SOURCE_SUPPORTS_SEEKABLE;
    default:
        zip_error_set(&w->error, ZIP_ER_OPNOTSUPP, 0);
        return -1;
    }
}

static tomo_status bad_zip(const archive *a, const char *what, tomo_error *err) {
    return tomo_fail(err, TOMO_E_FORMAT, "%s: damaged zip: %s", a->file, what);
}

static tomo_status open_zip(archive *a, tomo_error *err) {
    zip_error_t error;
    zip_error_init(&error);
    zip_error_init(&a->window.error);
    zip_source_t *source = zip_source_function_create(window_command, &a->window, &error);
    a->zip = source == NULL ? NULL : zip_open_from_source(source, ZIP_RDONLY, &error);
    tomo_status status = TOMO_OK;
    if (a->zip == NULL) {
        /* Without its directory at the end, a zip was most likely cut off. */
        bool cut = zip_error_code_zip(&error) == ZIP_ER_NOZIP;
        status = tomo_fail(err, cut ? TOMO_E_TRUNCATED : TOMO_E_FORMAT, "%s: damaged zip: %s%s", a->file,
                           zip_error_strerror(&error), cut ? "; was the file copied whole?" : "");
        if (source != NULL) zip_source_free(source);
    }
    zip_error_fini(&error);
    if (status != TOMO_OK) return status;
    zip_int64_t count = zip_get_num_entries(a->zip, 0);
    a->count = count < 0 ? 0 : (zip_uint64_t)count;
    a->data = calloc((size_t)a->count + 1, sizeof *a->data);
    a->sizes = calloc((size_t)a->count + 1, sizeof *a->sizes);
    if (a->data == NULL || a->sizes == NULL) return tomo_fail_memory(err, a->file, (size_t)a->count * 8);
    return TOMO_OK;
}

/* Bytes of an entry that is not compressed, in the mapping. */
static tomo_status locate(archive *a, zip_file_t *entry, size_t size, const unsigned char **data,
                          tomo_error *err) {
    unsigned char first = 0;
    if (zip_fread(entry, &first, 1) != 1) return bad_zip(a, "an entry cannot be read", err);
    zip_uint64_t at = a->window.last_read;
    if (at > a->window.size || size > a->window.size - at) {
        return tomo_fail(err, TOMO_E_TRUNCATED, "%s: an entry of the zip reaches past its end", a->file);
    }
    *data = a->window.bytes + at;
    return tomo_store_align(a->checkpoint, data, size, 8, err);
}

static tomo_status expand(archive *a, zip_file_t *entry, size_t size, zip_uint64_t packed,
                          const unsigned char **data, tomo_error *err) {
    if (size / LARGEST_RATIO > packed) return bad_zip(a, "an entry lies about its size", err);
    if (size > (size_t)TOMO_LIMIT_EXPANDED_BYTES - a->expanded) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: expands to more than %lld bytes", a->file,
                         (long long)TOMO_LIMIT_EXPANDED_BYTES);
    }
    unsigned char *memory = tomo_arena_alloc(a->checkpoint->arena, size);
    if (memory == NULL) return tomo_fail_memory(err, a->file, size);
    a->expanded += size;
    size_t done = 0;
    while (done < size) {
        zip_int64_t n = zip_fread(entry, memory + done, size - done);
        if (n <= 0) return bad_zip(a, "an entry cannot be expanded", err);
        done += (size_t)n;
    }
    *data = memory;
    return TOMO_OK;
}

static tomo_status fetch(archive *a, zip_uint64_t index, const unsigned char **data, size_t *size,
                         tomo_error *err) {
    zip_stat_t stat;
    const zip_uint64_t wanted = ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_COMP_METHOD;
    if (a->data[index] == NULL) {
        if (zip_stat_index(a->zip, index, 0, &stat) != 0 || (stat.valid & wanted) != wanted) {
            return bad_zip(a, "an entry without a size", err);
        }
        bool stored = stat.comp_method == ZIP_CM_STORE;
        if (stored && stat.size != stat.comp_size) return bad_zip(a, "an entry with two sizes", err);
        a->sizes[index] = stat.size;
        if (stat.size > 0) {
            zip_file_t *entry = zip_fopen_index(a->zip, index, 0);
            if (entry == NULL) return bad_zip(a, zip_strerror(a->zip), err);
            tomo_status status =
                stored ? locate(a, entry, (size_t)stat.size, &a->data[index], err)
                       : expand(a, entry, (size_t)stat.size, stat.comp_size, &a->data[index], err);
            (void)zip_fclose(entry);
            if (status != TOMO_OK) {
                a->data[index] = NULL;
                return status;
            }
        }
    }
    *data = a->data[index];
    *size = (size_t)a->sizes[index];
    return TOMO_OK;
}

static tomo_status fetch_named(archive *a, const char *name, size_t name_size, const unsigned char **data,
                               size_t *size, tomo_error *err) {
    size_t folder = strlen(a->folder);
    char *path = calloc(1, folder + name_size + 1);
    if (path == NULL) return tomo_fail_memory(err, a->file, folder + name_size + 1);
    memcpy(path, a->folder, folder);
    memcpy(path + folder, name, name_size);
    zip_int64_t index = zip_name_locate(a->zip, path, 0);
    tomo_status status = TOMO_OK;
    if (index < 0) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: damaged zip: record \"%.*s\" is missing", a->file,
                           TOMO_NAME_SHOWN, path);
    } else {
        status = fetch(a, (zip_uint64_t)index, data, size, err);
    }
    free(path);
    return status;
}

static tomo_status find_storage(void *self, const tomo_pickle_storage *storage, const unsigned char **data,
                                tomo_error *err) {
    archive *a = self;
    char name[64];
    size_t size = 0, bytes = 0;
    /* Keys are small numbers written out. */
    if (storage->key_size > 40 || memchr(storage->key, 0, storage->key_size) != NULL) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: damaged pickle: a storage key that is no number", a->file);
    }
    (void)snprintf(name, sizeof name, "data/%.*s", (int)storage->key_size, (const char *)storage->key);
    tomo_status status = fetch_named(a, name, strlen(name), data, &size, err);
    if (status != TOMO_OK) return status;
    if (!tomo_torch_storage_bytes(storage, &bytes) || bytes > size) {
        return tomo_fail(err, TOMO_E_TRUNCATED,
                         "%s: record \"%s\" has %zu bytes, but %lld elements of %s are wanted", a->file, name,
                         size, (long long)storage->count, tomo_dtype_name(storage->dtype));
    }
    return TOMO_OK;
}

/* The records lie in one folder whose name is free: the one that holds data.pkl. */
static tomo_status find_folder(archive *a, tomo_error *err) {
    for (zip_uint64_t i = 0; i < a->count; i++) {
        const char *name = zip_get_name(a->zip, i, 0);
        const char *slash = name == NULL ? NULL : strchr(name, '/');
        if (slash == NULL || strcmp(slash, "/data.pkl") != 0) continue;
        a->folder = strndup(name, (size_t)(slash - name) + 1);
        return a->folder == NULL ? tomo_fail_memory(err, a->file, strlen(name)) : TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_FORMAT, "%s: a zip without data.pkl; a PyTorch checkpoint is wanted",
                     a->file);
}

static tomo_status check_byte_order(archive *a, tomo_error *err) {
    const unsigned char *data = NULL;
    size_t size = 0;
    tomo_status status = fetch_named(a, "byteorder", 9, &data, &size, NULL);
    if (status != TOMO_OK) return TOMO_OK; /* older files do not say; they are little endian */
    if (size == 6 && memcmp(data, "little", 6) == 0) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: byte order is not little endian, which is wanted",
                     a->file);
}

static tomo_status read_archive(archive *a, tomo_arena *arena, tomo_error *err) {
    const unsigned char *bytes = NULL;
    size_t size = 0;
    tomo_pickle pickle = {0};
    tomo_status status = open_zip(a, err);
    if (status == TOMO_OK) status = find_folder(a, err);
    if (status == TOMO_OK) status = check_byte_order(a, err);
    if (status == TOMO_OK) status = fetch_named(a, "data.pkl", 8, &bytes, &size, err);
    if (status == TOMO_OK) status = tomo_pickle_read(a->file, bytes, size, arena, &pickle, err);
    tomo_torch_source source = {find_storage, a};
    if (status == TOMO_OK) status = tomo_torch_add_all(a->checkpoint, a->file, pickle.root, source, err);
    return status;
}

tomo_status tomo_torch_zip_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                                tomo_error *err) {
    archive a = {.checkpoint = c, .file = file, .window = {.bytes = bytes, .size = size}};
    tomo_arena *arena = tomo_arena_create(0);
    tomo_status status =
        arena == NULL ? tomo_fail_memory(err, file, sizeof(tomo_pickle_value)) : read_archive(&a, arena, err);
    if (a.zip != NULL) zip_discard(a.zip);
    zip_error_fini(&a.window.error);
    free(a.data);
    free(a.sizes);
    free(a.folder);
    tomo_arena_free(arena);
    return status;
}
