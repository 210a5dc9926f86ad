#include "phantom/shape.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ making */

/* rotation = Z Y X, each by the angle whose half has the tangent t: cos = (1 - t t) / (1 + t t). */
static void rotation_of(const double turn[3], double m[3][3]) {
    double c[3], s[3];
    for (int i = 0; i < 3; i++) {
        double t = turn[i], n = 1 + t * t;
        c[i] = (1 - t * t) / n;
        s[i] = 2 * t / n;
    }
    m[0][0] = c[2] * c[1];
    m[0][1] = c[2] * s[1] * s[0] - s[2] * c[0];
    m[0][2] = c[2] * s[1] * c[0] + s[2] * s[0];
    m[1][0] = s[2] * c[1];
    m[1][1] = s[2] * s[1] * s[0] + c[2] * c[0];
    m[1][2] = s[2] * s[1] * c[0] - c[2] * s[0];
    m[2][0] = -s[1];
    m[2][1] = c[1] * s[0];
    m[2][2] = c[1] * c[0];
}

static tomo_shape centred(tomo_shape_kind kind, const double centre[3], const double radius[3],
                          const double turn[3]) {
    tomo_shape s = {.kind = kind};
    double m[3][3];
    rotation_of(turn, m);
    for (int i = 0; i < 3; i++) {
        double square = 0, sum = 0;
        for (int k = 0; k < 3; k++) {
            double reach = m[i][k] * radius[k];
            square += reach * reach;
            sum += reach < 0 ? -reach : reach;
            s.inverse[k][i] = m[i][k] / radius[k];
        }
        double reach = kind == TOMO_SHAPE_BOX ? sum : sqrt(square);
        s.centre[i] = centre[i];
        s.low[i] = centre[i] - reach;
        s.high[i] = centre[i] + reach;
    }
    return s;
}

tomo_shape tomo_shape_ellipsoid(const double centre[3], const double radius[3], const double turn[3]) {
    return centred(TOMO_SHAPE_ELLIPSOID, centre, radius, turn);
}

tomo_shape tomo_shape_box(const double centre[3], const double radius[3], const double turn[3]) {
    return centred(TOMO_SHAPE_BOX, centre, radius, turn);
}

static double least(double a, double b) {
    return a < b ? a : b;
}

static double most(double a, double b) {
    return a > b ? a : b;
}

tomo_shape tomo_shape_tube(const double from[3], const double to[3], double radius_from, double radius_to) {
    tomo_shape s = {.kind = TOMO_SHAPE_TUBE, .radius_from = radius_from, .radius_to = radius_to};
    for (int i = 0; i < 3; i++) {
        s.from[i] = from[i];
        s.to[i] = to[i];
        s.low[i] = least(from[i] - radius_from, to[i] - radius_to);
        s.high[i] = most(from[i] + radius_from, to[i] + radius_to);
    }
    return s;
}

tomo_shape tomo_shape_column(const tomo_section *sections, int count, double squareness) {
    tomo_shape s = {.kind = TOMO_SHAPE_COLUMN, .squareness = squareness, .section_count = count};
    memcpy(s.sections, sections, (size_t)count * sizeof *sections);
    s.low[0] = s.low[1] = INFINITY;
    s.high[0] = s.high[1] = -INFINITY;
    s.low[2] = sections[0].z;
    s.high[2] = sections[count - 1].z;
    for (int i = 0; i < count; i++) {
        const tomo_section *e = &sections[i];
        s.low[0] = least(s.low[0], e->x - e->radius_x);
        s.high[0] = most(s.high[0], e->x + e->radius_x);
        s.low[1] = least(s.low[1], e->y - e->radius_y);
        s.high[1] = most(s.high[1], e->y + e->radius_y);
    }
    return s;
}

/* ------------------------------------------------------------------ asking */

static tomo_section section_at(const tomo_shape *s, double z) {
    int i = 0;
    while (i + 2 < s->section_count && s->sections[i + 1].z < z) i++;
    const tomo_section *a = &s->sections[i], *b = &s->sections[i + 1];
    double t = (z - a->z) / (b->z - a->z);
    return (tomo_section){z, a->x + (b->x - a->x) * t, a->y + (b->y - a->y) * t,
                          a->radius_x + (b->radius_x - a->radius_x) * t,
                          a->radius_y + (b->radius_y - a->radius_y) * t};
}

/* The part of a tube's axis that is near enough to the height. */
static void narrow_tube(tomo_cut *cut) {
    const tomo_shape *s = cut->shape;
    double radius = most(s->radius_from, s->radius_to), along = s->to[2] - s->from[2], first = 0, last = 1;
    if (along > 1e-6 || along < -1e-6) {
        double a = (cut->z - radius - s->from[2]) / along, b = (cut->z + radius - s->from[2]) / along;
        first = most(0, least(a, b));
        last = least(1, most(a, b));
    }
    for (int i = 0; i < 2; i++) {
        double d = s->to[i] - s->from[i], p = s->from[i] + d * first, q = s->from[i] + d * last;
        cut->low[i] = most(cut->low[i], least(p, q) - radius);
        cut->high[i] = least(cut->high[i], most(p, q) + radius);
    }
}

static void narrow_column(tomo_cut *cut) {
    const tomo_section *e = &cut->section;
    cut->low[0] = most(cut->low[0], e->x - e->radius_x);
    cut->high[0] = least(cut->high[0], e->x + e->radius_x);
    cut->low[1] = most(cut->low[1], e->y - e->radius_y);
    cut->high[1] = least(cut->high[1], e->y + e->radius_y);
}

