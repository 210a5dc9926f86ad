#include "language/bert.h"

#include "base/file.h"
#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* BERT-large has 24. */
#define LAYERS_MOST 64
/* RoBERTa counts positions from its padding id + 1. */
#define ROBERTA_FIRST_POSITION 2

typedef struct norm {
    tomo_tensor weight, bias; /* [C] */
} norm;

typedef struct layer {
    tomo_linear query, key, value, attended; /* C -> C */
    norm attention_norm;
    tomo_linear inner, outer; /* C -> M -> C */
    norm output_norm;
} layer;

struct tomo_bert {
    tomo_checkpoint *checkpoint;
    tomo_arena *arena;
    tomo_tokenizer *tokenizer;
    char *folder;
    bool roberta;
    int64_t width, heads, inner, depth, positions, types, vocabulary, longest;
    double eps;
    tomo_tensor words, places, type; /* [V, C], [positions, C], [types, C] */
    norm embedding_norm;
    layer layers[LAYERS_MOST];
};

/* ------------------------------------------------------------------------------ opening */

static tomo_status check_texts(tomo_bert *b, const cJSON *config, const char *path, tomo_error *err) {
    tomo_json_at at = {path, ""};
    const char *type = "", *activation = "gelu", *positions = "absolute";
    tomo_status status = tomo_json_text(config, "model_type", at, true, &type, err);
    if (status == TOMO_OK) status = tomo_json_text(config, "hidden_act", at, false, &activation, err);
    if (status == TOMO_OK)
        status = tomo_json_text(config, "position_embedding_type", at, false, &positions, err);
    if (status != TOMO_OK) return status;
    b->roberta = strcmp(type, "roberta") == 0;
    if (!b->roberta && strcmp(type, "bert") != 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: \"model_type\" is \"%.40s\"; bert or roberta is wanted", path, type);
    }
    if (strcmp(activation, "gelu") == 0 && strcmp(positions, "absolute") == 0) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: activation \"%.40s\" with \"%.40s\" positions; gelu with absolute ones is wanted",
                     path, activation, positions);
}

static tomo_status read_config(tomo_bert *b, const char *path, const cJSON *config, tomo_error *err) {
    tomo_json_at at = {path, ""};
    const struct {
        const char *key;
        int64_t *value, most;
    } sizes[] = {{"hidden_size", &b->width, 1 << 16},
                 {"num_attention_heads", &b->heads, 1 << 10},
                 {"intermediate_size", &b->inner, 1 << 18},
                 {"num_hidden_layers", &b->depth, LAYERS_MOST},
                 {"max_position_embeddings", &b->positions, 1 << 20},
                 {"vocab_size", &b->vocabulary, 1 << 22},
                 {"type_vocab_size", &b->types, 1 << 10}};
    tomo_status status = check_texts(b, config, path, err);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && status == TOMO_OK; i++) {
        status = tomo_json_int(config, sizes[i].key, at, true, 1, sizes[i].most, sizes[i].value, err);
    }
    b->eps = 1e-12;
    if (status == TOMO_OK) status = tomo_json_double(config, "layer_norm_eps", at, false, 0, 1, &b->eps, err);
    if (status != TOMO_OK) return status;
    b->longest = b->positions - (b->roberta ? ROBERTA_FIRST_POSITION : 0);
    if (b->width % b->heads == 0 && b->longest >= 2) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: a width of %lld, %lld heads and %lld positions make no sense",
                     path, (long long)b->width, (long long)b->heads, (long long)b->positions);
}

static norm bind_norm(tomo_binder *binder, int64_t width, const char *name, int64_t index) {
    char full[96];
    if (index >= 0) {
        (void)snprintf(full, sizeof full, "encoder.layer.%lld.%s", (long long)index, name);
    } else {
        (void)snprintf(full, sizeof full, "%s", name);
    }
    return (norm){tomo_bind_float(binder, 1, &width, "%s.weight", full),
                  tomo_bind_float(binder, 1, &width, "%s.bias", full)};
}

static void bind_layer(tomo_bert *b, tomo_binder *binder, int64_t i) {
    layer *l = &b->layers[i];
    int64_t C = b->width;
    int n = (int)i;
    l->query = tomo_bind_linear(binder, C, C, true, "encoder.layer.%d.attention.self.query", n);
    l->key = tomo_bind_linear(binder, C, C, true, "encoder.layer.%d.attention.self.key", n);
    l->value = tomo_bind_linear(binder, C, C, true, "encoder.layer.%d.attention.self.value", n);
    l->attended = tomo_bind_linear(binder, C, C, true, "encoder.layer.%d.attention.output.dense", n);
    l->attention_norm = bind_norm(binder, C, "attention.output.LayerNorm", i);
    l->inner = tomo_bind_linear(binder, b->inner, C, true, "encoder.layer.%d.intermediate.dense", n);
    l->outer = tomo_bind_linear(binder, C, b->inner, true, "encoder.layer.%d.output.dense", n);
    l->output_norm = bind_norm(binder, C, "output.LayerNorm", i);
}

