/* tensor_packed.c - products with packed weights: every table that this CPU runs against the reference, the
 * product as a whole against float32, and the same bits for any number of threads and rows. */
#include "tensor/cpu/packed_kernels.h"
#include "tensor/ops.h"
#include "tensor/packed.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MOST_K 1100

static uint32_t state_of_random = 7;
static float random_value(void) {
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (float)(state_of_random >> 8) / (float)(1 << 23) - 1.0f; /* -1 .. 1 */
}

static void fill(float *x, int64_t n, float scale) {
    for (int64_t i = 0; i < n; i++) x[i] = scale * random_value();
}

/* ---------------------------------------------------------------------------- kernels */

typedef struct tile_result {
    char prepared[TOMO_TILE_ROWS][MOST_K * 2 + 64];
    tomo_row_scale scale[TOMO_TILE_ROWS];
    float out[TOMO_TILE_ROWS * TOMO_PANEL];
} tile_result;

static void run_tile(const tomo_packed_kernel *kernel, const float *x, int64_t k, int rows, const void *panel,
                     const float *w_scale, bool with_ends, tile_result *result) {
    int64_t steps = (k + kernel->step - 1) / kernel->step;
    memset(result, 0, sizeof *result);
    for (int r = 0; r < rows; r++)
        kernel->prepare(result->prepared[r], x + r * k, k, steps, &result->scale[r]);
    tomo_tile tile = {.out = result->out,
                      .out_stride = TOMO_PANEL,
                      .bias = with_ends ? w_scale : NULL,
                      .residual = with_ends ? x : NULL,
                      .x = result->prepared,
                      .x_stride = sizeof result->prepared[0],
                      .x_scale = result->scale,
                      .panel = panel,
                      .w_scale = w_scale,
                      .steps = steps};
    tomo_tiles_begin(kernel, rows);
    for (int r = 0; r < rows; r += kernel->tile_rows) {
        tile.rows = rows - r < kernel->tile_rows ? rows - r : kernel->tile_rows;
        kernel->tile(&tile);
        tile.out += tile.rows * TOMO_PANEL;
        if (with_ends) tile.residual += tile.rows * TOMO_PANEL;
        tile.x = (const char *)tile.x + tile.rows * tile.x_stride;
        tile.x_scale += tile.rows;
    }
    tomo_tiles_end(kernel);
}

/* INT8: whole numbers, so equal but for the rounding of the last two factors and of bias and residual. BF16:
 * products are exact and sums are in float, in another order: 1e-6 of the sum of magnitudes for each step. */
static void tables_equal_the_reference(void **state) {
    (void)state;
    static const int64_t lengths[] = {1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 100, 768, 1023, MOST_K};
    const tomo_packed_kernels *tables[5];
    size_t count = tomo_packed_runnable(tables, 5);
    float *x = calloc(TOMO_TILE_ROWS * MOST_K, sizeof *x), w_scale[TOMO_PANEL];
    uint8_t *panel = calloc(TOMO_PANEL * (MOST_K + 4), 2);
    tile_result *got = malloc(sizeof *got), *want = malloc(sizeof *want);
    for (size_t t = 0; t < count; t++) {
        for (size_t l = 0; l < sizeof lengths / sizeof lengths[0]; l++) {
            for (int rows = 1; rows <= TOMO_TILE_ROWS; rows++) {
                int64_t k = lengths[l];
                fill(x, rows * k, 3);
                fill(w_scale, TOMO_PANEL, 1);
                for (int64_t i = 0; i < TOMO_PANEL * (k + 4); i++) panel[i] = (uint8_t)(i * 89 % 127 + 1);
                run_tile(&tomo_packed_generic.int8, x, k, rows, panel, w_scale, rows % 2 == 0, want);
                run_tile(&tables[t]->int8, x, k, rows, panel, w_scale, rows % 2 == 0, got);
                assert_memory_equal(got->scale, want->scale, (size_t)rows * sizeof got->scale[0]);
                for (int i = 0; i < rows * TOMO_PANEL; i++) {
                    assert_true(fabsf(got->out[i] - want->out[i]) <= 1e-6f * (10 + fabsf(want->out[i])));
                }
                uint16_t *half = (uint16_t *)(void *)panel;
                for (int64_t i = 0; i < TOMO_PANEL * (k + 1); i++)
                    half[i] = tomo_float_to_bf16(random_value());
                run_tile(&tomo_packed_generic.bf16, x, k, rows, panel, w_scale, rows % 2 == 0, want);
                run_tile(&tables[t]->bf16, x, k, rows, panel, w_scale, rows % 2 == 0, got);
                for (int i = 0; i < rows * TOMO_PANEL; i++) {
                    assert_true(fabsf(got->out[i] - want->out[i]) <= 1e-6f * 3 * (float)(k + 1));
                }
            }
        }
    }
    for (size_t t = 0; t < count; t++) print_message("packed kernels compared: %s\n", tables[t]->name);
    free(x);
    free(panel);
    free(got);
    free(want);
}

