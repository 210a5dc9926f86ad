/* language_quantise_settings.c - what a language model's config.json says is still said once it is a GGUF
 * file, or refused. */
#include "base/file.h"
#include "base/folder.h"
#include "language/decoder.h"
#include "language/quantise.h"
#include "support/tensors.h"
#include "support/tokenizer.h"
#include "weights/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LLAMA TOMO_TEST_DIR "/reference/language/llama_f16/model"

typedef struct fixture {
    char folder[48], file[64];
    test_machine machine;
} fixture;

/* The model with one setting of its own; value is JSON. */
static fixture open_with(const char *key, const char *value) {
    fixture f = {.folder = "/tmp/tomo_quantise_XXXXXX"};
    cJSON *config = NULL;
    assert_true(test_machine_open(&f.machine, NULL));
    assert_non_null(mkdtemp(f.folder));
    (void)snprintf(f.file, sizeof f.file, "%s/m.gguf", f.folder);
    assert_int_equal(tomo_folder_copy(LLAMA, f.folder, NULL, NULL), TOMO_OK);
    assert_int_equal(tomo_folder_write(f.folder, "tokenizer.json", TEST_TOKENIZER, NULL), TOMO_OK);
    assert_int_equal(tomo_json_open(LLAMA "/config.json", &config, NULL), TOMO_OK);
    cJSON_DeleteItemFromObjectCaseSensitive(config, key);
    cJSON_AddItemToObject(config, key, cJSON_Parse(value));
    assert_int_equal(tomo_json_write(config, f.folder, "config.json", NULL), TOMO_OK);
    cJSON_Delete(config);
    return f;
}

static void close_all(fixture *f) {
    tomo_folder_remove(f->folder);
    test_machine_close(&f->machine);
}

static tomo_status quantise(const fixture *f, tomo_error *err) {
    return tomo_language_quantise(f->folder, f->file, TOMO_Q8_0, f->machine.kernels, NULL, err);
}

static void a_factor_stays_a_fraction(void **state) {
    (void)state;
    fixture f =
        open_with("rope_parameters", "{\"rope_theta\": 10000.0, \"rope_type\": \"linear\", \"factor\": 2.5}");
    tomo_decoder *d = NULL;
    assert_int_equal(quantise(&f, NULL), TOMO_OK);
    assert_int_equal(tomo_decoder_open(f.file, NULL, false, &d, NULL), TOMO_OK);
    assert_float_equal(tomo_decoder_get_config(d)->rope.factor, 2.5, 0);
    tomo_decoder_free(d);
    close_all(&f);
}

static void more_ends_than_there_are_keys_are_refused(void **state) {
    (void)state;
    tomo_error err;
    fixture f = open_with("eos_token_id", "[1, 2, 3, 4]");
    assert_int_equal(
        tomo_folder_write(f.folder, "generation_config.json", "{\"eos_token_id\": [1, 2, 3, 4]}", NULL),
        TOMO_OK);
    assert_int_equal(quantise(&f, &err), TOMO_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "4 tokens"));
    close_all(&f);
}

/* model.safetensors anew, with biases of 0.5 in the layers' MLPs, or the rows of a matrix cut to `rows`. */
static void rewrite(const fixture *f, bool biases, const char *cut, int64_t rows) {
    static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
    static float half[4096];
    static char texts[64][64];
    tomo_checkpoint *c = NULL;
    tomo_stored list[256];
    size_t count = 0, added = 0;
    for (size_t i = 0; i < 4096; i++) half[i] = 0.5f;
    assert_int_equal(tomo_checkpoint_open(LLAMA, &c, NULL), TOMO_OK);
    for (size_t i = 0; i < tomo_checkpoint_count(c); i++) {
        const tomo_stored *t = tomo_checkpoint_at(c, i);
        tomo_stored *out = &list[count++];
        *out = *t;
        if (cut != NULL && strcmp(t->name, cut) == 0) {
            out->count = out->count / out->shape[0] * rows;
            out->shape[0] = rows;
        }
        for (int k = 0; biases && k < 3; k++) {
            if (strstr(t->name, names[k]) == NULL) continue;
            (void)snprintf(texts[added], sizeof texts[added], "%.*s.bias", (int)(strlen(t->name) - 7),
                           t->name);
            list[count++] = (tomo_stored){.name = texts[added++],
                                          .dtype = TOMO_F32,
                                          .rank = 1,
                                          .shape = {t->shape[0]},
                                          .count = t->shape[0],
                                          .data = half};
        }
    }
    char *path = tomo_path_join(f->folder, "model.safetensors");
    assert_int_equal(tomo_safetensors_write(path, list, count, NULL, NULL), TOMO_OK);
    free(path);
    tomo_checkpoint_free(c);
}

static void biases_of_the_mlp_stay(void **state) {
    (void)state;
    fixture f = open_with("mlp_bias", "true");
    tomo_decoder *d = NULL;
    tomo_error err;
    rewrite(&f, true, NULL, 0);
    if (quantise(&f, &err) != TOMO_OK) fail_msg("%s", err.message);
    assert_int_equal(tomo_decoder_open(f.file, NULL, false, &d, NULL), TOMO_OK);
    assert_true(tomo_decoder_get_config(d)->mlp_bias);
    tomo_decoder_free(d);
    close_all(&f);
}

static void rows_that_are_no_whole_heads_are_refused(void **state) {
    (void)state;
    tomo_error err;
    fixture f = open_with("mlp_bias", "false");
    rewrite(&f, false, "model.layers.0.self_attn.q_proj.weight", 5);
    assert_int_equal(quantise(&f, &err), TOMO_E_HEADER);
    assert_non_null(strstr(err.message, "q_proj.weight"));
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_factor_stays_a_fraction),
                                       cmocka_unit_test(more_ends_than_there_are_keys_are_refused),
                                       cmocka_unit_test(biases_of_the_mlp_stay),
                                       cmocka_unit_test(rows_that_are_no_whole_heads_are_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
