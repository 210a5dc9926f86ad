#include "train/trainee.h"

#include "base/file.h"
#include "base/folder.h"
#include "weights/gguf.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* --------------------------------------------------------------------------- opening */

/* The settings of the adapter that the model came with, for writing it again. */
static tomo_status read_adapter(tomo_trainee *t, tomo_error *err) {
    const tomo_model *m = t->model;
    char *folder = tomo_path_join(m->folder, m->config.adapter_path), *path = NULL;
    cJSON *root = NULL;
    tomo_status status = TOMO_OK;
    if (folder != NULL) path = tomo_path_join(folder, "adapter_config.json");
    status = path == NULL ? tomo_fail_memory(err, m->folder, 0) : tomo_json_open(path, &root, err);
    tomo_json_at at = {path, ""};
    if (status == TOMO_OK) status = tomo_json_int(root, "r", at, true, 1, 65536, &t->lora.rank, err);
    if (status == TOMO_OK) {
        status = tomo_json_double(root, "lora_alpha", at, true, 1e-9, 1e9, &t->lora.alpha, err);
    }
    if (status == TOMO_OK) status = tomo_json_bool(root, "use_rslora", at, false, &t->lora.rslora, err);
    const cJSON *pattern = tomo_json_get(root, "rank_pattern"),
                *alphas = tomo_json_get(root, "alpha_pattern");
    if (status == TOMO_OK && (cJSON_GetArraySize(pattern) > 0 || cJSON_GetArraySize(alphas) > 0)) {
        status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                           "%s: an adapter with \"rank_pattern\" or \"alpha_pattern\" is not trained further",
                           path);
    }
    for (int i = 0; status == TOMO_OK && i < TOMO_LORA_TARGETS; i++) {
        for (size_t k = 0; k < t->parts[1].count; k++) {
            if (strstr(t->parts[1].list[k].name, tomo_lora_target_name(i)) != NULL)
                t->lora.targets |= 1u << i;
        }
    }
    cJSON_Delete(root);
    free(path);
    free(folder);
    return status;
}

/* The path of a section made absolute: it is read from another folder. */
static tomo_status fix_path(cJSON *root, const char *folder, const char *section, const char *key,
                            const char *standard, tomo_error *err) {
    cJSON *object = cJSON_GetObjectItemCaseSensitive(root, section);
    const cJSON *old = tomo_json_get(object, key);
    const char *name = cJSON_IsString(old) ? old->valuestring : standard;
    if (name == NULL || object == NULL) return TOMO_OK;
    char *path = tomo_path_join(folder, name), *real = path == NULL ? NULL : realpath(path, NULL);
    tomo_status status = real == NULL ? tomo_fail_errno(err, path == NULL ? name : path, "open") : TOMO_OK;
    if (status == TOMO_OK) {
        cJSON_DeleteItemFromObjectCaseSensitive(object, key);
        cJSON_AddStringToObject(object, key, real);
    }
    free(real);
    free(path);
    return status;
}

/* START/config.json and START/connector.safetensors. */
static tomo_status make_start(const char *folder, const cJSON *config, const char *start, tomo_error *err) {
    char *path = tomo_path_join(folder, "config.json");
    cJSON *root = NULL;
    tomo_status status = path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_json_open(path, &root, err);
    if (status == TOMO_OK) status = fix_path(root, folder, "encoder", "path", "encoder", err);
    if (status == TOMO_OK) status = fix_path(root, folder, "language", "path", "language", err);
    if (status == TOMO_OK) status = fix_path(root, folder, "language", "adapter", NULL, err);
    if (status == TOMO_OK) {
        tomo_model_config_override(root, config);
        tomo_folder_remove(start);
        status = tomo_folder_link(folder, start, true, err);
    }
    if (status == TOMO_OK) status = tomo_json_write(root, start, "config.json", err);
    cJSON_Delete(root);
    free(path);
    return status;
}

/* Gradients have to pass through the language model, also where it is frozen. */
static tomo_status check_model(tomo_context *context, const tomo_trainee_options *o, tomo_model *m,
                               tomo_error *err) {
    if (!m->reads_scans) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: a language model alone; a model directory is wanted (tomo model new)",
                         o->folder);
    }
    return tomo_decoder_pack_back(m->decoder, context->pool, context->kernels, err);
}

