#include "fusion/connector.h"

#include "fusion/frequency.h"
#include "fusion/prune.h"
#include "fusion/vit3d.h"
#include "fusion/window_attention.h"
#include "tensor/tape.h"
#include "weights/pack.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NORM_EPS 1e-6

typedef struct norm {
    tomo_tensor weight, bias;
} norm;

typedef struct fusion_block {
    norm norm1, norm2;
    tomo_tensor spatial_weight, spatial_bias; /* [d, 1, 3, 3, 3], [d] */
    tomo_linear spatial_out;                  /* d -> d */
    tomo_tensor real, imag;                   /* [h, w, bins, d] */
    tomo_linear gate;                         /* 2 d -> d, only with both branches */
    tomo_linear out;                          /* d -> d */
    tomo_linear fc1, fc2;                     /* d -> r d -> d */
} fusion_block;

typedef struct injection {
    norm norm_source[TOMO_CONNECTOR_LAYERS]; /* [C] */
    norm norm_query, norm2;                  /* [d] */
    tomo_linear query, out;                  /* d -> d */
    tomo_linear key, value;                  /* L C -> d */
    tomo_tensor key_offset, value_offset;    /* [d, 3] */
    tomo_tensor gate;                        /* [d] */
    tomo_linear fc1, fc2;
} injection;

struct tomo_connector {
    tomo_connector_config config;
    tomo_arena *arena; /* what had to be widened to float */
    int64_t bytes, parameters;
    tomo_vit3d vit3d; /* or, of the other kind: */
    norm norm_in, norm_out;
    tomo_linear proj_in;  /* C -> d */
    tomo_linear position; /* d -> d, no bias */
    fusion_block fusion[TOMO_CONNECTOR_BLOCKS];
    injection injection[TOMO_CONNECTOR_BLOCKS];
    tomo_linear proj1, proj2; /* d -> D -> D, of both */
    tomo_packs packs;
};

/* --------------------------------------------------------------------------- weights */

static norm bind_norm(tomo_binder *b, int64_t n, const char *name) {
    norm out;
    out.weight = tomo_bind_float(b, 1, &n, "%s.weight", name);
    out.bias = tomo_bind_float(b, 1, &n, "%s.bias", name);
    return out;
}

static void bind_fusion(tomo_binder *b, const tomo_connector_config *c, fusion_block *f) {
    int64_t d = c->width;
    f->norm1 = bind_norm(b, d, "norm1");
    f->norm2 = bind_norm(b, d, "norm2");
    if (c->spatial) {
        f->spatial_weight = tomo_bind_float(b, 5, (int64_t[]){d, 1, 3, 3, 3}, "spatial.weight");
        f->spatial_bias = tomo_bind_float(b, 1, &d, "spatial.bias");
        f->spatial_out = tomo_bind_linear(b, d, d, true, "spatial_out");
    }
    if (c->frequency) {
        int64_t shape[4] = {c->grid[0], c->grid[1], c->filter_bins, d};
        f->real = tomo_bind_float(b, 4, shape, "frequency.real");
        f->imag = tomo_bind_float(b, 4, shape, "frequency.imag");
    }
    if (c->spatial && c->frequency) f->gate = tomo_bind_linear(b, d, 2 * d, true, "gate");
    f->out = tomo_bind_linear(b, d, d, true, "out");
    f->fc1 = tomo_bind_linear(b, c->mlp_ratio * d, d, true, "fc1");
    f->fc2 = tomo_bind_linear(b, d, c->mlp_ratio * d, true, "fc2");
}

