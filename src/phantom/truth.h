/* truth.h - what is true of a phantom and can be seen in its voxels: the base of report and questions. */
#ifndef TOMO_PHANTOM_TRUTH_H
#define TOMO_PHANTOM_TRUTH_H

#include "phantom/render.h"

#include <cjson/cJSON.h>

typedef enum tomo_organ {
    TOMO_ORGAN_LIVER,
    TOMO_ORGAN_SPLEEN,
    TOMO_ORGAN_KIDNEY_RIGHT,
    TOMO_ORGAN_KIDNEY_LEFT,
    TOMO_ORGANS
} tomo_organ;

/* Sides are now the patient's own: a mirrored patient's are exchanged. */
typedef struct tomo_truth {
    tomo_phantom_phase phase;
    bool mirrored, part; /* part: the scan was cut short on purpose (tomo_patient_cover) */
    tomo_finding findings[TOMO_FINDINGS_MOST]; /* those that the scan shows */
    double diameter_mm[TOMO_FINDINGS_MOST];    /* across z, the larger one; 0: no single body */
    double height_mm[TOMO_FINDINGS_MOST];      /* along z; 0: no single body */
    int finding_count;
    tomo_extent organs[TOMO_ORGANS]; /* volume 0: not there */
    bool whole[TOMO_ORGANS];         /* not cut by an end of the scan */
    double carina_mm;                /* where the windpipe forks, along z */
} tomo_truth;

void tomo_truth_find(const tomo_patient *patient, const tomo_render *render, tomo_truth *truth);

/* How many findings of a kind (and side, 0: any) there are. */
int tomo_truth_count(const tomo_truth *truth, tomo_finding_kind kind, int side);
/* The first of them, or -1. */
int tomo_truth_first(const tomo_truth *truth, tomo_finding_kind kind);

/* Words: "lung nodule", "left", "portal venous", "T12". */
const char *tomo_truth_kind(tomo_finding_kind kind);
const char *tomo_truth_side(int side);
const char *tomo_truth_phase(tomo_phantom_phase phase);
void tomo_truth_level(int level, char text[8]);

/* All of it as JSON, freed by cJSON_Delete; NULL when out of memory. */
cJSON *tomo_truth_json(const tomo_truth *truth);

#endif
