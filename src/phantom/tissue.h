/* tissue.h - what a point of a phantom is made of, and how bright that is in each contrast phase. */
#ifndef TOMO_PHANTOM_TISSUE_H
#define TOMO_PHANTOM_TISSUE_H

#include "phantom/patient.h"

typedef enum tomo_tissue {
    TOMO_TISSUE_AIR,
    TOMO_TISSUE_SKIN,
    TOMO_TISSUE_FAT,
    TOMO_TISSUE_MUSCLE,
    TOMO_TISSUE_BELLY_FAT,
    TOMO_TISSUE_MEDIASTINUM,
    TOMO_TISSUE_LUNG_RIGHT,
    TOMO_TISSUE_LUNG_LEFT,
    TOMO_TISSUE_AIRWAY,
    TOMO_TISSUE_LUNG_VESSEL,
    TOMO_TISSUE_HEART,
    TOMO_TISSUE_RIGHT_BLOOD,
    TOMO_TISSUE_LEFT_BLOOD,
    TOMO_TISSUE_AORTA,
    TOMO_TISSUE_VEIN,
    TOMO_TISSUE_PORTAL,
    TOMO_TISSUE_LIVER,
    TOMO_TISSUE_BILE,
    TOMO_TISSUE_SPLEEN,
    TOMO_TISSUE_KIDNEY_RIGHT,
    TOMO_TISSUE_KIDNEY_LEFT,
    TOMO_TISSUE_MEDULLA,
    TOMO_TISSUE_URINE,
    TOMO_TISSUE_PANCREAS,
    TOMO_TISSUE_STOMACH,
    TOMO_TISSUE_GUT,
    TOMO_TISSUE_GUT_FLUID,
    TOMO_TISSUE_GUT_GAS,
    TOMO_TISSUE_STOOL,
    TOMO_TISSUE_CORTEX,
    TOMO_TISSUE_MARROW,
    TOMO_TISSUE_DENSE_MARROW,
    TOMO_TISSUE_DISC,
    TOMO_TISSUE_CORD,
    TOMO_TISSUE_TABLE,
    TOMO_TISSUE_EFFUSION_RIGHT,
    TOMO_TISSUE_EFFUSION_LEFT,
    TOMO_TISSUE_ASCITES,
    TOMO_TISSUE_THROMBUS,
    TOMO_TISSUE_CALCIUM,
    TOMO_TISSUE_LESION, /* the first of TOMO_LESIONS_MOST */
    TOMO_TISSUES = TOMO_TISSUE_LESION + TOMO_LESIONS_MOST
} tomo_tissue;

/* Sets of tissues are bits of 64. */
#define TOMO_TISSUE_BIT(tissue) ((uint64_t)1 << (tissue))
_Static_assert((int)TOMO_TISSUES <= 64, "a set of tissues has 64 bits");

typedef struct tomo_tissue_look {
    double hu;
    double texture_hu; /* how far it varies from place to place */
} tomo_tissue_look;

/* For a patient: enhancement varies between people. looks[TOMO_TISSUES]. */
void tomo_tissue_looks(const tomo_patient *patient, tomo_tissue_look *looks);

#endif
