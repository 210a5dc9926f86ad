#include "eval/bertscore.h"

#include "base/csv.h"
#include "base/decimal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tomo_bertscore {
    tomo_bert *bert;
    tomo_exec exec;
    int64_t layers;
    bool has_baseline;
    double baseline[3]; /* of precision, recall and f1 */
    /* Inverse document frequencies: counts while references come, weights afterwards. */
    double *weights; /* [vocabulary], or NULL: every token weighs 1 */
    size_t vocabulary, documents;
    double unseen; /* the weight of ids beyond the vocabulary */
    tomo_ids prediction, reference;
};

/* ------------------------------------------------------------------------------ opening */

/* A line "LAYER,P,R,F" of the package's baseline files. */
static tomo_status read_baseline(tomo_bertscore *b, const char *path, tomo_error *err) {
    static const char *const names[] = {"LAYER", "P", "R", "F"};
    size_t columns[4];
    tomo_csv *csv = NULL;
    tomo_status status = tomo_csv_open(path, &csv, err);
    for (int i = 0; i < 4 && status == TOMO_OK; i++) status = tomo_csv_need(csv, names[i], &columns[i], err);
    for (size_t row = 0; status == TOMO_OK && row < tomo_csv_row_count(csv) && !b->has_baseline; row++) {
        double values[4];
        for (int i = 0; i < 4 && status == TOMO_OK; i++) {
            tomo_csv_field f = tomo_csv_at(csv, row, columns[i]);
            if (tomo_decimal_read(f.text, f.size, false, &values[i]) && (i == 0 || values[i] != 1)) continue;
            status =
                tomo_fail(err, TOMO_E_HEADER, "%s: row %zu, column %zu (%s): a number other than 1 is wanted",
                          path, tomo_csv_row_number(row), columns[i] + 1, names[i]);
        }
        b->has_baseline = status == TOMO_OK && values[0] == (double)b->layers;
        if (b->has_baseline) memcpy(b->baseline, values + 1, sizeof b->baseline);
    }
    if (status == TOMO_OK && !b->has_baseline) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: no row for layer %lld", path, (long long)b->layers);
    }
    tomo_csv_free(csv);
    return status;
}

static int64_t choose_layers(int64_t wanted, int64_t depth) {
    if (wanted > 0) return wanted;
    return depth == 24 ? 17 : depth == 12 ? 9 : depth;
}

static tomo_status open_parts(tomo_bertscore *b, tomo_context *c, const char *folder,
                              const tomo_bertscore_options *o, tomo_error *err) {
    tomo_status status = tomo_exec_init(&b->exec, c->kernels, c->pool, &c->hooks, 0, err);
    if (status == TOMO_OK) status = tomo_bert_open(folder, &b->bert, err);
    if (status != TOMO_OK) return status;
    int64_t depth = tomo_bert_layers(b->bert);
    b->layers = choose_layers(o->layers, depth);
    if (b->layers > depth) {
        return tomo_fail(err, TOMO_E_USAGE, "%s: layer %lld; the model has %lld", folder,
                         (long long)b->layers, (long long)depth);
    }
    return o->baseline != NULL ? read_baseline(b, o->baseline, err) : TOMO_OK;
}

tomo_status tomo_bertscore_open(tomo_context *context, const char *folder,
                                const tomo_bertscore_options *options, tomo_bertscore **bertscore,
                                tomo_error *err) {
    const tomo_bertscore_options none = {0};
    tomo_bertscore *b = calloc(1, sizeof *b);
    *bertscore = NULL;
    if (b == NULL) return tomo_fail_memory(err, folder, sizeof *b);
    tomo_status status = open_parts(b, context, folder, options != NULL ? options : &none, err);
    if (status == TOMO_OK) {
        *bertscore = b;
    } else {
        tomo_bertscore_free(b);
    }
    return status;
}

void tomo_bertscore_free(tomo_bertscore *b) {
    if (b == NULL) return;
    tomo_bert_free(b->bert);
    if (b->exec.arena != NULL) tomo_exec_release(&b->exec);
    tomo_ids_free(&b->prediction);
    tomo_ids_free(&b->reference);
    free(b->weights);
    free(b);
}

/* ------------------------------------------------------------------------------ weights */

