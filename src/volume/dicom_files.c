#include "volume/dicom_files.h"

#include "volume/dicom_data.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <zip.h>

typedef struct folder_id {
    dev_t device;
    ino_t inode;
} folder_id;

struct tomo_dicom_files {
    const tomo_reader *reader;
    int64_t count, capacity;
    char **paths; /* of a folder */
    folder_id *seen;
    size_t n_seen, seen_capacity;
    zip_t *zip;                 /* of a zip: entry i is file i */
    int64_t expanded, counted;  /* bytes of the first `counted` entries */
    const unsigned char *bytes; /* of one file */
    size_t size;
};

int64_t tomo_dicom_files_count(const tomo_dicom_files *files) {
    return files->count;
}

const char *tomo_dicom_files_kind(const tomo_dicom_files *files) {
    return files->zip != NULL ? "zip" : files->bytes != NULL ? "file" : "folder";
}

void tomo_dicom_files_free(tomo_dicom_files *files) {
    if (files == NULL) return;
    for (int64_t i = 0; files->paths != NULL && i < files->count; i++) free(files->paths[i]);
    free(files->paths);
    free(files->seen);
    if (files->zip != NULL) zip_discard(files->zip);
    free(files);
}

static tomo_status create(const tomo_reader *reader, tomo_dicom_files **files, tomo_error *err) {
    *files = calloc(1, sizeof **files);
    if (*files == NULL) return tomo_fail_memory(err, reader->name, sizeof **files);
    (*files)->reader = reader;
    return TOMO_OK;
}

tomo_status tomo_dicom_files_memory(const tomo_reader *reader, const unsigned char *bytes, size_t size,
                                    tomo_dicom_files **files, tomo_error *err) {
    tomo_status status = create(reader, files, err);
    if (status != TOMO_OK) return status;
    (*files)->bytes = bytes;
    (*files)->size = size;
    (*files)->count = 1;
    return TOMO_OK;
}

/* ------------------------------------------------------------------ folders */

static tomo_status too_many_files(const tomo_reader *reader, tomo_error *err) {
    return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %lld files; name a smaller folder", reader->name,
                     (long long)reader->options.limits.files);
}

static tomo_status add_path(tomo_dicom_files *files, char *path, tomo_error *err) {
    if (files->count >= files->reader->options.limits.files) {
        free(path);
        return too_many_files(files->reader, err);
    }
    if (files->count == files->capacity) {
        int64_t capacity = files->capacity == 0 ? 256 : 2 * files->capacity;
        char **paths = realloc(files->paths, (size_t)capacity * sizeof *paths);
        if (paths == NULL) {
            free(path);
            return tomo_fail_memory(err, files->reader->name, (size_t)capacity * sizeof *paths);
        }
        files->paths = paths;
        files->capacity = capacity;
    }
    files->paths[files->count++] = path;
    return TOMO_OK;
}

/* Remembers a folder; *known tells that it was there before. */
static tomo_status remember(tomo_dicom_files *files, const struct stat *info, bool *known, tomo_error *err) {
    *known = false;
    for (size_t i = 0; i < files->n_seen && !*known; i++) {
        *known = files->seen[i].device == info->st_dev && files->seen[i].inode == info->st_ino;
    }
    if (*known) return TOMO_OK;
    if (files->n_seen == files->seen_capacity) {
        size_t capacity = files->seen_capacity == 0 ? 64 : 2 * files->seen_capacity;
        folder_id *seen = realloc(files->seen, capacity * sizeof *seen);
        if (seen == NULL) return tomo_fail_memory(err, files->reader->name, capacity * sizeof *seen);
        files->seen = seen;
        files->seen_capacity = capacity;
    }
    files->seen[files->n_seen++] = (folder_id){info->st_dev, info->st_ino};
    return TOMO_OK;
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* not alphasort: its order changes with the locale */
}

static tomo_status search(tomo_dicom_files *files, const char *folder, int64_t depth, tomo_error *err);

