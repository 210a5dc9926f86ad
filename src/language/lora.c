#include "language/lora.h"

#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tomo_lora {
    tomo_adapter *adapter;
};

/* "model.layers.3.self_attn.q_proj" -> that layer's linear, or NULL. */
static tomo_linear *find_target(const char *module, tomo_decoder_layer *layers, int64_t count) {
    int index = -1, used = 0;
    if (sscanf(module, "model.layers.%9d.%n", &index, &used) < 1 || used == 0 || index < 0 ||
        index >= count) {
        return NULL;
    }
    tomo_decoder_layer *l = &layers[index];
    const struct {
        const char *name;
        tomo_linear *linear;
    } parts[] = {
        {"self_attn.q_proj", &l->query}, {"self_attn.k_proj", &l->key}, {"self_attn.v_proj", &l->value},
        {"self_attn.o_proj", &l->out},   {"mlp.gate_proj", &l->gate},   {"mlp.up_proj", &l->up},
        {"mlp.down_proj", &l->down},
    };
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (strcmp(module + used, parts[i].name) == 0) return parts[i].linear;
    }
    return NULL;
}

static float element(const tomo_tensor *t, int64_t i) {
    if (t->dtype == TOMO_F32) return ((const float *)t->data)[i];
    uint16_t half = ((const uint16_t *)t->data)[i];
    return t->dtype == TOMO_BF16 ? tomo_bf16_to_float(half) : tomo_f16_to_float(half);
}

/* Replaces the weight by a float copy with scale * B A added: rounding the sum back to 16 bits would lose
 * more of a small update than the update is worth. */
static tomo_status merge_into(tomo_linear *linear, const tomo_tensor *a, const tomo_tensor *b, double scale,
                              tomo_arena *arena, tomo_error *err) {
    int64_t out = linear->weight.shape[0], in = linear->weight.shape[1], rank = a->shape[0];
    size_t bytes = (size_t)(out * in) * sizeof(float);
    float *merged = tomo_arena_alloc(arena, bytes);
    double *row = malloc((size_t)in * sizeof *row);
    if (merged == NULL || row == NULL) {
        free(row);
        return tomo_fail_memory(err, "merging the adapter", bytes);
    }
    for (int64_t o = 0; o < out; o++) {
        memset(row, 0, (size_t)in * sizeof *row);
        for (int64_t r = 0; r < rank; r++) {
            double factor = scale * (double)element(b, o * rank + r);
            for (int64_t i = 0; i < in; i++) row[i] += factor * (double)element(a, r * in + i);
        }
        for (int64_t i = 0; i < in; i++) {
            merged[o * in + i] = (float)((double)element(&linear->weight, o * in + i) + row[i]);
        }
    }
    free(row);
    linear->weight = tomo_tensor_over(merged, TOMO_F32, 2, linear->weight.shape);
    return TOMO_OK;
}

static bool is_float(const tomo_stored *s) {
    return s->dtype == TOMO_F32 || s->dtype == TOMO_BF16 || s->dtype == TOMO_F16;
}

static tomo_status apply_target(const char *folder, const tomo_adapter_target *target, bool merge,
                                tomo_decoder_layer *layers, int64_t count, tomo_arena *arena,
                                tomo_error *err) {
    tomo_linear *linear = find_target(target->module, layers, count);
    if (linear == NULL) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: the language model has no linear layer \"%.120s\"", folder,
                         target->module);
    }
    const tomo_stored *a = target->a, *b = target->b;
    bool fits = a->rank == 2 && b->rank == 2 && a->shape[0] == b->shape[1] && is_float(a) && is_float(b) &&
                a->shape[1] == linear->weight.shape[1] && b->shape[0] == linear->weight.shape[0];
    if (!fits) {
        return tomo_fail(
            err, TOMO_E_HEADER, "%s: the update of \"%.120s\" does not fit its weight [%lld, %lld]", folder,
            target->module, (long long)linear->weight.shape[0], (long long)linear->weight.shape[1]);
    }
    tomo_tensor lora_a = tomo_tensor_over((void *)(uintptr_t)a->data, a->dtype, 2, a->shape);
    tomo_tensor lora_b = tomo_tensor_over((void *)(uintptr_t)b->data, b->dtype, 2, b->shape);
    if (merge) return merge_into(linear, &lora_a, &lora_b, target->scale, arena, err);
    linear->lora_a = lora_a;
    linear->lora_b = lora_b;
    linear->lora_scale = (float)target->scale;
    return TOMO_OK;
}

tomo_status tomo_lora_apply(const char *folder, bool merge, tomo_decoder_layer *layers, int64_t count,
                            tomo_arena *arena, tomo_lora **lora, tomo_error *err) {
    *lora = NULL;
    tomo_lora *l = calloc(1, sizeof *l);
    if (l == NULL) return tomo_fail_memory(err, folder, sizeof *l);
    tomo_status status = tomo_adapter_open(folder, &l->adapter, err);
    for (size_t i = 0; status == TOMO_OK && i < tomo_adapter_count(l->adapter); i++) {
        status = apply_target(folder, tomo_adapter_at(l->adapter, i), merge, layers, count, arena, err);
    }
    if (status != TOMO_OK) {
        tomo_lora_free(l);
        return status;
    }
    *lora = l;
    return TOMO_OK;
}

void tomo_lora_free(tomo_lora *lora) {
    if (lora == NULL) return;
    tomo_adapter_free(lora->adapter);
    free(lora);
}
