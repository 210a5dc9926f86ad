/* tune.c - how near-duplicate slices can be dropped unseen without changing which slices are kept. */
#include "base/file.h"
#include "base/folder.h"
#include "fusion/run_search.h"
#include "model/look.h"
#include "model/reading.h"
#include "model/scan.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Candidates in grey levels of 0..1: a quarter more each, from the noise of a quiet CT to the whole range. */
#define CANDIDATES 32
#define SMALLEST 0.001
#define STEP 1.25
/* Margins of the search, tried behind them. */
static const double margins[] = {0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7};
#define MARGINS ((int)(sizeof margins / sizeof margins[0]))
#define WAYS (CANDIDATES + MARGINS)

/* Of one way of dropping slices unseen, summed over scans. */
typedef struct tally {
    double early, search; /* one of them counts */
    int64_t both, either; /* slices kept by both walks, by at least one */
    int64_t skipped;
} tally;

/* Every slice of a scan as the encoder read it. */
typedef struct slices_seen {
    int64_t slices, pixel_count, patch_count, width; /* floats of pixels; patches; floats of a patch */
    float *pixels, *patches, *descriptors;
} slices_seen;

static void forget(slices_seen *v) {
    free(v->pixels);
    free(v->patches);
    free(v->descriptors);
    v->pixels = v->patches = v->descriptors = NULL;
}

static bool see(void *user, int64_t s, int64_t slices, const float *pixels, const float *patches,
                const float *descriptor) {
    slices_seen *v = user;
    size_t patch_floats = (size_t)(v->patch_count * v->width);
    if (s == 0) {
        v->slices = slices;
        v->pixels = calloc((size_t)(slices * v->pixel_count), sizeof *v->pixels);
        v->patches = calloc((size_t)slices * patch_floats, sizeof *v->patches);
        v->descriptors = calloc((size_t)(slices * v->width), sizeof *v->descriptors);
    }
    if (v->pixels == NULL || v->patches == NULL || v->descriptors == NULL) return false;
    memcpy(v->pixels + s * v->pixel_count, pixels, (size_t)v->pixel_count * sizeof *pixels);
    memcpy(v->patches + (size_t)s * patch_floats, patches, patch_floats * sizeof *patches);
    memcpy(v->descriptors + s * v->width, descriptor, (size_t)v->width * sizeof *descriptor);
    return true;
}

static tomo_status push(tomo_pruner *pruner, const slices_seen *v, int64_t s, bool *kept, tomo_error *err) {
    return tomo_pruner_push(pruner, v->descriptors + s * v->width, v->patches + s * v->patch_count * v->width,
                            kept, err);
}

/* The walk over slices that were seen, with early dropping below `early` (0: without). */
static tomo_status walk(const tomo_model *m, const slices_seen *v, tomo_look *look, double early,
                        tomo_prune_result *result, int64_t *skipped, tomo_error *err) {
    tomo_pruner *pruner = NULL;
    tomo_status status = tomo_pruner_create(&m->config.prune, v->patch_count, v->width, &pruner, err);
    *skipped = 0;
    for (int64_t s = 0; s < v->slices && status == TOMO_OK; s++) {
        const float *pixels = v->pixels + s * v->pixel_count;
        bool kept = false;
        if (s > 0 && early > 0 && (double)tomo_look_difference(look, pixels) < early) {
            ++*skipped;
            status = tomo_pruner_skip(pruner, TOMO_SLICE_EARLY, err);
            continue;
        }
        status = push(pruner, v, s, &kept, err);
        if (kept) tomo_look_keep(look, pixels);
    }
    if (status == TOMO_OK) status = tomo_pruner_finish(pruner, result, err);
    tomo_pruner_free(pruner);
    return status;
}

static void tell(const slices_seen *v, const tomo_pruner *pruner, double margin, tomo_run_search *search,
                 int64_t s) {
    const float *patches = v->patches + s * v->patch_count * v->width;
    tomo_run_search_tell(search, s, tomo_pruner_look(pruner, v->descriptors + s * v->width, patches, margin));
}

