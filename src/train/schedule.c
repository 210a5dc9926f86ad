#include "train/schedule.h"

#include <math.h>
#include <string.h>

bool tomo_schedule_named(const char *name, tomo_schedule_kind *kind) {
    static const struct {
        const char *name;
        tomo_schedule_kind kind;
    } known[] = {
        {"constant", TOMO_SCHEDULE_CONSTANT},
        {"constant_with_warmup", TOMO_SCHEDULE_CONSTANT},
        {"linear", TOMO_SCHEDULE_LINEAR},
        {"cosine", TOMO_SCHEDULE_COSINE},
        {"cosine_with_min_lr", TOMO_SCHEDULE_COSINE},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) != 0) continue;
        *kind = known[i].kind;
        return true;
    }
    return false;
}

double tomo_schedule_factor(const tomo_schedule *s, int64_t step) {
    if (step < s->warmup) return (double)step / (double)s->warmup;
    int64_t falling = s->steps - s->warmup;
    double progress = (double)(step - s->warmup) / (double)(falling > 0 ? falling : 1), factor = 1;
    if (s->kind == TOMO_SCHEDULE_LINEAR) {
        factor = (double)(s->steps - step) / (double)(falling > 0 ? falling : 1);
    } else if (s->kind == TOMO_SCHEDULE_COSINE) {
        /* Past the last step the cosine rises again; a run ends there. */
        factor = 0.5 * (1 + cos(3.14159265358979323846 * progress)) * (1 - s->least) + s->least;
    }
    return factor > 0 ? factor : 0;
}
