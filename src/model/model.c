#include "model/model.h"
#include "language/gguf.h"
#include "weights/gguf.h"

#include "base/clock.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* --------------------------------------------------------------------------- opening */

/* Tokenizer and chat format from the metadata of a GGUF file. */
static tomo_status open_gguf_text(tomo_model *m, const char *file, tomo_chat_format **format,
                                  tomo_error *err) {
    cJSON *metadata = NULL, *tokenizer = NULL;
    tomo_status status = tomo_gguf_metadata_open(file, &metadata, err);
    if (status == TOMO_OK) status = tomo_gguf_tokenizer(file, metadata, &tokenizer, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open_document(file, tokenizer, &m->tokenizer, err);
    const char *text = status == TOMO_OK ? tomo_gguf_chat_template(metadata) : NULL;
    if (text != NULL) {
        (void)tomo_chat_format_recognise(file, text, format, &m->chat_error);
    } else {
        (void)tomo_fail(&m->chat_error, TOMO_E_UNSUPPORTED,
                        "%s: no chat template in it; a format is wanted by name", file);
    }
    cJSON_Delete(tokenizer);
    cJSON_Delete(metadata);
    return status;
}

static tomo_status open_language(tomo_model *m, const char *folder, const char *adapter,
                                 const tomo_model_options *options, tomo_error *err) {
    tomo_status status = tomo_decoder_open(folder, adapter, options->merge_adapter, &m->decoder, err);
    if (status != TOMO_OK) return status;
    tomo_chat_format *format = NULL;
    if (tomo_gguf_is(folder)) {
        status = open_gguf_text(m, folder, &format, err);
    } else {
        status = tomo_tokenizer_open(folder, &m->tokenizer, err);
        /* Not recognised: refused when a turn has to be written, for text alone needs no format. */
        if (status == TOMO_OK && options->chat_format == NULL)
            (void)tomo_chat_format_detect(folder, &format, &m->chat_error);
    }
    m->chat = format;
    if (status != TOMO_OK) return status;
    m->end_id = -1;
    if (options->chat_format != NULL) {
        tomo_chat_format_free(format);
        m->chat = tomo_chat_format_by_name(options->chat_format);
        if (m->chat == NULL) {
            return tomo_fail(err, TOMO_E_USAGE, "chat format \"%.60s\" is not known", options->chat_format);
        }
    }
    if (m->chat != NULL) m->end_id = tomo_chat_end_id(m->chat, m->tokenizer);
    return TOMO_OK;
}

/* FOLDER/PART, opened by `open`. */
static tomo_status open_encoder(tomo_model *m, tomo_error *err) {
    char *path = tomo_path_join(m->folder, m->config.encoder_path);
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, m->folder, 0) : tomo_encoder_open(path, &m->encoder, err);
    free(path);
    return status;
}

static tomo_status open_connector(tomo_model *m, tomo_error *err) {
    char *path = tomo_path_join(m->folder, "connector.safetensors");
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, m->folder, 0) : tomo_checkpoint_open(path, &m->weights, err);
    if (status == TOMO_OK)
        status = tomo_connector_create(&m->config.connector, m->weights, &m->connector, err);
    free(path);
    return status;
}

