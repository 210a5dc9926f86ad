/* score.c - the public interface of scores: prediction files in, JSON out. */
#include "eval/score.h"

#include "eval/bootstrap.h"
#include "eval/leakage.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Draws by default: the ends of an interval move by about 2 % of its width from seed to seed. */
#define DRAWS 1000
/* A million draws of ten thousand rows take an hour. */
#define MOST_DRAWS 1000000

typedef struct scoring {
    tomo_context *context;
    const tomo_score_options *options;
    bool vqa;
    int64_t draws;
    tomo_wordnet *wordnet;         /* NULL: METEOR is left out */
    tomo_error no_wordnet;         /* why */
    tomo_bertscore *bertscore;     /* NULL: left out */
    tomo_results *results, *other; /* other NULL: nothing to compare with */
    bool *unseen;                  /* [rows]: whose text is not in training; NULL: nobody asked */
} scoring;

/* ------------------------------------------------------------------------------ groups */

/* Some rows of a file, and the question types that occur among them, numbered from 0; captions are one group.
 */
typedef struct selection {
    size_t *chosen; /* [rows]: rows of the file */
    int *groups;    /* [rows] */
    size_t rows;
    int types[TOMO_QUESTION_TYPES + 1];
    size_t type_rows[TOMO_QUESTION_TYPES + 1];
    size_t count;
} selection;

static void selection_free(selection *s) {
    free(s->chosen);
    free(s->groups);
}

