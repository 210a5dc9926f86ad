/* tensor_gemm_half.c - products of training in BF16: with factors that BF16 holds exactly they are those of
 * double precision, forward and back, for every table that this CPU runs and any number of threads. */
#include "base/dtype.h"
#include "tensor/cpu/packed_kernels.h"
#include "tensor/gemm_half.h"
#include "tensor/ops.h"
#include "tensor/packed.h"
#include "tensor/tape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint32_t state_of_random = 11;
static float random_value(void) {
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (float)(state_of_random >> 8) / (float)(1 << 23) - 1.0f; /* -1 .. 1 */
}

/* exact: values that BF16 holds. */
static float *new_values(int64_t n, bool exact) {
    float *x = calloc((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = exact ? tomo_bf16_to_float(tomo_float_to_bf16(random_value())) : random_value();
    return x;
}

typedef struct layer {
    int64_t m, n, k;
    float *x, *w, *bias, *dy;
    float *y, *dx, *dw; /* results; the gradients add to what is there */
} layer;

static layer new_layer(int64_t m, int64_t n, int64_t k, bool exact) {
    layer l = {.m = m, .n = n, .k = k};
    l.x = new_values(m * k, exact);
    l.w = new_values(n * k, exact);
    l.bias = new_values(n, false);
    l.dy = new_values(m * n, exact);
    l.y = new_values(m * n, false);
    l.dx = new_values(m * k, false);
    l.dw = new_values(n * k, false);
    return l;
}

static void free_layer(layer *l) {
    float *all[] = {l->x, l->w, l->bias, l->dy, l->y, l->dx, l->dw};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) free(all[i]);
}

static float *copy(const float *x, int64_t n) {
    float *y = malloc((size_t)n * sizeof *y);
    assert_non_null(y);
    memcpy(y, x, (size_t)n * sizeof *y);
    return y;
}

/* y, dx and dw of the layer, whose own stay. */
static layer run(const layer *l, const tomo_kernels *kernels, int threads) {
    layer r = {.m = l->m, .n = l->n, .k = l->k};
    tomo_pool *pool = NULL;
    tomo_exec exec;
    assert_int_equal(tomo_pool_create(threads, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&exec, kernels, pool, NULL, 0, NULL), TOMO_OK);
    exec.half_tape = tomo_half_products(kernels);
    r.y = copy(l->y, l->m * l->n);
    r.dx = copy(l->dx, l->m * l->k);
    r.dw = copy(l->dw, l->n * l->k);
    tomo_tensor w = tomo_tensor_over_const(l->w, 2, (int64_t[]){l->n, l->k});
    tomo_gemm_half(&exec, r.y, l->x, l->m, &w, l->bias);
    tomo_gemm_half_backward(&exec, r.dx, r.dw, l->dy, l->x, l->m, &w);
    assert_int_equal(tomo_exec_status(&exec, NULL), TOMO_OK);
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
    return r;
}

/* Sums in float, in another order: 1e-6 of the sum of magnitudes. */
static void near(float got, double exact, double magnitude) {
    assert_true(fabs((double)got - exact) <= 1e-6 * magnitude + 1e-6);
}

static void check(const layer *l, const layer *r) {
    for (int64_t i = 0; i < l->m; i++) {
        for (int64_t j = 0; j < l->n; j++) {
            double sum = (double)l->bias[j], size = fabs(sum);
            for (int64_t c = 0; c < l->k; c++) {
                double term = (double)l->x[i * l->k + c] * (double)l->w[j * l->k + c];
                sum += term;
                size += fabs(term);
            }
            near(r->y[i * l->n + j], sum, size);
        }
        for (int64_t c = 0; c < l->k; c++) {
            double sum = (double)l->dx[i * l->k + c], size = fabs(sum);
            for (int64_t j = 0; j < l->n; j++) {
                double term = (double)l->dy[i * l->n + j] * (double)l->w[j * l->k + c];
                sum += term;
                size += fabs(term);
            }
            near(r->dx[i * l->k + c], sum, size);
        }
    }
    for (int64_t j = 0; j < l->n; j++) {
        for (int64_t c = 0; c < l->k; c++) {
            double sum = (double)l->dw[j * l->k + c], size = fabs(sum);
            for (int64_t i = 0; i < l->m; i++) {
                double term = (double)l->dy[i * l->n + j] * (double)l->x[i * l->k + c];
                sum += term;
                size += fabs(term);
            }
            near(r->dw[j * l->k + c], sum, size);
        }
    }
}

static const int64_t shapes[][3] = {{1, 1, 1},     {2, 32, 2},    {13, 33, 31},
                                    {97, 40, 129}, {400, 65, 70}, {1100, 96, 64}};

static void exact_factors_give_exact_products(void **state) {
    (void)state;
    const tomo_kernels *tables[8];
    size_t count = tomo_kernels_runnable(tables, 8);
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        layer l = new_layer(shapes[s][0], shapes[s][1], shapes[s][2], true);
        for (size_t t = 0; t < count; t++) {
            print_message("%d x %d x %d: %s\n", (int)l.m, (int)l.n, (int)l.k,
                          tomo_packed_select(tables[t])->name);
            layer r = run(&l, tables[t], 2);
            check(&l, &r);
            free_layer(&r);
        }
        free_layer(&l);
    }
}

