/* csv.h - a table of texts as RFC 4180 has it: commas, "fields" with "" for a quote that may hold commas and
 * line ends; rows end with CRLF, LF or CR. The first row names the columns; a byte order mark and empty lines
 * are skipped. Refused, with row and column in the message: rows of another length than the first, a quote
 * that is not closed or not followed by a comma, bytes that are not UTF-8, a file without rows.
 */
#ifndef TOMO_BASE_CSV_H
#define TOMO_BASE_CSV_H

#include "base/buffer.h"
#include "base/status.h"

typedef struct tomo_csv_field {
    const char *text; /* valid UTF-8, not '\0'-terminated; may hold '\0' */
    size_t size;
} tomo_csv_field;

typedef struct tomo_csv tomo_csv;

tomo_status tomo_csv_open(const char *path, tomo_csv **csv, tomo_error *err);
/* name: for messages; bytes are copied. */
tomo_status tomo_csv_open_memory(const char *name, const char *bytes, size_t size, tomo_csv **csv,
                                 tomo_error *err);
void tomo_csv_free(tomo_csv *csv);

const char *tomo_csv_path(const tomo_csv *csv);
/* Without the row of names; rows are counted from 0. */
size_t tomo_csv_row_count(const tomo_csv *csv);
size_t tomo_csv_column_count(const tomo_csv *csv);
tomo_csv_field tomo_csv_at(const tomo_csv *csv, size_t row, size_t column);
tomo_csv_field tomo_csv_name(const tomo_csv *csv, size_t column);

/* The first column of that name; TOMO_CSV_NONE when there is none. */
#define TOMO_CSV_NONE SIZE_MAX
size_t tomo_csv_find(const tomo_csv *csv, const char *name);
/* The same, or TOMO_E_HEADER with the names that there are. */
tomo_status tomo_csv_need(const tomo_csv *csv, const char *name, size_t *column, tomo_error *err);

/* Puts the rows of `more` behind those of csv and takes it over, also on failure. The names must be the same.
 */
tomo_status tomo_csv_append(tomo_csv *csv, tomo_csv *more, tomo_error *err);
/* The file that a row came from; *number is the row as messages count it. */
const char *tomo_csv_source(const tomo_csv *csv, size_t row, size_t *number);

/* The row as messages count it: the names are row 1. */
static inline size_t tomo_csv_row_number(size_t row) {
    return row + 2;
}

/* Whether text[size] is valid UTF-8. */
bool tomo_csv_is_utf8(const char *text, size_t size);

/* Writes a field, in quotes where it needs them; false when out of memory. Starts with a comma unless first.
 */
bool tomo_csv_put(tomo_buffer *out, bool first, const char *text, size_t size);

#endif
