/* base.c - checked sizes, the arena, atomic files, JSON reading. */
#include "base/arena.h"
#include "base/buffer.h"
#include "base/decimal.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"

#include <locale.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void shape_product_that_overflows_is_refused(void **state) {
    (void)state;
    int64_t count = 7;
    assert_true(tomo_shape_count((int64_t[]){2, 3, 4}, 3, &count));
    assert_int_equal(count, 24);
    assert_false(tomo_shape_count((int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40}, 2, &count));
    assert_false(tomo_shape_count((int64_t[]){-1}, 1, &count));
}

static void arena_second_round_fits_one_chunk(void **state) {
    (void)state;
    tomo_arena *arena = tomo_arena_create(0);
    assert_non_null(arena);
    for (int i = 0; i < 5; i++) assert_non_null(tomo_arena_alloc(arena, (size_t)3 << 20));
    size_t peak = tomo_arena_peak(arena);
    assert_true(peak >= (size_t)15 << 20);
    tomo_arena_reset(arena);
    unsigned char *first = tomo_arena_alloc(arena, 1);
    unsigned char *second = tomo_arena_alloc(arena, (size_t)12 << 20);
    assert_ptr_equal(second, first + TOMO_ARENA_ALIGNMENT);
    assert_int_equal(tomo_arena_peak(arena), peak);
    assert_null(tomo_arena_alloc(arena, SIZE_MAX));
    tomo_arena_free(arena);
}

static void arena_rewinds_to_a_mark(void **state) {
    (void)state;
    tomo_arena *arena = tomo_arena_create((size_t)4 << 20);
    (void)tomo_arena_alloc(arena, 100);
    tomo_arena_mark mark = tomo_arena_get_mark(arena);
    void *a = tomo_arena_alloc(arena, 1000);
    (void)tomo_arena_alloc(arena, (size_t)8 << 20);
    tomo_arena_rewind(arena, mark);
    assert_ptr_equal(tomo_arena_alloc(arena, 1000), a);
    tomo_arena_free(arena);
}

static void arena_keeps_a_piece_across_chunks(void **state) {
    (void)state;
    tomo_arena *arena = tomo_arena_create(4096);
    tomo_arena_mark mark = tomo_arena_get_mark(arena);
    (void)tomo_arena_alloc(arena, 4096);
    size_t bytes = (size_t)3 << 20;
    unsigned char *piece = tomo_arena_alloc(arena, bytes);
    for (size_t i = 0; i < bytes; i++) piece[i] = (unsigned char)(i * 7);
    unsigned char *kept = tomo_arena_keep(arena, mark, piece, bytes);
    for (size_t i = 0; i < bytes; i++) assert_int_equal(kept[i], (unsigned char)(i * 7));
    assert_true(tomo_arena_alloc(arena, 64) != NULL);
    tomo_arena_free(arena);
}

static void writer_that_is_aborted_leaves_the_old_file(void **state) {
    (void)state;
    char folder[] = "tomo-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/out", folder);
    tomo_writer *w = NULL;
    assert_int_equal(tomo_writer_open(path, &w, NULL), TOMO_OK);
    assert_int_equal(tomo_writer_write(w, "old", 3, NULL), TOMO_OK);
    assert_int_equal(tomo_writer_commit(w, NULL), TOMO_OK);
    assert_int_equal(tomo_writer_open(path, &w, NULL), TOMO_OK);
    assert_int_equal(tomo_writer_write(w, "new", 3, NULL), TOMO_OK);
    tomo_writer_abort(w);
    char *bytes = NULL;
    size_t size = 0;
    assert_int_equal(tomo_file_read(path, 100, &bytes, &size, NULL), TOMO_OK);
    assert_string_equal(bytes, "old");
    free(bytes);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* nothing else was left behind */
}

static void writer_reports_a_full_disk(void **state) {
    (void)state;
    tomo_writer *w = NULL;
    tomo_error err = {0};
    assert_int_equal(tomo_writer_open("/dev/full", &w, &err), TOMO_OK);
    (void)tomo_writer_write(w, "x", 1, &err);
    assert_int_equal(tomo_writer_commit(w, &err), TOMO_E_IO);
    assert_non_null(strstr(err.message, "/dev/full"));
}

