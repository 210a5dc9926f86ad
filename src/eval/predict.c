/* predict.c - the model's answers to the samples, scan by scan. */
#include "eval/evaluation.h"

#include "base/clock.h"
#include "base/decimal.h"
#include "eval/closed.h"
#include "eval/overlap.h"
#include "model/session.h"
#include "train/render.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* M3D's scripts generate so many tokens at most. */
#define BENCHMARK_TOKENS 256

void tomo_prediction_free(tomo_prediction *p) {
    free(p->text);
    free(p->failure);
    free(p->kept_z);
    *p = (tomo_prediction){0};
}

/* ------------------------------------------------------------------------------ the journal's lines */

static bool add_kept(cJSON *line, const tomo_prediction *p) {
    cJSON *list = cJSON_AddArrayToObject(line, "kept_slices");
    bool good = list != NULL;
    for (int64_t i = 0; good && i < p->kept_count; i++) {
        cJSON *item = cJSON_CreateNumber((double)p->kept_z[i]);
        good = item != NULL && cJSON_AddItemToArray(list, item);
    }
    return good;
}

static bool add_ranked(cJSON *line, const tomo_prediction *p) {
    cJSON *ranked = p->ranked[0] != '\0' ? cJSON_AddObjectToObject(line, "ranked") : NULL;
    bool good = p->ranked[0] == '\0' || ranked != NULL;
    for (int i = 0; ranked != NULL && good && i < TOMO_RANKINGS; i++) {
        const char letter[2] = {p->ranked[i], '\0'};
        good = cJSON_AddStringToObject(ranked, tomo_rank_columns[i], letter) != NULL;
    }
    return good;
}

static cJSON *make_line(const tomo_evaluation *e, size_t index) {
    const tomo_prediction *p = &e->predictions[index];
    const tomo_sample *s = tomo_evaluation_sample(e, index);
    cJSON *line = cJSON_CreateObject();
    bool good = line != NULL && cJSON_AddNumberToObject(line, "sample", (double)(e->first + index)) != NULL &&
                cJSON_AddStringToObject(line, "scan", s->name) != NULL &&
                cJSON_AddStringToObject(line, "prediction", p->text) != NULL;
    if (p->failure != NULL) good = good && cJSON_AddStringToObject(line, "error", p->failure) != NULL;
    if (p->prompt >= 0) good = good && cJSON_AddNumberToObject(line, "prompt", p->prompt) != NULL;
    good = good && cJSON_AddNumberToObject(line, "prompt_tokens", (double)p->prompt_tokens) != NULL &&
           cJSON_AddNumberToObject(line, "tokens", (double)p->tokens) != NULL &&
           cJSON_AddNumberToObject(line, "slices", (double)p->slices) != NULL && add_kept(line, p) &&
           add_ranked(line, p);
    if (good) return line;
    cJSON_Delete(line);
    return NULL;
}

static int64_t whole(const cJSON *line, const char *key, int64_t otherwise) {
    int64_t number = otherwise;
    const cJSON *item = tomo_json_get(line, key);
    if (item == NULL || !tomo_json_whole(item, 0, INT64_C(1) << 53, &number)) return otherwise;
    return number;
}

static bool read_kept(const cJSON *line, tomo_prediction *p) {
    const cJSON *list = tomo_json_get(line, "kept_slices"), *item;
    int count = cJSON_GetArraySize(list);
    p->kept_z = calloc((size_t)count + 1, sizeof *p->kept_z);
    if (p->kept_z == NULL) return false;
    cJSON_ArrayForEach(item, list) {
        if (!tomo_json_whole(item, 0, INT32_MAX, &p->kept_z[p->kept_count++])) return false;
    }
    return true;
}

