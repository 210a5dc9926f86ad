/* fresh.h - random weights for networks that are trained from nothing. */
#ifndef TOMO_TRAIN_FRESH_H
#define TOMO_TRAIN_FRESH_H

#include "base/status.h"

/* Where `folder` (config.json, tokenizer ...) has no weights: makes folder `to` with the same files and
 * model.safetensors, F32: matrices normal with deviation 1 / sqrt(inputs), tables of
 * embeddings 0.02, norms 1, biases 0. *used is the folder to open, `to` or
 * `folder` itself. A `to` that exists is taken as it is: the run was begun with it. */
tomo_status tomo_fresh_language(const char *folder, const char *to, uint64_t seed, const char **used,
                                tomo_error *err);
/* The same for a 2D encoder in the layout of CLIP (transformers). */
tomo_status tomo_fresh_encoder(const char *folder, const char *to, uint64_t seed, const char **used,
                               tomo_error *err);

#endif
