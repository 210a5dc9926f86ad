#include "phantom/patient.h"

#include "phantom/draw.h"

/* Three of twenty phantoms are made to be normal (others turn out so); each kind of finding stands in as many
 * of the others, so that no kind is the likely answer. */
static const double normal_share = 0.15, kind_share = 0.22, mirrored_share = 0.02;

double tomo_patient_vertebra(const tomo_patient *p, int level) {
    /* From T1 down: 12 thoracic ones 21 mm apart, then lumbar ones 31 mm apart; T12 lies at -30 mm. */
    double z = level <= 12 ? -30 + 21.0 * (12 - level) : -30 - 31.0 * (level - 12);
    return z * p->scale[2];
}

void tomo_patient_kidney(const tomo_patient *p, int side, double centre[3], double radius[3]) {
    static const double usual[2][3] = {{-62, 50, -108}, {64, 48, -98}}, size[3] = {28, 25, 54};
    for (int i = 0; i < 3; i++) {
        centre[i] = (usual[side][i] + (i == 2 ? p->kidney_z[side] : 0)) * p->scale[i];
        radius[i] = size[i] * p->scale[i] * p->kidney_size[side];
    }
}

static tomo_finding *add(tomo_patient *p, tomo_finding_kind kind, int side) {
    if (p->finding_count == TOMO_FINDINGS_MOST) return NULL;
    tomo_finding *f = &p->findings[p->finding_count++];
    *f = (tomo_finding){.kind = kind, .side = side, .lesion = -1};
    return f;
}

static tomo_finding *add_lesion(tomo_patient *p, tomo_finding_kind kind, int side) {
    if (p->lesion_count == TOMO_LESIONS_MOST) return NULL;
    tomo_finding *f = add(p, kind, side);
    if (f != NULL) f->lesion = p->lesion_count++;
    return f;
}

static int either_side(tomo_random *r) {
    return tomo_draw_chance(r, 0.5) ? 1 : -1;
}

static void set_radius(tomo_finding *f, tomo_random *r, double low, double high) {
    double size = tomo_draw_between(r, low, high);
    for (int i = 0; i < 3; i++) f->radius[i] = size * tomo_draw_between(r, 0.85, 1.15);
    f->severity = size < low + (high - low) / 3 ? 0 : size < low + (high - low) * 2 / 3 ? 1 : 2;
}

static void draw_nodules(tomo_patient *p, tomo_random *r) {
    static const double height[4] = {0, 150, 85, 22};
    int count = 1 + tomo_draw_below(r, 3);
    for (int i = 0; i < count; i++) {
        tomo_finding *f = add_lesion(p, TOMO_FINDING_NODULE, either_side(r));
        if (f == NULL) return;
        int third = f->side < 0 ? 1 + tomo_draw_below(r, 3) : 1 + 2 * tomo_draw_below(r, 2);
        f->place = (tomo_finding_place)third; /* the left lung has no middle lobe */
        f->type = TOMO_LESION_SOLID;
        set_radius(f, r, 7, 16);
        /* Upper lobes lie in front, lower ones behind. */
        double y = third == 3 ? tomo_draw_between(r, 30, 55) : tomo_draw_between(r, -40, 5);
        double x = third == 1 ? tomo_draw_between(r, 42, 70) : tomo_draw_between(r, 78, 105);
        f->centre[0] = f->side * x * p->scale[0];
        f->centre[1] = y * p->scale[1];
        f->centre[2] = (height[third] + tomo_draw_between(r, -12, 12)) * p->scale[2];
    }
}

static void draw_effusion(tomo_patient *p, tomo_random *r) {
    int which = tomo_draw_below(r, 3); /* right, left, both */
    for (int side = -1; side <= 1; side += 2) {
        if ((which == 0 && side > 0) || (which == 1 && side < 0)) continue;
        tomo_finding *f = add(p, TOMO_FINDING_EFFUSION, side);
        if (f != NULL) f->severity = tomo_draw_below(r, 3);
    }
}

/* Where liver lesions may lie, mm of the usual body. */
static const double liver_places[][4] = {{-85, 10, -15, 0},  {-105, -10, -55, 0}, {-70, 35, -50, 0},
                                         {-62, -35, -35, 0}, {-95, 20, -95, 0},   {10, -52, -28, 1}};

