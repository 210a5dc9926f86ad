/* vit.h - the vision transformer that every 2D encoder here is, whatever its checkpoint calls the weights.
 *
 *     S  images     N = 1 + P  tokens (class token first, then patches row by row)     C  width
 *
 * A family (clip.c, open_clip.c) fills in sizes and weights; adding one means one such file and a line in
 * encoder.c. */
#ifndef TOMO_VISION_VIT_H
#define TOMO_VISION_VIT_H

#include "base/json.h"
#include "weights/bind.h"

/* ViT-G has 48. */
#define TOMO_VIT_LAYERS 64

typedef struct tomo_vit_layer {
    tomo_tensor norm1_weight, norm1_bias; /* [C] */
    tomo_linear qkv;                      /* C -> 3 C, or absent, and: */
    tomo_linear query, key, value;        /* C -> C */
    tomo_linear out;                      /* C -> C */
    tomo_tensor norm2_weight, norm2_bias;
    tomo_linear fc1, fc2; /* C -> M -> C */
} tomo_vit_layer;

typedef struct tomo_vit {
    const char *family; /* "clip", "open_clip", "pixels" */
    bool is_pixels; /* no network: the only state, 0, is the patches' pixels; nothing of the rest is there */
    int64_t width, depth, heads, image_size, patch_size;
    double eps;
    tomo_activation activation;
    bool antialias;          /* how the position table is resampled for other image sizes */
    tomo_linear patch;       /* 3 p p -> C */
    tomo_tensor class_token; /* [C] */
    tomo_tensor positions;   /* [N of the native size, C] */
    tomo_tensor pre_norm_weight, pre_norm_bias; /* [C], or absent */
    tomo_tensor norm_weight, norm_bias;         /* the final norm [C] */
    tomo_linear projection;                     /* C -> embedding, no bias, or absent */
    bool final_norm_in_states;                  /* last_hidden_state is after the final norm */
    float mean[3], std[3];                      /* of the pixels, as the checkpoint's preprocessor says */
    tomo_vit_layer layers[TOMO_VIT_LAYERS];
} tomo_vit;

/* pixels [S, 3, H, W], normalised. wanted[count]: indices into the hidden states, 0 = what layer 0 receives,
 * `depth` = the last layer's output after the final norm. Writes to states[i] the patch tokens of that state,
 * [S, P, C]; false after a failure. Shows (trace) embeddings, hidden_states.i (never normed),
 * last_hidden_state, pooler_output, image_embeds_unnormalised, image_embeds as the reference names them. */
bool tomo_vit_forward(const tomo_vit *vit, tomo_exec *exec, const tomo_tensor *pixels, const int64_t *wanted,
                      int count, tomo_tensor *const *states);

/* What stands for a whole picture: the class token, or the mean of its patches. */
typedef enum tomo_pooling { TOMO_POOLING_CLASS, TOMO_POOLING_MEAN } tomo_pooling;

/* pixels [S, 3, H, W] of the native size where positions are trained -> [S, C], taken after the final norm.
 * May leave notes on a tape. */
tomo_tensor *tomo_vit_pool(const tomo_vit *vit, tomo_exec *exec, const tomo_tensor *pixels,
                           tomo_pooling pooling);

/* Resamples the patch rows of a position table [1 + side * side, C] to rows x columns -> [1 + rows * columns,
 * C]; bicubic, align_corners false. antialias: a = -0.5 and a support that grows with the step, weights
 * renormalised at the border; else a = -0.75 and edge-clamped taps (torch.nn.functional.interpolate). */
tomo_tensor *tomo_vit_positions(tomo_exec *exec, const tomo_tensor *table, int64_t rows, int64_t columns,
                                bool antialias);

/* Loaders of the families: fill in vit from the folder's configuration and bind its weights. */
tomo_status tomo_clip_load(const char *config_path, const cJSON *config, const char *folder,
                           tomo_binder *binder, tomo_vit *vit, tomo_error *err);
tomo_status tomo_open_clip_load(const char *config_path, const cJSON *config, const char *folder,
                                tomo_binder *binder, tomo_vit *vit, tomo_error *err);

tomo_status tomo_pixels_load(const char *config_path, const cJSON *config, const char *folder,
                             tomo_binder *binder, tomo_vit *vit, tomo_error *err);

/* What an open_clip checkpoint of these sizes holds, for making one. */
void tomo_open_clip_parameters(const tomo_vit *sizes, tomo_parameter_fn tell, void *user);

/* Sizes that no loader may pass on: positive, heads dividing the width, depth within TOMO_VIT_LAYERS. */
tomo_status tomo_vit_check(const tomo_vit *vit, const char *config_path, tomo_error *err);

#endif
