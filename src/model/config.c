#include "model/config.h"

#include "base/limits.h"

#include <string.h>

/* The instruction of a report where the model's configuration names none. */
#define STANDARD_REPORT "Describe the findings."

static tomo_status read_encoder(const cJSON *root, const char *path, tomo_model_config *c, tomo_error *err) {
    static const char *const known[] = {"path", "layers", NULL};
    tomo_json_at at = {path, "encoder."};
    const cJSON *section = tomo_json_get(root, "encoder"), *list = tomo_json_get(section, "layers"), *item;
    tomo_status status = tomo_json_only(section, at, known, err);
    c->encoder_path = "encoder";
    if (status == TOMO_OK) status = tomo_json_text(section, "path", at, false, &c->encoder_path, err);
    if (status != TOMO_OK) return status;
    int count = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || count < 1 || count > TOMO_CONNECTOR_LAYERS) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"encoder.layers\" must be a list of 1 to %d hidden states",
                         path, TOMO_CONNECTOR_LAYERS);
    }
    cJSON_ArrayForEach(item, list) {
        if (!tomo_json_whole(item, 0, 1000, &c->layers[c->layer_count++])) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: \"encoder.layers\" must hold whole numbers from 0",
                             path);
        }
    }
    return TOMO_OK;
}

static tomo_status read_language(const cJSON *root, const char *path, tomo_model_config *c, tomo_error *err) {
    static const char *const known[] = {"path", "adapter", NULL};
    tomo_json_at at = {path, "language."};
    const cJSON *section = tomo_json_get(root, "language");
    tomo_status status = tomo_json_only(section, at, known, err);
    c->language_path = "language";
    if (status == TOMO_OK) status = tomo_json_text(section, "path", at, false, &c->language_path, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "adapter", at, false, &c->adapter_path, err);
    return status;
}

static tomo_status read_prompt(const cJSON *root, const char *path, tomo_model_config *c, tomo_error *err) {
    static const char *const known[] = {"image_token", "image",  "image_positions", "system",
                                        "report",      "format", "answer",          NULL};
    tomo_json_at at = {path, "prompt."};
    const cJSON *section = tomo_json_get(root, "prompt");
    const char *format = "chat", *answer = "letter", *positions = "sequence";
    c->report = STANDARD_REPORT;
    c->image = true;
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "image_token", at, true, &c->image_token, err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "image", at, false, &c->image, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "image_positions", at, false, &positions, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "system", at, false, &c->system, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "report", at, false, &c->report, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "format", at, false, &format, err);
    if (status == TOMO_OK) status = tomo_json_text(section, "answer", at, false, &answer, err);
    if (status != TOMO_OK) return status;
    if (strcmp(format, "chat") != 0 && strcmp(format, "m3d") != 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"prompt.format\" is \"%.40s\"; chat or m3d is wanted",
                         path, format);
    }
    c->text_first = strcmp(answer, "text") == 0;
    if (!c->text_first && strcmp(answer, "letter") != 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"prompt.answer\" is \"%.40s\"; letter or text is wanted",
                         path, answer);
    }
    c->image_positions_shared = strcmp(positions, "shared") == 0;
    if (!c->image_positions_shared && strcmp(positions, "sequence") != 0) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"prompt.image_positions\" is \"%.40s\"; sequence or shared is wanted", path,
                         positions);
    }
    c->prompt_format = strcmp(format, "m3d") == 0 ? TOMO_PROMPT_M3D : TOMO_PROMPT_CHAT;
    return TOMO_OK;
}

static tomo_status read_top(const cJSON *root, const char *path, tomo_error *err) {
    static const char *const known[] = {"model_type", "encoder",  "volume", "prune",
                                        "connector",  "language", "prompt", NULL};
    static const char *const sections[] = {"encoder", "volume", "prune", "connector", "language", "prompt"};
    const char *type = NULL;
    tomo_status status = tomo_json_text(root, "model_type", (tomo_json_at){path, ""}, true, &type, err);
    if (status != TOMO_OK) return status;
    if (strcmp(type, "tomoscribe") != 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: \"model_type\" is \"%.60s\"; tomoscribe is wanted",
                         path, type);
    }
    status = tomo_json_only(root, (tomo_json_at){path, ""}, known, err);
    for (size_t i = 0; i < sizeof sections / sizeof sections[0] && status == TOMO_OK; i++) {
        if (!cJSON_IsObject(tomo_json_get(root, sections[i]))) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: section \"%s\" is missing", path, sections[i]);
        }
    }
    return status;
}

