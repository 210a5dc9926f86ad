#include "fusion/prune.h"

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

tomo_status tomo_prune_parse(const cJSON *section, tomo_json_at at, tomo_prune_settings *s, tomo_error *err) {
    static const char *const known[] = {"threshold", "min_slices", "max_slices", "guard", NULL};
    *s = (tomo_prune_settings){0};
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK)
        status = tomo_json_double(section, "threshold", at, true, -1, 2, &s->threshold, err);
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "min_slices", at, true, 0, MOST_SLICES, &s->min_slices, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "max_slices", at, true, 1, MOST_SLICES, &s->max_slices, err);
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
    return norm == 0 ? 1.0 : nearbyint(dot / norm * 1e9) / 1e9;
}

typedef struct walk {
    const float *descriptors, *patches;
    int64_t patch_count, width;
    const tomo_prune_settings *settings;
    tomo_prune_result *result;
} walk;

static double similarity(const walk *w, int64_t a, int64_t b) {
    return cosine(w->descriptors + a * w->width, w->descriptors + b * w->width, w->width);
}

static int64_t changed_patches(const walk *w, int64_t a, int64_t b) {
    int64_t changed = 0, size = w->patch_count * w->width;
    for (int64_t p = 0; p < w->patch_count; p++) {
        double c =
            cosine(w->patches + a * size + p * w->width, w->patches + b * size + p * w->width, w->width);
        changed += c < w->settings->guard_threshold;
    }
    return changed;
}

static void first_pass(const walk *w) {
    tomo_prune_result *r = w->result;
    r->kept[r->count++] = 0;
    r->fate[0] = TOMO_SLICE_FIRST;
    r->similarity[0] = 1;
    r->changed[0] = -1;
    for (int64_t s = 1; s < r->slices; s++) {
        int64_t last = r->kept[r->count - 1];
        r->similarity[s] = similarity(w, s, last);
        r->changed[s] = -1;
        r->fate[s] = r->similarity[s] < w->settings->threshold ? TOMO_SLICE_DIFFERS : TOMO_SLICE_DROPPED;
        if (r->fate[s] == TOMO_SLICE_DROPPED && w->settings->guard) {
            r->changed[s] = changed_patches(w, s, last);
            if (r->changed[s] >= w->settings->guard_patches) r->fate[s] = TOMO_SLICE_GUARDED;
        }
        if (r->fate[s] != TOMO_SLICE_DROPPED) r->kept[r->count++] = s;
    }
}

/* Drops the kept slice (never the first) that is most like the kept slice before it; the first of equals. */
static void drop_most_similar(const walk *w) {
    tomo_prune_result *r = w->result;
    int64_t best = 1;
    double most = -INFINITY;
    for (int64_t i = 1; i < r->count; i++) {
        double c = similarity(w, r->kept[i], r->kept[i - 1]);
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
static void restore_least_similar(const walk *w) {
    tomo_prune_result *r = w->result;
    int64_t best = -1, place = 0;
    double least = INFINITY;
    for (int64_t s = 1, i = 0; s < r->slices; s++) { /* kept[i]: the last kept slice before or at s */
        if (i + 1 < r->count && r->kept[i + 1] == s) {
            i++;
            continue;
        }
        double c = similarity(w, s, r->kept[i]);
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

tomo_status tomo_prune(const float *descriptors, const float *patches, int64_t slices, int64_t patch_count,
                       int64_t width, const tomo_prune_settings *settings, tomo_prune_result *result,
                       tomo_error *err) {
    *result = (tomo_prune_result){.slices = slices};
    size_t n = (size_t)slices;
    result->kept = calloc(n, sizeof *result->kept);
    result->fate = calloc(n, sizeof *result->fate);
    result->similarity = calloc(n, sizeof *result->similarity);
    result->changed = calloc(n, sizeof *result->changed);
    if (result->kept == NULL || result->fate == NULL || result->similarity == NULL ||
        result->changed == NULL) {
        tomo_prune_free(result);
        return tomo_fail_memory(err, "pruning", n * 32);
    }
    walk w = {descriptors, patches, patch_count, width, settings, result};
    first_pass(&w);
    int64_t most = settings->max_slices > 1 ? settings->max_slices : 1;
    int64_t least = settings->min_slices < slices ? settings->min_slices : slices;
    while (result->count > most) drop_most_similar(&w);
    while (result->count < least) restore_least_similar(&w);
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
