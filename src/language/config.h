/* config.h - a decoder's sizes from a public language model's config.json, in the layout of published
 * checkpoints (rope_theta, rope_scaling) or of transformers 5 (rope_parameters). */
#ifndef TOMO_LANGUAGE_CONFIG_H
#define TOMO_LANGUAGE_CONFIG_H

#include "base/json.h"

/* The largest public models have 128 or fewer. */
#define TOMO_DECODER_LAYERS 256
#define TOMO_DECODER_ENDS 16

typedef enum tomo_rope_type { TOMO_ROPE_DEFAULT, TOMO_ROPE_LINEAR, TOMO_ROPE_LLAMA3 } tomo_rope_type;

typedef struct tomo_rope {
    tomo_rope_type type;
    double theta, factor, low_freq_factor, high_freq_factor;
    int64_t original_context;
} tomo_rope;

typedef struct tomo_decoder_config {
    const char *family; /* "qwen2", "qwen3", "llama"; static */
    int64_t hidden, layers, heads, kv_heads, head_dim, intermediate, vocabulary, context;
    double norm_eps;
    bool tied;                         /* the output matrix is the embedding table */
    bool qkv_bias, out_bias, mlp_bias; /* which linear layers have biases */
    bool qk_norm;                      /* RMS norm of each head's query and key before rope */
    tomo_rope rope;
    int32_t ends[TOMO_DECODER_ENDS]; /* ids that end a text */
    int end_count;
} tomo_decoder_config;

/* Reads folder/config.json and, for the end ids, folder/generation_config.json where it exists. Another
 * family, or a setting that would change the result and is not computed: TOMO_E_UNSUPPORTED, naming it. */
tomo_status tomo_decoder_config_read(const char *folder, tomo_decoder_config *config, tomo_error *err);

/* The same from one config.json, without the generation configuration beside it. */
tomo_status tomo_decoder_config_open(const char *path, tomo_decoder_config *config, tomo_error *err);

/* The same from a document; `file` is for messages. */
tomo_status tomo_decoder_config_parse(const char *file, const cJSON *root, tomo_decoder_config *config,
                                      tomo_error *err);

/* Frequencies of the rotary positions, [head_dim / 2]: 1 / theta^(2i / head_dim), scaled as `rope` says. */
void tomo_rope_frequencies(const tomo_decoder_config *config, float *frequencies);

#endif
