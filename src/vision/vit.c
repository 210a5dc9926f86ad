#include "vision/vit.h"

#include "tensor/tape.h"

#include <assert.h>
#include <math.h>
#include <string.h>

tomo_status tomo_vit_check(const tomo_vit *v, const char *config_path, tomo_error *err) {
    if (v->depth > TOMO_VIT_LAYERS) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: %lld layers; at most %d are read", config_path,
                         (long long)v->depth, TOMO_VIT_LAYERS);
    }
    if (v->heads < 1 || v->width % v->heads != 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: a width of %lld is not divisible by %lld heads",
                         config_path, (long long)v->width, (long long)v->heads);
    }
    if (v->image_size < v->patch_size) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: images of %lld pixels hold no patch of %lld", config_path,
                         (long long)v->image_size, (long long)v->patch_size);
    }
    return TOMO_OK;
}

static tomo_tensor *norm(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *weight,
                         const tomo_tensor *bias) {
    return tomo_op_layer_norm(exec, x, weight, bias, v->eps);
}

/* inputs: patches [S, P, C], class token [C], positions [1 + P, C]; every image adds to the last two. */
static void class_token_backward(tomo_exec *exec, const tomo_node *node) {
    int64_t S = node->output.shape[0], P = node->output.shape[1] - 1, C = node->output.shape[2];
    float *patches = node->inputs[0].grad, *token = node->inputs[1].grad, *place = node->inputs[2].grad;
    for (int64_t s = 0; s < S; s++) {
        const float *dy = node->output.grad + s * (1 + P) * C;
        if (token != NULL) exec->kernels->add(token, token, dy, C);
        if (place != NULL) exec->kernels->add(place, place, dy, (1 + P) * C);
        if (patches != NULL) exec->kernels->add(patches + s * P * C, patches + s * P * C, dy + C, P * C);
    }
}

/* patches [S, P, C], positions [1 + P, C] -> [S, 1 + P, C]: the class token before the patches, positions
 * added. */
static tomo_tensor *with_class_token(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *patches,
                                     const tomo_tensor *positions) {
    if (patches == NULL || positions == NULL) return NULL;
    int64_t S = patches->shape[0], P = patches->shape[1], C = v->width;
    tomo_tensor *x = tomo_exec_tensor(exec, 3, (int64_t[]){S, 1 + P, C});
    if (x == NULL) return NULL;
    const float *place = tomo_tensor_f32(positions);
    for (int64_t s = 0; s < S; s++) {
        float *out = tomo_tensor_f32(x) + s * (1 + P) * C;
        exec->kernels->add(out, tomo_tensor_f32(&v->class_token), place, C);
        exec->kernels->add(out + C, tomo_tensor_f32(patches) + s * P * C, place + C, P * C);
    }
    const tomo_tensor *inputs[] = {patches, &v->class_token, positions};
    tomo_tape_record(exec, class_token_backward, x, inputs, 3, NULL, 0);
    return x;
}

/* pixels [S, 3, H, W] -> [S, 1 + P, C] */
static tomo_tensor *embed(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *pixels) {
    int64_t rows = pixels->shape[2] / v->patch_size, columns = pixels->shape[3] / v->patch_size;
    tomo_tensor *patches = tomo_op_patches(exec, pixels, v->patch_size);
    patches = tomo_op_linear(exec, patches, &v->patch, TOMO_ACT_NONE, NULL);
    const tomo_tensor *positions = &v->positions;
    /* The libraries skip resampling by the number of tokens and the image being square, not by the grid. */
    bool native = rows * columns + 1 == positions->shape[0] && pixels->shape[2] == pixels->shape[3];
    if (!native) positions = tomo_vit_positions(exec, positions, rows, columns, v->antialias);
    return with_class_token(v, exec, patches, positions);
}

/* A linear layer's output [S, N, C] seen as heads [S, N, heads, C / heads], `part` of `parts` side by side.
 */
