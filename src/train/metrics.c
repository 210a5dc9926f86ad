#include "train/metrics.h"

#include "base/buffer.h"
#include "base/decimal.h"
#include "base/file.h"
#include "base/json.h"
#include "train/curves.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS "stage,step,kind,loss,learning_rate,gradient_norm,tokens,tokens_per_second,seconds,skipped\n"

struct tomo_metrics {
    char *folder;
    char *paths[2]; /* JSONL, CSV */
    FILE *files[2];
};

/* ---------------------------------------------------------------------------- lines */

/* A number that JSON can hold: what is none becomes null, and an empty field of the CSV. */
static const char *number(char *text, size_t size, double value, const char *none) {
    if (isfinite(value)) {
        (void)tomo_decimal_format(text, size, "%.9g", value);
    } else {
        (void)snprintf(text, size, "%s", none);
    }
    return text;
}

static void write_json(FILE *file, const tomo_metric *m) {
    char loss[32], norm[32];
    (void)tomo_decimal_print(
        file,
        "{\"stage\":\"%s\",\"stage_index\":%lld,\"step\":%lld,\"kind\":\"%s\",\"loss\":%s,"
        "\"learning_rate\":%.9g,\"gradient_norm\":%s,\"tokens\":%lld,\"tokens_per_second\":%.6g,"
        "\"seconds\":%.6g,\"skipped\":%s}\n",
        m->stage, (long long)m->stage_index, (long long)m->step, m->validation ? "validation" : "train",
        number(loss, sizeof loss, m->loss, "null"), m->rate, number(norm, sizeof norm, m->norm, "null"),
        (long long)m->tokens, m->tokens_per_second, m->seconds, m->skipped ? "true" : "false");
}

static void write_csv(FILE *file, const tomo_metric *m) {
    char loss[32], norm[32];
    (void)tomo_decimal_print(file, "%s,%lld,%s,%s,%.9g,%s,%lld,%.6g,%.6g,%d\n", m->stage, (long long)m->step,
                             m->validation ? "validation" : "train", number(loss, sizeof loss, m->loss, ""),
                             m->rate, number(norm, sizeof norm, m->norm, ""), (long long)m->tokens,
                             m->tokens_per_second, m->seconds, m->skipped);
}

