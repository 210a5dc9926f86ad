/* shape.h - implicit shapes in mm that are painted one over the other: ellipsoids, boxes, tapered tubes, and
 * columns of elliptic sections.
 *
 * Coordinates are the patient's: x to the Left, y to Posterior, z to Superior, 0 at the spine's axis between
 * chest and abdomen. */
#ifndef TOMO_PHANTOM_SHAPE_H
#define TOMO_PHANTOM_SHAPE_H

#include "base/status.h"

typedef enum tomo_shape_kind {
    TOMO_SHAPE_ELLIPSOID,
    TOMO_SHAPE_BOX,
    TOMO_SHAPE_TUBE,
    TOMO_SHAPE_COLUMN
} tomo_shape_kind;

/* An ellipse across z. */
typedef struct tomo_section {
    double z, x, y, radius_x, radius_y;
} tomo_section;

#define TOMO_SECTIONS_MOST 8

typedef struct tomo_shape {
    tomo_shape_kind kind;
    uint8_t tissue;
    uint64_t over;          /* bits of the tissues that it replaces */
    double low[3], high[3]; /* nothing of it lies outside; may cut it */
    double centre[3];       /* ellipsoid, box */
    double inverse[3][3];   /* ellipsoid, box: mm from the centre -> units of the radii */
    double from[3], to[3];  /* tube */
    double radius_from, radius_to;
    double squareness;                         /* column: 0 an ellipse, towards 1 a rectangle */
    tomo_section sections[TOMO_SECTIONS_MOST]; /* column: z rising */
    int section_count;
} tomo_shape;

/* A turn is given as the tangents of half its angles about x, y and z, which need no sine. */
tomo_shape tomo_shape_ellipsoid(const double centre[3], const double radius[3], const double turn[3]);
tomo_shape tomo_shape_box(const double centre[3], const double radius[3], const double turn[3]);
tomo_shape tomo_shape_tube(const double from[3], const double to[3], double radius_from, double radius_to);
tomo_shape tomo_shape_column(const tomo_section *sections, int count, double squareness);

/* The shape's cut at one height. */
typedef struct tomo_cut {
    const tomo_shape *shape;
    tomo_section section;
    double z;
    double low[2], high[2]; /* x, y: nothing of the cut lies outside, up to rounding */
} tomo_cut;

/* False when the shape does not reach the height. */
bool tomo_cut_make(const tomo_shape *shape, double z, tomo_cut *cut);
/* inside[count]: 1 where the point x[i], y[i] lies in the cut, else 0. */
void tomo_cut_holds(const tomo_cut *cut, const double *x, const double *y, int64_t count, uint8_t *inside);

#endif
