/* treebank.c - NLTKWordTokenizer of nltk 3.9.1 (tokenize/destructive.py) on one sentence.
 *
 * Each function is one of its regular expressions, quoted above it, applied to the whole sentence from left
 * to right without overlap; the order of the passes is part of the definition. They are written out instead
 * of handed to PCRE2 because \s, \w, \b and letter case must be Python's, and a pass that has nothing to do
 * in a sentence is skipped. */
#include "eval/rewrite.h"
#include "eval/tokens.h"

#include <string.h>

/* The code point at i, or 0, which no rule names, outside the sentence. */
static uint32_t at(const tomo_rewrite *r, size_t i) {
    return i < r->count ? r->in[i] : 0;
}

/* \b in front of i. */
static bool is_boundary(const tomo_rewrite *r, size_t i) {
    bool before = i > 0 && tomo_point_is_word(r->in[i - 1]);
    bool after = i < r->count && tomo_point_is_word(r->in[i]);
    return before != after;
}

/* Puts a space on either side of every run of at least `least` of one character of `ascii`; longer runs than
 * `most` are cut into pieces of that. */
static void pad_runs(tomo_rewrite *r, const char *ascii, size_t least, size_t most) {
    size_t copied = 0;
    bool changed = false;
    for (size_t i = 0; i < r->count;) {
        size_t end = i;
        if (tomo_point_is_among(r->in[i], ascii)) {
            while (end < r->count && r->in[end] == r->in[i] && end - i < most) end++;
        }
        if (end - i < least) {
            i++;
            continue;
        }
        tomo_rewrite_copy(r, copied, i);
        tomo_rewrite_pad(r, i, end);
        i = copied = end;
        changed = true;
    }
    if (!changed) return;
    tomo_rewrite_copy(r, copied, r->count);
    tomo_rewrite_next(r);
}

/* ------------------------------------------------------------------------------ opening quotes */

/* ([«“‘„]|[`]+) -> " \1 " */
static void pad_opening_marks(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count;) {
        size_t end = i;
        uint32_t c = r->in[i];
        if (c == 0xab || c == 0x201c || c == 0x2018 || c == 0x201e) end = i + 1;
        while (end < r->count && c == '`' && r->in[end] == '`') end++;
        if (end > i) {
            tomo_rewrite_pad(r, i, end);
            i = end;
        } else {
            tomo_rewrite_put(r, r->in[i++]);
        }
    }
    tomo_rewrite_next(r);
}

/* ^" -> `` */
static void open_first_quote(tomo_rewrite *r) {
    bool quoted = at(r, 0) == '"';
    if (quoted) tomo_rewrite_put_text(r, "``");
    tomo_rewrite_copy(r, quoted ? 1 : 0, r->count);
    tomo_rewrite_next(r);
}

/* (``) -> " \1 " */
static void pad_backticks(tomo_rewrite *r) {
    pad_runs(r, "`", 2, 2);
}

/* ([ \(\[{<])(\"|\'{2}) -> "\1 `` " */
static void open_quotes(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count;) {
        size_t quote = 0;
        tomo_rewrite_put(r, r->in[i]);
        if (tomo_point_is_among(r->in[i++], " ([{<")) {
            quote = at(r, i) == '"' ? 1 : at(r, i) == '\'' && at(r, i + 1) == '\'' ? 2 : 0;
        }
        if (quote > 0) tomo_rewrite_put_text(r, " `` ");
        i += quote;
    }
    tomo_rewrite_next(r);
}

/* (?!re|ve|ll|m|t|s|d|n), letter case aside. */
static bool is_clitic(const tomo_rewrite *r, size_t i) {
    uint32_t first = tomo_point_fold(at(r, i)), second = tomo_point_fold(at(r, i + 1));
    if (tomo_point_is_among(first, "mtsdn")) return true;
    return ((first == 'r' || first == 'v') && second == 'e') || (first == 'l' && second == 'l');
}

/* (?i)(\')(?!re|ve|ll|m|t|s|d|n)(\w)\b -> "\1 \2" */
static void split_single_letters(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        tomo_rewrite_put(r, r->in[i]);
        if (r->in[i] != '\'' || !tomo_point_is_word(at(r, i + 1))) continue;
        if (is_clitic(r, i + 1) || !is_boundary(r, i + 2)) continue;
        tomo_rewrite_put(r, ' ');
        tomo_rewrite_put(r, r->in[++i]);
    }
    tomo_rewrite_next(r);
}

/* ------------------------------------------------------------------------------ punctuation */

/* ([^\.])(\.)([CLASS]*)\s*$ with the last stop's place in *stop and the end of the third group in *end: what
 * follows has no stop in it, so only the last one can match. */