/* One run, as search_run and take_run of reading.c do it. used: which slices would be encoded by now. */
static tomo_status search_run(const slices_seen *v, tomo_pruner *pruner, double margin,
                              tomo_run_search *search, bool *used, tomo_error *err) {
    tomo_status status = TOMO_OK;
    bool kept;
    for (int64_t s = search->kept + 1; s < v->slices; s++)
        if (used[s]) tell(v, pruner, margin, search, s);
    for (int64_t s; (s = tomo_run_search_next(search)) >= 0; used[s] = true)
        tell(v, pruner, margin, search, s);
    for (int64_t s = search->kept + 1; s < v->slices && s <= search->differs && status == TOMO_OK; s++) {
        status = used[s] ? push(pruner, v, s, &kept, err) : tomo_pruner_skip(pruner, TOMO_SLICE_BETWEEN, err);
    }
    return status;
}

/* The search over slices that were seen. */
static tomo_status walk_search(const tomo_model *m, const slices_seen *v, double margin,
                               tomo_prune_result *result, int64_t *skipped, tomo_error *err) {
    tomo_run_search search = tomo_run_search_start(v->slices);
    tomo_pruner *pruner = NULL;
    bool kept, *used = calloc((size_t)v->slices, sizeof *used);
    tomo_status status = used == NULL
                             ? tomo_fail_memory(err, "slices", (size_t)v->slices)
                             : tomo_pruner_create(&m->config.prune, v->patch_count, v->width, &pruner, err);
    if (status == TOMO_OK) {
        used[0] = true;
        status = push(pruner, v, 0, &kept, err);
    }
    while (status == TOMO_OK) {
        status = search_run(v, pruner, margin, &search, used, err);
        if (!tomo_run_search_next_run(&search)) break;
    }
    *skipped = 0;
    if (status == TOMO_OK) {
        for (int64_t s = 0; s < v->slices; s++) *skipped += !used[s];
        status = tomo_pruner_finish(pruner, result, err);
    }
    tomo_pruner_free(pruner);
    free(used);
    return status;
}

static void compare(const tomo_prune_result *a, const tomo_prune_result *b, tally *t) {
    int64_t i = 0, k = 0;
    while (i < a->count && k < b->count) {
        t->both += a->kept[i] == b->kept[k];
        t->either++;
        int64_t x = a->kept[i], y = b->kept[k];
        i += x <= y;
        k += y <= x;
    }
    t->either += a->count - i + b->count - k;
}

static tomo_status try_candidates(const tomo_model *m, const slices_seen *v, tomo_look *look, tally *tallies,
                                  tomo_error *err) {
    tomo_prune_result full = {0}, early = {0};
    int64_t skipped;
    tomo_status status = walk(m, v, look, 0, &full, &skipped, err);
    for (int i = 0; i < WAYS && status == TOMO_OK; i++) {
        status = i >= CANDIDATES ? walk_search(m, v, tallies[i].search, &early, &skipped, err)
                                 : walk(m, v, look, tallies[i].early, &early, &skipped, err);
        if (status == TOMO_OK) {
            compare(&full, &early, &tallies[i]);
            tallies[i].skipped += skipped;
        }
        tomo_prune_free(&early);
    }
    tomo_prune_free(&full);
    return status;
}

static tomo_status try_volume(const tomo_model *m, tomo_exec *exec, const tomo_volume *volume,
                              const tomo_read_options *options, tally *tallies, int64_t *slices,
                              tomo_error *err) {
    const tomo_vit *vit = tomo_encoder_vit(m->encoder);
    const tomo_prune_settings *p = &m->config.prune;
    int64_t side = vit->image_size / vit->patch_size;
    slices_seen v = {.pixel_count = 3 * vit->image_size * vit->image_size,
                     .patch_count = side * side,
                     .width = vit->width};
    tomo_look look;
    tomo_status status = tomo_look_init(&look, vit->image_size, vit->patch_size,
                                        p->guard ? p->guard_patches : 1, vit->std, err);
    if (status != TOMO_OK) return status;
    status = tomo_reading_see(m, exec, volume, options, see, &v, err);
    if (status == TOMO_OK) status = try_candidates(m, &v, &look, tallies, err);
    *slices += v.slices;
    forget(&v);
    tomo_look_free(&look);
    return status;
}

static double agreement_of(const tally *t) {
    return t->either == 0 ? 1 : (double)t->both / (double)t->either;
}

static void add_tally(cJSON *item, const tally *t, int64_t slices) {
    cJSON_AddNumberToObject(item, "agreement", agreement_of(t));
    cJSON_AddNumberToObject(item, "skipped", (double)t->skipped / (double)slices);
}

/* tallies [count] as a list, each under the name of its setting. Returns the best of those that agree as
 * wanted: the one that saves most, of equals the last; NULL: none. */
