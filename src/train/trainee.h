/* trainee.h - a model directory whose parts are being trained. */
#ifndef TOMO_TRAIN_TRAINEE_H
#define TOMO_TRAIN_TRAINEE_H

#include "model/model.h"
#include "train/recipe.h"

/* Parts become trainable when a stage asks for them and stay so; parts[i] lists those of bit i. */
typedef struct tomo_trainee {
    tomo_model *model;
    tomo_parameters parts[TOMO_PARTS];
    tomo_lora_settings lora; /* of the adapter, where it has one */
    bool has_adapter, own_language;
} tomo_trainee;

/* What a trainee begins with. */
typedef struct tomo_trainee_options {
    const char *folder; /* a model directory */
    const char
        *precision;      /* of frozen weights, as tomo_model_options has it; training takes f32, bf16, fast */
    const cJSON *config; /* sections whose members replace those of its config.json; or NULL */
    const char *start;   /* where the model directory with them is made */
} tomo_trainee_options;

/* *trainee is freed by tomo_trainee_free, also after a failure. */
tomo_status tomo_trainee_open(tomo_context *context, const tomo_trainee_options *options,
                              tomo_trainee *trainee, tomo_error *err);
void tomo_trainee_free(tomo_trainee *trainee);

/* Makes what the stage trains trainable; the seed is that of a fresh adapter. */
tomo_status tomo_trainee_prepare(tomo_trainee *trainee, const tomo_stage *stage, uint64_t seed,
                                 tomo_error *err);

/* Writes a model directory in place of what is at `folder`: encoder and language model are hard links to (or
 * copies of) those it began with, the adapter as PEFT has it. */
tomo_status tomo_trainee_export(const tomo_trainee *trainee, const char *folder, tomo_error *err);

/* Writes parameters as one safetensors file. */
tomo_status tomo_parameters_write(const tomo_parameters *parameters, const char *folder, const char *name,
                                  tomo_error *err);
#endif
