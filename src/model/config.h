/* config.h - a model directory's config.json. */
#ifndef TOMO_MODEL_CONFIG_H
#define TOMO_MODEL_CONFIG_H

#include "fusion/connector.h"
#include "fusion/prune.h"
#include "vision/vit.h"
#include "volume/slices.h"

typedef enum tomo_prompt_format {
    TOMO_PROMPT_CHAT, /* the turns of the language model's own chat format */
    TOMO_PROMPT_M3D   /* the benchmark's plain text: placeholders, then the question */
} tomo_prompt_format;

/* What a GGUF language model is called in a directory that we write. */
#define TOMO_LANGUAGE_GGUF "language.gguf"

/* Texts point into `json`. */
typedef struct tomo_model_config {
    cJSON *json;
    const char *encoder_path;
    int64_t layers[TOMO_CONNECTOR_LAYERS]; /* hidden states to read, shallow to deep */
    int layer_count;
    tomo_slices_settings volume;
    tomo_prune_settings prune;
    tomo_connector_config connector;
    const char *language_path, *adapter_path;  /* adapter NULL: none */
    const char *image_token, *system, *report; /* system NULL: none */
    tomo_prompt_format prompt_format;
    bool text_first; /* closed questions: "lung: C." is answered instead of "C. lung" */
    /* Visual tokens share a position (language/decoder.h) instead of having one each. */
    bool image_positions_shared;
    bool image; /* false: the scan is not looked at, and prompts have no place for it */
} tomo_model_config;

/* Unknown keys are refused by name (TOMO_E_HEADER). *config is freed by tomo_model_config_free, also after a
 * failure. */
tomo_status tomo_model_config_read(const char *path, tomo_model_config *config, tomo_error *err);
/* The same of a document, which it takes over; `path` is for messages. */
tomo_status tomo_model_config_take(const char *path, cJSON *root, tomo_model_config *config, tomo_error *err);
void tomo_model_config_free(tomo_model_config *config);

/* How many visual tokens a prompt about a scan holds. */
int64_t tomo_model_config_image_tokens(const tomo_model_config *config);

/* The most slices that the connector gets of a scan. */
int64_t tomo_model_config_most_slices(const tomo_model_config *config);

/* Members of `from` replace those of `to`, section by section; sections that `to` does not have are left out.
 */
void tomo_model_config_override(cJSON *to, const cJSON *from);

/* Whether encoder, connector and language model (its hidden size) speak of the same sizes. */
tomo_status tomo_model_config_check(const tomo_model_config *config, const char *path, const tomo_vit *vit,
                                    int64_t hidden, tomo_error *err);

#endif
