/* write.h - volumes as files, each written whole or not at all. */
#ifndef TOMO_VOLUME_WRITE_H
#define TOMO_VOLUME_WRITE_H

#include "volume/volume.h"

/* Float32 in canonical order with the affine as sform (and as qform unless the grid is sheared); gzip when
 * the name ends in .gz. An axis of over 32767 voxels does not fit the format: TOMO_E_UNSUPPORTED. */
tomo_status tomo_volume_write_nifti(const tomo_volume *volume, const char *path, const tomo_hooks *hooks,
                                    tomo_error *err);
/* The same in int16, for voxels that are whole numbers of its range (HU of a CT); gzip as fast as it can,
 * since the noise of a CT hardly packs better. For one of many files of a new folder: it is not synced
 * (tomo_folder_sync does that). */
tomo_status tomo_volume_write_nifti_whole(const tomo_volume *volume, const char *path, tomo_error *err);
/* Float32 [z][y][x]. */
tomo_status tomo_volume_write_npy(const tomo_volume *volume, const char *path, tomo_error *err);
/* Float32 [1][D][H][W] in 0..1 by M3D's chain: min-max, crop to the foreground, resize. size (D, H, W) NULL:
 * the benchmark's 32 x 256 x 256. */
tomo_status tomo_volume_write_m3d(const tomo_volume *volume, const int64_t size[3], const char *path,
                                  const tomo_hooks *hooks, tomo_error *err);
/* A new folder with 0000.png (the lowest slice) and so on, 8-bit grey, pixels as stored. A folder that exists
 * must be empty. picture NULL: from the smallest voxel to the largest. */
tomo_status tomo_volume_write_png(const tomo_volume *volume, const char *path,
                                  const tomo_picture_options *picture, const tomo_hooks *hooks,
                                  tomo_error *err);

/* All slices in rows on one PNG, each with its number (0 is the lowest) and the patient's sides R, L, A, P,
 * in true proportions. picture->kept: these slices get a coloured frame. */
tomo_status tomo_contact_sheet_write(const tomo_volume *volume, const char *path,
                                     const tomo_picture_options *picture, const tomo_hooks *hooks,
                                     tomo_error *err);

#endif