static bool find_final_stop(const tomo_rewrite *r, bool spaces_and_more, size_t *stop, size_t *end) {
    size_t i = r->count;
    while (i > 0 && r->in[i - 1] != '.') i--;
    if (i < 2 || r->in[i - 2] == '.') return false;
    *stop = i - 1;
    for (; i < r->count; i++) {
        uint32_t c = r->in[i];
        bool more = spaces_and_more && (c == ' ' || c == 0xbb || c == 0x201d || c == 0x2019);
        if (!more && !tomo_point_is_among(c, "])}>\"'")) break;
    }
    *end = i;
    while (i < r->count && tomo_point_is_space(r->in[i])) i++;
    return i == r->count;
}

/* ([^\.])(\.)([\]\)}>"'»”’ ]*)\s*$ -> "\1 \2 \3 " */
static void split_final_stop(tomo_rewrite *r) {
    size_t stop = 0, end = 0;
    if (!find_final_stop(r, true, &stop, &end)) return;
    tomo_rewrite_copy(r, 0, stop);
    tomo_rewrite_put_text(r, " . ");
    tomo_rewrite_copy(r, stop + 1, end);
    tomo_rewrite_put(r, ' ');
    tomo_rewrite_next(r);
}

/* ([^\.])(\.)([\]\)}>"']*)\s*$ -> "\1 \2\3 " */
static void split_final_stop_again(tomo_rewrite *r) {
    size_t stop = 0, end = 0;
    if (!find_final_stop(r, false, &stop, &end)) return;
    tomo_rewrite_copy(r, 0, stop);
    tomo_rewrite_pad(r, stop, end);
    tomo_rewrite_next(r);
}

/* ([:,])([^\d]) -> " \1 \2" */
static void split_commas(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (tomo_point_is_among(r->in[i], ":,") && i + 1 < r->count && !tomo_point_is_digit(r->in[i + 1])) {
            tomo_rewrite_pad(r, i, i + 1);
            i++;
        }
        tomo_rewrite_put(r, r->in[i]);
    }
    tomo_rewrite_next(r);
}

/* ([:,])$ -> " \1 " */
static void split_final_comma(tomo_rewrite *r) {
    size_t i = r->count;
    if (i > 0 && r->in[i - 1] == '\n') i--; /* $ is in front of it too */
    if (i == 0 || !tomo_point_is_among(r->in[i - 1], ":,")) return;
    tomo_rewrite_copy(r, 0, i - 1);
    tomo_rewrite_pad(r, i - 1, i);
    tomo_rewrite_copy(r, i, r->count);
    tomo_rewrite_next(r);
}

/* \.{2,} -> " \g<0> " */
static void pad_ellipses(tomo_rewrite *r) {
    pad_runs(r, ".", 2, SIZE_MAX);
}

/* [;@#$%&] -> " \g<0> " */
static void pad_signs(tomo_rewrite *r) {
    pad_runs(r, ";@#$%&", 1, 1);
}

/* [?!] -> " \g<0> " */
static void pad_questions(tomo_rewrite *r) {
    pad_runs(r, "?!", 1, 1);
}

/* ([^'])' -> "\1 ' ", the apostrophe followed by a space */
static void split_apostrophes(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        tomo_rewrite_put(r, r->in[i]);
        if (r->in[i] != '\'' && at(r, i + 1) == '\'' && at(r, i + 2) == ' ') {
            tomo_rewrite_put_text(r, " ' ");
            i += 2;
        }
    }
    tomo_rewrite_next(r);
}

/* [*] -> " \g<0> " */
static void pad_stars(tomo_rewrite *r) {
    pad_runs(r, "*", 1, 1);
}

/* [\]\[\(\)\{\}\<\>] -> " \g<0> " */
static void pad_brackets(tomo_rewrite *r) {
    pad_runs(r, "][(){}<>", 1, 1);
}

/* -- -> " -- " */
static void pad_dashes(tomo_rewrite *r) {
    pad_runs(r, "-", 2, 2);
}

/* " " + text + " " */
static void pad_sentence(tomo_rewrite *r) {
    tomo_rewrite_pad(r, 0, r->count);
    tomo_rewrite_next(r);
}

/* ------------------------------------------------------------------------------ closing quotes */

/* ([»”’]) -> " \1 " */
static void pad_closing_marks(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        uint32_t c = r->in[i];
        if (c == 0xbb || c == 0x201d || c == 0x2019) {
            tomo_rewrite_pad(r, i, i + 1);
        } else {
            tomo_rewrite_put(r, c);
        }
    }
    tomo_rewrite_next(r);
}

