/* tensor_kernels.c - every kernel table that this machine can run against the reference, at lengths that are
 * no multiple of a vector and at the ends of the number range. */
#include "tensor/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST 1031

static const int64_t lengths[] = {1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 129, 768, MOST};
#define LENGTHS (sizeof lengths / sizeof lengths[0])

static const tomo_kernels *tables[8];
static size_t table_count;
static const tomo_kernels *reference;

static float a[8 * MOST], b[16 * MOST], got[8 * MOST], want[8 * MOST];

static uint32_t state_of_random = 1;
static float random_value(void) {
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (float)(state_of_random >> 8) / (float)(1 << 23) - 1.0f; /* -1 .. 1 */
}

static void fill(float *x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) x[i] = scale * random_value();
}

/* |got - want| <= tolerance * max(1, |want|) for each. */
static void close_enough(const char *table, const char *kernel, int64_t n, double tolerance) {
    for (int64_t i = 0; i < n; i++) {
        double limit = tolerance * fmax(1.0, fabs((double)want[i]));
        if (!(fabs((double)got[i] - (double)want[i]) <= limit)) {
            fail_msg("%s %s: element %lld of %lld is %.9g, the reference says %.9g", table, kernel,
                     (long long)i, (long long)n, (double)got[i], (double)want[i]);
        }
    }
}

/* The same numbers for every table, so that what a test says does not depend on which this CPU runs. */
#define EACH_TABLE_AND_LENGTH                                                                                \
    for (size_t t = 0; t < table_count; t++)                                                                 \
        for (size_t l = 0; l < LENGTHS && (state_of_random = (uint32_t)l + 1) != 0; l++)

/* Elementary functions in float differ from libm by a few units in the last place: 1e-6 relative. */
static void activations_equal_the_reference(void **state) {
    (void)state;
    static const tomo_activation kinds[] = {TOMO_ACT_NONE,       TOMO_ACT_GELU, TOMO_ACT_GELU_TANH,
                                            TOMO_ACT_QUICK_GELU, TOMO_ACT_SILU, TOMO_ACT_SIGMOID,
                                            TOMO_ACT_TANH};
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
            fill(a, n, l % 2 == 0 ? 6.0f : 120.0f);
            a[0] = 0.0f;
            reference->activate(kinds[kind], want, a, n);
            tables[t]->activate(kinds[kind], got, a, n);
            close_enough(tables[t]->name, "activate", n, 1e-6);
        }
        fill(b, n, 3.0f);
        reference->silu_multiply(want, a, b, n);
        tables[t]->silu_multiply(got, a, b, n);
        close_enough(tables[t]->name, "silu_multiply", n, 1e-6);
    }
}

/* What is no number stays none, so that damaged weights are seen. */
static void nan_stays_nan(void **state) {
    (void)state;
    static const tomo_activation kinds[] = {TOMO_ACT_GELU, TOMO_ACT_GELU_TANH, TOMO_ACT_QUICK_GELU,
                                            TOMO_ACT_SILU, TOMO_ACT_SIGMOID,   TOMO_ACT_TANH};
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        for (size_t kind = 0; kind < sizeof kinds / sizeof kinds[0]; kind++) {
            fill(a, n, 2.0f);
            a[n - 1] = NAN;
            tables[t]->activate(kinds[kind], got, a, n);
            if (!isnan(got[n - 1])) fail_msg("%s: activation %d of NaN", tables[t]->name, (int)kinds[kind]);
        }
        fill(got, n, 2.0f);
        got[n / 2] = NAN;
        tables[t]->softmax(got, 1.0f, n);
        if (!isnan(got[n - 1])) fail_msg("%s: soft-max of NaN", tables[t]->name);
    }
}

static void pointwise_kernels_equal_the_reference(void **state) {
    (void)state;
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        fill(a, n, 2.0f);
        fill(b, n, 2.0f);
        reference->add(want, a, b, n);
        tables[t]->add(got, a, b, n);
        close_enough(tables[t]->name, "add", n, 0);
        reference->multiply(want, a, b, n);
        tables[t]->multiply(got, a, b, n);
        close_enough(tables[t]->name, "multiply", n, 0);
        memcpy(want, a, sizeof a);
        memcpy(got, a, sizeof a);
        reference->add_scaled(want, 0.3f, b, n);
        tables[t]->add_scaled(got, 0.3f, b, n);
        close_enough(tables[t]->name, "add_scaled", n, 2e-7);
        reference->rotate(want, a, b, b + n / 2, n / 2);
        tables[t]->rotate(got, a, b, b + n / 2, n / 2);
        close_enough(tables[t]->name, "rotate", n / 2 * 2, 1e-6);
    }
}

/* What is added to dx, against the reference; both begin with the same. */
static void begin_with(float value) {
    for (size_t i = 0; i < sizeof got / sizeof got[0]; i++) got[i] = want[i] = value;
}

