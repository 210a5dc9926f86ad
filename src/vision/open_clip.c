/* open_clip.c - CLIP models of the open_clip library whose image tower is timm's VisionTransformer,
 * BiomedCLIP among them: open_clip_config.json beside weights in timm's names under "visual.trunk.".
 *
 * The geometry comes from the timm model's name, from timm_kwargs, and from open_clip's own keys, the later
 * winning. */
#include "vision/vit.h"

#include <stdio.h>
#include <string.h>

typedef struct timm_size {
    const char *name;
    int64_t width, depth, heads;
} timm_size;

/* timm/models/vision_transformer.py, timm 1.0 */
static const timm_size timm_sizes[] = {
    {"vit_tiny_", 192, 12, 3},
    {"vit_small_", 384, 12, 6},
    {"vit_base_", 768, 12, 12},
    {"vit_large_", 1024, 24, 16},
};

/* "vit_base_patch16_224..." -> sizes; false for a name that is not of this form. */
static bool read_timm_name(const char *name, tomo_vit *v) {
    for (size_t i = 0; i < sizeof timm_sizes / sizeof timm_sizes[0]; i++) {
        size_t length = strlen(timm_sizes[i].name);
        int patch, image;
        if (strncmp(name, timm_sizes[i].name, length) != 0) continue;
        if (sscanf(name + length, "patch%4d_%4d", &patch, &image) != 2 || patch < 1 || image < 1)
            return false;
        v->width = timm_sizes[i].width;
        v->depth = timm_sizes[i].depth;
        v->heads = timm_sizes[i].heads;
        v->patch_size = patch;
        v->image_size = image;
        return true;
    }
    return false;
}

typedef struct size_key {
    const char *key;
    int64_t *value, most;
} size_key;

static tomo_status read_keys(const cJSON *section, tomo_json_at at, const size_key *keys, size_t count,
                             tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        status = tomo_json_int(section, keys[i].key, at, false, 1, keys[i].most, keys[i].value, err);
    }
    return status;
}

static tomo_status read_sizes(const cJSON *vision, const char *file, tomo_vit *v, tomo_error *err) {
    tomo_json_at at = {file, "model_cfg.vision_cfg."}, inside = {file, "model_cfg.vision_cfg.timm_kwargs."};
    const char *name = NULL;
    tomo_status status = tomo_json_text(vision, "timm_model_name", at, true, &name, err);
    if (status != TOMO_OK) return status;
    bool known = read_timm_name(name, v);
    const size_key kwargs[] = {{"patch_size", &v->patch_size, 1024},
                               {"embed_dim", &v->width, 65536},
                               {"depth", &v->depth, 1000},
                               {"num_heads", &v->heads, 4096},
                               {"img_size", &v->image_size, 8192}};
    status = read_keys(tomo_json_get(vision, "timm_kwargs"), inside, kwargs, 5, err);
    const size_key own[] = {{"image_size", &v->image_size, 8192},
                            {"width", &v->width, 65536},
                            {"layers", &v->depth, 1000},
                            {"patch_size", &v->patch_size, 1024}};
    if (status == TOMO_OK) status = read_keys(vision, at, own, 4, err);
    if (status != TOMO_OK) return status;
    int64_t head_width = 64; /* open_clip's default */
    status = tomo_json_int(vision, "head_width", at, false, 1, 4096, &head_width, err);
    if (status != TOMO_OK) return status;
    bool says_heads = tomo_json_get(tomo_json_get(vision, "timm_kwargs"), "num_heads") != NULL;
    if (tomo_json_get(vision, "head_width") != NULL || (!known && !says_heads))
        v->heads = v->width / head_width;
    if (v->width == 0 || v->depth == 0 || v->patch_size == 0 || v->image_size == 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: the geometry of \"%.60s\" is not known; vit_SIZE_patchN_IMAGE, "
                         "timm_kwargs or width, layers, patch_size and image_size are wanted",
                         file, name);
    }
    return tomo_vit_check(v, file, err);
}