static void json_messages_name_file_and_key(void **state) {
    (void)state;
    cJSON *root = NULL;
    tomo_error err = {0};
    const char *text = "{\"width\": 12.5, \"odd\": 1}";
    assert_int_equal(tomo_json_parse("a.json", text, strlen(text), &root, &err), TOMO_OK);
    int64_t width = 3;
    tomo_json_at at = {"a.json", "connector."};
    assert_int_equal(tomo_json_int(root, "absent", at, false, 0, 9, &width, &err), TOMO_OK);
    assert_int_equal(width, 3);
    assert_int_equal(tomo_json_int(root, "width", at, false, 0, 99, &width, &err), TOMO_E_HEADER);
    assert_string_equal(err.message,
                        "a.json: \"connector.width\" is 12.5; a whole number from 0 to 99 is wanted");
    const char *known[] = {"width", NULL};
    assert_int_equal(tomo_json_only(root, at, known, &err), TOMO_E_HEADER);
    assert_string_equal(err.message, "a.json: unknown key \"connector.odd\"");
    cJSON_Delete(root);
    assert_int_equal(tomo_json_parse("a.json", "{\"a\": ", 6, &root, &err), TOMO_E_FORMAT);
    assert_int_equal(tomo_json_parse("a.json", "{} {}", 5, &root, &err), TOMO_E_FORMAT);
}

static void buffer_stops_at_its_maximum(void **state) {
    (void)state;
    tomo_buffer b = {.maximum = 8};
    assert_true(tomo_buffer_format(&b, "%d-%s", 12, "abc"));
    assert_string_equal(b.data, "12-abc");
    assert_false(tomo_buffer_add_text(&b, "toolong"));
    assert_true(b.failed);
    tomo_buffer_free(&b);
}

/* A host that speaks German, such as a Qt program, changes neither files nor messages. The locale is made
 * here, since few machines have one with a comma. */
static void numbers_have_a_point_in_every_locale(void **state) {
    (void)state;
    char folder[] = "/tmp/tomo-locale-XXXXXX", command[160];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(command, sizeof command, "localedef -i de_DE -f UTF-8 %s/de_DE.UTF-8 > /dev/null 2>&1",
                   folder);
    bool made =
        system(command) == 0 && setenv("LOCPATH", folder, 1) == 0 && setlocale(LC_ALL, "de_DE.UTF-8") != NULL;
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!made) skip(); /* no sources of locales here */
    char host[16], text[TOMO_DECIMAL_TEXT];
    (void)snprintf(host, sizeof host, "%.1f", 0.5);
    tomo_buffer b = {.maximum = 100};
    tomo_error error = {0};
    double value = 0;
    (void)tomo_fail(&error, TOMO_E_HEADER, "%.1f is not %g", 0.5, 1.5);
    assert_true(tomo_buffer_format(&b, "%.2f,%d", 2.25, 7));
    tomo_decimal_write(0.1, text);
    assert_true(tomo_decimal_read("1.5", 3, false, &value));
    char after[16];
    (void)snprintf(after, sizeof after, "%.1f", 0.5);
    (void)setlocale(LC_ALL, "C");
    assert_string_equal(host, "0,5");
    assert_string_equal(error.message, "0.5 is not 1.5");
    assert_string_equal(b.data, "2.25,7");
    assert_string_equal(text, "0.1");
    assert_true(value > 1.4 && value < 1.6);
    assert_string_equal(after, "0,5"); /* the host's own numbers are as it set them */
    tomo_buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shape_product_that_overflows_is_refused),
        cmocka_unit_test(arena_second_round_fits_one_chunk),
        cmocka_unit_test(arena_rewinds_to_a_mark),
        cmocka_unit_test(arena_keeps_a_piece_across_chunks),
        cmocka_unit_test(writer_that_is_aborted_leaves_the_old_file),
        cmocka_unit_test(writer_reports_a_full_disk),
        cmocka_unit_test(json_messages_name_file_and_key),
        cmocka_unit_test(buffer_stops_at_its_maximum),
        cmocka_unit_test(numbers_have_a_point_in_every_locale),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
