/* scene.h - a patient as shapes in the order in which they are painted. */
#ifndef TOMO_PHANTOM_SCENE_H
#define TOMO_PHANTOM_SCENE_H

#include "phantom/patient.h"
#include "phantom/shape.h"

#define TOMO_SHAPES_MOST 2048

typedef struct tomo_scene {
    tomo_shape shapes[TOMO_SHAPES_MOST];
    int count;
} tomo_scene;

/* Body, organs and findings. Sides are those of usual anatomy; a mirrored patient is turned when painted. */
void tomo_scene_build(const tomo_patient *patient, tomo_scene *scene);

/* Half the body's width and depth (mm), skin and fat included. */
void tomo_scene_body(const tomo_patient *patient, double half[2]);

/* Between which heights (mm along z, in the patient) a finding lies, or where it can be told. */
void tomo_scene_finding_heights(const tomo_patient *patient, const tomo_finding *finding, double *low,
                                double *high);

/* For the two halves of the scene: a shape in mm of the usual body (scaled here), or in mm as they are. */
typedef struct tomo_painter {
    const tomo_patient *patient;
    tomo_scene *scene;
    bool unscaled; /* the numbers are mm of this patient */
} tomo_painter;

tomo_shape *tomo_paint(tomo_painter *painter, int tissue, uint64_t over, tomo_shape shape);
tomo_shape *tomo_paint_ellipsoid(tomo_painter *painter, int tissue, uint64_t over, const double centre[3],
                                 const double radius[3], const double turn[3]);
tomo_shape *tomo_paint_tube(tomo_painter *painter, int tissue, uint64_t over, const double from[3],
                            const double to[3], double radius_from, double radius_to);
/* A tube through `count` points {x, y, z, radius}. */
void tomo_paint_path(tomo_painter *painter, int tissue, uint64_t over, const double (*points)[4], int count);

/* Findings that are painted over finished organs (findings.c). */
void tomo_scene_add_findings(tomo_painter *painter);

#endif