static int compare_ids(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Room for ids below `size`. */
static bool reserve_weights(tomo_bertscore *b, size_t size) {
    if (size <= b->vocabulary && b->weights != NULL) return true;
    double *weights = realloc(b->weights, (size + 1) * sizeof *weights);
    if (weights == NULL) return false;
    for (size_t i = b->vocabulary; i < size; i++) weights[i] = 0;
    b->weights = weights;
    b->vocabulary = size;
    return true;
}

static tomo_status count_reference(tomo_bertscore *b, const char *text, size_t size, tomo_error *err) {
    tomo_ids *ids = &b->reference;
    ids->count = 0;
    tomo_status status = tomo_bert_encode(b->bert, text, size, ids, err);
    if (status != TOMO_OK) return status;
    if (ids->count > 0) qsort(ids->data, ids->count, sizeof *ids->data, compare_ids);
    for (size_t i = 0; i < ids->count; i++) {
        if (i > 0 && ids->data[i] == ids->data[i - 1]) continue;
        if (!reserve_weights(b, (size_t)ids->data[i] + 1)) return tomo_fail_memory(err, "weights", 0);
        b->weights[ids->data[i]] += 1;
    }
    b->documents++;
    return TOMO_OK;
}

tomo_status tomo_bertscore_count(tomo_bertscore *b, const char *reference, size_t size, tomo_error *err) {
    if (reference != NULL) return count_reference(b, reference, size, err);
    double n = (double)b->documents;
    b->unseen = log(n + 1);
    if (!reserve_weights(b, 0)) return tomo_fail_memory(err, "weights", 0);
    for (size_t i = 0; i < b->vocabulary; i++) b->weights[i] = log((n + 1) / (b->weights[i] + 1));
    return TOMO_OK;
}

double tomo_bertscore_weight(const tomo_bertscore *b, int32_t id) {
    if (b->weights == NULL) return 1;
    return id >= 0 && (size_t)id < b->vocabulary ? b->weights[id] : b->unseen;
}

/* ------------------------------------------------------------------------------ one pair */

/* Divides every row by its norm. */
static void normalise(const tomo_exec *exec, tomo_tensor *x) {
    int64_t C = tomo_tensor_width(x);
    for (int64_t t = 0; t < x->shape[0]; t++) {
        float *row = tomo_tensor_f32(x) + t * C;
        float length = sqrtf(exec->kernels->dot(row, row, C));
        for (int64_t i = 0; i < C; i++) row[i] /= length;
    }
}

/* The weighted mean over a's tokens, but for the first and the last, of the similarity to the nearest of b's.
 */
static double match(const tomo_bertscore *s, const tomo_tensor *a, const tomo_ids *ids,
                    const tomo_tensor *b) {
    int64_t C = tomo_tensor_width(a);
    double sum = 0, weights = 0;
    for (int64_t i = 1; i + 1 < a->shape[0]; i++) {
        float best = -INFINITY;
        for (int64_t j = 0; j < b->shape[0]; j++) {
            best =
                fmaxf(best, s->exec.kernels->dot(tomo_tensor_f32(a) + i * C, tomo_tensor_f32(b) + j * C, C));
        }
        double weight = tomo_bertscore_weight(s, ids->data[i]);
        sum += weight * (double)best;
        weights += weight;
    }
    return sum / weights; /* NaN where nothing weighs anything */
}

static tomo_status compare(tomo_bertscore *b, tomo_bertscore_value *value, tomo_error *err) {
    tomo_arena_reset(b->exec.arena);
    tomo_tensor *p =
        tomo_bert_forward(b->bert, &b->exec, b->prediction.data, (int64_t)b->prediction.count, b->layers);
    tomo_tensor *r =
        tomo_bert_forward(b->bert, &b->exec, b->reference.data, (int64_t)b->reference.count, b->layers);
    tomo_status status = tomo_exec_status(&b->exec, err);
    if (status != TOMO_OK) return status;
    normalise(&b->exec, p);
    normalise(&b->exec, r);
    value->precision = match(b, p, &b->prediction, r);
    value->recall = match(b, r, &b->reference, p);
    value->f1 = 2 * value->precision * value->recall / (value->precision + value->recall);
    if (!isfinite(value->f1)) value->f1 = 0;
    if (!b->has_baseline) return TOMO_OK;
    double *all[] = {&value->precision, &value->recall, &value->f1};
    for (int i = 0; i < 3; i++) *all[i] = (*all[i] - b->baseline[i]) / (1 - b->baseline[i]);
    return TOMO_OK;
}

tomo_status tomo_bertscore_score(tomo_bertscore *b, const char *prediction, size_t prediction_size,
                                 const char *reference, size_t reference_size, tomo_bertscore_value *value,
                                 tomo_error *err) {
    *value = (tomo_bertscore_value){0};
    if (prediction_size == 0 || reference_size == 0) return TOMO_OK;
    b->prediction.count = b->reference.count = 0;
    tomo_status status = tomo_bert_encode(b->bert, prediction, prediction_size, &b->prediction, err);
    if (status == TOMO_OK) status = tomo_bert_encode(b->bert, reference, reference_size, &b->reference, err);
    return status == TOMO_OK ? compare(b, value, err) : status;
}