tomo_status tomo_prediction_read(void *evaluation, const cJSON *line, tomo_error *err) {
    tomo_evaluation *e = evaluation;
    const char *text = cJSON_GetStringValue(tomo_json_get(line, "prediction"));
    const char *failure = cJSON_GetStringValue(tomo_json_get(line, "error"));
    int64_t sample = whole(line, "sample", -1);
    if (text == NULL || sample < (int64_t)e->first || sample >= (int64_t)(e->first + e->count)) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: a line of %s names no sample of this run", e->folder,
                         e->name);
    }
    tomo_prediction *p = &e->predictions[(size_t)sample - e->first];
    tomo_prediction_free(p);
    *p = (tomo_prediction){.done = true,
                           .text = strdup(text),
                           .failure = failure != NULL ? strdup(failure) : NULL,
                           .prompt = (int)whole(line, "prompt", -1),
                           .slices = whole(line, "slices", 0),
                           .prompt_tokens = whole(line, "prompt_tokens", 0),
                           .tokens = whole(line, "tokens", 0)};
    for (int i = 0; i < TOMO_RANKINGS; i++) {
        const char *letter =
            cJSON_GetStringValue(tomo_json_get(tomo_json_get(line, "ranked"), tomo_rank_columns[i]));
        if (letter != NULL) p->ranked[i] = letter[0];
    }
    bool good = p->text != NULL && (failure == NULL || p->failure != NULL) && read_kept(line, p);
    return good ? TOMO_OK : tomo_fail_memory(err, e->folder, 0);
}

/* ------------------------------------------------------------------------------ one sample */

static tomo_generate_options plan(const tomo_evaluation *e, size_t index) {
    tomo_generate_options o = {0};
    if (e->options->generate != NULL) o = *e->options->generate;
    if (o.max_tokens == 0 && tomo_evaluation_is_benchmark(e)) o.max_tokens = BENCHMARK_TOKENS;
    o.instruction = tomo_evaluation_instruction(e, index);
    o.seed += e->first + index; /* a sample's draws do not depend on what came before it */
    o.text = NULL;
    return o;
}

/* The letters that come first. */
static void rank(const tomo_choice *choices, size_t count, char ranked[TOMO_RANKINGS]) {
    size_t best[TOMO_RANKINGS] = {0};
    for (size_t i = 1; i < count; i++) {
        const tomo_choice *c = &choices[i];
        if (c->log_probability > choices[best[TOMO_RANK_TEXT]].log_probability) best[TOMO_RANK_TEXT] = i;
        if (c->probability > choices[best[TOMO_RANK_LETTER]].probability) best[TOMO_RANK_LETTER] = i;
        if (c->log_probability_per_token > choices[best[TOMO_RANK_TOKEN]].log_probability_per_token) {
            best[TOMO_RANK_TOKEN] = i;
        }
    }
    for (int i = 0; i < TOMO_RANKINGS; i++) ranked[i] = (char)('A' + best[i]);
}

static tomo_status ask(const tomo_evaluation *e, tomo_session *session, const tomo_sample *s, size_t index,
                       tomo_answer *answer, tomo_error *err) {
    tomo_generate_options o = plan(e, index);
    if (s->kind == TOMO_SAMPLE_REPORT) return tomo_session_report(session, &o, answer, err);
    char *question = tomo_sample_question(s, "");
    if (question == NULL) return tomo_fail_memory(err, "a question", 0);
    tomo_status status = tomo_session_ask(session, question, &o, answer, err);
    free(question);
    return status;
}

static tomo_status predict(const tomo_evaluation *e, tomo_session *session, size_t index, tomo_prediction *p,
                           tomo_error *err) {
    const tomo_sample *s = tomo_evaluation_sample(e, index);
    tomo_answer answer = {0};
    tomo_choice choices[TOMO_SAMPLE_CHOICES];
    size_t kept = 0;
    const int64_t *z = tomo_session_kept_slices(session, &kept);
    tomo_status status = ask(e, session, s, index, &answer, err);
    if (status == TOMO_OK && s->kind == TOMO_SAMPLE_CLOSED) {
        status = tomo_session_choose(session, s->question, s->choices, s->choice_count, choices, err);
        if (status == TOMO_OK) rank(choices, s->choice_count, p->ranked);
    }
    if (status == TOMO_OK) {
        p->text = answer.text;
        answer.text = NULL;
        p->prompt_tokens = (int64_t)answer.prompt_tokens;
        p->tokens = (int64_t)answer.count;
        p->kept_count = (int64_t)kept;
        p->kept_z = calloc(kept + 1, sizeof *p->kept_z);
        if (p->kept_z == NULL) status = tomo_fail_memory(err, "kept slices", kept * sizeof *p->kept_z);
    }
    if (status == TOMO_OK && kept > 0) memcpy(p->kept_z, z, kept * sizeof *z);
    tomo_answer_clear(&answer);
    return status;
}

