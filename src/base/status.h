/* status.h - how library functions report failure: a status is returned, a message is written. */
#ifndef TOMO_BASE_STATUS_H
#define TOMO_BASE_STATUS_H

#include "tomo.h"

#if defined(__GNUC__)
#define TOMO_PRINTF(text, first) __attribute__((format(printf, text, first)))
#else
#define TOMO_PRINTF(text, first)
#endif

/* Writes the status and the formatted one-line message into err (NULL: nowhere) and returns the status,
 * so that a failure reads `return tomo_fail(err, TOMO_E_FORMAT, "%s: ...", path)`. Control characters of
 * the message (a file may hold anything) become '?'. */
tomo_status tomo_fail(tomo_error *err, tomo_status status, const char *format, ...) TOMO_PRINTF(3, 4);

/* tomo_fail for a failed system call: "FILE: cannot DO: STRERROR(errno)". errno ENOMEM gives
 * TOMO_E_MEMORY, everything else TOMO_E_IO. */
tomo_status tomo_fail_errno(tomo_error *err, const char *path, const char *what);

/* tomo_fail for a failed allocation of `bytes` for `what`. */
tomo_status tomo_fail_memory(tomo_error *err, const char *what, size_t bytes);

#endif
