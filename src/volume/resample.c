#include "volume/resample.h"

#include "base/size.h"
#include "volume/geometry.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ sizes */

void tomo_linear_taps(int64_t in, int64_t out, tomo_linear_tap *taps) {
    float scale = (float)in / (float)out;
    for (int64_t i = 0; i < out; i++) {
        float source = scale * ((float)i + 0.5F) - 0.5F;
        if (source < 0) source = 0;
        int64_t low = (int64_t)source;
        if (low > in - 1) low = in - 1;
        float weight = source - (float)low;
        taps[i] = (tomo_linear_tap){low, low < in - 1 ? low + 1 : low, weight > 1 ? 1 : weight};
    }
}

static float blend(float a, float b, float weight) {
    return (1 - weight) * a + weight * b;
}

tomo_status tomo_resize_trilinear(const float *from, const int64_t from_shape[3], float *to,
                                  const int64_t to_shape[3], tomo_error *err) {
    size_t n = (size_t)to_shape[0] + (size_t)to_shape[1] + (size_t)to_shape[2];
    tomo_linear_tap *taps = malloc(n * sizeof *taps);
    if (taps == NULL) return tomo_fail_memory(err, "resize", n * sizeof *taps);
    tomo_linear_tap *tz = taps, *ty = tz + to_shape[0], *tx = ty + to_shape[1];
    const int64_t row = from_shape[2], plane = from_shape[1] * from_shape[2];
    tomo_linear_taps(from_shape[0], to_shape[0], tz);
    tomo_linear_taps(from_shape[1], to_shape[1], ty);
    tomo_linear_taps(from_shape[2], to_shape[2], tx);
    for (int64_t z = 0; z < to_shape[0]; z++) {
        for (int64_t y = 0; y < to_shape[1]; y++) {
            const float *a = from + tz[z].low * plane + ty[y].low * row,
                        *b = from + tz[z].low * plane + ty[y].high * row;
            const float *c = from + tz[z].high * plane + ty[y].low * row,
                        *d = from + tz[z].high * plane + ty[y].high * row;
            for (int64_t x = 0; x < to_shape[2]; x++) {
                tomo_linear_tap t = tx[x];
                float near = blend(blend(a[t.low], a[t.high], t.weight), blend(b[t.low], b[t.high], t.weight),
                                   ty[y].weight);
                float far = blend(blend(c[t.low], c[t.high], t.weight), blend(d[t.low], d[t.high], t.weight),
                                  ty[y].weight);
                *to++ = blend(near, far, tz[z].weight);
            }
        }
    }
    free(taps);
    return TOMO_OK;
}

static void area_window(int64_t i, int64_t in, int64_t out, int64_t *begin, int64_t *end) {
    *begin = i * in / out;
    *end = tomo_pieces((i + 1) * in, out);
}

void tomo_resize_area(const float *from, const int64_t from_shape[3], float *to, const int64_t to_shape[3]) {
    for (int64_t z = 0; z < to_shape[0]; z++) {
        for (int64_t y = 0; y < to_shape[1]; y++) {
            for (int64_t x = 0; x < to_shape[2]; x++) {
                int64_t z0, z1, y0, y1, x0, x1;
                area_window(z, from_shape[0], to_shape[0], &z0, &z1);
                area_window(y, from_shape[1], to_shape[1], &y0, &y1);
                area_window(x, from_shape[2], to_shape[2], &x0, &x1);
                double sum = 0;
                for (int64_t k = z0; k < z1; k++) {
                    for (int64_t j = y0; j < y1; j++) {
                        const float *row = from + (k * from_shape[1] + j) * from_shape[2];
                        for (int64_t i = x0; i < x1; i++) sum += (double)row[i];
                    }
                }
                *to++ = (float)(sum / (double)((z1 - z0) * (y1 - y0) * (x1 - x0)));
            }
        }
    }
}

/* ------------------------------------------------------------------ spacing */

/* The new grid: shape (z, y, x) and its affine. */
typedef struct target {
    int64_t shape[3];
    tomo_affine affine;
} target;

