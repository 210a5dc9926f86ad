#include "language/gguf.h"

#include <stdio.h>
#include <string.h>

#define MOST_KEY 96

/* ------------------------------------------------------------------------------ config */

static const cJSON *of_architecture(const cJSON *metadata, const char *architecture, const char *key) {
    char name[MOST_KEY];
    (void)snprintf(name, sizeof name, "%.40s.%s", architecture, key);
    return tomo_json_get(metadata, name);
}

/* GGUF's keys beside those of config.json. */
static const struct {
    const char *gguf, *key;
} keys[] = {
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads"},
    {"feed_forward_length", "intermediate_size"},
    {"context_length", "max_position_embeddings"},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps"},
    {"rope.freq_base", "rope_theta"},
};

static void add_copy(cJSON *to, const char *key, const cJSON *value) {
    if (value != NULL) cJSON_AddItemToObject(to, key, cJSON_Duplicate(value, true));
}

/* "linear" is computed; llama3's factors come as a tensor of their own (decoder.c). */
static tomo_status add_rope_scaling(const char *file, const cJSON *metadata, const char *architecture,
                                    cJSON *config, tomo_error *err) {
    const cJSON *type = of_architecture(metadata, architecture, "rope.scaling.type");
    if (!cJSON_IsString(type) || strcmp(type->valuestring, "none") == 0) return TOMO_OK;
    if (strcmp(type->valuestring, "linear") != 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: rope.scaling.type is \"%.40s\"; none or linear is wanted", file,
                         type->valuestring);
    }
    cJSON *section = cJSON_AddObjectToObject(config, "rope_scaling");
    cJSON_AddStringToObject(section, "rope_type", "linear");
    add_copy(section, "factor", of_architecture(metadata, architecture, "rope.scaling.factor"));
    return TOMO_OK;
}

/* The ends of a text and of a turn. */
static void add_ends(const cJSON *metadata, cJSON *config) {
    static const char *const names[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                        "tokenizer.ggml.eom_token_id"};
    cJSON *list = cJSON_AddArrayToObject(config, "eos_token_id");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const cJSON *id = tomo_json_get(metadata, names[i]);
        if (id != NULL) cJSON_AddItemToArray(list, cJSON_Duplicate(id, true));
    }
}

tomo_status tomo_gguf_config(const char *file, const cJSON *metadata, bool tied, tomo_gguf_biases biases,
                             cJSON **config, tomo_error *err) {
    *config = NULL;
    const char *architecture = NULL;
    tomo_status status =
        tomo_json_text(metadata, "general.architecture", (tomo_json_at){file, ""}, true, &architecture, err);
    if (status != TOMO_OK) return status;
    cJSON *root = cJSON_CreateObject();
    if (root == NULL) return tomo_fail_memory(err, file, sizeof *root);
    cJSON_AddStringToObject(root, "model_type", architecture);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        add_copy(root, keys[i].key, of_architecture(metadata, architecture, keys[i].gguf));
    /* Without key_length a head is hidden / heads, whatever the family's default. */
    const cJSON *head_dim = of_architecture(metadata, architecture, "attention.key_length");
    const cJSON *hidden = tomo_json_get(root, "hidden_size"),
                *heads = tomo_json_get(root, "num_attention_heads");
    if (head_dim != NULL) {
        add_copy(root, "head_dim", head_dim);
    } else if (cJSON_IsNumber(hidden) && cJSON_IsNumber(heads) && heads->valuedouble >= 1) {
        cJSON_AddNumberToObject(root, "head_dim",
                                (double)(int64_t)(hidden->valuedouble / heads->valuedouble));
    }
    cJSON_AddNumberToObject(root, "vocab_size",
                            cJSON_GetArraySize(tomo_json_get(metadata, "tokenizer.ggml.tokens")));
    cJSON_AddBoolToObject(root, "tie_word_embeddings", tied);
    if (strcmp(architecture, "qwen2") != 0) {
        cJSON_AddBoolToObject(root, "attention_bias", biases.attention);
        cJSON_AddBoolToObject(root, "mlp_bias", biases.mlp);
    }
    add_ends(metadata, root);
    status = add_rope_scaling(file, metadata, architecture, root, err);
    if (status != TOMO_OK) {
        cJSON_Delete(root);
        return status;
    }
    *config = root;
    return TOMO_OK;
}

const char *tomo_gguf_chat_template(const cJSON *metadata) {
    const cJSON *text = tomo_json_get(metadata, "tokenizer.chat_template");
    return cJSON_IsString(text) ? text->valuestring : NULL;
}