static void place_in_liver(tomo_patient *p, tomo_random *r, tomo_finding *f, int place) {
    f->place = liver_places[place][3] > 0 ? TOMO_PLACE_LEFT_LOBE : TOMO_PLACE_RIGHT_LOBE;
    for (int i = 0; i < 3; i++) {
        f->centre[i] = (liver_places[place][i] + tomo_draw_between(r, -6, 6)) * p->scale[i];
    }
}

static void draw_liver_lesions(tomo_patient *p, tomo_random *r) {
    tomo_lesion_type type = (tomo_lesion_type)tomo_draw_below(r, 2);
    static const int counts[3] = {1, 3, 4};
    int way = tomo_draw_below(r, 3), count = way == 2 ? counts[tomo_draw_below(r, 3)] : way == 1 ? 2 : 1;
    int place = tomo_draw_below(r, 6);
    double tall = tomo_draw_between(r, 22, 44);
    for (int i = 0; i < count; i++) {
        tomo_finding *f = add_lesion(p, TOMO_FINDING_LIVER_LESION, 0);
        if (f == NULL) return;
        f->type = type;
        set_radius(f, r, 10, way == 2 ? 20 : 17);
        if (way == 2) { /* anywhere */
            place_in_liver(p, r, f, (place + i) % 6);
            continue;
        }
        /* One tall lesion, or two above each other: one slice does not tell which. */
        const double at[3] = {-82, 8, way == 0 ? -45 : i == 0 ? -15 : -77};
        f->place = TOMO_PLACE_RIGHT_LOBE;
        for (int k = 0; k < 3; k++) f->centre[k] = (at[k] + tomo_draw_between(r, -3, 3)) * p->scale[k];
        f->radius[2] = (way == 0 ? tall : 14) * p->scale[2];
    }
}

static void draw_kidney_lesion(tomo_patient *p, tomo_random *r, tomo_finding_kind kind) {
    const tomo_finding *absent = tomo_patient_find(p, TOMO_FINDING_ABSENT_KIDNEY);
    int side = either_side(r), pole = tomo_draw_below(r, 3);
    if (absent != NULL) side = -absent->side;
    double centre[3], radius[3];
    tomo_patient_kidney(p, side > 0, centre, radius);
    tomo_finding *f = add_lesion(p, kind, side);
    if (f == NULL) return;
    f->place = (tomo_finding_place)(TOMO_PLACE_UPPER + pole);
    bool stone = kind == TOMO_FINDING_KIDNEY_STONE;
    f->type = stone ? TOMO_LESION_SOLID : (tomo_lesion_type)tomo_draw_below(r, 2);
    if (stone) set_radius(f, r, 4, 8);
    if (!stone) set_radius(f, r, 14, 27);
    f->centre[0] = centre[0] + (stone ? -2.0 : 18) * side;
    f->centre[1] = centre[1] + (stone ? 0 : 6);
    f->centre[2] = centre[2] + (1 - pole) * radius[2] * (stone ? 0.45 : 0.6);
}

static void draw_kind(tomo_patient *p, tomo_random *r, tomo_finding_kind kind) {
    tomo_finding *f = NULL;
    switch (kind) {
    case TOMO_FINDING_NODULE:
        draw_nodules(p, r);
        return;
    case TOMO_FINDING_EFFUSION:
        draw_effusion(p, r);
        return;
    case TOMO_FINDING_LIVER_LESION:
        draw_liver_lesions(p, r);
        return;
    case TOMO_FINDING_KIDNEY_STONE:
    case TOMO_FINDING_KIDNEY_MASS:
        draw_kidney_lesion(p, r, kind);
        return;
    case TOMO_FINDING_ABSENT_KIDNEY:
        (void)add(p, kind, either_side(r));
        return;
    case TOMO_FINDING_ASCITES:
    case TOMO_FINDING_LARGE_SPLEEN:
        f = add(p, kind, 0);
        if (f == NULL) return;
        f->severity = tomo_draw_below(r, 3);
        if (kind == TOMO_FINDING_LARGE_SPLEEN) p->spleen = 1.34 + 0.16 * f->severity;
        return;
    case TOMO_FINDING_FRACTURE:
        f = add(p, kind, 0);
        if (f == NULL) return;
        f->level = 7 + tomo_draw_below(r, 9); /* T7 to L3 */
        f->severity = tomo_draw_below(r, 3);
        return;
    case TOMO_FINDING_ANEURYSM:
        f = add_lesion(p, kind, 0);
        if (f == NULL) return;
        f->place = tomo_draw_chance(r, 0.5) ? TOMO_PLACE_THORACIC : TOMO_PLACE_ABDOMINAL;
        f->severity = tomo_draw_below(r, 3);
        f->radius[0] = f->radius[1] = 19 + 5.5 * f->severity + tomo_draw_between(r, 0, 4);
        f->radius[2] = tomo_draw_between(r, 30, 45);
        return;
    case TOMO_FINDING_KINDS:
        return;
    }
}