static void bind_injection(tomo_binder *b, const tomo_connector_config *c, injection *n) {
    int64_t d = c->width, source = c->layers * c->encoder_width;
    char name[32];
    for (int64_t i = 0; i < c->layers; i++) {
        (void)snprintf(name, sizeof name, "norm_source.%d", (int)i);
        n->norm_source[i] = bind_norm(b, c->encoder_width, name);
    }
    n->norm_query = bind_norm(b, d, "norm_query");
    n->norm2 = bind_norm(b, d, "norm2");
    n->query = tomo_bind_linear(b, d, d, true, "query");
    n->key = tomo_bind_linear(b, d, source, true, "key");
    n->value = tomo_bind_linear(b, d, source, true, "value");
    n->key_offset = tomo_bind_float(b, 2, (int64_t[]){d, 3}, "key_offset.weight");
    n->value_offset = tomo_bind_float(b, 2, (int64_t[]){d, 3}, "value_offset.weight");
    n->out = tomo_bind_linear(b, d, d, true, "out");
    n->gate = tomo_bind_float(b, 1, &d, "gate");
    n->fc1 = tomo_bind_linear(b, c->mlp_ratio * d, d, true, "fc1");
    n->fc2 = tomo_bind_linear(b, d, c->mlp_ratio * d, true, "fc2");
}

static void bind_projector(tomo_binder *b, tomo_connector *n) {
    int64_t D = n->config.language_width;
    n->proj1 = tomo_bind_linear(b, D, n->config.width, true, "proj1");
    n->proj2 = tomo_bind_linear(b, D, D, true, "proj2");
}

static void bind_all(tomo_binder *b, tomo_connector *n) {
    const tomo_connector_config *c = &n->config;
    char prefix[32];
    if (c->kind == TOMO_CONNECTOR_VIT3D) {
        tomo_vit3d_bind(b, c, &n->vit3d);
        bind_projector(b, n);
        return;
    }
    n->norm_in = bind_norm(b, c->encoder_width, "norm_in");
    n->proj_in = tomo_bind_linear(b, c->width, c->encoder_width, true, "proj_in");
    n->position = tomo_bind_linear(b, c->width, c->width, false, "position");
    n->norm_out = bind_norm(b, c->width, "norm_out");
    bind_projector(b, n);
    b->prefix = prefix;
    for (int64_t i = 0; i < c->fusion_blocks; i++) {
        (void)snprintf(prefix, sizeof prefix, "fusion.%d.", (int)i);
        bind_fusion(b, c, &n->fusion[i]);
    }
    for (int64_t i = 0; i < c->injection_layers; i++) {
        (void)snprintf(prefix, sizeof prefix, "injection.%d.", (int)i);
        bind_injection(b, c, &n->injection[i]);
    }
    b->prefix = "";
}

tomo_status tomo_connector_create(const tomo_connector_config *config, const tomo_checkpoint *checkpoint,
                                  tomo_connector **connector, tomo_error *err) {
    return tomo_connector_create_trainable(config, checkpoint, NULL, connector, err);
}

tomo_status tomo_connector_create_trainable(const tomo_connector_config *config,
                                            const tomo_checkpoint *checkpoint, tomo_parameters *parameters,
                                            tomo_connector **connector, tomo_error *err) {
    *connector = NULL;
    tomo_connector *n = calloc(1, sizeof *n);
    if (n == NULL) return tomo_fail_memory(err, "connector", sizeof *n);
    n->config = *config;
    n->arena = tomo_arena_create(0);
    if (n->arena == NULL) {
        tomo_connector_free(n);
        return tomo_fail_memory(err, "connector", sizeof *n);
    }
    tomo_binder binder = {.checkpoint = checkpoint, .arena = n->arena, .prefix = "", .trainable = parameters};
    bind_all(&binder, n);
    n->bytes = binder.bytes;
    n->parameters = binder.parameters;
    if (binder.error.status != TOMO_OK) {
        tomo_connector_free(n);
        if (err != NULL) *err = binder.error;
        return binder.error.status;
    }
    *connector = n;
    return TOMO_OK;
}