/* Whole numbers and their scales are equal; sums of groups are in float: 1e-6 of the magnitudes for each. */
static void groups_equal_the_reference(void **state) {
    (void)state;
    const tomo_packed_kernels *tables[5];
    size_t count = tomo_packed_runnable(tables, 5);
    float *x = calloc(TOMO_TILE_ROWS * MOST_K, sizeof *x), w_scale[TOMO_PANEL] = {0};
    uint8_t *panel = calloc(TOMO_PANEL * (MOST_K + 4), 2);
    tile_result *got = malloc(sizeof *got), *want = malloc(sizeof *want);
    for (size_t t = 0; t < count; t++) {
        for (int rows = 1; rows <= TOMO_TILE_ROWS; rows++) {
            int64_t k = rows * TOMO_GROUP;
            fill(x, rows * k, 3);
            for (int fours = 0; fours <= 1; fours++) {
                const tomo_packed_kernel *reference =
                    fours ? &tomo_packed_generic.q4 : &tomo_packed_generic.q8;
                const tomo_packed_kernel *kernel = fours ? &tables[t]->q4 : &tables[t]->q8;
                for (int64_t g = 0; g < rows; g++) {
                    uint8_t *step = panel + (size_t)g * kernel->panel_step_bytes;
                    for (size_t i = 0; i < kernel->panel_step_bytes; i++)
                        step[i] = (uint8_t)(i * 89 + 13 * (size_t)g);
                    for (int i = 0; i < TOMO_PANEL * (1 + fours); i++) {
                        uint16_t half = tomo_float_to_f16(0.01f * random_value());
                        memcpy(step + 2 * i, &half, sizeof half);
                    }
                }
                run_tile(reference, x, k, rows, panel, w_scale, false, want);
                run_tile(kernel, x, k, rows, panel, w_scale, false, got);
                for (int i = 0; i < rows * TOMO_PANEL; i++) {
                    assert_true(fabsf(got->out[i] - want->out[i]) <= 1e-6f * 300 * (float)(rows + 1));
                }
            }
        }
    }
    free(x);
    free(panel);
    free(got);
    free(want);
}

/* The weights are rounded to BF16, 2^-9 of each; a score on the edge of rounding may fall either way. */
static void weights_of_scores_equal_the_reference(void **state) {
    (void)state;
    const tomo_packed_kernels *tables[5];
    size_t count = tomo_packed_runnable(tables, 5);
    static float scores[260];
    static uint16_t got[264], want[264];
    for (size_t t = 0; t < count; t++) {
        for (int64_t n = 1; n <= 257; n += n < 40 ? 1 : 31) {
            fill(scores, n, n % 3 == 0 ? 900.0f : 4.0f);
            float a = tables[t]->weigh(got, scores, n, (n + 3) / 2, 0.125f);
            float b = tomo_packed_generic.weigh(want, scores, n, (n + 3) / 2, 0.125f);
            assert_true(fabsf(a - b) <= 2e-5f * b);
            for (int64_t i = 0; i < (n + 3) / 2 * 2; i++) {
                float x = tomo_bf16_to_float(got[i]), y = tomo_bf16_to_float(want[i]);
                assert_true(fabsf(x - y) <= y / 128 + 1e-30f && (i < n || got[i] == 0));
            }
        }
    }
}

/* --------------------------------------------------------------------------- products */

typedef struct product {
    int64_t m, n, k;
    float *x, *w, *bias, *residual, *exact;
} product;

