#include "fusion/prune.h"

#include "base/random.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MOST_SLICES 100000

static tomo_status parse_guard(const cJSON *guard, tomo_json_at at, tomo_prune_settings *s, tomo_error *err) {
    static const char *const known[] = {"threshold", "patches", NULL};
    tomo_json_at inside = {at.file, "prune.guard."};
    if (!cJSON_IsObject(guard)) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"prune.guard\" is no object; {\"threshold\", \"patches\"} is wanted", at.file);
    }
    tomo_status status = tomo_json_only(guard, inside, known, err);
    s->guard = true;
    if (status == TOMO_OK) {
        status = tomo_json_double(guard, "threshold", inside, true, -1, 2, &s->guard_threshold, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(guard, "patches", inside, true, 0, 1000000, &s->guard_patches, err);
    }
    return status;
}

static tomo_status parse_choice(const cJSON *section, tomo_json_at at, tomo_prune_settings *s,
                                tomo_error *err) {
    static const char *const names[] = {"similarity", "uniform", "random"};
    const char *name = names[0];
    int64_t seed = 0;
    tomo_status status = tomo_json_text(section, "choice", at, false, &name, err);
    if (status == TOMO_OK)
        status = tomo_json_int(section, "seed", at, false, 0, INT64_C(1) << 53, &seed, err);
    if (status != TOMO_OK) return status;
    s->seed = (uint64_t)seed;
    for (int i = 0; i < 3; i++) {
        s->choice = (tomo_slice_choice)i;
        if (strcmp(name, names[i]) == 0) return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_HEADER,
                     "%s: \"%schoice\" is \"%.40s\"; similarity, uniform or random is wanted", at.file,
                     at.section, name);
}

tomo_status tomo_prune_parse(const cJSON *section, tomo_json_at at, tomo_prune_settings *s, tomo_error *err) {
    static const char *const known[] = {"threshold", "min_slices", "max_slices", "guard", "early",
                                        "search",    "choice",     "seed",       NULL};
    *s = (tomo_prune_settings){0};
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK) status = parse_choice(section, at, s, err);
    bool walks = s->choice == TOMO_CHOICE_SIMILARITY;
    if (status == TOMO_OK)
        status = tomo_json_double(section, "threshold", at, walks, -1, 2, &s->threshold, err);
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "min_slices", at, walks, 0, MOST_SLICES, &s->min_slices, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "max_slices", at, true, 1, MOST_SLICES, &s->max_slices, err);
    }
    if (status == TOMO_OK) status = tomo_json_double(section, "early", at, false, 0, 1, &s->early, err);
    s->search = tomo_json_get(section, "search") != NULL;
    if (status == TOMO_OK)
        status = tomo_json_double(section, "search", at, false, 0, 1, &s->search_margin, err);
    if (status == TOMO_OK && s->search && s->early > 0) {
        status = tomo_fail(err, TOMO_E_HEADER,
                           "%s: \"%searly\" and \"%ssearch\" are both set; one of them is wanted", at.file,
                           at.section, at.section);
    }
    if (status != TOMO_OK) return status;
    const cJSON *guard = tomo_json_get(section, "guard");
    return guard == NULL ? TOMO_OK : parse_guard(guard, at, s, err);
}

const char *tomo_slice_fate_name(tomo_slice_fate fate) {
    switch (fate) {
    case TOMO_SLICE_DROPPED:
        return "dropped";
    case TOMO_SLICE_FIRST:
        return "first";
    case TOMO_SLICE_DIFFERS:
        return "differs";
    case TOMO_SLICE_GUARDED:
        return "guard";
    case TOMO_SLICE_RESTORED:
        return "restored";
    case TOMO_SLICE_OVER_LIMIT:
        return "over_limit";
    case TOMO_SLICE_EARLY:
        return "early";
    case TOMO_SLICE_BETWEEN:
        return "between";
    case TOMO_SLICE_UNIFORM:
        return "uniform";
    case TOMO_SLICE_RANDOM:
        return "random";
    case TOMO_SLICE_NOT_CHOSEN:
        return "not_chosen";
    }
    return "unknown";
}

