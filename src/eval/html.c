/* html.c - the report of an evaluation as one page that needs nothing else. */
#include "base/file.h"
#include "eval/evaluation.h"
#include "eval/page.h"
#include "train/render.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Cases of each end, and slices shown of each. */
enum { CASES = 5, SLICES = 8 };

static void add_text(tomo_buffer *page, const char *text) {
    tomo_page_text(page, text, strlen(text));
}

/* ------------------------------------------------------------------------------ what was run */

static void add_fact(tomo_buffer *page, const char *name, const cJSON *value) {
    if (value == NULL) return;
    (void)tomo_buffer_format(page, "<tr><td class=\"k\">%s</td><td>", name);
    if (cJSON_IsString(value)) {
        add_text(page, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        (void)tomo_buffer_format(page, "%.6g", value->valuedouble);
    } else {
        char *text = cJSON_PrintUnformatted(value);
        add_text(page, text != NULL ? text : "");
        cJSON_free(text);
    }
    (void)tomo_buffer_add_text(page, "</td></tr>\n");
}

static void add_facts(tomo_buffer *page, const cJSON *summary) {
    static const char *const facts[][2] = {{"evaluation", "evaluation"},
                                           {"protocol", "protocol"},
                                           {"protocol_rules", "protocol's rules"},
                                           {"prompt", "prompt"},
                                           {"model", "model"},
                                           {"model_sha256", "model, SHA-256"},
                                           {"data", "data"},
                                           {"data_sha256", "data, SHA-256"},
                                           {"split", "split"},
                                           {"samples", "samples"},
                                           {"failed", "failed samples"},
                                           {"per_sample", "per sample"},
                                           {"generation", "generation"},
                                           {"precision", "precision"},
                                           {"kernels", "kernels"},
                                           {"version", "tomo"}};
    (void)tomo_buffer_add_text(page, "<h2>What was run</h2><table>\n");
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        add_fact(page, facts[i][1], tomo_json_get(summary, facts[i][0]));
    }
    (void)tomo_buffer_add_text(page, "</table>\n");
}

/* ------------------------------------------------------------------------------ scores */

static void add_estimates(tomo_buffer *page, const char *name, const cJSON *rows, const cJSON *scores) {
    const cJSON *e;
    (void)tomo_buffer_add_text(page, "<tr><td>");
    add_text(page, name);
    (void)tomo_buffer_format(page, "</td><td class=\"n\">%.0f</td>",
                             cJSON_IsNumber(rows) ? rows->valuedouble : 0);
    cJSON_ArrayForEach(e, scores) {
        const cJSON *mean = tomo_json_get(e, "mean"), *low = tomo_json_get(e, "low"),
                    *high = tomo_json_get(e, "high");
        if (cJSON_IsNumber(mean) && cJSON_IsNumber(low) && cJSON_IsNumber(high)) {
            (void)tomo_buffer_format(page, "<td class=\"n\">%.4f <span class=\"k\">%.3f to %.3f</span></td>",
                                     mean->valuedouble, low->valuedouble, high->valuedouble);
        } else {
            (void)tomo_buffer_add_text(page, "<td class=\"n\">-</td>");
        }
    }
    (void)tomo_buffer_add_text(page, "</tr>\n");
}