static product new_product(int64_t m, int64_t n, int64_t k) {
    product p = {.m = m, .n = n, .k = k};
    p.x = calloc((size_t)(m * k), sizeof(float));
    p.w = calloc((size_t)(n * k), sizeof(float));
    p.bias = calloc((size_t)n, sizeof(float));
    p.residual = calloc((size_t)(m * n), sizeof(float));
    p.exact = calloc((size_t)(m * n), sizeof(float));
    fill(p.x, m * k, 1);
    fill(p.w, n * k, 0.05f);
    fill(p.bias, n, 1);
    fill(p.residual, m * n, 1);
    for (int64_t r = 0; r < m; r++) {
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t i = 0; i < k; i++) sum += (double)p.x[r * k + i] * (double)p.w[j * k + i];
            sum += (double)p.bias[j];
            double y = 0.5 * sum * (1 + erf(sum / sqrt(2)));
            p.exact[r * n + j] = (float)(y + (double)p.residual[r * n + j]);
        }
    }
    return p;
}

static void free_product(product *p) {
    free(p->x);
    free(p->w);
    free(p->bias);
    free(p->residual);
    free(p->exact);
}

static float *run_product(const product *p, tomo_packing packing, int threads, const char *kernels,
                          int64_t m) {
    tomo_pool *pool = NULL;
    tomo_exec exec;
    tomo_packed *packed = NULL;
    const tomo_kernels *table = NULL;
    assert_int_equal(tomo_pool_create(threads, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_kernels_select(kernels, &table, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&exec, table, pool, NULL, 0, NULL), TOMO_OK);
    tomo_tensor w = tomo_tensor_over(p->w, TOMO_F32, 2, (int64_t[]){p->n, p->k});
    assert_int_equal(tomo_packed_create(pool, table, &w, packing, &packed, NULL), TOMO_OK);
    float *out = calloc((size_t)(m * p->n), sizeof *out);
    tomo_packed_product(&exec, out, p->n, p->x, m, packed,
                        (tomo_epilogue){p->bias, TOMO_ACT_GELU, p->residual});
    assert_int_equal(exec.error.status, TOMO_OK);
    tomo_packed_free(packed);
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
    return out;
}

static double relative_l2(const float *got, const float *want, int64_t n) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        difference += d * d;
        size += (double)want[i] * (double)want[i];
    }
    return sqrt(difference / size);
}

/* Groups of 32 in whole numbers of 8 bits: 0.4 % for each factor, of the group's largest. */
static void products_in_groups_are_close_to_float(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {{1, 64, 64}, {5, 33, 96}, {13, 100, 128}, {400, 65, 768}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2]);
        float *out = run_product(&p, TOMO_PACK_Q8, 2, NULL, p.m),
              *one = run_product(&p, TOMO_PACK_Q8, 1, NULL, p.m);
        assert_true(relative_l2(out, p.exact, p.m * p.n) < 0.01);
        assert_memory_equal(out, one, (size_t)(p.m * p.n) * sizeof *out);
        free(out);
        free(one);
        free_product(&p);
    }
}

/* BF16 rounds each factor to 2^-9, INT8 weights to 1/126 and x to 1/254 of the largest: over a sum of random
 * terms that is 0.3 % and 0.9 % of it; three times as much is allowed. */
static void products_are_close_to_float(void **state) {
    (void)state;
    static const int64_t shapes[][3] = {
        {1, 64, 64}, {5, 33, 70}, {13, 100, 129}, {50, 257, 96}, {400, 65, 768}};
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++) {
        product p = new_product(shapes[s][0], shapes[s][1], shapes[s][2]);
        for (int packing = TOMO_PACK_BF16; packing <= TOMO_PACK_INT8; packing++) {
            float *out = run_product(&p, (tomo_packing)packing, 2, NULL, p.m);
            double distance = relative_l2(out, p.exact, p.m * p.n);
            assert_true(distance < (packing == TOMO_PACK_BF16 ? 0.01 : 0.03));
            free(out);
        }
        free_product(&p);
    }
}

static void threads_and_rows_do_not_change_a_bit(void **state) {
    (void)state;
    for (int packing = TOMO_PACK_BF16; packing <= TOMO_PACK_Q8; packing++) {
        product p = new_product(401, 161, packing == TOMO_PACK_Q8 ? 160 : 130);
        float *one = run_product(&p, (tomo_packing)packing, 1, NULL, p.m);
        for (int threads = 2; threads <= 4; threads += 2) {
            float *many = run_product(&p, (tomo_packing)packing, threads, NULL, p.m);
            assert_memory_equal(one, many, (size_t)(p.m * p.n) * sizeof(float));
            free(many);
        }
        for (int64_t m = 3; m <= 20; m += 17) {
            float *few = run_product(&p, (tomo_packing)packing, 2, NULL, m);
            assert_memory_equal(one, few, (size_t)(m * p.n) * sizeof(float));
            free(few);
        }
        free(one);
        free_product(&p);
    }
}