/* In double and rounded to 9 decimals, so that a tie is a tie whatever the order of summation; 1 if either
 * vector is zero. */
static double cosine(const float *a, const float *b, int64_t n) {
    double dot = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)a[i], y = (double)b[i];
        dot += x * y;
        aa += x * x;
        bb += y * y;
    }
    double norm = sqrt(aa) * sqrt(bb);
    /* What is no number tells nothing apart either. */
    return norm == 0 || !isfinite(dot / norm) ? 1.0 : nearbyint(dot / norm * 1e9) / 1e9;
}

struct tomo_pruner {
    tomo_prune_settings settings;
    int64_t patch_count, width;
    int64_t slices, room;  /* pushed so far, and how many the arrays hold */
    float *descriptors;    /* [slices, width] */
    float *last_patches;   /* [patch_count, width] of the last kept slice; with guard */
    int64_t last;          /* its index */
    tomo_slice_fate *fate; /* [slices] each */
    double *similarity;
    int64_t *changed;
};

tomo_status tomo_pruner_create(const tomo_prune_settings *settings, int64_t patch_count, int64_t width,
                               tomo_pruner **pruner, tomo_error *err) {
    *pruner = NULL;
    tomo_pruner *p = calloc(1, sizeof *p);
    if (p == NULL) return tomo_fail_memory(err, "pruning", sizeof *p);
    *p = (tomo_pruner){.settings = *settings, .patch_count = patch_count, .width = width};
    if (settings->guard) {
        p->last_patches = calloc((size_t)(patch_count * width), sizeof *p->last_patches);
        if (p->last_patches == NULL) {
            tomo_pruner_free(p);
            return tomo_fail_memory(err, "pruning", (size_t)(patch_count * width) * sizeof *p->last_patches);
        }
    }
    *pruner = p;
    return TOMO_OK;
}

void tomo_pruner_free(tomo_pruner *p) {
    if (p == NULL) return;
    free(p->descriptors);
    free(p->last_patches);
    free(p->fate);
    free(p->similarity);
    free(p->changed);
    free(p);
}

/* Makes an array hold `room` elements; false when out of memory (the old one stays). */
static bool grow(void *array, size_t size, int64_t room) {
    void **place = array, *larger = realloc(*place, (size_t)room * size);
    if (larger == NULL) return false;
    *place = larger;
    return true;
}

static tomo_status make_room(tomo_pruner *p, tomo_error *err) {
    if (p->slices < p->room) return TOMO_OK;
    int64_t room = p->room == 0 ? 64 : p->room * 2;
    if (!grow(&p->descriptors, (size_t)p->width * sizeof(float), room) ||
        !grow(&p->fate, sizeof *p->fate, room) || !grow(&p->similarity, sizeof *p->similarity, room) ||
        !grow(&p->changed, sizeof *p->changed, room)) {
        return tomo_fail_memory(err, "pruning", (size_t)(room * p->width) * sizeof(float));
    }
    p->room = room;
    return TOMO_OK;
}

static double similarity(const tomo_pruner *p, int64_t a, int64_t b) {
    return cosine(p->descriptors + a * p->width, p->descriptors + b * p->width, p->width);
}

static int64_t changed_patches(const tomo_pruner *p, const float *patches) {
    int64_t changed = 0;
    for (int64_t i = 0; i < p->patch_count; i++) {
        double c = cosine(patches + i * p->width, p->last_patches + i * p->width, p->width);
        changed += c < p->settings.guard_threshold;
    }
    return changed;
}

/* A slice against the last kept one. *changed stays where its patches are not looked at. */
static tomo_slice_fate compare(const tomo_pruner *p, const float *descriptor, const float *patches,
                               double *alike, int64_t *changed) {
    *alike = cosine(descriptor, p->descriptors + p->last * p->width, p->width);
    if (*alike < p->settings.threshold) return TOMO_SLICE_DIFFERS;
    if (!p->settings.guard) return TOMO_SLICE_DROPPED;
    *changed = changed_patches(p, patches);
    return *changed >= p->settings.guard_patches ? TOMO_SLICE_GUARDED : TOMO_SLICE_DROPPED;
}

