/* connector_config.c - the "connector" section of a config.json. */
#include "fusion/connector.h"

#include <string.h>

/* More patches of a scan than any machine attends over at once. */
#define MOST_PATCHES 65536

static tomo_status parse_list(const cJSON *section, const char *key, tomo_json_at at, int count, int64_t *out,
                              tomo_error *err) {
    const cJSON *list = tomo_json_get(section, key);
    bool good = cJSON_IsArray(list) && cJSON_GetArraySize(list) == count;
    for (int i = 0; i < count && good; i++) {
        good = tomo_json_whole(cJSON_GetArrayItem(list, i), 1, 4096, &out[i]);
    }
    if (good) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: \"%s%s\" must be a list of %d whole numbers from 1 to 4096",
                     at.file, at.section, key, count);
}

/* One of two names, the first by default. */
static tomo_status parse_name(const cJSON *section, const char *key, tomo_json_at at,
                              const char *const names[2], bool *second, tomo_error *err) {
    const char *name = names[0];
    tomo_status status = tomo_json_text(section, key, at, false, &name, err);
    if (status != TOMO_OK) return status;
    *second = strcmp(name, names[1]) == 0;
    if (*second || strcmp(name, names[0]) == 0) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: \"%s%s\" is \"%.40s\"; %s or %s is wanted", at.file, at.section,
                     key, name, names[0], names[1]);
}

typedef struct number {
    const char *key;
    int64_t low, high, *value;
} number;

static tomo_status parse_numbers(const cJSON *section, tomo_json_at at, const number *numbers, size_t count,
                                 tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        status = tomo_json_int(section, numbers[i].key, at, true, numbers[i].low, numbers[i].high,
                               numbers[i].value, err);
    }
    return status;
}

/* What both kinds have. */
static tomo_status parse_common(const cJSON *section, tomo_json_at at, tomo_connector_config *c,
                                tomo_error *err) {
    const number numbers[] = {
        {"width", 2, 65536, &c->width},
        {"heads", 1, 1024, &c->heads},
        {"mlp_ratio", 1, 64, &c->mlp_ratio},
        {"layers", 1, TOMO_CONNECTOR_LAYERS, &c->layers},
        {"encoder_width", 1, 65536, &c->encoder_width},
        {"language_width", 1, 65536, &c->language_width},
    };
    tomo_status status = parse_numbers(section, at, numbers, sizeof numbers / sizeof numbers[0], err);
    if (status == TOMO_OK) status = parse_list(section, "grid", at, 2, c->grid, err);
    if (status == TOMO_OK) status = parse_list(section, "tokens", at, 3, c->tokens, err);
    if (status == TOMO_OK && (c->width % 2 != 0 || c->width % c->heads != 0)) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"%swidth\" is %lld; it must be even and divisible by %lld heads", at.file,
                         at.section, (long long)c->width, (long long)c->heads);
    }
    return status;
}

static tomo_status parse_fusion(const cJSON *section, tomo_json_at at, tomo_connector_config *c,
                                tomo_error *err) {
    static const char *const known[] = {"kind",
                                        "width",
                                        "filter_bins",
                                        "fusion_blocks",
                                        "injection_layers",
                                        "heads",
                                        "mlp_ratio",
                                        "tokens",
                                        "layers",
                                        "encoder_width",
                                        "grid",
                                        "language_width",
                                        "spatial",
                                        "frequency",
                                        "position",
                                        "summary",
                                        NULL};
    static const char *const positions[2] = {"relative", "mm"};
    const number numbers[] = {
        {"filter_bins", 1, 4096, &c->filter_bins},
        {"fusion_blocks", 0, TOMO_CONNECTOR_BLOCKS, &c->fusion_blocks},
        {"injection_layers", 0, TOMO_CONNECTOR_BLOCKS, &c->injection_layers},
    };
    bool mm = false;
    c->spatial = c->frequency = true;
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK) status = parse_common(section, at, c, err);
    if (status == TOMO_OK) status = parse_numbers(section, at, numbers, 3, err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "spatial", at, false, &c->spatial, err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "frequency", at, false, &c->frequency, err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "summary", at, false, &c->summary, err);
    if (status == TOMO_OK) status = parse_name(section, "position", at, positions, &mm, err);
    c->position = mm ? TOMO_POSITION_MM : TOMO_POSITION_RELATIVE;
    return status;
}

static tomo_status parse_vit3d(const cJSON *section, tomo_json_at at, tomo_connector_config *c,
                               tomo_error *err) {
    static const char *const known[] = {
        "kind",          "width", "blocks",         "heads",  "mlp_ratio",    "tokens", "layers",
        "encoder_width", "grid",  "language_width", "slices", "patch_slices", NULL};
    const number numbers[] = {
        {"blocks", 1, TOMO_CONNECTOR_BLOCKS, &c->blocks},
        {"slices", 1, 4096, &c->slices},
        {"patch_slices", 1, 64, &c->patch_slices},
    };
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK) status = parse_common(section, at, c, err);
    if (status == TOMO_OK) status = parse_numbers(section, at, numbers, 3, err);
    if (status != TOMO_OK) return status;
    if (c->layers != 1) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"%slayers\" is %lld; vit3d reads 1", at.file, at.section,
                         (long long)c->layers);
    }
    if (c->slices % c->patch_slices != 0) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"%sslices\" is %lld; it must be divisible by %lld patch_slices", at.file,
                         at.section, (long long)c->slices, (long long)c->patch_slices);
    }
    if (c->slices / c->patch_slices * c->grid[0] * c->grid[1] > MOST_PATCHES) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: \"%sslices\" and \"%sgrid\" make more than %d patches",
                         at.file, at.section, at.section, MOST_PATCHES);
    }
    return TOMO_OK;
}

tomo_status tomo_connector_parse(const cJSON *section, tomo_json_at at, tomo_connector_config *c,
                                 tomo_error *err) {
    static const char *const kinds[2] = {"fusion", "vit3d"};
    bool vit3d = false;
    *c = (tomo_connector_config){0};
    tomo_status status = parse_name(section, "kind", at, kinds, &vit3d, err);
    if (status != TOMO_OK) return status;
    c->kind = vit3d ? TOMO_CONNECTOR_VIT3D : TOMO_CONNECTOR_FUSION;
    return vit3d ? parse_vit3d(section, at, c, err) : parse_fusion(section, at, c, err);
}

int64_t tomo_connector_token_count(const tomo_connector_config *config) {
    return (config->tokens[0] + config->summary) * config->tokens[1] * config->tokens[2];
}
