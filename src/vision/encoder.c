#include "vision/encoder.h"

#include "base/file.h"
#include "weights/pack.h"

#include <stdlib.h>
#include <string.h>

struct tomo_encoder {
    tomo_checkpoint *checkpoint;
    tomo_arena *arena;
    tomo_packs packs;
    tomo_vit vit;
    int64_t bytes, parameters;
};

typedef tomo_status (*load_fn)(const char *config_path, const cJSON *config, const char *folder,
                               tomo_binder *binder, tomo_vit *vit, tomo_error *err);

/* Families by config.json's model_type. */
static const struct {
    const char *model_type;
    load_fn load;
} families[] = {
    {"clip", tomo_clip_load}, {"clip_vision_model", tomo_clip_load}, {"pixels", tomo_pixels_load}};

static tomo_status choose(const char *path, const cJSON *config, load_fn *load, tomo_error *err) {
    const char *type = NULL;
    tomo_status status = tomo_json_text(config, "model_type", (tomo_json_at){path, ""}, true, &type, err);
    if (status != TOMO_OK) return status;
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        if (strcmp(families[i].model_type, type) == 0) {
            *load = families[i].load;
            return TOMO_OK;
        }
    }
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: \"model_type\" is \"%.60s\"; clip, clip_vision_model, pixels or an "
                     "open_clip_config.json is wanted",
                     path, type);
}

/* Finds the family by the configuration file that is there and binds its weights. */
static tomo_status load(tomo_encoder *e, const char *folder, const char *weights, tomo_parameters *parameters,
                        tomo_error *err) {
    char *open_clip = tomo_path_join(folder, "open_clip_config.json"),
         *hf = tomo_path_join(folder, "config.json");
    cJSON *config = NULL;
    load_fn family = tomo_open_clip_load;
    tomo_status status = open_clip == NULL || hf == NULL ? tomo_fail_memory(err, folder, 0) : TOMO_OK;
    if (status == TOMO_OK) {
        bool is_open_clip = tomo_path_exists(open_clip);
        const char *path = is_open_clip ? open_clip : hf;
        status = tomo_json_open(path, &config, err);
        if (status == TOMO_OK && !is_open_clip) status = choose(path, config, &family, err);
        if (status == TOMO_OK && family != tomo_pixels_load)
            status = tomo_checkpoint_open(weights, &e->checkpoint, err);
        tomo_binder binder = {
            .checkpoint = e->checkpoint, .arena = e->arena, .prefix = "", .trainable = parameters};
        if (status == TOMO_OK) status = family(path, config, folder, &binder, &e->vit, err);
        e->bytes = binder.bytes;
        e->parameters = binder.parameters;
        if (status == TOMO_OK && binder.error.status != TOMO_OK) {
            status = binder.error.status;
            if (err != NULL) *err = binder.error;
        }
    }
    cJSON_Delete(config);
    free(open_clip);
    free(hf);
    return status;
}

static tomo_status open_encoder(const char *folder, const char *weights, tomo_parameters *parameters,
                                tomo_encoder **encoder, tomo_error *err) {
    *encoder = NULL;
    tomo_encoder *e = calloc(1, sizeof *e);
    if (e == NULL) return tomo_fail_memory(err, folder, sizeof *e);
    e->arena = tomo_arena_create(0);
    tomo_status status = e->arena == NULL ? tomo_fail_memory(err, folder, 0) : TOMO_OK;
    if (status == TOMO_OK) status = load(e, folder, weights, parameters, err);
    if (status != TOMO_OK) {
        tomo_encoder_free(e);
        return status;
    }
    *encoder = e;
    return TOMO_OK;
}

tomo_status tomo_encoder_open(const char *folder, tomo_encoder **encoder, tomo_error *err) {
    return open_encoder(folder, folder, NULL, encoder, err);
}

tomo_status tomo_encoder_open_weights(const char *folder, const char *weights, tomo_encoder **encoder,
                                      tomo_error *err) {
    return open_encoder(folder, weights, NULL, encoder, err);
}

tomo_status tomo_encoder_open_trainable(const char *folder, tomo_parameters *parameters,
                                        tomo_encoder **encoder, tomo_error *err) {
    return open_encoder(folder, folder, parameters, encoder, err);
}

tomo_status tomo_encoder_pack(tomo_encoder *e, tomo_pool *pool, const tomo_kernels *kernels,
                              tomo_precision precision, tomo_error *err) {
    tomo_status status = TOMO_OK;
    bool half = tomo_packing_is_native(kernels, TOMO_PACK_BF16);
    if (e->vit.is_pixels || precision == TOMO_PRECISION_F32 || (precision == TOMO_PRECISION_FAST && !half))
        return TOMO_OK;
    tomo_packing packing = precision == TOMO_PRECISION_INT8 ? TOMO_PACK_INT8 : TOMO_PACK_BF16;
    if (half)
        status = tomo_packs_add(&e->packs, pool, kernels, e->checkpoint, &e->vit.patch, TOMO_PACK_BF16, err);
    for (int64_t i = 0; i < e->vit.depth; i++) {
        tomo_vit_layer *l = &e->vit.layers[i];
        tomo_linear *layers[] = {&l->qkv, &l->query, &l->key, &l->value, &l->out, &l->fc1, &l->fc2};
        for (size_t k = 0; k < sizeof layers / sizeof layers[0] && status == TOMO_OK; k++) {
            status = tomo_packs_add(&e->packs, pool, kernels, e->checkpoint, layers[k], packing, err);
        }
    }
    return status;
}

void tomo_encoder_free(tomo_encoder *encoder) {
    if (encoder == NULL) return;
    tomo_packs_free(&encoder->packs);
    tomo_checkpoint_free(encoder->checkpoint);
    tomo_arena_free(encoder->arena);
    free(encoder);
}

const tomo_vit *tomo_encoder_vit(const tomo_encoder *encoder) {
    return &encoder->vit;
}

void tomo_encoder_weight_size(const tomo_encoder *encoder, int64_t *bytes, int64_t *parameters) {
    *bytes = encoder->bytes - encoder->packs.saved;
    *parameters = encoder->parameters;
}
