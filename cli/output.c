/* output.c - written beside the target, synchronised, renamed. */
#include "output.h"

#include "interrupt.h"
#include "options.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool tell(const char *path, const char *what) {
    terminal_error("%s: cannot %s: %s", path, what, strerror(errno));
    return false;
}

bool output_flush(void) {
    static bool told;
    if (told) return false;
    errno = 0;
    bool failed = ferror(stdout) != 0;
    if (fflush(stdout) == 0 && !failed) return true;
    told = true;
    terminal_error("standard output: cannot write: %s", errno != 0 ? strerror(errno) : "a write failed");
    return false;
}

/* Creates "TARGET.PID-N.part" with the umask's permissions, or with those of the file that it will replace.
 */
static bool open_beside(output *out, mode_t mode) {
    size_t length = strlen(out->target) + 48;
    out->temporary = malloc(length);
    int fd = -1;
    if (out->temporary == NULL) return false;
    for (int attempt = 0; attempt < 1000 && fd < 0; attempt++) {
        (void)snprintf(out->temporary, length, "%s.%ld-%d.part", out->target, (long)getpid(), attempt);
        fd = open(out->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (fd < 0 && errno != EEXIST) return false;
    }
    if (fd < 0) return false;
    interrupt_guard(out->temporary);
    out->stream = fdopen(fd, "wb");
    if (out->stream != NULL) return true;
    (void)close(fd);
    (void)unlink(out->temporary);
    interrupt_guard(NULL);
    return false;
}

static void release(output *out) {
    interrupt_guard(NULL);
    free(out->target);
    free(out->temporary);
    *out = (output){0};
}

bool output_open(output *out, const char *path) {
    *out = (output){.stream = stdout, .path = "standard output"};
    if (path == NULL || strcmp(path, "-") == 0) return true;
    *out = (output){.path = path};
    struct stat info;
    bool exists = stat(path, &info) == 0, good;
    if (exists && S_ISDIR(info.st_mode)) {
        terminal_error("%s: is a folder; a file name is wanted", path);
        return false;
    }
    if (exists && !S_ISREG(info.st_mode)) {
        out->stream = fopen(path, "wbe");
        good = out->stream != NULL;
    } else {
        /* Through a link the file behind it is replaced, not the link. */
        out->target = exists ? realpath(path, NULL) : strdup(path);
        good = out->target != NULL && open_beside(out, exists ? info.st_mode & 0777 : 0666);
    }
    if (!good) {
        (void)tell(path, "create");
        release(out);
    }
    return good;
}

bool output_commit(output *out) {
    if (out->stream == stdout) return output_flush();
    errno = 0;
    bool good = ferror(out->stream) == 0;
    good = fflush(out->stream) == 0 && good;
    /* Without it a crash of the machine could leave the new name on an empty file. */
    if (good && out->temporary != NULL) good = fsync(fileno(out->stream)) == 0;
    int code = errno;
    if (fclose(out->stream) != 0 && good) {
        good = false;
        code = errno;
    }
    errno = code != 0 ? code : EIO;
    if (!good) (void)tell(out->path, "write");
    if (good && out->temporary != NULL && rename(out->temporary, out->target) != 0) {
        good = tell(out->path, "rename the finished file");
    }
    if (!good && out->temporary != NULL) (void)unlink(out->temporary);
    release(out);
    return good;
}
