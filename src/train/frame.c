#include "train/frame.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(tomo_csv_field f, const char *const *names) {
    for (; *names != NULL; names++) {
        if (strlen(*names) == f.size && memcmp(*names, f.text, f.size) == 0) return true;
    }
    return false;
}

/* pandas 3.1's default na_values. */
static bool is_missing(tomo_csv_field f) {
    static const char *const names[] = {"",     "#N/A",   "#N/A N/A", "#NA",  "-1.#IND", "-1.#QNAN", "-NaN",
                                        "-nan", "1.#IND", "1.#QNAN",  "<NA>", "N/A",     "NA",       "NULL",
                                        "NaN",  "None",   "n/a",      "nan",  "null",    NULL};
    return is_one_of(f, names);
}

static bool is_true(tomo_csv_field f) {
    static const char *const names[] = {"True", "TRUE", "true", NULL};
    return is_one_of(f, names);
}

static bool is_false(tomo_csv_field f) {
    static const char *const names[] = {"False", "FALSE", "false", NULL};
    return is_one_of(f, names);
}

/* A whole number of any length, as its sign and its digits without zeros in front. */
static bool read_digits(tomo_csv_field f, bool *negative, tomo_csv_field *digits) {
    while (f.size > 0 && strchr(" \t\n\v\f\r", f.text[0]) != NULL && f.text[0] != '\0') f.text++, f.size--;
    while (f.size > 0 && strchr(" \t\n\v\f\r", f.text[f.size - 1]) != NULL && f.text[f.size - 1] != '\0')
        f.size--;
    *negative = f.size > 0 && f.text[0] == '-';
    if (f.size > 0 && (f.text[0] == '-' || f.text[0] == '+')) f.text++, f.size--;
    if (f.size == 0) return false;
    for (size_t i = 0; i < f.size; i++) {
        if (f.text[i] < '0' || f.text[i] > '9') return false;
    }
    while (f.size > 1 && f.text[0] == '0') f.text++, f.size--;
    *digits = f;
    return true;
}

/* Whether a whole number fits 64 bits without a sign. */
static bool fits_unsigned(tomo_csv_field f) {
    static const char most[] = "18446744073709551615";
    bool negative = false;
    tomo_csv_field digits = {"", 0};
    if (!read_digits(f, &negative, &digits) || negative) return false;
    if (digits.size != sizeof most - 1) return digits.size < sizeof most - 1;
    return memcmp(digits.text, most, sizeof most - 1) <= 0;
}

static bool suits(tomo_csv_field f, tomo_column_type type) {
    bool negative;
    tomo_csv_field digits;
    double number;
    switch (type) {
    case TOMO_COLUMN_INTEGER:
    case TOMO_COLUMN_LONG:
        return read_digits(f, &negative, &digits);
    case TOMO_COLUMN_FLOAT:
        return tomo_decimal_read(f.text, f.size, true, &number);
    case TOMO_COLUMN_BOOLEAN:
        return is_true(f) || is_false(f);
    case TOMO_COLUMN_TEXT:
        break;
    }
    return true;
}

/* What is known of a column after some of its rows. */
typedef struct column_state {
    tomo_column_type type;
    size_t present;
    bool is_long;  /* a whole number beyond 64 bits with a sign stood there while all were whole numbers */
    bool negative; /* a whole number below 0 */
    bool longest;  /* one that does not fit 64 bits without a sign either */
} column_state;

/* The first type that every value suits, in pandas' order. */
static void see_value(column_state *c, tomo_csv_field f) {
    int64_t integer = 0;
    bool negative = false;
    tomo_csv_field digits = f;
    c->present++;
    if (c->type == TOMO_COLUMN_INTEGER && read_digits(f, &negative, &digits)) {
        c->is_long = c->is_long || !tomo_decimal_read_integer(f.text, f.size, &integer);
        c->negative = c->negative || negative;
        c->longest = c->longest || !fits_unsigned(digits);
        return;
    }
    if (suits(f, c->type)) return;
    /* What came before suits the next type only when that one is wider; truth values are no numbers. */
    if (c->type == TOMO_COLUMN_INTEGER && suits(f, TOMO_COLUMN_FLOAT)) {
        c->type = TOMO_COLUMN_FLOAT;
    } else if (c->present == 1 && suits(f, TOMO_COLUMN_BOOLEAN)) {
        c->type = TOMO_COLUMN_BOOLEAN;
    } else {
        c->type = TOMO_COLUMN_TEXT;
    }
}