/* Whoever forces a table gets no better one for packed weights, and INT8 is the same number everywhere. */
static void forced_tables_are_obeyed(void **state) {
    (void)state;
    product p = new_product(7, 40, 66);
    float *plain = run_product(&p, TOMO_PACK_INT8, 1, "generic", p.m);
    float *best = run_product(&p, TOMO_PACK_INT8, 1, NULL, p.m);
    assert_true(relative_l2(best, plain, p.m * p.n) < 1e-5);
    free(plain);
    free(best);
    free_product(&p);
    const tomo_kernels *table = NULL;
    assert_int_equal(tomo_kernels_select("generic", &table, NULL), TOMO_OK);
    assert_string_equal(tomo_packed_select(table)->name, "generic");
    if (tomo_kernels_select("avx2", &table, NULL) == TOMO_OK)
        assert_string_equal(tomo_packed_select(table)->name, "avx2");
    if (tomo_kernels_select("avx512", &table, NULL) == TOMO_OK)
        assert_string_not_equal(tomo_packed_select(table)->name, "amx");
}

/* ------------------------------------------------------------------------- attention */

static float *attend(const float *x, const int64_t shape[4], int64_t keys, int64_t kv_heads, bool causal,
                     bool half, int threads) {
    tomo_pool *pool = NULL;
    tomo_exec exec;
    const tomo_kernels *table = NULL;
    assert_int_equal(tomo_pool_create(threads, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_kernels_select(NULL, &table, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&exec, table, pool, NULL, 0, NULL), TOMO_OK);
    if (half) exec.half = tomo_half_products(table);
    tomo_tensor q = tomo_tensor_over_const(x, 4, shape);
    int64_t kv_shape[] = {shape[0], keys, kv_heads, shape[3]};
    tomo_tensor k = tomo_tensor_over_const(x + 11, 4, kv_shape);
    tomo_tensor v = tomo_tensor_over_const(x + 77, 4, kv_shape);
    tomo_tensor *y = tomo_op_attention(&exec, &q, &k, &v, 0.2, causal);
    assert_non_null(y);
    size_t bytes = (size_t)tomo_tensor_count(y) * sizeof(float);
    float *out = malloc(bytes);
    memcpy(out, y->data, bytes);
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
    return out;
}

/* Odd head sizes, grouped heads, fewer queries than keys. Scores of rounded factors are off by 0.4 % of their
 * size, weights and values by as much again: 2 % in all is allowed. */
static void attention_in_half_is_close_to_float(void **state) {
    (void)state;
    static const struct {
        int64_t shape[4], keys, kv_heads;
        bool causal;
    } cases[] = {
        {{2, 197, 3, 64}, 197, 3, false}, {{1, 50, 4, 33}, 77, 2, true}, {{1, 9, 2, 80}, 9, 1, true}};
    float *x = calloc(200000, sizeof *x);
    fill(x, 200000, 1.5f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const int64_t *s = cases[i].shape;
        int64_t count = s[0] * s[1] * s[2] * s[3];
        float *want = attend(x, s, cases[i].keys, cases[i].kv_heads, cases[i].causal, false, 2);
        float *got = attend(x, s, cases[i].keys, cases[i].kv_heads, cases[i].causal, true, 2);
        float *one = attend(x, s, cases[i].keys, cases[i].kv_heads, cases[i].causal, true, 1);
        assert_true(relative_l2(got, want, count) < 0.02);
        assert_memory_equal(got, one, (size_t)count * sizeof *got);
        free(want);
        free(got);
        free(one);
    }
    free(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_equal_the_reference),
        cmocka_unit_test(groups_equal_the_reference),
        cmocka_unit_test(weights_of_scores_equal_the_reference),
        cmocka_unit_test(products_are_close_to_float),
        cmocka_unit_test(products_in_groups_are_close_to_float),
        cmocka_unit_test(threads_and_rows_do_not_change_a_bit),
        cmocka_unit_test(forced_tables_are_obeyed),
        cmocka_unit_test(attention_in_half_is_close_to_float),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
