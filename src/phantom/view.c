#include "phantom/view.h"

#include "phantom/draw.h"
#include "phantom/scene.h"

#define BIT(name) TOMO_TISSUE_BIT(TOMO_TISSUE_##name)

static double slice_mm(const tomo_patient *p, int64_t slices) {
    return (p->top_mm - p->bottom_mm) / (double)slices;
}

/* ------------------------------------------------------------------ which slice */

static int64_t slice_at(const tomo_patient *p, int64_t slices, double z) {
    int64_t slice = (int64_t)((z - p->bottom_mm) / slice_mm(p, slices) + 1000) - 1000;
    return slice < 0 ? 0 : slice >= slices ? slices - 1 : slice;
}

/* One of the patient's findings of the wanted kinds: first a kind, so that several nodules count once. */
static const tomo_finding *draw_finding(const tomo_patient *p, tomo_random *r, unsigned wanted) {
    int kinds = 0, count = 0;
    tomo_finding_kind kind = TOMO_FINDING_KINDS;
    const tomo_finding *found = NULL;
    for (int k = 0; k < TOMO_FINDING_KINDS; k++) {
        if ((wanted >> k & 1) == 0 || tomo_patient_find(p, (tomo_finding_kind)k) == NULL) continue;
        if (tomo_draw_below(r, ++kinds) == 0) kind = (tomo_finding_kind)k;
    }
    for (int i = 0; i < p->finding_count; i++) {
        if (p->findings[i].kind != kind) continue;
        if (tomo_draw_below(r, ++count) == 0) found = &p->findings[i];
    }
    return found;
}

int64_t tomo_view_choose(const tomo_patient *p, tomo_random *r, int64_t slices, unsigned kinds) {
    const tomo_finding *f = draw_finding(p, r, kinds);
    if (f == NULL) return tomo_draw_below(r, (int)slices);
    double low, high, part = tomo_draw_between(r, 0.1, 0.9);
    tomo_scene_finding_heights(p, f, &low, &high);
    /* The middle of what is hardly thicker than a slice: beside it the slice might miss it. */
    if (high - low < 2 * slice_mm(p, slices)) part = 0.5;
    return slice_at(p, slices, low + (high - low) * part);
}

/* ------------------------------------------------------------------ what it shows */

/* Several tissues as one. */
static tomo_spot join(const tomo_spot *spots, uint64_t tissues) {
    tomo_spot all = {0};
    for (int t = 0; t < TOMO_TISSUES; t++) {
        const tomo_spot *s = &spots[t];
        if ((tissues >> t & 1) == 0 || s->area_mm2 <= 0) continue;
        for (int k = 0; k < 2; k++) {
            if (all.area_mm2 <= 0 || s->low[k] < all.low[k]) all.low[k] = s->low[k];
            if (all.area_mm2 <= 0 || s->high[k] > all.high[k]) all.high[k] = s->high[k];
            all.centre[k] =
                (all.centre[k] * all.area_mm2 + s->centre[k] * s->area_mm2) / (all.area_mm2 + s->area_mm2);
        }
        all.area_mm2 += s->area_mm2;
    }
    return all;
}

/* What must be in the slice of an organ to be named. */
static const struct {
    uint64_t tissues;
    double least_mm2;
} organs[TOMO_VIEW_ORGANS] = {
    [TOMO_VIEW_LUNG_RIGHT] = {BIT(LUNG_RIGHT), 300},
    [TOMO_VIEW_LUNG_LEFT] = {BIT(LUNG_LEFT), 300},
    [TOMO_VIEW_HEART] = {BIT(HEART), 500},
    [TOMO_VIEW_LIVER] = {BIT(LIVER), 200},
    [TOMO_VIEW_GALLBLADDER] = {BIT(BILE), 50},
    [TOMO_VIEW_STOMACH] = {BIT(STOMACH), 100},
    [TOMO_VIEW_SPLEEN] = {BIT(SPLEEN), 150},
    [TOMO_VIEW_PANCREAS] = {BIT(PANCREAS), 80},
    [TOMO_VIEW_KIDNEY_RIGHT] = {BIT(KIDNEY_RIGHT), 80},
    [TOMO_VIEW_KIDNEY_LEFT] = {BIT(KIDNEY_LEFT), 80},
    [TOMO_VIEW_BOWEL] = {BIT(GUT), 150},
};

/* The same organ of the other side. */
static int opposite(int organ) {
    static const int pairs[][2] = {{TOMO_VIEW_LUNG_RIGHT, TOMO_VIEW_LUNG_LEFT},
                                   {TOMO_VIEW_KIDNEY_RIGHT, TOMO_VIEW_KIDNEY_LEFT}};
    for (int i = 0; i < 2; i++) {
        for (int k = 0; k < 2; k++) {
            if (organ == pairs[i][k]) return pairs[i][1 - k];
        }
    }
    return organ;
}

