#include "train/augment.h"

#include "base/random.h"

#include <stdlib.h>
#include <string.h>

/* The probabilities and ranges of M3D's training transform. */
static const double turn_probability = 0.5, flip_probability = 0.1, intensity_probability = 0.5;
static const double most_change = 0.1;

static double draw_change(tomo_random *r) {
    bool wanted = tomo_random_unit(r) < intensity_probability;
    double change = (2 * tomo_random_unit(r) - 1) * most_change;
    return wanted ? change : 0;
}

tomo_augmentation tomo_augmentation_draw(uint64_t seed, uint64_t epoch, uint64_t index) {
    tomo_random r = tomo_random_in_epoch(seed, epoch, index);
    tomo_augmentation a = {0};
    bool turn = tomo_random_unit(&r) < turn_probability;
    int turns = 1 + (int)(tomo_random_next(&r) % 3);
    if (turn) a.quarter_turns = turns;
    for (int axis = 0; axis < 3; axis++) a.flip[axis] = tomo_random_unit(&r) < flip_probability;
    a.scale = draw_change(&r);
    a.offset = draw_change(&r);
    return a;
}

bool tomo_augmentation_is_none(const tomo_augmentation *a) {
    return a->quarter_turns % 4 == 0 && !a->flip[0] && !a->flip[1] && !a->flip[2] && a->scale == 0 &&
           a->offset == 0;
}

/* Where a voxel of the result comes from, within a plane: (y, x) of the result -> index in the source plane.
 */
typedef struct plane_map {
    int64_t start, step_y, step_x;
} plane_map;

/* numpy.rot90 from axis H to axis W: one turn is out[y][x] = in[x][W - 1 - y]; the flips come behind it. */
static plane_map map_plane(const tomo_augmentation *a, int64_t height, int64_t width, int64_t out_height,
                           int64_t out_width) {
    plane_map m = {0, width, 1};
    switch (a->quarter_turns & 3) {
    case 1:
        m = (plane_map){width - 1, -1, width};
        break;
    case 2:
        m = (plane_map){height * width - 1, -width, -1};
        break;
    case 3:
        m = (plane_map){(height - 1) * width, 1, -width};
        break;
    default:
        break;
    }
    if (a->flip[1]) m = (plane_map){m.start + (out_height - 1) * m.step_y, -m.step_y, m.step_x};
    if (a->flip[2]) m = (plane_map){m.start + (out_width - 1) * m.step_x, m.step_y, -m.step_x};
    return m;
}

void tomo_augment(const tomo_augmentation *a, int64_t channels, int64_t shape[3], float *values,
                  float *scratch) {
    int64_t S = shape[0], height = shape[1], width = shape[2], plane = height * width;
    bool exchanged = (a->quarter_turns & 1) != 0;
    int64_t out_height = exchanged ? width : height, out_width = exchanged ? height : width;
    plane_map m = map_plane(a, height, width, out_height, out_width);
    float factor = (float)(1 + a->scale), offset = (float)a->offset;
    memcpy(scratch, values, (size_t)(channels * S * plane) * sizeof *values);
    for (int64_t p = 0; p < channels * S; p++) {
        int64_t c = p / S, s = p % S;
        const float *from = scratch + (c * S + (a->flip[0] ? S - 1 - s : s)) * plane + m.start;
        float *to = values + p * plane;
        for (int64_t y = 0; y < out_height; y++) {
            for (int64_t x = 0; x < out_width; x++) {
                float v = from[y * m.step_y + x * m.step_x] * factor;
                *to++ = v + offset;
            }
        }
    }
    shape[1] = out_height;
    shape[2] = out_width;
}

tomo_status tomo_augment_slices(const tomo_augmentation *a, tomo_slices *slices, tomo_error *err) {
    int64_t shape[3] = {slices->slices, slices->height, slices->width};
    size_t count = (size_t)(slices->channels * shape[0] * shape[1] * shape[2]);
    if (tomo_augmentation_is_none(a)) return TOMO_OK;
    float *scratch = malloc(count * sizeof *scratch);
    if (scratch == NULL) return tomo_fail_memory(err, "augmentation", count * sizeof *scratch);
    tomo_augment(a, slices->channels, shape, slices->values, scratch);
    free(scratch);
    slices->height = shape[1];
    slices->width = shape[2];
    for (int64_t i = 0, j = shape[0] - 1; a->flip[0] && i < j; i++, j--) {
        int64_t z = slices->source_z[i];
        slices->source_z[i] = slices->source_z[j];
        slices->source_z[j] = z;
    }
    return TOMO_OK;
}
