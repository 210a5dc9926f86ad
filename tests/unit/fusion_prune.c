/* fusion_prune.c - slices chosen without a look at them. */
#include "fusion/prune.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tomo_prune_result choose(tomo_slice_choice choice, int64_t most, int64_t slices, uint64_t content) {
    tomo_prune_settings s = {.choice = choice, .max_slices = most, .seed = 3};
    tomo_prune_result r;
    assert_int_equal(tomo_prune_choose(&s, slices, content, &r, NULL), TOMO_OK);
    assert_int_equal(r.slices, slices);
    assert_int_equal(r.count, most < slices ? most : slices);
    assert_int_equal(r.kept[0], 0);
    for (int64_t i = 0, k = 0; i < slices; i++) {
        bool kept = k < r.count && r.kept[k] == i;
        k += kept;
        assert_int_equal(r.fate[i] == TOMO_SLICE_NOT_CHOSEN, !kept);
    }
    for (int64_t k = 1; k < r.count; k++) assert_true(r.kept[k] > r.kept[k - 1]);
    return r;
}

static void uniform_slices_stand_for_runs_of_one_length(void **state) {
    (void)state;
    int64_t runs[10];
    tomo_prune_result r = choose(TOMO_CHOICE_UNIFORM, 4, 12, 0);
    const int64_t even[] = {0, 3, 6, 9};
    assert_memory_equal(r.kept, even, sizeof even);
    tomo_prune_free(&r);
    r = choose(TOMO_CHOICE_UNIFORM, 4, 10, 0);
    tomo_run_lengths(r.kept, r.count, 10, runs);
    for (int i = 0; i < 4; i++) assert_in_range(runs[i], 2, 3);
    tomo_prune_free(&r);
    const int64_t few[] = {1, 3, 9};
    for (int i = 0; i < 3; i++) {
        r = choose(TOMO_CHOICE_UNIFORM, 9, few[i], 0);
        tomo_prune_free(&r);
        r = choose(TOMO_CHOICE_UNIFORM, 1, few[i], 0);
        tomo_prune_free(&r);
    }
}

/* Each slice but the first is drawn with probability 3 / 9: in 3000 draws 1000 times, with a standard
 * deviation of 26; 5 of them are allowed. */
static void every_slice_is_drawn_as_often(void **state) {
    (void)state;
    int drawn[10] = {0};
    for (uint64_t scan = 0; scan < 3000; scan++) {
        tomo_prune_result r = choose(TOMO_CHOICE_RANDOM, 4, 10, scan * 0x9e3779b97f4a7c15u);
        for (int64_t k = 0; k < r.count; k++) drawn[r.kept[k]]++;
        tomo_prune_free(&r);
    }
    assert_int_equal(drawn[0], 3000);
    for (int i = 1; i < 10; i++) assert_in_range(drawn[i], 1000 - 130, 1000 + 130);
}

static void a_draw_repeats(void **state) {
    (void)state;
    tomo_prune_result a = choose(TOMO_CHOICE_RANDOM, 20, 100, 77),
                      b = choose(TOMO_CHOICE_RANDOM, 20, 100, 77);
    assert_memory_equal(a.kept, b.kept, 20 * sizeof *a.kept);
    tomo_prune_free(&b);
    b = choose(TOMO_CHOICE_RANDOM, 20, 100, 78);
    assert_memory_not_equal(a.kept, b.kept, 20 * sizeof *a.kept);
    tomo_prune_free(&a);
    tomo_prune_free(&b);
}

/* An encoder whose weights are damaged gives no numbers. */
static void what_is_no_number_ends_well(void **state) {
    (void)state;
    const float descriptors[6][2] = {{1, 0}, {NAN, 0}, {0, INFINITY}, {NAN, NAN}, {-NAN, 1}, {1, NAN}};
    tomo_prune_settings s = {.threshold = 0.9, .min_slices = 3, .max_slices = 4};
    tomo_prune_result r;
    tomo_pruner *pruner = NULL;
    assert_int_equal(tomo_pruner_create(&s, 1, 2, &pruner, NULL), TOMO_OK);
    for (int i = 0; i < 6; i++) {
        bool kept;
        assert_int_equal(tomo_pruner_push(pruner, descriptors[i], NULL, &kept, NULL), TOMO_OK);
    }
    assert_int_equal(tomo_pruner_finish(pruner, &r, NULL), TOMO_OK);
    assert_in_range(r.count, 3, 4);
    for (int64_t k = 1; k < r.count; k++) assert_true(r.kept[k] > r.kept[k - 1] && r.kept[k] < 6);
    tomo_prune_free(&r);
    tomo_pruner_free(pruner);
}

static void settings_are_read_and_refused(void **state) {
    (void)state;
    tomo_prune_settings s;
    tomo_error err = {0};
    tomo_json_at at = {"c.json", "prune."};
    cJSON *root = cJSON_Parse("{\"choice\": \"random\", \"max_slices\": 5, \"seed\": 4}");
    assert_int_equal(tomo_prune_parse(root, at, &s, &err), TOMO_OK);
    assert_true(s.choice == TOMO_CHOICE_RANDOM && s.max_slices == 5 && s.seed == 4);
    cJSON_Delete(root);
    static const char *const bad[][2] = {
        {"{\"choice\": \"evenly\", \"max_slices\": 5}", "prune.choice"},
        {"{\"choice\": \"uniform\"}", "prune.max_slices"},
        {"{\"choice\": \"similarity\", \"max_slices\": 5, \"min_slices\": 1}", "prune.threshold"},
        {"{\"choice\": \"random\", \"max_slices\": 5, \"seed\": -1}", "prune.seed"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        root = cJSON_Parse(bad[i][0]);
        assert_int_equal(tomo_prune_parse(root, at, &s, &err), TOMO_E_HEADER);
        assert_non_null(strstr(err.message, bad[i][1]));
        cJSON_Delete(root);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform_slices_stand_for_runs_of_one_length),
        cmocka_unit_test(every_slice_is_drawn_as_often),
        cmocka_unit_test(a_draw_repeats),
        cmocka_unit_test(what_is_no_number_ends_well),
        cmocka_unit_test(settings_are_read_and_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
