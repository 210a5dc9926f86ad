/* output.h - results: standard output, and files that are whole or not there. Every write is checked. */
#ifndef TOMO_CLI_OUTPUT_H
#define TOMO_CLI_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A file being written beside its target; a special file (/dev/full, a pipe) is written directly. */
typedef struct output {
    FILE *stream;
    const char *path; /* as the user named it */
    char *target; /* what is renamed onto: path, or what the link there points to; NULL: written directly */
    char *temporary;
} output;

/* NULL and "-" are standard output. False after telling why. `path` must outlive the output. */
bool output_open(output *out, const char *path);
/* Whether all went well; the target is replaced only then. Ends the output either way. */
bool output_commit(output *out);

/* Flushes what was printed; false (told once) when standard output could not take it. */
bool output_flush(void);

#endif