tomo_likeness tomo_pruner_look(const tomo_pruner *p, const float *descriptor, const float *patches,
                               double margin) {
    double alike;
    int64_t changed;
    assert(p->slices > 0);
    if (compare(p, descriptor, patches, &alike, &changed) != TOMO_SLICE_DROPPED) return TOMO_LIKENESS_DIFFERS;
    double sure = p->settings.threshold + margin * (1 - p->settings.threshold);
    return alike >= sure ? TOMO_LIKENESS_ALIKE : TOMO_LIKENESS_NEARLY;
}

tomo_status tomo_pruner_push(tomo_pruner *p, const float *descriptor, const float *patches, bool *kept,
                             tomo_error *err) {
    tomo_status status = make_room(p, err);
    if (status != TOMO_OK) return status;
    int64_t s = p->slices++;
    memcpy(p->descriptors + s * p->width, descriptor, (size_t)p->width * sizeof *descriptor);
    p->similarity[s] = 1;
    p->changed[s] = -1;
    p->fate[s] =
        s == 0 ? TOMO_SLICE_FIRST : compare(p, descriptor, patches, &p->similarity[s], &p->changed[s]);
    *kept = p->fate[s] != TOMO_SLICE_DROPPED;
    if (*kept) {
        p->last = s;
        size_t bytes = (size_t)(p->patch_count * p->width) * sizeof *patches;
        if (p->settings.guard) memcpy(p->last_patches, patches, bytes);
    }
    return TOMO_OK;
}

tomo_status tomo_pruner_skip(tomo_pruner *p, tomo_slice_fate fate, tomo_error *err) {
    assert(p->slices > 0);
    tomo_status status = make_room(p, err);
    if (status != TOMO_OK) return status;
    int64_t s = p->slices++;
    memcpy(p->descriptors + s * p->width, p->descriptors + p->last * p->width,
           (size_t)p->width * sizeof *p->descriptors);
    p->fate[s] = fate;
    p->similarity[s] = 1;
    p->changed[s] = -1;
    return TOMO_OK;
}

/* Drops the kept slice (never the first) that is most like the kept slice before it; the first of equals. */
static void drop_most_similar(const tomo_pruner *p, tomo_prune_result *r) {
    int64_t best = 1;
    double most = -INFINITY;
    for (int64_t i = 1; i < r->count; i++) {
        double c = similarity(p, r->kept[i], r->kept[i - 1]);
        if (c > most) {
            most = c;
            best = i;
        }
    }
    r->fate[r->kept[best]] = TOMO_SLICE_OVER_LIMIT;
    r->count--;
    memmove(r->kept + best, r->kept + best + 1, (size_t)(r->count - best) * sizeof *r->kept);
}

/* Restores the dropped slice that is least like the kept slice before it; the first of equals. */
static void restore_least_similar(const tomo_pruner *p, tomo_prune_result *r) {
    int64_t best = -1, place = 0;
    double least = INFINITY;
    for (int64_t s = 1, i = 0; s < r->slices; s++) { /* kept[i]: the last kept slice before or at s */
        if (i + 1 < r->count && r->kept[i + 1] == s) {
            i++;
            continue;
        }
        double c = similarity(p, s, r->kept[i]);
        if (c < least) {
            least = c;
            best = s;
            place = i + 1;
        }
    }
    r->fate[best] = TOMO_SLICE_RESTORED;
    memmove(r->kept + place + 1, r->kept + place, (size_t)(r->count - place) * sizeof *r->kept);
    r->kept[place] = best;
    r->count++;
}

static bool was_kept(tomo_slice_fate fate) {
    return fate == TOMO_SLICE_FIRST || fate == TOMO_SLICE_DIFFERS || fate == TOMO_SLICE_GUARDED;
}

