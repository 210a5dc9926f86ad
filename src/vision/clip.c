/* clip.c - CLIP as Hugging Face transformers stores it: CLIPModel (the text tower is ignored) or
 * CLIPVisionModel. Defaults of keys that config.json leaves out are those of transformers 5.23,
 * CLIPVisionConfig. */
#include "base/file.h"
#include "vision/vit.h"

#include <stdlib.h>
#include <string.h>

/* Pixel statistics of OpenAI's training data: the default of CLIP's preprocessor. */
static const float clip_mean[3] = {0.48145466f, 0.4578275f, 0.40821073f};
static const float clip_std[3] = {0.26862954f, 0.26130258f, 0.27577711f};

static tomo_status read_sizes(const cJSON *vision, tomo_json_at at, tomo_vit *v, tomo_error *err) {
    const struct {
        const char *key;
        int64_t *value, standard, most;
    } sizes[] = {
        {"hidden_size", &v->width, 768, 65536},       {"num_hidden_layers", &v->depth, 12, 1000},
        {"num_attention_heads", &v->heads, 12, 4096}, {"image_size", &v->image_size, 224, 8192},
        {"patch_size", &v->patch_size, 32, 1024},
    };
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0] && status == TOMO_OK; i++) {
        *sizes[i].value = sizes[i].standard;
        status = tomo_json_int(vision, sizes[i].key, at, false, 1, sizes[i].most, sizes[i].value, err);
    }
    v->eps = 1e-5;
    if (status == TOMO_OK) status = tomo_json_double(vision, "layer_norm_eps", at, false, 0, 1, &v->eps, err);
    const char *activation = "quick_gelu";
    if (status == TOMO_OK) status = tomo_json_text(vision, "hidden_act", at, false, &activation, err);
    if (status != TOMO_OK) return status;
    if (strcmp(activation, "quick_gelu") == 0) {
        v->activation = TOMO_ACT_QUICK_GELU;
    } else if (strcmp(activation, "gelu") == 0) {
        v->activation = TOMO_ACT_GELU;
    } else if (strcmp(activation, "gelu_pytorch_tanh") == 0 || strcmp(activation, "gelu_new") == 0) {
        v->activation = TOMO_ACT_GELU_TANH;
    } else {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: \"%shidden_act\" is \"%.40s\"; quick_gelu, gelu or "
                         "gelu_pytorch_tanh is wanted",
                         at.file, at.section, activation);
    }
    return tomo_vit_check(v, at.file, err);
}

static tomo_status read_three(const cJSON *root, const char *key, double least, const char *file,
                              float out[3], tomo_error *err) {
    const cJSON *list = tomo_json_get(root, key);
    if (list == NULL) return TOMO_OK;
    for (int i = 0; i < 3; i++) {
        const cJSON *item = cJSON_GetArrayItem(list, i);
        if (!cJSON_IsNumber(item) || cJSON_GetArraySize(list) != 3 || !(item->valuedouble >= least) ||
            !(item->valuedouble <= 1e6)) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: \"%s\" must be a list of 3 numbers from %g", file, key,
                             least);
        }
        out[i] = (float)item->valuedouble;
    }
    return TOMO_OK;
}

/* Only mean and standard deviation of the preprocessor count here: slices are resized as pipeline.py does. */
static tomo_status read_statistics(const char *folder, tomo_vit *v, tomo_error *err) {
    memcpy(v->mean, clip_mean, sizeof v->mean);
    memcpy(v->std, clip_std, sizeof v->std);
    char *path = tomo_path_join(folder, "preprocessor_config.json");
    cJSON *root = NULL;
    tomo_status status = TOMO_OK;
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    if (tomo_path_exists(path)) {
        status = tomo_json_open(path, &root, err);
        if (status == TOMO_OK) status = read_three(root, "image_mean", -1e6, path, v->mean, err);
        if (status == TOMO_OK) status = read_three(root, "image_std", 1e-6, path, v->std, err);
        cJSON_Delete(root);
    }
    free(path);
    return status;
}