/* only NULL: all rows. */
static tomo_status select_rows(const tomo_results *r, const bool *only, selection *s, tomo_error *err) {
    int group_of[TOMO_QUESTION_TYPES + 1] = {0};
    size_t counts[TOMO_QUESTION_TYPES + 1] = {0};
    *s = (selection){.chosen = calloc(r->rows, sizeof *s->chosen),
                     .groups = calloc(r->rows, sizeof *s->groups)};
    if (s->chosen == NULL || s->groups == NULL) {
        selection_free(s);
        return tomo_fail_memory(err, "rows", r->rows * sizeof *s->chosen);
    }
    for (size_t row = 0; row < r->rows; row++) {
        if (only != NULL && !only[row]) continue;
        s->chosen[s->rows++] = row;
        counts[r->types[row]]++;
    }
    for (int type = 0; type <= TOMO_QUESTION_TYPES; type++) {
        if (counts[type] == 0) continue;
        group_of[type] = (int)s->count;
        s->types[s->count] = type;
        s->type_rows[s->count++] = counts[type];
    }
    for (size_t i = 0; i < s->rows; i++) s->groups[i] = group_of[r->types[s->chosen[i]]];
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ JSON */

static bool add_number(cJSON *object, const char *name, double value) {
    return isfinite(value) ? cJSON_AddNumberToObject(object, name, value) != NULL
                           : cJSON_AddNullToObject(object, name) != NULL;
}

/* {"bleu": {"mean", "low", "high"}, ...}; for differences with "p". */
static bool add_estimates(cJSON *object, const char *name, const tomo_results *r, const tomo_estimate *e,
                          bool difference) {
    cJSON *all = cJSON_AddObjectToObject(object, name);
    bool good = all != NULL;
    for (size_t m = 0; good && m < r->metrics; m++) {
        cJSON *one = cJSON_AddObjectToObject(all, r->names[m]);
        good = one != NULL && add_number(one, "mean", e[m].mean) && add_number(one, "low", e[m].low) &&
               add_number(one, "high", e[m].high) && (!difference || add_number(one, "p", e[m].p));
    }
    return good;
}

static bool add_types(cJSON *object, const tomo_results *r, const selection *g, const tomo_estimate *e,
                      bool difference) {
    cJSON *list = cJSON_AddArrayToObject(object, "types");
    bool good = list != NULL;
    for (size_t i = 0; good && i < g->count; i++) {
        cJSON *type = cJSON_CreateObject();
        good = type != NULL && cJSON_AddItemToArray(list, type) && add_number(type, "type", g->types[i]) &&
               cJSON_AddStringToObject(type, "name", tomo_question_types[g->types[i]]) != NULL &&
               add_number(type, "rows", (double)g->type_rows[i]) &&
               add_estimates(type, "scores", r, e + i * r->metrics, difference);
    }
    return good;
}

/* The means of some rows of a file, or of the differences of two. */
static bool add_means(cJSON *object, const scoring *s, const tomo_results *r, const selection *g,
                      const tomo_estimate *e, bool difference) {
    const tomo_estimate *micro = e + g->count * r->metrics, *macro = micro + r->metrics;
    if (!add_number(object, "rows", (double)g->rows)) return false;
    if (!s->vqa) return add_estimates(object, "scores", r, micro, difference);
    return add_types(object, r, g, e, difference) && add_estimates(object, "macro", r, macro, difference) &&
           add_estimates(object, "micro", r, micro, difference);
}

static bool add_file(cJSON *object, const scoring *s, const tomo_results *r) {
    bool good = cJSON_AddStringToObject(object, "file", tomo_csv_path(r->csv)) != NULL &&
                cJSON_AddStringToObject(object, "kind", tomo_results_kinds[r->kind]) != NULL &&
                add_number(object, "empty_predictions", (double)r->empty);
    if (r->kind == TOMO_RESULTS_CLOSED) return good;
    good = good && add_number(object, "bleu_undefined", (double)r->undefined);
    if (s->wordnet != NULL) return good;
    return good && cJSON_AddStringToObject(object, "meteor_left_out", s->no_wordnet.message) != NULL;
}

/* ------------------------------------------------------------------------------ means */

/* Estimates over the wanted rows of `values`, added to `object`. */
static tomo_status tell_rows(const scoring *s, const double *values, const bool *only, bool difference,
                             cJSON *object, tomo_error *err) {
    const tomo_results *r = s->results;
    selection g;
    tomo_status status = select_rows(r, only, &g, err);
    if (status != TOMO_OK) return status;
    tomo_scored rows = {NULL, g.groups, g.rows, r->metrics, g.count};
    double *copy = calloc(r->rows * r->metrics, sizeof *copy);
    tomo_estimate *e = calloc(tomo_scored_statistics(&rows), sizeof *e);
    if (copy == NULL || e == NULL)
        status = tomo_fail_memory(err, "means", r->rows * r->metrics * sizeof *copy);
    for (size_t i = 0; status == TOMO_OK && i < g.rows; i++) {
        memcpy(copy + i * r->metrics, values + g.chosen[i] * r->metrics, r->metrics * sizeof *copy);
    }
    rows.values = copy;
    /* No row: every mean is NaN, which JSON has as null. */
    if (status == TOMO_OK) {
        status = tomo_bootstrap(s->context->pool, &s->context->hooks, &rows, (size_t)s->draws,
                                s->options->seed, e, err);
    }
    if (status == TOMO_OK && !add_means(object, s, r, &g, e, difference)) {
        status = tomo_fail_memory(err, "JSON", 0);
    }
    free(copy);
    free(e);
    selection_free(&g);
    return status;
}

/* An object below `object` with the means of some rows. */
static tomo_status tell_below(const scoring *s, const char *name, const double *values, const bool *only,
                              bool difference, cJSON *object, tomo_error *err) {
    cJSON *below = cJSON_AddObjectToObject(object, name);
    if (below == NULL) return tomo_fail_memory(err, "JSON", 0);
    return tell_rows(s, values, only, difference, below, err);
}

static tomo_status add_comparison(const scoring *s, cJSON *object, tomo_error *err) {
    const tomo_results *a = s->results, *b = s->other;
    cJSON *other = cJSON_AddObjectToObject(object, "compare");
    size_t count = a->rows * a->metrics;
    double *differences = calloc(count, sizeof *differences);
    tomo_status status = TOMO_OK;
    if (other == NULL || differences == NULL || !add_file(other, s, b)) {
        status = tomo_fail_memory(err, "comparison", count * sizeof *differences);
    }
    for (size_t i = 0; status == TOMO_OK && i < count; i++) differences[i] = a->values[i] - b->values[i];
    if (status == TOMO_OK) status = tell_rows(s, b->values, NULL, false, other, err);
    if (status == TOMO_OK) status = tell_below(s, "difference", differences, NULL, true, object, err);
    free(differences);
    return status;
}

static bool add_bootstrap(const scoring *s, cJSON *object) {
    cJSON *draws = cJSON_AddObjectToObject(object, "bootstrap");
    return draws != NULL && add_number(draws, "draws", (double)s->draws) &&
           add_number(draws, "seed", (double)s->options->seed) && add_number(draws, "confidence", 0.95);
}

static tomo_status tell(const scoring *s, cJSON *object, tomo_error *err) {
    tomo_status status = add_file(object, s, s->results) ? TOMO_OK : tomo_fail_memory(err, "JSON", 0);
    if (status == TOMO_OK) status = tell_rows(s, s->results->values, NULL, false, object, err);
    if (status == TOMO_OK && s->unseen != NULL) {
        status = tell_below(s, "unseen", s->results->values, s->unseen, false, object, err);
    }
    if (status == TOMO_OK && s->other != NULL) status = add_comparison(s, object, err);
    if (status == TOMO_OK && !add_bootstrap(s, object)) status = tomo_fail_memory(err, "JSON", 0);
    return status;
}

/* ------------------------------------------------------------------------------ files */

static bool fields_equal(tomo_csv_field a, tomo_csv_field b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.text, b.text, a.size) == 0);
}

