/* eval.c - token lists, stems, synonyms, alignments and scores against the outputs of nltk, rouge_score and
 * evaluate, row by row; a case is one column of one file. Token lists, stems, synonyms and alignments must be
 * equal. Scores agree to 1e-6 (they are computed in double precision from equal counts; libm may differ in
 * the last digits). The CSV files of mini_eval, scored and written anew, are the same bytes (but for
 * bert_f1). */
#include "base/file.h"
#include "eval/meteor.h"
#include "eval/overlap.h"
#include "eval/porter.h"
#include "eval/score.h"
#include "support/columns.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SCORE_TOLERANCE 1e-6
#define FILE_LIMIT ((int64_t)256 << 20)

/* ------------------------------------------------------------------------------ what all cases use */

typedef struct bench {
    tomo_arena *arena;
    tomo_punkt *punkt;
    tomo_wordnet *wordnet; /* NULL: not installed */
    tomo_synonyms *synonyms;
    tomo_error wordnet_error;
    tomo_context *context;
} bench;

static bench shared;

static tomo_points points(const char *utf8) {
    tomo_points p = {0};
    if (!tomo_points_decode(shared.arena, utf8, strlen(utf8), &p)) abort();
    return p;
}

static tomo_points text_of(const cJSON *row, const char *key) {
    const cJSON *item = tomo_json_get(row, key);
    return points(cJSON_IsString(item) ? item->valuestring : "");
}

/* ------------------------------------------------------------------------------ rows */

static cJSON *read_neighbour(const parity *p, const char *name) {
    char *path = tomo_path_join(p->root, name);
    cJSON *list = columns_read_lines(path);
    free(path);
    return list;
}

static bool is_text(tomo_points got, const char *want) {
    return tomo_points_equal(got, points(want));
}

/* Tokens joined by one space. */
static bool is_joined(const tomo_tokens *got, const cJSON *row, const char *key) {
    tomo_points want = text_of(row, key);
    size_t at = 0;
    for (size_t i = 0; i < got->count; i++) {
        if (i > 0 && (at == want.count || want.at[at++] != ' ')) return false;
        if (got->items[i].count > want.count - at) return false;
        if (!tomo_points_equal(got->items[i], (tomo_points){want.at + at, got->items[i].count})) return false;
        at += got->items[i].count;
    }
    return at == want.count;
}

/* ------------------------------------------------------------------------------ pairs_tokens.jsonl */

typedef struct token_columns {
    column sentences, words, stems, bleu, rouge;
} token_columns;

static bool sentences_equal(tomo_points text, const cJSON *want) {
    tomo_sentences got;
    if (!tomo_punkt_split(shared.punkt, shared.arena, text, &got)) return false;
    if ((int)got.count != cJSON_GetArraySize(want)) return false;
    size_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) if (!is_text(got.items[i++], item->valuestring)) return false;
    return true;
}

static bool stems_equal(const tomo_tokens *words, const cJSON *row, const char *key) {
    tomo_tokens stems = {tomo_arena_alloc(shared.arena, (words->count + 1) * sizeof(tomo_points)),
                         words->count};
    for (size_t i = 0; i < words->count; i++) {
        tomo_points lower;
        if (!tomo_points_lower(shared.arena, words->items[i], &lower)) return false;
        if (!tomo_porter_stem(shared.arena, lower, &stems.items[i])) return false;
    }
    return is_joined(&stems, row, key);
}

