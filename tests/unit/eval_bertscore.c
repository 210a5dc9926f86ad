/* eval_bertscore.c - a small BERT and a small RoBERTa made here: equal texts score 1, the order of the pair
 * exchanges precision and recall, long texts keep their end, baselines rescale, and what cannot be used is
 * refused */
#include "base/file.h"
#include "base/random.h"
#include "eval/bertscore.h"
#include "weights/checkpoint.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { WIDTH = 8, INNER = 16, LAYERS = 2, POSITIONS = 12, VOCABULARY = 9, TENSORS_MOST = 64 };

static char folder[] = "/tmp/tomo_bert_XXXXXX";
static tomo_context *context;

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* ------------------------------------------------------------------------------ the model */

typedef struct maker {
    tomo_stored tensors[TENSORS_MOST];
    char names[TENSORS_MOST][96];
    size_t count;
    tomo_random random;
} maker;

static void add(maker *m, int rank, int64_t rows, int64_t columns, const char *name) {
    int64_t count = rank == 2 ? rows * columns : rows;
    float *data = malloc((size_t)count * sizeof *data);
    assert_non_null(data);
    for (int64_t i = 0; i < count; i++)
        data[i] = (float)(0.5 * tomo_random_normal(&m->random)) + (rank == 1 ? 1.0F : 0.0F);
    (void)snprintf(m->names[m->count], sizeof m->names[0], "%s", name);
    m->tensors[m->count] = (tomo_stored){.name = m->names[m->count],
                                         .dtype = TOMO_F32,
                                         .rank = rank,
                                         .shape = {rows, columns},
                                         .count = count,
                                         .data = data};
    m->count++;
}

static void add_pair(maker *m, int layer, const char *name, int64_t out, int64_t in) {
    char full[96];
    (void)snprintf(full, sizeof full, "encoder.layer.%d.%s.weight", layer, name);
    add(m, in > 0 ? 2 : 1, out, in, full);
    (void)snprintf(full, sizeof full, "encoder.layer.%d.%s.bias", layer, name);
    add(m, 1, out, 0, full);
}

static void write_weights(const char *path) {
    maker *m = calloc(1, sizeof *m);
    assert_non_null(m);
    m->random = tomo_random_seed(5);
    add(m, 2, VOCABULARY, WIDTH, "embeddings.word_embeddings.weight");
    add(m, 2, POSITIONS, WIDTH, "embeddings.position_embeddings.weight");
    add(m, 2, 1, WIDTH, "embeddings.token_type_embeddings.weight");
    add(m, 1, WIDTH, 0, "embeddings.LayerNorm.weight");
    add(m, 1, WIDTH, 0, "embeddings.LayerNorm.bias");
    for (int i = 0; i < LAYERS; i++) {
        add_pair(m, i, "attention.self.query", WIDTH, WIDTH);
        add_pair(m, i, "attention.self.key", WIDTH, WIDTH);
        add_pair(m, i, "attention.self.value", WIDTH, WIDTH);
        add_pair(m, i, "attention.output.dense", WIDTH, WIDTH);
        add_pair(m, i, "attention.output.LayerNorm", WIDTH, 0);
        add_pair(m, i, "intermediate.dense", INNER, WIDTH);
        add_pair(m, i, "output.dense", WIDTH, INNER);
        add_pair(m, i, "output.LayerNorm", WIDTH, 0);
    }
    assert_int_equal(tomo_safetensors_write(path, m->tensors, m->count, NULL, NULL), TOMO_OK);
    for (size_t i = 0; i < m->count; i++) free((void *)m->tensors[i].data);
    free(m);
}

static void write_config(const char *type) {
    char text[400];
    (void)snprintf(text, sizeof text,
                   "{\"model_type\": \"%s\", \"hidden_size\": %d, \"num_attention_heads\": 2, "
                   "\"intermediate_size\": %d, "
                   "\"num_hidden_layers\": %d, \"max_position_embeddings\": %d, \"vocab_size\": %d, "
                   "\"type_vocab_size\": 1}",
                   type, WIDTH, INNER, LAYERS, POSITIONS, VOCABULARY);
    write_file("config.json", text);
}

