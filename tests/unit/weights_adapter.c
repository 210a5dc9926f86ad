/* weights_adapter.c - the scale of a LoRA adapter, and what is refused because it would not be applied. */
#include "weights/adapter.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "tomo-test-XXXXXX";
static char config_path[64], weights_path[64];

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) return -1;
    (void)snprintf(config_path, sizeof config_path, "%s/adapter_config.json", folder);
    (void)snprintf(weights_path, sizeof weights_path, "%s/adapter_model.safetensors", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    (void)unlink(config_path);
    (void)unlink(weights_path);
    return rmdir(folder);
}

static void write_config(const char *more) {
    FILE *f = fopen(config_path, "wb");
    assert_non_null(f);
    (void)fprintf(f, "{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"future\": null%s}", more);
    assert_int_equal(fclose(f), 0);
}

#define Q "base_model.model.model.layers.0.self_attn.q_proj"
#define V "base_model.model.model.layers.0.self_attn.v_proj"

static const float zeros[64];

static void write_weights(const char *extra, int64_t rank_of_v) {
    const tomo_stored tensors[] = {
        {.name = Q ".lora_A.weight", .rank = 2, .shape = {4, 8}, .count = 32, .data = zeros},
        {.name = Q ".lora_B.weight", .rank = 2, .shape = {6, 4}, .count = 24, .data = zeros},
        {.name = V ".lora_A.weight",
         .rank = 2,
         .shape = {rank_of_v, 8},
         .count = rank_of_v * 8,
         .data = zeros},
        {.name = V ".lora_B.weight",
         .rank = 2,
         .shape = {2, rank_of_v},
         .count = rank_of_v * 2,
         .data = zeros},
        {.name = extra, .rank = 1, .shape = {1}, .count = 1, .data = zeros},
    };
    assert_int_equal(tomo_safetensors_write(weights_path, tensors, extra == NULL ? 4 : 5, NULL, NULL),
                     TOMO_OK);
}

static void scales(const char *more, int64_t rank_of_v, double q, double v) {
    tomo_adapter *a = NULL;
    tomo_error err = {0};
    write_config(more);
    write_weights(NULL, rank_of_v);
    if (tomo_adapter_open(folder, &a, &err) != TOMO_OK) fail_msg("%s", err.message);
    assert_int_equal(tomo_adapter_count(a), 2);
    const tomo_adapter_target *t = tomo_adapter_at(a, 0);
    assert_string_equal(t->module, "model.layers.0.self_attn.q_proj");
    assert_int_equal(t->a->shape[1], 8);
    assert_int_equal(t->b->shape[0], 6);
    assert_true(fabs(t->scale - q) < 1e-12);
    assert_true(fabs(tomo_adapter_at(a, 1)->scale - v) < 1e-12);
    tomo_adapter_free(a);
}

static void scale_follows_the_config(void **state) {
    (void)state;
    scales("", 4, 2, 2);
    scales(", \"use_rslora\": true", 4, 4, 4);
    scales(", \"alpha_pattern\": {\"v_proj\": 3}", 4, 2, 0.75);
    scales(", \"rank_pattern\": {\"v_proj\": 2}", 2, 2, 4);
    scales(", \"rank_pattern\": {\"layers\\\\.[0-3]\\\\.self_attn\\\\.v_proj\": 2}, \"use_rslora\": true", 2,
           4, 8 / sqrt(2));
    scales(", \"rank_pattern\": {\"_proj\": 2, \"lm_head\": 7}", 4, 2,
           2); /* a whole path element is wanted */
}

static void what_would_not_be_applied_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *more, *named;
    } cases[] = {
        {", \"use_dora\": true", "use_dora"},
        {", \"modules_to_save\": [\"lm_head\"]", "modules_to_save"},
        {", \"bias\": \"all\"", "bias"},
        {", \"fan_in_fan_out\": true", "fan_in_fan_out"},
        {", \"init_lora_weights\": \"pissa\"", "init_lora_weights"},
        {", \"layer_replication\": [[0, 4]]", "layer_replication"},
        {", \"something_new\": 1", "something_new"},
        {", \"rank_pattern\": {\"v_proj\": 3}", "rank"},
        {", \"rank_pattern\": {\"v_proj(\": 4}", "regular expression"},
        {", \"rank_pattern\": {\"(a|.)*\": 0}", "rank_pattern"},
    };
    write_weights(NULL, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tomo_adapter *a = NULL;
        tomo_error err = {0};
        write_config(cases[i].more);
        tomo_status status = tomo_adapter_open(folder, &a, &err);
        if (status < TOMO_E_FORMAT || strstr(err.message, cases[i].named) == NULL) {
            fail_msg("case %zu: %s", i, err.message);
        }
    }
    tomo_adapter *a = NULL;
    tomo_error err = {0};
    write_config("");
    write_weights("base_model.model.lm_head.weight", 4);
    assert_int_equal(tomo_adapter_open(folder, &a, &err), TOMO_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "lm_head.weight"));
    write_weights("base_model.model.model.layers.1.self_attn.q_proj.lora_B.weight", 4);
    assert_int_equal(tomo_adapter_open(folder, &a, &err), TOMO_E_HEADER);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scale_follows_the_config),
        cmocka_unit_test(what_would_not_be_applied_is_refused),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
