/* data_check.c - tomo_data_check: what a data set holds, what is broken in it, and what its splits share. */
#include "base/digest.h"
#include "eval/leakage.h"
#include "eval/near.h"
#include "eval/words.h"
#include "model/context.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Splits of one data set; M3D has four. */
enum { SPLITS_MOST = 32 };
/* Examples of each kind of leakage. */
enum { EXAMPLES = 10 };

typedef struct scan_seen {
    const char *path;
    unsigned char digest[TOMO_DIGEST_BYTES];
    uint32_t splits; /* bits */
} scan_seen;

typedef struct checker {
    tomo_context *context;
    tomo_dataset *dataset;
    const char *splits[SPLITS_MOST];
    size_t split_count;
    scan_seen *scans; /* [scan_count]: those that could be read */
    size_t scan_count, scan_capacity, unreadable;
    double minimum, maximum;
    size_t outside, hu; /* scans with values outside 0..1; scans in Hounsfield units */
    int64_t least[3], most[3];
    tomo_arena *arena;
    bool failed; /* out of memory */
} checker;

/* ------------------------------------------------------------------------------ splits */

static tomo_status find_splits(checker *c, const char *path, tomo_error *err) {
    for (size_t i = 0; i < tomo_dataset_count(c->dataset); i++) {
        const char *split = tomo_dataset_at(c->dataset, i)->split;
        size_t k = 0;
        while (k < c->split_count && strcmp(c->splits[k], split) != 0) k++;
        if (k < c->split_count) continue;
        if (k == SPLITS_MOST)
            return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %d splits", path, (int)SPLITS_MOST);
        c->splits[c->split_count++] = split;
    }
    return TOMO_OK;
}

static size_t split_of(const checker *c, const tomo_sample *s) {
    size_t k = 0;
    while (strcmp(c->splits[k], s->split) != 0) k++;
    return k;
}

static cJSON *add_number(cJSON *object, const char *name, double value) {
    return cJSON_AddNumberToObject(object, name, value);
}

/* ------------------------------------------------------------------------------ counts */

static bool add_types(cJSON *object, const size_t types[6]) {
    static const char *const names[6] = {"none", "Plane", "Phase", "Organ", "Abnormality", "Location"};
    cJSON *list = cJSON_AddObjectToObject(object, "question_types");
    bool good = list != NULL;
    for (int i = 0; good && i < 6; i++) {
        if (types[i] > 0) good = add_number(list, names[i], (double)types[i]) != NULL;
    }
    return good;
}

static bool add_split(const checker *c, size_t split, cJSON *list) {
    size_t reports = 0, open = 0, closed = 0, wrong = 0, types[6] = {0};
    double words = 0;
    for (size_t i = 0; i < tomo_dataset_count(c->dataset); i++) {
        const tomo_sample *s = tomo_dataset_at(c->dataset, i);
        if (split_of(c, s) != split) continue;
        reports += s->kind == TOMO_SAMPLE_REPORT;
        open += s->kind == TOMO_SAMPLE_OPEN;
        closed += s->kind == TOMO_SAMPLE_CLOSED;
        wrong += s->wrong != NULL;
        /* Each row of M3D-VQA is an open and a closed question: it is counted once. */
        bool counts = s->kind == TOMO_SAMPLE_CLOSED ||
                      (s->kind == TOMO_SAMPLE_OPEN && !tomo_dataset_is_m3d(c->dataset));
        if (counts) types[s->type]++;
        bool inside = false;
        for (const char *at = s->answer; s->kind == TOMO_SAMPLE_REPORT && *at != '\0'; at++) {
            bool space = strchr(" \t\r\n", *at) != NULL;
            words += !space && !inside;
            inside = !space;
        }
    }
    cJSON *object = cJSON_CreateObject();
    return object != NULL && cJSON_AddItemToArray(list, object) &&
           cJSON_AddStringToObject(object, "split", c->splits[split]) != NULL &&
           add_number(object, "reports", (double)reports) != NULL &&
           add_number(object, "words_a_report", reports > 0 ? words / (double)reports : 0) != NULL &&
           add_number(object, "open_questions", (double)open) != NULL &&
           add_number(object, "closed_questions", (double)closed) != NULL &&
           add_number(object, "wrong", (double)wrong) != NULL && add_types(object, types);
}

