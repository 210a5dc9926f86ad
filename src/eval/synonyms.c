#include "eval/synonyms.h"

#include <stdlib.h>
#include <string.h>

/* Different words kept: more than a data set of reports has. A full table is emptied, so that hostile texts
 * cannot make it grow. */
#define MOST 32768
#define PLACES (MOST * 2)
#define LONGEST 512

typedef struct entry {
    tomo_points word; /* at NULL: a free place */
    tomo_synonym_list list;
} entry;

struct tomo_synonyms {
    const tomo_wordnet *wordnet;
    tomo_arena *arena; /* words and names */
    entry *entries;    /* [PLACES] */
    size_t count;
};

tomo_synonyms *tomo_synonyms_create(const tomo_wordnet *wordnet) {
    tomo_synonyms *s = calloc(1, sizeof *s);
    if (s == NULL) return NULL;
    s->wordnet = wordnet;
    s->arena = tomo_arena_create(0);
    s->entries = calloc(PLACES, sizeof *s->entries);
    if (s->arena != NULL && s->entries != NULL) return s;
    tomo_synonyms_free(s);
    return NULL;
}

void tomo_synonyms_free(tomo_synonyms *synonyms) {
    if (synonyms == NULL) return;
    if (synonyms->arena != NULL) tomo_arena_free(synonyms->arena);
    free(synonyms->entries);
    free(synonyms);
}

/* ------------------------------------------------------------------------------ looking up */

typedef struct collector {
    tomo_arena *arena;
    tomo_points word;
    tomo_points *items;
    size_t count, capacity;
    bool failed;
} collector;

static bool is_known(const collector *c, tomo_points name) {
    for (size_t i = 0; i < c->count; i++) {
        if (tomo_points_equal(c->items[i], name)) return true;
    }
    return tomo_points_equal(c->word, name);
}

static void collect(void *user, const char *text, size_t size) {
    collector *c = user;
    tomo_points name;
    tomo_arena_mark mark = tomo_arena_get_mark(c->arena);
    if (c->failed || !tomo_points_decode(c->arena, text, size, &name)) {
        c->failed = true;
        return;
    }
    if (is_known(c, name)) {
        tomo_arena_rewind(c->arena, mark);
        return;
    }
    if (c->count == c->capacity) {
        size_t capacity = c->capacity * 2 + 8;
        tomo_points *items = tomo_arena_alloc(c->arena, capacity * sizeof *items);
        c->failed = items == NULL;
        if (c->failed) return;
        if (c->count > 0) memcpy(items, c->items, c->count * sizeof *items);
        c->items = items;
        c->capacity = capacity;
    }
    c->items[c->count++] = name;
}

/* A copy that lives as long as the table. */
static bool keep_word(tomo_synonyms *s, tomo_points word, tomo_points *kept) {
    uint32_t *at = tomo_arena_alloc(s->arena, (word.count + 1) * sizeof *at);
    if (at == NULL) return false;
    if (word.count > 0) memcpy(at, word.at, word.count * sizeof *at);
    *kept = (tomo_points){at, word.count};
    return true;
}

static bool look_up(tomo_synonyms *s, tomo_points word, tomo_synonym_list *list) {
    char text[LONGEST];
    size_t size = tomo_points_encode(word, text, sizeof text);
    collector c = {.arena = s->arena, .word = word};
    if (size != SIZE_MAX) tomo_wordnet_synonyms(s->wordnet, text, size, collect, &c);
    *list = (tomo_synonym_list){c.items, c.count};
    return !c.failed;
}

static entry *find_place(tomo_synonyms *s, tomo_points word) {
    size_t place = tomo_points_hash(word) % PLACES;
    while (s->entries[place].word.at != NULL && !tomo_points_equal(s->entries[place].word, word)) {
        place = (place + 1) % PLACES;
    }
    return &s->entries[place];
}

bool tomo_synonyms_of(tomo_synonyms *synonyms, tomo_points word, tomo_synonym_list *list) {
    *list = (tomo_synonym_list){0};
    if (word.count > LONGEST) return true;
    entry *e = find_place(synonyms, word);
    if (e->word.at == NULL) {
        if (synonyms->count == MOST) {
            memset(synonyms->entries, 0, PLACES * sizeof *synonyms->entries);
            synonyms->count = 0;
            tomo_arena_reset(synonyms->arena);
            e = find_place(synonyms, word);
        }
        entry made;
        if (!keep_word(synonyms, word, &made.word) || !look_up(synonyms, word, &made.list)) return false;
        *e = made;
        synonyms->count++;
    }
    *list = e->list;
    return true;
}