/* ------------------------------------------------------------------------------ all samples */

typedef struct worker {
    tomo_evaluation *e;
    tomo_session *session;
    tomo_journal *journal;
    const char *scan;  /* that the session has read, or could not read */
    tomo_error unread; /* why; status TOMO_OK: it was read */
    tomo_arena *arena; /* for the running score */
    double sum;        /* of the running score */
    size_t done;
} worker;

/* What the encoder makes of a scan comes from the cache, where it may have been before. */
static tomo_status read_features(worker *w, const char *path, tomo_error *err) {
    tomo_evaluation *e = w->e;
    tomo_features f = {0};
    double start = tomo_seconds();
    tomo_volume_options options = {.limits = e->context->limits};
    tomo_status status =
        tomo_features_get(e->features, e->model, &w->session->exec, path, &options, NULL, &f, err);
    tomo_reading reading = {.slices = f.slices,
                            .prune = {.slices = f.slices, .count = f.kept_count, .kept = f.kept},
                            .kept_z = f.kept_z,
                            .slice_mm = f.slice_mm,
                            .features = f.values};
    if (status == TOMO_OK) status = tomo_reading_connect(e->model, &w->session->exec, &reading, err);
    if (status == TOMO_OK) tomo_session_take_reading(w->session, &reading);
    tomo_reading_free(&reading);
    e->read_seconds += tomo_seconds() - start;
    return status;
}

static tomo_status read_scan(worker *w, const char *path, tomo_error *err) {
    tomo_evaluation *e = w->e;
    if (e->features != NULL) return read_features(w, path, err);
    tomo_scan *scan = NULL;
    tomo_read_options options = {.force_windows = e->options->force_windows};
    double start = tomo_seconds();
    tomo_status status = tomo_scan_open(e->context, path, NULL, &scan, err);
    double opened = tomo_seconds();
    if (status == TOMO_OK) status = tomo_session_read_scan(w->session, scan, &options, err);
    tomo_scan_free(scan);
    e->scan_seconds += opened - start;
    e->read_seconds += tomo_seconds() - opened;
    return status;
}

/* What ends the whole run; everything else is one sample's trouble. */
static bool is_fatal(tomo_status status) {
    return status == TOMO_E_MEMORY || status == TOMO_E_CANCELLED || status == TOMO_E_USAGE ||
           status == TOMO_E_INTERNAL;
}

static tomo_status evaluate(worker *w, size_t index, tomo_error *err) {
    tomo_evaluation *e = w->e;
    const tomo_sample *s = tomo_evaluation_sample(e, index);
    tomo_prediction *p = &e->predictions[index];
    tomo_error failure = {0};
    if (w->scan == NULL || strcmp(w->scan, s->scan) != 0) {
        w->unread = (tomo_error){0};
        w->unread.status = read_scan(w, s->scan, &w->unread);
        w->scan = s->scan;
    }
    *p = (tomo_prediction){.prompt = -1};
    if (s->kind == TOMO_SAMPLE_REPORT && tomo_evaluation_is_benchmark(e)) {
        p->prompt = (int)tomo_m3d_prompt_draw(e->options->seed, 0, e->first + index);
    }
    double start = tomo_seconds();
    failure = w->unread;
    if (failure.status == TOMO_OK) {
        p->slices = w->session->reading.slices;
        failure.status = predict(e, w->session, index, p, &failure);
    }
    e->answer_seconds += tomo_seconds() - start;
    if (is_fatal(failure.status)) {
        if (err != NULL) *err = failure;
        return failure.status;
    }
    if (failure.status != TOMO_OK) {
        tomo_log(&e->context->hooks, TOMO_LOG_WARNING, "%s: row %zu: %s", s->source, s->row, failure.message);
        free(p->text);
        p->text = strdup("");
        p->failure = strdup(failure.message);
    }
    if (p->text == NULL || (failure.status != TOMO_OK && p->failure == NULL)) {
        return tomo_fail_memory(err, "a prediction", 0);
    }
    p->done = true;
    e->evaluated++;
    return tomo_journal_append(w->journal, make_line(e, index), err);
}