bool tomo_cut_make(const tomo_shape *shape, double z, tomo_cut *cut) {
    if (z < shape->low[2] || z > shape->high[2]) return false;
    *cut = (tomo_cut){.shape = shape, .z = z};
    for (int i = 0; i < 2; i++) cut->low[i] = shape->low[i], cut->high[i] = shape->high[i];
    if (shape->kind == TOMO_SHAPE_TUBE) narrow_tube(cut);
    if (shape->kind == TOMO_SHAPE_COLUMN) {
        cut->section = section_at(shape, z);
        narrow_column(cut);
    }
    return true;
}

/* One shape after the other is asked for a row of points, with loops without branches, so that the compiler
 * makes vectors of them. The operations and their order decide the bits of every phantom. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

ALWAYS_INLINE void in_centred(const tomo_cut *cut, const double *x, const double *y, int64_t count,
                              uint8_t *inside) {
    const tomo_shape *s = cut->shape;
    const double x0 = s->centre[0], y0 = s->centre[1], depth = cut->z - s->centre[2];
    const double(*m)[3] = s->inverse;
    const double low_x = s->low[0], high_x = s->high[0], low_y = s->low[1], high_y = s->high[1];
    const double c0 = m[0][2] * depth, c1 = m[1][2] * depth, c2 = m[2][2] * depth;
    const double m00 = m[0][0], m01 = m[0][1], m10 = m[1][0], m11 = m[1][1], m20 = m[2][0], m21 = m[2][1];
    const bool box = s->kind == TOMO_SHAPE_BOX;
    for (int64_t i = 0; i < count; i++) {
        double p = x[i] - x0, q = y[i] - y0;
        double a = m00 * p + m01 * q + c0, b = m10 * p + m11 * q + c1, c = m20 * p + m21 * q + c2;
        a *= a, b *= b, c *= c;
        bool within = box ? (a < 1) & (b < 1) & (c < 1) : a + b + c < 1;
        inside[i] = within & (x[i] >= low_x) & (x[i] <= high_x) & (y[i] >= low_y) & (y[i] <= high_y);
    }
}

ALWAYS_INLINE void in_tube(const tomo_cut *cut, const double *x, const double *y, int64_t count,
                           uint8_t *inside) {
    const tomo_shape *s = cut->shape;
    const double x0 = s->from[0], y0 = s->from[1], z0 = s->from[2], z = cut->z;
    const double dx = s->to[0] - x0, dy = s->to[1] - y0, dz = s->to[2] - z0;
    const double low_x = s->low[0], high_x = s->high[0], low_y = s->low[1], high_y = s->high[1];
    const double along_z = (z - z0) * dz, length = dx * dx + dy * dy + dz * dz;
    const double thick = s->radius_from, thinner = s->radius_to - s->radius_from;
    const double divisor = length > 0 ? length : 1; /* of no length: along is 0 too */
    for (int64_t i = 0; i < count; i++) {
        double t = ((x[i] - x0) * dx + (y[i] - y0) * dy + along_z) / divisor;
        t = t < 0 ? 0 : t;
        t = t > 1 ? 1 : t;
        double a = x[i] - (x0 + dx * t), b = y[i] - (y0 + dy * t), c = z - (z0 + dz * t);
        double radius = thick + thinner * t;
        bool within = a * a + b * b + c * c < radius * radius;
        inside[i] = within & (x[i] >= low_x) & (x[i] <= high_x) & (y[i] >= low_y) & (y[i] <= high_y);
    }
}

ALWAYS_INLINE void in_column(const tomo_cut *cut, const double *x, const double *y, int64_t count,
                             uint8_t *inside) {
    const tomo_shape *s = cut->shape;
    const double x0 = cut->section.x, y0 = cut->section.y, square = s->squareness;
    const double rx = cut->section.radius_x, ry = cut->section.radius_y;
    const double low_x = s->low[0], high_x = s->high[0], low_y = s->low[1], high_y = s->high[1];
    for (int64_t i = 0; i < count; i++) {
        double u = (x[i] - x0) / rx, v = (y[i] - y0) / ry;
        u *= u, v *= v;
        bool within = (u < 1) & (v < 1) & (u + v - square * u * v < 1);
        inside[i] = within & (x[i] >= low_x) & (x[i] <= high_x) & (y[i] >= low_y) & (y[i] <= high_y);
    }
}

ALWAYS_INLINE void holds(const tomo_cut *cut, const double *x, const double *y, int64_t count,
                         uint8_t *inside) {
    if (cut->shape->kind == TOMO_SHAPE_TUBE) {
        in_tube(cut, x, y, count, inside);
    } else if (cut->shape->kind == TOMO_SHAPE_COLUMN) {
        in_column(cut, x, y, count, inside);
    } else {
        in_centred(cut, x, y, count, inside);
    }
}

/* Wider vectors give the same bits: each operation is rounded as IEEE 754 has it. */
#if defined(__x86_64__)
__attribute__((target("avx2"))) static void holds_avx2(const tomo_cut *cut, const double *x, const double *y,
                                                       int64_t count, uint8_t *inside) {
    holds(cut, x, y, count, inside);
}
#endif

void tomo_cut_holds(const tomo_cut *cut, const double *x, const double *y, int64_t count, uint8_t *inside) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        holds_avx2(cut, x, y, count, inside);
        return;
    }
#endif
    holds(cut, x, y, count, inside);
}
