#include "input.h"

#include "interrupt.h"
#include "options.h"
#include "terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A prompt of the longest context in use (1 M tokens) has some 4 MB. */
#define STDIN_LIMIT ((size_t)64 << 20)

/* Waits until there is something to read, a signal, or the end; false when the user asked to stop. */
static bool wait_for(int fd) {
    struct pollfd what = {.fd = fd, .events = POLLIN};
    while (!interrupt_requested()) {
        if (poll(&what, 1, 200) != 0 && errno != EINTR) return true;
        errno = 0;
    }
    return false;
}

static int tell(const char *name, const char *what) {
    terminal_error("%s: cannot %s: %s", name, what, strerror(errno));
    return EXIT_FAILED;
}

/* Reads to the end of fd into *text, which the caller frees whatever the outcome. */
static int read_all(int fd, const char *name, size_t limit, char **text, size_t *size) {
    size_t room = 0;
    *text = NULL;
    *size = 0;
    for (;;) {
        if (room - *size < 2) { /* one byte is for the '\0' */
            room = room == 0 ? 4096 : room * 2;
            char *larger = realloc(*text, room);
            if (larger == NULL) return tell(name, "read");
            *text = larger;
        }
        if (!wait_for(fd)) return EXIT_CANCELLED;
        ssize_t n = read(fd, *text + *size, room - *size - 1);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return tell(name, "read");
        if (n == 0) break;
        *size += (size_t)n;
        if (*size > limit) {
            terminal_error("%s: more than %zu bytes; less is wanted", name, limit);
            return EXIT_REFUSED;
        }
    }
    (*text)[*size] = '\0';
    if (strlen(*text) == *size) return EXIT_DONE;
    terminal_error("%s: holds a zero byte; text is wanted", name);
    return EXIT_REFUSED;
}

int input_text(const char *operand, char **text) {
    size_t size = 0;
    int code;
    if (strcmp(operand, "-") == 0) {
        code = read_all(STDIN_FILENO, "standard input", STDIN_LIMIT, text, &size);
    } else {
        *text = strdup(operand);
        code = *text != NULL ? EXIT_DONE : tell("the text", "copy");
    }
    if (code == EXIT_DONE) return code;
    free(*text);
    *text = NULL;
    return code;
}

int input_file(const char *path, size_t limit, char **text, size_t *size) {
    *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return tell(path, "open");
    int code = read_all(fd, path, limit, text, size);
    (void)close(fd);
    if (code == EXIT_DONE) return code;
    free(*text);
    *text = NULL;
    return code;
}
