#include "model/fresh_config.h"

#include "language/decoder.h"
#include "language/gguf.h"
#include "text/tokenizer.h"
#include "vision/encoder.h"
#include "weights/gguf.h"

#include <string.h>

/* A connector for volumes of M3D's kind: 256 tokens, three layers read. */
#define CONNECTOR_WIDTH 512
#define CONNECTOR_HEADS 8
/* A 3D transformer that a few hundred scans may still train: 3 million parameters, and with patches of 4
 * slices of a scan of 64 and 16 x 16 pixels of 128 x 128 1024 of them. */
#define VIT3D_WIDTH 192
#define VIT3D_HEADS 3
#define VIT3D_BLOCKS 6
#define VIT3D_SLICES 64
#define VIT3D_PATCH 4

/* What the settings have to suit. */
typedef struct parts {
    const tomo_vit *vit;
    const tomo_decoder_config *language;
    const char *image_token, *language_path; /* in the directory */
    bool vit3d;
    int64_t slices; /* that a vit3d reads */
} parts;

typedef struct number {
    const char *key;
    int64_t value;
} number;

static void add_numbers(cJSON *section, const number *numbers, size_t count) {
    for (size_t i = 0; i < count; i++) {
        cJSON_AddNumberToObject(section, numbers[i].key, (double)numbers[i].value);
    }
}

static cJSON *whole_numbers(const int64_t *values, int count) {
    cJSON *list = cJSON_CreateArray();
    for (int i = 0; i < count; i++) cJSON_AddItemToArray(list, cJSON_CreateNumber((double)values[i]));
    return list;
}

/* A shallow, a middle and the last hidden state; of pixels, and for a vit3d, the last alone. */
static void add_layers(cJSON *section, const parts *p) {
    int64_t depth = p->vit->depth;
    const int64_t layers[] = {depth / 3, 2 * depth / 3, depth};
    bool one = p->vit3d || depth < 3;
    cJSON_AddItemToObject(section, "layers", whole_numbers(layers + (one ? 2 : 0), one ? 1 : 3));
}

static void add_volume(cJSON *root, const parts *p) {
    static const double windows[3][2] = {{40, 400}, {-600, 1500}, {400, 1800}}; /* abdomen, lung, bone */
    cJSON *volume = cJSON_AddObjectToObject(root, "volume"),
          *list = cJSON_AddArrayToObject(volume, "windows");
    for (int i = 0; i < 3; i++) {
        cJSON *w = cJSON_CreateObject();
        cJSON_AddNumberToObject(w, "level", windows[i][0]);
        cJSON_AddNumberToObject(w, "width", windows[i][1]);
        cJSON_AddItemToArray(list, w);
    }
    if (p->vit3d) {
        int64_t side = p->vit->image_size;
        cJSON_AddItemToObject(volume, "size", whole_numbers((int64_t[]){p->slices, side, side}, 3));
    } else {
        cJSON_AddNumberToObject(volume, "max_slices", 256);
    }
}

static void add_prune(cJSON *root, const parts *p) {
    cJSON *prune = cJSON_AddObjectToObject(root, "prune");
    if (p->vit3d) { /* all of them */
        cJSON_AddStringToObject(prune, "choice", "uniform");
        cJSON_AddNumberToObject(prune, "max_slices", (double)p->slices);
        return;
    }
    cJSON_AddNumberToObject(prune, "threshold", 0.98);
    cJSON_AddNumberToObject(prune, "min_slices", 8);
    cJSON_AddNumberToObject(prune, "max_slices", 32);
    cJSON *guard = cJSON_AddObjectToObject(prune, "guard");
    cJSON_AddNumberToObject(guard, "threshold", 0.9);
    cJSON_AddNumberToObject(guard, "patches", 2);
}

static void add_connector(cJSON *root, const parts *p) {
    cJSON *c = cJSON_AddObjectToObject(root, "connector");
    int64_t side = p->vit->image_size / p->vit->patch_size;
    const number fusion[] = {{"width", CONNECTOR_WIDTH}, {"filter_bins", 17},        {"fusion_blocks", 2},
                             {"injection_layers", 2},    {"heads", CONNECTOR_HEADS}, {"mlp_ratio", 4}};
    const number vit3d[] = {{"width", VIT3D_WIDTH}, {"blocks", VIT3D_BLOCKS}, {"heads", VIT3D_HEADS},
                            {"mlp_ratio", 4},       {"slices", p->slices},    {"patch_slices", VIT3D_PATCH}};
    const number common[] = {{"encoder_width", p->vit->width}, {"language_width", p->language->hidden}};
    if (p->vit3d) cJSON_AddStringToObject(c, "kind", "vit3d");
    add_numbers(c, p->vit3d ? vit3d : fusion, 6);
    add_numbers(c, common, 2);
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
                                        "<|vision_pad|>", "<empty_output>" /* SmolLM2 */};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (tomo_tokenizer_id(tokenizer, known[i]) >= 0) return known[i];
    }
    return NULL;
}

