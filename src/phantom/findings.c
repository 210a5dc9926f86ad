/* findings.c - findings as shapes over finished organs. */
#include "phantom/scene.h"
#include "phantom/tissue.h"

#define BIT(name) TOMO_TISSUE_BIT(TOMO_TISSUE_##name)
static const double straight[3] = {0, 0, 0};

/* Half the height of an effusion above and below z -60, and usual centres of aneurysms of chest and belly. */
static const double effusion_tops[3] = {40, 95, 165};
static const double aneurysms[2][3] = {{29, 46, 70}, {5, 16, -132}};

/* Fluid gathers at the back of a patient who lies: the lung behind a level is replaced, and a rim at the
 * side.
 */
static void paint_effusion(tomo_painter *b, const tomo_finding *f) {
    static const double level[3] = {66, 46, 22};
    bool right = f->side < 0;
    uint64_t over = (right ? BIT(LUNG_RIGHT) : BIT(LUNG_LEFT)) | BIT(LUNG_VESSEL);
    const double centre[3] = {f->side * 74.0, level[f->severity] + 46, -60};
    const double radius[3] = {74, 50, 60 + effusion_tops[f->severity]};
    tomo_shape *s = tomo_paint_ellipsoid(b, right ? TOMO_TISSUE_EFFUSION_RIGHT : TOMO_TISSUE_EFFUSION_LEFT,
                                         over, centre, radius, straight);
    if (right) s->high[0] = 0;
    if (!right) s->low[0] = 0;
}

/* Around liver and spleen first, then between the loops of the bowel. */
static void paint_ascites(tomo_painter *b, const tomo_finding *f) {
    static const double shell[2][6] = {{-72, 0, -68, 70, 82, 86}, {92, 34, -60, 40, 52, 66}};
    double more = 2.5 * f->severity;
    for (int i = 0; i < 2; i++) {
        const double *c = shell[i], r[3] = {c[3] + more, c[4] + more, c[5] + more};
        (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_ASCITES, BIT(BELLY_FAT), c, r, straight);
    }
    for (int side = -1; side <= 1; side += 2) { /* the gutters beside the bowel */
        const double c[3] = {side * 112.0, 6, -200}, r[3] = {18 + 5.0 * f->severity, 40, 130};
        (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_ASCITES, BIT(BELLY_FAT), c, r, straight);
    }
    if (f->severity == 0) return;
    const double c[3] = {0, -40, -230}, r[3] = {100, 30.0 + 12 * f->severity, 50.0 + 30 * f->severity};
    (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_ASCITES, BIT(BELLY_FAT), c, r, straight);
}

/* The lumen keeps its place, around it the wall and a thrombus; chalk lies in the wall. */
static void paint_aneurysm(tomo_painter *b, const tomo_finding *f) {
    const double *k = b->patient->scale, *at = aneurysms[f->place == TOMO_PLACE_ABDOMINAL];
    double c[3], lumen[3];
    for (int i = 0; i < 3; i++) {
        c[i] = at[i] * k[i];
        lumen[i] = i == 2 ? f->radius[i] * 0.92 : f->radius[i] * 0.66;
    }
    if (f->place == TOMO_PLACE_THORACIC) c[0] += f->radius[0] - 14; /* it grows towards the lung */
    const uint64_t over = ~(BIT(CORTEX) | BIT(MARROW) | BIT(DENSE_MARROW) | BIT(DISC) | BIT(CORD));
    int own = TOMO_TISSUE_LESION + f->lesion;
    (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_THROMBUS, over, c, f->radius, straight);
    (void)tomo_paint_ellipsoid(b, own, over, c, lumen, straight);
    for (int i = -1; i <= 1; i++) {
        const double chalk[3] = {c[0] - f->radius[0] * 0.9, c[1] + 5.0 * i, c[2] + 12.0 * i},
                     r[3] = {2, 5, 5};
        (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_CALCIUM, BIT(THROMBUS) | BIT(BELLY_FAT), chalk, r,
                                   straight);
    }
}

static uint64_t host_of(const tomo_finding *f) {
    const uint64_t kidney = (f->side < 0 ? BIT(KIDNEY_RIGHT) : BIT(KIDNEY_LEFT)) | BIT(MEDULLA) | BIT(URINE);
    switch (f->kind) {
    case TOMO_FINDING_NODULE:
        return (f->side < 0 ? BIT(LUNG_RIGHT) : BIT(LUNG_LEFT)) | BIT(LUNG_VESSEL);
    case TOMO_FINDING_LIVER_LESION:
        return BIT(LIVER) | BIT(PORTAL) | BIT(VEIN);
    case TOMO_FINDING_KIDNEY_STONE:
        return kidney | BIT(BELLY_FAT);
    default:
        return kidney | BIT(BELLY_FAT) | BIT(GUT) | BIT(GUT_FLUID) | BIT(LIVER) | BIT(SPLEEN);
    }
}

void tomo_scene_add_findings(tomo_painter *b) {
    const tomo_patient *p = b->patient;
    for (int i = 0; i < p->finding_count; i++) {
        const tomo_finding *f = &p->findings[i];
        b->unscaled = false;
        if (f->kind == TOMO_FINDING_EFFUSION) paint_effusion(b, f);
        if (f->kind == TOMO_FINDING_ASCITES) paint_ascites(b, f);
        b->unscaled = true;
        if (f->kind == TOMO_FINDING_ANEURYSM) {
            paint_aneurysm(b, f);
        } else if (f->lesion >= 0) {
            (void)tomo_paint_ellipsoid(b, TOMO_TISSUE_LESION + f->lesion, host_of(f), f->centre, f->radius,
                                       straight);
        }
    }
}

void tomo_scene_finding_heights(const tomo_patient *p, const tomo_finding *f, double *low, double *high) {
    double k = p->scale[2], middle = f->centre[2], half = f->radius[2], centre[3], radius[3];
    switch (f->kind) {
    case TOMO_FINDING_EFFUSION: /* from the recess of the lung up; the tip is thin */
        middle = (0.7 * effusion_tops[f->severity] - 45) / 2 * k;
        half = (0.7 * effusion_tops[f->severity] + 45) / 2 * k;
        break;
    case TOMO_FINDING_ASCITES:
        middle = (p->bottom_mm - 10 * k) / 2;
        half = (-10 * k - p->bottom_mm) / 2;
        break;
    case TOMO_FINDING_LARGE_SPLEEN:
        middle = (8 - 50 * p->spleen) * k;
        half = 0.7 * 50 * p->spleen * k;
        break;
    case TOMO_FINDING_FRACTURE:
        middle = tomo_patient_vertebra(p, f->level) - 2 * k;
        half = 4 * k;
        break;
    case TOMO_FINDING_ABSENT_KIDNEY:
        tomo_patient_kidney(p, f->side > 0, centre, radius);
        middle = centre[2];
        half = 0.7 * radius[2];
        break;
    case TOMO_FINDING_ANEURYSM:
        middle = aneurysms[f->place == TOMO_PLACE_ABDOMINAL][2] * k;
        break;
    default: /* a lesion has its centre and radius */
        break;
    }
    *low = middle - half;
    *high = middle + half;
}