static tomo_tensor heads_of(const tomo_vit *v, const tomo_tensor *x, int64_t part, int64_t parts) {
    int64_t S = x->shape[0], N = x->shape[1], d = v->width / v->heads;
    tomo_tensor view = tomo_tensor_reshape(x, 4, (int64_t[]){S, N, parts * v->heads, d});
    return tomo_tensor_narrow(&view, 2, part * v->heads, v->heads);
}

/* x [S, N, C], already normed -> softmax(q k^T / sqrt(d)) v, [S, N, C] */
static tomo_tensor *attend(const tomo_vit *v, const tomo_vit_layer *l, tomo_exec *exec,
                           const tomo_tensor *x) {
    tomo_tensor q, k, value;
    if (l->qkv.weight.data != NULL) {
        tomo_tensor *qkv = tomo_op_linear(exec, x, &l->qkv, TOMO_ACT_NONE, NULL);
        if (qkv == NULL) return NULL;
        q = heads_of(v, qkv, 0, 3);
        k = heads_of(v, qkv, 1, 3);
        value = heads_of(v, qkv, 2, 3);
    } else {
        tomo_tensor *query = tomo_op_linear(exec, x, &l->query, TOMO_ACT_NONE, NULL);
        tomo_tensor *key = tomo_op_linear(exec, x, &l->key, TOMO_ACT_NONE, NULL);
        tomo_tensor *values = tomo_op_linear(exec, x, &l->value, TOMO_ACT_NONE, NULL);
        if (query == NULL || key == NULL || values == NULL) return NULL;
        q = heads_of(v, query, 0, 1);
        k = heads_of(v, key, 0, 1);
        value = heads_of(v, values, 0, 1);
    }
    return tomo_op_attention(exec, &q, &k, &value, 1.0 / sqrt((double)(v->width / v->heads)), false);
}

/* x [S, N, C] -> [S, N, C] */
static tomo_tensor *run_layer(const tomo_vit *v, const tomo_vit_layer *l, tomo_exec *exec,
                              const tomo_tensor *x) {
    tomo_tensor *a = attend(v, l, exec, norm(v, exec, x, &l->norm1_weight, &l->norm1_bias));
    a = tomo_op_linear(exec, a, &l->out, TOMO_ACT_NONE, x);
    tomo_tensor *m = norm(v, exec, a, &l->norm2_weight, &l->norm2_bias);
    m = tomo_op_linear(exec, m, &l->fc1, v->activation, NULL);
    return tomo_op_linear(exec, m, &l->fc2, TOMO_ACT_NONE, a);
}

/* Copies the patch tokens of x [S, 1 + P, C] into every state that wants this index. */
static void hand_out(const tomo_tensor *x, int64_t index, const int64_t *wanted, int count,
                     tomo_tensor *const *states) {
    int64_t S = x->shape[0], P = x->shape[1] - 1, C = x->shape[2];
    for (int i = 0; i < count; i++) {
        if (wanted[i] != index) continue;
        for (int64_t s = 0; s < S; s++) {
            memcpy(tomo_tensor_f32(states[i]) + s * P * C, tomo_tensor_f32(x) + (s * (1 + P) + 1) * C,
                   (size_t)(P * C) * sizeof(float));
        }
    }
}

/* What only onlookers want: the pooled embedding of each image. */
static void show_pooled(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *last,
                        const tomo_tensor *normed) {
    if (exec->trace == NULL) return;
    tomo_exec_show(exec, v->final_norm_in_states ? normed : last, "last_hidden_state");
    tomo_tensor row = tomo_tensor_narrow(normed, 1, 0, 1);
    row.rank = 2; /* [S, 1, C] with strides -> [S, C] */
    row.shape[1] = row.shape[2];
    row.stride[1] = 1;
    tomo_tensor *pooled = tomo_op_contiguous(exec, &row);
    tomo_exec_show(exec, pooled, "pooler_output");
    if (v->projection.weight.data == NULL) return;
    tomo_tensor *embeds = tomo_op_linear(exec, pooled, &v->projection, TOMO_ACT_NONE, NULL);
    tomo_exec_show(exec, embeds, "image_embeds_unnormalised");
    for (int64_t s = 0; embeds != NULL && s < embeds->shape[0]; s++) {
        float *e = tomo_tensor_f32(embeds) + s * embeds->shape[1];
        float length = sqrtf(exec->kernels->dot(e, e, embeds->shape[1]));
        for (int64_t i = 0; i < embeds->shape[1]; i++) e[i] /= length;
    }
    tomo_exec_show(exec, embeds, "image_embeds");
}