static bool add_problems(const checker *c, cJSON *root) {
    cJSON *list = cJSON_AddArrayToObject(root, "problems");
    bool good = list != NULL;
    for (size_t i = 0; good && i < tomo_dataset_count(c->dataset); i++) {
        const tomo_sample *s = tomo_dataset_at(c->dataset, i);
        if (s->wrong == NULL) continue;
        cJSON *item = cJSON_CreateObject();
        good = item != NULL && cJSON_AddItemToArray(list, item) &&
               cJSON_AddStringToObject(item, "file", s->source) != NULL &&
               add_number(item, "row", (double)s->row) != NULL &&
               cJSON_AddStringToObject(item, "split", s->split) != NULL &&
               cJSON_AddStringToObject(item, "scan", s->name) != NULL &&
               cJSON_AddStringToObject(item, "wrong", s->wrong) != NULL;
    }
    return good;
}

/* ------------------------------------------------------------------------------ scans */

static void note_values(checker *c, const tomo_volume *v) {
    bool first = c->scan_count == 0;
    c->minimum = first ? (double)v->minimum : fmin(c->minimum, (double)v->minimum);
    c->maximum = first ? (double)v->maximum : fmax(c->maximum, (double)v->maximum);
    c->outside += v->minimum < 0 || v->maximum > 1;
    c->hu += v->intensity == TOMO_INTENSITY_HU;
    for (int i = 0; i < 3; i++) {
        if (first || v->shape[i] < c->least[i]) c->least[i] = v->shape[i];
        if (first || v->shape[i] > c->most[i]) c->most[i] = v->shape[i];
    }
}

static bool see_scan(void *user, const tomo_sample *first, const tomo_volume *volume,
                     const tomo_error *error) {
    checker *c = user;
    tomo_digest *digest = NULL;
    (void)error;
    if (volume == NULL) {
        c->unreadable++;
        return true;
    }
    if (c->scan_count == c->scan_capacity) {
        size_t capacity = c->scan_capacity * 2 + 64;
        scan_seen *scans = realloc(c->scans, capacity * sizeof *scans);
        c->failed = scans == NULL;
        if (c->failed) return false;
        c->scans = scans;
        c->scan_capacity = capacity;
    }
    c->failed = tomo_digest_create(&digest, NULL) != TOMO_OK;
    if (c->failed) return false;
    size_t count = (size_t)(volume->shape[0] * volume->shape[1] * volume->shape[2]);
    note_values(c, volume);
    scan_seen *s = &c->scans[c->scan_count++];
    *s = (scan_seen){.path = first->scan};
    tomo_digest_add(digest, volume->shape, sizeof volume->shape);
    tomo_digest_add(digest, volume->voxels, count * sizeof(float));
    tomo_digest_bytes(digest, s->digest);
    tomo_digest_free(digest);
    return true;
}

static int by_path(const void *a, const void *b) {
    return strcmp(((const scan_seen *)a)->path, ((const scan_seen *)b)->path);
}

/* In which splits each scan stands. */
static void find_scan_splits(checker *c) {
    if (c->scan_count == 0) return;
    qsort(c->scans, c->scan_count, sizeof *c->scans, by_path);
    for (size_t i = 0; i < tomo_dataset_count(c->dataset); i++) {
        const tomo_sample *sample = tomo_dataset_at(c->dataset, i);
        const scan_seen wanted = {.path = sample->scan};
        scan_seen *s = bsearch(&wanted, c->scans, c->scan_count, sizeof *c->scans, by_path);
        if (s != NULL) s->splits |= 1u << split_of(c, sample);
    }
}

static bool add_values(const checker *c, cJSON *root) {
    cJSON *values = cJSON_AddObjectToObject(root, "scans");
    bool good = values != NULL && add_number(values, "read", (double)c->scan_count) != NULL &&
                add_number(values, "unreadable", (double)c->unreadable) != NULL;
    if (!good || c->scan_count == 0) return good;
    cJSON *least = cJSON_AddArrayToObject(values, "smallest_shape"),
          *most = cJSON_AddArrayToObject(values, "largest_shape");
    for (int i = 0; least != NULL && most != NULL && i < 3; i++) {
        good = good && cJSON_AddItemToArray(least, cJSON_CreateNumber((double)c->least[i])) &&
               cJSON_AddItemToArray(most, cJSON_CreateNumber((double)c->most[i]));
    }
    return good && least != NULL && most != NULL && add_number(values, "minimum", c->minimum) != NULL &&
           add_number(values, "maximum", c->maximum) != NULL &&
           add_number(values, "outside_0_to_1", (double)c->outside) != NULL &&
           add_number(values, "in_hounsfield_units", (double)c->hu) != NULL;
}

/* ------------------------------------------------------------------------------ leakage */

/* What two splits share, for each pair of them. */
typedef struct shared {
    size_t counts[SPLITS_MOST][SPLITS_MOST]; /* [of this split][also in that one] */
    cJSON *examples;
} shared;

