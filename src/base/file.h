/* file.h - reading whole files, mapping them, and writing them so that nobody sees half of one. */
#ifndef TOMO_BASE_FILE_H
#define TOMO_BASE_FILE_H

#include "base/status.h"

#include <stdio.h>

/* A read-only mapping of a whole file. An empty file gives data NULL and size 0. */
typedef struct tomo_map {
    const unsigned char *data;
    size_t size;
} tomo_map;

/* Folders and special files are refused (TOMO_E_FORMAT); a file that cannot be opened is TOMO_E_IO. */
tomo_status tomo_map_open(const char *path, tomo_map *map, tomo_error *err);
void tomo_map_close(tomo_map *map);

/* The whole file as bytes that the caller frees, with a '\0' behind the last (not counted in *size).
 * More than `limit` bytes: TOMO_E_LIMIT. */
tomo_status tomo_file_read(const char *path, int64_t limit, char **bytes, size_t *size, tomo_error *err);

/* "folder/name", which the caller frees; NULL when out of memory. An absolute name stays as it is. */
char *tomo_path_join(const char *folder, const char *name);
/* Its length without slashes at the end: of what is made beside it, "PATH.part". */
size_t tomo_path_length(const char *path);
bool tomo_path_is_folder(const char *path);
bool tomo_path_exists(const char *path);

/* Writes beside the target and renames on commit: the target is the old file or the whole new one, never a
 * part. A target that exists and is no regular file (a pipe, /dev/stdout, /dev/full) is written directly.
 * Exactly one of commit and abort ends a writer; both free it and accept NULL. */
typedef struct tomo_writer tomo_writer;
tomo_status tomo_writer_open(const char *path, tomo_writer **writer, tomo_error *err);
FILE *tomo_writer_stream(tomo_writer *writer);
/* Commit need not wait for the disk: for one of many files in a new folder, which is synced as a whole
 * (tomo_folder_sync) before anybody sees it. */
void tomo_writer_skip_sync(tomo_writer *writer);
tomo_status tomo_writer_write(tomo_writer *writer, const void *bytes, size_t size, tomo_error *err);
tomo_status tomo_writer_commit(tomo_writer *writer, tomo_error *err);
/* A whole file at once. */
tomo_status tomo_file_write(const char *path, const void *bytes, size_t size, tomo_error *err);
void tomo_writer_abort(tomo_writer *writer);

#endif