static void draw_findings(tomo_patient *p, tomo_random *r) {
    /* An absent kidney first: the others must lie in the one that is there. */
    static const tomo_finding_kind order[TOMO_FINDING_KINDS] = {
        TOMO_FINDING_ABSENT_KIDNEY, TOMO_FINDING_NODULE,       TOMO_FINDING_EFFUSION,
        TOMO_FINDING_LIVER_LESION,  TOMO_FINDING_KIDNEY_STONE, TOMO_FINDING_KIDNEY_MASS,
        TOMO_FINDING_LARGE_SPLEEN,  TOMO_FINDING_ANEURYSM,     TOMO_FINDING_FRACTURE,
        TOMO_FINDING_ASCITES};
    if (tomo_draw_chance(r, normal_share)) return;
    for (int i = 0; i < TOMO_FINDING_KINDS; i++) {
        if (tomo_draw_chance(r, kind_share)) draw_kind(p, r, order[i]);
    }
}

void tomo_patient_draw(uint64_t seed, tomo_patient *p) {
    tomo_random random = tomo_random_seed(seed), *r = &random;
    *p = (tomo_patient){.seed = tomo_random_next(r)};
    p->phase = (tomo_phantom_phase)tomo_draw_below(r, TOMO_PHASES);
    p->mirrored = tomo_draw_chance(r, mirrored_share);
    double size = tomo_draw_between(r, 0.9, 1.08);
    for (int i = 0; i < 3; i++) p->scale[i] = size * tomo_draw_between(r, 0.96, 1.04);
    p->fat_mm = tomo_draw_between(r, 6, 30) * tomo_draw_between(r, 0.6, 1);
    p->roll = tomo_draw_between(r, -0.05, 0.05);
    p->lean_x = tomo_draw_between(r, -0.04, 0.04);
    p->lean_y = tomo_draw_between(r, -0.05, 0.05);
    for (int i = 0; i < 2; i++) p->shift[i] = tomo_draw_between(r, -10, 10);
    p->bottom_mm = tomo_draw_between(r, -205, -165) * p->scale[2];
    p->top_mm = tomo_draw_between(r, 178, 238) * p->scale[2];
    p->margin = tomo_draw_between(r, 1.02, 1.12);
    p->slab = tomo_draw_between(r, 0.6, 1.1);
    p->noise_hu = tomo_draw_between(r, 5, 14);
    p->warp_mm = tomo_draw_between(r, 3, 6);
    p->liver = tomo_draw_between(r, 0.92, 1.06);
    p->spleen = tomo_draw_between(r, 0.79, 1.13);
    double lower = tomo_draw_between(r, -14, 14); /* either kidney may be the higher one */
    for (int i = 0; i < 2; i++) {
        p->kidney_size[i] = tomo_draw_between(r, 0.9, 1.08);
        p->kidney_z[i] = (i == 0 ? lower + 5 : -lower - 5);
    }
    p->fill_stomach = tomo_draw_between(r, 0.2, 0.8);
    draw_findings(p, r);
    const tomo_finding *absent = tomo_patient_find(p, TOMO_FINDING_ABSENT_KIDNEY);
    if (absent != NULL) p->kidney_size[absent->side < 0] *= 1.12; /* the other one makes up for it */
}

void tomo_patient_cover(tomo_patient *p, int64_t slices, int64_t first, int64_t count) {
    double slice_mm = (p->top_mm - p->bottom_mm) / (double)slices;
    p->bottom_mm += (double)first * slice_mm;
    p->top_mm = p->bottom_mm + (double)count * slice_mm;
    p->part = true;
}

const tomo_finding *tomo_patient_find(const tomo_patient *p, tomo_finding_kind kind) {
    for (int i = 0; i < p->finding_count; i++) {
        if (p->findings[i].kind == kind) return &p->findings[i];
    }
    return NULL;
}
