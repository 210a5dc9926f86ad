#include "language/decoder.h"

#include "base/size.h"
#include "language/gguf.h"
#include "language/lora.h"
#include "tensor/tape.h"
#include "weights/bind.h"
#include "weights/gguf.h"
#include "weights/pack.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens of one piece of a long prompt: activations stay small and the products near their full rate. */
#define PREFILL_TOKENS 512

struct tomo_decoder {
    tomo_decoder_config config;
    tomo_checkpoint *checkpoint;
    tomo_lora *lora; /* or NULL */
    tomo_arena *arena;
    tomo_tensor embedding; /* [V, H] */
    tomo_tensor norm;      /* [H] */
    tomo_linear head;      /* H -> V; the embedding again where tied */
    float *frequencies;    /* [head_dim / 2] */
    int64_t bytes, parameters;
    tomo_packs packs;
    tomo_decoder_layer layers[TOMO_DECODER_LAYERS];
};

struct tomo_kv_cache {
    int64_t layers, heads, head_dim, capacity, length;
    tomo_position_block block;
    float *data; /* [layers, 2 (key, value), heads, capacity, head_dim] */
};

/* --------------------------------------------------------------------------- opening */

static void bind_layer(tomo_binder *b, const tomo_decoder_config *c, int i, tomo_decoder_layer *l) {
    int64_t H = c->hidden, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    char prefix[48];
    (void)snprintf(prefix, sizeof prefix, "model.layers.%d.", i);
    b->prefix = prefix;
    l->input_norm = tomo_bind_float(b, 1, &H, "input_layernorm.weight");
    l->query = tomo_bind_linear(b, q, H, c->qkv_bias, "self_attn.q_proj");
    l->key = tomo_bind_linear(b, kv, H, c->qkv_bias, "self_attn.k_proj");
    l->value = tomo_bind_linear(b, kv, H, c->qkv_bias, "self_attn.v_proj");
    l->out = tomo_bind_linear(b, H, q, c->out_bias, "self_attn.o_proj");
    if (c->qk_norm) {
        l->query_norm = tomo_bind_float(b, 1, &c->head_dim, "self_attn.q_norm.weight");
        l->key_norm = tomo_bind_float(b, 1, &c->head_dim, "self_attn.k_norm.weight");
    }
    l->post_norm = tomo_bind_float(b, 1, &H, "post_attention_layernorm.weight");
    l->gate = tomo_bind_linear(b, c->intermediate, H, c->mlp_bias, "mlp.gate_proj");
    l->up = tomo_bind_linear(b, c->intermediate, H, c->mlp_bias, "mlp.up_proj");
    l->down = tomo_bind_linear(b, H, c->intermediate, c->mlp_bias, "mlp.down_proj");
    b->prefix = "";
}

static void bind_all(tomo_decoder *d, tomo_binder *b) {
    const tomo_decoder_config *c = &d->config;
    d->embedding = tomo_bind_weight(b, 2, (int64_t[]){c->vocabulary, c->hidden}, "model.embed_tokens.weight");
    d->norm = tomo_bind_float(b, 1, &c->hidden, "model.norm.weight");
    for (int i = 0; i < (int)c->layers; i++) bind_layer(b, c, i, &d->layers[i]);
    if (c->tied) {
        d->head.weight = d->embedding;
    } else {
        d->head = tomo_bind_linear(b, c->vocabulary, c->hidden, false, "lm_head");
    }
}

tomo_status tomo_decoder_parameters(const tomo_decoder_config *config, tomo_parameter_fn tell, void *user,
                                    tomo_error *err) {
    tomo_decoder *d = calloc(1, sizeof *d);
    if (d == NULL) return tomo_fail_memory(err, "language model", sizeof *d);
    d->config = *config;
    tomo_binder binder = {.prefix = "", .collect = tell, .collect_user = user};
    bind_all(d, &binder);
    free(d);
    return TOMO_OK;
}

static tomo_status bind_checkpoint(tomo_decoder *d, tomo_parameters *parameters, tomo_error *err) {
    tomo_binder b = {.checkpoint = d->checkpoint, .arena = d->arena, .prefix = "", .trainable = parameters};
    bind_all(d, &b);
    d->bytes = b.bytes;
    d->parameters = b.parameters;
    if (b.error.status != TOMO_OK && err != NULL) *err = b.error;
    return b.error.status;
}

