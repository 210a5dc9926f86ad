/* view.h - what one slice of a phantom, or a few neighbours, show: the base of their caption. */
#ifndef TOMO_PHANTOM_VIEW_H
#define TOMO_PHANTOM_VIEW_H

#include "base/random.h"
#include "phantom/render.h"

/* Bits, in the order in which a caption names them. */
typedef enum tomo_view_organ {
    TOMO_VIEW_LUNG_RIGHT,
    TOMO_VIEW_LUNG_LEFT,
    TOMO_VIEW_HEART,
    TOMO_VIEW_LIVER,
    TOMO_VIEW_GALLBLADDER,
    TOMO_VIEW_STOMACH,
    TOMO_VIEW_SPLEEN,
    TOMO_VIEW_PANCREAS,
    TOMO_VIEW_KIDNEY_RIGHT,
    TOMO_VIEW_KIDNEY_LEFT,
    TOMO_VIEW_BOWEL,
    TOMO_VIEW_ORGANS
} tomo_view_organ;

/* Sides are the patient's own, as in truth.h. */
typedef struct tomo_view {
    tomo_phantom_phase phase;
    int64_t slices;
    bool mirrored;       /* and an organ is in a slice that tells it */
    double height_mm[2]; /* of the lowest and the highest slice along z, in a body of usual size */
    int level[2];        /* the vertebrae at these heights, 1 .. TOMO_VERTEBRAE */
    unsigned organs;     /* bits of tomo_view_organ */
    tomo_finding findings[TOMO_FINDINGS_MOST]; /* those that a slice shows */
    double size_mm[TOMO_FINDINGS_MOST];        /* largest width across z in a slice; 0: no single body */
    double centre[TOMO_FINDINGS_MOST][2];      /* x, y, mm in the patient, there; of those with a size */
    int finding_count;
} tomo_view;

/* The slice, 0 .. slices - 1, to look at: any, or one through a finding that is drawn of these kinds (bits)
 * where there is one. */
int64_t tomo_view_choose(const tomo_patient *patient, tomo_random *random, int64_t slices, unsigned kinds);

/* spots[shown.count][TOMO_TISSUES]: of the slices that are shown (tomo_render_slices), of a scan of `slices`.
 */
void tomo_view_find(const tomo_patient *patient, int64_t slices, tomo_slab shown, const tomo_spot *spots,
                    tomo_view *view);

#endif