static tomo_status bind_weights(tomo_bert *b, tomo_error *err) {
    static const char *const prefixes[] = {"", "bert.", "roberta."};
    static const char word_table[] = "embeddings.word_embeddings.weight";
    tomo_binder binder = {.checkpoint = b->checkpoint, .arena = b->arena, .prefix = ""};
    for (size_t i = 0; i < 3 && !tomo_bind_has(&binder, word_table); i++) binder.prefix = prefixes[i];
    int64_t C = b->width;
    b->words = tomo_bind_weight(&binder, 2, (int64_t[]){b->vocabulary, C}, word_table);
    b->places =
        tomo_bind_float(&binder, 2, (int64_t[]){b->positions, C}, "embeddings.position_embeddings.weight");
    b->type =
        tomo_bind_float(&binder, 2, (int64_t[]){b->types, C}, "embeddings.token_type_embeddings.weight");
    b->embedding_norm = bind_norm(&binder, C, "embeddings.LayerNorm", -1);
    for (int64_t i = 0; i < b->depth; i++) bind_layer(b, &binder, i);
    if (binder.error.status != TOMO_OK && err != NULL) *err = binder.error;
    return binder.error.status;
}

/* tokenizer_config.json may allow less than the model has positions. */
static tomo_status read_longest(tomo_bert *b, tomo_error *err) {
    char *path = tomo_path_join(b->folder, "tokenizer_config.json");
    cJSON *config = NULL;
    int64_t most = b->longest;
    if (path == NULL) return tomo_fail_memory(err, b->folder, 0);
    tomo_status status = tomo_path_exists(path) ? tomo_json_open(path, &config, err) : TOMO_OK;
    const cJSON *length = tomo_json_get(config, "model_max_length");
    if (length != NULL && tomo_json_whole(length, 2, b->longest, &most)) b->longest = most;
    cJSON_Delete(config);
    free(path);
    return status;
}

static tomo_status load(tomo_bert *b, tomo_error *err) {
    char *path = tomo_path_join(b->folder, "config.json");
    cJSON *config = NULL;
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, b->folder, 0) : tomo_json_open(path, &config, err);
    if (status == TOMO_OK) status = read_config(b, path, config, err);
    cJSON_Delete(config);
    free(path);
    if (status == TOMO_OK) status = read_longest(b, err);
    if (status == TOMO_OK) status = tomo_checkpoint_open(b->folder, &b->checkpoint, err);
    if (status == TOMO_OK) status = bind_weights(b, err);
    return status == TOMO_OK ? tomo_tokenizer_open(b->folder, &b->tokenizer, err) : status;
}

tomo_status tomo_bert_open(const char *folder, tomo_bert **bert, tomo_error *err) {
    tomo_bert *b = calloc(1, sizeof *b);
    *bert = NULL;
    if (b == NULL) return tomo_fail_memory(err, folder, sizeof *b);
    b->folder = strdup(folder);
    b->arena = tomo_arena_create(0);
    tomo_status status =
        b->folder == NULL || b->arena == NULL ? tomo_fail_memory(err, folder, 0) : load(b, err);
    if (status == TOMO_OK) {
        *bert = b;
    } else {
        tomo_bert_free(b);
    }
    return status;
}

void tomo_bert_free(tomo_bert *bert) {
    if (bert == NULL) return;
    tomo_tokenizer_free(bert->tokenizer);
    tomo_checkpoint_free(bert->checkpoint);
    if (bert->arena != NULL) tomo_arena_free(bert->arena);
    free(bert->folder);
    free(bert);
}

int64_t tomo_bert_layers(const tomo_bert *bert) {
    return bert->depth;
}

int64_t tomo_bert_longest(const tomo_bert *bert) {
    return bert->longest;
}

/* ------------------------------------------------------------------------------ texts */

