/* interrupt.h - Ctrl-C: asks the work to unwind, and only when asked again ends it at once. */
#ifndef TOMO_CLI_INTERRUPT_H
#define TOMO_CLI_INTERRUPT_H

#include <stdbool.h>

/* Catches SIGINT and SIGTERM, and ignores SIGPIPE: a reader that went away is a failed write. */
void interrupt_install(void);
/* Whether to unwind; progress and text callbacks return its negation. */
bool interrupt_requested(void);
/* The unfinished file to remove should the process end at once; NULL: none. */
void interrupt_guard(const char *path);

#endif
