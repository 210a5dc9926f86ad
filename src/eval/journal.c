#include "eval/journal.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* The predictions for all of M3D-VQA's test questions have 60 MB. */
#define LIMIT_BYTES ((int64_t)4 << 30)

struct tomo_journal {
    char *path;
    int fd;
};

/* Writes all of it, or takes back what a full disk let through. */
static tomo_status append_bytes(tomo_journal *j, const char *bytes, size_t size, tomo_error *err) {
    off_t before = lseek(j->fd, 0, SEEK_END);
    size_t written = 0;
    while (written < size) {
        ssize_t n = write(j->fd, bytes + written, size - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            tomo_status status = tomo_fail_errno(err, j->path, "write");
            if (before >= 0) (void)!ftruncate(j->fd, before);
            return status;
        }
        written += (size_t)n;
    }
    return TOMO_OK;
}

static tomo_status append_line(tomo_journal *j, const char *text, tomo_error *err) {
    size_t length = strlen(text);
    char *line = malloc(length + 1);
    if (line == NULL) return tomo_fail_memory(err, j->path, length);
    memcpy(line, text, length);
    line[length] = '\n';
    tomo_status status = append_bytes(j, line, length + 1, err);
    free(line);
    return status;
}

/* ------------------------------------------------------------------------------ what is there */

static tomo_status refuse_run(const tomo_journal *j, tomo_error *err) {
    return tomo_fail(
        err, TOMO_E_FORMAT,
        "%s: of another run (model, data or settings differ); another folder is wanted, or the file "
        "removed",
        j->path);
}

static tomo_status read_line(tomo_journal *j, const char *text, size_t size, size_t number, const char *run,
                             tomo_journal_fn seen, void *user, tomo_error *err) {
    if (number == 1) {
        if (strlen(run) == size && memcmp(run, text, size) == 0) return TOMO_OK;
        return refuse_run(j, err);
    }
    cJSON *line = cJSON_ParseWithLength(text, size);
    tomo_status status = line != NULL
                             ? seen(user, line, err)
                             : tomo_fail(err, TOMO_E_FORMAT, "%s: line %zu is no JSON", j->path, number);
    cJSON_Delete(line);
    return status;
}

/* *whole: bytes up to the end of the last whole line. */
static tomo_status read_lines(tomo_journal *j, const char *run, tomo_journal_fn seen, void *user,
                              size_t *whole, tomo_error *err) {
    char *bytes = NULL;
    size_t size = 0, number = 0;
    tomo_status status = tomo_file_read(j->path, LIMIT_BYTES, &bytes, &size, err);
    *whole = 0;
    while (status == TOMO_OK && *whole < size) {
        const char *begin = bytes + *whole, *end = memchr(begin, '\n', size - *whole);
        if (end == NULL) break;
        status = read_line(j, begin, (size_t)(end - begin), ++number, run, seen, user, err);
        *whole = (size_t)(end - bytes) + 1;
    }
    /* A torn first line is the beginning of ours, or the file is none of ours. */
    if (status == TOMO_OK && *whole == 0 && size > 0 &&
        (size > strlen(run) || memcmp(bytes, run, size) != 0)) {
        status = refuse_run(j, err);
    }
    free(bytes);
    return status;
}

static tomo_status open_file(tomo_journal *j, tomo_error *err) {
    j->fd = open(j->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (j->fd < 0) return tomo_fail_errno(err, j->path, "open");
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0) {
        return tomo_fail(err, TOMO_E_IO,
                         "%s: another process is writing it; wait for it or give another folder", j->path);
    }
    return TOMO_OK;
}

tomo_status tomo_journal_open(const char *path, const char *run, tomo_journal_fn seen, void *user,
                              tomo_journal **journal, tomo_error *err) {
    tomo_journal *j = calloc(1, sizeof *j);
    size_t whole = 0;
    *journal = NULL;
    if (j == NULL) return tomo_fail_memory(err, path, sizeof *j);
    *j = (tomo_journal){.path = strdup(path), .fd = -1};
    tomo_status status = j->path == NULL ? tomo_fail_memory(err, path, 0) : open_file(j, err);
    if (status == TOMO_OK) status = read_lines(j, run, seen, user, &whole, err);
    if (status == TOMO_OK && ftruncate(j->fd, (off_t)whole) != 0) {
        status = tomo_fail_errno(err, path, "cut the torn last line off");
    }
    if (status == TOMO_OK && whole == 0) status = append_line(j, run, err);
    if (status == TOMO_OK) {
        *journal = j;
    } else {
        tomo_journal_close(j);
    }
    return status;
}

void tomo_journal_close(tomo_journal *journal) {
    if (journal == NULL) return;
    if (journal->fd >= 0) (void)close(journal->fd);
    free(journal->path);
    free(journal);
}

tomo_status tomo_journal_append(tomo_journal *journal, cJSON *line, tomo_error *err) {
    char *text = line != NULL ? cJSON_PrintUnformatted(line) : NULL;
    cJSON_Delete(line);
    if (text == NULL) return tomo_fail_memory(err, journal->path, 0);
    tomo_status status = append_line(journal, text, err);
    cJSON_free(text);
    return status;
}
