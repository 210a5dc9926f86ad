#include "eval/results.h"

#include "eval/closed.h"
#include "eval/meteor.h"
#include "eval/overlap.h"

#include <stdlib.h>
#include <string.h>

const char *const tomo_results_kinds[3] = {"caption", "vqa-open", "vqa-closed"};

const char *const tomo_question_types[TOMO_QUESTION_TYPES + 1] = {"none",  "Plane",       "Phase",
                                                                  "Organ", "Abnormality", "Location"};

const char *const tomo_rank_columns[TOMO_RANKINGS] = {"Ranked By Text", "Ranked By Letter",
                                                      "Ranked By Token"};

/* Rows between two calls of the progress hook. */
#define ROWS_A_STEP 1024

/* ------------------------------------------------------------------------------ columns */

static tomo_status find_columns(tomo_results *r, bool vqa, tomo_error *err) {
    r->choice = r->type = TOMO_CSV_NONE;
    if (vqa) r->choice = tomo_csv_find(r->csv, "Answer Choice");
    for (int i = 0; i < TOMO_RANKINGS; i++) {
        r->ranked[i] =
            r->choice == TOMO_CSV_NONE ? TOMO_CSV_NONE : tomo_csv_find(r->csv, tomo_rank_columns[i]);
    }
    r->kind = !vqa                         ? TOMO_RESULTS_CAPTION
              : r->choice != TOMO_CSV_NONE ? TOMO_RESULTS_CLOSED
                                           : TOMO_RESULTS_OPEN;
    tomo_status status = vqa ? tomo_csv_need(r->csv, "Question Type", &r->type, err) : TOMO_OK;
    if (status == TOMO_OK) {
        status = tomo_csv_need(r->csv, vqa ? "Answer" : "Ground Truth", &r->reference, err);
    }
    if (status == TOMO_OK) status = tomo_csv_need(r->csv, vqa ? "Pred" : "pred", &r->prediction, err);
    r->question = tomo_csv_find(r->csv, "Question"); /* for messages and overlaps alone */
    return status;
}

/* Where each score stands in a row; the last ones may be missing. */
enum { BLEU, ROUGE, ROUGE_PRECISION, ROUGE_RECALL, OTHERS };

static void name_metrics(tomo_results *r, const tomo_results_tools *tools) {
    static const char *const closed[] = {"accuracy", "strict"};
    static const char *const ranked[TOMO_RANKINGS] = {"ranked_text", "ranked_letter", "ranked_token"};
    static const char *const open[OTHERS] = {"bleu", "rouge1", "rouge1_precision", "rouge1_recall"};
    bool is_closed = r->kind == TOMO_RESULTS_CLOSED;
    r->metrics = is_closed ? 2 : OTHERS;
    for (size_t m = 0; m < r->metrics; m++) r->names[m] = is_closed ? closed[m] : open[m];
    for (int i = 0; i < TOMO_RANKINGS; i++) {
        if (r->ranked[i] != TOMO_CSV_NONE) r->names[r->metrics++] = ranked[i];
    }
    if (is_closed) return;
    if (tools->wordnet != NULL) r->names[r->metrics++] = "meteor";
    if (tools->bertscore != NULL) r->names[r->metrics++] = "bert_f1";
}