/* Takes over `path`. Links that lead nowhere, pipes and sockets are passed over. */
static tomo_status visit(tomo_dicom_files *files, char *path, int64_t depth, tomo_error *err) {
    struct stat info;
    bool known = false;
    tomo_status status = TOMO_OK;
    if (stat(path, &info) == 0 && S_ISREG(info.st_mode)) return add_path(files, path, err);
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        status = remember(files, &info, &known, err);
        if (status == TOMO_OK && !known) status = search(files, path, depth + 1, err);
    }
    free(path);
    return status;
}

static tomo_status search(tomo_dicom_files *files, const char *folder, int64_t depth, tomo_error *err) {
    if (depth > files->reader->options.limits.folder_depth) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: folders nested deeper than %lld; name an inner one",
                         files->reader->name, (long long)files->reader->options.limits.folder_depth);
    }
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, NULL, by_name);
    if (n < 0) {
        return tomo_fail_errno(err, files->reader->name,
                               depth == 0 ? "read the folder" : "read a folder in it");
    }
    tomo_status status = TOMO_OK;
    for (int i = 0; i < n; i++) {
        const char *name = entries[i]->d_name;
        bool wanted = status == TOMO_OK && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
        if (wanted) {
            char *path = tomo_path_join(folder, name);
            status = path == NULL
                         ? tomo_fail_memory(err, files->reader->name, strlen(folder) + strlen(name) + 2)
                         : visit(files, path, depth, err);
        }
        free(entries[i]);
    }
    free(entries);
    return status;
}

tomo_status tomo_dicom_files_folder(const tomo_reader *reader, const char *path, tomo_dicom_files **files,
                                    tomo_error *err) {
    tomo_status status = create(reader, files, err);
    if (status != TOMO_OK) return status;
    struct stat info;
    bool known;
    status = stat(path, &info) != 0 ? tomo_fail_errno(err, reader->name, "open")
                                    : remember(*files, &info, &known, err);
    if (status == TOMO_OK) status = search(*files, path, 0, err);
    if (status != TOMO_OK) {
        tomo_dicom_files_free(*files);
        *files = NULL;
    }
    return status;
}

/* ------------------------------------------------------------------ zip */

static tomo_status zip_refused(const tomo_reader *reader, zip_error_t *error, tomo_error *err) {
    tomo_status status = tomo_fail(err, TOMO_E_FORMAT, "%s: the zip cannot be read: %s", reader->name,
                                   zip_error_strerror(error));
    zip_error_fini(error);
    return status;
}

tomo_status tomo_dicom_files_zip(const tomo_reader *reader, const unsigned char *bytes, size_t size,
                                 tomo_dicom_files **files, tomo_error *err) {
    tomo_status status = create(reader, files, err);
    if (status != TOMO_OK) return status;
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(bytes, size, 0, &error);
    zip_t *zip = source == NULL ? NULL : zip_open_from_source(source, ZIP_RDONLY, &error);
    if (zip == NULL) {
        zip_source_free(source);
        tomo_dicom_files_free(*files);
        *files = NULL;
        return zip_refused(reader, &error, err);
    }
    (*files)->zip = zip; /* owns the source */
    (*files)->count = zip_get_num_entries(zip, 0);
    if ((*files)->count > reader->options.limits.files) {
        tomo_dicom_files_free(*files);
        *files = NULL;
        return too_many_files(reader, err);
    }
    return TOMO_OK;
}

/* Bytes that tell whether an entry is DICOM, before all of it is expanded. */
#define PREFIX 256

