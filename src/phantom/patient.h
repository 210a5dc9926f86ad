/* patient.h - what is drawn about one phantom before a voxel is painted: body, pose, contrast phase,
 * findings.
 */
#ifndef TOMO_PHANTOM_PATIENT_H
#define TOMO_PHANTOM_PATIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum tomo_phantom_phase {
    TOMO_PHASE_NONE,
    TOMO_PHASE_ARTERIAL,
    TOMO_PHASE_PORTAL,
    TOMO_PHASE_DELAYED,
    TOMO_PHASES
} tomo_phantom_phase;

typedef enum tomo_finding_kind {
    TOMO_FINDING_NODULE,
    TOMO_FINDING_EFFUSION,
    TOMO_FINDING_LIVER_LESION,
    TOMO_FINDING_KIDNEY_STONE,
    TOMO_FINDING_KIDNEY_MASS,
    TOMO_FINDING_LARGE_SPLEEN,
    TOMO_FINDING_ANEURYSM,
    TOMO_FINDING_ABSENT_KIDNEY,
    TOMO_FINDING_FRACTURE,
    TOMO_FINDING_ASCITES,
    TOMO_FINDING_KINDS
} tomo_finding_kind;

/* Where a finding lies, below the names of its organ. */
typedef enum tomo_finding_place {
    TOMO_PLACE_NONE,
    TOMO_PLACE_UPPER,
    TOMO_PLACE_MIDDLE,
    TOMO_PLACE_LOWER,
    TOMO_PLACE_RIGHT_LOBE,
    TOMO_PLACE_LEFT_LOBE,
    TOMO_PLACE_THORACIC,
    TOMO_PLACE_ABDOMINAL
} tomo_finding_place;

typedef enum tomo_lesion_type { TOMO_LESION_CYST, TOMO_LESION_SOLID } tomo_lesion_type;

/* Sides are those of usual anatomy; a mirrored patient has them exchanged (tomo_patient_side). */
typedef struct tomo_finding {
    tomo_finding_kind kind;
    int side; /* -1 right, 1 left, 0 none */
    tomo_finding_place place;
    tomo_lesion_type type;
    int severity;     /* 0 small or mild, 1 moderate, 2 large or severe */
    double centre[3]; /* mm, in the patient (shape.h) */
    double radius[3]; /* mm; 0 where the finding is no single body */
    int level;        /* fracture: thoracic 1 to 12, lumbar 13 to 17 */
    int lesion;       /* its own tissue, TOMO_TISSUE_LESION + lesion; -1: none */
} tomo_finding;

#define TOMO_FINDINGS_MOST 16
#define TOMO_LESIONS_MOST 12
/* Vertebrae T1 to L5. */
#define TOMO_VERTEBRAE 17

typedef struct tomo_patient {
    uint64_t seed;
    tomo_phantom_phase phase;
    bool mirrored;
    double scale[3];                       /* of the usual body along x, y, z */
    double fat_mm;                         /* under the skin */
    double roll, lean_x, lean_y, shift[2]; /* pose: tan of half the roll; mm of x and y for a mm of z; mm */
    double bottom_mm, top_mm;              /* what the scan covers along z */
    bool part;                             /* it covers a part of what it would: tomo_patient_cover */
    double margin;                         /* width of the picture, in widths of the body */
    double slab;                           /* thickness of a slice in distances of slices */
    double noise_hu, warp_mm;
    double liver, spleen, kidney_size[2], kidney_z[2]; /* factors; mm; [0] right, [1] left */
    double fill_stomach;                               /* part of the stomach that is fluid */
    tomo_finding findings[TOMO_FINDINGS_MOST];
    int finding_count, lesion_count;
} tomo_patient;

/* The same seed gives the same patient. */
void tomo_patient_draw(uint64_t seed, tomo_patient *patient);

/* Leaves of the scan, of so many slices, those from `first` on. */
void tomo_patient_cover(tomo_patient *patient, int64_t slices, int64_t first, int64_t count);

/* The first finding of the kind, or NULL. */
const tomo_finding *tomo_patient_find(const tomo_patient *patient, tomo_finding_kind kind);

/* Centre (mm, scaled) of usual kidneys, 0 right, 1 left, and of vertebra 1 .. TOMO_VERTEBRAE. */
void tomo_patient_kidney(const tomo_patient *patient, int side, double centre[3], double radius[3]);
double tomo_patient_vertebra(const tomo_patient *patient, int level);

#endif