/* Filters, positions and offsets stay as they are: small, and angles are better exact. */
tomo_status tomo_connector_pack(tomo_connector *n, tomo_pool *pool, const tomo_kernels *kernels,
                                const tomo_checkpoint *checkpoint, tomo_precision precision,
                                tomo_error *err) {
    if (precision == TOMO_PRECISION_F32 || !tomo_packing_is_native(kernels, TOMO_PACK_BF16)) return TOMO_OK;
    tomo_linear *list[3 + 5 * TOMO_CONNECTOR_BLOCKS + 6 * TOMO_CONNECTOR_BLOCKS];
    size_t count = 0;
    list[count++] = &n->proj_in;
    for (int64_t i = 0; i < n->config.fusion_blocks; i++) {
        fusion_block *f = &n->fusion[i];
        tomo_linear *own[] = {&f->spatial_out, &f->gate, &f->out, &f->fc1, &f->fc2};
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++) list[count++] = own[k];
    }
    for (int64_t i = 0; i < n->config.injection_layers; i++) {
        injection *j = &n->injection[i];
        tomo_linear *own[] = {&j->query, &j->key, &j->value, &j->out, &j->fc1, &j->fc2};
        for (size_t k = 0; k < sizeof own / sizeof own[0]; k++) list[count++] = own[k];
    }
    list[count++] = &n->proj1;
    list[count++] = &n->proj2;
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && status == TOMO_OK; i++)
        status = tomo_packs_add(&n->packs, pool, kernels, checkpoint, list[i], TOMO_PACK_BF16, err);
    return status;
}

void tomo_connector_free(tomo_connector *connector) {
    if (connector == NULL) return;
    tomo_packs_free(&connector->packs);
    tomo_arena_free(connector->arena);
    free(connector);
}

tomo_status tomo_connector_parameters(const tomo_connector_config *config, tomo_parameter_fn tell, void *user,
                                      tomo_error *err) {
    tomo_connector *n = calloc(1, sizeof *n);
    if (n == NULL) return tomo_fail_memory(err, "connector", sizeof *n);
    n->config = *config;
    tomo_binder binder = {.prefix = "", .collect = tell, .collect_user = user};
    bind_all(&binder, n);
    free(n);
    return TOMO_OK;
}

void tomo_connector_weight_size(const tomo_connector *connector, int64_t *bytes, int64_t *parameters) {
    *bytes = connector->bytes - connector->packs.saved;
    *parameters = connector->parameters;
}

/* --------------------------------------------------------------------------- forward */

static tomo_tensor *apply_norm(tomo_exec *exec, const tomo_tensor *x, const norm *n) {
    return tomo_op_layer_norm(exec, x, &n->weight, &n->bias, NORM_EPS);
}

/* x + fc2(gelu(fc1(norm(x)))), [..., d] -> [..., d] */
static tomo_tensor *feed_forward(tomo_exec *exec, const tomo_tensor *x, const norm *n, const tomo_linear *fc1,
                                 const tomo_linear *fc2) {
    tomo_tensor *hidden = tomo_op_linear(exec, apply_norm(exec, x, n), fc1, TOMO_ACT_GELU, NULL);
    return tomo_op_linear(exec, hidden, fc2, TOMO_ACT_NONE, x);
}

/* From the first slice to position 1, in slices. */
static double position_span(const tomo_connector_config *c, int64_t slices, double slice_mm) {
    if (c->position == TOMO_POSITION_RELATIVE) return (double)(slices > 1 ? slices - 1 : 1);
    assert(slice_mm > 0);
    return TOMO_POSITION_SCALE_MM / slice_mm;
}

/* Sinusoidal features of the slice positions: [K, d]; 2i is sin, 2i + 1 cos of
 * position * 100 / 10000^(2i/d). Angles in double. */
static tomo_tensor *slice_positions(tomo_exec *exec, const int64_t *kept, int64_t count, double span,
                                    int64_t d) {
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){count, d});
    if (out == NULL) return NULL;
    for (int64_t i = 0; i < d / 2; i++) {
        double length = pow(10000.0, 2.0 * (double)i / (double)d);
        for (int64_t k = 0; k < count; k++) {
            double position = (double)kept[k] / span;
            double angle = position * 100.0 / length;
            tomo_tensor_f32(out)[k * d + 2 * i] = (float)sin(angle);
            tomo_tensor_f32(out)[k * d + 2 * i + 1] = (float)cos(angle);
        }
    }
    return out;
}

