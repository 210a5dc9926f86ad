#include "phantom/scene.h"

#include "phantom/draw.h"
#include "phantom/tissue.h"

/* ------------------------------------------------------------------ painting */

#define BIT(name) TOMO_TISSUE_BIT(TOMO_TISSUE_##name)
static const uint64_t everything = ~(uint64_t)0;
static const uint64_t lungs = BIT(LUNG_RIGHT) | BIT(LUNG_LEFT);
static const uint64_t soft_spaces = BIT(BELLY_FAT) | BIT(MEDIASTINUM);
static const double straight[3] = {0, 0, 0};

tomo_shape *tomo_paint(tomo_painter *b, int tissue, uint64_t over, tomo_shape shape) {
    /* The last place is written again and again should a scene ever be full, which a test excludes. */
    int at = b->scene->count < TOMO_SHAPES_MOST ? b->scene->count++ : TOMO_SHAPES_MOST - 1;
    tomo_shape *s = &b->scene->shapes[at];
    *s = shape;
    s->tissue = (uint8_t)tissue;
    s->over = over;
    return s;
}

static void scale(const tomo_painter *b, const double in[3], double out[3]) {
    for (int i = 0; i < 3; i++) out[i] = b->unscaled ? in[i] : in[i] * b->patient->scale[i];
}

tomo_shape *tomo_paint_ellipsoid(tomo_painter *b, int tissue, uint64_t over, const double centre[3],
                                 const double radius[3], const double turn[3]) {
    double c[3], r[3];
    scale(b, centre, c);
    scale(b, radius, r);
    return tomo_paint(b, tissue, over, tomo_shape_ellipsoid(c, r, turn));
}

tomo_shape *tomo_paint_tube(tomo_painter *b, int tissue, uint64_t over, const double from[3],
                            const double to[3], double radius_from, double radius_to) {
    double p[3], q[3], s = b->unscaled ? 1 : b->patient->scale[0];
    scale(b, from, p);
    scale(b, to, q);
    return tomo_paint(b, tissue, over, tomo_shape_tube(p, q, radius_from * s, radius_to * s));
}

void tomo_paint_path(tomo_painter *b, int tissue, uint64_t over, const double (*points)[4], int count) {
    for (int i = 0; i + 1 < count; i++) {
        tomo_paint_tube(b, tissue, over, points[i], points[i + 1], points[i][3], points[i + 1][3]);
    }
}

static tomo_shape *column(tomo_painter *b, int tissue, uint64_t over, const tomo_section *usual, int count,
                          double squareness, double wider) {
    tomo_section s[TOMO_SECTIONS_MOST];
    const double *k = b->patient->scale;
    for (int i = 0; i < count; i++) {
        s[i] = (tomo_section){usual[i].z * k[2], usual[i].x * k[0], usual[i].y * k[1],
                              usual[i].radius_x * k[0] + wider, usual[i].radius_y * k[1] + wider};
    }
    return tomo_paint(b, tissue, over, tomo_shape_column(s, count, squareness));
}

#define ELLIPSOID(tissue, over, cx, cy, cz, rx, ry, rz)                                                      \
    tomo_paint_ellipsoid(b, TOMO_TISSUE_##tissue, over, (const double[3]){cx, cy, cz},                       \
                         (const double[3]){rx, ry, rz}, straight)
#define TURNED(tissue, over, cx, cy, cz, rx, ry, rz, tx, ty, tz)                                             \
    tomo_paint_ellipsoid(b, TOMO_TISSUE_##tissue, over, (const double[3]){cx, cy, cz},                       \
                         (const double[3]){rx, ry, rz}, (const double[3]){tx, ty, tz})
