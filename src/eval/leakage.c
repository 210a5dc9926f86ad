#include "eval/leakage.h"

#include "eval/words.h"
#include "train/render.h"

#include <stdlib.h>
#include <string.h>

bool tomo_text_normalise(tomo_arena *arena, const char *utf8, size_t size, tomo_points *text) {
    tomo_points all, lower;
    if (!tomo_points_decode(arena, utf8, size, &all)) return false;
    if (!tomo_points_lower(arena, tomo_points_strip(all), &lower)) return false;
    uint32_t *out = tomo_arena_alloc(arena, (lower.count + 1) * sizeof *out);
    if (out == NULL) return false;
    size_t used = 0;
    for (size_t i = 0; i < lower.count; i++) {
        if (!tomo_point_is_space(lower.at[i])) {
            out[used++] = lower.at[i];
        } else if (used > 0 && out[used - 1] != ' ') {
            out[used++] = ' ';
        }
    }
    *text = (tomo_points){out, used};
    return true;
}

/* ------------------------------------------------------------------------------ keys */

/* "<im_patch><im_patch> Which?": what stands behind the placeholders of the benchmark's files. */
static tomo_csv_field without_images(tomo_csv_field f) {
    const char *end = f.size > 0 && f.text[0] == '<' ? memchr(f.text, '>', f.size) : NULL;
    if (end == NULL) return f;
    size_t size = (size_t)(end - f.text) + 1;
    const char *token = f.text;
    while (f.size >= size && memcmp(f.text, token, size) == 0) {
        f.text += size;
        f.size -= size;
    }
    return f;
}

/* One text of one or two parts. */
static bool make_key(tomo_arena *arena, tomo_csv_field first, tomo_csv_field second, tomo_points *key) {
    char *text = tomo_arena_alloc(arena, first.size + second.size + 1);
    if (text == NULL) return false;
    if (first.size > 0) memcpy(text, first.text, first.size);
    text[first.size] = ' ';
    if (second.size > 0) memcpy(text + first.size + 1, second.text, second.size);
    return tomo_text_normalise(arena, text, first.size + second.size + 1, key);
}

static bool key_of_sample(tomo_arena *arena, const tomo_sample *s, tomo_points *key) {
    tomo_csv_field none = {"", 0};
    if (s->kind == TOMO_SAMPLE_REPORT) {
        return make_key(arena, none, (tomo_csv_field){s->answer, strlen(s->answer)}, key);
    }
    char *question = tomo_sample_question(s, ""), *answer = tomo_sample_answer(s, false);
    bool good = question != NULL && answer != NULL &&
                make_key(arena, (tomo_csv_field){question, strlen(question)},
                         (tomo_csv_field){answer, strlen(answer)}, key);
    free(question);
    free(answer);
    return good;
}

static bool key_of_row(tomo_arena *arena, const tomo_results *r, size_t row, tomo_points *key) {
    tomo_csv_field question = {"", 0}, answer = tomo_csv_at(r->csv, row, r->reference);
    if (r->kind != TOMO_RESULTS_CAPTION && r->question != TOMO_CSV_NONE) {
        question = without_images(tomo_csv_at(r->csv, row, r->question));
    }
    return make_key(arena, question, answer, key);
}

/* ------------------------------------------------------------------------------ rows */

static bool mark_rows(tomo_arena *arena, const tomo_results *r, const tomo_dataset *d, bool *unseen) {
    tomo_words texts;
    size_t count = tomo_dataset_count(d);
    tomo_points key;
    if (!tomo_words_create(arena, count, &texts)) return false;
    for (size_t i = 0; i < count; i++) {
        tomo_arena_mark mark = tomo_arena_get_mark(arena);
        if (!key_of_sample(arena, tomo_dataset_at(d, i), &key)) return false;
        key.at = tomo_arena_keep(arena, mark, key.at, (key.count + 1) * sizeof *key.at);
        if (key.at == NULL) return false;
        (void)tomo_words_add(&texts, key);
    }
    for (size_t row = 0; row < r->rows; row++) {
        tomo_arena_mark mark = tomo_arena_get_mark(arena);
        if (!key_of_row(arena, r, row, &key)) return false;
        unseen[row] = tomo_words_find(&texts, key) < 0;
        tomo_arena_rewind(arena, mark);
    }
    return true;
}

tomo_status tomo_unseen_rows(const tomo_results *results, const char *train, bool **unseen, tomo_error *err) {
    static const unsigned kinds[] = {TOMO_SAMPLE_REPORT, TOMO_SAMPLE_OPEN, TOMO_SAMPLE_CLOSED};
    tomo_dataset_options options = {.split = "train", .kinds = kinds[results->kind]};
    tomo_dataset *dataset = NULL;
    *unseen = NULL;
    tomo_status status = tomo_dataset_open(train, &options, &dataset, err);
    if (status != TOMO_OK) return status;
    tomo_arena *arena = tomo_arena_create(0);
    *unseen = calloc(results->rows, sizeof **unseen);
    if (arena == NULL || *unseen == NULL || !mark_rows(arena, results, dataset, *unseen)) {
        status = tomo_fail_memory(err, train, 0);
        free(*unseen);
        *unseen = NULL;
    }
    if (arena != NULL) tomo_arena_free(arena);
    tomo_dataset_free(dataset);
    return status;
}