static void bind_layer(tomo_binder *b, int64_t width, int i, tomo_vit_layer *l) {
    char part[64];
#define NAME(text) (snprintf(part, sizeof part, "encoder.layers.%d." text, i), part)
    const tomo_stored *fc1 = tomo_bind_find(b, "%s", NAME("mlp.fc1.weight"));
    int64_t hidden = fc1 == NULL ? 4 * width : fc1->shape[0]; /* absent: the binding below says so */
    l->norm1_weight = tomo_bind_float(b, 1, &width, "%s", NAME("layer_norm1.weight"));
    l->norm1_bias = tomo_bind_float(b, 1, &width, "%s", NAME("layer_norm1.bias"));
    l->query = tomo_bind_linear(b, width, width, true, "%s", NAME("self_attn.q_proj"));
    l->key = tomo_bind_linear(b, width, width, true, "%s", NAME("self_attn.k_proj"));
    l->value = tomo_bind_linear(b, width, width, true, "%s", NAME("self_attn.v_proj"));
    l->out = tomo_bind_linear(b, width, width, true, "%s", NAME("self_attn.out_proj"));
    l->norm2_weight = tomo_bind_float(b, 1, &width, "%s", NAME("layer_norm2.weight"));
    l->norm2_bias = tomo_bind_float(b, 1, &width, "%s", NAME("layer_norm2.bias"));
    l->fc1 = tomo_bind_linear(b, hidden, width, true, "%s", NAME("mlp.fc1"));
    l->fc2 = tomo_bind_linear(b, width, hidden, true, "%s", NAME("mlp.fc2"));
#undef NAME
}

static void bind_all(tomo_binder *b, tomo_vit *v) {
    int64_t C = v->width, p = v->patch_size, side = v->image_size / p;
    /* transformers 5 saves CLIPVisionModel without the prefix. */
    b->prefix = tomo_bind_has(b, "vision_model.embeddings.class_embedding") ? "vision_model." : "";
    v->class_token = tomo_bind_float(b, 1, &C, "embeddings.class_embedding");
    tomo_tensor kernel = tomo_bind_weight(b, 4, (int64_t[]){C, 3, p, p}, "embeddings.patch_embedding.weight");
    if (kernel.data != NULL) v->patch.weight = tomo_tensor_reshape(&kernel, 2, (int64_t[]){C, 3 * p * p});
    v->positions =
        tomo_bind_float(b, 2, (int64_t[]){1 + side * side, C}, "embeddings.position_embedding.weight");
    v->pre_norm_weight = tomo_bind_float(b, 1, &C, "pre_layrnorm.weight"); /* spelled so */
    v->pre_norm_bias = tomo_bind_float(b, 1, &C, "pre_layrnorm.bias");
    v->norm_weight = tomo_bind_float(b, 1, &C, "post_layernorm.weight");
    v->norm_bias = tomo_bind_float(b, 1, &C, "post_layernorm.bias");
    for (int i = 0; i < (int)v->depth; i++) bind_layer(b, C, i, &v->layers[i]);
    b->prefix = "";
    const tomo_stored *projection = tomo_bind_find(b, "visual_projection.weight");
    if (projection != NULL) {
        v->projection = tomo_bind_linear(b, projection->shape[0], C, false, "visual_projection");
    }
}

tomo_status tomo_clip_load(const char *config_path, const cJSON *config, const char *folder,
                           tomo_binder *binder, tomo_vit *v, tomo_error *err) {
    v->family = "clip";
    const cJSON *vision = tomo_json_get(config, "vision_config");
    tomo_json_at at = {config_path, vision == NULL ? "" : "vision_config."};
    tomo_status status = read_sizes(vision == NULL ? config : vision, at, v, err);
    if (status == TOMO_OK) status = read_statistics(folder, v, err);
    if (status == TOMO_OK) bind_all(binder, v);
    return status;
}
