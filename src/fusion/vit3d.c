#include "fusion/vit3d.h"

#include "tensor/tape.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define NORM_EPS 1e-6

void tomo_vit3d_bind(tomo_binder *b, const tomo_connector_config *c, tomo_vit3d *v) {
    int64_t d = c->width, patches = c->slices / c->patch_slices * c->grid[0] * c->grid[1];
    char prefix[32];
    v->patch = tomo_bind_linear(b, d, c->patch_slices * c->encoder_width, true, "patch");
    v->positions = tomo_bind_float(b, 2, (int64_t[]){patches, d}, "positions");
    v->norm_weight = tomo_bind_float(b, 1, &d, "norm.weight");
    v->norm_bias = tomo_bind_float(b, 1, &d, "norm.bias");
    b->prefix = prefix;
    for (int64_t i = 0; i < c->blocks; i++) {
        tomo_vit3d_block *k = &v->blocks[i];
        (void)snprintf(prefix, sizeof prefix, "blocks.%d.", (int)i);
        k->norm1_weight = tomo_bind_float(b, 1, &d, "norm1.weight");
        k->norm1_bias = tomo_bind_float(b, 1, &d, "norm1.bias");
        k->qkv = tomo_bind_linear(b, 3 * d, d, true, "qkv");
        k->out = tomo_bind_linear(b, d, d, true, "out");
        k->norm2_weight = tomo_bind_float(b, 1, &d, "norm2.weight");
        k->norm2_bias = tomo_bind_float(b, 1, &d, "norm2.bias");
        k->fc1 = tomo_bind_linear(b, c->mlp_ratio * d, d, true, "fc1");
        k->fc2 = tomo_bind_linear(b, d, c->mlp_ratio * d, true, "fc2");
    }
    b->prefix = "";
}

/* [K, h, w, C] -> [N, p C]: the cells of one place in p slices side by side. Features have no gradient. */
static tomo_tensor *make_patches(tomo_exec *exec, const tomo_tensor *features, int64_t p) {
    int64_t cells = features->shape[1] * features->shape[2], C = features->shape[3],
            N = features->shape[0] / p * cells;
    assert(features->grad == NULL && tomo_tensor_is_contiguous(features));
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){N, p * C});
    if (out == NULL) return NULL;
    out->grad = NULL;
    for (int64_t n = 0; n < N; n++) {
        int64_t z = n / cells * p, cell = n % cells;
        for (int64_t k = 0; k < p; k++) {
            memcpy(tomo_tensor_f32(out) + (n * p + k) * C,
                   tomo_tensor_f32(features) + ((z + k) * cells + cell) * C, (size_t)C * sizeof(float));
        }
    }
    return out;
}

/* x [N, d], already normed -> [N, d] */
static tomo_tensor *attend(const tomo_vit3d_block *k, int64_t heads, tomo_exec *exec, const tomo_tensor *x) {
    tomo_tensor *qkv = tomo_op_linear(exec, x, &k->qkv, TOMO_ACT_NONE, NULL);
    if (qkv == NULL) return NULL;
    int64_t N = qkv->shape[0], per_head = qkv->shape[1] / (3 * heads);
    tomo_tensor all = tomo_tensor_reshape(qkv, 4, (int64_t[]){1, N, 3 * heads, per_head}), part[3];
    for (int i = 0; i < 3; i++) part[i] = tomo_tensor_narrow(&all, 2, i * heads, heads);
    tomo_tensor *y = tomo_op_attention(exec, &part[0], &part[1], &part[2], 1 / sqrt((double)per_head), false);
    if (y != NULL) *y = tomo_tensor_reshape(y, 2, (int64_t[]){N, heads * per_head});
    return y;
}

/* x [N, d] -> [N, d] */
static tomo_tensor *run_block(const tomo_vit3d_block *k, int64_t heads, tomo_exec *exec,
                              const tomo_tensor *x) {
    tomo_tensor *normed = tomo_op_layer_norm(exec, x, &k->norm1_weight, &k->norm1_bias, NORM_EPS);
    tomo_tensor *y = tomo_op_linear(exec, attend(k, heads, exec, normed), &k->out, TOMO_ACT_NONE, x);
    tomo_tensor *hidden = tomo_op_layer_norm(exec, y, &k->norm2_weight, &k->norm2_bias, NORM_EPS);
    hidden = tomo_op_linear(exec, hidden, &k->fc1, TOMO_ACT_GELU, NULL);
    return tomo_op_linear(exec, hidden, &k->fc2, TOMO_ACT_NONE, y);
}

tomo_tensor *tomo_vit3d_forward(const tomo_vit3d *v, const tomo_connector_config *c, tomo_exec *exec,
                                const tomo_tensor *features) {
    if (features == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(features->rank == 4 && features->shape[0] == c->slices);
    tomo_arena_mark start = tomo_arena_get_mark(exec->arena);
    tomo_tensor *patches = make_patches(exec, features, c->patch_slices);
    tomo_tensor *x = tomo_op_linear(exec, patches, &v->patch, TOMO_ACT_NONE, NULL);
    x = tomo_op_add(exec, x, &v->positions);
    tomo_exec_show(exec, x, "embedded");
    tomo_tape_begin_layers(exec);
    for (int64_t i = 0; x != NULL; i++) {
        x = tomo_exec_keep(exec, start, x);
        if (x == NULL || i == c->blocks) break;
        x = run_block(&v->blocks[i], c->heads, exec, x);
        tomo_exec_show(exec, x, "blocks.%d", (int)i);
    }
    tomo_tape_end_layers(exec);
    x = tomo_op_layer_norm(exec, x, &v->norm_weight, &v->norm_bias, NORM_EPS);
    if (x != NULL) {
        int64_t shape[] = {c->slices / c->patch_slices, c->grid[0], c->grid[1], c->width};
        *x = tomo_tensor_reshape(x, 4, shape);
    }
    return x;
}