static tomo_status open_parts(tomo_model *m, const char *config_path, const tomo_model_options *options,
                              tomo_error *err) {
    tomo_status status = open_encoder(m, err);
    if (status == TOMO_OK) status = open_connector(m, err);
    if (status != TOMO_OK) return status;
    char *language = tomo_path_join(m->folder, m->config.language_path), *adapter = NULL;
    if (m->config.adapter_path != NULL) adapter = tomo_path_join(m->folder, m->config.adapter_path);
    status = language == NULL ? tomo_fail_memory(err, m->folder, 0)
                              : open_language(m, language, adapter, options, err);
    free(adapter);
    free(language);
    if (status == TOMO_OK) {
        status = tomo_model_config_check(&m->config, config_path, tomo_encoder_vit(m->encoder),
                                         tomo_decoder_get_config(m->decoder)->hidden, err);
    }
    if (status != TOMO_OK) return status;
    m->image_id = tomo_tokenizer_id(m->tokenizer, m->config.image_token);
    if (m->image_id < 0) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"prompt.image_token\" is \"%.60s\", which the tokenizer does not have",
                         config_path, m->config.image_token);
    }
    if (m->config.prompt_format == TOMO_PROMPT_CHAT && m->chat == NULL) {
        if (err != NULL) *err = m->chat_error;
        return m->chat_error.status;
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------- precision */

static const struct {
    const char *name;
    tomo_precision precision;
} precisions[] = {{"f32", TOMO_PRECISION_F32},
                  {"bf16", TOMO_PRECISION_BF16},
                  {"fast", TOMO_PRECISION_FAST},
                  {"int8", TOMO_PRECISION_INT8}};

static tomo_status find_precision(tomo_model *m, const char *name, tomo_precision *precision,
                                  tomo_error *err) {
    m->precision = "f32";
    *precision = TOMO_PRECISION_F32;
    if (name == NULL) return TOMO_OK;
    for (size_t i = 0; i < sizeof precisions / sizeof precisions[0]; i++) {
        if (strcmp(precisions[i].name, name) != 0) continue;
        *precision = precisions[i].precision;
        m->precision = precisions[i].name;
        if (*precision == TOMO_PRECISION_BF16 &&
            !tomo_packing_is_native(m->context->kernels, TOMO_PACK_BF16)) {
            return tomo_fail(err, TOMO_E_USAGE,
                             "precision bf16: this CPU has no AVX512_BF16; f32, int8 or fast are wanted");
        }
        return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_USAGE, "precision \"%.60s\" is not known; f32, bf16, int8 or fast", name);
}

static tomo_status pack(tomo_model *m, const char *name, tomo_error *err) {
    const tomo_kernels *kernels = m->context->kernels;
    tomo_precision precision;
    tomo_status status = find_precision(m, name, &precision, err);
    if (status != TOMO_OK || precision == TOMO_PRECISION_F32) return status;
    double start = tomo_seconds();
    m->half = tomo_packing_is_native(kernels, TOMO_PACK_BF16);
    if (m->reads_scans) status = tomo_encoder_pack(m->encoder, m->context->pool, kernels, precision, err);
    if (status == TOMO_OK && m->reads_scans) {
        status = tomo_connector_pack(m->connector, m->context->pool, kernels, m->weights, precision, err);
    }
    if (status == TOMO_OK) status = tomo_decoder_pack(m->decoder, m->context->pool, kernels, precision, err);
    m->pack_seconds = tomo_seconds() - start;
    return status;
}

/* A model directory and a language model's own both have a config.json; its model_type tells. */
static tomo_status is_model_directory(const char *path, bool *is, tomo_error *err) {
    cJSON *root = NULL;
    const char *type = "";
    tomo_status status = tomo_json_open(path, &root, err);
    if (status == TOMO_OK)
        status = tomo_json_text(root, "model_type", (tomo_json_at){path, ""}, true, &type, err);
    *is = status == TOMO_OK && strcmp(type, "tomoscribe") == 0;
    cJSON_Delete(root);
    return status;
}

static tomo_status open_model(tomo_context *context, const char *folder, const tomo_model_options *options,
                              bool train, tomo_model **model, tomo_error *err) {
    tomo_model_options none = {0};
    if (options == NULL) options = &none;
    *model = NULL;
    double start = tomo_seconds();
    tomo_model *m = calloc(1, sizeof *m);
    char *path = tomo_path_join(folder, "config.json");
    tomo_status status = TOMO_OK;
    if (m == NULL || path == NULL || (m->folder = strdup(folder)) == NULL) {
        status = tomo_fail_memory(err, folder, 0);
    } else {
        m->context = context;
        m->image_id = m->end_id = -1;
        if (!tomo_gguf_is(folder)) status = is_model_directory(path, &m->reads_scans, err);
    }
    if (status == TOMO_OK && m->reads_scans) {
        status = tomo_model_config_read(path, &m->config, err);
        if (status == TOMO_OK) status = open_parts(m, path, options, err);
    } else if (status == TOMO_OK) {
        status = open_language(m, folder, NULL, options, err);
    }
    free(path);
    if (status == TOMO_OK && train) {
        bool exact = options->precision == NULL || strcmp(options->precision, "f32") == 0;
        status = tomo_decoder_widen(m->decoder, context->kernels, exact ? TOMO_F32 : TOMO_BF16, err);
    }
    if (status == TOMO_OK) {
        m->open_seconds = tomo_seconds() - start;
        status = pack(m, options->precision, err);
    }
    if (status != TOMO_OK) {
        tomo_model_free(m);
        return status;
    }
    *model = m;
    return TOMO_OK;
}

tomo_status tomo_model_open(tomo_context *context, const char *folder, const tomo_model_options *options,
                            tomo_model **model, tomo_error *err) {
    return open_model(context, folder, options, false, model, err);
}

tomo_status tomo_model_open_to_train(tomo_context *context, const char *folder,
                                     const tomo_model_options *options, tomo_model **model, tomo_error *err) {
    return open_model(context, folder, options, true, model, err);
}

void tomo_model_free(tomo_model *model) {
    if (model == NULL) return;
    tomo_encoder_free(model->encoder);
    tomo_connector_free(model->connector);
    tomo_checkpoint_free(model->weights);
    tomo_decoder_free(model->decoder);
    tomo_chat_format_free(model->chat);
    tomo_tokenizer_free(model->tokenizer);
    tomo_model_config_free(&model->config);
    free(model->folder);
    free(model);
}

/* ----------------------------------------------------------------------- information */

static void add_weights(cJSON *section, int64_t bytes, int64_t parameters) {
    cJSON_AddNumberToObject(section, "parameters", (double)parameters);
    cJSON_AddNumberToObject(section, "weight_bytes", (double)bytes);
}

static void add_language(cJSON *root, const tomo_model *m) {
    const tomo_decoder_config *c = tomo_decoder_get_config(m->decoder);
    cJSON *section = cJSON_AddObjectToObject(root, "language");
    int64_t bytes, parameters;
    tomo_decoder_weight_size(m->decoder, &bytes, &parameters);
    cJSON_AddStringToObject(section, "family", c->family);
    cJSON_AddNumberToObject(section, "layers", (double)c->layers);
    cJSON_AddNumberToObject(section, "hidden", (double)c->hidden);
    cJSON_AddNumberToObject(section, "heads", (double)c->heads);
    cJSON_AddNumberToObject(section, "kv_heads", (double)c->kv_heads);
    cJSON_AddNumberToObject(section, "vocabulary", (double)c->vocabulary);
    cJSON_AddNumberToObject(section, "context", (double)c->context);
    cJSON_AddStringToObject(section, "chat_format",
                            m->chat == NULL ? "unknown" : tomo_chat_format_name(m->chat));
    cJSON_AddBoolToObject(section, "adapter", m->config.adapter_path != NULL);
    add_weights(section, bytes, parameters);
}

static void add_encoder(cJSON *root, const tomo_model *m) {
    const tomo_vit *v = tomo_encoder_vit(m->encoder);
    cJSON *section = cJSON_AddObjectToObject(root, "encoder");
    int64_t bytes, parameters;
    tomo_encoder_weight_size(m->encoder, &bytes, &parameters);
    cJSON_AddStringToObject(section, "family", v->family);
    cJSON_AddNumberToObject(section, "layers", (double)v->depth);
    cJSON_AddNumberToObject(section, "width", (double)v->width);
    cJSON_AddNumberToObject(section, "heads", (double)v->heads);
    cJSON_AddNumberToObject(section, "image_size", (double)v->image_size);
    cJSON_AddNumberToObject(section, "patch_size", (double)v->patch_size);
    add_weights(section, bytes, parameters);
}

tomo_status tomo_model_info(const tomo_model *m, char **json, tomo_error *err) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model", m->folder);
    cJSON_AddStringToObject(root, "type", m->reads_scans ? "tomoscribe" : "language model alone");
    if (m->reads_scans) {
        add_encoder(root, m);
        cJSON *section = cJSON_AddObjectToObject(root, "connector");
        int64_t bytes, parameters;
        tomo_connector_weight_size(m->connector, &bytes, &parameters);
        cJSON_AddNumberToObject(section, "width", (double)m->config.connector.width);
        cJSON_AddNumberToObject(section, "visual_tokens", (double)tomo_model_config_image_tokens(&m->config));
        add_weights(section, bytes, parameters);
    }
    add_language(root, m);
    cJSON_AddStringToObject(root, "precision", m->precision);
    if (m->reads_scans) cJSON_AddItemToObject(root, "config", cJSON_Duplicate(m->config.json, true));
    return tomo_json_hand_out(root, json, err);
}

/* ------------------------------------------------------------------------------ text */

tomo_status tomo_model_tokenize(const tomo_model *model, const char *text, bool special, bool parse_control,
                                int32_t **ids, size_t *count, tomo_error *err) {
    tomo_ids list = {0};
    tomo_encode_options options = {.add_special = special, .plain = !parse_control};
    tomo_status status = tomo_tokenizer_encode(model->tokenizer, text, strlen(text), options, &list, err);
    if (status != TOMO_OK) {
        tomo_ids_free(&list);
        return status;
    }
    *ids = list.data;
    *count = list.count;
    return TOMO_OK;
}

tomo_status tomo_model_detokenize(const tomo_model *model, const int32_t *ids, size_t count,
                                  bool skip_special, char **text, tomo_error *err) {
    tomo_buffer buffer = {.maximum = SIZE_MAX / 2};
    tomo_status status = tomo_tokenizer_decode(model->tokenizer, ids, count, skip_special, &buffer, err);
    if (status == TOMO_OK && !tomo_buffer_add(&buffer, "", 0))
        status = tomo_fail_memory(err, "text", buffer.size);
    if (status != TOMO_OK) {
        tomo_buffer_free(&buffer);
        return status;
    }
    *text = buffer.data;
    return TOMO_OK;
}
