/* lora.h - a PEFT LoRA adapter on the linear layers of a decoder. */
#ifndef TOMO_LANGUAGE_LORA_H
#define TOMO_LANGUAGE_LORA_H

#include "tensor/ops.h"
#include "weights/adapter.h"
#include "weights/bind.h"

/* One layer of a decoder; shapes in decoder.c. */
typedef struct tomo_decoder_layer {
    tomo_tensor input_norm;           /* [H] */
    tomo_linear query, key, value;    /* H -> heads * head_dim, kv_heads * head_dim */
    tomo_tensor query_norm, key_norm; /* [head_dim], or absent */
    tomo_linear out;                  /* heads * head_dim -> H */
    tomo_tensor post_norm;            /* [H] */
    tomo_linear gate, up, down;       /* H -> M, H -> M, M -> H */
} tomo_decoder_layer;

/* Keeps an adapter's tensors alive. */
typedef struct tomo_lora tomo_lora;

/* Hangs every update of the adapter on the layer it names; with `merge`, adds it to a float copy of the
 * weight in the arena, by which *bytes, what the weights take, grows. A target that the decoder does not
 * have, or of another shape, is refused by name. */
tomo_status tomo_lora_apply(const char *folder, bool merge, tomo_decoder_layer *layers, int64_t count,
                            tomo_arena *arena, int64_t *bytes, tomo_lora **lora, tomo_error *err);
void tomo_lora_free(tomo_lora *lora);

/* A fresh adapter: which linear layers of every decoder layer get one, and how large. */
typedef struct tomo_lora_settings {
    int64_t rank;
    double alpha;
    bool rslora;      /* the update is scaled by alpha / sqrt(rank) instead of alpha / rank */
    unsigned targets; /* bit i: tomo_lora_target_name(i) */
    uint64_t seed;
} tomo_lora_settings;

#define TOMO_LORA_TARGETS 7
/* "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj". */
const char *tomo_lora_target_name(int target);

/* A uniform within 1 / sqrt(in), as PEFT starts it; B zero, so that nothing changes before the first step. */
tomo_status tomo_lora_create(const tomo_lora_settings *settings, tomo_decoder_layer *layers, int64_t count,
                             tomo_arena *arena, tomo_parameters *parameters, tomo_error *err);
/* Replaces the A and B that are there by float copies with gradients. */
tomo_status tomo_lora_make_trainable(tomo_decoder_layer *layers, int64_t count, tomo_arena *arena,
                                     tomo_parameters *parameters, tomo_error *err);

#endif