static tomo_status read_entry(tomo_dicom_files *files, int64_t i, zip_file_t *entry, size_t size,
                              tomo_dicom_content *content, tomo_error *err) {
    const char *name = files->reader->name;
    unsigned char prefix[PREFIX], extra;
    zip_int64_t got = zip_fread(entry, prefix, size < PREFIX ? size : PREFIX);
    if (got < 0) return tomo_fail(err, TOMO_E_FORMAT, "%s: an entry of the zip is damaged", name);
    if (!tomo_dicom_is_plausible(prefix, (size_t)got)) return TOMO_OK;
    if (i >= files->counted) { /* entries are opened in order first, then again for their pixels */
        files->counted = i + 1;
        files->expanded +=
            (int64_t)size; /* no overflow: each below 2^62, and the sum before below the limit */
    }
    if (files->expanded > files->reader->options.limits.expanded_bytes) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: the zip expands to over %lld bytes", name,
                         (long long)files->reader->options.limits.expanded_bytes);
    }
    content->owned = malloc(size);
    if (content->owned == NULL) return tomo_fail_memory(err, name, size);
    memcpy(content->owned, prefix, (size_t)got);
    size_t have = (size_t)got;
    while (have < size && (got = zip_fread(entry, content->owned + have, size - have)) > 0)
        have += (size_t)got;
    if (have == size) got = zip_fread(entry, &extra, 1); /* reading to the end checks the CRC */
    if (have == size && got == 0) {
        content->data = content->owned;
        content->size = size;
        return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_FORMAT, "%s: an entry of the zip is damaged; make the zip again", name);
}

static tomo_status open_entry(tomo_dicom_files *files, int64_t i, tomo_dicom_content *content,
                              tomo_error *err) {
    zip_stat_t info;
    zip_stat_init(&info);
    if (zip_stat_index(files->zip, (zip_uint64_t)i, 0, &info) != 0 || (info.valid & ZIP_STAT_SIZE) == 0) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: entry %lld of the zip is damaged", files->reader->name,
                         (long long)i);
    }
    if (info.size == 0) return TOMO_OK; /* folders, empty files */
    if (info.size > (zip_uint64_t)INT64_MAX / 2) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: an entry of the zip is too large", files->reader->name);
    }
    zip_file_t *entry = zip_fopen_index(files->zip, (zip_uint64_t)i, 0);
    if (entry == NULL) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: entry %lld of the zip cannot be opened: %s",
                         files->reader->name, (long long)i, zip_strerror(files->zip));
    }
    tomo_status status = read_entry(files, i, entry, (size_t)info.size, content, err);
    (void)zip_fclose(entry);
    return status;
}

/* ------------------------------------------------------------------ content */

void tomo_dicom_files_describe(const tomo_dicom_files *files, int64_t i, char *text, size_t size) {
    const char *path = files->paths != NULL ? files->paths[i] : NULL; /* may name a patient */
    if (files->zip != NULL) path = zip_get_name(files->zip, (zip_uint64_t)i, 0);
    text[0] = '\0';
    if (files->bytes != NULL) return;
    if (path != NULL && files->reader->options.log_phi) {
        (void)snprintf(text, size, "%s", path);
    } else {
        (void)snprintf(text, size, "file %lld of the %s", (long long)i + 1, tomo_dicom_files_kind(files));
    }
}

void tomo_dicom_content_close(tomo_dicom_content *content) {
    tomo_map_close(&content->map);
    free(content->owned);
    *content = (tomo_dicom_content){0};
}

tomo_status tomo_dicom_content_open(tomo_dicom_files *files, int64_t i, tomo_dicom_content *content,
                                    tomo_error *err) {
    *content = (tomo_dicom_content){0};
    tomo_status status = TOMO_OK;
    if (files->zip != NULL) {
        status = open_entry(files, i, content, err);
    } else if (files->bytes != NULL) {
        content->data = files->bytes;
        content->size = files->size;
    } else {
        if (tomo_map_open(files->paths[i], &content->map, NULL) != TOMO_OK)
            return tomo_fail_errno(err, files->reader->name, "read a file in it");
        if (tomo_dicom_is_plausible(content->map.data, content->map.size)) {
            content->data = content->map.data;
            content->size = content->map.size;
        }
    }
    if (content->data == NULL) tomo_dicom_content_close(content);
    return status;
}
