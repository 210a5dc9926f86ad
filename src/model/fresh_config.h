/* fresh_config.h - the config.json of a new model directory. */
#ifndef TOMO_MODEL_FRESH_CONFIG_H
#define TOMO_MODEL_FRESH_CONFIG_H

#include "model/config.h"

/* Settings that suit an encoder in its folder and a language model in its folder or GGUF file. path: a JSON
 * file whose members replace them in the sections encoder (layers alone), volume, prune, connector, prompt;
 * or NULL. What does not fit the parts, and unknown keys, are refused by name. *config, freed by
 * tomo_model_config_free also after a failure, holds the document to write. */
tomo_status tomo_fresh_config(const char *encoder_path, const char *language_path, const char *path,
                              tomo_model_config *config, tomo_error *err);

#endif