/* preprocess_cfg; without it open_clip's default, the statistics of OpenAI's CLIP. */
static void read_statistics(const cJSON *config, tomo_vit *v) {
    static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
    static const float std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    const cJSON *section = tomo_json_get(config, "preprocess_cfg");
    for (int i = 0; i < 3; i++) {
        const cJSON *m = cJSON_GetArrayItem(tomo_json_get(section, "mean"), i);
        const cJSON *s = cJSON_GetArrayItem(tomo_json_get(section, "std"), i);
        v->mean[i] = cJSON_IsNumber(m) ? (float)m->valuedouble : mean[i];
        v->std[i] = cJSON_IsNumber(s) && s->valuedouble > 0 ? (float)s->valuedouble : std[i];
    }
}

static void bind_layer(tomo_binder *b, int64_t width, int i, tomo_vit_layer *l) {
    const tomo_stored *fc1 = tomo_bind_find(b, "blocks.%d.mlp.fc1.weight", i);
    int64_t hidden = fc1 == NULL ? 4 * width : fc1->shape[0]; /* absent: the binding below says so */
    l->norm1_weight = tomo_bind_float(b, 1, &width, "blocks.%d.norm1.weight", i);
    l->norm1_bias = tomo_bind_float(b, 1, &width, "blocks.%d.norm1.bias", i);
    l->qkv = tomo_bind_linear(b, 3 * width, width, true, "blocks.%d.attn.qkv", i);
    l->out = tomo_bind_linear(b, width, width, true, "blocks.%d.attn.proj", i);
    l->norm2_weight = tomo_bind_float(b, 1, &width, "blocks.%d.norm2.weight", i);
    l->norm2_bias = tomo_bind_float(b, 1, &width, "blocks.%d.norm2.bias", i);
    l->fc1 = tomo_bind_linear(b, hidden, width, true, "blocks.%d.mlp.fc1", i);
    l->fc2 = tomo_bind_linear(b, width, hidden, true, "blocks.%d.mlp.fc2", i);
}

static void bind_all(tomo_binder *b, tomo_vit *v) {
    int64_t C = v->width, p = v->patch_size, side = v->image_size / p, tokens = 1 + side * side;
    b->prefix = "visual.trunk.";
    tomo_tensor token = tomo_bind_float(b, 3, (int64_t[]){1, 1, C}, "cls_token");
    tomo_tensor table = tomo_bind_float(b, 3, (int64_t[]){1, tokens, C}, "pos_embed");
    tomo_tensor kernel = tomo_bind_weight(b, 4, (int64_t[]){C, 3, p, p}, "patch_embed.proj.weight");
    v->patch.bias = tomo_bind_float(b, 1, &C, "patch_embed.proj.bias");
    v->norm_weight = tomo_bind_float(b, 1, &C, "norm.weight");
    v->norm_bias = tomo_bind_float(b, 1, &C, "norm.bias");
    for (int i = 0; i < (int)v->depth; i++) bind_layer(b, C, i, &v->layers[i]);
    b->prefix = "";
    const tomo_stored *projection = tomo_bind_find(b, "visual.head.proj.weight");
    if (projection != NULL)
        v->projection = tomo_bind_linear(b, projection->shape[0], C, false, "visual.head.proj");
    if (token.data == NULL || table.data == NULL || kernel.data == NULL) return;
    v->class_token = tomo_tensor_reshape(&token, 1, &C);
    v->positions = tomo_tensor_reshape(&table, 2, (int64_t[]){tokens, C});
    v->patch.weight = tomo_tensor_reshape(&kernel, 2, (int64_t[]){C, 3 * p * p});
}

tomo_status tomo_open_clip_load(const char *config_path, const cJSON *config, const char *folder,
                                tomo_binder *binder, tomo_vit *v, tomo_error *err) {
    (void)folder;
    v->family = "open_clip";
    v->eps = 1e-6; /* timm's VisionTransformer */
    v->activation = TOMO_ACT_GELU;
    v->antialias = true;
    v->final_norm_in_states = true;
    const cJSON *vision = tomo_json_get(tomo_json_get(config, "model_cfg"), "vision_cfg");
    if (vision == NULL) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"model_cfg.vision_cfg\" is missing", config_path);
    }
    tomo_status status = read_sizes(vision, config_path, v, err);
    if (status != TOMO_OK) return status;
    read_statistics(config, v);
    bind_all(binder, v);
    return TOMO_OK;
}

void tomo_open_clip_parameters(const tomo_vit *sizes, tomo_parameter_fn tell, void *user) {
    tomo_vit v = *sizes;
    tomo_binder binder = {.prefix = "", .collect = tell, .collect_user = user};
    bind_all(&binder, &v);
}
