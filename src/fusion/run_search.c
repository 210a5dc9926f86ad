#include "fusion/run_search.h"

/* Thin-slice CT of a trunk has runs of two to ten slices. */
#define FIRST_RUN 4.0

tomo_run_search tomo_run_search_start(int64_t slices) {
    return (tomo_run_search){.slices = slices, .differs = slices, .usual_run = FIRST_RUN};
}

int64_t tomo_run_search_next(const tomo_run_search *s) {
    int64_t room = s->differs - s->alike;
    if (room <= 1) return -1;
    if (s->differs < s->slices) return s->alike + room / 2;
    int64_t step = (int64_t)(s->usual_run + 0.5), next = s->alike + (step < 1 ? 1 : step);
    return next < s->slices ? next : s->slices - 1;
}

void tomo_run_search_tell(tomo_run_search *s, int64_t slice, bool differs) {
    if (slice <= s->alike || slice >= s->differs) return;
    if (differs) {
        s->differs = slice;
    } else {
        s->alike = slice;
    }
}

bool tomo_run_search_next_run(tomo_run_search *s) {
    if (s->differs >= s->slices) return false;
    s->usual_run = (s->usual_run + (double)(s->differs - s->kept)) / 2;
    s->kept = s->alike = s->differs;
    s->differs = s->slices;
    return true;
}
