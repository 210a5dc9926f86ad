/* image.h - pictures to the input size of a 2D encoder, with the results of Pillow.
 *
 * Pillow's bicubic (a = -0.5) widens its kernel when it shrinks, so it does not alias. Two flavours: float
 * planes (mode "F", sums in double, values may overshoot) and bytes (22-bit coefficients, rounded and clamped
 * after each pass). Preprocessing is that of tests/reference/vision/README.md. */
#ifndef TOMO_VOLUME_IMAGE_H
#define TOMO_VOLUME_IMAGE_H

#include "volume/slices.h"

/* Coefficients for one pair of sizes, made once and used for many planes; immutable, so threads may share it.
 */
typedef struct tomo_image_resizer tomo_image_resizer;
tomo_status tomo_image_resizer_create(int64_t height, int64_t width, int64_t to_height, int64_t to_width,
                                      tomo_image_resizer **resizer, tomo_error *err);
void tomo_image_resizer_free(tomo_image_resizer *resizer);

/* Floats that `work` of tomo_image_resize_float must hold; bytes for tomo_image_resize_bytes. */
size_t tomo_image_resizer_work(const tomo_image_resizer *resizer);
/* from [height][width] -> to [to_height][to_width]. */
void tomo_image_resize_float(const tomo_image_resizer *resizer, const float *from, float *work, float *to);
void tomo_image_resize_bytes(const tomo_image_resizer *resizer, const uint8_t *from, uint8_t *work,
                             uint8_t *to);

/* The size at which the shorter edge is `edge`: the longer becomes int(edge * longer / shorter). */
void tomo_image_shortest_edge(int64_t height, int64_t width, int64_t edge, int64_t *to_height,
                              int64_t *to_width);
/* Where a centre crop of `crop` begins on an axis of `length`: floor((length - crop) / 2) as transformers, or
 * rounded half to even as torchvision and open_clip. Negative when the axis is shorter (then zeros are
 * padded). */
int64_t tomo_image_crop_offset(int64_t length, int64_t crop, bool torchvision);

/* Slices [first, first + count) -> pixels [count][3][size][size] = (resized - mean) / std; one channel is
 * repeated to three. Bit-identical for any split into ranges, so a caller may spread ranges over threads.
 * `resizer` is that of (slices->height, slices->width, size, size); `work` holds tomo_image_encode_work
 * floats and is one a thread. */
size_t tomo_image_encode_work(const tomo_image_resizer *resizer, int64_t size);
void tomo_image_encode_slices(const tomo_slices *slices, const tomo_image_resizer *resizer, int64_t first,
                              int64_t count, int64_t size, const float mean[3], const float std[3],
                              float *work, float *pixels);

#endif