/* Voxel index (x, y, z) to mm. */
static void to_world(const tomo_affine *a, const double index[3], double world[3]) {
    for (int r = 0; r < 3; r++) {
        world[r] = a->m[r][0] * index[0] + a->m[r][1] * index[1] + a->m[r][2] * index[2] + a->m[r][3];
    }
}

static void set_origin(tomo_affine *a, const double world[3]) {
    for (int r = 0; r < 3; r++) a->m[r][3] = world[r];
}

/* MONAI's zoom_affine: the grid's directions made rectangular (Cholesky there; Gram-Schmidt is the same),
 * times the new spacing. The origin stays 0. */
static tomo_affine zoom(const tomo_affine *a, const double xyz[3]) {
    tomo_affine z = tomo_affine_identity();
    double q[3][3]; /* q[c]: direction of axis c */
    for (int c = 0; c < 3; c++) {
        for (int r = 0; r < 3; r++) q[c][r] = a->m[r][c];
        for (int p = 0; p < c; p++) {
            double along = q[c][0] * q[p][0] + q[c][1] * q[p][1] + q[c][2] * q[p][2];
            for (int r = 0; r < 3; r++) q[c][r] -= along * q[p][r];
        }
        double length = sqrt(q[c][0] * q[c][0] + q[c][1] * q[c][1] + q[c][2] * q[c][2]);
        for (int r = 0; r < 3; r++) {
            q[c][r] /= length;
            z.m[r][c] = q[c][r] * xyz[c];
        }
    }
    return z;
}

static double as_size(double size) {
    return fmin(fmax(size, 1), 1e15); /* the limit on voxels refuses what is too large */
}

/* MONAI's compute_shape_offset: the new grid spans the centres of the corner voxels; it starts at the corner
 * that is the smallest on all axes, or, in a sheared volume without such a corner, around the same centre. */
static void monai_target(const tomo_volume *v, const double xyz[3], target *t) {
    double corner[8][3], low[3] = {INFINITY, INFINITY, INFINITY}, high[3] = {-INFINITY, -INFINITY, -INFINITY};
    tomo_affine inverse;
    t->affine = zoom(&v->affine_ras, xyz);
    (void)tomo_affine_invert(&t->affine, &inverse); /* directions at right angles: it has one */
    tomo_affine across = tomo_affine_multiply(&inverse, &v->affine_ras);
    for (int i = 0; i < 8; i++) { /* x slowest, as numpy's meshgrid with "ij" */
        const double index[3] = {i & 4 ? (double)v->shape[2] - 1 : 0, i & 2 ? (double)v->shape[1] - 1 : 0,
                                 i & 1 ? (double)v->shape[0] - 1 : 0};
        to_world(&across, index, corner[i]);
        for (int c = 0; c < 3; c++) {
            low[c] = fmin(low[c], corner[i][c]);
            high[c] = fmax(high[c], corner[i][c]);
        }
    }
    for (int c = 0; c < 3; c++) t->shape[2 - c] = (int64_t)as_size(rint(high[c] - low[c] + 1));
    double world[3], first[3], middle[3], half[3];
    bool found = false;
    for (int i = 0; i < 8 && !found; i++) {
        found = corner[i][0] - low[0] < 1e-8 && corner[i][1] - low[1] < 1e-8 && corner[i][2] - low[2] < 1e-8;
        if (found) memcpy(first, corner[i], sizeof first);
    }
    if (!found) {
        for (int c = 0; c < 3; c++) {
            half[c] = ((double)v->shape[2 - c] - 1) / 2;
            middle[c] = ((double)t->shape[2 - c] - 1) / 2;
        }
        to_world(&across, half, first);
        for (int c = 0; c < 3; c++) first[c] -= middle[c];
    }
    to_world(&t->affine, first, world);
    set_origin(&t->affine, world);
}

/* The other two conventions keep the grid's directions; `true_spacing` stretches it over the same field of
 * view. */
static void plain_target(const tomo_volume *v, const double xyz[3], bool same_view, target *t) {
    double spacing[3], first[3], world[3];
    tomo_affine_spacing(&v->affine_ras, spacing);
    t->affine = v->affine_ras;
    for (int c = 0; c < 3; c++) {
        double n = (double)v->shape[2 - c];
        t->shape[2 - c] = (int64_t)as_size(rint(n * spacing[c] / xyz[c]));
        double step = same_view ? n / (double)t->shape[2 - c] : xyz[c] / spacing[c]; /* in old voxels */
        for (int r = 0; r < 3; r++) t->affine.m[r][c] *= step;
        first[c] = same_view ? (step - 1) / 2 : 0;
    }
    to_world(&v->affine_ras, first, world);
    set_origin(&t->affine, world);
}

