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

static bool suits(tomo_csv_field f, tomo_column_type type) {
    int64_t integer;
    double number;
    switch (type) {
    case TOMO_COLUMN_INTEGER:
        return tomo_decimal_read_integer(f.text, f.size, &integer);
    case TOMO_COLUMN_FLOAT:
        return tomo_decimal_read(f.text, f.size, true, &number);
    case TOMO_COLUMN_BOOLEAN:
        return is_true(f) || is_false(f);
    case TOMO_COLUMN_TEXT:
        break;
    }
    return true;
}

/* The first type that every value suits, in pandas' order. Integers beside a missing value become floats. */
static void find_type(tomo_frame *frame, size_t column) {
    size_t rows = tomo_csv_row_count(frame->csv), present = 0;
    tomo_column_type type = TOMO_COLUMN_INTEGER;
    for (size_t row = 0; row < rows; row++) {
        tomo_csv_field f = tomo_csv_at(frame->csv, row, column);
        if (is_missing(f)) {
            frame->missing[column] = true;
            continue;
        }
        present++;
        if (suits(f, type)) continue;
        /* What came before suits the next type only when that one is wider; truth values are no numbers. */
        if (type == TOMO_COLUMN_INTEGER && suits(f, TOMO_COLUMN_FLOAT)) {
            type = TOMO_COLUMN_FLOAT;
        } else if (present == 1 && suits(f, TOMO_COLUMN_BOOLEAN)) {
            type = TOMO_COLUMN_BOOLEAN;
        } else {
            type = TOMO_COLUMN_TEXT;
        }
    }
    if (type == TOMO_COLUMN_INTEGER && frame->missing[column]) type = TOMO_COLUMN_FLOAT;
    frame->types[column] = type;
}

tomo_status tomo_frame_open(const char *path, tomo_frame *frame, tomo_error *err) {
    *frame = (tomo_frame){0};
    tomo_status status = tomo_csv_open(path, &frame->csv, err);
    if (status != TOMO_OK) return status;
    size_t columns = tomo_csv_column_count(frame->csv);
    frame->types = calloc(columns, sizeof *frame->types);
    frame->missing = calloc(columns, sizeof *frame->missing);
    if (frame->types == NULL || frame->missing == NULL) {
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
    *frame = (tomo_frame){0};
}

static tomo_csv_field of_text(const char *text) {
    return (tomo_csv_field){text, strlen(text)};
}

tomo_csv_field tomo_frame_text(const tomo_frame *frame, size_t row, size_t column,
                               char room[TOMO_DECIMAL_TEXT]) {
    tomo_csv_field f = tomo_csv_at(frame->csv, row, column);
    int64_t integer = 0;
    double number = 0;
    if (is_missing(f)) return of_text("nan");
    switch (frame->types[column]) {
    case TOMO_COLUMN_INTEGER:
        (void)tomo_decimal_read_integer(f.text, f.size, &integer);
        (void)snprintf(room, TOMO_DECIMAL_TEXT, "%lld", (long long)integer);
        return of_text(room);
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