/* Two files can be compared when they answer the same rows. */
static tomo_status check_same_rows(const tomo_results *a, const tomo_results *b, tomo_error *err) {
    const char *path = tomo_csv_path(b->csv);
    if (a->kind != b->kind) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not the same kind of file as %s", path,
                         tomo_csv_path(a->csv));
    }
    if (a->rows != b->rows) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: %zu rows; the %zu of %s are wanted", path, b->rows, a->rows,
                         tomo_csv_path(a->csv));
    }
    for (size_t row = 0; row < a->rows; row++) {
        bool same =
            fields_equal(tomo_csv_at(a->csv, row, a->reference), tomo_csv_at(b->csv, row, b->reference));
        if (same && a->types[row] == b->types[row]) continue;
        tomo_csv_field name = tomo_csv_name(b->csv, b->reference);
        return tomo_fail(err, TOMO_E_FORMAT, "%s: row %zu, column %zu (%.*s): another %s than in %s", path,
                         tomo_csv_row_number(row), b->reference + 1, (int)name.size, name.text,
                         same ? "question type" : "text", tomo_csv_path(a->csv));
    }
    return TOMO_OK;
}

/* A folder that the caller names must be there; without the default one METEOR is left out. */
static tomo_status open_wordnet(scoring *s, tomo_error *err) {
    const char *folder = s->options->wordnet;
    tomo_status status =
        tomo_wordnet_open(folder != NULL ? folder : TOMO_WORDNET_FOLDER, &s->wordnet, &s->no_wordnet);
    if (status == TOMO_OK || (folder == NULL && status == TOMO_E_IO)) return TOMO_OK;
    return tomo_fail(err, status, "%s", s->no_wordnet.message);
}

static tomo_status read_files(const char *path, const tomo_score_options *o, tomo_csv **csv,
                              tomo_error *err) {
    tomo_status status = tomo_csv_open(path, csv, err);
    for (size_t i = 0; i < o->merge_count && status == TOMO_OK; i++) {
        tomo_csv *more = NULL;
        status = tomo_csv_open(o->merge[i], &more, err);
        if (status == TOMO_OK) status = tomo_csv_append(*csv, more, err);
    }
    if (status == TOMO_OK) return TOMO_OK;
    tomo_csv_free(*csv);
    *csv = NULL;
    return status;
}

