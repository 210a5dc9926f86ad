/* vit3d.h - a 3D vision transformer over all slices: what the connector is held against. Unlike everything
 * else it is trained from nothing on the scans at hand; its features are pixels (vision/pixels.c) or any
 * encoder's.
 *
 *     K  slices     h, w  grid in a slice     C  width of a cell     p  slices of a patch
 *     N = (K / p) h w  patches                d  width */
#ifndef TOMO_FUSION_VIT3D_H
#define TOMO_FUSION_VIT3D_H

#include "fusion/connector.h"

typedef struct tomo_vit3d_block {
    tomo_tensor norm1_weight, norm1_bias, norm2_weight, norm2_bias; /* [d] */
    tomo_linear qkv;                                                /* d -> 3 d */
    tomo_linear out;                                                /* d -> d */
    tomo_linear fc1, fc2;                                           /* d -> r d -> d */
} tomo_vit3d_block;

typedef struct tomo_vit3d {
    tomo_linear patch;                  /* p C -> d */
    tomo_tensor positions;              /* [N, d], learned */
    tomo_tensor norm_weight, norm_bias; /* the final norm [d] */
    tomo_vit3d_block blocks[TOMO_CONNECTOR_BLOCKS];
} tomo_vit3d;

/* Binds patch.*, positions, blocks.I.*, norm.*. */
void tomo_vit3d_bind(tomo_binder *binder, const tomo_connector_config *config, tomo_vit3d *vit);

/* features [K, h, w, C] -> [K / p, h, w, d]: patches embedded and placed, pre-norm blocks with attention over
 * all patches, the final norm. (Dosovitskiy and others, An image is worth 16x16 words, ICLR 2021,
 * section 3.1, in three dimensions and without a class token.) */
tomo_tensor *tomo_vit3d_forward(const tomo_vit3d *vit, const tomo_connector_config *config, tomo_exec *exec,
                                const tomo_tensor *features);

#endif
