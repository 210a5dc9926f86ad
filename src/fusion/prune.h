/* prune.h - which slices to keep: near-duplicates are dropped by cosine similarity.
 *
 * Equal to prune() of tests/reference/make/connector.py, decision for decision. Beside it stand two choices
 * that look at no slice, to hold it against: evenly spaced slices, and slices drawn at random. */
#ifndef TOMO_FUSION_PRUNE_H
#define TOMO_FUSION_PRUNE_H

#include "base/json.h"
#include "fusion/run_search.h"

typedef enum tomo_slice_choice {
    TOMO_CHOICE_SIMILARITY,
    TOMO_CHOICE_UNIFORM, /* max_slices of them, evenly spaced */
    TOMO_CHOICE_RANDOM   /* max_slices of them, drawn */
} tomo_slice_choice;

typedef struct tomo_prune_settings {
    tomo_slice_choice choice; /* other than similarity: of what follows only max_slices and seed count */
    uint64_t seed;            /* of the drawing */
    double threshold;         /* a slice less similar than this to the last kept one is kept */
    int64_t min_slices;       /* restored up to this many, least similar first */
    int64_t max_slices;       /* dropped down to this many, most similar first */
    bool guard;               /* look at patches too: a small lesion hardly moves a slice's mean */
    double guard_threshold;
    int64_t guard_patches; /* this many patches less similar than guard_threshold keep the slice */
    /* Above 0: a slice whose pixels differ less than this from the last kept slice's is dropped before it is
     * encoded (model/look.h has the measure, in grey levels of 0..1). Not part of connector.py. */
    double early;
    /* The end of a run of near-duplicates is searched (fusion/run_search.h) rather than walked to: slices in
     * between are not encoded. Not part of connector.py, and not together with early. A slice vouches for
     * those before it when its similarity lies above the threshold by this part (0..1) of what is left to 1.
     */
    bool search;
    double search_margin;
} tomo_prune_settings;

/* The "prune" section of config.json; unknown keys are refused by name. min_slices above max_slices has a
 * meaning here (drop, then restore); a model directory refuses it. */
tomo_status tomo_prune_parse(const cJSON *section, tomo_json_at at, tomo_prune_settings *settings,
                             tomo_error *err);

/* Why a slice was kept or dropped. */
typedef enum tomo_slice_fate {
    TOMO_SLICE_DROPPED,    /* like the kept slice before it */
    TOMO_SLICE_FIRST,      /* the first is always kept */
    TOMO_SLICE_DIFFERS,    /* its mean differs */
    TOMO_SLICE_GUARDED,    /* its mean is alike, but patches differ */
    TOMO_SLICE_RESTORED,   /* dropped, then restored to reach min_slices */
    TOMO_SLICE_OVER_LIMIT, /* kept, then dropped to respect max_slices */
    TOMO_SLICE_EARLY,      /* dropped unseen: its pixels are like those of the kept slice before it */
    TOMO_SLICE_BETWEEN,    /* dropped unseen: it lies between the kept slice and one that is like it */
    TOMO_SLICE_UNIFORM,    /* kept, being one of those that are evenly spaced */
    TOMO_SLICE_RANDOM,     /* kept, being drawn */
    TOMO_SLICE_NOT_CHOSEN, /* dropped unseen: neither */
} tomo_slice_fate;
/* "dropped", "first", "differs", "guard", "restored", "over_limit", "early", "between", "uniform", "random",
 * "not_chosen"
 */
const char *tomo_slice_fate_name(tomo_slice_fate fate);

typedef struct tomo_prune_result {
    int64_t slices, count;
    int64_t *kept;         /* [count], ascending */
    tomo_slice_fate *fate; /* [slices] */
    double
        *similarity;  /* [slices]: cosine to the last kept slice when the walk came to it; 1 for the first */
    int64_t *changed; /* [slices]: patches that differed then, -1 where they were not looked at */
    /* Both NULL where the choice looks at no slice. */
} tomo_prune_result;

/* Takes slices one after another, so that only what was kept has to be held: features of a dropped slice are
 * needed again only when it is restored at the end. */
typedef struct tomo_pruner tomo_pruner;

/* width: of descriptors and patch tokens; patch_count: patches a slice. */
tomo_status tomo_pruner_create(const tomo_prune_settings *settings, int64_t patch_count, int64_t width,
                               tomo_pruner **pruner, tomo_error *err);
void tomo_pruner_free(tomo_pruner *pruner);
/* The next slice: descriptor [width], the mean of its deep patch tokens, and patches [patch_count, width],
 * those tokens (NULL without guard). *kept: whether the walk keeps it. */
tomo_status tomo_pruner_push(tomo_pruner *pruner, const float *descriptor, const float *patches, bool *kept,
                             tomo_error *err);
/* How a slice, which may lie further on, compares with the last kept one (there is one), with a margin as in
 * search_margin. Takes nothing. */
tomo_likeness tomo_pruner_look(const tomo_pruner *pruner, const float *descriptor, const float *patches,
                               double margin);
/* The next slice is dropped unseen, with this fate; it counts as equal to the last kept one, whose descriptor
 * stands for it. */
tomo_status tomo_pruner_skip(tomo_pruner *pruner, tomo_slice_fate fate, tomo_error *err);
/* All slices were pushed (at least one): respects the limits and hands out the result, freed by
 * tomo_prune_free. */
tomo_status tomo_pruner_finish(tomo_pruner *pruner, tomo_prune_result *result, tomo_error *err);
void tomo_prune_free(tomo_prune_result *result);

/* The choices that look at no slice: which of `slices` (at least 1) are kept, min(max_slices, slices) of
 * them. The first is among them, as everywhere: a kept slice stands for those up to the next one. uniform:
 * slice floor(i S / K). random: the others drawn without replacement, each as likely; the draw follows from
 * the seed and `content`, a number that tells scans apart. */
tomo_status tomo_prune_choose(const tomo_prune_settings *settings, int64_t slices, uint64_t content,
                              tomo_prune_result *result, tomo_error *err);

/* Writes how many slices each kept slice stands for, itself and those up to the next kept one, into
 * runs [count]. */
void tomo_run_lengths(const int64_t *kept, int64_t count, int64_t slices, int64_t *runs);

/* Mean over the patches of each slice, summed in one fixed order: patches [slices, patch_count, width] ->
 * descriptors [slices, width]. */
void tomo_describe_slices(const float *patches, int64_t slices, int64_t patch_count, int64_t width,
                          float *descriptors);

#endif
