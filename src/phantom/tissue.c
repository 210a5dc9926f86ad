#include "phantom/tissue.h"

#include "phantom/draw.h"

/* Hounsfield units without contrast, arterial, portal venous and delayed. */
typedef struct tissue_values {
    double hu[TOMO_PHASES], texture;
} tissue_values;

static const tissue_values usual[TOMO_TISSUE_LESION] = {
    [TOMO_TISSUE_AIR] = {{-1000, -1000, -1000, -1000}, 0},
    [TOMO_TISSUE_SKIN] = {{25, 28, 35, 35}, 0},
    [TOMO_TISSUE_FAT] = {{-105, -105, -103, -103}, 12},
    [TOMO_TISSUE_MUSCLE] = {{52, 56, 64, 64}, 16},
    [TOMO_TISSUE_BELLY_FAT] = {{-100, -99, -97, -97}, 26},
    [TOMO_TISSUE_MEDIASTINUM] = {{-88, -86, -84, -84}, 28},
    [TOMO_TISSUE_LUNG_RIGHT] = {{-845, -842, -838, -840}, 45},
    [TOMO_TISSUE_LUNG_LEFT] = {{-845, -842, -838, -840}, 45},
    [TOMO_TISSUE_AIRWAY] = {{-990, -990, -990, -990}, 0},
    [TOMO_TISSUE_LUNG_VESSEL] = {{35, 210, 140, 110}, 0},
    [TOMO_TISSUE_HEART] = {{46, 110, 108, 92}, 6},
    [TOMO_TISSUE_RIGHT_BLOOD] = {{42, 225, 150, 116}, 14},
    [TOMO_TISSUE_LEFT_BLOOD] = {{42, 310, 158, 117}, 5},
    [TOMO_TISSUE_AORTA] = {{42, 325, 160, 117}, 4},
    [TOMO_TISSUE_VEIN] = {{40, 75, 145, 115}, 12},
    [TOMO_TISSUE_PORTAL] = {{41, 95, 178, 120}, 5},
    [TOMO_TISSUE_LIVER] = {{57, 70, 114, 94}, 7},
    [TOMO_TISSUE_BILE] = {{8, 8, 9, 10}, 2},
    [TOMO_TISSUE_SPLEEN] = {{48, 128, 122, 96}, 6},
    [TOMO_TISSUE_KIDNEY_RIGHT] = {{34, 190, 192, 150}, 6},
    [TOMO_TISSUE_KIDNEY_LEFT] = {{34, 190, 192, 150}, 6},
    [TOMO_TISSUE_MEDULLA] = {{31, 72, 182, 158}, 6},
    [TOMO_TISSUE_URINE] = {{6, 6, 25, 420}, 4},
    [TOMO_TISSUE_PANCREAS] = {{40, 106, 94, 76}, 16},
    [TOMO_TISSUE_STOMACH] = {{38, 70, 84, 76}, 8},
    [TOMO_TISSUE_GUT] = {{36, 72, 84, 72}, 10},
    [TOMO_TISSUE_GUT_FLUID] = {{18, 18, 19, 20}, 14},
    [TOMO_TISSUE_GUT_GAS] = {{-960, -960, -960, -960}, 0},
    [TOMO_TISSUE_STOOL] = {{-90, -90, -90, -90}, 170},
    [TOMO_TISSUE_CORTEX] = {{680, 680, 685, 685}, 90},
    [TOMO_TISSUE_MARROW] = {{165, 170, 178, 175}, 50},
    [TOMO_TISSUE_DENSE_MARROW] = {{330, 332, 336, 334}, 70},
    [TOMO_TISSUE_DISC] = {{82, 82, 86, 88}, 8},
    [TOMO_TISSUE_CORD] = {{28, 28, 30, 30}, 4},
    [TOMO_TISSUE_TABLE] = {{-190, -190, -190, -190}, 0},
    [TOMO_TISSUE_EFFUSION_RIGHT] = {{9, 9, 11, 11}, 5},
    [TOMO_TISSUE_EFFUSION_LEFT] = {{9, 9, 11, 11}, 5},
    [TOMO_TISSUE_ASCITES] = {{7, 7, 9, 9}, 4},
    [TOMO_TISSUE_THROMBUS] = {{38, 38, 40, 42}, 5},
    [TOMO_TISSUE_CALCIUM] = {{620, 620, 620, 620}, 0},
};

static tissue_values lesion_values(const tomo_finding *f) {
    bool cyst = f->type == TOMO_LESION_CYST;
    switch (f->kind) {
    case TOMO_FINDING_NODULE:
        return (tissue_values){{32, 62, 74, 66}, 14};
    case TOMO_FINDING_KIDNEY_STONE:
        return (tissue_values){{820, 830, 840, 850}, 0};
    case TOMO_FINDING_KIDNEY_MASS:
        return cyst ? (tissue_values){{7, 7, 8, 9}, 2} : (tissue_values){{60, 112, 92, 76}, 24};
    case TOMO_FINDING_ANEURYSM:
        return usual[TOMO_TISSUE_AORTA];
    default: /* of the liver; a solid one takes up less contrast than the liver around it */
        return cyst ? (tissue_values){{5, 5, 6, 7}, 2} : (tissue_values){{26, 34, 50, 50}, 12};
    }
}

void tomo_tissue_looks(const tomo_patient *p, tomo_tissue_look *looks) {
    tomo_random r = tomo_random_seed(p->seed ^ 0x7155u);
    double gain = tomo_draw_between(&r, 0.85, 1.15);
    for (int t = 0; t < TOMO_TISSUES; t++) {
        tissue_values v = {{0}, 0};
        if (t < TOMO_TISSUE_LESION) v = usual[t];
        for (int i = 0; i < p->finding_count; i++) {
            const tomo_finding *f = &p->findings[i];
            if (f->lesion >= 0 && t == TOMO_TISSUE_LESION + f->lesion) v = lesion_values(f);
        }
        double without = v.hu[TOMO_PHASE_NONE], drift = tomo_draw_between(&r, -4, 4);
        looks[t].hu = without + (v.hu[p->phase] - without) * gain;
        if (v.texture > 0) looks[t].hu += drift;
        looks[t].texture_hu = v.texture;
    }
}