/* A GGUF file says in its metadata what config.json says, and by its tensors which layers there are. */
static tomo_status read_gguf_config(tomo_decoder *d, const char *file, tomo_error *err) {
    cJSON *metadata = NULL, *config = NULL;
    bool tied = tomo_checkpoint_find(d->checkpoint, "lm_head.weight") == NULL;
    tomo_gguf_biases biases = {
        .attention = tomo_checkpoint_find(d->checkpoint, "model.layers.0.self_attn.o_proj.bias") != NULL,
        .mlp = tomo_checkpoint_find(d->checkpoint, "model.layers.0.mlp.down_proj.bias") != NULL};
    tomo_status status = tomo_gguf_metadata_open(file, &metadata, err);
    if (status == TOMO_OK) status = tomo_gguf_config(file, metadata, tied, biases, &config, err);
    if (status == TOMO_OK) status = tomo_decoder_config_parse(file, config, &d->config, err);
    cJSON_Delete(config);
    cJSON_Delete(metadata);
    return status;
}

static tomo_status make_frequencies(tomo_decoder *d, const char *folder, tomo_error *err) {
    int64_t half = d->config.head_dim / 2;
    d->frequencies = tomo_arena_alloc(d->arena, (size_t)half * sizeof(float));
    if (d->frequencies == NULL) return tomo_fail_memory(err, folder, 0);
    tomo_rope_frequencies(&d->config, d->frequencies);
    /* Llama 3.1 and later in GGUF: what config.json says of rope scaling is a tensor of divisors there. */
    const tomo_stored *divisors = tomo_checkpoint_find(d->checkpoint, "rope_freqs.weight");
    if (divisors == NULL) return TOMO_OK;
    if (divisors->dtype != TOMO_F32 || divisors->count != half) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: tensor \"rope_freqs.weight\" has %lld values; %lld F32 are wanted", folder,
                         (long long)divisors->count, (long long)half);
    }
    for (int64_t i = 0; i < half; i++) d->frequencies[i] /= ((const float *)divisors->data)[i];
    return TOMO_OK;
}

static tomo_status open_decoder(const char *folder, const char *adapter, bool merge,
                                tomo_parameters *parameters, tomo_decoder **decoder, tomo_error *err) {
    *decoder = NULL;
    tomo_decoder *d = calloc(1, sizeof *d);
    if (d == NULL) return tomo_fail_memory(err, folder, sizeof *d);
    d->arena = tomo_arena_create(0);
    tomo_status status = d->arena == NULL ? tomo_fail_memory(err, folder, 0) : TOMO_OK;
    if (status == TOMO_OK) status = tomo_checkpoint_open(folder, &d->checkpoint, err);
    if (status == TOMO_OK) {
        status = tomo_gguf_is(folder) ? read_gguf_config(d, folder, err)
                                      : tomo_decoder_config_read(folder, &d->config, err);
    }
    if (status == TOMO_OK) status = bind_checkpoint(d, parameters, err);
    if (status == TOMO_OK && adapter != NULL) {
        status =
            tomo_lora_apply(adapter, merge, d->layers, d->config.layers, d->arena, &d->bytes, &d->lora, err);
    }
    if (status == TOMO_OK) status = make_frequencies(d, folder, err);
    if (status != TOMO_OK) {
        tomo_decoder_free(d);
        return status;
    }
    *decoder = d;
    return TOMO_OK;
}

/* How one layer is packed; false: it stays as it is. */
static bool choose_packing(const tomo_kernels *kernels, const tomo_linear *layer, tomo_precision precision,
                           tomo_packing *packing) {
    bool blocks = tomo_dtype_block(layer->weight.dtype) > 1;
    bool whole = precision == TOMO_PRECISION_INT8 || (precision == TOMO_PRECISION_FAST && blocks);
    if (whole && layer->weight.shape[1] % 32 == 0 && tomo_packing_in_groups(layer->weight.dtype, packing))
        return true;
    *packing = TOMO_PACK_BF16;
    return precision != TOMO_PRECISION_F32 && tomo_packing_is_native(kernels, TOMO_PACK_BF16);
}

static tomo_status pack_layer(tomo_decoder *d, tomo_pool *pool, const tomo_kernels *kernels,
                              tomo_linear *layer, tomo_precision precision, tomo_error *err) {
    tomo_packing packing;
    if (!choose_packing(kernels, layer, precision, &packing)) return TOMO_OK;
    return tomo_packs_add(&d->packs, pool, kernels, d->checkpoint, layer, packing, err);
}