static void check_tokens(int row, const char *utf8, const char *side, const cJSON *want, token_columns *c) {
    char key[32];
    tomo_tokens tokens;
    tomo_points text = points(utf8);
    (void)snprintf(key, sizeof key, "sent_%s", side);
    column_count(&c->sentences, row, sentences_equal(text, tomo_json_get(want, key)), utf8);
    bool good = tomo_tokens_words(shared.arena, shared.punkt, text, &tokens);
    (void)snprintf(key, sizeof key, "word_%s", side);
    column_count(&c->words, row, good && is_joined(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "stem_%s", side);
    column_count(&c->stems, row, good && stems_equal(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "bleu_%s", side);
    good = tomo_tokens_bleu(shared.arena, text, &tokens);
    column_count(&c->bleu, row, good && is_joined(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "rouge_%s", side);
    good = tomo_tokens_rouge(shared.arena, text, &tokens);
    column_count(&c->rouge, row, good && is_joined(&tokens, want, key), utf8);
}

static void run_tokens(parity *p, const char *name, const char *path) {
    cJSON *rows = columns_read_lines(path), *pairs = read_neighbour(p, "pairs.jsonl");
    token_columns c = {0};
    const cJSON *row, *pair = pairs->child;
    cJSON_ArrayForEach(row, rows) {
        int id = (int)tomo_json_get(row, "id")->valuedouble;
        while (pair != NULL && (int)tomo_json_get(pair, "id")->valuedouble != id) pair = pair->next;
        if (pair == NULL) break;
        check_tokens(id, tomo_json_get(pair, "pred")->valuestring, "pred", row, &c);
        check_tokens(id, tomo_json_get(pair, "ref")->valuestring, "ref", row, &c);
        tomo_arena_reset(shared.arena);
    }
    column_end(p, name, "sentences", &c.sentences);
    column_end(p, name, "words", &c.words);
    column_end(p, name, "stems", &c.stems);
    column_end(p, name, "bleu", &c.bleu);
    column_end(p, name, "rouge", &c.rouge);
    cJSON_Delete(rows);
    cJSON_Delete(pairs);
}

/* ------------------------------------------------------------------------------ stems*.tsv */

/* "word TAB stem TAB ..." below a line of titles. */
static void run_stems(parity *p, const char *name, const char *path) {
    char *bytes = NULL, *rest = NULL;
    size_t size = 0;
    column c = {0};
    if (tomo_file_read(path, FILE_LIMIT, &bytes, &size, NULL) != TOMO_OK) bytes = NULL;
    char *line = bytes == NULL ? NULL : strtok_r(bytes, "\n", &rest);
    for (int row = 0; line != NULL; line = strtok_r(NULL, "\n", &rest), row++) {
        char *fields = NULL, *word = strtok_r(line, "\t", &fields), *stem = strtok_r(NULL, "\t", &fields);
        tomo_points got;
        if (row == 0 || stem == NULL) continue;
        bool good = tomo_porter_stem(shared.arena, points(word), &got);
        column_count(&c, row, good && is_text(got, stem), word);
        tomo_arena_reset(shared.arena);
    }
    column_end(p, name, "stems", &c);
    free(bytes);
}

/* ------------------------------------------------------------------------------ pairs.jsonl */

typedef struct score_columns {
    column bleu, rouge, meteor, alignment, leftovers;
} score_columns;

static bool is_near(double got, const cJSON *object, const char *key) {
    const cJSON *want = tomo_json_get(object, key);
    return cJSON_IsNumber(want) && fabs(got - want->valuedouble) <= SCORE_TOLERANCE;
}

static bool bleu_equal(tomo_points prediction, tomo_points reference, const cJSON *want) {
    tomo_tokens a, b;
    tomo_bleu got;
    if (!tomo_tokens_bleu(shared.arena, prediction, &a) || !tomo_tokens_bleu(shared.arena, reference, &b) ||
        !tomo_bleu_score(shared.arena, &a, &b, &got)) {
        return false;
    }
    if (tomo_json_get(want, "error") != NULL) return !got.defined && got.score == 0;
    return got.defined && is_near(got.score, want, "bleu") && is_near(got.precision, want, "precision") &&
           is_near(got.brevity, want, "brevity_penalty") && is_near((double)a.count, want, "pred_len") &&
           is_near((double)b.count, want, "ref_len");
}

static bool rouge_equal(tomo_points prediction, tomo_points reference, const cJSON *want) {
    tomo_tokens a, b;
    tomo_rouge got;
    return tomo_tokens_rouge(shared.arena, prediction, &a) &&
           tomo_tokens_rouge(shared.arena, reference, &b) && tomo_rouge_score(shared.arena, &a, &b, &got) &&
           is_near(got.f, want, "f") && is_near(got.precision, want, "p") && is_near(got.recall, want, "r");
}

static bool meteor_equal(const tomo_meteor *got, const cJSON *want) {
    return is_near(got->score, want, "score") && is_near(got->precision, want, "precision") &&
           is_near(got->recall, want, "recall") && is_near(got->fmean, want, "fmean") &&
           is_near(got->penalty, want, "penalty") && is_near((double)got->matches, want, "matches") &&
           is_near((double)got->chunks, want, "chunks");
}

/* [[position in the prediction, position in the reference], ...] of one stage. */
static bool stage_equal(const tomo_meteor *got, size_t count, tomo_meteor_stage stage, const cJSON *want) {
    const cJSON *item = want->child;
    for (size_t i = 0; i < count; i++) {
        if (got->alignment[i].stage != stage) continue;
        if (item == NULL || item->child->valuedouble != (double)i ||
            item->child->next->valuedouble != (double)got->alignment[i].reference) {
            return false;
        }
        item = item->next;
    }
    return item == NULL;
}

static bool next_is(const cJSON **item, tomo_points word) {
    if (*item == NULL || !is_text(word, (*item)->valuestring)) return false;
    *item = (*item)->next;
    return true;
}

/* The stems that the synonym stage gets, on both sides. */
static bool leftovers_equal(const tomo_meteor *got, size_t a, size_t b, const cJSON *want) {
    const cJSON *left = tomo_json_get(want, "wordnet_stage_hyp")->child;
    const cJSON *right = tomo_json_get(want, "wordnet_stage_ref")->child;
    bool *taken = calloc(b + 1, sizeof *taken), good = taken != NULL;
    for (size_t i = 0; i < a && good; i++) {
        const tomo_meteor_match *m = &got->alignment[i];
        bool earlier = m->stage == TOMO_METEOR_EXACT || m->stage == TOMO_METEOR_STEM;
        if (earlier) taken[m->reference] = true;
        good = earlier || next_is(&left, got->prediction_stems[i]);
    }
    for (size_t j = 0; j < b && good; j++) good = taken[j] || next_is(&right, got->reference_stems[j]);
    free(taken);
    return good && left == NULL && right == NULL;
}

static void check_meteor(int row, const char *utf8, tomo_points prediction, tomo_points reference,
                         const cJSON *want, score_columns *c) {
    tomo_tokens a, b;
    tomo_meteor got;
    bool good = tomo_tokens_words(shared.arena, shared.punkt, prediction, &a) &&
                tomo_tokens_words(shared.arena, shared.punkt, reference, &b) &&
                tomo_meteor_score(shared.arena, shared.synonyms, &a, &b, &got);
    column_count(&c->meteor, row, good && meteor_equal(&got, want), utf8);
    column_count(&c->alignment, row,
                 good && stage_equal(&got, a.count, TOMO_METEOR_EXACT, tomo_json_get(want, "exact")) &&
                     stage_equal(&got, a.count, TOMO_METEOR_STEM, tomo_json_get(want, "stem")) &&
                     stage_equal(&got, a.count, TOMO_METEOR_SYNONYM, tomo_json_get(want, "wordnet")),
                 utf8);
    column_count(&c->leftovers, row, good && leftovers_equal(&got, a.count, b.count, want), utf8);
}

static void run_pairs(parity *p, const char *name, const char *path) {
    cJSON *rows = columns_read_lines(path);
    score_columns c = {0};
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        const char *utf8 = tomo_json_get(row, "pred")->valuestring;
        int id = (int)tomo_json_get(row, "id")->valuedouble;
        tomo_points prediction = text_of(row, "pred"), reference = text_of(row, "ref");
        column_count(&c.bleu, id, bleu_equal(prediction, reference, tomo_json_get(row, "bleu")), utf8);
        column_count(&c.rouge, id, rouge_equal(prediction, reference, tomo_json_get(row, "rouge1")), utf8);
        if (shared.synonyms != NULL) {
            check_meteor(id, utf8, prediction, reference, tomo_json_get(row, "meteor"), &c);
        }
        tomo_arena_reset(shared.arena);
    }
    column_end(p, name, "bleu", &c.bleu);
    column_end(p, name, "rouge1", &c.rouge);
    if (shared.synonyms == NULL) {
        parity_skip(p, "pairs.jsonl/meteor", "%s", shared.wordnet_error.message);
    } else {
        column_end(p, name, "meteor", &c.meteor);
        column_end(p, name, "alignment", &c.alignment);
        column_end(p, name, "words before synonyms", &c.leftovers);
    }
    cJSON_Delete(rows);
}

/* ------------------------------------------------------------------------------ wordnet_synonyms.jsonl */

typedef struct form_list {
    const cJSON *want; /* the next one */
    bool good;
} form_list;

static void see_form(void *user, const char *name, size_t size) {
    form_list *f = user;
    f->good = f->good && f->want != NULL && strlen(f->want->valuestring) == size &&
              memcmp(f->want->valuestring, name, size) == 0;
    if (f->good) f->want = f->want->next;
}

static bool forms_equal(const char *word, const cJSON *morphy) {
    for (int pos = 0; pos < TOMO_WORDNET_POS_COUNT; pos++) {
        const char key[2] = {TOMO_WORDNET_POS_LETTERS[pos], '\0'};
        const cJSON *list = tomo_json_get(morphy, key);
        form_list f = {list != NULL ? list->child : NULL, true};
        tomo_wordnet_forms(shared.wordnet, pos, word, strlen(word), see_form, &f);
        if (!f.good || f.want != NULL) return false;
    }
    return true;
}

/* The set, in which the word itself stands too. */
static bool synonyms_equal(tomo_points word, const cJSON *want) {
    tomo_synonym_list got;
    if (!tomo_synonyms_of(shared.synonyms, word, &got)) return false;
    if ((int)got.count + 1 != cJSON_GetArraySize(want)) return false;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) {
        tomo_points name = points(item->valuestring);
        bool found = tomo_points_equal(name, word);
        for (size_t i = 0; i < got.count; i++) found = found || tomo_points_equal(name, got.items[i]);
        if (!found) return false;
    }
    return true;
}

static void run_wordnet(parity *p, const char *name, const char *path) {
    if (shared.wordnet == NULL) {
        parity_skip(p, name, "%s", shared.wordnet_error.message);
        return;
    }
    cJSON *rows = columns_read_lines(path);
    column synonyms = {0}, forms = {0};
    int i = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        const char *word = tomo_json_get(row, "word")->valuestring;
        column_count(&synonyms, i, synonyms_equal(points(word), tomo_json_get(row, "synonyms")), word);
        column_count(&forms, i++, forms_equal(word, tomo_json_get(row, "morphy")), word);
        tomo_arena_reset(shared.arena);
    }
    column_end(p, name, "synonyms", &synonyms);
    column_end(p, name, "base forms", &forms);
    cJSON_Delete(rows);
}

