/* signals.h - holding back signals while no handler may run. */
#ifndef TOMO_BASE_SIGNALS_H
#define TOMO_BASE_SIGNALS_H

#include <signal.h>
#include <stdbool.h>

/* Holds back all signals from the calling thread but those of a fault in it (SIGSEGV and the like). Returns
 * what was held before, for tomo_signals_release; pairs may nest. Threads started meanwhile hold the same. */
sigset_t tomo_signals_hold(void);
/* Signals that came meanwhile are handled in here. */
void tomo_signals_release(const sigset_t *before);
/* Whether the calling thread holds signals back. */
bool tomo_signals_are_held(void);

#endif