tomo_status tomo_decoder_pack(tomo_decoder *d, tomo_pool *pool, const tomo_kernels *kernels,
                              tomo_precision precision, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < d->config.layers; i++) {
        tomo_decoder_layer *l = &d->layers[i];
        tomo_linear *layers[] = {&l->query, &l->key, &l->value, &l->out, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof layers / sizeof layers[0] && status == TOMO_OK; k++)
            status = pack_layer(d, pool, kernels, layers[k], precision, err);
    }
    return status == TOMO_OK ? pack_layer(d, pool, kernels, &d->head, precision, err) : status;
}

/* Calls `see` for every linear layer and the head. */
static tomo_status each_linear(tomo_decoder *d,
                               tomo_status (*see)(void *user, tomo_linear *layer, tomo_error *err),
                               void *user, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < d->config.layers; i++) {
        tomo_decoder_layer *l = &d->layers[i];
        tomo_linear *layers[] = {&l->query, &l->key, &l->value, &l->out, &l->gate, &l->up, &l->down};
        for (size_t k = 0; k < sizeof layers / sizeof layers[0] && status == TOMO_OK; k++)
            status = see(user, layers[k], err);
    }
    return status == TOMO_OK ? see(user, &d->head, err) : status;
}

typedef struct packer {
    tomo_packs *packs;
    tomo_pool *pool;
    const tomo_kernels *kernels;
} packer;

static tomo_status pack_back(void *user, tomo_linear *layer, tomo_error *err) {
    const packer *p = user;
    return tomo_packs_add_back(p->packs, p->pool, p->kernels, layer, err);
}

tomo_status tomo_decoder_pack_back(tomo_decoder *d, tomo_pool *pool, const tomo_kernels *kernels,
                                   tomo_error *err) {
    packer p = {&d->packs, pool, kernels};
    return each_linear(d, pack_back, &p, err);
}

typedef struct widener {
    tomo_decoder *decoder;
    const tomo_kernels *kernels;
    tomo_dtype dtype;
} widener;

/* A matrix in the arena, widened row by row. */
static tomo_status widen(const widener *w, tomo_tensor *weight, tomo_error *err) {
    if (tomo_dtype_block(weight->dtype) == 1) return TOMO_OK;
    int64_t rows = weight->shape[0], n = weight->shape[1];
    size_t row_bytes = tomo_dtype_bytes(weight->dtype, n), size = tomo_dtype_size(w->dtype);
    size_t bytes = (size_t)(rows * n) * size;
    char *data = tomo_arena_alloc(w->decoder->arena, bytes);
    float *row = malloc((size_t)n * sizeof *row);
    if (data == NULL || row == NULL) {
        free(row);
        return tomo_fail_memory(err, "language model", bytes);
    }
    for (int64_t r = 0; r < rows; r++) {
        char *out = data + (size_t)(r * n) * size;
        w->kernels->widen(row, (const char *)weight->data + (size_t)r * row_bytes, weight->dtype, n);
        for (int64_t i = 0; i < n && w->dtype == TOMO_BF16; i++)
            ((uint16_t *)out)[i] = tomo_float_to_bf16(row[i]);
        if (w->dtype == TOMO_F32) memcpy(out, row, (size_t)n * size);
    }
    free(row);
    w->decoder->bytes += (int64_t)bytes - (int64_t)((size_t)rows * row_bytes);
    *weight = tomo_tensor_over(data, w->dtype, 2, weight->shape);
    return TOMO_OK;
}

static tomo_status widen_layer(void *user, tomo_linear *layer, tomo_error *err) {
    const widener *w = user;
    if (layer == &w->decoder->head && w->decoder->config.tied) return TOMO_OK;
    return widen(w, &layer->weight, err);
}

tomo_status tomo_decoder_widen(tomo_decoder *d, const tomo_kernels *kernels, tomo_dtype dtype,
                               tomo_error *err) {
    widener w = {d, kernels, dtype};
    tomo_status status = widen(&w, &d->embedding, err);
    if (status == TOMO_OK && d->config.tied) d->head.weight = d->embedding;
    return status == TOMO_OK ? each_linear(d, widen_layer, &w, err) : status;
}

tomo_status tomo_decoder_open(const char *folder, const char *adapter, bool merge, tomo_decoder **decoder,
                              tomo_error *err) {
    return open_decoder(folder, adapter, merge, NULL, decoder, err);
}

