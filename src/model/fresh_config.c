#include "model/fresh_config.h"

#include "language/config.h"
#include "text/tokenizer.h"
#include "vision/encoder.h"

/* A connector for volumes of M3D's kind: 256 tokens, three layers read. */
#define CONNECTOR_WIDTH 512
#define CONNECTOR_HEADS 8

/* A shallow, a middle and the last hidden state. */
static void add_layers(cJSON *section, int64_t depth) {
    cJSON *list = cJSON_AddArrayToObject(section, "layers");
    const int64_t layers[] = {depth / 3, 2 * depth / 3, depth};
    for (int i = 0; i < 3; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)layers[i]));
}

static cJSON *whole_numbers(const int64_t *values, int count) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < count; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)values[i]));
    return list;
}

static void add_volume(cJSON *root) {
    static const double windows[3][2] = {{40, 400}, {-600, 1500}, {400, 1800}}; /* abdomen, lung, bone */
    cJSON *volume = cJSON_AddObjectToObject(root, "volume"),
          *list = cJSON_AddArrayToObject(volume, "windows");
    for (int i = 0; i < 3; i++) {
        cJSON *w = cJSON_CreateObject();
        cJSON_AddNumberToObject(w, "level", windows[i][0]);
        cJSON_AddNumberToObject(w, "width", windows[i][1]);
        cJSON_AddItemToArray(list, w);
    }
    cJSON_AddNumberToObject(volume, "max_slices", 256);
    cJSON *prune = cJSON_AddObjectToObject(root, "prune"), *guard = cJSON_AddObjectToObject(prune, "guard");
    cJSON_AddNumberToObject(prune, "threshold", 0.98);
    cJSON_AddNumberToObject(prune, "min_slices", 8);
    cJSON_AddNumberToObject(prune, "max_slices", 32);
    cJSON_AddNumberToObject(guard, "threshold", 0.9);
    cJSON_AddNumberToObject(guard, "patches", 2);
}

static void add_connector(cJSON *root, const tomo_vit *vit, const tomo_decoder_config *language) {
    cJSON *c = cJSON_AddObjectToObject(root, "connector");
    int64_t side = vit->image_size / vit->patch_size;
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"width", CONNECTOR_WIDTH},
        {"filter_bins", 17},
        {"fusion_blocks", 2},
        {"injection_layers", 2},
        {"heads", CONNECTOR_HEADS},
        {"mlp_ratio", 4},
        {"layers", 3},
        {"encoder_width", vit->width},
        {"language_width", language->hidden},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        cJSON_AddNumberToObject(c, numbers[i].key, (double)numbers[i].value);
    }
    cJSON_AddItemToObject(c, "grid", whole_numbers((int64_t[]){side, side}, 2));
    cJSON_AddItemToObject(c, "tokens", whole_numbers((int64_t[]){4, 8, 8}, 3));
}

static void add_prompt(cJSON *root, const char *image_token) {
    cJSON *prompt = cJSON_AddObjectToObject(root, "prompt");
    cJSON_AddStringToObject(prompt, "image_token", image_token);
    cJSON_AddStringToObject(prompt, "system", "You are a radiologist's assistant. You read CT and MR scans.");
    cJSON_AddStringToObject(prompt, "report", "Write a radiology report of this scan.");
    cJSON_AddStringToObject(prompt, "format", "chat");
}

/* Placeholders that public tokenizers have and that no text uses. */
static const char *find_image_token(const tomo_tokenizer *tokenizer) {
    static const char *const known[] = {"<|image_pad|>", "<image>", "<|reserved_special_token_0|>",
                                        "<|vision_pad|>"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (tomo_tokenizer_id(tokenizer, known[i]) >= 0) return known[i];
    }
    return NULL;
}

/* What stands where nothing else was asked for. */
static void write_standard(cJSON *root, const tomo_vit *vit, const tomo_decoder_config *language,
                           const char *image_token) {
    cJSON_AddStringToObject(root, "model_type", "tomoscribe");
    cJSON *section = cJSON_AddObjectToObject(root, "encoder");
    cJSON_AddStringToObject(section, "path", "encoder");
    add_layers(section, vit->depth);
    add_volume(root);
    add_connector(root, vit, language);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(root, "language"), "path", "language");
    add_prompt(root, image_token);
}

/* Sections and keys that the parts decide are not given. */
static tomo_status read_overrides(const char *path, cJSON **overrides, tomo_error *err) {
    static const char *const sections[] = {"encoder", "volume", "prune", "connector", "prompt", NULL};
    static const char *const encoder[] = {"layers", NULL};
    tomo_status status = tomo_json_open(path, overrides, err);
    if (status == TOMO_OK) status = tomo_json_only(*overrides, (tomo_json_at){path, ""}, sections, err);
    const cJSON *section = tomo_json_get(*overrides, "encoder");
    if (status == TOMO_OK && section != NULL) {
        status = tomo_json_only(section, (tomo_json_at){path, "encoder."}, encoder, err);
    }
    return status;
}

/* As many layers are read as encoder.layers names; another number that was given is refused later. */
static void count_layers(cJSON *root, const cJSON *overrides) {
    if (tomo_json_get(tomo_json_get(overrides, "connector"), "layers") != NULL) return;
    int count = cJSON_GetArraySize(tomo_json_get(tomo_json_get(root, "encoder"), "layers"));
    cJSON *connector = cJSON_GetObjectItemCaseSensitive(root, "connector");
    cJSON_DeleteItemFromObjectCaseSensitive(connector, "layers");
    cJSON_AddNumberToObject(connector, "layers", count);
}

tomo_status tomo_fresh_config(const char *encoder_path, const char *language_path, const char *path,
                              tomo_model_config *config, tomo_error *err) {
    tomo_encoder *encoder = NULL;
    tomo_tokenizer *tokenizer = NULL;
    tomo_decoder_config language = {0};
    cJSON *root = cJSON_CreateObject(), *overrides = NULL;
    *config = (tomo_model_config){0};
    tomo_status status = tomo_encoder_open(encoder_path, &encoder, err);
    if (status == TOMO_OK) status = tomo_decoder_config_read(language_path, &language, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open(language_path, &tokenizer, err);
    if (status == TOMO_OK && path != NULL) status = read_overrides(path, &overrides, err);
    if (status == TOMO_OK) {
        const char *named = NULL, *token = find_image_token(tokenizer);
        (void)tomo_json_text(tomo_json_get(overrides, "prompt"), "image_token", (tomo_json_at){path, ""},
                             false, &named, NULL);
        if (named == NULL && token == NULL) {
            status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                               "%s: the tokenizer has no placeholder for images, such as <|image_pad|>; "
                               "\"prompt.image_token\" is wanted, a token that no text uses",
                               language_path);
        }
        write_standard(root, tomo_encoder_vit(encoder), &language, token != NULL ? token : "");
    }
    if (status == TOMO_OK && overrides != NULL) tomo_model_config_override(root, overrides);
    if (status == TOMO_OK) {
        const char *name = path != NULL ? path : "config.json";
        count_layers(root, overrides);
        status = tomo_model_config_take(name, root, config, err);
        root = NULL;
        if (status == TOMO_OK)
            status = tomo_model_config_check(config, name, tomo_encoder_vit(encoder), language.hidden, err);
    }
    cJSON_Delete(root);
    cJSON_Delete(overrides);
    tomo_tokenizer_free(tokenizer);
    tomo_encoder_free(encoder);
    return status;
}
