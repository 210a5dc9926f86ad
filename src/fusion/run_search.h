/* run_search.h - where a run of near-duplicate slices ends, without looking at all of them.
 *
 * Pruning keeps a slice and drops those after it until one differs. How much a slice differs from the kept
 * one grows with its distance, as a rule, so the first that differs is found by steps of the usual run's
 * length and then by halves: of a run of eight slices three or four are looked at. The rule fails most where
 * a slice nearly differs; such a one does not vouch for those before it, which are looked at then. How often
 * another slice is found than by looking at each is for tune-prune (model/tune.c) to tell. */
#ifndef TOMO_FUSION_RUN_SEARCH_H
#define TOMO_FUSION_RUN_SEARCH_H

#include <stdbool.h>
#include <stdint.h>

typedef enum tomo_likeness {
    TOMO_LIKENESS_ALIKE,  /* like the kept slice, and so are those in between */
    TOMO_LIKENESS_NEARLY, /* like it, but not enough to vouch for others */
    TOMO_LIKENESS_DIFFERS
} tomo_likeness;

typedef struct tomo_run_search {
    int64_t slices;   /* of the scan */
    int64_t kept;     /* the slice that the others are compared with */
    int64_t alike;    /* up to here nothing differs */
    int64_t nearly;   /* behind that, the first known to be nearly alike; -1: none */
    int64_t differs;  /* the first one known to differ; `slices`: none yet */
    double usual_run; /* a running mean of run lengths */
} tomo_run_search;

/* Before the first run, which starts at slice 0. slices: at least 1. */
tomo_run_search tomo_run_search_start(int64_t slices);
/* Which slice to look at next, or -1 when `differs` is the end of the run (`slices`: no slice differs). */
int64_t tomo_run_search_next(const tomo_run_search *search);
/* What was seen at a slice after `kept`; slices that were looked at in an earlier run may be told too. */
void tomo_run_search_tell(tomo_run_search *search, int64_t slice, tomo_likeness seen);
/* Goes on behind the slice that ended the run; false when there is none. */
bool tomo_run_search_next_run(tomo_run_search *search);

#endif