/* ------------------------------------------------------------------------------ mini_eval/NAME.csv */

/* The table as Python's csv module writes it, without the column `left_out` (TOMO_CSV_NONE: with all). */
static void write_table(const tomo_csv *csv, size_t left_out, tomo_buffer *out) {
    for (size_t row = 0; row <= tomo_csv_row_count(csv); row++) {
        bool first = true;
        for (size_t c = 0; c < tomo_csv_column_count(csv); c++) {
            tomo_csv_field f = row == 0 ? tomo_csv_name(csv, c) : tomo_csv_at(csv, row - 1, c);
            if (c == left_out) continue;
            (void)tomo_csv_put(out, first, f.text, f.size);
            first = false;
        }
        (void)tomo_buffer_add(out, "\r\n", 2);
    }
}

static bool is_file(const char *path, const tomo_buffer *want) {
    char *bytes = NULL;
    size_t size = 0;
    bool good = tomo_file_read(path, FILE_LIMIT, &bytes, &size, NULL) == TOMO_OK && size == want->size &&
                memcmp(bytes, want->data, size) == 0;
    free(bytes);
    return good;
}

/* One mean of ours against means.json. */
static bool mean_equal(const cJSON *scores, const char *metric, const cJSON *want) {
    const cJSON *mean = tomo_json_get(tomo_json_get(scores, metric), "mean");
    return cJSON_IsNumber(mean) && fabs(mean->valuedouble - want->valuedouble) <= SCORE_TOLERANCE;
}