static tomo_status read_types(tomo_results *r, tomo_error *err) {
    for (size_t row = 0; row < r->rows && r->type != TOMO_CSV_NONE; row++) {
        tomo_csv_field f = tomo_csv_at(r->csv, row, r->type);
        if (f.size == 0) continue;
        if (f.size != 1 || f.text[0] < '1' || f.text[0] > '0' + TOMO_QUESTION_TYPES) {
            size_t number = 0;
            const char *path = tomo_csv_source(r->csv, row, &number);
            return tomo_fail(
                err, TOMO_E_HEADER, "%s: row %zu, column %zu (Question Type): \"%.*s\"; 1 to %d is wanted",
                path, number, r->type + 1, f.size > 40 ? 40 : (int)f.size, f.text, (int)TOMO_QUESTION_TYPES);
        }
        r->types[row] = f.text[0] - '0';
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ rows */

/* What one thread works with. */
typedef struct scorer {
    tomo_arena *arena;
    tomo_synonyms *synonyms; /* NULL: without METEOR */
    size_t empty, undefined;
    bool failed; /* out of memory */
} scorer;

typedef struct work {
    tomo_results *results;
    tomo_punkt *punkt;
    scorer *scorers; /* [threads] */
    int threads;
    size_t first; /* row of block 0 */
} work;

static bool score_texts(const work *w, scorer *s, tomo_points prediction, tomo_points reference,
                        double *values) {
    tomo_tokens a, b;
    tomo_bleu bleu;
    tomo_rouge rouge;
    tomo_meteor meteor;
    if (!tomo_tokens_bleu(s->arena, prediction, &a) || !tomo_tokens_bleu(s->arena, reference, &b) ||
        !tomo_bleu_score(s->arena, &a, &b, &bleu)) {
        return false;
    }
    values[BLEU] = bleu.score;
    s->undefined += !bleu.defined;
    if (!tomo_tokens_rouge(s->arena, prediction, &a) || !tomo_tokens_rouge(s->arena, reference, &b) ||
        !tomo_rouge_score(s->arena, &a, &b, &rouge)) {
        return false;
    }
    values[ROUGE] = rouge.f;
    values[ROUGE_PRECISION] = rouge.precision;
    values[ROUGE_RECALL] = rouge.recall;
    if (s->synonyms == NULL) return true;
    if (!tomo_tokens_words(s->arena, w->punkt, prediction, &a) ||
        !tomo_tokens_words(s->arena, w->punkt, reference, &b) ||
        !tomo_meteor_score(s->arena, s->synonyms, &a, &b, &meteor)) {
        return false;
    }
    values[OTHERS] = meteor.score;
    return true;
}

static bool score_row(const work *w, scorer *s, size_t row) {
    tomo_results *r = w->results;
    tomo_csv_field answer = tomo_csv_at(r->csv, row, r->prediction);
    tomo_csv_field truth = tomo_csv_at(r->csv, row, r->reference);
    double *values = r->values + row * r->metrics;
    tomo_points prediction, reference;
    if (!tomo_points_decode(s->arena, answer.text, answer.size, &prediction)) return false;
    prediction = tomo_points_strip(prediction);
    s->empty += prediction.count == 0;
    if (r->kind == TOMO_RESULTS_CLOSED) {
        tomo_csv_field choice = tomo_csv_at(r->csv, row, r->choice);
        values[0] = tomo_closed_is_right(choice, answer);
        values[1] = tomo_closed_is_strictly_right(choice, answer);
        size_t m = 2;
        for (int i = 0; i < TOMO_RANKINGS; i++) {
            if (r->ranked[i] == TOMO_CSV_NONE) continue;
            tomo_csv_field first = tomo_csv_at(r->csv, row, r->ranked[i]);
            values[m++] = first.size > 0 && first.size == choice.size &&
                          memcmp(first.text, choice.text, first.size) == 0;
        }
        return true;
    }
    if (!tomo_points_decode(s->arena, truth.text, truth.size, &reference)) return false;
    return score_texts(w, s, prediction, tomo_points_strip(reference), values);
}

static void run_row(void *argument, int64_t block, int worker) {
    const work *w = argument;
    scorer *s = &w->scorers[worker];
    if (!s->failed && !score_row(w, s, w->first + (size_t)block)) s->failed = true;
    tomo_arena_reset(s->arena);
}

static bool open_scorers(work *w, const tomo_wordnet *wordnet) {
    w->scorers = calloc((size_t)w->threads, sizeof *w->scorers);
    for (int i = 0; w->scorers != NULL && i < w->threads; i++) {
        scorer *s = &w->scorers[i];
        s->arena = tomo_arena_create((size_t)1 << 20);
        if (s->arena == NULL) return false;
        if (wordnet == NULL) continue;
        s->synonyms = tomo_synonyms_create(wordnet);
        if (s->synonyms == NULL) return false;
    }
    return w->scorers != NULL;
}

static void close_scorers(work *w) {
    for (int i = 0; w->scorers != NULL && i < w->threads; i++) {
        tomo_synonyms_free(w->scorers[i].synonyms);
        if (w->scorers[i].arena != NULL) tomo_arena_free(w->scorers[i].arena);
    }
    free(w->scorers);
    tomo_punkt_free(w->punkt);
}

static tomo_status score_rows(work *w, const tomo_results_tools *tools, tomo_error *err) {
    tomo_results *r = w->results;
    bool failed = false;
    tomo_status status = TOMO_OK;
    for (w->first = 0; w->first < r->rows && status == TOMO_OK; w->first += ROWS_A_STEP) {
        size_t left = r->rows - w->first;
        status = tomo_progress(tools->hooks, "scoring", (int64_t)w->first, (int64_t)r->rows, err);
        if (status == TOMO_OK) {
            tomo_pool_run(tools->pool, (int64_t)(left < ROWS_A_STEP ? left : ROWS_A_STEP), run_row, w);
        }
    }
    for (int i = 0; i < w->threads; i++) {
        r->empty += w->scorers[i].empty;
        r->undefined += w->scorers[i].undefined;
        failed = failed || w->scorers[i].failed;
    }
    return status == TOMO_OK && failed ? tomo_fail_memory(err, tomo_csv_path(r->csv), 0) : status;
}

static tomo_status score_words(tomo_results *r, const tomo_results_tools *tools, tomo_error *err) {
    work w = {.results = r, .threads = tomo_pool_threads(tools->pool)};
    tomo_status status = tomo_punkt_create(&w.punkt, err);
    if (status == TOMO_OK && !open_scorers(&w, tools->wordnet)) status = tomo_fail_memory(err, "scores", 0);
    if (status == TOMO_OK) status = score_rows(&w, tools, err);
    close_scorers(&w);
    return status;
}

/* ------------------------------------------------------------------------------ BERTScore */

/* The text without white space around it, as the scripts hand it to the scores. */
static bool strip(tomo_arena *arena, tomo_csv_field f, tomo_csv_field *stripped) {
    tomo_points all;
    if (!tomo_points_decode(arena, f.text, f.size, &all)) return false;
    tomo_points text = tomo_points_strip(all);
    char *bytes = tomo_arena_alloc(arena, text.count * 4 + 1);
    if (bytes == NULL) return false;
    *stripped = (tomo_csv_field){bytes, tomo_points_encode(text, bytes, text.count * 4)};
    return true;
}

static tomo_status weigh_tokens(const tomo_results *r, tomo_arena *arena, tomo_bertscore *b,
                                tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (size_t row = 0; row < r->rows && status == TOMO_OK; row++) {
        tomo_csv_field text;
        if (!strip(arena, tomo_csv_at(r->csv, row, r->reference), &text))
            return tomo_fail_memory(err, "scores", 0);
        status = tomo_bertscore_count(b, text.text, text.size, err);
        tomo_arena_reset(arena);
    }
    return status == TOMO_OK ? tomo_bertscore_count(b, NULL, 0, err) : status;
}

/* Row by row: the products of the network share the threads. */
static tomo_status score_bert_rows(tomo_results *r, tomo_arena *arena, const tomo_results_tools *tools,
                                   tomo_error *err) {
    tomo_status status = TOMO_OK;
    if (tools->idf) status = weigh_tokens(r, arena, tools->bertscore, err);
    for (size_t row = 0; row < r->rows && status == TOMO_OK; row++) {
        tomo_csv_field p, t;
        tomo_bertscore_value value;
        status = tomo_progress(tools->hooks, "BERTScore", (int64_t)row, (int64_t)r->rows, err);
        if (status != TOMO_OK) break;
        if (!strip(arena, tomo_csv_at(r->csv, row, r->prediction), &p) ||
            !strip(arena, tomo_csv_at(r->csv, row, r->reference), &t)) {
            return tomo_fail_memory(err, "scores", 0);
        }
        status = tomo_bertscore_score(tools->bertscore, p.text, p.size, t.text, t.size, &value, err);
        r->values[row * r->metrics + r->metrics - 1] = value.f1;
        tomo_arena_reset(arena);
    }
    return status;
}

static tomo_status score_bert(tomo_results *r, const tomo_results_tools *tools, tomo_error *err) {
    if (tools->bertscore == NULL || r->kind == TOMO_RESULTS_CLOSED) return TOMO_OK;
    tomo_arena *arena = tomo_arena_create(0);
    if (arena == NULL) return tomo_fail_memory(err, "scores", 0);
    tomo_status status = score_bert_rows(r, arena, tools, err);
    tomo_arena_free(arena);
    return status;
}

static tomo_status score(tomo_results *r, const tomo_results_tools *tools, tomo_error *err) {
    r->rows = tomo_csv_row_count(r->csv);
    name_metrics(r, tools);
    r->values = calloc(r->rows * r->metrics, sizeof *r->values);
    r->types = calloc(r->rows, sizeof *r->types);
    if (r->values == NULL || r->types == NULL) return tomo_fail_memory(err, tomo_csv_path(r->csv), r->rows);
    tomo_status status = read_types(r, err);
    if (status == TOMO_OK) status = score_words(r, tools, err);
    return status == TOMO_OK ? score_bert(r, tools, err) : status;
}

tomo_status tomo_results_open(tomo_csv *csv, bool vqa, const tomo_results_tools *tools,
                              tomo_results **results, tomo_error *err) {
    tomo_results *r = calloc(1, sizeof *r);
    *results = NULL;
    if (r == NULL) {
        tomo_csv_free(csv);
        return tomo_fail_memory(err, "scores", sizeof *r);
    }
    r->csv = csv;
    tomo_status status = find_columns(r, vqa, err);
    if (status == TOMO_OK) status = score(r, tools, err);
    if (status == TOMO_OK) {
        *results = r;
    } else {
        tomo_results_free(r);
    }
    return status;
}

void tomo_results_keep_common(tomo_results *r, const tomo_results *other) {
    size_t kept = 0, which[TOMO_METRICS_MOST];
    for (size_t m = 0; m < r->metrics; m++) {
        for (size_t k = 0; k < other->metrics; k++) {
            if (strcmp(r->names[m], other->names[k]) == 0) which[kept++] = m;
        }
    }
    for (size_t row = 0; row < r->rows; row++) { /* to the left of what is read */
        for (size_t k = 0; k < kept; k++) r->values[row * kept + k] = r->values[row * r->metrics + which[k]];
    }
    for (size_t k = 0; k < kept; k++) r->names[k] = r->names[which[k]];
    r->metrics = kept;
}

void tomo_results_free(tomo_results *results) {
    if (results == NULL) return;
    tomo_csv_free(results->csv);
    free(results->values);
    free(results->types);
    free(results);
}