static void assert_same_bits(const layer *a, const layer *b) {
    assert_memory_equal(a->y, b->y, (size_t)(a->m * a->n) * sizeof(float));
    assert_memory_equal(a->dx, b->dx, (size_t)(a->m * a->k) * sizeof(float));
    assert_memory_equal(a->dw, b->dw, (size_t)(a->n * a->k) * sizeof(float));
}

static void threads_do_not_change_a_bit(void **state) {
    (void)state;
    const tomo_kernels *kernels = NULL;
    assert_int_equal(tomo_kernels_select(NULL, &kernels, NULL), TOMO_OK);
    layer l = new_layer(1300, 130, 65, false);
    layer one = run(&l, kernels, 1);
    for (int threads = 2; threads <= 4; threads += 2) {
        layer many = run(&l, kernels, threads);
        assert_same_bits(&one, &many);
        free_layer(&many);
    }
    free_layer(&one);
    free_layer(&l);
}

/* y, dx and dw of tomo_op_linear on a tape, with what l has as gradients to add to. */
static layer run_on_tape(const layer *l, const tomo_kernels *kernels) {
    layer r = {.m = l->m, .n = l->n, .k = l->k};
    tomo_pool *pool = NULL;
    tomo_exec exec;
    tomo_tape tape;
    assert_int_equal(tomo_pool_create(2, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&exec, kernels, pool, NULL, 0, NULL), TOMO_OK);
    assert_true(tomo_tape_init(&tape));
    exec.half_tape = tomo_half_products(kernels);
    exec.tape = &tape;
    r.dx = copy(l->dx, l->m * l->k);
    r.dw = copy(l->dw, l->n * l->k);
    tomo_tensor x = tomo_tensor_over_const(l->x, 2, (int64_t[]){l->m, l->k});
    tomo_linear linear = {.weight = tomo_tensor_over_const(l->w, 2, (int64_t[]){l->n, l->k}),
                          .bias = tomo_tensor_over_const(l->bias, 1, &l->n)};
    x.grad = r.dx;
    linear.weight.grad = r.dw;
    tomo_tensor *y = tomo_op_linear(&exec, &x, &linear, TOMO_ACT_NONE, NULL);
    assert_non_null(y);
    r.y = copy(tomo_tensor_f32(y), l->m * l->n);
    memcpy(y->grad, l->dy, (size_t)(l->m * l->n) * sizeof *l->dy);
    tomo_tape_backward(&exec);
    assert_int_equal(tomo_exec_status(&exec, NULL), TOMO_OK);
    tomo_tape_release(&tape);
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
    return r;
}

static void a_layer_on_the_tape_multiplies_in_bf16_forward_and_back(void **state) {
    (void)state;
    const tomo_kernels *kernels = NULL;
    assert_int_equal(tomo_kernels_select(NULL, &kernels, NULL), TOMO_OK);
    layer l = new_layer(130, 48, 65, false), direct = run(&l, kernels, 2), taped = run_on_tape(&l, kernels);
    assert_same_bits(&direct, &taped);
    free_layer(&taped);
    free_layer(&direct);
    free_layer(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exact_factors_give_exact_products),
        cmocka_unit_test(threads_do_not_change_a_bit),
        cmocka_unit_test(a_layer_on_the_tape_multiplies_in_bf16_forward_and_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
