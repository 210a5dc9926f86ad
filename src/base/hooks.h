/* hooks.h - what the embedding program is told while a call runs. Hooks are passed down by const pointer;
 * NULL means that nobody listens. They may be called from the thread that made the call only. */
#ifndef TOMO_BASE_HOOKS_H
#define TOMO_BASE_HOOKS_H

#include "base/status.h"

typedef struct tomo_hooks {
    tomo_log_fn log;
    tomo_progress_fn progress;
    void *user;
} tomo_hooks;

/* One line of text, no line feed. No patient data: names, ids, dates and paths inside DICOM stay out. */
void tomo_log(const tomo_hooks *hooks, tomo_log_level level, const char *format, ...) TOMO_PRINTF(3, 4);

/* Tells how far `stage` is and asks whether to go on: TOMO_OK or TOMO_E_CANCELLED. */
tomo_status tomo_progress(const tomo_hooks *hooks, const char *stage, int64_t done, int64_t total,
                          tomo_error *err);

#endif