/* group: "all", or "type1" and so on. */
static bool group_equal(const cJSON *got, const cJSON *group) {
    const cJSON *scores = tomo_json_get(got, "scores"), *type, *want;
    if (strcmp(group->string, "all") == 0 && scores == NULL) scores = tomo_json_get(got, "micro");
    cJSON_ArrayForEach(type, tomo_json_get(got, "types")) {
        char name[16];
        (void)snprintf(name, sizeof name, "type%d", (int)tomo_json_get(type, "type")->valuedouble);
        if (strcmp(name, group->string) == 0) scores = tomo_json_get(type, "scores");
    }
    cJSON_ArrayForEach(want, group) {
        if (strcmp(want->string, "bert_f1") == 0 && tomo_json_get(scores, "bert_f1") == NULL) continue;
        if (!mean_equal(scores, want->string, want)) return false;
    }
    return true;
}

static bool means_equal(const cJSON *got, const cJSON *want) {
    const cJSON *group, *correct = tomo_json_get(want, "correct");
    double rows = tomo_json_get(want, "rows")->valuedouble;
    if (tomo_json_get(got, "rows")->valuedouble != rows) return false;
    cJSON_ArrayForEach(group, tomo_json_get(want, "means")) {
        if (!group_equal(got, group)) return false;
    }
    if (correct == NULL) return true;
    const cJSON *mean = tomo_json_get(tomo_json_get(tomo_json_get(got, "micro"), "accuracy"), "mean");
    return fabs(mean->valuedouble * rows - correct->valuedouble) <= SCORE_TOLERANCE * rows;
}

