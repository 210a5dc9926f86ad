#include "language/config.h"

#include "base/file.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a family's config.json does not say: transformers 5.23, modeling_{qwen2,qwen3,llama}.py. */
typedef struct family {
    const char *model_type;
    bool qkv_bias, qk_norm;
    bool reads_attention_bias, reads_mlp_bias; /* keys that the family has */
    int64_t head_dim;                          /* default; 0: hidden / heads */
    double theta;
    int64_t context;
} family;

static const family families[] = {
    {"qwen2", true, false, false, false, 0, 10000, 32768},
    {"qwen3", false, true, true, false, 128, 10000, 32768},
    {"llama", false, false, true, true, 0, 10000, 2048},
};

static tomo_status unsupported(const char *file, const char *key, const char *value, const char *wanted,
                               tomo_error *err) {
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: \"%s\" is \"%.60s\"; %s is wanted", file, key, value,
                     wanted);
}

static tomo_status find_family(const cJSON *root, const char *file, const family **found, tomo_error *err) {
    const char *type = NULL;
    tomo_status status = tomo_json_text(root, "model_type", (tomo_json_at){file, ""}, true, &type, err);
    if (status != TOMO_OK) return status;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(type, families[i].model_type) == 0) {
            *found = &families[i];
            return TOMO_OK;
        }
    }
    return unsupported(file, "model_type", type, "qwen2, qwen3 or llama", err);
}

/* ------------------------------------------------------------------------------- rope */

static tomo_status read_rope_scaling(const cJSON *section, tomo_json_at at, tomo_rope *rope,
                                     tomo_error *err) {
    const char *type = "default";
    tomo_status status = tomo_json_text(section, "type", at, false, &type, err); /* the older key */
    if (status == TOMO_OK) status = tomo_json_text(section, "rope_type", at, false, &type, err);
    if (status == TOMO_OK)
        status = tomo_json_double(section, "rope_theta", at, false, 1, 1e12, &rope->theta, err);
    if (status != TOMO_OK || strcmp(type, "default") == 0) return status;
    status = tomo_json_double(section, "factor", at, true, 1e-3, 1e6, &rope->factor, err);
    if (status != TOMO_OK) return status;
    if (strcmp(type, "linear") == 0) {
        rope->type = TOMO_ROPE_LINEAR;
        return TOMO_OK;
    }
    if (strcmp(type, "llama3") != 0) {
        return unsupported(at.file, "rope_type", type, "default, linear or llama3", err);
    }
    rope->type = TOMO_ROPE_LLAMA3;
    status = tomo_json_double(section, "low_freq_factor", at, true, 1e-3, 1e6, &rope->low_freq_factor, err);
    if (status == TOMO_OK) {
        status =
            tomo_json_double(section, "high_freq_factor", at, true, 1e-3, 1e6, &rope->high_freq_factor, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "original_max_position_embeddings", at, true, 1, 1 << 30,
                               &rope->original_context, err);
    }
    if (status == TOMO_OK && rope->high_freq_factor <= rope->low_freq_factor) {
        status = tomo_fail(err, TOMO_E_HEADER, "%s: \"%shigh_freq_factor\" must be above low_freq_factor",
                           at.file, at.section);
    }
    return status;
}

static tomo_status read_rope(const cJSON *root, const char *file, const family *f, tomo_rope *rope,
                             tomo_error *err) {
    *rope = (tomo_rope){.theta = f->theta};
    tomo_status status =
        tomo_json_double(root, "rope_theta", (tomo_json_at){file, ""}, false, 1, 1e12, &rope->theta, err);
    if (status != TOMO_OK) return status;
    const char *names[] = {"rope_parameters", "rope_scaling"};
    for (int i = 0; i < 2; i++) {
        const cJSON *section = tomo_json_get(root, names[i]);
        char prefix[32];
        (void)snprintf(prefix, sizeof prefix, "%s.", names[i]);
        if (section != NULL) return read_rope_scaling(section, (tomo_json_at){file, prefix}, rope, err);
    }
    return TOMO_OK;
}

/* Frequencies whose wavelength is beyond original/low are divided by the factor, those within original/high
 * stay, and those between are blended. */
static double llama3_frequency(const tomo_rope *rope, double frequency) {
    double original = (double)rope->original_context, wavelength = 2 * 3.14159265358979323846 / frequency;
    if (wavelength < original / rope->high_freq_factor) return frequency;
    if (wavelength > original / rope->low_freq_factor) return frequency / rope->factor;
    double smooth =
        (original / wavelength - rope->low_freq_factor) / (rope->high_freq_factor - rope->low_freq_factor);
    return (1 - smooth) * frequency / rope->factor + smooth * frequency;
}

void tomo_rope_frequencies(const tomo_decoder_config *config, float *frequencies) {
    const tomo_rope *rope = &config->rope;
    for (int64_t i = 0; i < config->head_dim / 2; i++) {
        double f = 1.0 / pow(rope->theta, 2.0 * (double)i / (double)config->head_dim);
        if (rope->type == TOMO_ROPE_LINEAR) f /= rope->factor;
        if (rope->type == TOMO_ROPE_LLAMA3) f = llama3_frequency(rope, f);
        frequencies[i] = (float)f;
    }
}

/* ------------------------------------------------------------------------------ sizes */

