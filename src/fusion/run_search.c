#include "fusion/run_search.h"

/* Thin-slice CT of a trunk has runs of two to ten slices. */
#define FIRST_RUN 4.0

tomo_run_search tomo_run_search_start(int64_t slices) {
    return (tomo_run_search){.slices = slices, .nearly = -1, .differs = slices, .usual_run = FIRST_RUN};
}

int64_t tomo_run_search_next(const tomo_run_search *s) {
    if (s->differs - s->alike <= 1) return -1;
    int64_t bound = s->nearly >= 0 ? s->nearly : s->differs;
    if (bound < s->slices) return s->alike + (bound - s->alike) / 2;
    int64_t step = (int64_t)(s->usual_run + 0.5), next = s->alike + (step < 1 ? 1 : step);
    return next < s->slices ? next : s->slices - 1;
}

void tomo_run_search_tell(tomo_run_search *s, int64_t slice, tomo_likeness seen) {
    if (slice <= s->alike || slice >= s->differs) return;
    if (seen == TOMO_LIKENESS_DIFFERS) {
        s->differs = slice;
    } else if (seen == TOMO_LIKENESS_ALIKE) {
        s->alike = slice;
    } else if (s->nearly < 0 || slice < s->nearly) {
        s->nearly = slice;
    }
    /* Nothing lies between that would have to be vouched for. */
    if (s->nearly == s->alike + 1) s->alike = s->nearly;
    if (s->nearly <= s->alike || s->nearly >= s->differs) s->nearly = -1;
}

bool tomo_run_search_next_run(tomo_run_search *s) {
    if (s->differs >= s->slices) return false;
    s->usual_run = (s->usual_run + (double)(s->differs - s->kept)) / 2;
    s->kept = s->alike = s->differs;
    s->nearly = -1;
    s->differs = s->slices;
    return true;
}
