/* Files are opened close-on-exec; a signal during a slow read is retried by the C library's streams. */
#include "base/file.h"

#include "base/size.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static tomo_status open_regular(const char *path, int *descriptor, struct stat *info, tomo_error *err) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* O_NONBLOCK: a FIFO must not hang us */
    if (fd < 0) return tomo_fail_errno(err, path, "open");
    tomo_status status = TOMO_OK;
    if (fstat(fd, info) != 0) {
        status = tomo_fail_errno(err, path, "examine");
    } else if (!S_ISREG(info->st_mode)) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: not a regular file; a file is wanted here", path);
    }
    if (status != TOMO_OK) {
        close(fd);
        return status;
    }
    *descriptor = fd;
    return TOMO_OK;
}

tomo_status tomo_map_open(const char *path, tomo_map *map, tomo_error *err) {
    *map = (tomo_map){0};
    int fd = -1;
    struct stat info;
    tomo_status status = open_regular(path, &fd, &info, err);
    if (status != TOMO_OK) return status;
    size_t size = (size_t)info.st_size;
    if (size > 0) {
        void *data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = tomo_fail_errno(err, path, "map");
        } else {
            *map = (tomo_map){data, size};
        }
    }
    close(fd);
    return status;
}

void tomo_map_close(tomo_map *map) {
    if (map->data != NULL) munmap((void *)(uintptr_t)map->data, map->size);
    *map = (tomo_map){0};
}

tomo_status tomo_file_read(const char *path, int64_t limit, char **bytes, size_t *size, tomo_error *err) {
    int fd = -1;
    struct stat info;
    tomo_status status = open_regular(path, &fd, &info, err);
    if (status != TOMO_OK) return status;
    char *buffer = NULL;
    if (info.st_size > limit) {
        status = tomo_fail(err, TOMO_E_LIMIT, "%s: %lld bytes; at most %lld are read", path,
                           (long long)info.st_size, (long long)limit);
        goto done;
    }
    size_t wanted = (size_t)info.st_size, got = 0;
    buffer = malloc(wanted + 1);
    if (buffer == NULL) {
        status = tomo_fail_memory(err, path, wanted + 1);
        goto done;
    }
    while (got < wanted) {
        ssize_t n = read(fd, buffer + got, wanted - got);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            status = tomo_fail_errno(err, path, "read");
            goto done;
        }
        if (n == 0) break; /* shortened while we read: what is left is what there is */
        got += (size_t)n;
    }
    buffer[got] = '\0';
    *bytes = buffer;
    *size = got;
    buffer = NULL;
done:
    free(buffer);
    close(fd);
    return status;
}

char *tomo_path_join(const char *folder, const char *name) {
    bool alone = name[0] == '/' || folder[0] == '\0';
    size_t length = (alone ? 0 : strlen(folder) + 1) + strlen(name) + 1;
    char *path = malloc(length);
    if (path == NULL) return NULL;
    if (alone) {
        (void)snprintf(path, length, "%s", name);
    } else {
        bool slash = folder[strlen(folder) - 1] == '/';
        (void)snprintf(path, length, "%s%s%s", folder, slash ? "" : "/", name);
    }
    return path;
}

size_t tomo_path_length(const char *path) {
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/') length--;
    return length;
}

