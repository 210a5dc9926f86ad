#include "phantom/draw.h"

static double lattice_at(uint64_t seed, int64_t x, int64_t y, int64_t z) {
    return (double)(int64_t)(tomo_draw_hash(seed, x, y, z) >> 33) * 0x1p-30 - 1;
}

/* Rounds down; the values are within a few thousand. */
static int64_t whole(double v) {
    int64_t n = (int64_t)v;
    return (double)n > v ? n - 1 : n;
}

/* The weight of the further neighbour, level at both ends. */
static double ease(double t) {
    return t * t * (3 - 2 * t);
}

double tomo_draw_smooth(uint64_t seed, double step, double x, double y, double z) {
    x /= step, y /= step, z /= step;
    int64_t i = whole(x), j = whole(y), k = whole(z);
    double u = ease(x - (double)i), v = ease(y - (double)j), w = ease(z - (double)k), plane[2];
    for (int64_t dz = 0; dz < 2; dz++) {
        double a = lattice_at(seed, i, j, k + dz), b = lattice_at(seed, i + 1, j, k + dz);
        double c = lattice_at(seed, i, j + 1, k + dz), d = lattice_at(seed, i + 1, j + 1, k + dz);
        double near = a + (b - a) * u, far = c + (d - c) * u;
        plane[dz] = near + (far - near) * v;
    }
    return plane[0] + (plane[1] - plane[0]) * w;
}