/* Integers beside a missing value become floats. Long ones are integers too, of any length; but where all fit
 * 64 bits without a sign and one is missing or below 0, or where one is longer still and something else
 * follows, pandas leaves every text as it is, that of a missing value too. */
static void find_type(tomo_frame *frame, size_t column) {
    size_t rows = tomo_csv_row_count(frame->csv);
    column_state c = {.type = TOMO_COLUMN_INTEGER};
    for (size_t row = 0; row < rows; row++) {
        tomo_csv_field f = tomo_csv_at(frame->csv, row, column);
        if (is_missing(f)) {
            frame->missing[column] = true;
        } else {
            see_value(&c, f);
        }
    }
    bool whole = c.type == TOMO_COLUMN_INTEGER;
    if (c.is_long && whole) {
        frame->as_written[column] = !c.longest && (c.negative || frame->missing[column]);
        c.type = TOMO_COLUMN_LONG;
    } else if (c.longest) {
        frame->as_written[column] = true;
    } else if (whole && frame->missing[column]) {
        c.type = TOMO_COLUMN_FLOAT;
    }
    frame->types[column] = c.type;
}

tomo_status tomo_frame_open(const char *path, tomo_frame *frame, tomo_error *err) {
    *frame = (tomo_frame){0};
    tomo_status status = tomo_csv_open(path, &frame->csv, err);
    if (status != TOMO_OK) return status;
    size_t columns = tomo_csv_column_count(frame->csv);
    frame->types = calloc(columns, sizeof *frame->types);
    frame->missing = calloc(columns, sizeof *frame->missing);
    frame->as_written = calloc(columns, sizeof *frame->as_written);
    if (frame->types == NULL || frame->missing == NULL || frame->as_written == NULL) {
        tomo_frame_free(frame);
        return tomo_fail_memory(err, path, columns);
    }
    for (size_t i = 0; i < columns; i++) find_type(frame, i);
    return TOMO_OK;
}

void tomo_frame_free(tomo_frame *frame) {
    tomo_csv_free(frame->csv);
    free(frame->types);
    free(frame->missing);
    free(frame->as_written);
    *frame = (tomo_frame){0};
}

/* "-12" from "-0012"; the field itself has room for it nowhere, so a sign stands in front of digits that
 * follow it. */
static tomo_csv_field long_text(tomo_csv_field f) {
    bool negative = false;
    tomo_csv_field digits = f;
    (void)read_digits(f, &negative, &digits);
    return negative && digits.text[-1] == '-' ? (tomo_csv_field){digits.text - 1, digits.size + 1} : digits;
}

static tomo_csv_field of_text(const char *text) {
    return (tomo_csv_field){text, strlen(text)};
}

tomo_csv_field tomo_frame_text(const tomo_frame *frame, size_t row, size_t column,
                               char room[TOMO_DECIMAL_TEXT]) {
    tomo_csv_field f = tomo_csv_at(frame->csv, row, column);
    int64_t integer = 0;
    double number = 0;
    if (frame->as_written[column]) return f;
    if (is_missing(f)) return of_text("nan");
    switch (frame->types[column]) {
    case TOMO_COLUMN_INTEGER:
        (void)tomo_decimal_read_integer(f.text, f.size, &integer);
        (void)snprintf(room, TOMO_DECIMAL_TEXT, "%lld", (long long)integer);
        return of_text(room);
    case TOMO_COLUMN_LONG:
        return long_text(f);
    case TOMO_COLUMN_FLOAT:
        (void)tomo_decimal_read(f.text, f.size, true, &number);
        tomo_decimal_write(number, room);
        return of_text(room);
    case TOMO_COLUMN_BOOLEAN:
        return of_text(is_true(f) ? "True" : "False");
    case TOMO_COLUMN_TEXT:
        break;
    }
    return f;
}
