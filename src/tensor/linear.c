/* linear.c - the linear layer, with its LoRA update where an adapter is present. */
#include "tensor/gemm_half.h"
#include "tensor/ops.h"
#include "tensor/packed.h"
#include "tensor/profile.h"
#include "tensor/tape.h"

#include <assert.h>

/* inputs: x, weight, bias, lora_a, lora_b; attributes: what the forward pass kept. */
typedef struct linear_attributes {
    float lora_scale;
    const float *hidden; /* scale * (x A^T), [rows, rank] */
    const tomo_packed *packed_back;
} linear_attributes;

/* With h = scale x A^T and y += h B^T: dB += dy^T h, dh = dy B, dA += scale dh^T x, dx += scale dh A. */
static void adapter_backward(tomo_exec *exec, const tomo_node *node, int64_t rows) {
    const linear_attributes *at = node->attributes;
    const tomo_tensor *x = &node->inputs[0], *a = &node->inputs[3], *b = &node->inputs[4];
    int64_t rank = a->shape[0], in = a->shape[1], out = b->shape[0];
    const float *dy = node->output.grad;
    if (b->grad != NULL) tomo_gemm_backward_weight(exec, b->grad, dy, at->hidden, rows, out, rank, 1);
    tomo_tensor *dh = tomo_exec_tensor(exec, 2, (int64_t[]){rows, rank});
    if (dh == NULL) return;
    float *h = tomo_tensor_f32(dh);
    for (int64_t i = 0; i < rows * rank; i++) h[i] = 0;
    tomo_gemm_backward_input(exec, h, dy, rows, b);
    if (a->grad != NULL)
        tomo_gemm_backward_weight(exec, a->grad, h, tomo_tensor_f32(x), rows, rank, in, at->lora_scale);
    for (int64_t i = 0; i < rows * rank; i++) h[i] *= at->lora_scale;
    if (x->grad != NULL) tomo_gemm_backward_input(exec, x->grad, h, rows, a);
}

static void linear_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0], *w = &node->inputs[1], *bias = &node->inputs[2];
    int64_t rows = tomo_tensor_rows(x), in = w->shape[1];
    const float *dy = node->output.grad;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    const tomo_packed *packed = ((const linear_attributes *)node->attributes)->packed_back;
    float *dx = x->grad;
    if (dx != NULL && packed != NULL) {
        tomo_packed_product(exec, dx, in, dy, rows, packed, (tomo_epilogue){.residual = dx});
        dx = NULL;
    }
    float *dw = w->grad;
    if (tomo_gemm_half_wanted(exec, w, rows)) {
        tomo_gemm_half_backward(exec, dx, dw, dy, tomo_tensor_f32(x), rows, w);
        dx = dw = NULL;
    }
    if (dx != NULL || dw != NULL || bias->grad != NULL)
        tomo_gemm_backward(exec, dx, dw, bias->grad, dy, tomo_tensor_f32(x), rows, w);
    if (node->inputs[3].data != NULL) adapter_backward(exec, node, rows);
    tomo_arena_rewind(exec->arena, mark);
}

/* scale * (x A^T), to which B is then applied. */
static float *adapter_hidden(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer) {
    int64_t rows = tomo_tensor_rows(x), width = tomo_tensor_width(x), rank = layer->lora_a.shape[0];
    float *h = tomo_exec_alloc(exec, rows * rank, sizeof *h);
    if (h == NULL) return NULL;
    tomo_gemm(exec, h, rank, tomo_tensor_f32(x), width, rows, &layer->lora_a, false, (tomo_epilogue){0});
    for (int64_t i = 0; i < rows * rank; i++) h[i] *= layer->lora_scale;
    return h;
}

/* y = epilogue(x W^T + adapter); *hidden is what the adapter's backward pass needs. */
static void forward(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer, tomo_epilogue epilogue,
                    tomo_tensor *y, float **hidden) {
    int64_t rows = tomo_tensor_rows(x), in = tomo_tensor_width(x), out = layer->weight.shape[0];
    bool adapted = layer->lora_a.data != NULL;
    tomo_epilogue own = adapted ? (tomo_epilogue){0} : epilogue;
    if (layer->packed != NULL && (exec->tape == NULL || layer->packed_back != NULL)) {
        tomo_packed_product(exec, tomo_tensor_f32(y), out, tomo_tensor_f32(x), rows, layer->packed, own);
    } else if (exec->tape != NULL && tomo_gemm_half_wanted(exec, &layer->weight, rows)) {
        tomo_gemm_half(exec, tomo_tensor_f32(y), tomo_tensor_f32(x), rows, &layer->weight, own.bias);
    } else {
        tomo_gemm(exec, tomo_tensor_f32(y), out, tomo_tensor_f32(x), in, rows, &layer->weight, false, own);
    }
    if (!adapted) return;
    *hidden = adapter_hidden(exec, x, layer);
    if (*hidden == NULL) return;
    tomo_gemm(exec, tomo_tensor_f32(y), out, *hidden, layer->lora_a.shape[0], rows, &layer->lora_b, true,
              epilogue);
}

