/* fusion_connector.c - settings of the connector that the reference does not have. */
#include "support/connectors.h"
#include "support/tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SETTINGS                                                                                             \
    "\"width\": 16, \"filter_bins\": 3, \"fusion_blocks\": 1, \"injection_layers\": 1, \"heads\": 2, "       \
    "\"mlp_ratio\": 2, \"tokens\": [2, 2, 2], \"layers\": 2, \"encoder_width\": 8, \"grid\": [4, 4], "       \
    "\"language_width\": 12"
#define RELATIVE "{" SETTINGS ", \"frequency\": false}"
#define MM "{" SETTINGS ", \"frequency\": false, \"position\": \"mm\"}"
enum { TOKENS = 8 * 12, CELLS = 2 * 3 * 4 * 4 * 8 };

/* Tokens of three kept slices. */
static void run(const char *json, const int64_t kept[3], int64_t slices, double slice_mm, float *tokens) {
    test_machine machine;
    test_connector c = test_connector_make(json, 5);
    float values[CELLS];
    for (int i = 0; i < CELLS; i++) values[i] = (float)(i * 37 % 101) / 50 - 1;
    assert_true(test_machine_open(&machine, NULL));
    tomo_tensor features = tomo_tensor_over(values, TOMO_F32, 5, (int64_t[]){2, 3, 4, 4, 8});
    tomo_tensor *out = tomo_connector_forward(c.connector, &machine.exec, &features, kept, slices, slice_mm);
    assert_int_equal(tomo_exec_status(&machine.exec, NULL), TOMO_OK);
    memcpy(tokens, out->data, TOKENS * sizeof *tokens);
    test_machine_close(&machine);
    test_connector_free(&c);
}

/* The reference's positions are k / (S - 1); in millimetres they are k * slice_mm / 500. */
static void half_a_metre_is_position_1(void **state) {
    (void)state;
    float relative[TOKENS], mm[TOKENS];
    run(RELATIVE, (int64_t[]){0, 2, 4}, 5, 3, relative);
    run(MM, (int64_t[]){0, 2, 4}, 5, 125, mm);
    assert_memory_equal(relative, mm, sizeof mm);
    run(MM, (int64_t[]){0, 2, 4}, 5, 3, mm);
    assert_memory_not_equal(relative, mm, sizeof mm);
}

static void millimetres_count_and_not_slices(void **state) {
    (void)state;
    float near[TOKENS], far[TOKENS];
    run(MM, (int64_t[]){0, 2, 4}, 9, 3, near);
    run(MM, (int64_t[]){0, 1, 2}, 3, 6, far);
    assert_memory_equal(near, far, sizeof far);
    run(RELATIVE, (int64_t[]){0, 2, 4}, 9, 3, near);
    run(RELATIVE, (int64_t[]){0, 1, 2}, 3, 6, far);
    assert_memory_not_equal(near, far, sizeof far);
}

static void other_positions_are_refused(void **state) {
    (void)state;
    tomo_error err = {0};
    tomo_connector_config config;
    cJSON *root = cJSON_Parse("{" SETTINGS ", \"position\": \"cm\"}");
    assert_int_equal(tomo_connector_parse(root, (tomo_json_at){"c.json", "connector."}, &config, &err),
                     TOMO_E_HEADER);
    assert_non_null(strstr(err.message, "c.json: \"connector.position\" is \"cm\""));
    cJSON_Delete(root);
}

/* Behind the usual tokens, for each place in the plane, stand those of the largest values over the slices:
 * with one slice of tokens its own, with two something that is neither. */
static void a_summary_stands_behind_the_tokens(void **state) {
    (void)state;
    static const char *const forms[] = {"{" SETTINGS "}", "{" SETTINGS ", \"summary\": true}"};
    float tokens[2][3 * 4 * 12];
    for (int deep = 1; deep <= 2; deep++) {
        int rows = deep * 4, width = 12;
        for (int i = 0; i < 2; i++) {
            test_machine machine;
            test_connector c = test_connector_make(forms[i], 5);
            float values[CELLS];
            for (int k = 0; k < CELLS; k++) values[k] = (float)(k * 37 % 101) / 50 - 1;
            assert_true(test_machine_open(&machine, NULL));
            c.config.tokens[0] = deep;
            tomo_connector *same = NULL;
            assert_int_equal(tomo_connector_create(&c.config, c.weights, &same, NULL), TOMO_OK);
            assert_int_equal(tomo_connector_token_count(&c.config), rows + (i == 1 ? 4 : 0));
            tomo_tensor features = tomo_tensor_over(values, TOMO_F32, 5, (int64_t[]){2, 3, 4, 4, 8});
            tomo_tensor *out =
                tomo_connector_forward(same, &machine.exec, &features, (int64_t[]){0, 1, 3}, 5, 0);
            assert_int_equal(tomo_exec_status(&machine.exec, NULL), TOMO_OK);
            assert_int_equal(out->shape[0], tomo_connector_token_count(&c.config));
            memcpy(tokens[i], out->data, (size_t)tomo_tensor_count(out) * sizeof(float));
            tomo_connector_free(same);
            test_machine_close(&machine);
            test_connector_free(&c);
        }
        /* Products of another number of rows sum in another order. */
        double near = 1e-5 * parity_largest(tokens[0], rows * width);
        assert_true(parity_distance(tokens[1], tokens[0], rows * width) <= near);
        const float *summary = tokens[1] + rows * width;
        for (int t = 0; t < deep; t++) {
            double distance = parity_distance(summary, tokens[1] + t * 4 * width, 4 * width);
            assert_true(deep == 1 ? distance <= near : distance > 1e-3);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(half_a_metre_is_position_1),
        cmocka_unit_test(millimetres_count_and_not_slices),
        cmocka_unit_test(other_positions_are_refused),
        cmocka_unit_test(a_summary_stands_behind_the_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