static tomo_status encode(const tomo_bert *b, const char *text, size_t size, tomo_ids *ids, tomo_error *err) {
    tomo_encode_options options = {.add_special = true, .plain = true};
    if (!b->roberta || size == 0) return tomo_tokenizer_encode(b->tokenizer, text, size, options, ids, err);
    tomo_buffer spaced = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_add(&spaced, " ", 1);
    tomo_status status =
        tomo_buffer_add(&spaced, text, size)
            ? tomo_tokenizer_encode(b->tokenizer, spaced.data, spaced.size, options, ids, err)
            : tomo_fail_memory(err, "a text", size);
    tomo_buffer_free(&spaced);
    return status;
}

tomo_status tomo_bert_encode(const tomo_bert *b, const char *text, size_t size, tomo_ids *ids,
                             tomo_error *err) {
    size_t before = ids->count, most = (size_t)b->longest;
    tomo_status status = encode(b, text, size, ids, err);
    if (status != TOMO_OK || ids->count - before <= most) return status;
    ids->data[before + most - 1] = ids->data[ids->count - 1]; /* the token at the end stays */
    ids->count = before + most;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ forward */

static tomo_tensor *apply_norm(const tomo_bert *b, tomo_exec *exec, const tomo_tensor *x, const norm *n) {
    return tomo_op_layer_norm(exec, x, &n->weight, &n->bias, b->eps);
}

/* ids [T] -> [T, C] */
static tomo_tensor *embed(const tomo_bert *b, tomo_exec *exec, const int32_t *ids, int64_t count) {
    if (tomo_ids_check(ids, (size_t)count, b->vocabulary, b->folder, &exec->error) != TOMO_OK) return NULL;
    tomo_tensor places = tomo_tensor_narrow(&b->places, 0, b->roberta ? ROBERTA_FIRST_POSITION : 0, count);
    tomo_tensor type = tomo_tensor_reshape(&b->type, 1, (int64_t[]){b->types * b->width});
    type = tomo_tensor_narrow(&type, 0, 0, b->width); /* every token is of the first text */
    tomo_tensor *x = tomo_op_embedding(exec, &b->words, ids, count);
    x = tomo_op_add(exec, x, &places);
    x = tomo_op_add(exec, x, &type);
    return apply_norm(b, exec, x, &b->embedding_norm);
}

/* x [T, C] seen as [1, T, heads, C / heads] */
static tomo_tensor heads_of(const tomo_bert *b, const tomo_tensor *x) {
    return tomo_tensor_reshape(x, 4, (int64_t[]){1, x->shape[0], b->heads, b->width / b->heads});
}

static tomo_tensor *run_layer(const tomo_bert *b, const layer *l, tomo_exec *exec, const tomo_tensor *x) {
    tomo_tensor *query = tomo_op_linear(exec, x, &l->query, TOMO_ACT_NONE, NULL);
    tomo_tensor *key = tomo_op_linear(exec, x, &l->key, TOMO_ACT_NONE, NULL);
    tomo_tensor *value = tomo_op_linear(exec, x, &l->value, TOMO_ACT_NONE, NULL);
    if (query == NULL || key == NULL || value == NULL) return NULL;
    tomo_tensor q = heads_of(b, query), k = heads_of(b, key), v = heads_of(b, value);
    tomo_tensor *a = tomo_op_attention(exec, &q, &k, &v, 1.0 / sqrt((double)(b->width / b->heads)), false);
    if (a == NULL) return NULL;
    tomo_tensor flat = tomo_tensor_reshape(a, 2, x->shape); /* [1, T, C] -> [T, C] */
    tomo_tensor *h = tomo_op_linear(exec, &flat, &l->attended, TOMO_ACT_NONE, x);
    h = apply_norm(b, exec, h, &l->attention_norm);
    tomo_tensor *m = tomo_op_linear(exec, h, &l->inner, TOMO_ACT_GELU, NULL);
    m = tomo_op_linear(exec, m, &l->outer, TOMO_ACT_NONE, h);
    return apply_norm(b, exec, m, &l->output_norm);
}

tomo_tensor *tomo_bert_forward(const tomo_bert *b, tomo_exec *exec, const int32_t *ids, int64_t count,
                               int64_t layers) {
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    if (count < 1 || count > b->longest || layers < 0 || layers > b->depth) {
        (void)tomo_fail(&exec->error, TOMO_E_USAGE,
                        "%s: %lld tokens and %lld layers; 1 to %lld and 0 to %lld are wanted", b->folder,
                        (long long)count, (long long)layers, (long long)b->longest, (long long)b->depth);
        return NULL;
    }
    tomo_tensor *x = embed(b, exec, ids, count);
    for (int64_t i = 0; i < layers && x != NULL; i++) {
        x = run_layer(b, &b->layers[i], exec, x);
        if (x != NULL) x = tomo_exec_keep(exec, start, x);
    }
    return x;
}