#define PATH(tissue, over, points)                                                                           \
    tomo_paint_path(b, TOMO_TISSUE_##tissue, over, points, (int)(sizeof(points) / sizeof(points)[0]))

/* ------------------------------------------------------------------ body */

static const tomo_section body[] = {{-290, 0, 0, 158, 104}, {-120, 0, 0, 152, 106}, {0, 0, 0, 158, 110},
                                    {140, 0, 0, 166, 107},  {205, 0, 2, 176, 94},   {245, 0, 6, 150, 78},
                                    {300, 0, 8, 70, 62}};
static const tomo_section chest[] = {{-70, 0, -4, 132, 86}, {0, 0, -4, 139, 90},  {100, 0, -3, 139, 88},
                                     {180, 0, 0, 112, 70},  {228, 0, 10, 62, 32}, {240, 0, 12, 30, 14}};
static const tomo_section belly[] = {{-290, 0, -18, 128, 74}, {-120, 0, -14, 128, 80}, {-40, 0, -8, 134, 86}};

void tomo_scene_body(const tomo_patient *p, double half[2]) {
    half[0] = 176 * p->scale[0] + p->fat_mm;
    half[1] = 110 * p->scale[1] + p->fat_mm;
}

static void paint_table(tomo_painter *b) {
    double half[2];
    tomo_scene_body(b->patient, half);
    const double centre[3] = {0, half[1] + 36, 0}, radius[3] = {230, 9, 2000};
    const double inner[3] = {226, 6, 2000};
    (void)tomo_paint(b, TOMO_TISSUE_TABLE, everything, tomo_shape_box(centre, radius, straight));
    (void)tomo_paint(b, TOMO_TISSUE_AIR, everything, tomo_shape_box(centre, inner, straight));
}

static void paint_walls(tomo_painter *b) {
    double fat = b->patient->fat_mm;
    int n = (int)(sizeof body / sizeof body[0]);
    (void)column(b, TOMO_TISSUE_SKIN, everything, body, n, 0.35, fat);
    (void)column(b, TOMO_TISSUE_FAT, everything, body, n, 0.35, fat - 2.2);
    (void)column(b, TOMO_TISSUE_MUSCLE, everything, body, n, 0.3, -1);
    /* A layer of fat within the muscles of the chest, below the shoulder blades. */
    static const tomo_section layer[] = {{20, 0, 0, 152, 101}, {140, 0, 0, 154, 99}, {205, 0, 2, 150, 84}};
    static const tomo_section within[] = {{20, 0, 0, 150, 99.5}, {140, 0, 0, 151, 97}, {205, 0, 2, 143, 80}};
    (void)column(b, TOMO_TISSUE_FAT, everything, layer, 3, 0.15, 0);
    (void)column(b, TOMO_TISSUE_MUSCLE, everything, within, 3, 0.15, 0);
    (void)column(b, TOMO_TISSUE_MEDIASTINUM, everything, chest, 6, 0.1, 0);
}

static void paint_lungs(tomo_painter *b) {
    static const tomo_section right[] = {
        {-55, -92, 48, 26, 32}, {-20, -80, 24, 48, 62}, {20, -74, 4, 62, 80}, {100, -72, 2, 62, 80},
        {175, -56, 4, 48, 60},  {218, -40, 12, 24, 26}, {228, -38, 14, 6, 8}};
    static const tomo_section left[] = {{-55, 94, 48, 24, 32}, {-20, 84, 26, 44, 60}, {20, 78, 8, 57, 76},
                                        {100, 75, 4, 58, 78},  {175, 57, 5, 46, 58},  {218, 40, 12, 24, 26},
                                        {228, 38, 14, 6, 8}};
    (void)column(b, TOMO_TISSUE_LUNG_RIGHT, BIT(MEDIASTINUM), right, 7, 0.25, 0);
    (void)column(b, TOMO_TISSUE_LUNG_LEFT, BIT(MEDIASTINUM), left, 7, 0.25, 0);
    /* The domes of the diaphragm, with the recess of the lung around them; below, the belly. */
    const uint64_t over = lungs | BIT(MEDIASTINUM);
    ELLIPSOID(BELLY_FAT, over, -68, -2, -62, 80, 84, 86);
    ELLIPSOID(BELLY_FAT, over, 70, -2, -70, 74, 84, 78);
    ELLIPSOID(BELLY_FAT, over, 0, -30, -66, 66, 60, 62);
    (void)column(b, TOMO_TISSUE_BELLY_FAT, BIT(MUSCLE) | BIT(MEDIASTINUM), belly, 3, 0.2, 0);
}

/* ------------------------------------------------------------------ bones */

static void paint_vertebra(tomo_painter *b, int level) {
    const double *k = b->patient->scale;
    const tomo_finding *f = tomo_patient_find(b->patient, TOMO_FINDING_FRACTURE);
    double z = tomo_patient_vertebra(b->patient, level) / k[2], big = 0.72 + 0.02 * level;
    double half = (level <= 12 ? 10.5 : 15.5) - 2.5, y = 62 - (level > 12 ? 8 : 0), drop = 0;
    bool broken = f != NULL && f->level == level;
    if (broken) { /* the upper end sinks; fragments spread and the marrow becomes denser */
        drop = half * (0.5 + 0.35 * f->severity);
        half -= drop / 2;
        big *= 1.1;
    }
    double rx = 23 * big, ry = 18 * big;
    const tomo_section shell[] = {{z - half - drop / 2, 0, y, rx, ry},
                                  {z - drop / 2, 0, y, broken ? rx + 2 : rx - 2, broken ? ry + 2 : ry - 1.5},
                                  {z + half - drop / 2, 0, y, rx, ry}};
    (void)column(b, TOMO_TISSUE_CORTEX, everything, shell, 3, 0.1, 0);
    tomo_shape *inner =
        column(b, broken ? TOMO_TISSUE_DENSE_MARROW : TOMO_TISSUE_MARROW, everything, shell, 3, 0.1, -1.8);
    inner->low[2] += 1.8 * k[2];
    inner->high[2] -= 1.8 * k[2];
    /* The arch behind the canal, the spine's and the side processes. */
    double back = y + ry + 10;
    const tomo_section arch[] = {{z - 8, 0, back, 15, 13}, {z + 7, 0, back, 15, 13}};
    const tomo_section canal[] = {{z - 16, 0, back - 1, 10, 9}, {z + 16, 0, back - 1, 10, 9}};
    (void)column(b, TOMO_TISSUE_CORTEX, BIT(MUSCLE) | BIT(FAT) | BIT(MEDIASTINUM) | BIT(BELLY_FAT), arch, 2,
                 0, 0);
    const double at[3] = {0, back + 10, z - 2}, tip[3] = {0, back + 30, z - 14};
    tomo_paint_tube(b, TOMO_TISSUE_CORTEX, everything, at, tip, 4, 3);
    for (int side = -1; side <= 1; side += 2) {
        const double root[3] = {side * 12.0, back, z},
                     end[3] = {side * (level > 12 ? 38.0 : 30.0), back + 4, z};
        tomo_paint_tube(b, TOMO_TISSUE_CORTEX, everything, root, end, 4, 3);
    }
    (void)column(b, TOMO_TISSUE_CORD, everything, canal, 2, 0, 0);
}

static void paint_spine(tomo_painter *b) {
    static const tomo_section discs[] = {{-200, 0, 54, 21, 16}, {-30, 0, 60, 18, 14}, {225, 0, 62, 13, 11}};
    (void)column(b, TOMO_TISSUE_DISC, everything, discs, 3, 0.1, 0);
    for (int level = 1; level <= TOMO_VERTEBRAE; level++) paint_vertebra(b, level);
}

/* Sine and cosine from the back (0) to the front of the chest. */
static const double around[][2] = {{0.21, 0.98},  {0.42, 0.91},  {0.64, 0.77},  {0.82, 0.57},
                                   {0.94, 0.34},  {1.0, 0.05},   {0.97, -0.24}, {0.88, -0.47},
                                   {0.74, -0.67}, {0.57, -0.82}, {0.40, -0.92}, {0.26, -0.97}};
enum { AROUND = sizeof around / sizeof around[0] };

/* Rib 1 is the highest; the last ones end at the side. */
static void paint_rib(tomo_painter *b, int rib, int side) {
    double z = tomo_patient_vertebra(b->patient, rib) / b->patient->scale[2], top = rib < 5 ? 5 - rib : 0;
    double width = 144 - top * 14, depth = 94 - top * 9, fall = rib < 3 ? 30 : 62;
    int points = rib == 12 ? 5 : rib == 11 ? 7 : AROUND;
    double path[AROUND][4], marrow[AROUND][4];
    for (int i = 0; i < points; i++) {
        double part = (double)i / (AROUND - 1), forward = part < 0.7 ? part : 0.7 - (part - 0.7) * 0.4;
        path[i][0] = side * width * around[i][0];
        path[i][1] = depth * around[i][1];
        path[i][2] = z - fall * forward / 0.7;
        path[i][3] = 5.2;
        for (int k = 0; k < 4; k++) marrow[i][k] = path[i][k];
        marrow[i][3] = 3;
    }
    const uint64_t over = BIT(MUSCLE) | BIT(FAT) | soft_spaces | lungs;
    int bony = points < AROUND - 2 ? points : AROUND - 2; /* in front, cartilage */
    tomo_paint_path(b, TOMO_TISSUE_CORTEX, over, (const double(*)[4])path, bony);
    tomo_paint_path(b, TOMO_TISSUE_MARROW, over | BIT(CORTEX), (const double(*)[4])marrow, bony);
    if (points == AROUND) {
        tomo_paint_path(b, TOMO_TISSUE_DISC, over, (const double(*)[4])(path + bony - 1), AROUND - bony + 1);
    }
}

static void paint_chest_bones(tomo_painter *b) {
    for (int rib = 1; rib <= 12; rib++) {
        paint_rib(b, rib, -1);
        paint_rib(b, rib, 1);
    }
    static const tomo_section outer[] = {{45, 0, -93, 17, 6}, {150, 0, -89, 18, 6.5}, {196, 0, -71, 27, 8}};
    static const tomo_section inner[] = {{47, 0, -93, 15, 3.6}, {150, 0, -89, 16, 4}, {194, 0, -71, 25, 5.5}};
    (void)column(b, TOMO_TISSUE_CORTEX, everything, outer, 3, 0.4, 0);
    (void)column(b, TOMO_TISSUE_MARROW, everything, inner, 3, 0.4, 0);
    for (int side = -1; side <= 1; side += 2) { /* shoulder blades */
        TURNED(CORTEX, BIT(MUSCLE) | BIT(FAT), side * 108, 82, 150, 42, 4.5, 62, 0, 0, -side * 0.27);
        TURNED(MARROW, BIT(CORTEX), side * 108, 82, 150, 39, 1.8, 59, 0, 0, -side * 0.27);
    }
}

/* ------------------------------------------------------------------ chest */

static void paint_heart(tomo_painter *b) {
    const uint64_t over = lungs | BIT(MEDIASTINUM);
    TURNED(MEDIASTINUM, over, 26, -26, 44, 66, 53, 52, 0, 0.1, 0.2); /* fat around it */
    TURNED(HEART, over, 27, -25, 44, 59, 45, 46, 0, 0.1, 0.2);
    TURNED(LEFT_BLOOD, BIT(HEART), 48, -14, 36, 30, 19, 27, 0, 0.1, 0.25);
    TURNED(RIGHT_BLOOD, BIT(HEART), 18, -48, 36, 34, 15, 30, 0, 0.1, 0.22);
    ELLIPSOID(RIGHT_BLOOD, BIT(HEART) | over, -24, -22, 44, 22, 25, 34);
    ELLIPSOID(LEFT_BLOOD, BIT(HEART) | over, 8, 14, 68, 32, 18, 22);
}

static void paint_vessels(tomo_painter *b) {
    const uint64_t over = lungs | soft_spaces | BIT(HEART) | BIT(RIGHT_BLOOD) | BIT(LEFT_BLOOD) | BIT(MUSCLE);
    static const double aorta[][4] = {{6, -12, 66, 14}, {-14, -24, 100, 15}, {-10, -18, 130, 15},
                                      {6, 2, 148, 14},  {24, 28, 140, 12.5}, {27, 42, 112, 12},
                                      {25, 44, 40, 12}, {16, 40, -20, 11},   {7, 34, -70, 10},
                                      {4, 30, -150, 9}, {4, 30, -172, 9}};
    static const double left_iliac[][4] = {{4, 30, -170, 7}, {34, 32, -290, 6}};
    static const double right_iliac[][4] = {{4, 30, -170, 7}, {-30, 32, -290, 6}};
    static const double lower_cava[][4] = {
        {-22, 36, -290, 10}, {-22, 32, -100, 11}, {-24, 18, -30, 13}, {-24, -4, 22, 14}};
    static const double upper_cava[][4] = {{-24, -16, 70, 10}, {-27, -14, 150, 9}, {-30, -16, 200, 8}};
    static const double trunk[][4] = {
        {24, -44, 70, 14}, {22, -22, 108, 14}, {2, 0, 108, 11}, {-40, 8, 102, 8}};
    static const double left_artery[][4] = {{22, -16, 110, 12}, {50, 14, 112, 8}};
    static const double renal_right[][4] = {{4, 32, -95, 4}, {-42, 42, -100, 3}};
    static const double renal_left[][4] = {{8, 32, -92, 4}, {44, 42, -94, 3}};
    static const double neck_right[][4] = {{-8, -6, 146, 6}, {-26, -6, 240, 5}};
    static const double neck_left[][4] = {{12, 10, 146, 5}, {28, 4, 240, 5}};
    PATH(VEIN, over, lower_cava);
    PATH(RIGHT_BLOOD, over, upper_cava);
    PATH(RIGHT_BLOOD, over, trunk);
    PATH(RIGHT_BLOOD, over, left_artery);
    PATH(AORTA, over, aorta);
    PATH(AORTA, over, left_iliac);
    PATH(AORTA, over, right_iliac);
    if (tomo_patient_find(b->patient, TOMO_FINDING_ABSENT_KIDNEY) == NULL) {
        PATH(AORTA, over, renal_right);
        PATH(AORTA, over, renal_left);
    }
    PATH(AORTA, over, neck_right);
    PATH(AORTA, over, neck_left);
}

static void paint_airways(tomo_painter *b) {
    static const double trachea[][4] = {{0, 8, 260, 9}, {0, 16, 180, 9}, {0, 22, 124, 9}};
    static const double right[][4] = {{0, 22, 126, 8}, {-30, 24, 104, 7}, {-52, 24, 84, 5}};
    static const double left[][4] = {{0, 22, 126, 7.5}, {36, 26, 98, 6}, {54, 28, 82, 5}};
    static const double gullet[][4] = {{4, 36, 240, 5}, {8, 36, 120, 5.5}, {16, 24, 10, 6}, {34, 8, -18, 7}};
    const uint64_t over = lungs | BIT(MEDIASTINUM);
    for (int wall = 1; wall >= 0; wall--) {
        int tissue = wall ? TOMO_TISSUE_MUSCLE : TOMO_TISSUE_AIRWAY;
        double paths[3][3][4];
        for (int i = 0; i < 3; i++) {
            for (int k = 0; k < 4; k++) {
                double more = k == 3 ? 1.6 * wall : 0;
                paths[0][i][k] = trachea[i][k] + more;
                paths[1][i][k] = right[i][k] + more;
                paths[2][i][k] = left[i][k] + more;
            }
        }
        for (int i = 0; i < 3; i++) {
            tomo_paint_path(b, tissue, over | BIT(MUSCLE), (const double(*)[4])paths[i], 3);
        }
    }
    PATH(MUSCLE, over | BIT(BELLY_FAT), gullet);
}

/* Vessels of the lungs: from the hilum outwards, each with branches that are half as wide. */
static void paint_lung_vessels(tomo_painter *b, tomo_random *r) {
    for (int i = 0; i < 56; i++) {
        int side = i % 2 == 0 ? -1 : 1;
        const double hilum[3] = {side * 40.0, 14, tomo_draw_between(r, 78, 116)};
        const double end[3] = {side * tomo_draw_between(r, 45, 128), tomo_draw_between(r, -72, 74),
                               tomo_draw_between(r, -25, 210)};
        double fork[3], width = tomo_draw_between(r, 2.2, 4.2);
        for (int k = 0; k < 3; k++) fork[k] = hilum[k] + (end[k] - hilum[k]) * 0.5;
        fork[1] += tomo_draw_between(r, -8, 8);
        tomo_paint_tube(b, TOMO_TISSUE_LUNG_VESSEL, lungs, hilum, fork, width, width * 0.62);
        tomo_paint_tube(b, TOMO_TISSUE_LUNG_VESSEL, lungs, fork, end, width * 0.6, 0.5);
        for (int n = 0; n < 3; n++) {
            double tip[3];
            for (int k = 0; k < 3; k++) tip[k] = end[k] + tomo_draw_between(r, -32, 32);
            tomo_paint_tube(b, TOMO_TISSUE_LUNG_VESSEL, lungs, fork, tip, width * 0.45, 0.4);
        }
    }
}

/* ------------------------------------------------------------------ abdomen */

static void paint_liver(tomo_painter *b, tomo_random *r) {
    double k = b->patient->liver;
    const uint64_t over = BIT(BELLY_FAT);
    ELLIPSOID(LIVER, over, -76, -2, -46, 76 * k, 88 * k, 74 * k);
    ELLIPSOID(LIVER, over, -90, 14, -88, 42 * k, 54 * k, 58 * k);
    TURNED(LIVER, over, -8, -48, -28, 66 * k, 34 * k, 32 * k, 0, 0.1, 0.06);
    static const double portal[][4] = {{0, 12, -88, 7}, {-30, 2, -60, 7}, {-64, 4, -46, 5}, {-96, 6, -40, 2}};
    static const double portal_left[][4] = {{-36, 0, -56, 5}, {-20, -30, -40, 4}, {14, -48, -30, 2}};
    static const double portal_low[][4] = {{-64, 4, -46, 4}, {-84, 20, -76, 2.5}, {-96, 26, -110, 1.5}};
    static const double splenic[][4] = {{0, 14, -84, 5}, {50, 34, -62, 4}, {84, 44, -46, 3}};
    PATH(PORTAL, over | BIT(LIVER), portal);
    PATH(PORTAL, over | BIT(LIVER), portal_left);
    PATH(PORTAL, over | BIT(LIVER), portal_low);
    PATH(PORTAL, over, splenic);
    for (int i = 0; i < 6; i++) { /* veins that meet below the diaphragm */
        const double meet[3] = {-26, 14, -6};
        const double end[3] = {tomo_draw_between(r, -118, 0), tomo_draw_between(r, -50, 46),
                               tomo_draw_between(r, -70, -10)};
        tomo_paint_tube(b, TOMO_TISSUE_VEIN, BIT(LIVER), meet, end, 4.5, 1.2);
    }
    TURNED(STOMACH, over | BIT(LIVER), -52, -44, -92, 17, 17, 28, 0.15, 0, 0);
    TURNED(BILE, BIT(STOMACH), -52, -44, -92, 15.4, 15.4, 26.4, 0.15, 0, 0);
}

static void paint_stomach(tomo_painter *b) {
    static const double parts[][8] = {{52, 6, -22, 36, 38, 30, 0, 0},
                                      {58, -32, -58, 30, 32, 40, 0, 0},
                                      {16, -50, -98, 42, 20, 18, 0, 0.12}};
    const uint64_t over = BIT(BELLY_FAT);
    double level = -62 + 92 * b->patient->fill_stomach; /* of fluid: gas gathers in front */
    for (int step = 0; step < 3; step++) {
        for (int i = 0; i < 3; i++) {
            const double *s = parts[i], wall = step == 0 ? 0 : 4;
            static const int tissue[3] = {TOMO_TISSUE_STOMACH, TOMO_TISSUE_GUT_FLUID, TOMO_TISSUE_GUT_GAS};
            const double radius[3] = {s[3] - wall, s[4] - wall, s[5] - wall}, turn[3] = {0, s[7], 0};
            tomo_shape *e = tomo_paint_ellipsoid(b, tissue[step],
                                                 step == 0   ? over
                                                 : step == 1 ? BIT(STOMACH)
                                                             : BIT(GUT_FLUID),
                                                 s, radius, turn);
            double cut = (0 - level) * b->patient->scale[1] * -1;
            if (step == 2 && e->high[1] > cut) e->high[1] = cut;
        }
    }
}

static void paint_spleen(tomo_painter *b) {
    double k = b->patient->spleen; /* it grows downwards, away from the diaphragm */
    TURNED(SPLEEN, BIT(BELLY_FAT) | BIT(STOMACH) | BIT(GUT_FLUID) | BIT(GUT_GAS), 100, 42, 8 - 50 * k, 25 * k,
           43 * k, 50 * k, -0.1, 0, -0.22);
    TURNED(BELLY_FAT, BIT(SPLEEN), 74, 34, -46, 20, 22, 30, 0, 0, 0); /* the hilum */
}

static void paint_kidney(tomo_painter *b, int side) {
    const tomo_finding *absent = tomo_patient_find(b->patient, TOMO_FINDING_ABSENT_KIDNEY);
    double c[3], r[3];
    int sign = side == 0 ? -1 : 1;
    if (absent != NULL && absent->side == sign) return;
    tomo_patient_kidney(b->patient, side, c, r);
    const uint64_t over = BIT(BELLY_FAT) | BIT(LIVER) | BIT(SPLEEN) | BIT(GUT) | BIT(MUSCLE);
    const double turn[3] = {0.07, -sign * 0.08, sign * -0.2};
    const double fat[3] = {r[0] + 7, r[1] + 6, r[2] + 7},
                 medulla[3] = {r[0] * 0.74, r[1] * 0.72, r[2] * 0.84};
    const double sinus[3] = {r[0] * 0.55, r[1] * 0.45, r[2] * 0.5},
                 pelvis[3] = {r[0] * 0.32, r[1] * 0.2, r[2] * 0.3};
    const double inside[3] = {c[0] - sign * r[0] * 0.45, c[1] - r[1] * 0.15, c[2]};
    int cortex = side == 0 ? TOMO_TISSUE_KIDNEY_RIGHT : TOMO_TISSUE_KIDNEY_LEFT;
    b->unscaled = true;
    tomo_paint_ellipsoid(b, TOMO_TISSUE_BELLY_FAT, BIT(GUT) | BIT(GUT_FLUID) | BIT(MUSCLE), c, fat, turn);
    tomo_paint_ellipsoid(b, cortex, over, c, r, turn);
    tomo_paint_ellipsoid(b, TOMO_TISSUE_MEDULLA, TOMO_TISSUE_BIT(cortex), c, medulla, turn);
    /* Columns of cortex between the pyramids. */
    for (int i = -2; i <= 2; i++) {
        const double at[3] = {c[0], c[1], c[2] + i * r[2] * 0.3},
                     flat[3] = {r[0] * 0.72, r[1] * 0.7, r[2] * 0.055};
        tomo_paint_ellipsoid(b, cortex, BIT(MEDULLA), at, flat, turn);
    }
    tomo_paint_ellipsoid(b, TOMO_TISSUE_BELLY_FAT, TOMO_TISSUE_BIT(cortex) | BIT(MEDULLA), inside, sinus,
                         turn);
    tomo_paint_ellipsoid(b, TOMO_TISSUE_URINE, BIT(BELLY_FAT), inside, pelvis, turn);
    const double from[3] = {inside[0], inside[1], c[2] - 8}, to[3] = {sign * 30.0, 40, -300};
    tomo_paint_tube(b, TOMO_TISSUE_URINE, BIT(BELLY_FAT), from, to, 2.4, 2);
    b->unscaled = false;
}

static void paint_gut(tomo_painter *b, tomo_random *r) {
    static const double right[][4] = {{-98, 0, -290, 20}, {-102, 14, -190, 20}, {-92, 0, -150, 18}};
    static const double across[][4] = {
        {-92, -6, -150, 17}, {-30, -64, -158, 16}, {40, -64, -146, 15}, {96, -14, -96, 15}};
    static const double left[][4] = {{98, -4, -98, 14}, {104, 22, -150, 14}, {104, 18, -290, 14}};
    static const double pancreas[][4] = {
        {-24, -2, -112, 12}, {-10, -2, -92, 10}, {22, 4, -80, 9}, {70, 34, -58, 7}};
    static const double duodenum[][4] = {
        {-22, -36, -100, 10}, {-40, 0, -106, 10}, {-36, 14, -140, 10}, {20, 12, -150, 9}};
    const uint64_t over = BIT(BELLY_FAT);
    PATH(PANCREAS, over, pancreas);
    PATH(GUT, over, duodenum);
    for (int i = 0; i < 46; i++) { /* loops of the small bowel */
        const double at[3] = {tomo_draw_between(r, -82, 84), tomo_draw_between(r, -66, 22),
                              tomo_draw_between(r, -275, -140)};
        const double to[3] = {at[0] + tomo_draw_between(r, -30, 30), at[1] + tomo_draw_between(r, -16, 16),
                              at[2] + tomo_draw_between(r, -14, 14)};
        double width = tomo_draw_between(r, 8, 12);
        tomo_paint_tube(b, TOMO_TISSUE_GUT, over, at, to, width, width * 0.9);
        int inside = tomo_draw_chance(r, 0.15) ? TOMO_TISSUE_GUT_GAS : TOMO_TISSUE_GUT_FLUID;
        tomo_paint_tube(b, inside, BIT(GUT), at, to, width - 3, width * 0.9 - 3);
    }
    PATH(GUT, over | BIT(GUT) | BIT(GUT_FLUID), right);
    PATH(GUT, over | BIT(GUT) | BIT(GUT_FLUID), across);
    PATH(GUT, over | BIT(GUT) | BIT(GUT_FLUID), left);
    const double(*const colons[3])[4] = {right, across, left};
    static const int counts[3] = {3, 4, 3};
    for (int c = 0; c < 3; c++) {
        for (int i = 0; i + 1 < counts[c]; i++) {
            const double *from = colons[c][i], *to = colons[c][i + 1];
            int inside = tomo_draw_chance(r, 0.35) ? TOMO_TISSUE_GUT_GAS : TOMO_TISSUE_STOOL;
            tomo_paint_tube(b, inside, BIT(GUT), from, to, from[3] - 2.5, to[3] - 2.5);
        }
    }
}

static void paint_back(tomo_painter *b) {
    for (int side = -1; side <= 1; side += 2) {
        const tomo_section psoas[] = {
            {-290, side * 44.0, 34, 24, 22}, {-160, side * 38.0, 48, 19, 18}, {-50, side * 26.0, 56, 7, 8}};
        const tomo_section crus[] = {{-110, side * 14.0, 36, 5, 6}, {0, side * 22.0, 38, 4, 12}};
        (void)column(b, TOMO_TISSUE_MUSCLE, BIT(BELLY_FAT), psoas, 3, 0, 0);
        (void)column(b, TOMO_TISSUE_MUSCLE, soft_spaces, crus, 2, 0, 0);
        /* Fat between the muscles of the back. */
        const tomo_section cleft[] = {{-290, side * 58.0, 84, 22, 2.4}, {60, side * 46.0, 92, 20, 2}};
        (void)column(b, TOMO_TISSUE_FAT, BIT(MUSCLE), cleft, 2, 0, 0);
    }
}

void tomo_scene_build(const tomo_patient *p, tomo_scene *scene) {
    tomo_painter painter = {.patient = p, .scene = scene}, *b = &painter;
    tomo_random random = tomo_random_seed(p->seed ^ 0x5ce3eu), *r = &random;
    scene->count = 0;
    paint_table(b);
    paint_walls(b);
    paint_lungs(b);
    paint_back(b);
    paint_gut(b, r);
    paint_heart(b);
    paint_liver(b, r);
    paint_stomach(b);
    paint_spleen(b);
    paint_lung_vessels(b, r);
    paint_airways(b);
    paint_vessels(b);
    paint_kidney(b, 0);
    paint_kidney(b, 1);
    paint_chest_bones(b);
    paint_spine(b);
    tomo_scene_add_findings(b);
}