/* A 3D transformer has a place for each slice: every scan must come with as many, and none may be dropped. */
static tomo_status check_vit3d(const tomo_model_config *c, const char *path, tomo_error *err) {
    int64_t wanted = c->connector.slices;
    if (!c->volume.has_size || c->volume.size[0] != wanted) {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: \"volume.size\" must begin with \"connector.slices\", %lld: vit3d reads no other "
            "number of slices",
            path, (long long)wanted);
    }
    if (c->prune.choice != TOMO_CHOICE_UNIFORM || c->prune.max_slices < wanted) {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: section \"prune\" must keep all %lld slices for vit3d: {\"choice\": \"uniform\", "
            "\"max_slices\": %lld}",
            path, (long long)wanted, (long long)wanted);
    }
    return TOMO_OK;
}

static tomo_status check(const tomo_model_config *c, const char *path, tomo_error *err) {
    if (c->prune.min_slices > c->prune.max_slices) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"prune.min_slices\" is %lld, above \"prune.max_slices\" %lld", path,
                         (long long)c->prune.min_slices, (long long)c->prune.max_slices);
    }
    if (c->connector.layers != c->layer_count) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"connector.layers\" is %lld, but \"encoder.layers\" names %d", path,
                         (long long)c->connector.layers, c->layer_count);
    }
    return c->connector.kind == TOMO_CONNECTOR_VIT3D ? check_vit3d(c, path, err) : TOMO_OK;
}

tomo_status tomo_model_config_take(const char *path, cJSON *root, tomo_model_config *c, tomo_error *err) {
    *c = (tomo_model_config){.json = root};
    tomo_status status = read_top(c->json, path, err);
    if (status == TOMO_OK) status = read_encoder(c->json, path, c, err);
    if (status == TOMO_OK) {
        status = tomo_slices_settings_parse(tomo_json_get(c->json, "volume"), (tomo_json_at){path, "volume."},
                                            &c->volume, err);
    }
    if (status == TOMO_OK) {
        status =
            tomo_prune_parse(tomo_json_get(c->json, "prune"), (tomo_json_at){path, "prune."}, &c->prune, err);
    }
    if (status == TOMO_OK) {
        status = tomo_connector_parse(tomo_json_get(c->json, "connector"), (tomo_json_at){path, "connector."},
                                      &c->connector, err);
    }
    if (status == TOMO_OK) status = read_language(c->json, path, c, err);
    if (status == TOMO_OK) status = read_prompt(c->json, path, c, err);
    return status == TOMO_OK ? check(c, path, err) : status;
}

tomo_status tomo_model_config_read(const char *path, tomo_model_config *c, tomo_error *err) {
    cJSON *root = NULL;
    *c = (tomo_model_config){0};
    tomo_status status = tomo_json_open(path, &root, err);
    return status == TOMO_OK ? tomo_model_config_take(path, root, c, err) : status;
}

void tomo_model_config_free(tomo_model_config *config) {
    cJSON_Delete(config->json);
    *config = (tomo_model_config){0};
}

int64_t tomo_model_config_image_tokens(const tomo_model_config *config) {
    return config->image ? tomo_connector_token_count(&config->connector) : 0;
}

int64_t tomo_model_config_most_slices(const tomo_model_config *config) {
    int64_t all = config->volume.has_size ? config->volume.size[0] : config->volume.max_slices;
    return config->prune.max_slices < all ? config->prune.max_slices : all;
}

void tomo_model_config_override(cJSON *to, const cJSON *from) {
    for (const cJSON *section = from->child; section != NULL; section = section->next) {
        cJSON *old = cJSON_GetObjectItemCaseSensitive(to, section->string);
        for (const cJSON *item = section->child; item != NULL && cJSON_IsObject(old); item = item->next) {
            cJSON_DeleteItemFromObjectCaseSensitive(old, item->string);
            cJSON_AddItemToObject(old, item->string, cJSON_Duplicate(item, true));
        }
    }
}

tomo_status tomo_model_config_check(const tomo_model_config *config, const char *path, const tomo_vit *vit,
                                    int64_t hidden, tomo_error *err) {
    const tomo_connector_config *c = &config->connector;
    int64_t side = vit->image_size / vit->patch_size;
    const struct {
        const char *key;
        int64_t found, wanted;
    } sizes[] = {
        {"connector.encoder_width", c->encoder_width, vit->width},
        {"connector.grid[0]", c->grid[0], side},
        {"connector.grid[1]", c->grid[1], side},
        {"connector.language_width", c->language_width, hidden},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (sizes[i].found != sizes[i].wanted) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: \"%s\" is %lld; encoder and language model have %lld",
                             path, sizes[i].key, (long long)sizes[i].found, (long long)sizes[i].wanted);
        }
    }
    for (int i = 0; i < config->layer_count; i++) {
        if (config->layers[i] > vit->depth) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: \"encoder.layers\" names %lld; the encoder has %lld",
                             path, (long long)config->layers[i], (long long)vit->depth);
        }
    }
    return TOMO_OK;
}
