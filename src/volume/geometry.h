/* geometry.h - affines and the way from a stored grid to the canonical one.
 *
 * World coordinates are RAS millimetres, as in nibabel; DICOM, ITK and NRRD speak LPS, which negates x and y.
 */
#ifndef TOMO_VOLUME_GEOMETRY_H
#define TOMO_VOLUME_GEOMETRY_H

#include "volume/volume.h"

tomo_affine tomo_affine_identity(void);
tomo_affine tomo_affine_multiply(const tomo_affine *a, const tomo_affine *b);
/* False when the matrix is not finite or singular (columns of length 0 or in one plane). */
bool tomo_affine_invert(const tomo_affine *a, tomo_affine *inverse);
/* Whether tomo_affine_invert would succeed. */
bool tomo_affine_is_usable(const tomo_affine *a);
/* Negates the rows of x and y: LPS to RAS and back. */
void tomo_affine_flip_lps(tomo_affine *a);
/* Lengths of the first three columns. */
void tomo_affine_spacing(const tomo_affine *a, double spacing[3]);
/* Sets affine and spacing of a volume. */
void tomo_volume_set_affine(tomo_volume *volume, const tomo_affine *affine_ras);
/* The largest angle (radians) between a world axis and the grid axis closest to it, as
 * nibabel.affines.obliquity. */
double tomo_affine_obliquity(const tomo_affine *a);

/* Where the voxels of a stored grid go in the canonical array. */
typedef struct tomo_placement {
    int64_t count[3];    /* stored axes i, j, k; i is the fastest in the file */
    int64_t base;        /* canonical offset of voxel (0, 0, 0), in voxels */
    ptrdiff_t stride[3]; /* canonical step for one step of i, j, k */
    int64_t shape[3];    /* canonical z, y, x */
    tomo_affine affine;  /* canonical (x, y, z, 1) -> RAS mm */
} tomo_placement;

/* Axes are permuted and flipped to the closest canonical ones (as nibabel's as_closest_canonical, then x to
 * Left and y to Posterior); nothing is resampled. `affine`: stored (i, j, k, 1) -> RAS mm, must be usable. */
void tomo_placement_compute(const int64_t count[3], const tomo_affine *affine, tomo_placement *placement);

#endif
