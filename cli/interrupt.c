/* interrupt.c - what a signal handler may do: set a flag, unlink a file, _exit. */
#include "interrupt.h"

#include "options.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* timeout(1) and some shells send one Ctrl-C twice, to the process and to its group: only a signal that
 * comes later than this is a second wish. */
#define SAME_WISH_SECONDS 0.5

static volatile sig_atomic_t requested;
static struct timespec first;
static char guarded[PATH_MAX];
static volatile sig_atomic_t is_guarded;

static void on_signal(int number) {
    (void)number;
    int saved = errno;
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    if (!requested) {
        first = now;
        requested = 1;
    } else {
        double seconds = (double)(now.tv_sec - first.tv_sec) + (double)(now.tv_nsec - first.tv_nsec) * 1e-9;
        if (seconds >= SAME_WISH_SECONDS) {
            if (is_guarded) (void)unlink(guarded);
            _exit(EXIT_CANCELLED);
        }
    }
    errno = saved;
}

void interrupt_install(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaddset(&action.sa_mask, SIGINT);
    (void)sigaddset(&action.sa_mask, SIGTERM);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

bool interrupt_requested(void) {
    return requested != 0;
}

void interrupt_guard(const char *path) {
    is_guarded = 0;
    if (path == NULL || strlen(path) >= sizeof guarded) return;
    memcpy(guarded, path, strlen(path) + 1);
    is_guarded = 1;
}
