/* paths.h - names of files on the command line. */
#ifndef TOMO_CLI_PATHS_H
#define TOMO_CLI_PATHS_H

#include <stdbool.h>
#include <string.h>
#include <strings.h>

/* Whether a name has the suffix, in any case, and something before it. */
static inline bool path_has_suffix(const char *name, const char *suffix) {
    size_t length = strlen(name), n = strlen(suffix);
    return length > n && strcasecmp(name + length - n, suffix) == 0;
}

#endif
