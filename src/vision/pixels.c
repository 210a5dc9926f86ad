/* pixels.c - no network at all: a patch's features are its pixels, scaled to -1 .. 1. What a 3D network that
 * is trained from nothing reads, by the same path as an encoder's features.
 *
 * config.json: {"model_type": "pixels", "image_size", "patch_size"}; there are no weights. */
#include "vision/vit.h"

tomo_status tomo_pixels_load(const char *config_path, const cJSON *config, const char *folder,
                             tomo_binder *binder, tomo_vit *v, tomo_error *err) {
    static const char *const known[] = {"model_type", "image_size", "patch_size", NULL};
    tomo_json_at at = {config_path, ""};
    (void)folder;
    (void)binder;
    tomo_status status = tomo_json_only(config, at, known, err);
    if (status == TOMO_OK)
        status = tomo_json_int(config, "image_size", at, true, 1, 8192, &v->image_size, err);
    if (status == TOMO_OK)
        status = tomo_json_int(config, "patch_size", at, true, 1, 128, &v->patch_size, err);
    v->family = "pixels";
    v->is_pixels = true;
    v->width = 3 * v->patch_size * v->patch_size;
    v->heads = 1;
    for (int i = 0; i < 3; i++) v->mean[i] = v->std[i] = 0.5f;
    return status == TOMO_OK ? tomo_vit_check(v, config_path, err) : status;
}