static void check_means(parity *p, const char *name, const char *label, const cJSON *got) {
    char *path = tomo_path_join(p->root, "mini_eval/means.json"), key[128];
    cJSON *means = NULL;
    (void)snprintf(key, sizeof key, "%.*s", (int)(strlen(name) - 4), name);
    if (tomo_json_open(path, &means, NULL) != TOMO_OK || tomo_json_get(means, key) == NULL) {
        parity_fail(p, label, "no means.json with it");
    } else if (!means_equal(got, tomo_json_get(means, key))) {
        parity_fail(p, label, "other means");
    } else {
        parity_pass(p, label);
    }
    cJSON_Delete(means);
    free(path);
}

/* The scripts' file scored anew and written again is the same file, byte for byte. */
static void run_mini(parity *p, const char *name, const char *path) {
    char label[128], written[] = "/tmp/tomo_mini_XXXXXX";
    tomo_csv *csv = NULL, *scored = NULL;
    tomo_error error = {0};
    tomo_buffer whole = {.maximum = SIZE_MAX / 2}, want = {.maximum = SIZE_MAX / 2};
    cJSON *got = cJSON_CreateObject();
    int fd = mkstemp(written);
    tomo_score_options o = {.rows = written, .draws = 1};
    (void)snprintf(label, sizeof label, "mini_eval/%s rows", name);
    tomo_status status = tomo_csv_open(path, &csv, &error);
    if (status == TOMO_OK) status = tomo_csv_open(path, &scored, &error);
    if (status == TOMO_OK) {
        bool caption = tomo_csv_find(csv, "Ground Truth") != TOMO_CSV_NONE;
        write_table(csv, TOMO_CSV_NONE, &whole);
        write_table(csv, tomo_csv_find(csv, "bert_f1"), &want);
        status = tomo_score_csv(shared.context, caption ? TOMO_SCORE_CAPTION : TOMO_SCORE_VQA, scored, &o,
                                got, NULL, &error);
    }
    if (status != TOMO_OK) {
        parity_fail(p, label, "%s", error.message);
    } else if (shared.synonyms == NULL) {
        parity_skip(p, label, "%s", shared.wordnet_error.message);
    } else if (!is_file(path, &whole) || !is_file(written, &want)) {
        parity_fail(p, label, "other bytes than the script wrote");
    } else {
        parity_pass(p, label);
        (void)snprintf(label, sizeof label, "mini_eval/%s means", name);
        check_means(p, name, label, got);
    }
    (void)close(fd);
    (void)unlink(written);
    tomo_buffer_free(&whole);
    tomo_buffer_free(&want);
    tomo_csv_free(csv);
    cJSON_Delete(got);
}