/* '' -> " '' " */
static void pad_apostrophe_pairs(tomo_rewrite *r) {
    pad_runs(r, "'", 2, 2);
}

/* " -> " '' " */
static void close_quotes(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->in[i] == '"') {
            tomo_rewrite_put_text(r, " '' ");
        } else {
            tomo_rewrite_put(r, r->in[i]);
        }
    }
    tomo_rewrite_next(r);
}

/* \s+ -> " " */
static void join_spaces(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        bool space = tomo_point_is_space(r->in[i]);
        if (!space || i == 0 || !tomo_point_is_space(r->in[i - 1])) {
            tomo_rewrite_put(r, space ? ' ' : r->in[i]);
        }
    }
    tomo_rewrite_next(r);
}

/* The length of '[sS]|'[mM]|'[dD]|' in front of a space at i, or 0. */
static size_t match_short_clitic(const tomo_rewrite *r, size_t i) {
    if (at(r, i) != '\'') return 0;
    if (tomo_point_is_among(at(r, i + 1), "sSmMdD") && at(r, i + 2) == ' ') return 2;
    return at(r, i + 1) == ' ' ? 1 : 0;
}

/* The length of 'll|'LL|'re|'RE|'ve|'VE|n't|N'T in front of a space at i, or 0. */
static size_t match_long_clitic(const tomo_rewrite *r, size_t i) {
    static const char clitics[][4] = {"'ll", "'LL", "'re", "'RE", "'ve", "'VE", "n't", "N'T"};
    if (at(r, i + 3) != ' ') return 0;
    for (size_t k = 0; k < sizeof clitics / sizeof clitics[0]; k++) {
        const char *c = clitics[k];
        if (at(r, i) == (uint32_t)c[0] && at(r, i + 1) == (uint32_t)c[1] && at(r, i + 2) == (uint32_t)c[2]) {
            return 3;
        }
    }
    return 0;
}

/* ([^' ])(CLITIC) -> "\1 \2 ", the clitic followed by a space */
static void split_clitics(tomo_rewrite *r, size_t (*match)(const tomo_rewrite *, size_t)) {
    for (size_t i = 0; i < r->count; i++) {
        tomo_rewrite_put(r, r->in[i]);
        size_t length = r->in[i] == '\'' || r->in[i] == ' ' ? 0 : match(r, i + 1);
        if (length == 0) continue;
        tomo_rewrite_pad(r, i + 1, i + 1 + length);
        i += length + 1;
    }
    tomo_rewrite_next(r);
}

static void split_short_clitics(tomo_rewrite *r) {
    split_clitics(r, match_short_clitic);
}

static void split_long_clitics(tomo_rewrite *r) {
    split_clitics(r, match_long_clitic);
}

/* ------------------------------------------------------------------------------ contractions */

/* What comes in front of the first part, and behind the second. */
typedef struct contraction {
    const char *first, *second;
    bool after_space;  /* a space, which is replaced too; else \b */
    bool before_space; /* (?=\s); else \b */
} contraction;

static const contraction contractions[] = {
    {"can", "not", false, false}, {"d", "'ye", false, false},  {"gim", "me", false, false},
    {"gon", "na", false, false},  {"got", "ta", false, false}, {"lem", "me", false, false},
    {"more", "'n", false, false}, {"wan", "na", false, true},  {"'t", "is", true, false},
    {"'t", "was", true, false},
};

static bool stands_at(const tomo_rewrite *r, size_t i, const char *word) {
    for (; *word != '\0'; word++, i++) {
        if (tomo_point_fold(at(r, i)) != (unsigned char)*word) return false;
    }
    return true;
}

/* Whether the contraction's first part begins at i. */
static bool match_contraction(const tomo_rewrite *r, size_t i, const contraction *c) {
    if (!stands_at(r, i, c->first)) return false;
    size_t middle = i + strlen(c->first), end = middle + strlen(c->second);
    if (!stands_at(r, middle, c->second)) return false;
    if (c->after_space ? i == 0 || r->in[i - 1] != ' ' : !is_boundary(r, i)) return false;
    /* The end is as good as the space that pad_sentence puts there. */
    return c->before_space ? end == r->count || tomo_point_is_space(at(r, end)) : is_boundary(r, end);
}

