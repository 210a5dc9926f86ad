/* encoder.h - a frozen, pre-trained 2D encoder from its public checkpoint. */
#ifndef TOMO_VISION_ENCODER_H
#define TOMO_VISION_ENCODER_H

#include "tensor/packed.h"
#include "vision/vit.h"

typedef struct tomo_encoder tomo_encoder;

/* folder: as downloaded, with config.json (CLIP of transformers) or open_clip_config.json (timm towers,
 * BiomedCLIP). Immutable after opening. Another family: TOMO_E_UNSUPPORTED, naming it. */
tomo_status tomo_encoder_open(const char *folder, tomo_encoder **encoder, tomo_error *err);
/* The same with the weights of another file than the folder's own. */
tomo_status tomo_encoder_open_weights(const char *folder, const char *weights, tomo_encoder **encoder,
                                      tomo_error *err);
/* Brings the linear layers into a faster form (packed.h); once, before the encoder is used. int8: in whole
 * numbers with a scale an output, but for the patch embedding, which reads pixels; else in BF16 where the CPU
 * has it. */
tomo_status tomo_encoder_pack(tomo_encoder *encoder, tomo_pool *pool, const tomo_kernels *kernels,
                              tomo_precision precision, tomo_error *err);
/* The same for training: weights are float copies with gradients, listed in `parameters`. */
tomo_status tomo_encoder_open_trainable(const char *folder, tomo_parameters *parameters,
                                        tomo_encoder **encoder, tomo_error *err);
void tomo_encoder_free(tomo_encoder *encoder);

/* The network, for sizes, pixel statistics and tomo_vit_forward. */
const tomo_vit *tomo_encoder_vit(const tomo_encoder *encoder);
/* Bytes of the image tower's weights in the form that is read, and their number. */
void tomo_encoder_weight_size(const tomo_encoder *encoder, int64_t *bytes, int64_t *parameters);

#endif