/* All layers; returns the last one's output, or NULL. */
static tomo_tensor *run_layers(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *pixels,
                               const int64_t *wanted, int count, tomo_tensor *const *states) {
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tensor *x = embed(v, exec, pixels);
    tomo_exec_show(exec, x, "embeddings");
    if (v->pre_norm_weight.data != NULL) x = norm(v, exec, x, &v->pre_norm_weight, &v->pre_norm_bias);
    tomo_tape_begin_layers(exec);
    for (int64_t i = 0; x != NULL; i++) {
        x = tomo_exec_keep(exec, start, x);
        if (x == NULL) break;
        tomo_exec_show(exec, x, "hidden_states.%d", (int)i);
        if (i == v->depth) break;
        hand_out(x, i, wanted, count, states);
        x = run_layer(v, &v->layers[i], exec, x);
    }
    tomo_tape_end_layers(exec);
    return x;
}

/* Every state that is wanted is the pixels. */
static bool hand_out_pixels(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *pixels, int count,
                            tomo_tensor *const *states) {
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tensor *patches = tomo_op_patches(exec, pixels, v->patch_size);
    for (int i = 0; patches != NULL && i < count; i++) {
        memcpy(states[i]->data, patches->data, (size_t)tomo_tensor_count(patches) * sizeof(float));
    }
    tomo_arena_rewind(exec->arena, start);
    return exec->error.status == TOMO_OK;
}

bool tomo_vit_forward(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *pixels, const int64_t *wanted,
                      int count, tomo_tensor *const *states) {
    assert(pixels->rank == 4 && pixels->shape[1] == 3 && exec->tape == NULL);
    if (v->is_pixels) return hand_out_pixels(v, exec, pixels, count, states);
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tensor *x = run_layers(v, exec, pixels, wanted, count, states);
    tomo_tensor *normed = norm(v, exec, x, &v->norm_weight, &v->norm_bias);
    if (normed != NULL) {
        hand_out(normed, v->depth, wanted, count, states);
        show_pooled(v, exec, x, normed);
    }
    tomo_arena_rewind(exec->arena, start);
    return exec->error.status == TOMO_OK;
}

/* Means over the patches of [S, N, C], class tokens left out. */
static tomo_tensor *mean_of_patches(tomo_exec *exec, const tomo_tensor *x) {
    int64_t S = x->shape[0], P = x->shape[1] - 1, C = x->shape[2];
    tomo_tensor patches = tomo_tensor_narrow(x, 1, 1, P);
    tomo_tensor *cells = tomo_op_contiguous(exec, &patches);
    if (cells == NULL) return NULL;
    tomo_tensor grid = tomo_tensor_reshape(cells, 4, (int64_t[]){S, P, 1, C});
    tomo_tensor *means = tomo_op_adaptive_pool3d(exec, &grid, (int64_t[]){S, 1, 1});
    if (means == NULL) return NULL;
    return tomo_exec_view(exec, tomo_tensor_reshape(means, 2, (int64_t[]){S, C}));
}

tomo_tensor *tomo_vit_pool(const tomo_vit *v, tomo_exec *exec, const tomo_tensor *pixels,
                           tomo_pooling pooling) {
    if (pixels == NULL || exec->error.status != TOMO_OK) return NULL;
    tomo_tensor *x =
        norm(v, exec, run_layers(v, exec, pixels, NULL, 0, NULL), &v->norm_weight, &v->norm_bias);
    if (x == NULL) return NULL;
    if (pooling == TOMO_POOLING_MEAN) return mean_of_patches(exec, x);
    tomo_tensor row = tomo_tensor_narrow(x, 1, 0, 1); /* [S, 1, C] with strides -> [S, C] */
    row.rank = 2;
    row.shape[1] = row.shape[2];
    row.stride[1] = 1;
    return tomo_op_contiguous(exec, &row);
}
