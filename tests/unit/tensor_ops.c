/* tensor_ops.c - operations against their formulas, at shapes on both sides of every block size, and the same
 * bits for any number of threads. */
#include "tensor/gemm.h"
#include "tensor/ops.h"

#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct machine {
    const tomo_kernels *kernels;
    tomo_pool *pool;
    tomo_exec exec;
} machine;

static machine open_machine(int threads) {
    machine m = {0};
    assert_int_equal(tomo_kernels_select(NULL, &m.kernels, NULL), TOMO_OK);
    assert_int_equal(tomo_pool_create(threads, &m.pool, NULL), TOMO_OK);
    return m;
}

static void init_exec(machine *m) {
    assert_int_equal(tomo_exec_init(&m->exec, m->kernels, m->pool, NULL, 0, NULL), TOMO_OK);
}

static void close_machine(machine *m) {
    tomo_exec_release(&m->exec);
    tomo_pool_free(m->pool);
}

static float *random_values(int64_t n, uint32_t seed) {
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(seed >> 8) / (float)(1 << 23) - 1.0f;
    }
    return x;
}

/* ------------------------------------------------------------------------------- pool */

#define BLOCKS 5000
static atomic_int runs[BLOCKS];
static atomic_int held[8];

static void count_block(void *argument, int64_t block, int worker) {
    int threads = *(int *)argument;
    assert_true(worker >= 0 && worker < threads);
    atomic_fetch_add(&runs[block], 1);
}

static void every_block_runs_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 4; threads++) {
        machine m = open_machine(threads);
        for (int round = 0; round < 50; round++) {
            for (int i = 0; i < BLOCKS; i++) atomic_store(&runs[i], 0);
            tomo_pool_run(m.pool, round == 0 ? 0 : BLOCKS / (round + 1), count_block, &threads);
            int wanted = round == 0 ? 0 : BLOCKS / (round + 1);
            for (int i = 0; i < BLOCKS; i++) assert_int_equal(atomic_load(&runs[i]), i < wanted);
        }
        close_machine(&m);
    }
}

static void hold_worker(void *argument, int64_t block, int worker) {
    (void)argument;
    (void)block;
    if (atomic_fetch_add(&held[worker], 1) != 0) abort(); /* two threads with one worker's scratch */
    atomic_fetch_sub(&held[worker], 1);
}

static void a_worker_number_is_held_by_one_thread(void **state) {
    (void)state;
    machine m = open_machine(4);
    for (int round = 0; round < 200; round++) tomo_pool_run(m.pool, 64, hold_worker, NULL);
    close_machine(&m);
}

typedef struct sharer {
    tomo_pool *pool;
    atomic_int done;
} sharer;

static void add_done(void *argument, int64_t block, int worker) {
    (void)block;
    (void)worker;
    atomic_fetch_add(&((sharer *)argument)->done, 1);
}

static void *share(void *argument) {
    sharer *s = argument;
    for (int i = 0; i < 500; i++) tomo_pool_run(s->pool, 7, add_done, s);
    return NULL;
}

static void two_callers_share_a_pool(void **state) {
    (void)state;
    machine m = open_machine(3);
    sharer callers[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        callers[i].pool = m.pool;
        atomic_init(&callers[i].done, 0);
    }
    for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&threads[i], NULL, share, &callers[i]), 0);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 0; i < 2; i++) assert_int_equal(atomic_load(&callers[i].done), 3500);
    close_machine(&m);
}

/* ------------------------------------------------------------------------------- gemm */

/* Rows on both sides of "few" (8) and "many" (512), columns and depths that are no multiple of a block. */
static const int64_t shapes[][3] = {{1, 1, 1},      {1, 65, 33},    {8, 200, 96},  {9, 64, 31},
                                    {70, 130, 257}, {513, 300, 40}, {800, 65, 129}};

static void check_linear(machine *m, const int64_t shape[3], tomo_dtype dtype, float *y) {
    int64_t rows = shape[0], out = shape[1], in = shape[2];
    float *x = random_values(rows * in, 1), *w = random_values(out * in, 2), *bias = random_values(out, 3);
    float *residual = random_values(rows * out, 4);
    uint16_t *half = malloc((size_t)(out * in) * sizeof *half);
    for (int64_t i = 0; i < out * in; i++) {
        half[i] = dtype == TOMO_BF16 ? tomo_float_to_bf16(w[i]) : tomo_float_to_f16(w[i]);
        if (dtype == TOMO_BF16) w[i] = tomo_bf16_to_float(half[i]);
        if (dtype == TOMO_F16) w[i] = tomo_f16_to_float(half[i]);
    }
    tomo_linear layer = {0};
    layer.weight = tomo_tensor_over(dtype == TOMO_F32 ? (void *)w : half, dtype, 2, (int64_t[]){out, in});
    layer.bias = tomo_tensor_over_const(bias, 1, &out);
    tomo_tensor input = tomo_tensor_over_const(x, 2, (int64_t[]){rows, in});
    tomo_tensor add = tomo_tensor_over_const(residual, 2, (int64_t[]){rows, out});
    tomo_tensor *got = tomo_op_linear(&m->exec, &input, &layer, TOMO_ACT_SILU, &add);
    assert_non_null(got);
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t o = 0; o < out; o++) {
            double sum = (double)bias[o];
            for (int64_t i = 0; i < in; i++) sum += (double)x[r * in + i] * (double)w[o * in + i];
            double want = sum / (1 + exp(-sum)) + (double)residual[r * out + o];
            /* Float sums of `in` products below 1: rounding stays below 1e-6 times sqrt(in). */
            assert_true(fabs(want - (double)tomo_tensor_f32(got)[r * out + o]) < 2e-5);
        }
    }
    memcpy(y, got->data, (size_t)(rows * out) * sizeof *y);
    tomo_arena_reset(m->exec.arena);
    free(x);
    free(w);
    free(bias);
    free(residual);
    free(half);
}

