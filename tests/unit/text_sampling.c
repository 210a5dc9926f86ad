/* text_sampling.c - greedy ties, numbers that are none, and seeds. */
#include "text/sampling.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define N 50

static tomo_sampler *make(tomo_sampling sampling) {
    tomo_sampler *s = NULL;
    assert_int_equal(tomo_sampler_create(&sampling, N, &s, NULL), TOMO_OK);
    return s;
}

static const tomo_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
static const tomo_sampling warm = {.temperature = 1, .top_p = 1, .repetition_penalty = 1, .seed = 7};

static void greedy_choice_takes_the_lowest_of_equals(void **state) {
    (void)state;
    tomo_sampler *s = make(greedy);
    float logits[N] = {0};
    logits[30] = logits[20] = logits[40] = 2;
    assert_int_equal(tomo_sampler_choose(s, logits, NULL, 0), 20);
    tomo_sampler_free(s);
}

static void penalty_applies_to_greedy_choice_once_an_id(void **state) {
    (void)state;
    tomo_sampling sampling = greedy;
    sampling.repetition_penalty = 1.5;
    tomo_sampler *s = make(sampling);
    const int32_t history[] = {3, 3, -5, 1000, 4};
    float logits[N] = {0};
    logits[3] = 3;
    logits[4] = -1;
    logits[5] = 1.9F;
    assert_int_equal(tomo_sampler_choose(s, logits, history, 5), 3);
    assert_true(logits[3] == 2.0F && logits[4] == -1.5F);
    tomo_sampler_free(s);
}

static void what_is_no_number_is_never_chosen(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        tomo_sampling sampling = kind == 0 ? greedy : warm;
        sampling.top_k = 5;
        sampling.top_p = 0.9;
        sampling.min_p = 0.01;
        tomo_sampler *s = make(sampling);
        float logits[N];
        for (int i = 0; i < N; i++) logits[i] = i == 17 ? -1000 : i % 2 == 0 ? NAN : -INFINITY;
        assert_int_equal(tomo_sampler_choose(s, logits, NULL, 0), 17);
        for (int i = 0; i < N; i++) logits[i] = NAN;
        assert_int_equal(tomo_sampler_choose(s, logits, NULL, 0), -1);
        for (int i = 0; i < N; i++) logits[i] = i == 9 ? INFINITY : (float)i;
        assert_int_equal(tomo_sampler_choose(s, logits, NULL, 0), 9);
        tomo_sampler_free(s);
    }
}

static void seeds_are_reproducible(void **state) {
    (void)state;
    /* floor(50 u) of xoshiro256** seeded with splitmix64(7), computed apart in Python. */
    static const int32_t first[] = {35, 13, 41, 49, 49, 43, 3, 5};
    tomo_sampler *a = make(warm), *b = make(warm);
    tomo_sampling other = warm;
    other.seed = 8;
    tomo_sampler *c = make(other);
    int differ = 0;
    for (int n = 0; n < 100; n++) {
        float x[N] = {0}, y[N] = {0}, z[N] = {0};
        int32_t id = tomo_sampler_choose(a, x, NULL, 0);
        assert_in_range(id, 0, N - 1);
        assert_int_equal(id, tomo_sampler_choose(b, y, NULL, 0));
        differ += id != tomo_sampler_choose(c, z, NULL, 0);
        if (n < 8) assert_int_equal(id, first[n]);
    }
    assert_true(differ > 50);
    tomo_sampler_free(a);
    tomo_sampler_free(b);
    tomo_sampler_free(c);
}

static void choices_follow_the_probabilities(void **state) {
    (void)state;
    tomo_sampler *s = make(warm);
    int counts[N] = {0};
    for (int n = 0; n < 40000; n++) {
        float logits[N];
        for (int i = 0; i < N; i++) logits[i] = -INFINITY;
        logits[2] = logf(1);
        logits[5] = logf(3);
        counts[tomo_sampler_choose(s, logits, NULL, 0)]++;
    }
    assert_int_equal(counts[2] + counts[5], 40000);
    assert_in_range(counts[2], 9500, 10500); /* 10000, standard deviation 87 */
    tomo_sampler_free(s);
}

static void settings_out_of_range_are_named(void **state) {
    (void)state;
    tomo_error err = {0};
    tomo_sampling s = warm;
    s.top_p = 1.5;
    assert_int_equal(tomo_sampling_check(&s, &err), TOMO_E_USAGE);
    assert_string_equal(err.message, "top_p is 1.5; a number from 0 to 1 is wanted");
    s = warm;
    s.temperature = NAN;
    assert_int_equal(tomo_sampling_check(&s, &err), TOMO_E_USAGE);
    s = warm;
    s.repetition_penalty = 0;
    assert_int_equal(tomo_sampling_check(&s, &err), TOMO_E_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(greedy_choice_takes_the_lowest_of_equals),
        cmocka_unit_test(penalty_applies_to_greedy_choice_once_an_id),
        cmocka_unit_test(what_is_no_number_is_never_chosen),
        cmocka_unit_test(seeds_are_reproducible),
        cmocka_unit_test(choices_follow_the_probabilities),
        cmocka_unit_test(settings_out_of_range_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
