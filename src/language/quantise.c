#include "language/quantise.h"

#include "base/file.h"
#include "language/config.h"
#include "language/gguf.h"
#include "tensor/quantise.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"
#include "weights/gguf_write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_KEY 96
#define NAME_SIZE 128
#define FACTORS "rope_freqs.weight"

typedef struct source {
    const tomo_stored *stored; /* NULL: the divisors of llama3's rope */
    char name[NAME_SIZE];
    int64_t heads; /* rows of these many heads are interleaved; 0: they stay */
} source;

typedef struct quantiser {
    const char *folder;
    tomo_decoder_config config;
    tomo_checkpoint *checkpoint;
    const tomo_kernels *kernels;
    const tomo_hooks *hooks;
    source *sources;
    tomo_gguf_tensor *tensors;
    size_t count;
    float *row; /* one row, of the widest tensor */
    unsigned char *bytes;
    size_t room;
} quantiser;

/* ----------------------------------------------------------------------------- tensors */

static tomo_dtype dtype_of(const tomo_stored *t, tomo_dtype wanted) {
    if (t->rank != 2 || t->shape[1] % tomo_dtype_block(wanted) != 0) return TOMO_F32;
    bool words = strcmp(t->name, "model.embed_tokens.weight") == 0 || strcmp(t->name, "lm_head.weight") == 0;
    return words ? TOMO_Q8_0 : wanted;
}

static int64_t heads_of(const quantiser *q, const char *name) {
    if (strcmp(q->config.family, "llama") != 0) return 0;
    if (strstr(name, ".q_proj.") != NULL) return q->config.heads;
    return strstr(name, ".k_proj.") != NULL ? q->config.kv_heads : 0;
}

static void add_tensor(quantiser *q, const tomo_stored *stored, const char *name, tomo_dtype dtype) {
    source *s = &q->sources[q->count];
    tomo_gguf_tensor *t = &q->tensors[q->count++];
    *s = (source){.stored = stored};
    (void)snprintf(s->name, sizeof s->name, "%s", name);
    *t = (tomo_gguf_tensor){.name = s->name, .dtype = dtype, .rank = 1, .shape = {q->config.head_dim / 2}};
    if (stored == NULL) return;
    s->heads = heads_of(q, stored->name);
    t->rank = stored->rank;
    memcpy(t->shape, stored->shape, sizeof t->shape);
}

/* Everything that has a name in GGUF; an output matrix beside tied embeddings is a copy of them. */
static tomo_status list_tensors(quantiser *q, tomo_dtype dtype, tomo_error *err) {
    size_t all = tomo_checkpoint_count(q->checkpoint);
    int64_t widest = 1;
    q->sources = calloc(all + 1, sizeof *q->sources);
    q->tensors = calloc(all + 1, sizeof *q->tensors);
    if (q->sources == NULL || q->tensors == NULL)
        return tomo_fail_memory(err, q->folder, all * sizeof *q->sources);
    for (size_t i = 0; i < all; i++) {
        const tomo_stored *t = tomo_checkpoint_at(q->checkpoint, i);
        char name[NAME_SIZE];
        bool floats = t->dtype == TOMO_F32 || t->dtype == TOMO_F16 || t->dtype == TOMO_BF16;
        if (!tomo_gguf_tensor_name(t->name, name) ||
            (q->config.tied && strcmp(t->name, "lm_head.weight") == 0))
            continue;
        if (!floats || t->rank < 1 || t->rank > 2) {
            return tomo_fail(err, TOMO_E_UNSUPPORTED,
                             "%s: tensor \"%.80s\" is %s; a vector or matrix of floats is wanted", q->folder,
                             t->name, tomo_dtype_name(t->dtype));
        }
        int64_t heads = heads_of(q, t->name);
        if (heads > 0 && t->shape[0] % (2 * heads) != 0) {
            return tomo_fail(err, TOMO_E_HEADER,
                             "%s: tensor \"%.80s\" has %lld rows; a multiple of 2 x %lld heads is wanted",
                             q->folder, t->name, (long long)t->shape[0], (long long)heads);
        }
        add_tensor(q, t, name, dtype_of(t, dtype));
        if (t->shape[t->rank - 1] > widest) widest = t->shape[t->rank - 1];
    }
    if (q->config.rope.type == TOMO_ROPE_LLAMA3) add_tensor(q, NULL, FACTORS, TOMO_F32);
    if (q->config.head_dim > widest) widest = q->config.head_dim;
    q->row = calloc((size_t)widest, sizeof *q->row);
    return q->row == NULL ? tomo_fail_memory(err, q->folder, (size_t)widest * sizeof *q->row) : TOMO_OK;
}

