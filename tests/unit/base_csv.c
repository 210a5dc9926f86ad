/* base_csv.c - CSV files as RFC 4180 has them and the messages of those that are not, numbers as Python
 * writes them, digests */
#include "base/csv.h"
#include "base/decimal.h"
#include "base/digest.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tomo_csv *read_good(const char *text) {
    tomo_csv *csv = NULL;
    tomo_error err = {0};
    if (tomo_csv_open_memory("t.csv", text, strlen(text), &csv, &err) != TOMO_OK) fail_msg("%s", err.message);
    return csv;
}

static void assert_field(const tomo_csv *csv, size_t row, size_t column, const char *want) {
    tomo_csv_field f = tomo_csv_at(csv, row, column);
    assert_int_equal(f.size, strlen(want));
    assert_memory_equal(f.text, want, f.size);
}

static void quotes_hold_commas_quotes_and_line_ends(void **state) {
    (void)state;
    tomo_csv *csv = read_good("\xef\xbb\xbf"
                              "a,b\r\n\"1,\"\"2\"\"\n3\",x\r\n\r\n,\"\"\n");
    assert_int_equal(tomo_csv_row_count(csv), 2);
    assert_int_equal(tomo_csv_find(csv, "b"), 1);
    assert_true(tomo_csv_find(csv, "c") == TOMO_CSV_NONE);
    assert_field(csv, 0, 0, "1,\"2\"\n3");
    assert_field(csv, 0, 1, "x");
    assert_field(csv, 1, 0, "");
    assert_field(csv, 1, 1, "");
    tomo_csv_free(csv);
}

static void what_is_wrong_is_told_with_row_and_column(void **state) {
    (void)state;
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"", "row 1, column 1: the file is empty"},
        {"a,b\n", "row 2, column 1"},
        {"a,b\n1,2\n1\n", "row 3, column 2 (b): the row ends"},
        {"a,b\n1,2,3\n", "row 2, column 3: more fields"},
        {"a,b\n1,\"2\n", "row 2, column 2 (b): a quote is not closed"},
        {"a,b\n1,\"2\"x\n", "row 2, column 2 (b): text behind a closing quote"},
        {"a,b\n1,\xff\n", "row 2, column 2 (b): bytes that are not UTF-8"},
        {"a,b\n1,\xed\xa0\x80\n", "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tomo_csv *csv = NULL;
        tomo_error err = {0};
        tomo_status status = tomo_csv_open_memory("t.csv", cases[i].text, strlen(cases[i].text), &csv, &err);
        assert_int_equal(status, TOMO_E_FORMAT);
        if (strstr(err.message, cases[i].told) == NULL) fail_msg("%s, not %s", err.message, cases[i].told);
        assert_null(csv);
    }
}

static void what_is_written_is_read_again(void **state) {
    (void)state;
    static const char *const texts[] = {"plain", "a,b", "\"", "line\nend", "\r", "", "caf\xc3\xa9"};
    tomo_buffer out = {.maximum = SIZE_MAX / 2};
    size_t count = sizeof texts / sizeof texts[0];
    for (int row = 0; row < 2; row++) {
        for (size_t i = 0; i < count; i++) (void)tomo_csv_put(&out, i == 0, texts[i], strlen(texts[i]));
        (void)tomo_buffer_add(&out, "\r\n", 2);
    }
    tomo_csv *csv = read_good(out.data);
    for (size_t i = 0; i < count; i++) assert_field(csv, 0, i, texts[i]);
    tomo_csv_free(csv);
    tomo_buffer_free(&out);
}

static void numbers_look_as_in_python(void **state) {
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0.1, "0.1"},
                 {2, "2.0"},
                 {100, "100.0"},
                 {1e15, "1000000000000000.0"},
                 {1e16, "1e+16"},
                 {1e-4, "0.0001"},
                 {1e-5, "1e-05"},
                 {1.5e-7, "1.5e-07"},
                 {0, "0.0"},
                 {-2.5, "-2.5"},
                 {1.0 / 3, "0.3333333333333333"},
                 {123456.789, "123456.789"},
                 {5e-324, "5e-324"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {INFINITY, "inf"},
                 {NAN, "nan"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[TOMO_DECIMAL_TEXT];
        tomo_decimal_write(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
    double value = 0;
    int64_t integer = 0;
    assert_true(tomo_decimal_read(" 1e3 ", 5, false, &value) && value == 1000);
    assert_false(tomo_decimal_read("0x10", 4, false, &value));
    assert_false(tomo_decimal_read("inf", 3, false, &value));
    assert_false(tomo_decimal_read("", 0, false, &value));
    assert_true(tomo_decimal_read_integer("007", 3, &integer) && integer == 7);
    assert_false(tomo_decimal_read_integer("99999999999999999999", 20, &integer));
    assert_false(tomo_decimal_read_integer("1.0", 3, &integer));
}

static void digests_are_those_of_the_standard(void **state) {
    (void)state;
    tomo_digest *digest = NULL;
    char text[TOMO_DIGEST_TEXT];
    assert_int_equal(tomo_digest_create(&digest, NULL), TOMO_OK);
    tomo_digest_add(digest, "a", 1);
    tomo_digest_text(digest, text);
    tomo_digest_add(digest, "bc", 2);
    tomo_digest_text(digest, text); /* FIPS 180-4's example "abc" */
    assert_string_equal(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    tomo_digest_free(digest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotes_hold_commas_quotes_and_line_ends),
        cmocka_unit_test(what_is_wrong_is_told_with_row_and_column),
        cmocka_unit_test(what_is_written_is_read_again),
        cmocka_unit_test(numbers_look_as_in_python),
        cmocka_unit_test(digests_are_those_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