tomo_status tomo_decoder_open_trainable(const char *folder, tomo_parameters *parameters,
                                        tomo_decoder **decoder, tomo_error *err) {
    return open_decoder(folder, NULL, false, parameters, decoder, err);
}

tomo_status tomo_decoder_add_lora(tomo_decoder *d, const tomo_lora_settings *settings,
                                  tomo_parameters *parameters, tomo_error *err) {
    return tomo_lora_create(settings, d->layers, d->config.layers, d->arena, parameters, err);
}

tomo_status tomo_decoder_train_lora(tomo_decoder *d, tomo_parameters *parameters, tomo_error *err) {
    return tomo_lora_make_trainable(d->layers, d->config.layers, d->arena, parameters, err);
}

void tomo_decoder_free(tomo_decoder *decoder) {
    if (decoder == NULL) return;
    tomo_packs_free(&decoder->packs);
    tomo_lora_free(decoder->lora);
    tomo_checkpoint_free(decoder->checkpoint);
    tomo_arena_free(decoder->arena);
    free(decoder);
}

const tomo_decoder_config *tomo_decoder_get_config(const tomo_decoder *decoder) {
    return &decoder->config;
}

void tomo_decoder_weight_size(const tomo_decoder *decoder, int64_t *bytes, int64_t *parameters) {
    *bytes = decoder->bytes - decoder->packs.saved;
    *parameters = decoder->parameters;
}

/* ----------------------------------------------------------------------------- cache */

tomo_status tomo_kv_cache_create(const tomo_decoder *decoder, int64_t capacity, tomo_kv_cache **cache,
                                 tomo_error *err) {
    *cache = NULL;
    const tomo_decoder_config *c = &decoder->config;
    int64_t shape[] = {c->layers, 2, c->kv_heads, capacity, c->head_dim}, count;
    size_t bytes;
    if (!tomo_shape_count(shape, 5, &count) || !tomo_size_mul((size_t)count, sizeof(float), &bytes)) {
        return tomo_fail(err, TOMO_E_LIMIT, "a cache of %lld tokens is too large", (long long)capacity);
    }
    tomo_kv_cache *k = calloc(1, sizeof *k);
    if (k == NULL) return tomo_fail_memory(err, "key and value cache", sizeof *k);
    *k = (tomo_kv_cache){
        .layers = c->layers, .heads = c->kv_heads, .head_dim = c->head_dim, .capacity = capacity};
    k->data = aligned_alloc(TOMO_ARENA_ALIGNMENT,
                            (bytes + TOMO_ARENA_ALIGNMENT) / TOMO_ARENA_ALIGNMENT * TOMO_ARENA_ALIGNMENT);
    if (k->data == NULL) {
        free(k);
        return tomo_fail_memory(err, "key and value cache", bytes);
    }
    *cache = k;
    return TOMO_OK;
}

void tomo_kv_cache_free(tomo_kv_cache *cache) {
    if (cache == NULL) return;
    free(cache->data);
    free(cache);
}

int64_t tomo_kv_cache_length(const tomo_kv_cache *cache) {
    return cache->length;
}
int64_t tomo_kv_cache_capacity(const tomo_kv_cache *cache) {
    return cache->capacity;
}

void tomo_kv_cache_truncate(tomo_kv_cache *cache, int64_t length) {
    assert(length >= 0 && length <= cache->length);
    cache->length = length;
    if (length == 0) cache->block = (tomo_position_block){0};
}

void tomo_kv_cache_share_position(tomo_kv_cache *cache, tomo_position_block block) {
    assert(block.count == 0 || block.first >= cache->length);
    cache->block = block;
}

/* Keys (which 0) or values (which 1) of one layer's first `length` tokens: [1, length, kv_heads, head_dim].
 */
static tomo_tensor cached(const tomo_kv_cache *cache, int64_t layer, int which, int64_t length) {
    int64_t plane = cache->capacity * cache->head_dim;
    tomo_tensor t = tomo_tensor_over(cache->data + (layer * 2 + which) * cache->heads * plane, TOMO_F32, 4,
                                     (int64_t[]){1, length, cache->heads, cache->head_dim});
    t.stride[1] = cache->head_dim;
    t.stride[2] = plane;
    return t;
}

