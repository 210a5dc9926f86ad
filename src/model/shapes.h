/* shapes.h - public model sizes under their public names, for `tomo model new --like` and `tomo bench`. */
#ifndef TOMO_MODEL_SHAPES_H
#define TOMO_MODEL_SHAPES_H

#include "language/decoder.h"
#include "vision/vit.h"

typedef struct tomo_encoder_shape {
    const char *name, *timm_name;
    int64_t width, depth, heads, image_size, patch_size;
} tomo_encoder_shape;

typedef struct tomo_language_shape {
    const char *name;
    tomo_decoder_config config;
    tomo_dtype dtype; /* in which the public checkpoint is stored */
} tomo_language_shape;

/* "ENCODER,LANGUAGE"; either result may be NULL when that part is left out. Unknown names are refused,
 * listing the known ones (TOMO_E_USAGE). */
tomo_status tomo_shapes_find(const char *names, const tomo_encoder_shape **encoder,
                             const tomo_language_shape **language, tomo_error *err);

#endif
