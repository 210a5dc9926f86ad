/* linear.c - the linear layer, with its LoRA update where an adapter is present. */
#include "tensor/gemm.h"
#include "tensor/ops.h"

#include <assert.h>

/* scale * (x A^T), to which B is then applied. */
static tomo_tensor *adapter_hidden(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer) {
    int64_t rows = tomo_tensor_rows(x), width = tomo_tensor_width(x), rank = layer->lora_a.shape[0];
    tomo_tensor *h = tomo_exec_tensor(exec, 2, (int64_t[]){rows, rank});
    if (h == NULL) return NULL;
    float *y = tomo_tensor_f32(h);
    tomo_gemm(exec, y, rank, tomo_tensor_f32(x), width, rows, &layer->lora_a, false, (tomo_epilogue){0});
    for (int64_t i = 0; i < rows * rank; i++) y[i] *= layer->lora_scale;
    return h;
}

tomo_tensor *tomo_op_linear(tomo_exec *exec, const tomo_tensor *x, const tomo_linear *layer,
                            tomo_activation activation, const tomo_tensor *residual) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    int64_t rows = tomo_tensor_rows(x), in = tomo_tensor_width(x), out = layer->weight.shape[0];
    assert(tomo_tensor_is_contiguous(x) && in == layer->weight.shape[1]);
    int64_t shape[TOMO_LIMIT_RANK];
    for (int i = 0; i < x->rank; i++) shape[i] = x->shape[i];
    shape[x->rank - 1] = out;
    tomo_tensor *y = tomo_exec_tensor(exec, x->rank, shape);
    if (y == NULL) return NULL;
    assert(residual == NULL ||
           (tomo_tensor_is_contiguous(residual) && tomo_tensor_count(residual) == rows * out));
    tomo_epilogue epilogue = {tomo_tensor_f32(&layer->bias), activation,
                              residual == NULL ? NULL : tomo_tensor_f32(residual)};
    bool adapted = layer->lora_a.data != NULL;
    tomo_gemm(exec, tomo_tensor_f32(y), out, tomo_tensor_f32(x), in, rows, &layer->weight, false,
              adapted ? (tomo_epilogue){0} : epilogue);
    if (adapted) {
        tomo_tensor *h = adapter_hidden(exec, x, layer);
        if (h == NULL) return NULL;
        tomo_gemm(exec, tomo_tensor_f32(y), out, tomo_tensor_f32(h), h->shape[1], rows, &layer->lora_b, true,
                  epilogue);
    }
    return exec->error.status == TOMO_OK ? y : NULL;
}
