/* resample.h - volumes and slices to other sizes and spacings. */
#ifndef TOMO_VOLUME_RESAMPLE_H
#define TOMO_VOLUME_RESAMPLE_H

#include "volume/volume.h"

/* Linear interpolation from `in` to `out` samples with align_corners False: source = (i + 0.5) * in / out -
 * 0.5, below 0 is 0. The index is computed in float32, as torch.nn.functional.interpolate does. */
typedef struct tomo_linear_tap {
    int64_t low, high;
    float weight; /* of high; low has 1 - weight */
} tomo_linear_tap;
void tomo_linear_taps(int64_t in, int64_t out, tomo_linear_tap *taps);

/* Trilinear, no antialiasing: torch interpolate(mode "trilinear"), MONAI's Resize("bilinear"). Shapes are z,
 * y, x; `to` holds to_shape's product. */
tomo_status tomo_resize_trilinear(const float *from, const int64_t from_shape[3], float *to,
                                  const int64_t to_shape[3], tomo_error *err);
/* Means over floor(i*in/out) .. ceil((i+1)*in/out): torch adaptive_avg_pool3d. */
void tomo_resize_area(const float *from, const int64_t from_shape[3], float *to, const int64_t to_shape[3]);

typedef enum tomo_spacing_convention {
    TOMO_SPACING_MONAI,    /* monai.transforms.Spacing(mode "bilinear", padding_mode "border"); the default */
    TOMO_SPACING_ORIGIN,   /* first voxel's centre kept, round(n*spacing/new) voxels, as SimpleITK's recipe */
    TOMO_SPACING_SAME_VIEW /* field of view kept: resized to round(n*spacing/new) voxels, true spacing
                              n*spacing/size */
} tomo_spacing_convention;

/* Resamples linearly to spacing_mm (z, y, x, each above 0); coordinates are clamped to the outermost voxels.
 * MONAI's convention makes the grid of a sheared volume (gantry tilt) rectangular; the others keep its shear.
 * *result gets no record and no warnings. More than `most` voxels: TOMO_E_LIMIT. */
tomo_status tomo_volume_resample(const tomo_volume *volume, const double spacing_mm[3],
                                 tomo_spacing_convention convention, int64_t most, const tomo_hooks *hooks,
                                 tomo_volume **result, tomo_error *err);

#endif