/* Appends x [T, kv_heads, head_dim] behind the cached tokens. */
static void append(tomo_kv_cache *cache, int64_t layer, int which, const tomo_tensor *x) {
    int64_t T = x->shape[0], d = cache->head_dim;
    tomo_tensor place = cached(cache, layer, which, cache->capacity);
    for (int64_t t = 0; t < T; t++) {
        for (int64_t h = 0; h < cache->heads; h++) {
            memcpy(tomo_tensor_f32(&place) + (cache->length + t) * place.stride[1] + h * place.stride[2],
                   tomo_tensor_f32(x) + t * x->stride[0] + h * x->stride[1], (size_t)d * sizeof(float));
        }
    }
}

/* --------------------------------------------------------------------------- forward */

typedef struct rope_tables {
    tomo_tensor *cosine, *sine; /* [T, head_dim / 2] */
} rope_tables;

/* Where the keys of a pass are: in a cache, or in the pass itself, which then holds whole sequences. */
typedef struct context {
    tomo_kv_cache *cache;             /* or NULL, and: */
    const int64_t *starts, *prefixes; /* [sequences + 1], [sequences] or NULL */
    int64_t sequences;
    rope_tables rope;
} context;

/* Of positions first .. first + count - 1. Angles are float32(position) * float32(frequency), as the library
 * has them. */
static rope_tables turn_positions(const tomo_decoder *d, tomo_exec *exec, int64_t first, int64_t count) {
    int64_t half = d->config.head_dim / 2, shape[] = {count, half};
    rope_tables r = {tomo_exec_tensor(exec, 2, shape), tomo_exec_tensor(exec, 2, shape)};
    if (r.cosine == NULL || r.sine == NULL) return (rope_tables){NULL, NULL};
    for (int64_t t = 0; t < count; t++) {
        for (int64_t i = 0; i < half; i++) {
            float angle = (float)(first + t) * d->frequencies[i];
            tomo_tensor_f32(r.cosine)[t * half + i] = (float)cos((double)angle);
            tomo_tensor_f32(r.sine)[t * half + i] = (float)sin((double)angle);
        }
    }
    return r;
}

/* Of any positions [count], each of which is turned once. */
static rope_tables make_rope(const tomo_decoder *d, tomo_exec *exec, const int64_t *positions,
                             int64_t count) {
    int64_t half = d->config.head_dim / 2, first = positions[0], last = first;
    size_t bytes = (size_t)half * sizeof(float);
    for (int64_t t = 1; t < count; t++) {
        first = positions[t] < first ? positions[t] : first;
        last = positions[t] > last ? positions[t] : last;
    }
    rope_tables one = turn_positions(d, exec, first, last - first + 1);
    rope_tables all = {tomo_exec_tensor(exec, 2, (int64_t[]){count, half}),
                       tomo_exec_tensor(exec, 2, (int64_t[]){count, half})};
    if (one.sine == NULL || all.cosine == NULL || all.sine == NULL) return (rope_tables){NULL, NULL};
    for (int64_t t = 0; t < count; t++) {
        int64_t from = (positions[t] - first) * half;
        memcpy(tomo_tensor_f32(all.cosine) + t * half, tomo_tensor_f32(one.cosine) + from, bytes);
        memcpy(tomo_tensor_f32(all.sine) + t * half, tomo_tensor_f32(one.sine) + from, bytes);
    }
    return all;
}

/* x [T, heads * head_dim] -> [T, heads, head_dim], normed a head where the family does so, and turned. */
static tomo_tensor *place_heads(const tomo_decoder *d, tomo_exec *exec, const tomo_tensor *x, int64_t heads,
                                const tomo_tensor *norm, rope_tables rope) {
    if (x == NULL) return NULL;
    tomo_tensor view = tomo_tensor_reshape(x, 3, (int64_t[]){x->shape[0], heads, d->config.head_dim});
    const tomo_tensor *y = &view;
    if (norm->data != NULL) y = tomo_op_rms_norm(exec, y, norm, 0, d->config.norm_eps);
    return tomo_op_rope(exec, y, rope.cosine, rope.sine);
}

/* q [T, heads, head_dim], k, v [T, kv_heads, head_dim] of the new tokens -> [T, heads * head_dim], over the
 * cache, to which they are added. */