static tomo_status score_csv(scoring *s, tomo_csv *csv, cJSON *object, tomo_error *err) {
    const tomo_score_options *o = s->options;
    const tomo_hooks *hooks = &s->context->hooks;
    tomo_status status = open_wordnet(s, err);
    if (status == TOMO_OK && o->bertscore_model != NULL) {
        const tomo_bertscore_options b = {o->bertscore_layer, o->bertscore_baseline};
        status = tomo_bertscore_open(s->context, o->bertscore_model, &b, &s->bertscore, err);
    }
    const tomo_results_tools tools = {s->context->pool, hooks, s->wordnet, s->bertscore, o->bertscore_idf};
    if (status != TOMO_OK) {
        tomo_csv_free(csv);
        return status;
    }
    status = tomo_results_open(csv, s->vqa, &tools, &s->results, err);
    if (status == TOMO_OK && o->compare != NULL) {
        status = tomo_csv_open(o->compare, &csv, err);
        if (status == TOMO_OK) status = tomo_results_open(csv, s->vqa, &tools, &s->other, err);
        if (status == TOMO_OK) status = check_same_rows(s->results, s->other, err);
        if (status == TOMO_OK) { /* a benchmark's file has no rankings */
            tomo_results_keep_common(s->results, s->other);
            tomo_results_keep_common(s->other, s->results);
        }
    }
    if (status == TOMO_OK && o->train != NULL) {
        status = tomo_unseen_rows(s->results, o->train, &s->unseen, err);
    }
    if (status == TOMO_OK) status = tell(s, object, err);
    if (status == TOMO_OK && o->rows != NULL) status = tomo_results_write(s->results, o->rows, true, err);
    return status;
}

static tomo_status check_options(const tomo_score_options *o, tomo_score_kind kind, tomo_error *err) {
    if (kind != TOMO_SCORE_CAPTION && kind != TOMO_SCORE_VQA) {
        return tomo_fail(err, TOMO_E_USAGE, "score kind %d is unknown", (int)kind);
    }
    if (o->draws < 0 || o->draws > MOST_DRAWS) {
        return tomo_fail(err, TOMO_E_USAGE, "%lld bootstrap draws; 0 to %d are wanted", (long long)o->draws,
                         MOST_DRAWS);
    }
    return TOMO_OK;
}

tomo_status tomo_score_csv(tomo_context *context, tomo_score_kind kind, tomo_csv *csv,
                           const tomo_score_options *options, cJSON *object, tomo_results **results,
                           tomo_error *err) {
    const tomo_score_options none = {0}, *o = options == NULL ? &none : options;
    scoring s = {.context = context,
                 .options = o,
                 .vqa = kind == TOMO_SCORE_VQA,
                 .draws = o->draws == 0 ? DRAWS : o->draws};
    tomo_status status = check_options(o, kind, err);
    if (status == TOMO_OK) {
        status = score_csv(&s, csv, object, err);
    } else {
        tomo_csv_free(csv);
    }
    if (results != NULL) {
        *results = status == TOMO_OK ? s.results : NULL;
        if (status == TOMO_OK) s.results = NULL;
    }
    tomo_results_free(s.results);
    tomo_results_free(s.other);
    tomo_wordnet_free(s.wordnet);
    tomo_bertscore_free(s.bertscore);
    free(s.unseen);
    return status;
}

tomo_status tomo_score_file(tomo_context *context, tomo_score_kind kind, const char *path,
                            const tomo_score_options *options, char **json, tomo_error *err) {
    const tomo_score_options none = {0}, *o = options == NULL ? &none : options;
    tomo_csv *csv = NULL;
    cJSON *object = cJSON_CreateObject();
    *json = NULL;
    tomo_status status = object == NULL ? tomo_fail_memory(err, "JSON", 0) : read_files(path, o, &csv, err);
    if (status == TOMO_OK) status = tomo_score_csv(context, kind, csv, o, object, NULL, err);
    if (status == TOMO_OK) return tomo_json_hand_out(object, json, err);
    cJSON_Delete(object);
    return status;
}