static const tally *list_tallies(cJSON *root, const char *list, const char *setting, const tally *tallies,
                                 int count, double wanted, int64_t slices) {
    const tally *best = NULL;
    cJSON *items = cJSON_AddArrayToObject(root, list);
    for (int i = 0; i < count; i++) {
        const tally *t = &tallies[i];
        bool good = agreement_of(t) >= wanted && t->skipped > 0;
        if (good && (best == NULL || t->skipped >= best->skipped)) best = t;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, setting, t->early > 0 ? t->early : t->search);
        add_tally(item, t, slices);
        cJSON_AddItemToArray(items, item);
    }
    return best;
}

static cJSON *describe(const tally *tallies, double wanted, int64_t slices, size_t scans) {
    static const tally none;
    cJSON *root = cJSON_CreateObject();
    const tally *best = list_tallies(root, "candidates", "early", tallies, CANDIDATES, wanted, slices);
    const tally *found =
        list_tallies(root, "searched", "search", tallies + CANDIDATES, MARGINS, wanted, slices);
    if (best == NULL) best = &none;
    if (found != NULL && found->skipped > best->skipped) {
        best = found;
        cJSON_AddNumberToObject(root, "search", found->search);
    } else {
        cJSON_AddNullToObject(root, "search");
    }
    cJSON_AddNumberToObject(root, "early", best->early);
    add_tally(root, best, slices);
    cJSON_AddNumberToObject(root, "slices", (double)slices);
    cJSON_AddNumberToObject(root, "scans", (double)scans);
    return root;
}

tomo_status tomo_model_tune_prune(tomo_model *model, const char *const *paths, size_t count,
                                  const tomo_scan_options *scan_options,
                                  const tomo_read_options *read_options, double agreement, char **json,
                                  tomo_error *err) {
    tally tallies[WAYS] = {0};
    tomo_exec exec;
    int64_t slices = 0;
    *json = NULL;
    if (!model->reads_scans || count == 0 || !(agreement > 0 && agreement <= 1)) {
        return tomo_fail(
            err, TOMO_E_USAGE,
            "a model directory, at least one scan and an agreement above 0 and up to 1 are wanted");
    }
    if (model->config.prune.choice != TOMO_CHOICE_SIMILARITY) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: \"prune.choice\" looks at no slice, so nothing can be dropped earlier; "
                         "similarity is wanted",
                         model->folder);
    }
    for (int i = 0; i < CANDIDATES; i++) tallies[i].early = SMALLEST * pow(STEP, i);
    for (int i = 0; i < MARGINS; i++) tallies[CANDIDATES + i].search = margins[i];
    const tomo_context *c = model->context;
    tomo_status status = tomo_exec_init(&exec, c->kernels, c->pool, &c->hooks, 0, err);
    if (status != TOMO_OK) return status;
    if (model->half) exec.half = tomo_half_products(c->kernels);
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        tomo_scan *scan = NULL;
        status = tomo_scan_open(model->context, paths[i], scan_options, &scan, err);
        if (status == TOMO_OK)
            status = try_volume(model, &exec, scan->volume, read_options, tallies, &slices, err);
        tomo_scan_free(scan);
    }
    tomo_exec_release(&exec);
    return status == TOMO_OK ? tomo_json_hand_out(describe(tallies, agreement, slices, count), json, err)
                             : status;
}

tomo_status tomo_model_set_pruning(const char *folder, double early, double search, tomo_error *err) {
    cJSON *config = NULL;
    char *path = tomo_path_join(folder, "config.json");
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    tomo_status status = tomo_json_open(path, &config, err);
    cJSON *prune = cJSON_GetObjectItemCaseSensitive(config, "prune");
    if (status == TOMO_OK && !cJSON_IsObject(prune))
        status = tomo_fail(err, TOMO_E_HEADER, "%s: section \"prune\" is missing", path);
    if (status == TOMO_OK) {
        cJSON_DeleteItemFromObjectCaseSensitive(prune, "early");
        cJSON_DeleteItemFromObjectCaseSensitive(prune, "search");
        bool good = (early <= 0 || cJSON_AddNumberToObject(prune, "early", early) != NULL) &&
                    (search < 0 || cJSON_AddNumberToObject(prune, "search", search) != NULL);
        status = good ? tomo_json_write(config, folder, "config.json", err) : tomo_fail_memory(err, path, 0);
    }
    cJSON_Delete(config);
    free(path);
    return status;
}
