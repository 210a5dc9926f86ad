/* csv.h - one column of a CSV file (RFC 4180: commas, "quoted fields" with "" for a quote, which may hold
 * commas and line feeds; LF or CRLF; a byte order mark is skipped). */
#ifndef TOMO_CLI_CSV_H
#define TOMO_CLI_CSV_H

#include <stddef.h>

typedef struct csv_column {
    char **values; /* into `text`, in the order of the file; never empty texts */
    size_t count;
    char *text;
} csv_column;

/* Reads the column that the first row calls `name`. Returns EXIT_DONE, or the status to exit with after
 * telling why; csv_free either way. */
int csv_read(const char *path, const char *name, csv_column *column);
void csv_free(csv_column *column);

#endif
