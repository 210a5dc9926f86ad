/* results_write.c - scored rows as the benchmark's CSV: lines end with CRLF, numbers read back exactly. */
#include "eval/results.h"

#include "base/decimal.h"
#include "base/file.h"

#include <stdio.h>
#include <string.h>

/* The benchmark's score columns. */
static const char *const score_columns[] = {"bleu", "rouge1", "meteor", "bert_f1", "Correct"};

static bool is_named(tomo_csv_field name, const char *const *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (name.size == strlen(names[i]) && memcmp(name.text, names[i], name.size) == 0) return true;
    }
    return false;
}

static bool is_left_out(tomo_csv_field name, bool with_rankings) {
    size_t count = sizeof score_columns / sizeof score_columns[0];
    return is_named(name, score_columns, count) ||
           (!with_rankings && is_named(name, tomo_rank_columns, TOMO_RANKINGS));
}

bool tomo_metric_is_column(const char *metric) {
    static const char *const extra[] = {"rouge1_precision", "rouge1_recall", "strict",
                                        "ranked_text",      "ranked_letter", "ranked_token"};
    for (size_t i = 0; i < sizeof extra / sizeof extra[0]; i++) {
        if (strcmp(metric, extra[i]) == 0) return false;
    }
    return true;
}

/* How the CSV calls a metric. */
static const char *column_of(const char *metric) {
    return strcmp(metric, "accuracy") == 0 ? "Correct" : metric;
}

static void put_names(const tomo_results *r, bool with_rankings, tomo_buffer *out) {
    bool first = true;
    for (size_t c = 0; c < tomo_csv_column_count(r->csv); c++) {
        tomo_csv_field name = tomo_csv_name(r->csv, c);
        if (is_left_out(name, with_rankings)) continue;
        (void)tomo_csv_put(out, first, name.text, name.size);
        first = false;
    }
    for (size_t m = 0; m < r->metrics; m++) {
        if (!tomo_metric_is_column(r->names[m])) continue;
        const char *name = column_of(r->names[m]);
        (void)tomo_csv_put(out, false, name, strlen(name));
    }
    (void)tomo_buffer_add(out, "\r\n", 2);
}

static void put_row(const tomo_results *r, size_t row, bool with_rankings, tomo_buffer *out) {
    bool first = true;
    for (size_t c = 0; c < tomo_csv_column_count(r->csv); c++) {
        if (is_left_out(tomo_csv_name(r->csv, c), with_rankings)) continue;
        tomo_csv_field f = tomo_csv_at(r->csv, row, c);
        (void)tomo_csv_put(out, first, f.text, f.size);
        first = false;
    }
    for (size_t m = 0; m < r->metrics; m++) {
        char text[TOMO_DECIMAL_TEXT];
        double value = r->values[row * r->metrics + m];
        if (!tomo_metric_is_column(r->names[m])) continue;
        if (r->kind == TOMO_RESULTS_CLOSED) {
            (void)snprintf(text, sizeof text, "%d", value > 0);
        } else {
            tomo_decimal_write(value, text);
        }
        (void)tomo_csv_put(out, false, text, strlen(text));
    }
    (void)tomo_buffer_add(out, "\r\n", 2);
}

tomo_status tomo_results_write(const tomo_results *results, const char *path, bool with_rankings,
                               tomo_error *err) {
    tomo_buffer line = {.maximum = SIZE_MAX};
    tomo_writer *writer = NULL;
    tomo_status status = tomo_writer_open(path, &writer, err);
    if (status != TOMO_OK) return status;
    put_names(results, with_rankings, &line);
    for (size_t row = 0; status == TOMO_OK; row++) {
        if (line.failed) {
            status = tomo_fail_memory(err, path, line.size);
            break;
        }
        status = tomo_writer_write(writer, line.data, line.size, err);
        if (row == results->rows) break;
        tomo_buffer_clear(&line);
        put_row(results, row, with_rankings, &line);
    }
    tomo_buffer_free(&line);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}