static tomo_tensor *attend_cache(const tomo_decoder *d, int64_t layer, tomo_exec *exec, tomo_kv_cache *cache,
                                 const tomo_tensor *q, const tomo_tensor *k, const tomo_tensor *v,
                                 double scale) {
    const tomo_decoder_config *c = &d->config;
    int64_t T = q->shape[0], length = cache->length + T;
    append(cache, layer, 0, k);
    append(cache, layer, 1, v);
    tomo_tensor queries = tomo_tensor_reshape(q, 4, (int64_t[]){1, T, c->heads, c->head_dim});
    tomo_tensor keys = cached(cache, layer, 0, length), all_values = cached(cache, layer, 1, length);
    tomo_tensor *out = tomo_op_attention(exec, &queries, &keys, &all_values, scale, true);
    if (out != NULL) *out = tomo_tensor_reshape(out, 2, (int64_t[]){T, c->heads * c->head_dim});
    return out;
}

/* x [T, H], already normed -> [T, heads * head_dim] */
static tomo_tensor *attend(const tomo_decoder *d, int64_t layer, tomo_exec *exec, const context *at,
                           const tomo_tensor *x) {
    const tomo_decoder_config *c = &d->config;
    const tomo_decoder_layer *l = &d->layers[layer];
    tomo_tensor none = {0};
    tomo_tensor *parts[3] = {NULL};
    tomo_op_linears(exec, x, (const tomo_linear *[]){&l->query, &l->key, &l->value}, 3, parts);
    tomo_tensor *q = parts[0], *k = parts[1], *v = parts[2];
    q = place_heads(d, exec, q, c->heads, c->qk_norm ? &l->query_norm : &none, at->rope);
    k = place_heads(d, exec, k, c->kv_heads, c->qk_norm ? &l->key_norm : &none, at->rope);
    if (q == NULL || k == NULL || v == NULL) return NULL;
    tomo_tensor values = tomo_tensor_reshape(v, 3, (int64_t[]){v->shape[0], c->kv_heads, c->head_dim});
    double scale = 1.0 / sqrt((double)c->head_dim);
    if (at->cache != NULL) return attend_cache(d, layer, exec, at->cache, q, k, &values, scale);
    return tomo_op_attention_packed(exec, q, k, &values, at->starts, at->prefixes, at->sequences, scale,
                                    true);
}

/* x [T, H] -> [T, H] */
static tomo_tensor *run_layer(const tomo_decoder *d, int64_t layer, tomo_exec *exec, const context *at,
                              const tomo_tensor *x) {
    const tomo_decoder_layer *l = &d->layers[layer];
    double eps = d->config.norm_eps;
    tomo_tensor *a = attend(d, layer, exec, at, tomo_op_rms_norm(exec, x, &l->input_norm, 0, eps));
    a = tomo_op_linear(exec, a, &l->out, TOMO_ACT_NONE, x);
    tomo_tensor *m = tomo_op_rms_norm(exec, a, &l->post_norm, 0, eps);
    tomo_tensor *wide[2] = {NULL};
    tomo_op_linears(exec, m, (const tomo_linear *[]){&l->gate, &l->up}, 2, wide);
    return tomo_op_linear(exec, tomo_op_silu_multiply(exec, wide[0], wide[1]), &l->down, TOMO_ACT_NONE, a);
}

tomo_tensor *tomo_decoder_embed(const tomo_decoder *decoder, tomo_exec *exec, const int32_t *ids,
                                int64_t count) {
    return tomo_op_embedding(exec, &decoder->embedding, ids, count);
}

/* All layers and the final norm: x [T, H] -> [T, H]. */
static tomo_tensor *run_layers(const tomo_decoder *d, tomo_exec *exec, const context *at,
                               const tomo_tensor *x) {
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tape_begin_layers(exec);
    for (int64_t i = 0; i < d->config.layers && x != NULL; i++) {
        tomo_exec_show(exec, x, "hidden_states.%d", (int)i);
        x = run_layer(d, i, exec, at, x);
        x = tomo_exec_keep(exec, start, x);
    }
    tomo_tape_end_layers(exec);
    tomo_exec_show(exec, x, "last_layer_output");
    tomo_tensor *out = tomo_op_rms_norm(exec, x, &d->norm, 0, d->config.norm_eps);
    tomo_exec_show(exec, out, "hidden_states.%d", (int)d->config.layers);
    return out;
}

