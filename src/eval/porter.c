#include "eval/porter.h"

#include <string.h>

/* The word being stemmed; never longer than the word given by more than one letter (at -> ate). */
typedef struct word {
    uint32_t *at;
    size_t count;
} word;

/* ------------------------------------------------------------------------------ measures */

static bool is_vowel_letter(uint32_t c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

/* A letter other than a, e, i, o, u, and other than y behind a consonant. */
static bool is_consonant(const word *w, size_t i) {
    bool flipped = false;
    while (w->at[i] == 'y' && i > 0) {
        flipped = !flipped;
        i--;
    }
    return !is_vowel_letter(w->at[i]) != flipped;
}

/* m of [C](VC){m}[V] of the first `count` letters. */
static int measure(const word *w, size_t count) {
    int m = 0;
    bool before = true;
    for (size_t i = 0; i < count; i++) {
        bool consonant = w->at[i] == 'y' ? i == 0 || !before : !is_vowel_letter(w->at[i]);
        m += i > 0 && consonant && !before;
        before = consonant;
    }
    return m;
}

/* A y that is no vowel stands first or behind a vowel, so that only these letters and a y further on count.
 */
static bool holds_vowel(const word *w, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (is_vowel_letter(w->at[i]) || (w->at[i] == 'y' && i > 0)) return true;
    }
    return false;
}

static bool ends_double_consonant(const word *w) {
    size_t n = w->count;
    return n >= 2 && w->at[n - 1] == w->at[n - 2] && is_consonant(w, n - 1);
}

/* Consonant, vowel, consonant that is not w, x or y; or (NLTK) just a vowel and a consonant. */
static bool ends_cvc(const word *w, size_t n) {
    if (n == 2) return !is_consonant(w, 0) && is_consonant(w, 1);
    if (n < 3 || !is_consonant(w, n - 3) || is_consonant(w, n - 2) || !is_consonant(w, n - 1)) return false;
    return w->at[n - 1] != 'w' && w->at[n - 1] != 'x' && w->at[n - 1] != 'y';
}

/* ------------------------------------------------------------------------------ suffixes */

static bool ends_with(const word *w, const char *suffix) {
    return tomo_points_end_with((tomo_points){w->at, w->count}, suffix);
}

/* Puts `suffix` behind the first `stem` letters. */
static void set_suffix(word *w, size_t stem, const char *suffix) {
    w->count = stem;
    for (; *suffix != '\0'; suffix++) w->at[w->count++] = (unsigned char)*suffix;
}

typedef struct rule {
    const char *suffix, *with;
} rule;

/* The first rule whose suffix stands there is the one that counts, whether its condition (the stem's measure
 * is over m) holds or not. */
static void apply_rules(word *w, const rule *rules, size_t n, int m) {
    for (size_t i = 0; i < n; i++) {
        if (!ends_with(w, rules[i].suffix)) continue;
        size_t stem = w->count - strlen(rules[i].suffix);
        if (measure(w, stem) > m) set_suffix(w, stem, rules[i].with);
        return;
    }
}
#define APPLY(w, rules, m) apply_rules(w, rules, sizeof(rules) / sizeof(rules)[0], m)

/* ------------------------------------------------------------------------------ steps */

/* Plurals: caresses -> caress, ponies -> poni, dies -> die, cats -> cat. */
static void step_1a(word *w) {
    if (ends_with(w, "ies")) {
        set_suffix(w, w->count - 3, w->count == 4 ? "ie" : "i");
    } else if (ends_with(w, "sses")) {
        w->count -= 2;
    } else if (ends_with(w, "s") && !ends_with(w, "ss")) {
        w->count--;
    }
}

/* What is left when -ed or -ing was taken off: conflat -> conflate, hopp -> hop, fil -> file. */
static void repair(word *w) {
    size_t n = w->count;
    if (ends_with(w, "at") || ends_with(w, "bl") || ends_with(w, "iz")) {
        set_suffix(w, n, "e");
    } else if (ends_double_consonant(w)) {
        if (!ends_with(w, "l") && !ends_with(w, "s") && !ends_with(w, "z")) w->count--;
    } else if (measure(w, n) == 1 && ends_cvc(w, n)) {
        set_suffix(w, n, "e");
    }
}