/* What each frequency is divided by. */
static void write_factors(quantiser *q) {
    tomo_decoder_config plain = q->config;
    float *factors = (float *)(void *)q->bytes;
    plain.rope.type = TOMO_ROPE_DEFAULT;
    tomo_rope_frequencies(&q->config, factors);
    tomo_rope_frequencies(&plain, q->row);
    for (int64_t i = 0; i < q->config.head_dim / 2; i++) factors[i] = q->row[i] / factors[i];
}

static void write_rows(quantiser *q, const source *s, const tomo_gguf_tensor *t) {
    int64_t rows = t->shape[0], width = t->rank == 2 ? t->shape[1] : 1;
    int64_t half = s->heads > 0 ? rows / s->heads / 2 : 0;
    size_t row_bytes = tomo_dtype_bytes(t->dtype, width);
    for (int64_t r = 0; r < rows; r++) {
        int64_t from = r; /* row r of a head of two halves is row r / 2 of half r % 2 */
        if (half > 0) from = r / (2 * half) * 2 * half + r % 2 * half + r % (2 * half) / 2;
        const char *stored = (const char *)s->stored->data + tomo_dtype_bytes(s->stored->dtype, from * width);
        q->kernels->widen(q->row, stored, s->stored->dtype, width);
        if (t->dtype == TOMO_F32) {
            memcpy(q->bytes + (size_t)r * row_bytes, q->row, row_bytes);
        } else {
            tomo_quantise(q->bytes + (size_t)r * row_bytes, q->row, t->dtype, width);
        }
    }
}

static tomo_status fill(void *user, size_t index, const void **bytes, tomo_error *err) {
    quantiser *q = user;
    const tomo_gguf_tensor *t = &q->tensors[index];
    int64_t count = t->shape[0] * (t->rank == 2 ? t->shape[1] : 1);
    size_t wanted = tomo_dtype_bytes(t->dtype, count);
    tomo_status status = tomo_progress(q->hooks, "quantising", (int64_t)index, (int64_t)q->count, err);
    if (status != TOMO_OK) return status;
    if (wanted > q->room) {
        free(q->bytes);
        q->room = 0;
        q->bytes = malloc(wanted);
        if (q->bytes == NULL) return tomo_fail_memory(err, q->folder, wanted);
        q->room = wanted;
    }
    if (q->sources[index].stored == NULL) {
        write_factors(q);
    } else {
        write_rows(q, &q->sources[index], t);
    }
    *bytes = q->bytes;
    return TOMO_OK;
}

/* ---------------------------------------------------------------------------- metadata */

static void add_number(cJSON *root, const tomo_decoder_config *c, const char *key, double value) {
    char name[MOST_KEY];
    (void)snprintf(name, sizeof name, "%s.%s", c->family, key);
    cJSON_AddNumberToObject(root, name, value);
}

/* Tokens that end a text and have a key in GGUF. */
enum { ENDS = 3 };

