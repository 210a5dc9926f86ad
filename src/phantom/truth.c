#include "phantom/truth.h"

#include "phantom/scene.h"

#include <stdio.h>

#define BIT(name) TOMO_TISSUE_BIT(TOMO_TISSUE_##name)

/* How much of what a finding reaches along z lies in the scan. */
static double covered_mm(const tomo_patient *p, const tomo_finding *f) {
    double low, high;
    tomo_scene_finding_heights(p, f, &low, &high);
    low = low < p->bottom_mm ? p->bottom_mm : low;
    high = high > p->top_mm ? p->top_mm : high;
    return high - low;
}

/* What must be left of a finding to be told: less than this and it lies outside the scan, or is hidden. Of a
 * part of a scan less is enough, and an organ that is ill, or missing, has to be there or missing in it. */
static bool is_visible(const tomo_patient *p, const tomo_render *r, const tomo_finding *f) {
    double bottom = p->bottom_mm, top = p->top_mm;
    if (f->lesion >= 0) {
        double whole = 4.18879 * f->radius[0] * f->radius[1] * f->radius[2] / 1000;
        if (f->kind == TOMO_FINDING_ANEURYSM) whole *= 0.4; /* its own tissue is the lumen */
        return r->extents[TOMO_TISSUE_LESION + f->lesion].volume_ml > 0.3 * whole;
    }
    if (f->kind == TOMO_FINDING_EFFUSION) {
        int t = f->side < 0 ? TOMO_TISSUE_EFFUSION_RIGHT : TOMO_TISSUE_EFFUSION_LEFT;
        return r->extents[t].volume_ml > (p->part ? 2 : 5);
    }
    if (f->kind == TOMO_FINDING_ASCITES)
        return r->extents[TOMO_TISSUE_ASCITES].volume_ml > (p->part ? 5 : 20);
    if (f->kind == TOMO_FINDING_FRACTURE) {
        double z = tomo_patient_vertebra(p, f->level), away = p->part ? 6 : 20;
        return z > bottom + away && z < top - away;
    }
    if (!p->part) return true;
    if (f->kind == TOMO_FINDING_LARGE_SPLEEN) return r->extents[TOMO_TISSUE_SPLEEN].volume_ml > 20;
    return covered_mm(p, f) > 12;
}

static void add_finding(const tomo_patient *p, const tomo_render *r, const tomo_finding *f, tomo_truth *t) {
    int n = t->finding_count++;
    t->findings[n] = *f;
    if (p->mirrored) t->findings[n].side = -f->side;
    t->diameter_mm[n] = t->height_mm[n] = 0;
    if (f->lesion < 0) return;
    const tomo_extent *e = &r->extents[TOMO_TISSUE_LESION + f->lesion];
    double radius = f->radius[0] > f->radius[1] ? f->radius[0] : f->radius[1];
    t->diameter_mm[n] = 2 * radius;
    t->height_mm[n] = f->kind == TOMO_FINDING_ANEURYSM ? 2 * f->radius[2] : e->top_mm - e->bottom_mm;
}

void tomo_truth_find(const tomo_patient *p, const tomo_render *r, tomo_truth *t) {
    static const uint64_t tissues[TOMO_ORGANS] = {BIT(LIVER), BIT(SPLEEN), BIT(KIDNEY_RIGHT),
                                                  BIT(KIDNEY_LEFT)};
    double edge = r->spacing_mm[0] / 2;
    *t = (tomo_truth){
        .phase = p->phase, .mirrored = p->mirrored, .part = p->part, .carina_mm = 126 * p->scale[2]};
    for (int i = 0; i < TOMO_ORGANS; i++) {
        int from = i;
        if (p->mirrored && i == TOMO_ORGAN_KIDNEY_RIGHT) from = TOMO_ORGAN_KIDNEY_LEFT;
        if (p->mirrored && i == TOMO_ORGAN_KIDNEY_LEFT) from = TOMO_ORGAN_KIDNEY_RIGHT;
        tomo_extent e = tomo_render_extent(r, tissues[from]);
        t->organs[i] = e;
        t->whole[i] = e.volume_ml > 1 && e.bottom_mm > p->bottom_mm + edge && e.top_mm < p->top_mm - edge;
    }
    for (int i = 0; i < p->finding_count; i++) {
        if (is_visible(p, r, &p->findings[i])) add_finding(p, r, &p->findings[i], t);
    }
}