/* As the elementary functions: a few units in the last place, of terms up to 10. */
static void ways_back_equal_the_reference(void **state) {
    (void)state;
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        const tomo_kernels *k = tables[t];
        for (int kind = TOMO_ACT_NONE; kind <= TOMO_ACT_TANH; kind++) {
            fill(a, n, l % 2 == 0 ? 6.0f : 60.0f);
            fill(b, n, 1.0f);
            begin_with(0.25f);
            reference->activate_backward((tomo_activation)kind, want, a, b, n);
            k->activate_backward((tomo_activation)kind, got, a, b, n);
            close_enough(k->name, "activate_backward", n, 3e-6);
        }
        fill(b, 2 * n, 2.0f);
        begin_with(0.5f);
        reference->silu_multiply_backward(want, want + MOST, a, b, b + n, n);
        k->silu_multiply_backward(got, got + MOST, a, b, b + n, n);
        close_enough(k->name, "silu_multiply_backward", n, 3e-6);
        close_enough(k->name, "silu_multiply_backward", MOST + n, 3e-6);
        begin_with(1.5f);
        reference->multiply_add(want, a, b, n);
        k->multiply_add(got, a, b, n);
        close_enough(k->name, "multiply_add", n, 3e-7);
    }
}

/* Sums of n terms near 1 in float: 2e-5 covers 1031 of them. */
static void ways_back_of_norms_equal_the_reference(void **state) {
    (void)state;
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        const tomo_kernels *k = tables[t];
        for (int centred = 0; centred < 2; centred++) {
            float moments[2], other[2];
            const float *weight = l % 2 == 0 ? b + n : NULL;
            fill(a, n, 2.0f);
            fill(b, 2 * n, 1.0f);
            for (int64_t i = 0; i < n; i++) a[i] += 1.0f;
            begin_with(0.125f);
            reference->norm_backward(want, a, b, weight, 1, n, 1e-2f, centred, other);
            k->norm_backward(got, a, b, weight, 1, n, 1e-2f, centred, moments);
            close_enough(k->name, "norm_backward", n, 2e-5);
            reference->norm_weight_backward(want, a, b, other, n);
            k->norm_weight_backward(got, a, b, moments, n);
            close_enough(k->name, "norm_weight_backward", n, 2e-5);
            k->norm_backward(NULL, a, b, weight, 1, n, 1e-2f, centred, moments);
            want[0] = other[0];
            want[1] = other[1];
            memcpy(got, moments, sizeof moments);
            close_enough(k->name, "moments", 2, 1e-5);
        }
    }
}

/* The same formula in double; products may be fused with sums. */
static void adam_equals_the_reference(void **state) {
    (void)state;
    const tomo_adam_factors f = {0.9, 0.999, 1e-8, 0.99, 1e-2, 1.7, 0.1};
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        fill(a, n, 1.0f);
        fill(want, 3 * MOST, 1.0f);
        for (int64_t i = 2 * MOST; i < 3 * MOST; i++) want[i] = fabsf(want[i]);
        memcpy(got, want, sizeof got);
        reference->adam(want, want + MOST, want + 2 * MOST, a, n, &f);
        tables[t]->adam(got, got + MOST, got + 2 * MOST, a, n, &f);
        close_enough(tables[t]->name, "adam", 3 * MOST, 2e-7);
    }
}

static void norms_and_softmax_equal_the_reference(void **state) {
    (void)state;
    EACH_TABLE_AND_LENGTH {
        int64_t n = lengths[l];
        fill(a, n, 3.0f);
        for (int64_t i = 0; i < n; i++) a[i] += 5.0f; /* a mean that would cancel badly in one pass */
        fill(b, 2 * n, 1.0f);
        reference->layer_norm(want, a, b, b + n, n, 1e-6f);
        tables[t]->layer_norm(got, a, b, b + n, n, 1e-6f);
        close_enough(tables[t]->name, "layer_norm", n, n == 1 ? 1e-6 : 1e-5);
        reference->layer_norm(want, a, NULL, NULL, n, 1e-5f);
        tables[t]->layer_norm(got, a, NULL, NULL, n, 1e-5f);
        close_enough(tables[t]->name, "layer_norm", n, n == 1 ? 1e-6 : 1e-5);
        reference->rms_norm(want, a, b, 1.0f, n, 1e-6f);
        tables[t]->rms_norm(got, a, b, 1.0f, n, 1e-6f);
        close_enough(tables[t]->name, "rms_norm", n, 2e-6);
        fill(a, n, 40.0f);
        if (n > 2) a[1] = -INFINITY; /* a masked place */
        memcpy(want, a, sizeof a);
        memcpy(got, a, sizeof a);
        reference->softmax(want, 0.5f, n);
        tables[t]->softmax(got, 0.5f, n);
        close_enough(tables[t]->name, "softmax", n, 2e-6);
    }
}

