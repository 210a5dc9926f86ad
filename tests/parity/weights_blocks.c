/* weights_blocks.c - quantised blocks to floats, on every kernel table, against what the Python package gguf
 * makes of the same bytes (tests/gguf/make.py), and products with them against products with the floats. */
#include "support/tensors.h"
#include "tensor/packed.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tomo_checkpoint *cases;

/* The value is a product of three factors in float; two orders of rounding are 3e-7 of it apart. */
static void blocks_have_the_recorded_values(void **state) {
    (void)state;
    const tomo_kernels *tables[8];
    size_t count = tomo_kernels_runnable(tables, 8);
    for (int type = TOMO_Q4_0; type <= TOMO_Q6_K; type++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%s.blocks", tomo_dtype_name((tomo_dtype)type));
        const tomo_stored *blocks = tomo_checkpoint_find(cases, name);
        (void)snprintf(name, sizeof name, "%s.values", tomo_dtype_name((tomo_dtype)type));
        tomo_tensor want = test_tensor(cases, name);
        assert_non_null(blocks);
        assert_non_null(want.data);
        int64_t n = tomo_tensor_count(&want);
        assert_int_equal(tomo_dtype_bytes((tomo_dtype)type, n), blocks->count);
        float *got = calloc((size_t)n, sizeof *got);
        for (size_t t = 0; t < count; t++) {
            tables[t]->widen(got, blocks->data, (tomo_dtype)type, n);
            for (int64_t i = 0; i < n; i++) {
                float w = tomo_tensor_f32(&want)[i];
                if (!(fabsf(got[i] - w) <= 3e-7f * (fabsf(w) + 1))) {
                    fail_msg("%s on %s: element %lld is %.9g; %.9g is recorded", name, tables[t]->name,
                             (long long)i, (double)got[i], (double)w);
                }
            }
        }
        free(got);
    }
}

/* Few rows and many, against float weights of the same values: sums of k products in other orders. */
static void products_with_blocks_equal_those_with_floats(void **state) {
    (void)state;
    test_machine machine;
    tomo_error err = {0};
    assert_true(test_machine_open(&machine, &err));
    for (int type = TOMO_Q4_0; type <= TOMO_Q6_K; type++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%s.blocks", tomo_dtype_name((tomo_dtype)type));
        const tomo_stored *blocks = tomo_checkpoint_find(cases, name);
        int64_t block = tomo_dtype_block((tomo_dtype)type), n = 6, k = 2 * block;
        tomo_tensor w =
            tomo_tensor_over((void *)(uintptr_t)blocks->data, (tomo_dtype)type, 2, (int64_t[]){n, k});
        float *values = calloc((size_t)(n * k), sizeof *values);
        machine.kernels->widen(values, blocks->data, (tomo_dtype)type, n * k);
        tomo_tensor plain = tomo_tensor_over(values, TOMO_F32, 2, (int64_t[]){n, k});
        float *x = calloc((size_t)(20 * k), sizeof *x), got[20 * 6], want[20 * 6];
        for (int64_t i = 0; i < 20 * k; i++) x[i] = (float)(i % 23) / 11.0f - 1;
        for (int64_t m = 1; m <= 20; m += 19) {
            tomo_gemm(&machine.exec, got, n, x, k, m, &w, false, (tomo_epilogue){0});
            tomo_gemm(&machine.exec, want, n, x, k, m, &plain, false, (tomo_epilogue){0});
            for (int64_t i = 0; i < m * n; i++)
                assert_true(fabsf(got[i] - want[i]) <= 1e-5f * (fabsf(want[i]) + 1));
        }
        float dx[20 * 512] = {0}, dwant[20 * 512] = {0};
        tomo_gemm_backward_input(&machine.exec, dx, got, 20, &w);
        tomo_gemm_backward_input(&machine.exec, dwant, got, 20, &plain);
        for (int64_t i = 0; i < 20 * k; i++)
            assert_true(fabsf(dx[i] - dwant[i]) <= 1e-5f * (fabsf(dwant[i]) + 1));
        free(values);
        free(x);
    }
    test_machine_close(&machine);
}

/* Packed as whole numbers: Q8_0, Q5_0, Q4_0 and Q4_1 come over exactly, Q4_K's scales are rounded to half
 * floats (0.05 %); what is left is the rounding of x to 8 bits, 0.4 % of a group's largest. */
static void packed_blocks_keep_their_values(void **state) {
    (void)state;
    test_machine machine;
    tomo_error err = {0};
    assert_true(test_machine_open(&machine, &err));
    for (int type = TOMO_Q4_0; type <= TOMO_Q6_K; type++) {
        char name[32];
        tomo_packing packing;
        tomo_packed *packed = NULL;
        if (!tomo_packing_in_groups((tomo_dtype)type, &packing)) continue;
        (void)snprintf(name, sizeof name, "%s.blocks", tomo_dtype_name((tomo_dtype)type));
        const tomo_stored *blocks = tomo_checkpoint_find(cases, name);
        int64_t block = tomo_dtype_block((tomo_dtype)type), n = 6, k = 2 * block;
        tomo_tensor w =
            tomo_tensor_over((void *)(uintptr_t)blocks->data, (tomo_dtype)type, 2, (int64_t[]){n, k});
        assert_int_equal(tomo_packed_create(machine.pool, machine.kernels, &w, packing, &packed, &err),
                         TOMO_OK);
        float *x = calloc((size_t)k, sizeof *x), got[6], want[6];
        for (int64_t i = 0; i < k; i++)
            x[i] = (float)(i * 37 % 255 - 127) / 127; /* whole numbers with scale 1 */
        for (int64_t i = 0; i < k; i += 32) x[i] = 1;
        tomo_packed_product(&machine.exec, got, n, x, 1, packed, (tomo_epilogue){0});
        tomo_gemm(&machine.exec, want, n, x, k, 1, &w, false, (tomo_epilogue){0});
        for (int64_t i = 0; i < n; i++) assert_true(fabsf(got[i] - want[i]) <= 2e-3f * (fabsf(want[i]) + 1));
        tomo_packed_free(packed);
        free(x);
    }
    test_machine_close(&machine);
}

int main(void) {
    tomo_error err = {0};
    cases = test_open_tensors(TOMO_TEST_DIR "/gguf", "blocks.safetensors", &err);
    if (cases == NULL) {
        print_error("%s\n", err.message);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_have_the_recorded_values),
        cmocka_unit_test(products_with_blocks_equal_those_with_floats),
        cmocka_unit_test(packed_blocks_keep_their_values),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    tomo_checkpoint_free(cases);
    return failed;
}
