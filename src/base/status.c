#include "base/status.h"

#include "base/decimal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *tomo_status_name(tomo_status status) {
    switch (status) {
    case TOMO_OK:
        return "OK";
    case TOMO_E_USAGE:
        return "E_USAGE";
    case TOMO_E_IO:
        return "E_IO";
    case TOMO_E_MEMORY:
        return "E_MEMORY";
    case TOMO_E_CANCELLED:
        return "E_CANCELLED";
    case TOMO_E_INTERNAL:
        return "E_INTERNAL";
    case TOMO_E_FORMAT:
        return "E_FORMAT";
    case TOMO_E_HEADER:
        return "E_HEADER";
    case TOMO_E_TRUNCATED:
        return "E_TRUNCATED";
    case TOMO_E_LIMIT:
        return "E_LIMIT";
    case TOMO_E_UNSUPPORTED:
        return "E_UNSUPPORTED";
    case TOMO_E_DECODE:
        return "E_DECODE";
    case TOMO_E_NO_IMAGE:
        return "E_NO_IMAGE";
    }
    return "E_UNKNOWN";
}

tomo_status tomo_fail(tomo_error *err, tomo_status status, const char *format, ...) {
    if (err == NULL) return status;
    err->status = status;
    va_list arguments;
    va_start(arguments, format);
    (void)tomo_decimal_vformat(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    for (char *c = err->message; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
    return status;
}

tomo_status tomo_fail_errno(tomo_error *err, const char *path, const char *what) {
    int code = errno;
    char text[128];
    /* The GNU strerror_r may return a static string instead of filling the buffer. */
    const char *reason = strerror_r(code, text, sizeof text);
    return tomo_fail(err, code == ENOMEM ? TOMO_E_MEMORY : TOMO_E_IO, "%s: cannot %s: %s", path, what,
                     reason);
}

tomo_status tomo_fail_memory(tomo_error *err, const char *what, size_t bytes) {
    return tomo_fail(err, TOMO_E_MEMORY, "out of memory: %zu bytes for %s", bytes, what);
}
