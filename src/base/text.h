/* text.h - small questions about texts. */
#ifndef TOMO_BASE_TEXT_H
#define TOMO_BASE_TEXT_H

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Whether text ends in tail, case and all; every text ends in "". */
static inline bool tomo_ends_with(const char *text, const char *tail) {
    size_t n = strlen(text), t = strlen(tail);
    return n >= t && strcmp(text + n - t, tail) == 0;
}

/* The same of a file's name, whose suffix may be in capitals. */
static inline bool tomo_has_suffix(const char *name, const char *suffix) {
    size_t n = strlen(name), s = strlen(suffix);
    return n >= s && strcasecmp(name + n - s, suffix) == 0;
}

#endif
