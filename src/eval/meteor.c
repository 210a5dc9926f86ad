#include "eval/meteor.h"

#include "eval/porter.h"
#include "eval/words.h"

#include <math.h>

#define ALPHA 0.9
#define BETA 3.0
#define GAMMA 0.5

/* One side: its words, numbered, as the stage at work compares them. */
typedef struct side {
    tomo_points *words; /* [count] */
    int32_t *ids;       /* [count] */
    size_t count;
} side;

/* nltk walks the prediction from its last word to the first, and each word takes the last free one of the
 * reference that matches. So the free positions of each word form a list, the last one first. */
typedef struct aligner {
    tomo_arena *arena;
    tomo_synonyms *synonyms;
    side prediction, reference;
    tomo_meteor_match *matches; /* [prediction words] */
    bool *taken;                /* [reference words] */
    tomo_words words;
    int64_t *heads; /* [words]: the last free position of a word in the reference, or -1 */
    int64_t *next;  /* [reference words]: the free position before it */
} aligner;

static bool lower_side(tomo_arena *arena, const tomo_tokens *tokens, side *s) {
    s->count = tokens->count;
    s->words = tomo_arena_alloc(arena, (s->count + 1) * sizeof *s->words);
    s->ids = tomo_arena_alloc(arena, (s->count + 1) * sizeof *s->ids);
    if (s->words == NULL || s->ids == NULL) return false;
    for (size_t i = 0; i < s->count; i++) {
        if (!tomo_points_lower(arena, tokens->items[i], &s->words[i])) return false;
    }
    return true;
}

/* Words that found their match stay as they are: nobody looks at them again. */
static bool stem_free_words(aligner *a) {
    side *p = &a->prediction, *r = &a->reference;
    for (size_t i = 0; i < p->count; i++) {
        if (a->matches[i].stage != TOMO_METEOR_FREE) continue;
        if (!tomo_porter_stem(a->arena, p->words[i], &p->words[i])) return false;
    }
    for (size_t i = 0; i < r->count; i++) {
        if (!a->taken[i] && !tomo_porter_stem(a->arena, r->words[i], &r->words[i])) return false;
    }
    return true;
}

/* Numbers the words that are still free as they are now, and lists the free positions of the reference. */
static bool number(aligner *a) {
    size_t n = a->reference.count, most = a->prediction.count + n;
    a->heads = tomo_arena_alloc(a->arena, (most + 1) * sizeof *a->heads);
    a->next = tomo_arena_alloc(a->arena, (n + 1) * sizeof *a->next);
    if (a->heads == NULL || a->next == NULL || !tomo_words_create(a->arena, most, &a->words)) return false;
    for (size_t i = 0; i < a->prediction.count; i++) {
        if (a->matches[i].stage != TOMO_METEOR_FREE) continue;
        a->prediction.ids[i] = tomo_words_add(&a->words, a->prediction.words[i]);
    }
    for (size_t i = 0; i < n; i++) {
        if (!a->taken[i]) a->reference.ids[i] = tomo_words_add(&a->words, a->reference.words[i]);
    }
    for (size_t i = 0; i < a->words.count; i++) a->heads[i] = -1;
    for (size_t i = 0; i < n; i++) {
        if (a->taken[i]) continue;
        int32_t id = a->reference.ids[i];
        a->next[i] = a->heads[id];
        a->heads[id] = (int64_t)i;
    }
    return true;
}

static void take(aligner *a, size_t i, int32_t id, tomo_meteor_stage stage) {
    size_t j = (size_t)a->heads[id];
    a->heads[id] = a->next[j];
    a->taken[j] = true;
    a->matches[i] = (tomo_meteor_match){j, stage};
}

static void match_equal(aligner *a, tomo_meteor_stage stage) {
    for (size_t i = a->prediction.count; i-- > 0;) {
        if (a->matches[i].stage != TOMO_METEOR_FREE) continue;
        int32_t id = a->prediction.ids[i];
        if (a->heads[id] >= 0) take(a, i, id, stage);
    }
}

/* The synonyms are those of the stem: nltk's third stage gets what the second left, as stems. */
static bool match_synonyms(aligner *a) {
    for (size_t i = a->prediction.count; i-- > 0;) {
        if (a->matches[i].stage != TOMO_METEOR_FREE) continue;
        tomo_synonym_list list;
        if (!tomo_synonyms_of(a->synonyms, a->prediction.words[i], &list)) return false;
        int32_t best = a->prediction.ids[i];
        for (size_t k = 0; k < list.count; k++) {
            int32_t id = tomo_words_find(&a->words, list.items[k]);
            if (id >= 0 && a->heads[id] > a->heads[best]) best = id;
        }
        if (a->heads[best] >= 0) take(a, i, best, TOMO_METEOR_SYNONYM);
    }
    return true;
}

static bool start(aligner *a, const tomo_tokens *prediction, const tomo_tokens *reference) {
    if (!lower_side(a->arena, prediction, &a->prediction) ||
        !lower_side(a->arena, reference, &a->reference)) {
        return false;
    }
    a->matches = tomo_arena_alloc(a->arena, (prediction->count + 1) * sizeof *a->matches);
    a->taken = tomo_arena_alloc(a->arena, (reference->count + 1) * sizeof *a->taken);
    if (a->matches == NULL || a->taken == NULL) return false;
    for (size_t i = 0; i < prediction->count; i++) a->matches[i] = (tomo_meteor_match){0, TOMO_METEOR_FREE};
    for (size_t i = 0; i < reference->count; i++) a->taken[i] = false;
    return true;
}

static bool align(aligner *a) {
    if (!number(a)) return false;
    match_equal(a, TOMO_METEOR_EXACT);
    if (!stem_free_words(a) || !number(a)) return false;
    match_equal(a, TOMO_METEOR_STEM);
    return match_synonyms(a);
}

/* Matches that follow one another on both sides are one chunk. */
static void count_chunks(const aligner *a, tomo_meteor *m) {
    const tomo_meteor_match *before = NULL;
    size_t before_at = 0;
    for (size_t i = 0; i < a->prediction.count; i++) {
        const tomo_meteor_match *match = &a->matches[i];
        if (match->stage == TOMO_METEOR_FREE) continue;
        bool joined = before != NULL && before_at + 1 == i && before->reference + 1 == match->reference;
        m->matches++;
        m->chunks += !joined;
        before = match;
        before_at = i;
    }
}

static void compute(const aligner *a, tomo_meteor *m) {
    if (m->matches == 0) return;
    double matches = (double)m->matches;
    m->precision = matches / (double)a->prediction.count;
    m->recall = matches / (double)a->reference.count;
    m->fmean = m->precision * m->recall / (ALPHA * m->precision + (1 - ALPHA) * m->recall);
    m->penalty = GAMMA * pow((double)m->chunks / matches, BETA);
    m->score = (1 - m->penalty) * m->fmean;
}

bool tomo_meteor_score(tomo_arena *arena, tomo_synonyms *synonyms, const tomo_tokens *prediction,
                       const tomo_tokens *reference, tomo_meteor *meteor) {
    aligner a = {.arena = arena, .synonyms = synonyms};
    *meteor = (tomo_meteor){0};
    if (!start(&a, prediction, reference) || !align(&a)) return false;
    count_chunks(&a, meteor);
    compute(&a, meteor);
    meteor->alignment = a.matches;
    meteor->prediction_stems = a.prediction.words;
    meteor->reference_stems = a.reference.words;
    return true;
}