static bool add_shared(const checker *c, const char *name, const char *what, shared *s, cJSON *root) {
    cJSON *section = cJSON_AddObjectToObject(root, name);
    cJSON *pairs = section != NULL ? cJSON_AddArrayToObject(section, "pairs") : NULL;
    bool good = pairs != NULL && cJSON_AddStringToObject(section, "counted", what) != NULL;
    for (size_t a = 0; good && a < c->split_count; a++) {
        for (size_t b = 0; good && b < c->split_count; b++) {
            if (s->counts[a][b] == 0) continue;
            cJSON *pair = cJSON_CreateObject();
            good = pair != NULL && cJSON_AddItemToArray(pairs, pair) &&
                   cJSON_AddStringToObject(pair, "split", c->splits[a]) != NULL &&
                   cJSON_AddStringToObject(pair, "also_in", c->splits[b]) != NULL &&
                   add_number(pair, "count", (double)s->counts[a][b]) != NULL;
        }
    }
    if (!good) return false;
    if (s->examples == NULL) return true;
    good = cJSON_AddItemToObject(section, "examples", s->examples);
    if (good) s->examples = NULL;
    return good;
}

/* The reports as they are compared, each text once. */
typedef struct texts {
    tomo_words words;          /* a text's number */
    uint32_t *splits;          /* [texts]: bits */
    const tomo_sample **first; /* [texts] */
    int32_t *of_sample;        /* [samples]: its text, or -1 */
    shared near;

    uint32_t *near_splits; /* [texts]: splits in which a near one stands */
} texts;

static void add_example(shared *s, const tomo_sample *a, const tomo_sample *b, double similarity) {
    if (s->examples == NULL) s->examples = cJSON_CreateArray();
    if (s->examples == NULL || cJSON_GetArraySize(s->examples) >= EXAMPLES) return;
    cJSON *item = cJSON_CreateObject();
    if (item == NULL || !cJSON_AddItemToArray(s->examples, item)) {
        cJSON_Delete(item);
        return;
    }
    (void)cJSON_AddStringToObject(item, a->split, a->name);
    (void)cJSON_AddStringToObject(item, b->split, b->name);
    if (similarity < 1) (void)add_number(item, "similarity", similarity);
}

static void see_near(void *user, size_t first, size_t second, double similarity) {
    texts *t = user;
    t->near_splits[first] |= t->splits[second];
    t->near_splits[second] |= t->splits[first];
    uint32_t both = t->splits[first] | t->splits[second];
    if ((both & (both - 1)) == 0) return; /* within one split */
    add_example(&t->near, t->first[first], t->first[second], similarity);
}

static bool gather_texts(checker *c, texts *t) {
    size_t count = tomo_dataset_count(c->dataset);
    t->splits = calloc(count + 1, sizeof *t->splits);
    t->near_splits = calloc(count + 1, sizeof *t->near_splits);
    t->first = calloc(count + 1, sizeof *t->first);
    t->of_sample = calloc(count + 1, sizeof *t->of_sample);
    if (t->splits == NULL || t->near_splits == NULL || t->first == NULL || t->of_sample == NULL ||
        !tomo_words_create(c->arena, count, &t->words)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const tomo_sample *s = tomo_dataset_at(c->dataset, i);
        tomo_points text;
        t->of_sample[i] = -1;
        if (s->kind != TOMO_SAMPLE_REPORT || s->answer[0] == '\0') continue;
        tomo_arena_mark mark = tomo_arena_get_mark(c->arena);
        if (!tomo_text_normalise(c->arena, s->answer, strlen(s->answer), &text)) return false;
        text.at = tomo_arena_keep(c->arena, mark, text.at, (text.count + 1) * sizeof *text.at);
        if (text.at == NULL) return false;
        int32_t id = tomo_words_add(&t->words, text);
        if (t->first[id] == NULL) t->first[id] = s;
        t->splits[id] |= 1u << split_of(c, s);
        t->of_sample[i] = id;
    }
    return true;
}

static bool add_texts(checker *c, texts *t, cJSON *root, tomo_error *err) {
    shared same = {0};

    if (!gather_texts(c, t)) return false;
    if (tomo_near_pairs(t->words.items, t->words.count, see_near, t, &c->context->hooks, err) != TOMO_OK) {
        return false;
    }
    for (size_t i = 0; i < tomo_dataset_count(c->dataset); i++) {
        const tomo_sample *s = tomo_dataset_at(c->dataset, i);
        if (t->of_sample[i] < 0) continue;
        size_t a = split_of(c, s);
        uint32_t equal = t->splits[t->of_sample[i]], near = t->near_splits[t->of_sample[i]] & ~equal;
        for (size_t b = 0; b < c->split_count; b++) {
            same.counts[a][b] += b != a && (equal >> b & 1) != 0;
            t->near.counts[a][b] += b != a && (near >> b & 1) != 0;
        }
        if ((equal & (equal - 1)) != 0 && t->first[t->of_sample[i]]->split != s->split &&
            strcmp(t->first[t->of_sample[i]]->split, s->split) != 0) {
            add_example(&same, t->first[t->of_sample[i]], s, 1);
        }
    }
    bool good = add_number(root, "different_reports", (double)t->words.count) != NULL &&
                add_shared(c, "identical_texts", "reports of a split whose text stands in another one", &same,
                           root) &&
                add_shared(c, "near_texts",
                           "reports of a split with a near text in another one, and no identical one",
                           &t->near, root);
    cJSON_Delete(same.examples);
    return good;
}