/* The benchmark's accuracy, or BLEU-1, for the progress bar. */
static double quick_score(worker *w, size_t index) {
    const tomo_sample *s = tomo_evaluation_sample(w->e, index);
    const char *text = w->e->predictions[index].text;
    tomo_points a, b;
    tomo_tokens x, y;
    tomo_bleu bleu = {0};
    if (s->kind == TOMO_SAMPLE_CLOSED) {
        return tomo_closed_is_right((tomo_csv_field){s->letter, strlen(s->letter)},
                                    (tomo_csv_field){text, strlen(text)});
    }
    if (tomo_points_decode(w->arena, text, strlen(text), &a) &&
        tomo_points_decode(w->arena, s->answer, strlen(s->answer), &b) && tomo_tokens_bleu(w->arena, a, &x) &&
        tomo_tokens_bleu(w->arena, b, &y)) {
        (void)tomo_bleu_score(w->arena, &x, &y, &bleu);
    }
    tomo_arena_reset(w->arena);
    return bleu.score;
}

static tomo_status tell_progress(worker *w, tomo_error *err) {
    char stage[64];
    const char *name = w->e->kind == TOMO_EVAL_VQA_CLOSED ? "accuracy" : "BLEU-1";
    (void)tomo_decimal_format(stage, sizeof stage, "evaluating (%s %.4f)", name,
                              w->done > 0 ? w->sum / (double)w->done : 0);
    return tomo_progress(&w->e->context->hooks, stage, (int64_t)w->done, (int64_t)w->e->count, err);
}

typedef struct place {
    const char *scan;
    size_t first, index; /* first: the scan's first sample */
} place;

static int by_scan(const void *a, const void *b) {
    const place *x = a, *y = b;
    int order = strcmp(x->scan, y->scan);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int by_first(const void *a, const void *b) {
    const place *x = a, *y = b;
    if (x->first != y->first) return x->first < y->first ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Samples of one scan follow each other, scans in the order of their first sample. Freed by free. */
static place *order_samples(const tomo_evaluation *e) {
    place *places = calloc(e->count + 1, sizeof *places);
    if (places == NULL) return NULL;
    for (size_t i = 0; i < e->count; i++) {
        places[i] = (place){tomo_evaluation_sample(e, i)->scan, i, i};
    }
    qsort(places, e->count, sizeof *places, by_scan);
    for (size_t i = 1; i < e->count; i++) {
        if (strcmp(places[i].scan, places[i - 1].scan) == 0) places[i].first = places[i - 1].first;
    }
    qsort(places, e->count, sizeof *places, by_first);
    return places;
}

static tomo_status evaluate_all(worker *w, const place *places, tomo_error *err) {
    tomo_evaluation *e = w->e;
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < e->count; i++) {
        if (!e->predictions[i].done) continue;
        w->sum += quick_score(w, i);
        w->done++;
    }
    for (size_t k = 0; k < e->count && status == TOMO_OK; k++) {
        size_t i = places[k].index;
        if (e->predictions[i].done) continue;
        status = tell_progress(w, err);
        if (status == TOMO_OK) status = evaluate(w, i, err);
        if (status != TOMO_OK) break;
        w->sum += quick_score(w, i);
        w->done++;
    }
    return status == TOMO_OK ? tell_progress(w, err) : status;
}

tomo_status tomo_evaluation_predict(tomo_evaluation *e, tomo_journal *journal, tomo_error *err) {
    worker w = {.e = e, .journal = journal, .arena = tomo_arena_create(0)};
    place *places = order_samples(e);
    double start = tomo_seconds();
    tomo_status status = w.arena == NULL || places == NULL ? tomo_fail_memory(err, "samples", e->count)
                                                           : tomo_session_create(e->model, &w.session, err);
    if (status == TOMO_OK) status = evaluate_all(&w, places, err);
    for (size_t i = 0; i < e->count; i++) e->failed += e->predictions[i].failure != NULL;
    e->seconds = tomo_seconds() - start;
    tomo_session_free(w.session);
    if (w.arena != NULL) tomo_arena_free(w.arena);
    free(places);
    return status;
}
