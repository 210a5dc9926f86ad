/* adapter.h - a PEFT LoRA adapter: adapter_config.json and adapter_model.safetensors (or .bin). */
#ifndef TOMO_WEIGHTS_ADAPTER_H
#define TOMO_WEIGHTS_ADAPTER_H

#include "weights/checkpoint.h"

typedef struct tomo_adapter tomo_adapter;

/* The low-rank update of one linear layer W [out, in]: W x + scale * B (A x). */
typedef struct tomo_adapter_target {
    const char *module;   /* path in the base model, "model.layers.0.self_attn.q_proj" */
    const tomo_stored *a; /* [rank, in] */
    const tomo_stored *b; /* [out, rank] */
    double scale;         /* alpha / rank, or alpha / sqrt(rank) with use_rslora; rank_pattern and
                             alpha_pattern obeyed */
} tomo_adapter_target;

/* folder: as PEFT's save_pretrained writes it. Anything that would change the result and is not applied
 * (another peft_type, DoRA, modules_to_save, a bias other than "none", fan_in_fan_out) is refused by name. */
tomo_status tomo_adapter_open(const char *folder, tomo_adapter **adapter, tomo_error *err);
void tomo_adapter_free(tomo_adapter *adapter);

size_t tomo_adapter_count(const tomo_adapter *adapter);
const tomo_adapter_target *tomo_adapter_at(const tomo_adapter *adapter, size_t index);

/* How an adapter that is written came about; for adapter_config.json. */
typedef struct tomo_adapter_settings {
    int64_t rank;
    double alpha;
    bool rslora;
    const char *const *targets; /* [target_count]: "q_proj", ... */
    int target_count;
    const char *base; /* the base model's name or path */
} tomo_adapter_settings;

/* Writes folder (made where it is missing) as PEFT's save_pretrained does; tensors are named as in
 * adapter_model.safetensors. */
tomo_status tomo_adapter_write(const char *folder, const tomo_adapter_settings *settings,
                               const tomo_stored *tensors, size_t count, tomo_error *err);

#endif