tomo_status tomo_metrics_add(tomo_metrics *m, const tomo_metric *metric, tomo_error *err) {
    write_json(m->files[0], metric);
    write_csv(m->files[1], metric);
    for (int i = 0; i < 2; i++) {
        if (fflush(m->files[i]) != 0) {
            clearerr(m->files[i]);
            return tomo_fail_errno(err, m->paths[i], "write");
        }
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------- reading back */

/* A line of metrics.jsonl; *root owns the texts. False: cut off or not ours. */
static bool parse(const char *line, size_t size, tomo_metric *m, cJSON **root) {
    *root = cJSON_ParseWithLength(line, size);
    const cJSON *stage = tomo_json_get(*root, "stage"), *index = tomo_json_get(*root, "stage_index");
    const cJSON *step = tomo_json_get(*root, "step"), *kind = tomo_json_get(*root, "kind");
    const cJSON *loss = tomo_json_get(*root, "loss");
    if (!cJSON_IsString(stage) || !cJSON_IsNumber(index) || !cJSON_IsNumber(step) || !cJSON_IsString(kind)) {
        return false;
    }
    const struct {
        const char *key;
        double *value;
    } numbers[] = {{"learning_rate", &m->rate},
                   {"gradient_norm", &m->norm},
                   {"tokens_per_second", &m->tokens_per_second},
                   {"seconds", &m->seconds}};
    *m = (tomo_metric){.stage = stage->valuestring,
                       .stage_index = (int64_t)index->valuedouble,
                       .step = (int64_t)step->valuedouble,
                       .validation = strcmp(kind->valuestring, "validation") == 0,
                       .skipped = cJSON_IsTrue(tomo_json_get(*root, "skipped")),
                       .loss = cJSON_IsNumber(loss) ? loss->valuedouble : NAN};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const cJSON *value = tomo_json_get(*root, numbers[i].key);
        *numbers[i].value = cJSON_IsNumber(value) ? value->valuedouble : NAN;
    }
    const cJSON *tokens = tomo_json_get(*root, "tokens");
    m->tokens = cJSON_IsNumber(tokens) ? (int64_t)tokens->valuedouble : 0;
    return true;
}

/* Calls `see` for every whole line of metrics.jsonl, if there is one. */
static tomo_status each_line(const char *path, void (*see)(void *user, const tomo_metric *m), void *user,
                             tomo_error *err) {
    char *text = NULL;
    size_t size = 0;
    if (!tomo_path_exists(path)) return TOMO_OK;
    tomo_status status = tomo_file_read(path, INT64_C(1) << 32, &text, &size, err);
    for (size_t at = 0; status == TOMO_OK && at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t length = end == NULL ? size - at : (size_t)(end - text) - at;
        tomo_metric m;
        cJSON *root = NULL;
        if (end != NULL && parse(text + at, length, &m, &root)) see(user, &m);
        cJSON_Delete(root);
        at += length + 1;
    }
    free(text);
    return status;
}

/* ---------------------------------------------------------------------------- opening */

typedef struct rewriting {
    FILE *files[2];
    int64_t stage, step;
    bool evaluation_due;
} rewriting;

static void keep_line(void *user, const tomo_metric *m) {
    const rewriting *r = user;
    if (m->stage_index > r->stage || (m->stage_index == r->stage && m->step > r->step)) return;
    /* That of the step itself will come again. */
    if (r->evaluation_due && m->stage_index == r->stage && m->step == r->step && m->validation) return;
    write_json(r->files[0], m);
    write_csv(r->files[1], m);
}

/* Both files anew, with the lines that stay. */
static tomo_status rewrite(tomo_metrics *m, int64_t stage, int64_t step, bool evaluation_due,
                           tomo_error *err) {
    tomo_writer *writers[2] = {NULL, NULL};
    rewriting r = {.stage = stage, .step = step, .evaluation_due = evaluation_due};
    tomo_status status = TOMO_OK;
    for (int i = 0; i < 2 && status == TOMO_OK; i++) {
        status = tomo_writer_open(m->paths[i], &writers[i], err);
        if (status == TOMO_OK) r.files[i] = tomo_writer_stream(writers[i]);
    }
    if (status == TOMO_OK) {
        (void)fputs(COLUMNS, r.files[1]);
        status = each_line(m->paths[0], keep_line, &r, err);
    }
    for (int i = 0; i < 2; i++) {
        if (status == TOMO_OK) {
            status = tomo_writer_commit(writers[i], err);
        } else {
            tomo_writer_abort(writers[i]);
        }
    }
    return status;
}

tomo_status tomo_metrics_open(const char *folder, int64_t stage, int64_t step, bool evaluation_due,
                              tomo_metrics **metrics, tomo_error *err) {
    static const char *const names[] = {"metrics.jsonl", "metrics.csv"};
    tomo_metrics *m = calloc(1, sizeof *m);
    *metrics = NULL;
    if (m == NULL) return tomo_fail_memory(err, folder, sizeof *m);
    m->folder = strdup(folder);
    for (int i = 0; i < 2; i++) m->paths[i] = tomo_path_join(folder, names[i]);
    tomo_status status = m->folder == NULL || m->paths[0] == NULL || m->paths[1] == NULL
                             ? tomo_fail_memory(err, folder, 0)
                             : rewrite(m, stage, step, evaluation_due, err);
    for (int i = 0; i < 2 && status == TOMO_OK; i++) {
        m->files[i] = fopen(m->paths[i], "ae");
        if (m->files[i] == NULL) status = tomo_fail_errno(err, m->paths[i], "open");
    }
    if (status != TOMO_OK) {
        tomo_metrics_close(m);
        return status;
    }
    *metrics = m;
    return TOMO_OK;
}

void tomo_metrics_close(tomo_metrics *m) {
    if (m == NULL) return;
    for (int i = 0; i < 2; i++) {
        if (m->files[i] != NULL) (void)fclose(m->files[i]);
        free(m->paths[i]);
    }
    free(m->folder);
    free(m);
}

/* ---------------------------------------------------------------------------- drawing */

static void collect(void *user, const tomo_metric *m) {
    tomo_curves_add(user, m->stage_index, m->step, m->validation, m->loss);
}

tomo_status tomo_metrics_draw(tomo_metrics *m, tomo_error *err) {
    tomo_curves curves = {0};
    tomo_status status = each_line(m->paths[0], collect, &curves, err);
    if (status == TOMO_OK) status = tomo_curves_write(&curves, m->folder, err);
    tomo_curves_free(&curves);
    return status;
}
