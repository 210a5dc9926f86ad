/* language_widen_gradients.c - a quantised language model opened for training: its widened weights say what
 * the blocks say, and gradients pass. */
#include "base/folder.h"
#include "language/decoder.h"
#include "language/quantise.h"
#include "support/differences.h"
#include "support/tensors.h"
#include "support/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define REFERENCE TOMO_TEST_DIR "/reference/language/"
/* All its matrices have rows of whole blocks; the output matrix is its own. */
#define UNTIED REFERENCE "llama_f16/model"
#define TIED REFERENCE "qwen2_tied_bf16/model"
enum { COUNT = 24 };

typedef struct fixture {
    test_machine machine;
    char folder[48], file[64];
} fixture;

static fixture open_all(const char *language, tomo_dtype dtype) {
    fixture f = {.folder = "/tmp/tomo_widen_XXXXXX"};
    tomo_error err = {0};
    assert_true(test_machine_open(&f.machine, NULL));
    assert_non_null(mkdtemp(f.folder));
    (void)snprintf(f.file, sizeof f.file, "%s/m.gguf", f.folder);
    tomo_status status = tomo_folder_copy(language, f.folder, NULL, &err);
    if (status == TOMO_OK) status = tomo_folder_write(f.folder, "tokenizer.json", TEST_TOKENIZER, &err);
    if (status == TOMO_OK)
        status = tomo_language_quantise(f.folder, f.file, dtype, f.machine.kernels, NULL, &err);
    if (status != TOMO_OK) fail_msg("%s", err.message);
    return f;
}

static void close_all(fixture *f) {
    tomo_folder_remove(f->folder);
    test_machine_close(&f->machine);
}

static tomo_decoder *open_decoder(const fixture *f, bool wide, tomo_dtype dtype) {
    tomo_decoder *d = NULL;
    assert_int_equal(tomo_decoder_open(f->file, NULL, false, &d, NULL), TOMO_OK);
    if (wide) assert_int_equal(tomo_decoder_widen(d, f->machine.kernels, dtype, NULL), TOMO_OK);
    return d;
}

/* Logits [COUNT, V] of a fixed text. */
static tomo_tensor *forward(void *decoder, tomo_exec *exec) {
    const tomo_decoder *d = decoder;
    static const int64_t starts[] = {0, COUNT};
    int32_t ids[COUNT];
    for (int i = 0; i < COUNT; i++) ids[i] = (int32_t)(i * 37 % 300);
    tomo_tensor *x = tomo_decoder_embed(d, exec, ids, COUNT);
    x = tomo_decoder_forward_packed(d, exec, x, starts, NULL, NULL, 1);
    return tomo_op_linear(exec, x, tomo_decoder_head(d), TOMO_ACT_NONE, NULL);
}

/* A copy of them, which the caller frees. */
static float *run(fixture *f, tomo_decoder *d, int64_t *n) {
    tomo_exec *exec = &f->machine.exec;
    tomo_arena_reset(exec->arena);
    tomo_tensor *logits = forward(d, exec);
    assert_int_equal(tomo_exec_status(exec, NULL), TOMO_OK);
    *n = tomo_tensor_count(logits);
    float *copy = malloc((size_t)*n * sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, logits->data, (size_t)*n * sizeof *copy);
    return copy;
}

/* In F32 the values are those of the blocks, and only the order of a sum may differ: 1e-5 of the largest
 * logit. In BF16 each weight is rounded to 8 bits: 2e-2. */
static void widened_weights_say_what_the_blocks_say(void **state) {
    (void)state;
    static const tomo_dtype types[] = {TOMO_Q8_0, TOMO_Q4_0, TOMO_Q4_1, TOMO_Q4_1};
    for (int i = 0; i < 4; i++) {
        fixture f = open_all(i < 3 ? UNTIED : TIED, types[i]);
        int64_t n, same, before, after, parameters;
        tomo_decoder *blocks = open_decoder(&f, false, TOMO_F32), *wide = open_decoder(&f, true, TOMO_F32),
                     *half = open_decoder(&f, true, TOMO_BF16);
        float *want = run(&f, blocks, &n), *got = run(&f, wide, &same), *rounded = run(&f, half, &same);
        double largest = parity_largest(want, n);
        assert_true(parity_distance(got, want, n) <= 1e-5 * largest);
        assert_true(parity_distance(rounded, want, n) <= 2e-2 * largest);
        tomo_decoder_weight_size(blocks, &before, &parameters);
        tomo_decoder_weight_size(wide, &after, &parameters);
        free(want);
        free(got);
        free(rounded);
        tomo_decoder_free(blocks);
        tomo_decoder_free(wide);
        tomo_decoder_free(half);
        close_all(&f);
    }
}

/* 2e-2 of a gradient's length: a step of 3e-3 costs that much by rounding and curvature at most. */
static void gradients_pass_to_an_adapter(void **state) {
    (void)state;
    fixture f = open_all(UNTIED, TOMO_Q4_1);
    tomo_decoder *d = open_decoder(&f, true, TOMO_F32);
    tomo_parameters parameters = {0};
    tomo_lora_settings settings = {
        .rank = 2, .alpha = 4, .targets = (1u << TOMO_LORA_TARGETS) - 1, .seed = 3};
    assert_int_equal(tomo_decoder_add_lora(d, &settings, &parameters, NULL), TOMO_OK);
    assert_true(parameters.count > 0);
    for (size_t i = 0; i < parameters.count;
         i++) { /* B is 0 before the first step, and A then has no gradient */
        tomo_tensor *p = &parameters.list[i].tensor;
        for (int64_t k = 0; k < tomo_tensor_count(p); k++)
            tomo_tensor_f32(p)[k] += (float)(k * 31 % 17 - 8) / 100;
    }
    for (size_t i = 0; i < parameters.count; i++) {
        const tomo_tensor *p = &parameters.list[i].tensor;
        double off = test_worst_difference(&f.machine.exec, forward, d, p, 1, 3e-3);
        if (!(off <= 2e-2)) fail_msg("%s is %.2e off by finite differences", parameters.list[i].name, off);
        assert_true(parity_largest(p->grad, tomo_tensor_count(p)) > 0);
    }
    tomo_parameters_free(&parameters);
    tomo_decoder_free(d);
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(widened_weights_say_what_the_blocks_say),
        cmocka_unit_test(gradients_pass_to_an_adapter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