tomo_status tomo_trainee_open(tomo_context *context, const tomo_trainee_options *o, tomo_trainee *t,
                              tomo_error *err) {
    *t = (tomo_trainee){0};
    tomo_model_options options = {.precision = o->precision};
    tomo_status status = o->config == NULL ? TOMO_OK : make_start(o->folder, o->config, o->start, err);
    if (status == TOMO_OK) {
        status = tomo_model_open_to_train(context, o->config == NULL ? o->folder : o->start, &options,
                                          &t->model, err);
    }
    if (status == TOMO_OK) status = check_model(context, o, t->model, err);
    if (status != TOMO_OK) return status;
    tomo_model *m = t->model;
    /* The trainable connector takes the place of the one that was opened. */
    tomo_connector *connector = NULL;
    status = tomo_connector_create_trainable(&m->config.connector, m->weights, &t->parts[0], &connector, err);
    if (status != TOMO_OK) return status;
    tomo_connector_free(m->connector);
    m->connector = connector;
    return TOMO_OK;
}

void tomo_trainee_free(tomo_trainee *t) {
    tomo_model_free(t->model);
    for (int i = 0; i < TOMO_PARTS; i++) tomo_parameters_free(&t->parts[i]);
    *t = (tomo_trainee){0};
}

static tomo_status prepare_lora(tomo_trainee *t, const tomo_stage *stage, uint64_t seed, tomo_error *err) {
    if (t->own_language) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "stage %s: an adapter after a stage that trained the language model itself",
                         stage->name);
    }
    if (t->parts[1].count > 0) return TOMO_OK;
    t->has_adapter = true;
    if (t->model->config.adapter_path != NULL) {
        tomo_status status = tomo_decoder_train_lora(t->model->decoder, &t->parts[1], err);
        return status == TOMO_OK ? read_adapter(t, err) : status;
    }
    t->lora = stage->lora;
    t->lora.seed = seed;
    return tomo_decoder_add_lora(t->model->decoder, &t->lora, &t->parts[1], err);
}

static tomo_status prepare_language(tomo_trainee *t, const tomo_stage *stage, tomo_error *err) {
    tomo_model *m = t->model;
    if (t->own_language) return TOMO_OK;
    if (t->has_adapter || m->config.adapter_path != NULL) {
        return tomo_fail(
            err, TOMO_E_UNSUPPORTED,
            "stage %s: the language model has an adapter; merge it first to train the model itself",
            stage->name);
    }
    char *folder = tomo_path_join(m->folder, m->config.language_path);
    tomo_decoder *decoder = NULL;
    tomo_status status = folder == NULL ? tomo_fail_memory(err, m->folder, 0) : TOMO_OK;
    if (status == TOMO_OK && tomo_gguf_is(folder)) {
        status = tomo_fail(
            err, TOMO_E_UNSUPPORTED,
            "stage %s: %s: a GGUF file is not trained itself; lora, or the model's downloaded folder, is "
            "wanted",
            stage->name, folder);
    }
    if (status == TOMO_OK) status = tomo_decoder_open_trainable(folder, &t->parts[2], &decoder, err);
    free(folder);
    if (status != TOMO_OK) return status;
    tomo_decoder_free(m->decoder);
    m->decoder = decoder;
    t->own_language = true;
    return TOMO_OK;
}

tomo_status tomo_trainee_prepare(tomo_trainee *t, const tomo_stage *stage, uint64_t seed, tomo_error *err) {
    tomo_status status = TOMO_OK;
    if (stage->parts & TOMO_PART_LORA) status = prepare_lora(t, stage, seed, err);
    if (status == TOMO_OK && (stage->parts & TOMO_PART_LANGUAGE)) status = prepare_language(t, stage, err);
    return status;
}

/* Parameters as stored tensors; freed by free. */
static tomo_stored *stored_of(const tomo_parameters *parameters) {
    tomo_stored *list = calloc(parameters->count + 1, sizeof *list);
    for (size_t i = 0; list != NULL && i < parameters->count; i++) {
        const tomo_tensor *t = &parameters->list[i].tensor;
        list[i] = (tomo_stored){.name = parameters->list[i].name,
                                .dtype = TOMO_F32,
                                .rank = t->rank,
                                .count = tomo_tensor_count(t),
                                .data = t->data};
        for (int k = 0; k < t->rank; k++) list[i].shape[k] = t->shape[k];
    }
    return list;
}

tomo_status tomo_parameters_write(const tomo_parameters *parameters, const char *folder, const char *name,
                                  tomo_error *err) {
    static const char *const metadata[] = {"format", "pt", NULL};
    tomo_stored *list = stored_of(parameters);
    char *path = tomo_path_join(folder, name);
    tomo_status status = list == NULL || path == NULL
                             ? tomo_fail_memory(err, folder, parameters->count * sizeof *list)
                             : tomo_safetensors_write(path, list, parameters->count, metadata, err);
    free(list);
    free(path);
    return status;
}

/* -------------------------------------------------------------------------- exporting */

