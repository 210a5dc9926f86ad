/* render.h - a patient as CT voxels, and what can be measured in them. */
#ifndef TOMO_PHANTOM_RENDER_H
#define TOMO_PHANTOM_RENDER_H

#include "phantom/tissue.h"
#include "tensor/pool.h"
#include "volume/volume.h"

/* What the scan holds of a tissue. */
typedef struct tomo_extent {
    double volume_ml;         /* 0: not in the scan, and the others mean nothing */
    double bottom_mm, top_mm; /* along z, in the patient (shape.h) */
} tomo_extent;

/* Freed by tomo_render_free. */
typedef struct tomo_render {
    int16_t *hu;          /* [z][y][x], canonical order */
    int64_t shape[3];     /* z, y, x */
    double spacing_mm[3]; /* z, y, x */
    tomo_affine affine_ras;
    tomo_extent extents[TOMO_TISSUES];
} tomo_render;

/* What one slice shows of a tissue, in mm across z in the patient (shape.h), sides those of usual anatomy. */
typedef struct tomo_spot {
    double area_mm2; /* the mean over the slice's thickness; 0: not there, and the others mean nothing */
    double centre[2], low[2], high[2]; /* x, y */
} tomo_spot;

/* Neighbouring slices of a scan. */
typedef struct tomo_slab {
    int64_t first, count;
} tomo_slab;

/* shape: z, y, x, each 8 to 1024; of a patient that is covered in part, z from 1 on. The same for any number
 * of threads of the pool; NULL: this thread alone. */
tomo_status tomo_render_make(const tomo_patient *patient, const int64_t shape[3], tomo_pool *pool,
                             tomo_render *render, tomo_error *err);
/* Neighbouring slices, a range within 0 .. shape[0], of the scan that tomo_render_make makes: the same
 * voxels, and what they show; spots[slices.count][TOMO_TISSUES]. render->shape[0] is slices.count. */
tomo_status tomo_render_slices(const tomo_patient *patient, const int64_t shape[3], tomo_slab slices,
                               tomo_render *render, tomo_spot *spots, tomo_error *err);
void tomo_render_free(tomo_render *render);

/* Over several tissues, as of one body. */
tomo_extent tomo_render_extent(const tomo_render *render, uint64_t tissues);

/* The voxels as a volume in HU, freed by tomo_volume_free. */
tomo_status tomo_render_volume(const tomo_render *render, tomo_volume **volume, tomo_error *err);

#endif
