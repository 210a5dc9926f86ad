/* eval.c - token lists, stems, synonyms, alignments and scores against the outputs of nltk, rouge_score and
 * evaluate, row by row; a case is one column of one file. Token lists, stems, synonyms and alignments must be
 * equal. Scores agree to 1e-6 (they are computed in double precision from equal counts; libm may differ in
 * the last digits). */
#include "base/file.h"
#include "base/json.h"
#include "eval/meteor.h"
#include "eval/overlap.h"
#include "eval/porter.h"
#include "support/parity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCORE_TOLERANCE 1e-6
#define FILE_LIMIT ((int64_t)256 << 20)

/* ------------------------------------------------------------------------------ what all cases use */

typedef struct bench {
    tomo_arena *arena;
    tomo_punkt *punkt;
    tomo_wordnet *wordnet; /* NULL: not installed */
    tomo_synonyms *synonyms;
    tomo_error wordnet_error;
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

/* ------------------------------------------------------------------------------ rows and columns */

/* A case: how many rows it has, and the first that is wrong. */
typedef struct column {
    int rows, wrong, first;
    char what[200];
} column;

static void count_row(column *c, int row, bool good, const char *what) {
    c->rows++;
    if (good) return;
    if (c->wrong++ == 0) {
        c->first = row;
        (void)snprintf(c->what, sizeof c->what, "%.190s", what);
    }
}

static void end_column(parity *p, const char *file, const char *name, const column *c) {
    char label[256];
    (void)snprintf(label, sizeof label, "%s/%s", file, name);
    if (c->rows == 0) {
        parity_fail(p, label, "no row of this kind");
    } else if (c->wrong == 0) {
        parity_pass(p, label);
    } else {
        parity_fail(p, label, "%d of %d rows differ, first row %d: %s", c->wrong, c->rows, c->first, c->what);
    }
}

/* Lines of JSON; they end only at a line feed. */
static cJSON *read_lines(const char *path) {
    char *bytes = NULL;
    size_t size = 0;
    cJSON *list = cJSON_CreateArray();
    if (tomo_file_read(path, FILE_LIMIT, &bytes, &size, NULL) != TOMO_OK) return list;
    for (char *at = bytes; at < bytes + size;) {
        char *end = memchr(at, '\n', (size_t)(bytes + size - at));
        if (end == NULL) end = bytes + size;
        cJSON *row = cJSON_ParseWithLength(at, (size_t)(end - at));
        if (row != NULL) cJSON_AddItemToArray(list, row);
        at = end + 1;
    }
    free(bytes);
    return list;
}

static cJSON *read_neighbour(const parity *p, const char *name) {
    char *path = tomo_path_join(p->root, name);
    cJSON *list = read_lines(path);
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
    count_row(&c->sentences, row, sentences_equal(text, tomo_json_get(want, key)), utf8);
    bool good = tomo_tokens_words(shared.arena, shared.punkt, text, &tokens);
    (void)snprintf(key, sizeof key, "word_%s", side);
    count_row(&c->words, row, good && is_joined(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "stem_%s", side);
    count_row(&c->stems, row, good && stems_equal(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "bleu_%s", side);
    good = tomo_tokens_bleu(shared.arena, text, &tokens);
    count_row(&c->bleu, row, good && is_joined(&tokens, want, key), utf8);
    (void)snprintf(key, sizeof key, "rouge_%s", side);
    good = tomo_tokens_rouge(shared.arena, text, &tokens);
    count_row(&c->rouge, row, good && is_joined(&tokens, want, key), utf8);
}

static void run_tokens(parity *p, const char *name, const char *path) {
    cJSON *rows = read_lines(path), *pairs = read_neighbour(p, "pairs.jsonl");
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
    end_column(p, name, "sentences", &c.sentences);
    end_column(p, name, "words", &c.words);
    end_column(p, name, "stems", &c.stems);
    end_column(p, name, "bleu", &c.bleu);
    end_column(p, name, "rouge", &c.rouge);
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
        count_row(&c, row, good && is_text(got, stem), word);
        tomo_arena_reset(shared.arena);
    }
    end_column(p, name, "stems", &c);
    free(bytes);
}

/* ------------------------------------------------------------------------------ the walk */

static void run_file(parity *p, const char *name, const char *path) {
    if (strcmp(name, "pairs_tokens.jsonl") == 0) {
        run_tokens(p, name, path);
    } else if (strncmp(name, "stems", 5) == 0) {
        run_stems(p, name, path);
    } else {
        parity_skip(p, name, "not supported yet");
    }
}

int main(void) {
    parity p;
    parity_begin(&p, "metrics");
    shared.arena = tomo_arena_create(0);
    if (shared.arena == NULL || tomo_punkt_create(&shared.punkt, NULL) != TOMO_OK) return 1;
    parity_each_file(&p, "", "l", run_file);
    parity_each_file(&p, "", ".tsv", run_file);
    tomo_punkt_free(shared.punkt);
    tomo_arena_free(shared.arena);
    return parity_end(&p);
}