static tomo_tensor *run_linear(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer,
                               tomo_activation activation, const tomo_tensor *residual) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    if (exec->tape != NULL && (activation != TOMO_ACT_NONE || residual != NULL)) {
        /* The backward pass needs what stands before the activation: one operation after another. */
        tomo_tensor *z = tomo_op_linear(exec, x, layer, TOMO_ACT_NONE, NULL);
        if (activation != TOMO_ACT_NONE) z = tomo_op_activate(exec, z, activation);
        return residual == NULL ? z : tomo_op_add(exec, z, residual);
    }
    int64_t out = layer->weight.shape[0];
    assert(tomo_tensor_is_contiguous(x) && tomo_tensor_width(x) == layer->weight.shape[1]);
    int64_t shape[TOMO_LIMIT_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = out;
    tomo_tensor *y = tomo_exec_tensor(exec, x->rank, shape);
    if (y == NULL) return NULL;
    assert(residual == NULL ||
           (tomo_tensor_is_contiguous(residual) && tomo_tensor_count(residual) == tomo_tensor_rows(x) * out));
    tomo_epilogue epilogue = {tomo_tensor_f32(&layer->bias), activation,
                              residual == NULL ? NULL : tomo_tensor_f32(residual)};
    float *hidden = NULL;
    forward(exec, x, layer, epilogue, y, &hidden);
    linear_attributes attributes = {layer->lora_scale, hidden, layer->packed_back};
    const tomo_tensor *inputs[] = {x, &layer->weight, &layer->bias, &layer->lora_a, &layer->lora_b};
    tomo_tape_record(exec, linear_backward, y, inputs, 5, &attributes, sizeof attributes);
    return exec->error.status == TOMO_OK ? y : NULL;
}

tomo_tensor *tomo_op_linear(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer,
                            tomo_activation activation, const tomo_tensor *residual) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_linear(exec, x, layer, activation, residual);
    tomo_profile_end(exec, TOMO_PROFILE_LINEAR, start);
    return y;
}

/* Whether the layers can share one product: packed alike, nothing recorded, no adapter. */
static bool can_share(const tomo_exec *exec, const tomo_linear *const *layers, int count) {
    for (int i = 0; i < count; i++) {
        const tomo_linear *l = layers[i];
        if (exec->tape != NULL || l->packed == NULL || l->lora_a.data != NULL ||
            !tomo_packed_alike(l->packed, layers[0]->packed)) {
            return false;
        }
    }
    return true;
}

static void run_linears(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *const *layers, int count,
                        tomo_tensor **out) {
    tomo_packed_target targets[TOMO_PACKED_TARGETS];
    assert(count <= TOMO_PACKED_TARGETS);
    bool shared = x != NULL && exec->error.status == TOMO_OK && can_share(exec, layers, count);
    for (int i = 0; i < count; i++) {
        if (!shared) {
            out[i] = tomo_op_linear(exec, x, layers[i], TOMO_ACT_NONE, NULL);
            continue;
        }
        int64_t shape[TOMO_LIMIT_RANK];
        for (int a = 0; a < x->rank; a++) shape[a] = x->shape[a];
        int64_t width = shape[x->rank - 1] = layers[i]->weight.shape[0];
        out[i] = tomo_exec_tensor(exec, x->rank, shape);
        if (out[i] == NULL) return;
        targets[i] = (tomo_packed_target){layers[i]->packed, tomo_tensor_f32(out[i]), width,
                                          (tomo_epilogue){.bias = tomo_tensor_f32(&layers[i]->bias)}};
    }
    if (shared) tomo_packed_products(exec, targets, count, tomo_tensor_f32(x), tomo_tensor_rows(x));
}

void tomo_op_linears(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *const *layers, int count,
                     tomo_tensor **out) {
    double start = tomo_profile_begin(exec);
    run_linears(exec, x, layers, count, out);
    tomo_profile_end(exec, TOMO_PROFILE_LINEAR, start);
}
