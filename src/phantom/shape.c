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

bool tomo_cut_make(const tomo_shape *shape, double z, tomo_cut *cut) {
    if (z < shape->low[2] || z > shape->high[2]) return false;
    *cut = (tomo_cut){.shape = shape, .z = z};
    if (shape->kind == TOMO_SHAPE_COLUMN) cut->section = section_at(shape, z);
    return true;
}

static bool in_centred(const tomo_shape *s, const double p[3]) {
    double u[3];
    for (int i = 0; i < 3; i++) {
        u[i] = s->inverse[i][0] * (p[0] - s->centre[0]) + s->inverse[i][1] * (p[1] - s->centre[1]) +
               s->inverse[i][2] * (p[2] - s->centre[2]);
    }
    double a = u[0] * u[0], b = u[1] * u[1], c = u[2] * u[2];
    return s->kind == TOMO_SHAPE_BOX ? a < 1 && b < 1 && c < 1 : a + b + c < 1;
}

static bool in_tube(const tomo_shape *s, const double p[3]) {
    double along = 0, length = 0, distance = 0;
    for (int i = 0; i < 3; i++) {
        double d = s->to[i] - s->from[i];
        along += (p[i] - s->from[i]) * d;
        length += d * d;
    }
    double t = length > 0 ? along / length : 0;
    t = t < 0 ? 0 : t > 1 ? 1 : t;
    for (int i = 0; i < 3; i++) {
        double d = p[i] - (s->from[i] + (s->to[i] - s->from[i]) * t);
        distance += d * d;
    }
    double radius = s->radius_from + (s->radius_to - s->radius_from) * t;
    return distance < radius * radius;
}

bool tomo_cut_holds(const tomo_cut *cut, double x, double y) {
    const tomo_shape *s = cut->shape;
    if (x < s->low[0] || x > s->high[0] || y < s->low[1] || y > s->high[1]) return false;
    const double p[3] = {x, y, cut->z};
    if (s->kind == TOMO_SHAPE_TUBE) return in_tube(s, p);
    if (s->kind != TOMO_SHAPE_COLUMN) return in_centred(s, p);
    double u = (x - cut->section.x) / cut->section.radius_x, v = (y - cut->section.y) / cut->section.radius_y;
    u *= u, v *= v;
    return u < 1 && v < 1 && u + v - s->squareness * u * v < 1;
}