/* Participles: spied -> spi, died -> die, agreed -> agree, plastered -> plaster, motoring -> motor. */
static void step_1b(word *w) {
    size_t n = w->count;
    if (ends_with(w, "ied")) {
        set_suffix(w, n - 3, n == 4 ? "ie" : "i");
    } else if (ends_with(w, "eed")) {
        if (measure(w, n - 3) > 0) w->count--;
    } else {
        size_t suffix = ends_with(w, "ed") ? 2 : ends_with(w, "ing") ? 3 : 0;
        if (suffix == 0 || !holds_vowel(w, n - suffix)) return;
        w->count -= suffix;
        repair(w);
    }
}

/* happy -> happi, but enjoy and by stay. */
static void step_1c(word *w) {
    size_t n = w->count;
    if (ends_with(w, "y") && n > 2 && is_consonant(w, n - 2)) w->at[n - 1] = 'i';
}

static void step_2(word *w) {
    static const rule rules[] = {
        {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
        {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
        {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
        {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
        {"fulli", "ful"},
    };
    /* -alli comes first, and what it leaves goes through this step again. */
    while (ends_with(w, "alli") && measure(w, w->count - 4) > 0) w->count -= 2;
    if (ends_with(w, "logi")) {
        /* The l counts as part of the stem, so that geologi becomes geolog. */
        if (measure(w, w->count - 3) > 0) w->count--;
        return;
    }
    APPLY(w, rules, 0);
}

static void step_3(word *w) {
    static const rule rules[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                                 {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
    APPLY(w, rules, 0);
}

static void step_4(word *w) {
    static const rule before_ion[] = {{"al", ""},    {"ance", ""}, {"ence", ""}, {"er", ""},
                                      {"ic", ""},    {"able", ""}, {"ible", ""}, {"ant", ""},
                                      {"ement", ""}, {"ment", ""}, {"ent", ""}};
    static const rule after_ion[] = {{"ou", ""},  {"ism", ""}, {"ate", ""}, {"iti", ""},
                                     {"ous", ""}, {"ive", ""}, {"ize", ""}};
    if (ends_with(w, "ion")) {
        bool behind = ends_with(w, "sion") || ends_with(w, "tion");
        if (behind && measure(w, w->count - 3) > 1) w->count -= 3;
        return;
    }
    size_t count = w->count;
    APPLY(w, before_ion, 1);
    if (w->count == count) APPLY(w, after_ion, 1);
}

static void step_5(word *w) {
    size_t n = w->count;
    if (ends_with(w, "e")) {
        int m = measure(w, n - 1);
        if (m > 1 || (m == 1 && !ends_cvc(w, n - 1))) w->count--;
    }
    if (ends_with(w, "ll") && measure(w, w->count - 1) > 1) w->count--;
}

/* ------------------------------------------------------------------------------ */

/* NLTK's irregular forms; the stem is the first letters of the word, or what stands beside it. */
static const rule irregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

static bool stem_irregular(word *w) {
    for (size_t i = 0; i < sizeof irregular / sizeof irregular[0]; i++) {
        if (tomo_points_equal_text((tomo_points){w->at, w->count}, irregular[i].suffix)) {
            set_suffix(w, 0, irregular[i].with);
            return true;
        }
    }
    return false;
}

bool tomo_porter_stem(tomo_arena *arena, tomo_points text, tomo_points *stem) {
    *stem = text;
    if (text.count <= 2) return true;
    word w = {tomo_arena_alloc(arena, (text.count + 1) * sizeof *w.at), text.count};
    if (w.at == NULL) return false;
    memcpy(w.at, text.at, text.count * sizeof *w.at);
    if (!stem_irregular(&w)) {
        step_1a(&w);
        step_1b(&w);
        step_1c(&w);
        step_2(&w);
        step_3(&w);
        step_4(&w);
        step_5(&w);
    }
    *stem = (tomo_points){w.at, w.count};
    return true;
}