/* The table of one part: all rows, or those that are not in training. */
static void add_scores(tomo_buffer *page, const char *title, const cJSON *part) {
    const cJSON *list = tomo_json_get(part, "scores"), *types = tomo_json_get(part, "types"), *item;
    const cJSON *rows = tomo_json_get(part, "rows");
    (void)tomo_buffer_format(
        page, "<h2>%s</h2><div class=\"wide\"><table><tr><th></th><th class=\"n\">rows</th>", title);
    const cJSON *metrics = list != NULL ? list : tomo_json_get(part, "micro");
    cJSON_ArrayForEach(item, metrics) {
        (void)tomo_buffer_format(page, "<th class=\"n\">%s</th>", item->string);
    }
    (void)tomo_buffer_add_text(page, "</tr>\n");
    if (list != NULL) add_estimates(page, "all", rows, list);
    cJSON_ArrayForEach(item, types) {
        add_estimates(page, cJSON_GetStringValue(tomo_json_get(item, "name")), tomo_json_get(item, "rows"),
                      tomo_json_get(item, "scores"));
    }
    if (list == NULL) {
        add_estimates(page, "macro mean", rows, tomo_json_get(part, "macro"));
        add_estimates(page, "micro mean", rows, tomo_json_get(part, "micro"));
    }
    (void)tomo_buffer_add_text(page, "</table></div><p class=\"k\">Grey: 95 % bootstrap intervals.</p>\n");
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void add_bars(tomo_buffer *page, const cJSON *scores, const char *metric) {
    const cJSON *type, *types = tomo_json_get(scores, "types");
    if (types == NULL) return;
    (void)tomo_buffer_format(page, "<h2>%s by question type</h2>", metric);
    tomo_page_bars_begin(page);
    cJSON_ArrayForEach(type, types) {
        const cJSON *e = tomo_json_get(tomo_json_get(type, "scores"), metric);
        tomo_page_bar(page, cJSON_GetStringValue(tomo_json_get(type, "name")), number(e, "mean"),
                      number(e, "low"), number(e, "high"));
    }
    tomo_page_bars_end(page);
}

static void add_curves(tomo_buffer *page, const tomo_results *r) {
    if (r->rows < 2) return; /* one point is no curve */
    double *values = malloc((r->rows + 1) * sizeof *values);
    if (values == NULL) {
        page->failed = true;
        return;
    }
    (void)tomo_buffer_add_text(page, "<h2>Curves</h2>\n");
    for (size_t m = 0; m < r->metrics; m++) {
        if (!tomo_metric_is_column(r->names[m])) continue;
        for (size_t row = 0; row < r->rows; row++) values[row] = r->values[row * r->metrics + m];
        tomo_page_curves(page, r->names[m], values, r->rows);
    }
    free(values);
}

/* ------------------------------------------------------------------------------ cases */

/* METEOR where there is one, else ROUGE-1; of closed questions the benchmark's rule. */
static size_t main_metric(const tomo_results *r) {
    for (size_t m = 0; m < r->metrics; m++) {
        if (strcmp(r->names[m], "meteor") == 0) return m;
    }
    return r->kind == TOMO_RESULTS_CLOSED ? 0 : 1;
}

typedef struct ranked_row {
    double score;
    size_t row;
} ranked_row;

static int by_score(const void *a, const void *b) {
    const ranked_row *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static void add_line(tomo_buffer *page, const char *name, const char *text) {
    (void)tomo_buffer_format(page, "<p><span class=\"k\">%s</span> ", name);
    add_text(page, text != NULL && text[0] != '\0' ? text : "(empty)");
    (void)tomo_buffer_add_text(page, "</p>\n");
}

/* A scan that cannot be read any more costs its picture alone. */
static tomo_status add_slices(tomo_buffer *page, const tomo_evaluation *e, const tomo_sample *s,
                              const tomo_prediction *p, tomo_error *err) {
    tomo_volume *volume = NULL;
    tomo_volume_options options = {.limits = e->context->limits};
    if (p->kept_count == 0 || tomo_volume_open(s->scan, &options, &volume, NULL) != TOMO_OK) return TOMO_OK;
    tomo_status status = tomo_page_slices(page, volume, p->kept_z, p->kept_count, SLICES, err);
    tomo_volume_free(volume);
    return status;
}

static tomo_status add_case(tomo_buffer *page, const tomo_evaluation *e, const tomo_results *r,
                            const ranked_row *which, tomo_error *err) {
    const tomo_sample *s = tomo_evaluation_sample(e, which->row);
    const tomo_prediction *p = &e->predictions[which->row];
    const char *instruction = tomo_evaluation_instruction(e, which->row);
    char *question = tomo_sample_question(s, instruction != NULL ? instruction : e->model->config.report);
    char *answer = tomo_sample_answer(s, false);
    (void)tomo_buffer_format(page, "<div class=\"case\"><p><b>%s %.4f</b> <span class=\"k\">",
                             r->names[main_metric(r)], which->score);
    add_text(page, s->name);
    (void)tomo_buffer_format(page, ", %lld of %lld slices kept</span></p>\n", (long long)p->kept_count,
                             (long long)p->slices);
    tomo_status status = add_slices(page, e, s, p, err);
    add_line(page, "prompt", question);
    add_line(page, "reference", answer);
    add_line(page, "prediction", p->text);
    if (p->failure != NULL) add_line(page, "failed", p->failure);
    (void)tomo_buffer_add_text(page, "</div>\n");
    page->failed = page->failed || question == NULL || answer == NULL;
    free(question);
    free(answer);
    return status;
}

static tomo_status add_cases(tomo_buffer *page, const tomo_evaluation *e, const tomo_results *r,
                             tomo_error *err) {
    ranked_row *rows = calloc(r->rows + 1, sizeof *rows);
    size_t metric = main_metric(r), shown = r->rows / 2 < CASES ? (r->rows + 1) / 2 : CASES;
    tomo_status status = TOMO_OK;
    if (rows == NULL) return tomo_fail_memory(err, "cases", r->rows * sizeof *rows);
    for (size_t i = 0; i < r->rows; i++) rows[i] = (ranked_row){r->values[i * r->metrics + metric], i};
    qsort(rows, r->rows, sizeof *rows, by_score);
    (void)tomo_buffer_add_text(page, "<h2>The worst cases</h2>\n");
    for (size_t i = 0; i < shown && status == TOMO_OK; i++) status = add_case(page, e, r, &rows[i], err);
    (void)tomo_buffer_add_text(page, "<h2>The best cases</h2>\n");
    for (size_t i = 0; i < shown && i < r->rows && status == TOMO_OK; i++) {
        status = add_case(page, e, r, &rows[r->rows - 1 - i], err);
    }
    free(rows);
    return status;
}

/* ------------------------------------------------------------------------------ together */

static void add_timing(tomo_buffer *page, const cJSON *summary) {
    const cJSON *timing = tomo_json_get(summary, "timing"), *item;
    (void)tomo_buffer_add_text(page, "<h2>Time of the last process</h2><table>\n");
    cJSON_ArrayForEach(item, timing) add_fact(page, item->string, item);
    (void)tomo_buffer_add_text(page, "</table>\n");
}

tomo_status tomo_evaluation_write_html(const tomo_evaluation *e, const tomo_results *results,
                                       const cJSON *summary, const char *path, tomo_error *err) {
    tomo_buffer page = {.maximum = (size_t)1 << 28};
    const cJSON *scores = tomo_json_get(summary, "scores"), *unseen = tomo_json_get(scores, "unseen");
    const cJSON *meteor = tomo_json_get(scores, "meteor_left_out");
    tomo_page_begin(&page, "Tomoscribe evaluation");
    (void)tomo_buffer_add_text(&page, "<p class=\"notice\">For research, not for diagnosis.</p>\n");
    add_scores(&page, "Scores", scores);
    if (meteor != NULL) add_line(&page, "METEOR is left out:", meteor->valuestring);
    if (unseen != NULL) add_scores(&page, "Rows whose text does not occur in training", unseen);
    add_bars(&page, scores, results->names[main_metric(results)]);
    add_curves(&page, results);
    add_facts(&page, summary);
    tomo_status status = add_cases(&page, e, results, err);
    add_timing(&page, summary);
    tomo_page_end(&page);
    if (status == TOMO_OK)
        status = page.failed ? tomo_fail_memory(err, path, page.size)
                             : tomo_file_write(path, page.data, page.size, err);
    tomo_buffer_free(&page);
    return status;
}
