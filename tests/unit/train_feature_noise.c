/* train_feature_noise.c - every channel of a layer is stretched and shifted as a whole, by drawn amounts that
 * a seed decides, whatever the number of threads. */
#include "train/feature_noise.h"

#include "tensor/pool.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 2, SLICES = 5, SIDE = 4, WIDTH = 300, PLACES = SLICES * SIDE * SIDE };
enum { COUNT = LAYERS * PLACES * WIDTH };

static void fill(float *x) {
    for (int i = 0; i < COUNT; i++) x[i] = (float)(i % WIDTH) + (float)(i * 37 % 101) / 50;
}

static void run(float *values, int threads, double amount, uint64_t seed, float *out) {
    tomo_features f = {LAYERS, SLICES, {SIDE, SIDE}, WIDTH, SLICES, 1, NULL, NULL, values, NULL};
    const tomo_kernels *kernels = NULL;
    tomo_pool *pool = NULL;
    tomo_exec exec;
    assert_int_equal(tomo_kernels_select(NULL, &kernels, NULL), TOMO_OK);
    assert_int_equal(tomo_pool_create(threads, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&exec, kernels, pool, NULL, 0, NULL), TOMO_OK);
    const float *changed = tomo_feature_noise(&exec, &f, amount, tomo_random_seed(seed));
    assert_non_null(changed);
    memcpy(out, changed, COUNT * sizeof *out);
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
}

/* Mean and standard deviation of a channel. */
static void describe(const float *x, int layer, int channel, double *mean, double *deviation) {
    double sum = 0, square = 0;
    for (int p = 0; p < PLACES; p++) {
        double v = (double)x[(layer * PLACES + p) * WIDTH + channel];
        sum += v;
        square += v * v;
    }
    *mean = sum / PLACES;
    *deviation = sqrt(square / PLACES - *mean * *mean);
}

static void channels_are_stretched_and_shifted(void **state) {
    (void)state;
    static float x[COUNT], y[COUNT];
    double amount = 0.4, shifts = 0, logs = 0;
    fill(x);
    run(x, 2, amount, 7, y);
    for (int l = 0; l < LAYERS; l++) {
        for (int c = 0; c < WIDTH; c++) {
            double mean, deviation, new_mean, new_deviation;
            describe(x, l, c, &mean, &deviation);
            describe(y, l, c, &new_mean, &new_deviation);
            double factor = new_deviation / deviation;
            shifts += pow((new_mean - mean) / deviation, 2);
            logs += pow(log(factor), 2);
            for (int p = 0; p < PLACES; p++) {
                size_t at = (size_t)((l * PLACES + p) * WIDTH + c);
                /* Values of up to 300 in float. */
                assert_true(fabs(((double)x[at] - mean) * factor + new_mean - (double)y[at]) < 1e-3);
            }
        }
    }
    /* Root mean squares of 600 draws: 3 % off is one standard deviation. */
    assert_true(fabs(sqrt(shifts / (LAYERS * WIDTH)) / amount - 1) < 0.1);
    assert_true(fabs(sqrt(logs / (LAYERS * WIDTH)) / (amount / 2) - 1) < 0.1);
}

static void the_seed_decides_and_not_the_threads(void **state) {
    (void)state;
    static float x[COUNT], y[COUNT], z[COUNT];
    fill(x);
    run(x, 1, 0.3, 7, y);
    run(x, 4, 0.3, 7, z);
    assert_memory_equal(y, z, sizeof y);
    run(x, 1, 0.3, 8, z);
    assert_memory_not_equal(y, z, sizeof y);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(channels_are_stretched_and_shifted),
        cmocka_unit_test(the_seed_decides_and_not_the_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