/* (?i)\b(FIRST)(SECOND)\b -> " \1 \2 " and (?i) (FIRST)(SECOND)\b -> " \1 \2 " */
static void split_contraction(tomo_rewrite *r, const contraction *c) {
    for (size_t i = 0; i < r->count;) {
        size_t begin = c->after_space ? i + 1 : i;
        if (begin < r->count && match_contraction(r, begin, c)) {
            size_t middle = begin + strlen(c->first), end = middle + strlen(c->second);
            tomo_rewrite_pad(r, begin, middle);
            tomo_rewrite_copy(r, middle, end);
            tomo_rewrite_put(r, ' ');
            i = end;
        } else {
            tomo_rewrite_put(r, r->in[i++]);
        }
    }
    tomo_rewrite_next(r);
}

/* A contraction begins where a word does, or with an apostrophe; their first letters are few. */
static bool holds_contraction(const tomo_rewrite *r) {
    bool inside = false;
    for (size_t i = 0; i < r->count; i++) {
        uint32_t c = r->in[i];
        bool begins = !inside || c == '\'';
        inside = tomo_point_is_word(c);
        if (!begins || !tomo_point_is_among(tomo_point_fold(c), "cdglmw'")) continue;
        for (size_t k = 0; k < sizeof contractions / sizeof contractions[0]; k++) {
            if (tomo_point_fold(c) != (unsigned char)contractions[k].first[0]) continue;
            if (match_contraction(r, i, &contractions[k])) return true;
        }
    }
    return false;
}

/* Where no contraction stands now, no pass changes anything: one look instead of ten, as contractions are
 * rare. */
static void split_contractions(tomo_rewrite *r) {
    if (!holds_contraction(r)) return;
    for (size_t k = 0; k < sizeof contractions / sizeof contractions[0]; k++) {
        split_contraction(r, &contractions[k]);
    }
}

/* ------------------------------------------------------------------------------ all passes */

/* A pass, and characters without which it changes nothing; NULL: it always runs. Not one of them is made by
 * a pass before, but by those that find a quote. */
typedef struct pass {
    const char *needs;
    void (*run)(tomo_rewrite *);
} pass;

#define QUOTES "\"'`"
#define BEYOND_ASCII "\x7f"

static const pass passes[] = {
    {"`" BEYOND_ASCII, pad_opening_marks},
    {"\"", open_first_quote},
    {QUOTES, pad_backticks},
    {QUOTES, open_quotes},
    {"'", split_single_letters},
    {".", split_final_stop},
    {":,", split_commas},
    {":,", split_final_comma},
    {".", pad_ellipses},
    {";@#$%&", pad_signs},
    {".", split_final_stop_again},
    {"?!", pad_questions},
    {"'", split_apostrophes},
    {"*", pad_stars},
    {"][(){}<>", pad_brackets},
    {"-", pad_dashes},
};

/* The passes from the padding of the sentence on. They look for quotes and contractions; without either they
 * do no more than the final split does. */
static const pass later_passes[] = {
    {NULL, pad_sentence},
    {BEYOND_ASCII, pad_closing_marks},
    {QUOTES, pad_apostrophe_pairs},
    {"\"", close_quotes},
    {NULL, join_spaces},
    {QUOTES, split_short_clitics},
    {QUOTES, split_long_clitics},
    {NULL, split_contractions},
};

/* Which characters a sentence holds; all beyond ASCII count as U+007F. */
static void note_characters(tomo_points sentence, bool held[128]) {
    memset(held, 0, 128 * sizeof *held);
    for (size_t i = 0; i < sentence.count; i++) {
        held[sentence.at[i] < 0x7f ? sentence.at[i] : 0x7f] = true;
    }
}

static bool is_needed(const pass *p, const bool held[128]) {
    if (p->needs == NULL) return true;
    for (const char *c = p->needs; *c != '\0'; c++) {
        if (held[(unsigned char)*c]) return true;
    }
    return false;
}

static void run_passes(tomo_rewrite *r, const pass *list, size_t count, const bool held[128]) {
    for (size_t i = 0; i < count && !r->failed; i++) {
        if (is_needed(&list[i], held)) list[i].run(r);
    }
}

bool tomo_tokens_add_sentence(tomo_arena *arena, tomo_points sentence, tomo_tokens *tokens) {
    static const pass quotes = {QUOTES BEYOND_ASCII, NULL};
    tomo_rewrite r;
    bool held[128];
    note_characters(sentence, held);
    tomo_rewrite_begin(&r, arena, sentence);
    run_passes(&r, passes, sizeof passes / sizeof passes[0], held);
    if (is_needed(&quotes, held) || holds_contraction(&r)) {
        run_passes(&r, later_passes, sizeof later_passes / sizeof later_passes[0], held);
    }
    if (r.failed) return false;
    tomo_tokens_add_split((tomo_points){r.in, r.count}, tokens);
    return true;
}
