#include "language/lora.h"

#include "base/random.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct tomo_lora {
    tomo_adapter *adapter;
};

/* The linear layers of a decoder layer by name. */
static tomo_linear *target_of(tomo_decoder_layer *l, int target, const char **name) {
    const struct {
        const char *name;
        tomo_linear *linear;
    } parts[TOMO_LORA_TARGETS] = {
        {"self_attn.q_proj", &l->query}, {"self_attn.k_proj", &l->key}, {"self_attn.v_proj", &l->value},
        {"self_attn.o_proj", &l->out},   {"mlp.gate_proj", &l->gate},   {"mlp.up_proj", &l->up},
        {"mlp.down_proj", &l->down},
    };
    *name = parts[target].name;
    return parts[target].linear;
}

const char *tomo_lora_target_name(int target) {
    tomo_decoder_layer none;
    const char *name;
    (void)target_of(&none, target, &name);
    return strchr(name, '.') + 1;
}

/* "model.layers.3.self_attn.q_proj" -> that layer's linear, or NULL. */
static tomo_linear *find_target(const char *module, tomo_decoder_layer *layers, int64_t count) {
    int index = -1, used = 0;
    if (sscanf(module, "model.layers.%9d.%n", &index, &used) < 1 || used == 0 || index < 0 ||
        index >= count) {
        return NULL;
    }
    for (int i = 0; i < TOMO_LORA_TARGETS; i++) {
        const char *name;
        tomo_linear *linear = target_of(&layers[index], i, &name);
        if (strcmp(module + used, name) == 0) return linear;
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
                                tomo_decoder_layer *layers, int64_t count, tomo_arena *arena, int64_t *bytes,
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
    if (merge && tomo_dtype_block(linear->weight.dtype) > 1) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: an adapter cannot be merged into quantised weights; beside them it works",
                         folder);
    }
    if (merge) {
        int64_t grown = (int64_t)sizeof(float) - (int64_t)tomo_dtype_size(linear->weight.dtype);
        *bytes += grown * linear->weight.shape[0] * linear->weight.shape[1];
        return merge_into(linear, &lora_a, &lora_b, target->scale, arena, err);
    }
    linear->lora_a = lora_a;
    linear->lora_b = lora_b;
    linear->lora_scale = (float)target->scale;
    return TOMO_OK;
}

tomo_status tomo_lora_apply(const char *folder, bool merge, tomo_decoder_layer *layers, int64_t count,
                            tomo_arena *arena, int64_t *bytes, tomo_lora **lora, tomo_error *err) {
    *lora = NULL;
    tomo_lora *l = calloc(1, sizeof *l);
    if (l == NULL) return tomo_fail_memory(err, folder, sizeof *l);
    tomo_status status = tomo_adapter_open(folder, &l->adapter, err);
    for (size_t i = 0; status == TOMO_OK && i < tomo_adapter_count(l->adapter); i++) {
        status =
            apply_target(folder, tomo_adapter_at(l->adapter, i), merge, layers, count, arena, bytes, err);
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

/* ------------------------------------------------------------------------- training */

/* The name of a matrix in an adapter's file, in the arena; NULL when out of memory. */
static char *matrix_name(tomo_arena *arena, int64_t layer, const char *module, char which) {
    char *name = tomo_arena_alloc(arena, 128);
    if (name != NULL) {
        (void)snprintf(name, 128, "base_model.model.model.layers.%lld.%s.lora_%c.weight", (long long)layer,
                       module, which);
    }
    return name;
}

/* A trainable [rows, columns] of zeros, listed by its name. */
static tomo_status new_matrix(tomo_arena *arena, tomo_parameters *parameters, char *name, int64_t rows,
                              int64_t columns, tomo_tensor *matrix, tomo_error *err) {
    size_t bytes = (size_t)(rows * columns) * sizeof(float);
    void *data = tomo_arena_alloc(arena, bytes);
    float *grad = tomo_arena_alloc(arena, bytes);
    if (name == NULL || data == NULL || grad == NULL) return tomo_fail_memory(err, "adapter", bytes);
    memset(data, 0, bytes);
    memset(grad, 0, bytes);
    *matrix = tomo_tensor_over(data, TOMO_F32, 2, (int64_t[]){rows, columns});
    matrix->grad = grad;
    return tomo_parameters_add(parameters, name, matrix, err);
}

tomo_status tomo_lora_create(const tomo_lora_settings *settings, tomo_decoder_layer *layers, int64_t count,
                             tomo_arena *arena, tomo_parameters *parameters, tomo_error *err) {
    tomo_random random = tomo_random_seed(settings->seed);
    double scale =
        settings->alpha / (settings->rslora ? sqrt((double)settings->rank) : (double)settings->rank);
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < count; i++) {
        for (int target = 0; target < TOMO_LORA_TARGETS && status == TOMO_OK; target++) {
            const char *module;
            tomo_linear *l = target_of(&layers[i], target, &module);
            if (!(settings->targets >> target & 1)) continue;
            int64_t out = l->weight.shape[0], in = l->weight.shape[1];
            l->lora_scale = (float)scale;
            status = new_matrix(arena, parameters, matrix_name(arena, i, module, 'A'), settings->rank, in,
                                &l->lora_a, err);
            double bound = 1 / sqrt((double)in);
            for (int64_t k = 0; status == TOMO_OK && k < settings->rank * in; k++) {
                tomo_tensor_f32(&l->lora_a)[k] = (float)((2 * tomo_random_unit(&random) - 1) * bound);
            }
            if (status == TOMO_OK) {
                status = new_matrix(arena, parameters, matrix_name(arena, i, module, 'B'), out,
                                    settings->rank, &l->lora_b, err);
            }
        }
    }
    return status;
}

static tomo_status train_matrix(tomo_arena *arena, tomo_parameters *parameters, char *name,
                                tomo_tensor *matrix, tomo_error *err) {
    tomo_tensor old = *matrix;
    tomo_status status = new_matrix(arena, parameters, name, old.shape[0], old.shape[1], matrix, err);
    for (int64_t i = 0; status == TOMO_OK && i < tomo_tensor_count(&old); i++) {
        tomo_tensor_f32(matrix)[i] = element(&old, i);
    }
    return status;
}

tomo_status tomo_lora_make_trainable(tomo_decoder_layer *layers, int64_t count, tomo_arena *arena,
                                     tomo_parameters *parameters, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < count; i++) {
        for (int target = 0; target < TOMO_LORA_TARGETS && status == TOMO_OK; target++) {
            const char *module;
            tomo_linear *l = target_of(&layers[i], target, &module);
            if (l->lora_a.data == NULL) continue;
            status = train_matrix(arena, parameters, matrix_name(arena, i, module, 'A'), &l->lora_a, err);
            if (status == TOMO_OK) {
                status = train_matrix(arena, parameters, matrix_name(arena, i, module, 'B'), &l->lora_b, err);
            }
        }
    }
    return status;
}