static int make_model(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL || chdir(folder) != 0) return 1;
    write_config("bert");
    write_weights("model.safetensors");
    write_file("tokenizer.json", "{\"normalizer\": {\"type\": \"BertNormalizer\"}, \"pre_tokenizer\": "
                                 "{\"type\": \"BertPreTokenizer\"}, "
                                 "\"post_processor\": {\"type\": \"BertProcessing\", \"cls\": [\"[CLS]\", "
                                 "1], \"sep\": [\"[SEP]\", 2]}, "
                                 "\"decoder\": {\"type\": \"WordPiece\"}, \"model\": {\"type\": "
                                 "\"WordPiece\", \"unk_token\": \"[UNK]\", "
                                 "\"vocab\": {\"[UNK]\": 0, \"[CLS]\": 1, \"[SEP]\": 2, \"the\": 3, "
                                 "\"liver\": 4, \"is\": 5, \"large\": 6, "
                                 "\"##r\": 7, \".\": 8}}}");
    return tomo_context_create(NULL, &context, NULL) != TOMO_OK;
}

static int remove_model(void **state) {
    (void)state;
    char command[64];
    tomo_context_free(context);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static tomo_bertscore *open_scorer(const tomo_bertscore_options *options) {
    tomo_bertscore *b = NULL;
    tomo_error err = {0};
    if (tomo_bertscore_open(context, folder, options, &b, &err) != TOMO_OK) fail_msg("%s", err.message);
    return b;
}

static tomo_bertscore_value score(tomo_bertscore *b, const char *prediction, const char *reference) {
    tomo_bertscore_value v;
    assert_int_equal(
        tomo_bertscore_score(b, prediction, strlen(prediction), reference, strlen(reference), &v, NULL),
        TOMO_OK);
    return v;
}

/* ------------------------------------------------------------------------------ the tests */

static void equal_texts_score_one_and_empty_ones_nothing(void **state) {
    (void)state;
    tomo_bertscore *b = open_scorer(NULL);
    tomo_bertscore_value v = score(b, "The liver is large.", "the  LIVER is large.");
    assert_true(fabs(v.f1 - 1) < 1e-6);
    tomo_bertscore_value x = score(b, "the liver", "is large."), y = score(b, "is large.", "the liver");
    assert_true(x.precision == y.recall && x.recall == y.precision && x.f1 < 1);
    assert_true(score(b, "", "the liver").f1 == 0);
    assert_true(score(b, "the liver", "").precision == 0);
    tomo_bertscore_free(b);
}

static void long_texts_lose_what_does_not_fit_but_not_their_end(void **state) {
    (void)state;
    tomo_bert *bert = NULL;
    tomo_ids ids = {0};
    const char text[] = "the liver is large. the liver is large. the liver is large.";
    assert_int_equal(tomo_bert_open(folder, &bert, NULL), TOMO_OK);
    assert_int_equal(tomo_bert_encode(bert, text, sizeof text - 1, &ids, NULL), TOMO_OK);
    assert_int_equal(ids.count, POSITIONS);
    assert_int_equal(ids.data[0], 1);
    assert_int_equal(ids.data[POSITIONS - 1], 2);
    tomo_ids_free(&ids);
    tomo_bert_free(bert);
}

static void weights_are_those_of_the_references(void **state) {
    (void)state;
    tomo_bertscore *b = open_scorer(NULL);
    static const char *const references[] = {"the liver", "the", "the large large"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(tomo_bertscore_count(b, references[i], strlen(references[i]), NULL), TOMO_OK);
    assert_int_equal(tomo_bertscore_count(b, NULL, 0, NULL), TOMO_OK);
    assert_true(tomo_bertscore_weight(b, 3) == 0); /* "the" is in all three */
    assert_true(fabs(tomo_bertscore_weight(b, 6) - log(4.0 / 2)) < 1e-12);
    assert_true(fabs(tomo_bertscore_weight(b, 8) - log(4.0)) < 1e-12);
    assert_true(score(b, "the", "the").f1 == 0); /* nothing weighs anything */
    assert_true(fabs(score(b, "the large", "the large").f1 - 1) < 1e-6);
    tomo_bertscore_free(b);
}

static void a_baseline_rescales_by_its_layer(void **state) {
    (void)state;
    write_file("baseline.tsv", "LAYER,P,R,F\n0,0.9,0.9,0.9\n1,0.2,0.4,0.5\n2,0.1,0.1,0.1\n");
    tomo_bertscore_options plain = {.layers = 1}, rescaled = {.layers = 1, .baseline = "baseline.tsv"};
    tomo_bertscore *a = open_scorer(&plain), *b = open_scorer(&rescaled);
    tomo_bertscore_value x = score(a, "the liver", "is large."), y = score(b, "the liver", "is large.");
    assert_true(fabs(y.precision - (x.precision - 0.2) / 0.8) < 1e-12);
    assert_true(fabs(y.recall - (x.recall - 0.4) / 0.6) < 1e-12);
    assert_true(fabs(y.f1 - (x.f1 - 0.5) / 0.5) < 1e-12);
    tomo_bertscore_free(a);
    tomo_bertscore_free(b);
}

static void roberta_begins_two_positions_later(void **state) {
    (void)state;
    tomo_bert *bert = NULL;
    tomo_exec exec = {0};
    float first[WIDTH];
    const int32_t ids[] = {1, 3, 2};
    assert_int_equal(tomo_exec_init(&exec, context->kernels, context->pool, NULL, 0, NULL), TOMO_OK);
    for (int roberta = 0; roberta < 2; roberta++) {
        write_config(roberta ? "roberta" : "bert");
        assert_int_equal(tomo_bert_open(folder, &bert, NULL), TOMO_OK);
        assert_int_equal(tomo_bert_longest(bert), roberta ? POSITIONS - 2 : POSITIONS);
        tomo_tensor *x = tomo_bert_forward(bert, &exec, ids, 3, 0);
        assert_non_null(x);
        if (roberta) assert_memory_not_equal(first, tomo_tensor_f32(x), sizeof first);
        memcpy(first, tomo_tensor_f32(x), sizeof first);
        tomo_bert_free(bert);
    }
    write_config("bert");
    tomo_exec_release(&exec);
}

static void refused(const tomo_bertscore_options *options, const char *told) {
    tomo_bertscore *b = NULL;
    tomo_error err = {0};
    assert_int_not_equal(tomo_bertscore_open(context, folder, options, &b, &err), TOMO_OK);
    if (strstr(err.message, told) == NULL) fail_msg("%s, not %s", err.message, told);
    assert_null(b);
}

static void what_cannot_be_used_is_refused(void **state) {
    (void)state;
    refused(&(tomo_bertscore_options){.layers = 3}, "layer 3; the model has 2");
    write_file("short.tsv", "LAYER,P,R,F\n1,0.1,0.1,0.1\n");
    refused(&(tomo_bertscore_options){.baseline = "short.tsv"}, "no row for layer 2");
    write_file("odd.tsv", "LAYER,P,R,F\n1,x,0.1,0.1\n");
    refused(&(tomo_bertscore_options){.baseline = "odd.tsv"}, "row 2, column 2 (P)");
    write_config("gpt2");
    refused(NULL, "\"model_type\" is \"gpt2\"");
    write_config("bert");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_texts_score_one_and_empty_ones_nothing),
        cmocka_unit_test(long_texts_lose_what_does_not_fit_but_not_their_end),
        cmocka_unit_test(weights_are_those_of_the_references),
        cmocka_unit_test(a_baseline_rescales_by_its_layer),
        cmocka_unit_test(roberta_begins_two_positions_later),
        cmocka_unit_test(what_cannot_be_used_is_refused),
    };
    return cmocka_run_group_tests(tests, make_model, remove_model);
}