int tomo_truth_count(const tomo_truth *t, tomo_finding_kind kind, int side) {
    int count = 0;
    for (int i = 0; i < t->finding_count; i++) {
        count += t->findings[i].kind == kind && (side == 0 || t->findings[i].side == side);
    }
    return count;
}

int tomo_truth_first(const tomo_truth *t, tomo_finding_kind kind) {
    for (int i = 0; i < t->finding_count; i++) {
        if (t->findings[i].kind == kind) return i;
    }
    return -1;
}

/* ------------------------------------------------------------------ words */

const char *tomo_truth_side(int side) {
    return side < 0 ? "right" : "left";
}

const char *tomo_truth_kind(tomo_finding_kind kind) {
    static const char *const names[TOMO_FINDING_KINDS] = {
        "lung nodule",     "pleural effusion", "liver lesion",  "kidney stone",       "kidney lesion",
        "enlarged spleen", "aortic aneurysm",  "absent kidney", "vertebral fracture", "ascites"};
    return names[kind];
}

const char *tomo_truth_phase(tomo_phantom_phase phase) {
    static const char *const names[TOMO_PHASES] = {"non-contrast", "arterial", "portal venous", "delayed"};
    return names[phase];
}

void tomo_truth_level(int level, char text[8]) {
    (void)snprintf(text, 8, "%c%d", level <= 12 ? 'T' : 'L', (level <= 12 ? level : level - 12) % 100);
}

/* ------------------------------------------------------------------ JSON */

static bool add_number(cJSON *object, const char *name, double value) {
    /* One decimal: more would be noise of the last bit. */
    return cJSON_AddNumberToObject(object, name,
                                   (double)(int64_t)(value * 10 + (value < 0 ? -0.5 : 0.5)) / 10) != NULL;
}

static bool add_text(cJSON *object, const char *name, const char *text) {
    return cJSON_AddStringToObject(object, name, text) != NULL;
}

static bool describe(const tomo_truth *t, int i, cJSON *item) {
    static const char *const places[] = {"",           "upper",     "middle",   "lower",
                                         "right lobe", "left lobe", "thoracic", "abdominal"};
    static const char *const severities[] = {"mild", "moderate", "severe"};
    const tomo_finding *f = &t->findings[i];
    char level[8];
    bool good = add_text(item, "kind", tomo_truth_kind(f->kind)) &&
                add_text(item, "severity", severities[f->severity]);
    if (f->side != 0) good = good && add_text(item, "side", tomo_truth_side(f->side));
    if (f->place != TOMO_PLACE_NONE) good = good && add_text(item, "place", places[f->place]);
    if (f->kind == TOMO_FINDING_LIVER_LESION || f->kind == TOMO_FINDING_KIDNEY_MASS) {
        good = good && add_text(item, "type", f->type == TOMO_LESION_CYST ? "cyst" : "solid");
    }
    if (f->kind == TOMO_FINDING_FRACTURE) {
        tomo_truth_level(f->level, level);
        good = good && add_text(item, "level", level);
    }
    if (t->diameter_mm[i] > 0) {
        good = good && add_number(item, "diameter_mm", t->diameter_mm[i]) &&
               add_number(item, "height_mm", t->height_mm[i]);
    }
    return good;
}

cJSON *tomo_truth_json(const tomo_truth *t) {
    static const char *const organs[TOMO_ORGANS] = {"liver", "spleen", "right kidney", "left kidney"};
    cJSON *root = cJSON_CreateObject();
    bool good = root != NULL && add_text(root, "phase", tomo_truth_phase(t->phase)) &&
                cJSON_AddBoolToObject(root, "mirrored", t->mirrored) != NULL;
    cJSON *list = good ? cJSON_AddArrayToObject(root, "findings") : NULL;
    good = list != NULL;
    for (int i = 0; good && i < t->finding_count; i++) {
        cJSON *item = cJSON_CreateObject();
        good = item != NULL && cJSON_AddItemToArray(list, item) && describe(t, i, item);
    }
    cJSON *map = good ? cJSON_AddObjectToObject(root, "organs") : NULL;
    good = map != NULL;
    for (int i = 0; good && i < TOMO_ORGANS; i++) {
        if (t->organs[i].volume_ml <= 0) continue;
        cJSON *item = cJSON_AddObjectToObject(map, organs[i]);
        good = item != NULL && add_number(item, "volume_ml", t->organs[i].volume_ml) &&
               add_number(item, "height_mm", t->organs[i].top_mm - t->organs[i].bottom_mm) &&
               cJSON_AddBoolToObject(item, "whole", t->whole[i]) != NULL;
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}
