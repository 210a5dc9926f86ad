/* gguf.h - the metadata of a GGUF file in the form of the files of a downloaded model, so that the same code
 * reads both. */
#ifndef TOMO_LANGUAGE_GGUF_H
#define TOMO_LANGUAGE_GGUF_H

#include "base/json.h"

/* Which linear layers of a decoder layer have biases. */
typedef struct tomo_gguf_biases {
    bool attention, mlp;
} tomo_gguf_biases;

/* metadata: of tomo_gguf_metadata_open. Makes what config.json would say (config.h); tied: the file has no
 * output matrix; biases: what its tensors tell. The caller deletes *config. */
tomo_status tomo_gguf_config(const char *file, const cJSON *metadata, bool tied, tomo_gguf_biases biases,
                             cJSON **config, tomo_error *err);
/* Makes what tokenizer.json would say. TOMO_E_UNSUPPORTED where the tokenizer is no byte-level BPE or cuts
 * words by a rule that is not known here. metadata lends its texts: it must outlive *tokenizer, which the
 * caller deletes. */
tomo_status tomo_gguf_tokenizer(const char *file, const cJSON *metadata, cJSON **tokenizer, tomo_error *err);
/* The other way: what a tokenizer.json (parsed, and as text) says, for the metadata of a GGUF file; the whole
 * text goes there too, so that nothing is lost for readers that know it. vocabulary: ids that the model has.
 */
void tomo_gguf_add_tokenizer(cJSON *metadata, const cJSON *tokenizer, const char *text, int64_t vocabulary);
/* The chat template, or NULL. */
const char *tomo_gguf_chat_template(const cJSON *metadata);

#endif
