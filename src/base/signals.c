#include "base/signals.h"

#include <pthread.h>
#include <stddef.h>

sigset_t tomo_signals_hold(void) {
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT};
    sigset_t held, before;
    (void)sigfillset(&held);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) (void)sigdelset(&held, faults[i]);
    (void)sigemptyset(&before);
    (void)pthread_sigmask(SIG_BLOCK, &held, &before);
    return before;
}

void tomo_signals_release(const sigset_t *before) {
    (void)pthread_sigmask(SIG_SETMASK, before, NULL);
}

bool tomo_signals_are_held(void) {
    sigset_t now;
    (void)sigemptyset(&now);
    (void)pthread_sigmask(SIG_BLOCK, NULL, &now);
    return sigismember(&now, SIGINT) == 1 && sigismember(&now, SIGALRM) == 1;
}
