/* terminal.c - the one standard error of the process, hence the one static state. */
#include "terminal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

/* A bar that comes and goes within a second only flickers; ten changes a second are smooth. */
#define QUIET_SECONDS 1.0
#define REDRAW_SECONDS 0.1
#define BAR_WIDTH 24

static struct {
    bool bar, quiet, drawn;
    double start, last;
    int64_t task, tasks;
} screen;

double terminal_clock(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void terminal_setup(bool quiet) {
    screen.quiet = quiet;
    screen.bar = !quiet && isatty(STDERR_FILENO);
    screen.start = terminal_clock();
}

void terminal_clear(void) {
    if (!screen.drawn) return;
    fputs("\r\033[K", stderr);
    (void)fflush(stderr);
    screen.drawn = false;
}

void terminal_end_bar(void) {
    terminal_clear();
    screen.bar = false;
}

void terminal_task(int64_t number, int64_t total) {
    screen.task = number;
    screen.tasks = total;
}

/* One write, so that lines of several processes do not mix. */
bool terminal_control(const char *text) {
    const unsigned char *c = (const unsigned char *)text;
    return c[0] < 0x20 || c[0] == 0x7f || (c[0] == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
}

static void print_line(const char *prefix, const char *text) {
    char line[1200];
    (void)snprintf(line, sizeof line - 1, "tomo: %s%s", prefix, text);
    for (char *c = line; *c != '\0'; c++) {
        if (!terminal_control(c)) continue;
        if ((unsigned char)*c == 0xc2) *c++ = '?';
        *c = '?';
    }
    size_t length = strlen(line);
    line[length] = '\n';
    line[length + 1] = '\0';
    terminal_clear();
    fputs(line, stderr);
    (void)fflush(stderr);
}

void terminal_error(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_line("", text);
}

void terminal_warning(const char *text) {
    if (!screen.quiet) print_line("warning: ", text);
}

void terminal_note(const char *format, ...) {
    if (screen.quiet) return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    print_line("", text);
}

static size_t columns(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) return 80;
    return size.ws_col;
}

/* "[3/10] encode [####....] 45 %", or a count where the total is unknown. */
static void compose(char *line, size_t size, const char *stage, int64_t done, int64_t total) {
    char task[48] = "", bar[BAR_WIDTH + 1];
    if (screen.tasks > 0) {
        (void)snprintf(task, sizeof task, "[%lld/%lld] ", (long long)screen.task, (long long)screen.tasks);
    }
    if (total <= 0) {
        (void)snprintf(line, size, "%s%s %lld", task, stage, (long long)done);
        return;
    }
    double part = (double)done / (double)total;
    part = part < 0 ? 0 : part > 1 ? 1 : part;
    for (int i = 0; i < BAR_WIDTH; i++) bar[i] = i < (int)(part * BAR_WIDTH) ? '#' : '.';
    bar[BAR_WIDTH] = '\0';
    (void)snprintf(line, size, "%s%s [%s] %d %%", task, stage, bar, (int)(part * 100));
}

void terminal_progress(const char *stage, int64_t done, int64_t total) {
    if (!screen.bar) return;
    double now = terminal_clock();
    if (now - screen.start < QUIET_SECONDS || now - screen.last < REDRAW_SECONDS) return;
    screen.last = now;
    char line[256];
    compose(line, sizeof line, stage, done, total);
    /* A line that wraps cannot be taken off again. */
    fprintf(stderr, "\r%.*s\033[K", (int)(columns() - 1), line);
    (void)fflush(stderr);
    screen.drawn = true;
}

void terminal_line(const char *line) {
    if (!screen.bar) return;
    fprintf(stderr, "\r%.*s\033[K", (int)(columns() - 1), line);
    (void)fflush(stderr);
    screen.drawn = true;
}