tomo_status tomo_pruner_finish(tomo_pruner *p, tomo_prune_result *r, tomo_error *err) {
    *r = (tomo_prune_result){
        .slices = p->slices, .fate = p->fate, .similarity = p->similarity, .changed = p->changed};
    p->fate = NULL; /* handed over */
    p->similarity = NULL;
    p->changed = NULL;
    r->kept = calloc((size_t)p->slices, sizeof *r->kept);
    if (r->kept == NULL) {
        tomo_prune_free(r);
        return tomo_fail_memory(err, "pruning", (size_t)p->slices * sizeof *r->kept);
    }
    for (int64_t s = 0; s < r->slices; s++) {
        if (was_kept(r->fate[s])) r->kept[r->count++] = s;
    }
    int64_t most = p->settings.max_slices > 1 ? p->settings.max_slices : 1;
    int64_t least = p->settings.min_slices < p->slices ? p->settings.min_slices : p->slices;
    while (r->count > most) drop_most_similar(p, r);
    while (r->count < least) restore_least_similar(p, r);
    return TOMO_OK;
}

/* Selection sampling (Knuth, The Art of Computer Programming, 3.4.2, algorithm S): of what is left, each
 * slice is taken with the part that is still wanted. */
static void draw(tomo_random *random, tomo_prune_result *r, int64_t wanted) {
    for (int64_t s = 1; s < r->slices && r->count < wanted; s++) {
        uint64_t left = (uint64_t)(r->slices - s), open = (uint64_t)(wanted - r->count);
        if (tomo_random_below(random, left) >= open) continue;
        r->fate[s] = TOMO_SLICE_RANDOM;
        r->kept[r->count++] = s;
    }
}

tomo_status tomo_prune_choose(const tomo_prune_settings *settings, int64_t slices, uint64_t content,
                              tomo_prune_result *r, tomo_error *err) {
    int64_t wanted = settings->max_slices < slices ? settings->max_slices : slices;
    *r = (tomo_prune_result){.slices = slices};
    r->kept = calloc((size_t)slices, sizeof *r->kept);
    r->fate = calloc((size_t)slices, sizeof *r->fate);
    if (r->kept == NULL || r->fate == NULL) {
        tomo_prune_free(r);
        return tomo_fail_memory(err, "pruning", (size_t)slices * sizeof *r->kept);
    }
    for (int64_t s = 0; s < slices; s++) r->fate[s] = TOMO_SLICE_NOT_CHOSEN;
    r->fate[0] = TOMO_SLICE_FIRST;
    r->kept[r->count++] = 0;
    if (settings->choice == TOMO_CHOICE_RANDOM) {
        tomo_random random = tomo_random_seed(settings->seed * 0x9e3779b97f4a7c15u ^ content);
        draw(&random, r, wanted);
    }
    while (r->count < wanted) { /* uniform */
        int64_t s = r->count * slices / wanted;
        r->fate[s] = TOMO_SLICE_UNIFORM;
        r->kept[r->count++] = s;
    }
    return TOMO_OK;
}

void tomo_prune_free(tomo_prune_result *result) {
    free(result->kept);
    free(result->fate);
    free(result->similarity);
    free(result->changed);
    *result = (tomo_prune_result){0};
}

void tomo_run_lengths(const int64_t *kept, int64_t count, int64_t slices, int64_t *runs) {
    for (int64_t i = 0; i < count; i++) runs[i] = (i + 1 < count ? kept[i + 1] : slices) - kept[i];
}

void tomo_describe_slices(const float *patches, int64_t slices, int64_t patch_count, int64_t width,
                          float *descriptors) {
    for (int64_t s = 0; s < slices; s++) {
        for (int64_t c = 0; c < width; c++) {
            double sum = 0;
            for (int64_t p = 0; p < patch_count; p++)
                sum += (double)patches[(s * patch_count + p) * width + c];
            descriptors[s * width + c] = (float)(sum / (double)patch_count);
        }
    }
}