static int by_digest(const void *a, const void *b) {
    return memcmp(((const scan_seen *)a)->digest, ((const scan_seen *)b)->digest, TOMO_DIGEST_BYTES);
}

static bool add_volumes(checker *c, cJSON *root) {
    shared same = {0};
    size_t copies = 0;
    find_scan_splits(c);
    if (c->scan_count > 0) qsort(c->scans, c->scan_count, sizeof *c->scans, by_digest);
    for (size_t i = 0, end; i < c->scan_count; i = end) {
        uint32_t splits = 0;
        for (end = i; end < c->scan_count && by_digest(&c->scans[i], &c->scans[end]) == 0; end++) {
            splits |= c->scans[end].splits;
        }
        copies += end - i - 1;
        for (size_t k = i; k < end; k++) {
            for (size_t a = 0; a < c->split_count; a++) {
                for (size_t b = 0; b < c->split_count; b++) {
                    bool both = (c->scans[k].splits >> a & 1) != 0 && (splits >> b & 1) != 0;
                    same.counts[a][b] += a != b && both;
                }
            }
        }
    }
    return add_number(root, "copies_of_volumes", (double)copies) != NULL &&
           add_shared(c, "identical_volumes", "scans of a split whose voxels stand in another one", &same,
                      root);
}

/* ------------------------------------------------------------------------------ together */

static bool describe(checker *c, cJSON *root, tomo_error *err) {
    texts t = {0};
    bool good = cJSON_AddStringToObject(root, "layout",
                                        tomo_dataset_is_m3d(c->dataset) ? "M3D" : "own scans") != NULL &&
                cJSON_AddStringToObject(root, "sha256", tomo_dataset_hash(c->dataset)) != NULL;
    cJSON *splits = good ? cJSON_AddArrayToObject(root, "splits") : NULL;
    good = splits != NULL;
    for (size_t i = 0; good && i < c->split_count; i++) good = add_split(c, i, splits);
    good = good && add_values(c, root) && add_volumes(c, root) && add_texts(c, &t, root, err) &&
           add_problems(c, root);
    cJSON_Delete(t.near.examples);
    free(t.splits);
    free(t.near_splits);
    free(t.first);
    free(t.of_sample);
    return good;
}

static tomo_status check(checker *c, cJSON *root, tomo_error *err) {
    tomo_volume_options options = {.limits = c->context->limits, .hooks = &c->context->hooks};
    tomo_status status = tomo_dataset_verify(c->dataset, &options, see_scan, c, err);
    if (c->failed) status = tomo_fail_memory(err, "scans", c->scan_capacity * sizeof *c->scans);
    tomo_error failure = {0};
    if (status == TOMO_OK && !describe(c, root, &failure)) {
        if (failure.status == TOMO_OK) (void)tomo_fail_memory(&failure, "data check", 0);
        if (err != NULL) *err = failure;
        status = failure.status;
    }
    return status;
}

tomo_status tomo_data_check(tomo_context *context, const char *path, const tomo_data_options *options,
                            char **json, tomo_error *err) {
    const tomo_data_options none = {0}, *o = options != NULL ? options : &none;
    tomo_dataset_options d = {.captions = o->captions, .questions = o->questions};
    checker c = {.context = context, .arena = tomo_arena_create(0)};
    cJSON *root = cJSON_CreateObject();
    *json = NULL;
    tomo_status status =
        c.arena == NULL || root == NULL || cJSON_AddStringToObject(root, "data", path) == NULL
            ? tomo_fail_memory(err, path, 0)
            : tomo_dataset_open(path, &d, &c.dataset, err);
    if (status == TOMO_OK) status = find_splits(&c, path, err);
    if (status == TOMO_OK) status = check(&c, root, err);
    free(c.scans);
    tomo_dataset_free(c.dataset);
    if (c.arena != NULL) tomo_arena_free(c.arena);
    if (status == TOMO_OK) return tomo_json_hand_out(root, json, err);
    cJSON_Delete(root);
    return status;
}