/* The sum of n products of values below 1: float rounding grows with sqrt(n), 2e-5 covers 1031. */
static void products_equal_the_reference(void **state) {
    (void)state;
    static const tomo_dtype dtypes[] = {TOMO_F32, TOMO_BF16, TOMO_F16};
    static uint16_t half[16 * MOST];
    static float arranged[8 * MOST];
    EACH_TABLE_AND_LENGTH {
        int64_t k = lengths[l], n = 13;
        for (int64_t rows = 1; rows <= TOMO_PRODUCT_ROWS; rows++) {
            for (size_t d = 0; d < 3; d++) {
                fill(a, rows * k, 1.0f);
                fill(b, n * k, 1.0f);
                for (int64_t i = 0; i < n * k; i++) {
                    half[i] = dtypes[d] == TOMO_BF16 ? tomo_float_to_bf16(b[i]) : tomo_float_to_f16(b[i]);
                }
                const void *w = dtypes[d] == TOMO_F32 ? (const void *)b : half;
                reference->product(want, n, a, k, rows, w, dtypes[d], k, n, k);
                const float *x = a;
                if (dtypes[d] == TOMO_BF16) {
                    for (int64_t r = 0; r < rows; r++) tables[t]->arrange(arranged + r * k, a + r * k, k);
                    x = arranged;
                }
                tables[t]->product(got, n, x, k, rows, w, dtypes[d], k, n, k);
                close_enough(tables[t]->name, "product", rows * n, 2e-5);
            }
        }
        want[0] = reference->dot(a, b, k);
        got[0] = tables[t]->dot(a, b, k);
        close_enough(tables[t]->name, "dot", 1, 2e-5);
        fill(a, 3 * n, 1.0f);
        reference->weighted_sum(want, k, a, n, 3, b, k, n, k);
        tables[t]->weighted_sum(got, k, a, n, 3, b, k, n, k);
        close_enough(tables[t]->name, "weighted_sum", 3 * k, 1e-5);
    }
}

static void widening_is_exact_for_every_half(void **state) {
    (void)state;
    static uint16_t all[65536];
    static float wide[65536], expected[65536];
    for (int i = 0; i < 65536; i++) all[i] = (uint16_t)i;
    for (size_t t = 0; t < table_count; t++) {
        for (int kind = 0; kind < 2; kind++) {
            tomo_dtype dtype = kind == 0 ? TOMO_BF16 : TOMO_F16;
            reference->widen(expected, all, dtype, 65536);
            tables[t]->widen(wide, all, dtype, 65536);
            for (int i = 0; i < 65536; i++) {
                if (isnan(expected[i])) {
                    assert_true(isnan(wide[i]));
                } else {
                    assert_memory_equal(&wide[i], &expected[i], sizeof(float));
                }
            }
        }
    }
}

static void halves_survive_a_round_trip(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t x = (uint16_t)i;
        if (!isnan(tomo_bf16_to_float(x))) assert_int_equal(tomo_float_to_bf16(tomo_bf16_to_float(x)), x);
        if (!isnan(tomo_f16_to_float(x))) assert_int_equal(tomo_float_to_f16(tomo_f16_to_float(x)), x);
    }
    assert_int_equal(tomo_float_to_f16(65520.0f), 0x7c00); /* rounds up to infinity */
    assert_int_equal(tomo_float_to_f16(65519.0f), 0x7bff);
    assert_int_equal(tomo_float_to_bf16(1.00390625f), 0x3f80); /* a tie goes to even */
}

static void unknown_kernels_are_refused_by_name(void **state) {
    (void)state;
    const tomo_kernels *k = NULL;
    tomo_error err = {0};
    assert_int_equal(tomo_kernels_select("sse9", &k, &err), TOMO_E_USAGE);
    assert_non_null(strstr(err.message, "sse9"));
    assert_int_equal(tomo_kernels_select("generic", &k, &err), TOMO_OK);
    assert_string_equal(k->name, "generic");
}

int main(void) {
    table_count = tomo_kernels_runnable(tables, 8);
    (void)tomo_kernels_select("generic", &reference, NULL);
    tomo_cpu_features cpu = tomo_cpu_detect();
    print_message("kernel tables tested:");
    for (size_t t = 0; t < table_count; t++) print_message(" %s", tables[t]->name);
    print_message("%s%s\n", cpu.avx512 ? "" : "; avx512: not run, this CPU has none",
                  cpu.amx ? "" : "; amx: not run, this CPU has none or the system does not allow it");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(activations_equal_the_reference),
        cmocka_unit_test(nan_stays_nan),
        cmocka_unit_test(pointwise_kernels_equal_the_reference),
        cmocka_unit_test(norms_and_softmax_equal_the_reference),
        cmocka_unit_test(products_equal_the_reference),
        cmocka_unit_test(ways_back_equal_the_reference),
        cmocka_unit_test(ways_back_of_norms_equal_the_reference),
        cmocka_unit_test(adam_equals_the_reference),
        cmocka_unit_test(widening_is_exact_for_every_half),
        cmocka_unit_test(halves_survive_a_round_trip),
        cmocka_unit_test(unknown_kernels_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
