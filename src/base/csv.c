#include "base/csv.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The answers to all of M3D-VQA's test questions have 30 MB. */
#define LIMIT_BYTES ((int64_t)1 << 30)
/* The benchmark's files have 6 to 11. */
#define LIMIT_COLUMNS 1024

struct tomo_csv {
    char *path;
    char *bytes;            /* fields are cut in place */
    tomo_csv_field *fields; /* [rows + 1][columns]: the names first */
    size_t count, capacity, columns;
    tomo_csv *more; /* what was appended next: owns the bytes of its rows */
    size_t own_rows;
};

typedef struct reader {
    tomo_csv *csv;
    char *at, *end;
    size_t row, column; /* of the field being read, from 0; row 0 has the names */
    tomo_error *err;
} reader;

/* "FILE: row 3, column 2 (Pred): what". */
static tomo_status refuse(const reader *r, const char *what) {
    tomo_csv_field name = {"", 0};
    if (r->row > 0 && r->column < r->csv->columns) name = r->csv->fields[r->column];
    return tomo_fail(r->err, TOMO_E_FORMAT, "%s: row %zu, column %zu%s%.*s%s: %s", r->csv->path, r->row + 1,
                     r->column + 1, name.size > 0 ? " (" : "", name.size > 60 ? 60 : (int)name.size,
                     name.text, name.size > 0 ? ")" : "", what);
}