/* The value at (x, y, z), clamped to the volume. */
static float sample(const tomo_volume *v, const double at[3]) {
    int64_t low[3], high[3];
    double weight[3];
    for (int c = 0; c < 3; c++) {
        double p = fmin(fmax(at[c], 0), (double)v->shape[2 - c] - 1);
        low[c] = (int64_t)p;
        high[c] = low[c] < v->shape[2 - c] - 1 ? low[c] + 1 : low[c];
        weight[c] = p - (double)low[c];
    }
    double value[2];
    for (int k = 0; k < 2; k++) {
        const float *plane = v->voxels + (k == 0 ? low[2] : high[2]) * v->shape[1] * v->shape[2];
        const float *a = plane + low[1] * v->shape[2], *b = plane + high[1] * v->shape[2];
        double p = (double)a[low[0]] + weight[0] * ((double)a[high[0]] - (double)a[low[0]]);
        double q = (double)b[low[0]] + weight[0] * ((double)b[high[0]] - (double)b[low[0]]);
        value[k] = p + weight[1] * (q - p);
    }
    return (float)(value[0] + weight[2] * (value[1] - value[0]));
}

static tomo_status sample_all(const tomo_volume *v, const target *t, const tomo_hooks *hooks, float *out,
                              tomo_error *err) {
    tomo_affine inverse;
    if (!tomo_affine_invert(&v->affine_ras, &inverse)) {
        return tomo_fail(err, TOMO_E_HEADER, "volume: the affine is singular");
    }
    tomo_affine back = tomo_affine_multiply(&inverse, &t->affine);
    for (int64_t z = 0; z < t->shape[0]; z++) {
        tomo_status status = tomo_progress(hooks, "resampling", z, t->shape[0], err);
        if (status != TOMO_OK) return status;
        for (int64_t y = 0; y < t->shape[1]; y++) {
            for (int64_t x = 0; x < t->shape[2]; x++) {
                const double index[3] = {(double)x, (double)y, (double)z};
                double at[3];
                to_world(&back, index, at);
                *out++ = sample(v, at);
            }
        }
    }
    return TOMO_OK;
}

tomo_status tomo_volume_resample(const tomo_volume *v, const double spacing_mm[3],
                                 tomo_spacing_convention convention, int64_t most, const tomo_hooks *hooks,
                                 tomo_volume **result, tomo_error *err) {
    const double xyz[3] = {spacing_mm[2], spacing_mm[1], spacing_mm[0]};
    target t;
    *result = NULL;
    for (int c = 0; c < 3; c++) {
        if (!(xyz[c] > 0) || !isfinite(xyz[c])) {
            return tomo_fail(err, TOMO_E_USAGE, "spacing: %g mm; a number above 0 is wanted", xyz[c]);
        }
    }
    if (convention == TOMO_SPACING_MONAI) {
        monai_target(v, xyz, &t);
    } else {
        plain_target(v, xyz, convention == TOMO_SPACING_SAME_VIEW, &t);
    }
    int64_t voxels = 0;
    if (!tomo_shape_count(t.shape, 3, &voxels) || voxels > most) {
        return tomo_fail(err, TOMO_E_LIMIT, "spacing: %g x %g x %g mm would make more than %lld voxels",
                         xyz[0], xyz[1], xyz[2], (long long)most);
    }
    float *out = malloc((size_t)voxels * sizeof *out);
    if (out == NULL) return tomo_fail_memory(err, "resampling", (size_t)voxels * sizeof *out);
    tomo_status status = sample_all(v, &t, hooks, out, err);
    if (status == TOMO_OK) status = tomo_volume_create(out, t.shape, &t.affine, v->intensity, result, err);
    if (status == TOMO_OK) (*result)->spacing_unknown = v->spacing_unknown;
    if (status != TOMO_OK) free(out);
    return status;
}