/* deep [K, h, w, C] -> [K, h, w, d], with each slice's position added to all of its cells. */
static tomo_tensor *embed(const tomo_connector *n, tomo_exec *exec, const tomo_tensor *deep,
                          const int64_t *kept, double span) {
    int64_t d = n->config.width, K = deep->shape[0];
    tomo_tensor *x =
        tomo_op_linear(exec, apply_norm(exec, deep, &n->norm_in), &n->proj_in, TOMO_ACT_NONE, NULL);
    tomo_tensor *place = slice_positions(exec, kept, K, span, d);
    place = tomo_op_linear(exec, place, &n->position, TOMO_ACT_NONE, NULL);
    return tomo_op_add_spread(exec, x, place);
}

/* x [K, h, w, d] -> the same shape. */
static tomo_tensor *fuse(const tomo_connector *n, const fusion_block *f, tomo_exec *exec,
                         const tomo_tensor *x, const int64_t *runs) {
    const tomo_tensor *mixed = apply_norm(exec, x, &f->norm1), *near = NULL, *far = NULL;
    if (n->config.spatial) {
        near = tomo_op_depthwise_conv3d(exec, mixed, &f->spatial_weight, &f->spatial_bias);
        near = tomo_op_activate(exec, near, TOMO_ACT_GELU);
        near = tomo_op_linear(exec, near, &f->spatial_out, TOMO_ACT_NONE, NULL);
    }
    if (n->config.frequency) far = tomo_op_frequency_filter(exec, mixed, runs, &f->real, &f->imag);
    if (n->config.spatial && n->config.frequency) {
        tomo_tensor *both = tomo_op_concat(exec, (const tomo_tensor *[]){near, far}, 2);
        tomo_tensor *gate = tomo_op_linear(exec, both, &f->gate, TOMO_ACT_SIGMOID, NULL);
        mixed = tomo_op_mix(exec, gate, near, far);
    } else if (n->config.spatial || n->config.frequency) {
        mixed = near != NULL ? near : far;
    }
    tomo_tensor *y = tomo_op_linear(exec, mixed, &f->out, TOMO_ACT_NONE, x);
    return feed_forward(exec, y, &f->norm2, &f->fc1, &f->fc2);
}

/* features [L, K, h, w, C] -> [K, h, w, L C], each layer through its own norm. */
static tomo_tensor *join_layers(const injection *n, tomo_exec *exec, const tomo_tensor *features) {
    const tomo_tensor *parts[TOMO_CONNECTOR_LAYERS];
    int64_t layers = features->shape[0];
    for (int64_t i = 0; i < layers; i++) {
        tomo_tensor layer = tomo_tensor_narrow(features, 0, i, 1);
        layer = tomo_tensor_reshape(&layer, 4, features->shape + 1);
        parts[i] = apply_norm(exec, &layer, &n->norm_source[i]);
    }
    return tomo_op_concat(exec, parts, (int)layers);
}

/* tokens [T, d] -> [T, d] */
static tomo_tensor *inject(const tomo_connector *c, int index, tomo_exec *exec, const tomo_tensor *tokens,
                           const tomo_tensor *features) {
    const injection *n = &c->injection[index];
    tomo_tensor *source = join_layers(n, exec, features);
    tomo_tensor *key = tomo_op_linear(exec, source, &n->key, TOMO_ACT_NONE, NULL);
    tomo_tensor *value = tomo_op_linear(exec, source, &n->value, TOMO_ACT_NONE, NULL);
    tomo_tensor *query =
        tomo_op_linear(exec, apply_norm(exec, tokens, &n->norm_query), &n->query, TOMO_ACT_NONE, NULL);
    if (query == NULL || key == NULL) return NULL;
    tomo_tensor *attention = NULL; /* large and for onlookers only */
    if (exec->trace != NULL) {
        attention = tomo_exec_tensor(
            exec, 5,
            (int64_t[]){c->config.heads, tokens->shape[0], key->shape[0], key->shape[1], key->shape[2]});
        if (attention == NULL) return NULL;
    }
    tomo_tensor *found = tomo_op_window_attention(exec, query, key, value, &n->key_offset, &n->value_offset,
                                                  c->config.heads, c->config.tokens, attention);
    found = tomo_op_linear(exec, found, &n->out, TOMO_ACT_NONE, NULL);
    tomo_tensor *gate = tomo_op_activate(exec, &n->gate, TOMO_ACT_TANH);
    tomo_tensor *y = tomo_op_add(exec, tomo_op_multiply(exec, found, gate), tokens);
    y = feed_forward(exec, y, &n->norm2, &n->fc1, &n->fc2);
    tomo_exec_show(exec, y, "injection.%d", index);
    tomo_exec_show(exec, attention, "injection.%d.attention", index);
    return y;
}