static void linear_layers_equal_the_formula_for_any_thread_count(void **state) {
    (void)state;
    static const tomo_dtype dtypes[] = {TOMO_F32, TOMO_BF16, TOMO_F16};
    static float one[800 * 300], many[800 * 300];
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        for (size_t d = 0; d < 3; d++) {
            for (int threads = 1; threads <= 4; threads *= 2) {
                machine m = open_machine(threads);
                init_exec(&m);
                check_linear(&m, shapes[s], dtypes[d], threads == 1 ? one : many);
                if (threads > 1)
                    assert_memory_equal(one, many, (size_t)(shapes[s][0] * shapes[s][1]) * sizeof *one);
                close_machine(&m);
            }
        }
    }
}

/* ------------------------------------------------------------------------------ attention */

static void check_attention(machine *m, int64_t T, int64_t S, int64_t heads, int64_t kv, int64_t d,
                            bool causal) {
    float *q = random_values(T * heads * d, 5), *k = random_values(S * kv * d, 6),
          *v = random_values(S * kv * d, 7);
    tomo_tensor query = tomo_tensor_over_const(q, 4, (int64_t[]){1, T, heads, d});
    tomo_tensor key = tomo_tensor_over_const(k, 4, (int64_t[]){1, S, kv, d});
    tomo_tensor value = tomo_tensor_over_const(v, 4, (int64_t[]){1, S, kv, d});
    tomo_tensor *got = tomo_op_attention(&m->exec, &query, &key, &value, 0.4, causal);
    assert_non_null(got);
    double *p = malloc((size_t)S * sizeof *p);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < heads; h++) {
            int64_t seen = causal ? S - T + t + 1 : S, g = h / (heads / kv);
            double sum = 0;
            for (int64_t s = 0; s < seen; s++) {
                double score = 0;
                for (int64_t i = 0; i < d; i++)
                    score += (double)q[(t * heads + h) * d + i] * (double)k[(s * kv + g) * d + i];
                sum += p[s] = exp(0.4 * score);
            }
            for (int64_t i = 0; i < d; i++) {
                double want = 0;
                for (int64_t s = 0; s < seen; s++) want += p[s] / sum * (double)v[(s * kv + g) * d + i];
                assert_true(fabs(want - (double)tomo_tensor_f32(got)[(t * heads + h) * d + i]) < 3e-6);
            }
        }
    }
    free(p);
    free(q);
    free(k);
    free(v);
    tomo_arena_reset(m->exec.arena);
}

static void attention_equals_the_formula(void **state) {
    (void)state;
    machine m = open_machine(2);
    init_exec(&m);
    for (int causal = 0; causal < 2; causal++) {
        check_attention(&m, 1, 1, 2, 2, 4, causal);
        check_attention(&m, 1, 70, 20, 2, 24, causal); /* a group of 10 heads: more than one product */
        check_attention(&m, 8, 33, 4, 4, 16, causal);
        check_attention(&m, 9, 40, 6, 2, 7, causal);
        check_attention(&m, 130, 130, 3, 1, 16, causal);
    }
    close_machine(&m);
}

static void a_failure_is_told_once_and_taints_what_follows(void **state) {
    (void)state;
    machine m = open_machine(1);
    init_exec(&m);
    tomo_error err = {0};
    assert_null(tomo_exec_tensor(&m.exec, 3, (int64_t[]){INT64_C(1) << 40, INT64_C(1) << 40, 8}));
    assert_null(tomo_exec_tensor(&m.exec, 1, (int64_t[]){4}));
    assert_null(tomo_op_add(&m.exec, NULL, NULL));
    assert_int_equal(tomo_exec_status(&m.exec, &err), TOMO_E_LIMIT);
    assert_int_equal(tomo_exec_status(&m.exec, &err), TOMO_OK);
    assert_non_null(tomo_exec_tensor(&m.exec, 1, (int64_t[]){4}));
    close_machine(&m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_block_runs_once),
        cmocka_unit_test(a_worker_number_is_held_by_one_thread),
        cmocka_unit_test(two_callers_share_a_pool),
        cmocka_unit_test(linear_layers_equal_the_formula_for_any_thread_count),
        cmocka_unit_test(attention_equals_the_formula),
        cmocka_unit_test(a_failure_is_told_once_and_taints_what_follows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
