#include "base/hooks.h"

#include "base/decimal.h"

#include <stdarg.h>
#include <stdio.h>

void tomo_log(const tomo_hooks *hooks, tomo_log_level level, const char *format, ...) {
    if (hooks == NULL || hooks->log == NULL) return;
    char text[TOMO_MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    (void)tomo_decimal_vformat(text, sizeof text, format, arguments);
    va_end(arguments);
    hooks->log(hooks->user, level, text);
}

tomo_status tomo_progress(const tomo_hooks *hooks, const char *stage, int64_t done, int64_t total,
                          tomo_error *err) {
    if (hooks == NULL || hooks->progress == NULL) return TOMO_OK;
    if (hooks->progress(hooks->user, stage, done, total)) return TOMO_OK;
    return tomo_fail(err, TOMO_E_CANCELLED, "cancelled while: %s", stage);
}