/* ------------------------------------------------------------------------------ the walk */

/* Files of other parts of the benchmark, with what reads them. */
static const char *const others[][2] = {
    {"bertscore.jsonl", "parity/eval_bertscore.c"},
    {"dataset_items.jsonl", "a data set, not a score: parity/train.c"},
    {"meteor_newer_nltk.jsonl", "what a later nltk answers; 3.9.1 is the definition"},
    {"text_rule.jsonl", "how the data set was prepared, not a score"},
};

static void skip_file(parity *p, const char *name) {
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (strcmp(name, others[i][0]) == 0) {
            parity_skip(p, name, "%s", others[i][1]);
            return;
        }
    }
    parity_skip(p, name, "no score of this kind is known");
}

static void run_file(parity *p, const char *name, const char *path) {
    if (strcmp(name, "pairs.jsonl") == 0) {
        run_pairs(p, name, path);
    } else if (strcmp(name, "pairs_tokens.jsonl") == 0) {
        run_tokens(p, name, path);
    } else if (strcmp(name, "wordnet_synonyms.jsonl") == 0) {
        run_wordnet(p, name, path);
    } else if (strncmp(name, "stems", 5) == 0) {
        run_stems(p, name, path);
    } else {
        skip_file(p, name);
    }
}

static bool open_bench(void) {
    if (tomo_context_create(NULL, &shared.context, NULL) != TOMO_OK) return false;
    shared.arena = tomo_arena_create(0);
    if (shared.arena == NULL || tomo_punkt_create(&shared.punkt, NULL) != TOMO_OK) return false;
    if (tomo_wordnet_open(TOMO_WORDNET_FOLDER, &shared.wordnet, &shared.wordnet_error) != TOMO_OK)
        return true;
    shared.synonyms = tomo_synonyms_create(shared.wordnet);
    return shared.synonyms != NULL;
}

int main(void) {
    parity p;
    parity_begin(&p, "metrics");
    if (!open_bench()) return 1;
    parity_each_file(&p, "", ".jsonl", run_file);
    parity_each_file(&p, "", ".tsv", run_file);
    parity_each_file(&p, "mini_eval", ".csv", run_mini);
    tomo_context_free(shared.context);
    tomo_synonyms_free(shared.synonyms);
    tomo_wordnet_free(shared.wordnet);
    tomo_punkt_free(shared.punkt);
    tomo_arena_free(shared.arena);
    return parity_end(&p);
}