bool tomo_csv_is_utf8(const char *text, size_t size) {
    for (size_t i = 0; i < size;) {
        if ((unsigned char)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t c;
        size_t left = size - i;
        utf8proc_ssize_t n =
            utf8proc_iterate((const utf8proc_uint8_t *)text + i, left < 4 ? (utf8proc_ssize_t)left : 4, &c);
        if (n <= 0) return false;
        i += (size_t)n;
    }
    return true;
}

static tomo_status add_field(reader *r, const char *text, size_t size) {
    tomo_csv *c = r->csv;
    if (!tomo_csv_is_utf8(text, size)) return refuse(r, "bytes that are not UTF-8; save the file as UTF-8");
    if (r->row == 0 && r->column == LIMIT_COLUMNS) {
        return tomo_fail(r->err, TOMO_E_LIMIT, "%s: more than %d columns", c->path, LIMIT_COLUMNS);
    }
    if (c->count == c->capacity) {
        size_t capacity = c->capacity * 2 + 64;
        tomo_csv_field *fields = realloc(c->fields, capacity * sizeof *fields);
        if (fields == NULL) return tomo_fail_memory(r->err, c->path, capacity * sizeof *fields);
        c->fields = fields;
        c->capacity = capacity;
    }
    c->fields[c->count++] = (tomo_csv_field){text, size};
    return TOMO_OK;
}

static bool is_line_end(char c) {
    return c == '\n' || c == '\r';
}

/* Moves what stands between quotes to the front, with "" as one quote; r->at is then behind the closing one.
 */
static tomo_status read_quoted(reader *r, const char **text, size_t *size) {
    char *out = ++r->at;
    bool closed = false;
    *text = out;
    while (r->at < r->end && !closed) {
        if (*r->at == '"') closed = ++r->at == r->end || *r->at != '"';
        if (!closed) *out++ = *r->at++;
    }
    if (!closed) return refuse(r, "a quote is not closed; \"...\" is wanted, with \"\" for a quote inside");
    *size = (size_t)(out - *text);
    if (r->at < r->end && *r->at != ',' && !is_line_end(*r->at)) {
        return refuse(r, "text behind a closing quote; a quote inside a quoted field is written \"\"");
    }
    return TOMO_OK;
}

static tomo_status read_field(reader *r) {
    const char *text = r->at;
    size_t size = 0;
    if (r->at < r->end && *r->at == '"') {
        tomo_status status = read_quoted(r, &text, &size);
        if (status != TOMO_OK) return status;
    } else {
        while (r->at < r->end && *r->at != ',' && !is_line_end(*r->at)) r->at++;
        size = (size_t)(r->at - text);
    }
    return add_field(r, text, size);
}

static tomo_status read_row(reader *r) {
    tomo_csv *c = r->csv;
    for (r->column = 0;; r->column++) {
        if (r->row > 0 && r->column == c->columns) {
            return refuse(r, "more fields than the first row has names");
        }
        tomo_status status = read_field(r);
        if (status != TOMO_OK) return status;
        if (r->at == r->end || *r->at != ',') break;
        r->at++;
    }
    if (r->row == 0) c->columns = r->column + 1;
    if (r->column + 1 < c->columns) {
        r->column++;
        return refuse(r, "the row ends before this column");
    }
    r->row++;
    return TOMO_OK;
}

static tomo_status read_rows(tomo_csv *c, size_t size, tomo_error *err) {
    reader r = {.csv = c, .at = c->bytes, .end = c->bytes + size, .err = err};
    if (size >= 3 && memcmp(c->bytes, "\xef\xbb\xbf", 3) == 0) r.at += 3;
    for (;;) {
        while (r.at < r.end && is_line_end(*r.at)) r.at++;
        if (r.at == r.end) break;
        tomo_status status = read_row(&r);
        if (status != TOMO_OK) return status;
    }
    if (r.row == 0) {
        return tomo_fail(err, TOMO_E_FORMAT,
                         "%s: row 1, column 1: the file is empty; a row of names is wanted", c->path);
    }
    if (r.row == 1) {
        return tomo_fail(err, TOMO_E_FORMAT,
                         "%s: row 2, column 1: no row below the names; at least one is wanted", c->path);
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ opening */

/* Takes over bytes. */
static tomo_status open_bytes(const char *name, char *bytes, size_t size, tomo_csv **csv, tomo_error *err) {
    tomo_csv *c = calloc(1, sizeof *c);
    *csv = NULL;
    if (c == NULL) {
        free(bytes);
        return tomo_fail_memory(err, name, sizeof *c);
    }
    c->bytes = bytes;
    c->path = strdup(name);
    tomo_status status =
        c->path == NULL ? tomo_fail_memory(err, name, strlen(name)) : read_rows(c, size, err);
    if (status == TOMO_OK) {
        c->own_rows = tomo_csv_row_count(c);
        *csv = c;
    } else {
        tomo_csv_free(c);
    }
    return status;
}

tomo_status tomo_csv_open(const char *path, tomo_csv **csv, tomo_error *err) {
    char *bytes = NULL;
    size_t size = 0;
    *csv = NULL;
    tomo_status status = tomo_file_read(path, LIMIT_BYTES, &bytes, &size, err);
    return status == TOMO_OK ? open_bytes(path, bytes, size, csv, err) : status;
}

tomo_status tomo_csv_open_memory(const char *name, const char *bytes, size_t size, tomo_csv **csv,
                                 tomo_error *err) {
    char *copy = malloc(size + 1);
    *csv = NULL;
    if (copy == NULL) return tomo_fail_memory(err, name, size);
    if (size > 0) memcpy(copy, bytes, size);
    return open_bytes(name, copy, size, csv, err);
}

void tomo_csv_free(tomo_csv *csv) {
    for (tomo_csv *next; csv != NULL; csv = next) {
        next = csv->more;
        free(csv->path);
        free(csv->bytes);
        free(csv->fields);
        free(csv);
    }
}

static bool same_names(const tomo_csv *a, const tomo_csv *b) {
    bool same = a->columns == b->columns;
    for (size_t i = 0; same && i < a->columns; i++) {
        same = a->fields[i].size == b->fields[i].size &&
               memcmp(a->fields[i].text, b->fields[i].text, a->fields[i].size) == 0;
    }
    return same;
}

tomo_status tomo_csv_append(tomo_csv *csv, tomo_csv *more, tomo_error *err) {
    tomo_status status = TOMO_OK;
    size_t added = more->count - more->columns, capacity = csv->count + added;
    if (!same_names(csv, more)) {
        status =
            tomo_fail(err, TOMO_E_HEADER, "%s: row 1: other names than those of %s", more->path, csv->path);
    }
    tomo_csv_field *fields = status == TOMO_OK ? realloc(csv->fields, capacity * sizeof *fields) : NULL;
    if (status == TOMO_OK && fields == NULL) {
        status = tomo_fail_memory(err, more->path, capacity * sizeof *fields);
    }
    if (status != TOMO_OK) {
        tomo_csv_free(more);
        return status;
    }
    memcpy(fields + csv->count, more->fields + more->columns, added * sizeof *fields);
    csv->fields = fields;
    csv->count = csv->capacity = capacity;
    tomo_csv *last = csv;
    while (last->more != NULL) last = last->more;
    last->more = more;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ reading */

const char *tomo_csv_path(const tomo_csv *csv) {
    return csv->path;
}

const char *tomo_csv_source(const tomo_csv *csv, size_t row, size_t *number) {
    while (csv->more != NULL && row >= csv->own_rows) {
        row -= csv->own_rows;
        csv = csv->more;
    }
    *number = tomo_csv_row_number(row);
    return csv->path;
}

size_t tomo_csv_row_count(const tomo_csv *csv) {
    return csv->count / csv->columns - 1;
}

size_t tomo_csv_column_count(const tomo_csv *csv) {
    return csv->columns;
}

tomo_csv_field tomo_csv_at(const tomo_csv *csv, size_t row, size_t column) {
    return csv->fields[(row + 1) * csv->columns + column];
}

tomo_csv_field tomo_csv_name(const tomo_csv *csv, size_t column) {
    return csv->fields[column];
}

size_t tomo_csv_find(const tomo_csv *csv, const char *name) {
    size_t size = strlen(name);
    for (size_t i = 0; i < csv->columns; i++) {
        if (csv->fields[i].size == size && memcmp(csv->fields[i].text, name, size) == 0) return i;
    }
    return TOMO_CSV_NONE;
}

tomo_status tomo_csv_need(const tomo_csv *csv, const char *name, size_t *column, tomo_error *err) {
    *column = tomo_csv_find(csv, name);
    if (*column != TOMO_CSV_NONE) return TOMO_OK;
    char found[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < csv->columns && used < sizeof found - 1; i++) {
        tomo_csv_field f = csv->fields[i];
        int n = snprintf(found + used, sizeof found - used, "%s%.*s", i > 0 ? ", " : "",
                         f.size > 60 ? 60 : (int)f.size, f.text);
        used += n > 0 ? (size_t)n : 0;
    }
    return tomo_fail(err, TOMO_E_HEADER, "%s: row 1: no column \"%s\" (there are: %s)", csv->path, name,
                     found);
}

/* ------------------------------------------------------------------------------ writing */

bool tomo_csv_put(tomo_buffer *out, bool first, const char *text, size_t size) {
    bool quoted = false;
    for (size_t i = 0; i < size; i++) {
        quoted = quoted || text[i] == ',' || text[i] == '"' || is_line_end(text[i]);
    }
    if (!first) (void)tomo_buffer_add(out, ",", 1);
    if (!quoted) return tomo_buffer_add(out, text, size);
    (void)tomo_buffer_add(out, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        (void)tomo_buffer_add(out, text[i] == '"' ? "\"\"" : text + i, text[i] == '"' ? 2 : 1);
    }
    return tomo_buffer_add(out, "\"", 1);
}
