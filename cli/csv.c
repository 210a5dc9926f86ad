/* csv.c - fields are cut in place in the file's text. */
#include "csv.h"

#include "input.h"
#include "options.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

/* A hundred thousand scans with paths of 600 characters. */
#define CSV_LIMIT ((size_t)64 << 20)

typedef struct reader {
    const char *path;
    char *at;      /* what comes next */
    size_t line;   /* of `at`, from 1 */
    char *field;   /* the field read last */
    char end;      /* what ended it: ',', '\n', or '\0' at the end of the file */
    bool unclosed; /* a quote without its second */
} reader;

static int refuse(const reader *r, size_t line, const char *what, const char *wanted) {
    terminal_error("%s: line %zu: %s; %s", r->path, line, what, wanted);
    return EXIT_REFUSED;
}

/* Moves the characters between quotes to *out, without the doubled quotes. */
static void take_quoted(reader *r, char **out) {
    for (r->at++; *r->at != '\0'; r->at++) {
        if (*r->at == '"') {
            if (r->at[1] != '"') {
                r->at++;
                return;
            }
            r->at++;
        } else if (*r->at == '\n') {
            r->line++;
        }
        *(*out)++ = *r->at;
    }
    r->unclosed = true;
}

/* Cuts the next field off. */
static void next_field(reader *r) {
    char *out = r->field = r->at;
    if (*r->at == '"') take_quoted(r, &out);
    while (*r->at != ',' && *r->at != '\n' && *r->at != '\0') *out++ = *r->at++;
    r->end = *r->at;
    if (r->end != ',' && out > r->field && out[-1] == '\r') out--;
    if (r->end != '\0') r->at++;
    if (r->end == '\n') r->line++;
    *out = '\0';
}

static int find_column(reader *r, const char *name, size_t *index) {
    char found[256] = "";
    size_t used = 0;
    for (size_t i = 0;; i++) {
        next_field(r);
        if (strcmp(r->field, name) == 0) {
            *index = i;
            while (r->end == ',') next_field(r);
            return EXIT_DONE;
        }
        size_t length = strlen(r->field);
        if (used + length + 3 < sizeof found) {
            if (used > 0) memcpy(found + used, ", ", 2), used += 2;
            memcpy(found + used, r->field, length + 1);
            used += length;
        }
        if (r->end != ',') break;
    }
    terminal_error("%s: no column \"%s\" (there are: %s); the first line must name it", r->path, name, found);
    return EXIT_REFUSED;
}

/* Reads one row and keeps its field `index`; rows without any text are skipped. */
static int read_row(reader *r, size_t index, csv_column *column) {
    size_t line = r->line, i = 0;
    char *value = NULL;
    bool blank = true;
    do {
        next_field(r);
        if (i++ == index) value = r->field;
        blank = blank && r->field[0] == '\0';
    } while (r->end == ',');
    if (r->unclosed)
        return refuse(r, line, "a quote is not closed", "\"...\" is wanted, with \"\" for a quote");
    if (blank) return EXIT_DONE;
    if (value == NULL || value[0] == '\0') return refuse(r, line, "names no scan", "a path is wanted");
    column->values[column->count++] = value;
    return EXIT_DONE;
}

/* One value a line at most, and one for a last line without a line feed. */
static char **reserve(const char *text) {
    size_t lines = 1;
    for (; *text != '\0'; text++) lines += *text == '\n';
    return calloc(lines, sizeof(char *));
}

int csv_read(const char *path, const char *name, csv_column *column) {
    *column = (csv_column){0};
    size_t size = 0, index = 0;
    int code = input_file(path, CSV_LIMIT, &column->text, &size);
    if (code != EXIT_DONE) return code;
    column->values = reserve(column->text);
    if (column->values == NULL) {
        terminal_error("%s: out of memory", path);
        return EXIT_FAILED;
    }
    reader r = {.path = path, .at = column->text, .line = 1};
    if (strncmp(r.at, "\xef\xbb\xbf", 3) == 0) r.at += 3;
    code = find_column(&r, name, &index);
    while (code == EXIT_DONE && *r.at != '\0') code = read_row(&r, index, column);
    return code;
}

void csv_free(csv_column *column) {
    free(column->values);
    free(column->text);
    *column = (csv_column){0};
}