/* deep [K, h, w, C] -> [K, h, w, d] */
static tomo_tensor *run_fusion(const tomo_connector *n, tomo_exec *exec, const tomo_tensor *deep,
                               const int64_t *kept, int64_t slices, double slice_mm) {
    const tomo_connector_config *c = &n->config;
    int64_t K = deep->shape[0], *runs = tomo_exec_alloc(exec, K, sizeof *runs);
    if (runs == NULL) return NULL;
    tomo_run_lengths(kept, K, slices, runs);
    tomo_tensor *x = embed(n, exec, deep, kept, position_span(c, slices, slice_mm));
    tomo_exec_show(exec, x, "embedded");
    tomo_tape_begin_layers(exec);
    for (int i = 0; i < c->fusion_blocks; i++) {
        if (i > 0) tomo_tape_next_layer(exec);
        x = fuse(n, &n->fusion[i], exec, x, runs);
        tomo_exec_show(exec, x, "fusion.%d", i);
    }
    tomo_tape_end_layers(exec);
    return x;
}

/* tokens [T, d] -> [T, d], normed */
static tomo_tensor *run_injection(const tomo_connector *n, tomo_exec *exec, tomo_tensor *tokens,
                                  const tomo_tensor *features) {
    tomo_tape_begin_layers(exec);
    for (int i = 0; i < n->config.injection_layers && tokens != NULL; i++) {
        if (i > 0) tomo_tape_next_layer(exec);
        tokens = inject(n, i, exec, tokens, features);
    }
    tomo_tape_end_layers(exec);
    return apply_norm(exec, tokens, &n->norm_out);
}

tomo_tensor *tomo_connector_forward(const tomo_connector *n, tomo_exec *exec, const tomo_tensor *features,
                                    const int64_t *kept, int64_t slices, double slice_mm) {
    const tomo_connector_config *c = &n->config;
    bool fusion = c->kind == TOMO_CONNECTOR_FUSION;
    if (features == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t L = features->shape[0];
    assert(features->rank == 5 && L == c->layers && features->shape[4] == c->encoder_width);
    tomo_tensor deep = tomo_tensor_narrow(features, 0, L - 1, 1);
    deep = tomo_tensor_reshape(&deep, 4, features->shape + 1);
    tomo_tensor *x = fusion ? run_fusion(n, exec, &deep, kept, slices, slice_mm)
                            : tomo_vit3d_forward(&n->vit3d, c, exec, &deep);
    tomo_tensor *tokens = tomo_op_adaptive_pool3d(exec, x, c->tokens);
    if (tokens == NULL) return NULL;
    int64_t plane = c->tokens[1] * c->tokens[2];
    *tokens = tomo_tensor_reshape(tokens, 2, (int64_t[]){c->tokens[0] * plane, c->width});
    tomo_exec_show(exec, tokens, "compressed");
    if (fusion) tokens = run_injection(n, exec, tokens, features);
    if (c->summary) tokens = tomo_op_append_largest(exec, tokens, plane);
    tokens = tomo_op_linear(exec, tokens, &n->proj1, TOMO_ACT_GELU, NULL);
    return tomo_op_linear(exec, tokens, &n->proj2, TOMO_ACT_NONE, NULL);
}
