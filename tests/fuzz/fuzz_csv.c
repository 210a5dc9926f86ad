/* fuzz_csv.c - hostile CSV files: what is read is UTF-8 and rectangular, and written again it reads the same.
 */
#include "base/csv.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_equal(const tomo_csv *a, const tomo_csv *b) {
    size_t rows = tomo_csv_row_count(a), columns = tomo_csv_column_count(a);
    if (rows != tomo_csv_row_count(b) || columns != tomo_csv_column_count(b)) abort();
    for (size_t row = 0; row < rows; row++) {
        for (size_t c = 0; c < columns; c++) {
            tomo_csv_field x = tomo_csv_at(a, row, c), y = tomo_csv_at(b, row, c);
            if (x.size != y.size || (x.size > 0 && memcmp(x.text, y.text, x.size) != 0)) abort();
        }
    }
}

/* A row of one empty field is an empty line, which is skipped: such a table does not come back. */
static bool holds_empty_line(const tomo_csv *csv) {
    if (tomo_csv_column_count(csv) > 1) return false;
    bool found = tomo_csv_name(csv, 0).size == 0;
    for (size_t row = 0; row < tomo_csv_row_count(csv); row++)
        found = found || tomo_csv_at(csv, row, 0).size == 0;
    return found;
}

static void write_again(const tomo_csv *csv) {
    tomo_buffer out = {.maximum = SIZE_MAX / 2};
    tomo_csv *again = NULL;
    for (size_t row = 0; row <= tomo_csv_row_count(csv); row++) {
        for (size_t c = 0; c < tomo_csv_column_count(csv); c++) {
            tomo_csv_field f = row == 0 ? tomo_csv_name(csv, c) : tomo_csv_at(csv, row - 1, c);
            if (!tomo_csv_is_utf8(f.text, f.size)) abort();
            (void)tomo_csv_put(&out, c == 0, f.text, f.size);
        }
        (void)tomo_buffer_add(&out, "\r\n", 2);
    }
    /* A name that begins with a byte order mark is not written in quotes, and loses it. */
    bool mark = out.size >= 3 && memcmp(out.data, "\xef\xbb\xbf", 3) == 0;
    if (!out.failed && !mark) {
        if (tomo_csv_open_memory("again", out.data, out.size, &again, NULL) != TOMO_OK) abort();
        check_equal(csv, again);
        tomo_csv_free(again);
    }
    tomo_buffer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tomo_csv *csv = NULL;
    tomo_error err = {0};
    if (tomo_csv_open_memory("fuzz", (const char *)data, size, &csv, &err) == TOMO_OK) {
        if (!holds_empty_line(csv)) write_again(csv);
    } else if (err.message[0] == '\0') {
        abort();
    }
    tomo_csv_free(csv);
    return 0;
}