/* What the language model is called in the folder: one GGUF file stays one. */
static const char *language_name(const tomo_trainee *t) {
    char *path = tomo_path_join(t->model->folder, t->model->config.language_path);
    bool gguf = path != NULL && tomo_gguf_is(path);
    free(path);
    return gguf ? TOMO_LANGUAGE_GGUF : "language";
}

static tomo_status write_adapter(const tomo_trainee *t, const char *folder, tomo_error *err) {
    const char *targets[TOMO_LORA_TARGETS];
    char base[32];
    (void)snprintf(base, sizeof base, "../%s", language_name(t));
    tomo_adapter_settings s = {t->lora.rank, t->lora.alpha, t->lora.rslora, targets, 0, base};
    for (int i = 0; i < TOMO_LORA_TARGETS; i++) {
        if (t->lora.targets >> i & 1) targets[s.target_count++] = tomo_lora_target_name(i);
    }
    tomo_stored *list = stored_of(&t->parts[1]);
    char *path = tomo_path_join(folder, "adapter");
    tomo_status status = list == NULL || path == NULL
                             ? tomo_fail_memory(err, folder, 0)
                             : tomo_adapter_write(path, &s, list, t->parts[1].count, err);
    free(list);
    free(path);
    return status;
}

static void set_text(cJSON *object, const char *key, const char *text) {
    cJSON_DeleteItemFromObjectCaseSensitive(object, key);
    cJSON_AddStringToObject(object, key, text);
}

/* The settings of the model that was begun with, with the paths of this folder. */
static tomo_status write_config(const tomo_trainee *t, const char *folder, bool adapter, tomo_error *err) {
    cJSON *root = cJSON_Duplicate(t->model->config.json, true);
    cJSON *language = cJSON_GetObjectItemCaseSensitive(root, "language");
    if (language == NULL) return tomo_fail_memory(err, folder, 0);
    set_text(cJSON_GetObjectItemCaseSensitive(root, "encoder"), "path", "encoder");
    set_text(language, "path", language_name(t));
    cJSON_DeleteItemFromObjectCaseSensitive(language, "adapter");
    if (adapter) set_text(language, "adapter", "adapter");
    tomo_status status = tomo_json_write(root, folder, "config.json", err);
    cJSON_Delete(root);
    return status;
}

/* FOLDER/NAME from a part of the model that was begun with. */
static tomo_status link_part(const tomo_trainee *t, const char *path, const char *folder, const char *name,
                             bool weights, tomo_error *err) {
    char *from = tomo_path_join(t->model->folder, path), *to = tomo_path_join(folder, name);
    tomo_status status = from == NULL || to == NULL ? tomo_fail_memory(err, folder, 0) : TOMO_OK;
    if (status == TOMO_OK)
        status =
            tomo_gguf_is(from) ? tomo_file_link(from, to, err) : tomo_folder_link(from, to, weights, err);
    free(from);
    free(to);
    return status;
}

static tomo_status write_parts(const tomo_trainee *t, const char *folder, tomo_error *err) {
    const tomo_model_config *c = &t->model->config;
    bool adapter = t->has_adapter || c->adapter_path != NULL;
    tomo_status status = link_part(t, c->encoder_path, folder, "encoder", true, err);
    if (status == TOMO_OK)
        status = link_part(t, c->language_path, folder, language_name(t), !t->own_language, err);
    if (status == TOMO_OK && t->own_language) {
        char *path = tomo_path_join(folder, "language");
        status = path == NULL ? tomo_fail_memory(err, folder, 0)
                              : tomo_parameters_write(&t->parts[2], path, "model.safetensors", err);
        free(path);
    }
    if (status == TOMO_OK && t->has_adapter) {
        status = write_adapter(t, folder, err);
    } else if (status == TOMO_OK && adapter) {
        status = link_part(t, c->adapter_path, folder, "adapter", true, err);
    }
    if (status == TOMO_OK) {
        status = tomo_parameters_write(&t->parts[0], folder, "connector.safetensors", err);
    }
    return status == TOMO_OK ? write_config(t, folder, adapter, err) : status;
}

tomo_status tomo_trainee_export(const tomo_trainee *t, const char *folder, tomo_error *err) {
    size_t length = strlen(folder) + 8;
    char *part = malloc(length);
    if (part == NULL) return tomo_fail_memory(err, folder, length);
    (void)snprintf(part, length, "%s.part", folder);
    tomo_folder_remove(part);
    tomo_status status = mkdir(part, 0777) == 0 ? TOMO_OK : tomo_fail_errno(err, part, "create");
    if (status == TOMO_OK) status = write_parts(t, part, err);
    if (status == TOMO_OK) status = tomo_folder_replace(part, folder, err);
    if (status != TOMO_OK) tomo_folder_remove(part);
    free(part);
    return status;
}