static tomo_status read_sizes(const cJSON *root, tomo_json_at at, const family *f, tomo_decoder_config *c,
                              tomo_error *err) {
    const struct {
        const char *key;
        int64_t *value, most;
        bool required;
    } sizes[] = {
        {"hidden_size", &c->hidden, 1 << 20, true},
        {"num_hidden_layers", &c->layers, TOMO_DECODER_LAYERS, true},
        {"num_attention_heads", &c->heads, 4096, true},
        {"num_key_value_heads", &c->kv_heads, 4096, false},
        {"head_dim", &c->head_dim, 4096, false},
        {"intermediate_size", &c->intermediate, 1 << 22, true},
        {"vocab_size", &c->vocabulary, 1 << 24, true},
        {"max_position_embeddings", &c->context, 1 << 24, false},
    };
    c->context = f->context;
    c->head_dim = f->head_dim;
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && status == TOMO_OK; i++) {
        status =
            tomo_json_int(root, sizes[i].key, at, sizes[i].required, 1, sizes[i].most, sizes[i].value, err);
    }
    if (status != TOMO_OK) return status;
    if (c->kv_heads == 0) c->kv_heads = c->heads;
    if (c->head_dim == 0) c->head_dim = c->hidden / c->heads;
    if (c->heads % c->kv_heads != 0 || c->head_dim % 2 != 0 || c->head_dim == 0) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: %lld heads of %lld with %lld key heads; key heads must divide heads "
                         "and the head size be even",
                         at.file, (long long)c->heads, (long long)c->head_dim, (long long)c->kv_heads);
    }
    return TOMO_OK;
}

static tomo_status read_switches(const cJSON *root, tomo_json_at at, const family *f, tomo_decoder_config *c,
                                 tomo_error *err) {
    const char *activation = "silu";
    bool window = false, attention_bias = false;
    c->norm_eps = 1e-6;
    tomo_status status = tomo_json_double(root, "rms_norm_eps", at, false, 0, 1, &c->norm_eps, err);
    if (status == TOMO_OK) status = tomo_json_text(root, "hidden_act", at, false, &activation, err);
    if (status == TOMO_OK) status = tomo_json_bool(root, "use_sliding_window", at, false, &window, err);
    if (status == TOMO_OK) status = tomo_json_bool(root, "tie_word_embeddings", at, false, &c->tied, err);
    if (status == TOMO_OK && f->reads_attention_bias) {
        status = tomo_json_bool(root, "attention_bias", at, false, &attention_bias, err);
    }
    if (status == TOMO_OK && f->reads_mlp_bias) {
        status = tomo_json_bool(root, "mlp_bias", at, false, &c->mlp_bias, err);
    }
    if (status != TOMO_OK) return status;
    if (strcmp(activation, "silu") != 0) return unsupported(at.file, "hidden_act", activation, "silu", err);
    if (window) return unsupported(at.file, "use_sliding_window", "true", "false", err);
    c->qkv_bias = f->qkv_bias || attention_bias;
    c->out_bias = attention_bias;
    c->qk_norm = f->qk_norm;
    return TOMO_OK;
}

/* eos_token_id is a number or a list. */
static tomo_status read_ends(const cJSON *root, const char *file, tomo_decoder_config *c, tomo_error *err) {
    const cJSON *item = tomo_json_get(root, "eos_token_id");
    int count = item == NULL ? 0 : cJSON_IsArray(item) ? cJSON_GetArraySize(item) : 1;
    if (count > TOMO_DECODER_ENDS) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %d ids in \"eos_token_id\"; at most %d are read", file,
                         count, TOMO_DECODER_ENDS);
    }
    for (int i = 0; i < count; i++) {
        int64_t id;
        if (!tomo_json_whole(cJSON_IsArray(item) ? cJSON_GetArrayItem(item, i) : item, 0, INT32_MAX, &id)) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: \"eos_token_id\" must be an id or a list of ids", file);
        }
        c->ends[i] = (int32_t)id;
    }
    if (count > 0) c->end_count = count;
    return TOMO_OK;
}

/* generation_config.json is the one that transformers' generate obeys. */
static tomo_status read_generation_ends(const char *folder, tomo_decoder_config *c, tomo_error *err) {
    char *path = tomo_path_join(folder, "generation_config.json");
    cJSON *root = NULL;
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    tomo_status status = TOMO_OK;
    if (tomo_path_exists(path)) {
        status = tomo_json_open(path, &root, err);
        if (status == TOMO_OK) status = read_ends(root, path, c, err);
        cJSON_Delete(root);
    }
    free(path);
    return status;
}

tomo_status tomo_decoder_config_parse(const char *path, const cJSON *root, tomo_decoder_config *c,
                                      tomo_error *err) {
    *c = (tomo_decoder_config){0};
    const family *f = NULL;
    tomo_json_at at = {path, ""};
    tomo_status status = find_family(root, path, &f, err);
    if (status == TOMO_OK) {
        c->family = f->model_type;
        status = read_sizes(root, at, f, c, err);
    }
    if (status == TOMO_OK) status = read_switches(root, at, f, c, err);
    if (status == TOMO_OK) status = read_rope(root, path, f, &c->rope, err);
    if (status == TOMO_OK) status = read_ends(root, path, c, err);
    return status;
}

tomo_status tomo_decoder_config_open(const char *path, tomo_decoder_config *c, tomo_error *err) {
    cJSON *root = NULL;
    tomo_status status = tomo_json_open(path, &root, err);
    if (status == TOMO_OK) status = tomo_decoder_config_parse(path, root, c, err);
    cJSON_Delete(root);
    return status;
}

tomo_status tomo_decoder_config_read(const char *folder, tomo_decoder_config *c, tomo_error *err) {
    char *path = tomo_path_join(folder, "config.json");
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    tomo_status status = tomo_decoder_config_open(path, c, err);
    if (status == TOMO_OK) status = read_generation_ends(folder, c, err);
    free(path);
    return status;
}