tomo_tensor *tomo_decoder_forward(const tomo_decoder *d, tomo_exec *exec, tomo_kv_cache *cache,
                                  const tomo_tensor *embeddings) {
    if (embeddings == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t T = embeddings->shape[0];
    assert(cache->length + T <= cache->capacity && exec->tape == NULL);
    int64_t *positions = tomo_exec_alloc(exec, T, sizeof *positions);
    if (positions == NULL) return NULL;
    for (int64_t t = 0; t < T; t++) positions[t] = tomo_position_in(cache->block, cache->length + t);
    context at = {.cache = cache, .rope = make_rope(d, exec, positions, T)};
    if (at.rope.sine == NULL) return NULL;
    tomo_tensor *out = run_layers(d, exec, &at, embeddings);
    if (out != NULL) cache->length += T;
    return out;
}

/* The position of the first row of sequence i: behind its prefix. */
static int64_t first_position(const int64_t *starts, const int64_t *prefixes, int64_t i) {
    if (prefixes == NULL || prefixes[i] < 0) return 0;
    return starts[prefixes[i] + 1] - starts[prefixes[i]];
}

/* Of each row: its place in its sequence, behind its prefix. */
static int64_t *count_positions(tomo_exec *exec, const int64_t *starts, const int64_t *prefixes,
                                int64_t count) {
    int64_t *positions = tomo_exec_alloc(exec, starts[count], sizeof *positions);
    for (int64_t i = 0; i < count && positions != NULL; i++) {
        int64_t first = first_position(starts, prefixes, i);
        for (int64_t t = starts[i]; t < starts[i + 1]; t++) positions[t] = first + t - starts[i];
    }
    return positions;
}

tomo_tensor *tomo_decoder_forward_packed(const tomo_decoder *d, tomo_exec *exec,
                                         const tomo_tensor *embeddings, const int64_t *starts,
                                         const int64_t *prefixes, const int64_t *positions, int64_t count) {
    if (embeddings == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t T = embeddings->shape[0];
    assert(count >= 1 && starts[0] == 0 && starts[count] == T);
    if (positions == NULL) positions = count_positions(exec, starts, prefixes, count);
    if (positions == NULL) return NULL;
    context at = {
        .starts = starts, .prefixes = prefixes, .sequences = count, .rope = make_rope(d, exec, positions, T)};
    return at.rope.sine == NULL ? NULL : run_layers(d, exec, &at, embeddings);
}

const tomo_linear *tomo_decoder_head(const tomo_decoder *d) {
    return &d->head;
}

tomo_tensor *tomo_decoder_logits(const tomo_decoder *d, tomo_exec *exec, const tomo_tensor *hidden) {
    return tomo_op_linear(exec, hidden, &d->head, TOMO_ACT_NONE, NULL);
}

/* tomo_decoder_forward in pieces that bound memory: hidden states of the last piece. */
static tomo_tensor *run_pieces(const tomo_decoder *d, tomo_exec *exec, tomo_kv_cache *cache,
                               const tomo_tensor *embeddings) {
    int64_t T = embeddings->shape[0];
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tensor *hidden = NULL;
    for (int64_t t = 0; t < T; t += PREFILL_TOKENS) {
        tomo_arena_rewind(exec->arena, start);
        tomo_tensor piece =
            tomo_tensor_narrow(embeddings, 0, t, T - t < PREFILL_TOKENS ? T - t : PREFILL_TOKENS);
        hidden = tomo_decoder_forward(d, exec, cache, &piece);
        if (hidden == NULL) return NULL;
        if (tomo_progress(exec->hooks, "reading the prompt", t + piece.shape[0], T, &exec->error) !=
            TOMO_OK) {
            exec->error.status = TOMO_E_CANCELLED;
            return NULL;
        }
    }
    return hidden;
}

bool tomo_decoder_extend(const tomo_decoder *d, tomo_exec *exec, tomo_kv_cache *cache,
                         const tomo_tensor *embeddings) {
    return embeddings != NULL && exec->error.status == TOMO_OK &&
           run_pieces(d, exec, cache, embeddings) != NULL;
}

tomo_tensor *tomo_decoder_prefill(const tomo_decoder *d, tomo_exec *exec, tomo_kv_cache *cache,
                                  const tomo_tensor *embeddings) {
    if (embeddings == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(embeddings->shape[0] > 0);
    tomo_tensor *hidden = run_pieces(d, exec, cache, embeddings);
    if (hidden == NULL) return NULL;
    tomo_tensor last = tomo_tensor_narrow(hidden, 0, hidden->shape[0] - 1, 1);
    return tomo_decoder_logits(d, exec, &last);
}