/* The tissues of which a finding's size in a slice is taken; 0: no single body. */
static uint64_t body_of(const tomo_finding *f) {
    uint64_t own = f->lesion >= 0 ? TOMO_TISSUE_BIT(TOMO_TISSUE_LESION + f->lesion) : 0;
    if (f->kind == TOMO_FINDING_ANEURYSM) return own | BIT(THROMBUS) | BIT(CALCIUM);
    return f->kind == TOMO_FINDING_LARGE_SPLEEN ? BIT(SPLEEN) : own;
}

/* A place without a kidney tells something only at the height where it would lie. */
static bool misses_kidney(const tomo_patient *p, const tomo_finding *f, double z, const tomo_spot *spots) {
    double low, high;
    int other = f->side < 0 ? TOMO_TISSUE_KIDNEY_LEFT : TOMO_TISSUE_KIDNEY_RIGHT;
    tomo_scene_finding_heights(p, f, &low, &high);
    return z > low && z < high && spots[other].area_mm2 > 300;
}

static bool is_visible(const tomo_patient *p, const tomo_finding *f, double z, const tomo_spot *spots) {
    switch (f->kind) {
    case TOMO_FINDING_EFFUSION:
        return spots[f->side < 0 ? TOMO_TISSUE_EFFUSION_RIGHT : TOMO_TISSUE_EFFUSION_LEFT].area_mm2 > 150;
    case TOMO_FINDING_ASCITES:
        return spots[TOMO_TISSUE_ASCITES].area_mm2 > 200;
    case TOMO_FINDING_FRACTURE:
        return spots[TOMO_TISSUE_DENSE_MARROW].area_mm2 > 60;
    case TOMO_FINDING_LARGE_SPLEEN:
        return spots[TOMO_TISSUE_SPLEEN].area_mm2 > 600;
    case TOMO_FINDING_ABSENT_KIDNEY:
        return misses_kidney(p, f, z, spots);
    case TOMO_FINDING_ANEURYSM:
        return spots[TOMO_TISSUE_LESION + f->lesion].area_mm2 > 100;
    default: { /* enough to be seen, and more than a rim of what is larger */
        double most = 3.14159 * f->radius[0] * f->radius[1],
               area = spots[TOMO_TISSUE_LESION + f->lesion].area_mm2;
        return area > 16 && area > 0.2 * most;
    }
    }
}

/* Takes the size where it is largest. */
static void measure_finding(const tomo_patient *p, const tomo_finding *f, const tomo_spot *spots, int n,
                            tomo_view *v) {
    tomo_spot body = join(spots, body_of(f));
    if (body.area_mm2 <= 0) return;
    double wide = body.high[0] - body.low[0], deep = body.high[1] - body.low[1];
    double size = wide > deep ? wide : deep;
    if (size <= v->size_mm[n]) return;
    v->size_mm[n] = size;
    v->centre[n][0] = (p->mirrored ? -1 : 1) * body.centre[0];
    v->centre[n][1] = body.centre[1];
}

static int vertebra_at(const tomo_patient *p, double z) {
    int nearest = 1;
    double least = 1e9;
    for (int level = 1; level <= TOMO_VERTEBRAE; level++) {
        double away = tomo_patient_vertebra(p, level) - z;
        if (away < 0) away = -away;
        if (away < least) least = away, nearest = level;
    }
    return nearest;
}

static double height_of(const tomo_patient *p, int64_t slices, int64_t slice) {
    return p->bottom_mm + ((double)slice + 0.5) * slice_mm(p, slices);
}

static void find_organs(const tomo_patient *p, const tomo_spot *spots, tomo_view *v) {
    for (int i = 0; i < TOMO_VIEW_ORGANS; i++) {
        int from = p->mirrored ? opposite(i) : i;
        if (join(spots, organs[from].tissues).area_mm2 > organs[from].least_mm2) v->organs |= 1u << i;
    }
}

void tomo_view_find(const tomo_patient *p, int64_t slices, tomo_slab shown, const tomo_spot *spots,
                    tomo_view *v) {
    const unsigned telling =
        1u << TOMO_VIEW_HEART | 1u << TOMO_VIEW_LIVER | 1u << TOMO_VIEW_STOMACH | 1u << TOMO_VIEW_SPLEEN;
    *v = (tomo_view){.slices = shown.count, .phase = p->phase};
    for (int end = 0; end < 2; end++) {
        double z = height_of(p, slices, shown.first + (end == 0 ? 0 : shown.count - 1));
        v->height_mm[end] = z / p->scale[2];
        v->level[end] = vertebra_at(p, z);
    }
    for (int64_t k = 0; k < shown.count; k++) find_organs(p, spots + k * TOMO_TISSUES, v);
    v->mirrored = p->mirrored && (v->organs & telling) != 0;
    for (int i = 0; i < p->finding_count; i++) {
        const tomo_finding *f = &p->findings[i];
        int n = v->finding_count;
        for (int64_t k = 0; k < shown.count; k++) {
            const tomo_spot *of = spots + k * TOMO_TISSUES;
            if (!is_visible(p, f, height_of(p, slices, shown.first + k), of)) continue;
            v->finding_count = n + 1;
            measure_finding(p, f, of, n, v);
        }
        if (v->finding_count == n) continue;
        v->findings[n] = *f;
        if (p->mirrored) v->findings[n].side = -f->side;
    }
}