/* What stands where nothing else was asked for. */
static cJSON *write_standard(const parts *p) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "model_type", "tomoscribe");
    cJSON *section = cJSON_AddObjectToObject(root, "encoder");
    cJSON_AddStringToObject(section, "path", "encoder");
    add_layers(section, p);
    add_volume(root, p);
    add_prune(root, p);
    add_connector(root, p);
    cJSON_AddStringToObject(cJSON_AddObjectToObject(root, "language"), "path", p->language_path);
    add_prompt(root, p->image_token);
    return root;
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

/* Sizes and tokenizer of a language model: a downloaded folder or a GGUF file. */
static tomo_status read_language(const char *path, tomo_decoder_config *config, tomo_tokenizer **tokenizer,
                                 tomo_error *err) {
    if (!tomo_gguf_is(path)) {
        tomo_status status = tomo_decoder_config_read(path, config, err);
        return status == TOMO_OK ? tomo_tokenizer_open(path, tokenizer, err) : status;
    }
    tomo_decoder *decoder = NULL;
    cJSON *metadata = NULL, *document = NULL;
    tomo_status status = tomo_decoder_open(path, NULL, false, &decoder, err);
    if (status == TOMO_OK) *config = *tomo_decoder_get_config(decoder);
    if (status == TOMO_OK) status = tomo_gguf_metadata_open(path, &metadata, err);
    if (status == TOMO_OK) status = tomo_gguf_tokenizer(path, metadata, &document, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open_document(path, document, tokenizer, err);
    tomo_decoder_free(decoder);
    cJSON_Delete(document);
    cJSON_Delete(metadata);
    return status;
}

/* The kind of connector and, where the tokenizer has no usual one, the placeholder have to be known before.
 */
static tomo_status read_wishes(const char *path, const cJSON *overrides, const tomo_tokenizer *tokenizer,
                               const char *language_path, parts *p, tomo_error *err) {
    const cJSON *connector = tomo_json_get(overrides, "connector");
    const char *kind = "fusion", *token = NULL;
    p->slices = VIT3D_SLICES;
    p->image_token = find_image_token(tokenizer);
    tomo_status status =
        tomo_json_text(connector, "kind", (tomo_json_at){path, "connector."}, false, &kind, err);
    if (status == TOMO_OK) {
        status = tomo_json_int(connector, "slices", (tomo_json_at){path, "connector."}, false, 1, 4096,
                               &p->slices, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_text(tomo_json_get(overrides, "prompt"), "image_token",
                                (tomo_json_at){path, "prompt."}, false, &token, err);
    }
    p->vit3d = strcmp(kind, "vit3d") == 0;
    if (token != NULL) p->image_token = token;
    if (status == TOMO_OK && p->image_token == NULL) {
        status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                           "%s: the tokenizer has no placeholder for images, such as <|image_pad|>; "
                           "\"prompt.image_token\" is wanted, a token that no text uses",
                           language_path);
    }
    return status;
}

/* The document of the parts with what was asked for in it. */
static tomo_status join(const char *path, const cJSON *overrides, const parts *p, tomo_model_config *config,
                        tomo_error *err) {
    const char *name = path != NULL ? path : "config.json";
    cJSON *root = write_standard(p);
    if (overrides != NULL) tomo_model_config_override(root, overrides);
    count_layers(root, overrides);
    tomo_status status = tomo_model_config_take(name, root, config, err);
    if (status != TOMO_OK) return status;
    return tomo_model_config_check(config, name, p->vit, p->language->hidden, err);
}

tomo_status tomo_fresh_config(const char *encoder_path, const char *language_path, const char *path,
                              tomo_model_config *config, tomo_error *err) {
    tomo_encoder *encoder = NULL;
    tomo_tokenizer *tokenizer = NULL;
    tomo_decoder_config language = {0};
    cJSON *overrides = NULL;
    parts p = {.language = &language, .language_path = "language"};
    if (tomo_gguf_is(language_path)) p.language_path = TOMO_LANGUAGE_GGUF;
    *config = (tomo_model_config){0};
    tomo_status status = tomo_encoder_open(encoder_path, &encoder, err);
    if (status == TOMO_OK) status = read_language(language_path, &language, &tokenizer, err);
    if (status == TOMO_OK && path != NULL) status = read_overrides(path, &overrides, err);
    if (status == TOMO_OK) status = read_wishes(path, overrides, tokenizer, language_path, &p, err);
    if (status == TOMO_OK) {
        p.vit = tomo_encoder_vit(encoder);
        status = join(path, overrides, &p, config, err);
    }
    cJSON_Delete(overrides);
    tomo_tokenizer_free(tokenizer);
    tomo_encoder_free(encoder);
    return status;
}