bool tomo_path_is_folder(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool tomo_path_exists(const char *path) {
    struct stat info;
    return stat(path, &info) == 0;
}

/* ------------------------------------------------------------------------------ writer */

struct tomo_writer {
    FILE *stream;
    char *target;
    char *temporary; /* NULL: the target itself is written */
    bool unsynced;
};

static void writer_free(tomo_writer *w) {
    free(w->target);
    free(w->temporary);
    free(w);
}

/* Creates "TARGET.PID-N.part"; stream stays NULL (errno says why) when that fails. O_EXCL: two processes or
 * threads that write the same target never share a temporary file. */
static tomo_status open_beside(tomo_writer *w, mode_t mode, tomo_error *err) {
    size_t length = strlen(w->target) + 48;
    w->temporary = malloc(length);
    if (w->temporary == NULL) return tomo_fail_memory(err, w->target, length);
    int fd = -1;
    for (int attempt = 0; attempt < 1000 && fd < 0; attempt++) {
        (void)snprintf(w->temporary, length, "%s.%ld-%d.part", w->target, (long)getpid(), attempt);
        fd = open(w->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST) break;
    }
    if (fd < 0) return TOMO_OK;
    w->stream = fdopen(fd, "wb");
    if (w->stream == NULL) {
        close(fd);
        (void)unlink(w->temporary);
    }
    return TOMO_OK;
}

tomo_status tomo_writer_open(const char *path, tomo_writer **writer, tomo_error *err) {
    *writer = NULL;
    tomo_writer *w = calloc(1, sizeof *w);
    if (w == NULL) return tomo_fail_memory(err, path, sizeof *w);
    tomo_status status = TOMO_OK;
    w->target = strdup(path);
    if (w->target == NULL) {
        status = tomo_fail_memory(err, path, strlen(path) + 1);
        goto fail;
    }
    struct stat info;
    bool exists = stat(path, &info) == 0;
    if (exists && S_ISDIR(info.st_mode)) {
        status = tomo_fail(err, TOMO_E_IO, "%s: cannot write: is a folder; a file name is wanted", path);
        goto fail;
    }
    if (exists && !S_ISREG(info.st_mode)) {
        w->stream = fopen(path, "wbe");
    } else {
        status = open_beside(w, exists ? info.st_mode & 0777 : 0666, err);
        if (status != TOMO_OK) goto fail;
    }
    if (w->stream == NULL) {
        status = tomo_fail_errno(err, path, "create");
        goto fail;
    }
    *writer = w;
    return TOMO_OK;
fail:
    writer_free(w);
    return status;
}

FILE *tomo_writer_stream(tomo_writer *writer) {
    return writer->stream;
}

void tomo_writer_skip_sync(tomo_writer *writer) {
    writer->unsynced = true;
}

tomo_status tomo_writer_write(tomo_writer *writer, const void *bytes, size_t size, tomo_error *err) {
    if (size > 0 && fwrite(bytes, 1, size, writer->stream) != size) {
        return tomo_fail_errno(err, writer->target, "write");
    }
    return TOMO_OK;
}

tomo_status tomo_writer_commit(tomo_writer *w, tomo_error *err) {
    if (w == NULL) return TOMO_OK;
    tomo_status status = TOMO_OK;
    bool failed = ferror(w->stream) != 0;
    if (fflush(w->stream) != 0 || failed) status = tomo_fail_errno(err, w->target, "write");
    /* Without fsync a crash of the machine could leave the new name on an empty file. */
    if (status == TOMO_OK && w->temporary != NULL && !w->unsynced && fsync(fileno(w->stream)) != 0) {
        status = tomo_fail_errno(err, w->target, "write");
    }
    if (fclose(w->stream) != 0 && status == TOMO_OK) status = tomo_fail_errno(err, w->target, "write");
    if (w->temporary != NULL) {
        if (status == TOMO_OK && rename(w->temporary, w->target) != 0) {
            status = tomo_fail_errno(err, w->target, "rename the finished file");
        }
        if (status != TOMO_OK) (void)unlink(w->temporary);
    }
    writer_free(w);
    return status;
}

void tomo_writer_abort(tomo_writer *w) {
    if (w == NULL) return;
    (void)fclose(w->stream);
    if (w->temporary != NULL) (void)unlink(w->temporary);
    writer_free(w);
}

tomo_status tomo_file_write(const char *path, const void *bytes, size_t size, tomo_error *err) {
    tomo_writer *writer = NULL;
    tomo_status status = tomo_writer_open(path, &writer, err);
    if (status != TOMO_OK) return status;
    status = tomo_writer_write(writer, bytes, size, err);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}
