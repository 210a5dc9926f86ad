#include "volume/geometry.h"

#include <float.h>
#include <math.h>

tomo_affine tomo_affine_identity(void) {
    return (tomo_affine){{{1, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 1}}};
}

tomo_affine tomo_affine_multiply(const tomo_affine *a, const tomo_affine *b) {
    tomo_affine product;
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < 4; c++) {
            double sum = 0;
            for (int i = 0; i < 4; i++) sum += a->m[r][i] * b->m[i][c];
            product.m[r][c] = sum;
        }
    }
    return product;
}

/* The 3x3 part's cofactor of element (r, c), sign included. */
static double cofactor(const double m[3][3], int r, int c) {
    int r1 = (r + 1) % 3, r2 = (r + 2) % 3, c1 = (c + 1) % 3, c2 = (c + 2) % 3;
    return m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1];
}

static bool invert3(const double m[3][3], double inverse[3][3]) {
    double determinant = 0, scale = 1;
    for (int c = 0; c < 3; c++) {
        determinant += m[0][c] * cofactor(m, 0, c);
        scale *= sqrt(m[0][c] * m[0][c] + m[1][c] * m[1][c] + m[2][c] * m[2][c]);
    }
    /* Relative to the columns' lengths: 1 for a rectangular grid, 0 for a flat one. */
    if (!isfinite(determinant) || !(fabs(determinant) > 1e-6 * scale) || fabs(determinant) < DBL_MIN) {
        return false;
    }
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 3; c++) inverse[r][c] = cofactor(m, c, r) / determinant;
    }
    return true;
}

static void linear_part(const tomo_affine *a, double m[3][3]) {
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 3; c++) m[r][c] = a->m[r][c];
    }
}

bool tomo_affine_invert(const tomo_affine *a, tomo_affine *inverse) {
    double m[3][3], n[3][3];
    linear_part(a, m);
    if (!invert3(m, n)) return false;
    *inverse = tomo_affine_identity();
    for (int r = 0; r < 3; r++) {
        double shift = 0;
        for (int c = 0; c < 3; c++) {
            inverse->m[r][c] = n[r][c];
            shift -= n[r][c] * a->m[c][3];
        }
        inverse->m[r][3] = shift;
        if (!isfinite(shift)) return false;
    }
    return true;
}

bool tomo_affine_is_usable(const tomo_affine *a) {
    tomo_affine inverse;
    return tomo_affine_invert(a, &inverse);
}

void tomo_affine_flip_lps(tomo_affine *a) {
    for (int r = 0; r < 2; r++) {
        for (int c = 0; c < 4; c++) a->m[r][c] = -a->m[r][c] + 0.0; /* + 0.0: no negative zero */
    }
}

void tomo_affine_spacing(const tomo_affine *a, double spacing[3]) {
    for (int c = 0; c < 3; c++) {
        spacing[c] = sqrt(a->m[0][c] * a->m[0][c] + a->m[1][c] * a->m[1][c] + a->m[2][c] * a->m[2][c]);
    }
}

void tomo_volume_set_affine(tomo_volume *volume, const tomo_affine *affine_ras) {
    double xyz[3];
    tomo_affine_spacing(affine_ras, xyz);
    volume->affine_ras = *affine_ras;
    for (int i = 0; i < 3; i++) volume->spacing_mm[i] = xyz[2 - i];
}

double tomo_affine_obliquity(const tomo_affine *a) {
    double spacing[3], worst = 0;
    tomo_affine_spacing(a, spacing);
    for (int r = 0; r < 3; r++) {
        double best = 0;
        for (int c = 0; c < 3; c++) best = fmax(best, fabs(a->m[r][c]) / spacing[c]);
        worst = fmax(worst, acos(fmin(best, 1.0)));
    }
    return worst;
}

/* The rotation closest to the grid's directions (the orthogonal factor of the polar decomposition), by
 * Newton's iteration; nibabel takes it from a singular value decomposition. */
static void closest_rotation(const tomo_affine *a, double rotation[3][3]) {
    double spacing[3], inverse[3][3];
    tomo_affine_spacing(a, spacing);
    linear_part(a, rotation);
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 3; c++) rotation[r][c] /= spacing[c];
    }
    for (int step = 0; step < 100; step++) {
        if (!invert3((const double(*)[3])rotation, inverse)) return;
        double change = 0;
        for (int r = 0; r < 3; r++) {
            for (int c = 0; c < 3; c++) {
                double next = 0.5 * (rotation[r][c] + inverse[c][r]);
                change = fmax(change, fabs(next - rotation[r][c]));
                inverse[c][r] = next; /* read once, then free for the result */
            }
        }
        for (int r = 0; r < 3; r++) {
            for (int c = 0; c < 3; c++) rotation[r][c] = inverse[c][r];
        }
        if (change < 1e-15) return;
    }
}

/* For each stored axis the world axis closest to it, and whether it runs against it. Each world axis is taken
 * once, in the order of the stored axes (nibabel.orientations.io_orientation). */
static void closest_axes(const tomo_affine *a, int world[3], bool against[3]) {
    double rotation[3][3];
    closest_rotation(a, rotation);
    bool taken[3] = {false, false, false};
    for (int in = 0; in < 3; in++) {
        int best = -1;
        for (int out = 0; out < 3; out++) {
            if (!taken[out] && (best < 0 || fabs(rotation[out][in]) > fabs(rotation[best][in]))) best = out;
        }
        world[in] = best;
        against[in] = rotation[best][in] < 0;
        taken[best] = true;
    }
}

void tomo_placement_compute(const int64_t count[3], const tomo_affine *affine, tomo_placement *p) {
    int world[3];
    bool against[3];
    closest_axes(affine, world, against);
    *p = (tomo_placement){.count = {count[0], count[1], count[2]}};
    for (int in = 0; in < 3; in++) p->shape[2 - world[in]] = count[in];
    const int64_t step[3] = {1, p->shape[2], p->shape[1] * p->shape[2]}; /* of canonical x, y, z */
    tomo_affine to_stored = {0}; /* canonical (x, y, z, 1) -> stored (i, j, k, 1) */
    to_stored.m[3][3] = 1;
    for (int in = 0; in < 3; in++) {
        int w = world[in];
        bool flip = w == 2 ? against[in] : !against[in]; /* x to Left and y to Posterior, z to Superior */
        p->stride[in] = (ptrdiff_t)(flip ? -step[w] : step[w]);
        if (flip) p->base += (count[in] - 1) * step[w];
        to_stored.m[in][w] = flip ? -1 : 1;
        to_stored.m[in][3] = flip ? (double)(count[in] - 1) : 0;
    }
    p->affine = tomo_affine_multiply(affine, &to_stored);
}