static void add_sizes(cJSON *root, const tomo_decoder_config *c) {
    cJSON_AddStringToObject(root, "general.architecture", c->family);
    add_number(root, c, "block_count", (double)c->layers);
    add_number(root, c, "context_length", (double)c->context);
    add_number(root, c, "embedding_length", (double)c->hidden);
    add_number(root, c, "feed_forward_length", (double)c->intermediate);
    add_number(root, c, "attention.head_count", (double)c->heads);
    add_number(root, c, "attention.head_count_kv", (double)c->kv_heads);
    add_number(root, c, "attention.key_length", (double)c->head_dim);
    add_number(root, c, "attention.value_length", (double)c->head_dim);
    add_number(root, c, "attention.layer_norm_rms_epsilon", c->norm_eps);
    add_number(root, c, "rope.freq_base", c->rope.theta);
    add_number(root, c, "vocab_size", (double)c->vocabulary);
    if (c->rope.type == TOMO_ROPE_LINEAR) {
        char name[MOST_KEY];
        (void)snprintf(name, sizeof name, "%s.rope.scaling.type", c->family);
        cJSON_AddStringToObject(root, name, "linear");
        add_number(root, c, "rope.scaling.factor", c->rope.factor);
    }
    static const char *const ends[ENDS] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                           "tokenizer.ggml.eom_token_id"};
    for (int i = 0; i < c->end_count && i < ENDS; i++) cJSON_AddNumberToObject(root, ends[i], c->ends[i]);
}

/* The chat template as the folder has it; NULL where it has none. The caller frees it. */
static char *read_template(const char *folder) {
    char *path = tomo_path_join(folder, "chat_template.jinja"), *text = NULL;
    size_t size;
    if (path != NULL && tomo_path_exists(path) &&
        tomo_file_read(path, TOMO_LIMIT_JSON_BYTES, &text, &size, NULL) != TOMO_OK) {
        text = NULL;
    }
    free(path);
    if (text != NULL) return text;
    cJSON *config = NULL;
    path = tomo_path_join(folder, "tokenizer_config.json");
    if (path != NULL && tomo_path_exists(path) && tomo_json_open(path, &config, NULL) == TOMO_OK) {
        const cJSON *value = tomo_json_get(config, "chat_template");
        if (cJSON_IsString(value)) text = strdup(value->valuestring);
    }
    cJSON_Delete(config);
    free(path);
    return text;
}

static tomo_status make_metadata(const quantiser *q, cJSON **metadata, tomo_error *err) {
    char *path = tomo_path_join(q->folder, "tokenizer.json"), *text = NULL,
         *template = read_template(q->folder);
    size_t size = 0;
    cJSON *root = cJSON_CreateObject(), *tokenizer = NULL;
    tomo_status status = path == NULL || root == NULL ? tomo_fail_memory(err, q->folder, 0) : TOMO_OK;
    if (status == TOMO_OK) status = tomo_file_read(path, TOMO_LIMIT_JSON_BYTES, &text, &size, err);
    if (status == TOMO_OK) status = tomo_json_parse(path, text, size, &tokenizer, err);
    if (status == TOMO_OK && q->config.end_count > ENDS) {
        status = tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: %d tokens end a text; GGUF has keys for %d",
                           q->folder, q->config.end_count, (int)ENDS);
    }
    if (status == TOMO_OK) {
        add_sizes(root, &q->config);
        tomo_gguf_add_tokenizer(root, tokenizer, text, q->config.vocabulary);
        if (template != NULL) cJSON_AddStringToObject(root, "tokenizer.chat_template", template);
        *metadata = root;
        root = NULL;
    }
    cJSON_Delete(tokenizer);
    cJSON_Delete(root);
    free(template);
    free(text);
    free(path);
    return status;
}

tomo_status tomo_language_quantise(const char *folder, const char *out, tomo_dtype dtype,
                                   const tomo_kernels *kernels, const tomo_hooks *hooks, tomo_error *err) {
    quantiser q = {.folder = folder, .kernels = kernels, .hooks = hooks};
    cJSON *metadata = NULL;
    if (tomo_gguf_is(folder)) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: GGUF already; a downloaded folder is wanted", folder);
    }
    tomo_status status = tomo_decoder_config_read(folder, &q.config, err);
    if (status == TOMO_OK) status = tomo_checkpoint_open(folder, &q.checkpoint, err);
    if (status == TOMO_OK) status = list_tensors(&q, dtype, err);
    if (status == TOMO_OK) status = make_metadata(&q, &metadata, err);
    if (status == TOMO_OK) status = tomo_gguf_write(out, metadata, q.tensors, q.count, fill, &q, err);
    cJSON_Delete(metadata);
    tomo_checkpoint_free(q.checkpoint);
    free(q.sources);
    free(q.tensors);
    free(q.row);
    free(q.bytes);
    return status;
}
