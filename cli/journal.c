#include "journal.h"

#include "options.h"
#include "output.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* How each of our lines begins; a torn one may end within it. */
static const char line_start[] = "{\"scan\":";

struct journal {
    const char *path;
    int fd;       /* -1: standard output */
    bool regular; /* can be cut and resumed */
    struct stat info;
    bool created; /* was not there before */
    void *scans;  /* a tree of tsearch(3) */
    size_t count, failures;
};

static int tell(const journal *j, const char *what) {
    terminal_error("%s: cannot %s: %s", j->path, what, strerror(errno));
    return EXIT_FAILED;
}

static int by_text(const void *a, const void *b) {
    return strcmp(a, b);
}

static bool remember(journal *j, const char *scan) {
    j->count++;
    if (journal_has(j, scan)) return true;
    char *copy = strdup(scan);
    if (copy != NULL && tsearch(copy, &j->scans, by_text) != NULL) return true;
    free(copy);
    return false;
}

/* ------------------------------------------------------------------------------ what is there */

static int refuse_line(const journal *j, size_t number) {
    terminal_error("%s: line %zu is not a result of a scan; give another file or remove it", j->path, number);
    return EXIT_REFUSED;
}

static int take_line(journal *j, const char *text, size_t length, size_t number) {
    cJSON *line = cJSON_ParseWithLength(text, length);
    const char *scan = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(line, "scan"));
    int code = EXIT_DONE;
    if (scan == NULL) {
        code = refuse_line(j, number);
    } else if (!remember(j, scan)) {
        code = tell(j, "read");
    } else if (cJSON_HasObjectItem(line, "error")) {
        j->failures++;
    }
    cJSON_Delete(line);
    return code;
}

/* The torn last line is cut off, unless it is nothing of ours. */
static int cut_torn(journal *j, const char *text, size_t length, off_t offset, size_t number) {
    size_t begin = sizeof line_start - 1;
    if (memcmp(text, line_start, length < begin ? length : begin) != 0) return refuse_line(j, number);
    return ftruncate(j->fd, offset) == 0 ? EXIT_DONE : tell(j, "cut the torn last line off");
}

static int read_lines(journal *j, FILE *file) {
    char *text = NULL;
    size_t room = 0, number = 1;
    off_t offset = 0;
    int code = EXIT_DONE;
    for (ssize_t n; code == EXIT_DONE && (n = getline(&text, &room, file)) > 0; number++) {
        if (text[n - 1] == '\n') {
            code = take_line(j, text, (size_t)n - 1, number);
        } else {
            code = cut_torn(j, text, (size_t)n, offset, number);
        }
        offset += n;
    }
    if (code == EXIT_DONE && ferror(file)) code = tell(j, "read");
    free(text);
    return code;
}

static int resume(journal *j) {
    /* Two processes on one file would both do what is missing. */
    if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        terminal_error("%s: another process is writing it; wait for it or give another file", j->path);
        return EXIT_FAILED;
    }
    FILE *file = fopen(j->path, "rbe");
    if (file == NULL) return tell(j, "open");
    int code = read_lines(j, file);
    (void)fclose(file);
    return code;
}

/* ------------------------------------------------------------------------------ */

int journal_open(const char *path, journal **out) {
    *out = NULL;
    journal *j = calloc(1, sizeof *j);
    if (j == NULL) {
        terminal_error("out of memory");
        return EXIT_FAILED;
    }
    *j = (journal){.path = "standard output", .fd = -1};
    int code = EXIT_DONE;
    if (path != NULL && strcmp(path, "-") != 0) {
        j->path = path;
        j->created = access(path, F_OK) != 0;
        j->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
        if (j->fd < 0 || fstat(j->fd, &j->info) != 0) {
            code = tell(j, "open");
        } else if (S_ISREG(j->info.st_mode)) {
            j->regular = true;
            code = resume(j);
        }
    }
    *out = j;
    return code;
}

bool journal_has(const journal *j, const char *scan) {
    return tfind(scan, &j->scans, by_text) != NULL;
}

size_t journal_lines(const journal *j) {
    return j->count;
}

size_t journal_failures(const journal *j) {
    return j->failures;
}

bool journal_is_file(const journal *j, const char *path) {
    struct stat info;
    return j->regular && stat(path, &info) == 0 && info.st_dev == j->info.st_dev &&
           info.st_ino == j->info.st_ino;
}

/* One write; what a full disk lets through of it is taken back. */
static int append_bytes(journal *j, const char *bytes, size_t size) {
    if (j->fd < 0) {
        (void)fwrite(bytes, 1, size, stdout);
        return output_flush() ? EXIT_DONE : EXIT_FAILED;
    }
    off_t before = j->regular ? lseek(j->fd, 0, SEEK_END) : 0;
    size_t written = 0;
    while (written < size) {
        ssize_t n = write(j->fd, bytes + written, size - written);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            int code = tell(j, "write");
            if (j->regular && before >= 0) (void)!ftruncate(j->fd, before);
            return code;
        }
        written += (size_t)n;
    }
    return EXIT_DONE;
}

int journal_append(journal *j, const char *scan, cJSON *line) {
    char *text = line != NULL ? cJSON_PrintUnformatted(line) : NULL;
    cJSON_Delete(line);
    if (text == NULL) {
        terminal_error("%s: out of memory", j->path);
        return EXIT_FAILED;
    }
    size_t length = strlen(text);
    text[length] = '\n'; /* in place of the '\0' */
    int code = append_bytes(j, text, length + 1);
    cJSON_free(text);
    if (code == EXIT_DONE && !remember(j, scan)) code = tell(j, "remember the scan");
    return code;
}

int journal_close(journal *j) {
    if (j == NULL) return EXIT_DONE;
    int code = EXIT_DONE;
    if (j->regular && fsync(j->fd) != 0) code = tell(j, "write");
    if (j->regular && j->created && lseek(j->fd, 0, SEEK_END) == 0) (void)unlink(j->path);
    if (j->fd >= 0 && close(j->fd) != 0 && code == EXIT_DONE) code = tell(j, "write");
    tdestroy(j->scans, free);
    free(j);
    return code;
}
