#include "eval/punkt.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ the model */

/* 20,600 words in 65,536 places: a search that fails looks at 1.5 of them. */
#define PLACES 65536u
/* The longest word of the table has 36 letters; longer ones need no search. */
#define LONGEST 80

typedef struct entry {
    const char *word; /* in the table; NULL: a free place */
    uint32_t length;
    int flags;
} entry;

struct tomo_punkt {
    entry entries[PLACES];
};

/* How the table's letters read: a space inside a word is written \v. */
static uint32_t letter(char c) {
    return c == '\v' ? ' ' : (unsigned char)c;
}

static bool is_word(const entry *e, tomo_points word) {
    if (e->length != word.count) return false;
    for (size_t i = 0; i < word.count; i++) {
        if (letter(e->word[i]) != word.at[i]) return false;
    }
    return true;
}

/* The word's place, or the free one where it would stand. */
static size_t find_place(const tomo_punkt *punkt, tomo_points word) {
    size_t place = tomo_points_hash(word) % PLACES;
    while (punkt->entries[place].word != NULL && !is_word(&punkt->entries[place], word)) {
        place = (place + 1) % PLACES;
    }
    return place;
}

static int flags_of(const tomo_punkt *punkt, tomo_points word) {
    return word.count > LONGEST ? 0 : punkt->entries[find_place(punkt, word)].flags;
}

static void add_group(tomo_punkt *punkt, const tomo_punkt_group *group) {
    for (const char *at = group->words; *at != '\0';) {
        size_t length = strcspn(at, " ");
        uint32_t points[LONGEST];
        for (size_t i = 0; i < length; i++) points[i] = letter(at[i]);
        entry *e = &punkt->entries[find_place(punkt, (tomo_points){points, length})];
        *e = (entry){at, (uint32_t)length, e->flags | group->flags};
        at += length + (at[length] == ' ');
    }
}

tomo_status tomo_punkt_create(tomo_punkt **punkt, tomo_error *err) {
    *punkt = calloc(1, sizeof **punkt);
    if (*punkt == NULL) return tomo_fail_memory(err, "sentence model", sizeof **punkt);
    for (size_t i = 0; i < tomo_punkt_group_count; i++) add_group(*punkt, &tomo_punkt_groups[i]);
    return TOMO_OK;
}

void tomo_punkt_free(tomo_punkt *punkt) {
    free(punkt);
}

/* ------------------------------------------------------------------------------ tokens of a context */

/* What cannot stand inside a word (_re_non_word_chars). */
static bool is_no_word(uint32_t c) {
    return tomo_point_is_among(c, ")\";}]*:@'({[!?");
}

/* What cannot begin one (_re_word_start, which names its opposite). */
static bool begins_no_word(uint32_t c) {
    return tomo_point_is_among(c, "(\"`{[:;&#*@)}]-,");
}

/* The end of \-{2,}|\.{2,}|(?:\.\s){2,}\. at i, or i. */
static size_t match_multi(tomo_points t, size_t i) {
    uint32_t c = t.at[i];
    size_t end = i;
    if (c != '-' && c != '.') return i;
    while (end < t.count && t.at[end] == c) end++;
    if (end - i >= 2) return end;
    if (c == '-') return i;
    /* The last stop of as many pairs as there are, when two pairs and a stop remain. */
    end = i;
    while (end + 1 < t.count && t.at[end] == '.' && tomo_point_is_space(t.at[end + 1])) end += 2;
    if (!(end < t.count && t.at[end] == '.')) end = end >= i + 2 ? end - 2 : i;
    return end - i >= 4 ? end + 1 : i;
}

static bool ends_word(tomo_points t, size_t i) {
    if (i == t.count || tomo_point_is_space(t.at[i]) || is_no_word(t.at[i])) return true;
    return match_multi(t, i) > i;
}

/* The next token of a line from *i on (_word_tokenize_fmt). */
static bool next_token(tomo_points line, size_t *i, tomo_points *token) {
    while (*i < line.count && tomo_point_is_space(line.at[*i])) ++*i;
    if (*i == line.count) return false;
    size_t begin = *i, end = match_multi(line, begin);
    if (end == begin) {
        end = begin + 1;
        if (!begins_no_word(line.at[begin])) {
            while (!ends_word(line, end) && !(line.at[end] == ',' && ends_word(line, end + 1))) end++;
        }
    }
    *token = (tomo_points){line.at + begin, end - begin};
    *i = end;
    return true;
}

/* PunktToken. */
typedef struct token {
    tomo_points text, type; /* type: in small letters; numbers are all one word */
    bool ends_sentence, is_abbreviation, is_ellipsis;
} token;

static const uint32_t number_type[] = {'#', '#', 'n', 'u', 'm', 'b', 'e', 'r', '#', '#'};

/* ^-?[\.,]?\d[\d,\.-]*\.?$ */
static bool is_number(tomo_points t) {
    size_t i = 0;
    if (i < t.count && t.at[i] == '-') i++;
    if (i < t.count && tomo_point_is_among(t.at[i], ".,")) i++;
    if (i == t.count || !tomo_point_is_digit(t.at[i])) return false;
    while (i < t.count && (tomo_point_is_digit(t.at[i]) || tomo_point_is_among(t.at[i], ",.-"))) i++;
    return i == t.count;
}

static bool ends_with_stop(tomo_points t) {
    return t.count > 0 && t.at[t.count - 1] == '.';
}

static tomo_points without_stop(tomo_points type) {
    if (type.count > 1 && ends_with_stop(type)) type.count--;
    return type;
}

/* type_no_sentperiod */
static tomo_points next_type(const token *t) {
    return t->ends_sentence ? without_stop(t->type) : t->type;
}

static bool is_all_stops(tomo_points t) {
    for (size_t i = 0; i < t.count; i++) {
        if (t.at[i] != '.') return false;
    }
    return t.count >= 2;
}

/* [^\W\d]\. */
static bool is_initial(tomo_points t) {
    return t.count == 2 && t.at[1] == '.' && tomo_point_is_word(t.at[0]) && !tomo_point_is_digit(t.at[0]);
}

/* The word in small letters, or its part after the last hyphen. */
static bool is_known_abbreviation(const tomo_punkt *punkt, tomo_points lower) {
    if ((flags_of(punkt, lower) & TOMO_PUNKT_ABBREVIATION) != 0) return true;
    size_t begin = lower.count;
    while (begin > 0 && lower.at[begin - 1] != '-') begin--;
    tomo_points part = {lower.at + begin, lower.count - begin};
    return (flags_of(punkt, part) & TOMO_PUNKT_ABBREVIATION) != 0;
}

/* _get_type and _first_pass_annotation. */
static bool annotate(const tomo_punkt *punkt, tomo_arena *arena, token *t) {
    tomo_points lower;
    size_t n = t->text.count;
    if (!tomo_points_lower(arena, t->text, &lower)) return false;
    t->type = is_number(lower) ? (tomo_points){number_type, 10} : lower;
    t->ends_sentence = n == 1 && tomo_point_is_among(t->text.at[0], ".?!");
    t->is_ellipsis = !t->ends_sentence && is_all_stops(t->text);
    t->is_abbreviation = false;
    if (t->ends_sentence || t->is_ellipsis || !ends_with_stop(t->text)) return true;
    if (n >= 2 && t->text.at[n - 2] == '.') return true;
    /* lower() of the word without its stop: as long as lower is, which ends in that stop. */
    t->is_abbreviation = is_known_abbreviation(punkt, (tomo_points){lower.at, lower.count - 1});
    t->ends_sentence = !t->is_abbreviation;
    return true;
}

/* ------------------------------------------------------------------------------ decisions */

typedef enum answer { NO, YES, UNKNOWN } answer;

enum {
    ANY_UPPER = TOMO_PUNKT_BEGIN_UPPER | TOMO_PUNKT_MID_UPPER | TOMO_PUNKT_UNKNOWN_UPPER,
    ANY_LOWER = TOMO_PUNKT_BEGIN_LOWER | TOMO_PUNKT_MID_LOWER | TOMO_PUNKT_UNKNOWN_LOWER
};

/* Does this token begin a sentence? (_ortho_heuristic) */
static answer judge_letters(const tomo_punkt *punkt, const token *t) {
    uint32_t first = t->text.at[0];
    if (t->text.count == 1 && tomo_point_is_among(first, ";:,.!?")) return NO;
    int flags = flags_of(punkt, next_type(t));
    if (tomo_point_is_upper(first) && (flags & ANY_LOWER) != 0 && (flags & TOMO_PUNKT_MID_UPPER) == 0) {
        return YES;
    }
    if (tomo_point_is_lower(first) && ((flags & ANY_UPPER) != 0 || (flags & TOMO_PUNKT_BEGIN_LOWER) == 0)) {
        return NO;
    }
    return UNKNOWN;
}

static bool is_collocation(const tomo_punkt *punkt, tomo_points first, tomo_points second) {
    uint32_t both[LONGEST];
    if (first.count + 1 + second.count > LONGEST) return false;
    memcpy(both, first.at, first.count * sizeof *both);
    both[first.count] = '\t';
    memcpy(both + first.count + 1, second.at, second.count * sizeof *both);
    tomo_points pair = {both, first.count + 1 + second.count};
    return (flags_of(punkt, pair) & TOMO_PUNKT_COLLOCATION) != 0;
}

/* _second_pass_annotation: whether t ends a sentence, now that the next token is known. */
static bool ends_before(const tomo_punkt *punkt, const token *t, const token *next) {
    if (!ends_with_stop(t->text)) return t->ends_sentence;
    tomo_points type = without_stop(t->type), following = next_type(next);
    bool initial = is_initial(t->text), upper = tomo_point_is_upper(next->text.at[0]);
    if (is_collocation(punkt, type, following)) return false;
    if ((t->is_abbreviation || t->is_ellipsis) && !initial) {
        if (judge_letters(punkt, next) == YES) return true;
        if (upper && (flags_of(punkt, following) & TOMO_PUNKT_STARTER) != 0) return true;
    }
    if (initial || type.at == number_type) {
        answer begins = judge_letters(punkt, next);
        if (begins == NO) return false;
        if (begins == UNKNOWN && initial && upper && (flags_of(punkt, following) & ANY_LOWER) == 0)
            return false;
    }
    return t->ends_sentence;
}

/* text_contains_sentbreak: whether any token but the last ends a sentence. False in *good: out of memory. */
static bool holds_break(const tomo_punkt *punkt, tomo_arena *arena, tomo_points context, bool *good) {
    token before = {0};
    bool has_before = false;
    for (size_t line = 0; line <= context.count;) {
        size_t end = line, i = 0;
        while (end < context.count && context.at[end] != '\n') end++;
        token t = {0};
        while (next_token((tomo_points){context.at + line, end - line}, &i, &t.text)) {
            *good = *good && annotate(punkt, arena, &t);
            if (!*good) return false;
            if (has_before && ends_before(punkt, &before, &t)) return true;
            before = t;
            has_before = true;
        }
        line = end + 1;
    }
    return false;
}

/* ------------------------------------------------------------------------------ sentences */

/* A stop that may end a sentence, with what surrounds it. */
typedef struct candidate {
    size_t word;  /* where the word before it begins */
    size_t at;    /* the stop */
    size_t after; /* the end of what follows */
    size_t next;  /* where the next sentence would begin */
} candidate;

/* period_context_re at i; fills at, after and next. */
static bool match_candidate(tomo_points t, size_t i, candidate *c) {
    if (!tomo_point_is_among(t.at[i], ".?!") || i + 1 == t.count) return false;
    *c = (candidate){.at = i, .after = i + 2, .next = i + 1};
    if (is_no_word(t.at[i + 1])) return true;
    size_t next = i + 1;
    while (next < t.count && tomo_point_is_space(t.at[next])) next++;
    if (next == i + 1 || next == t.count) return false;
    c->next = c->after = next;
    while (c->after < t.count && !tomo_point_is_space(t.at[c->after])) c->after++;
    return true;
}

/* Where the word before the stop at `end` begins: behind the last white space of ASCII since the candidate
 * before. White space right behind that one does not count (_get_last_whitespace_index gives 0 for both). */
static size_t find_word(tomo_points t, const candidate *before, size_t end) {
    for (size_t i = end; i > before->at + 1; i--) {
        if (tomo_point_is_among(t.at[i - 1], " \t\n\r\v\f")) return i;
    }
    return before->word;
}

typedef struct splitter {
    const tomo_punkt *punkt;
    tomo_arena *arena;
    tomo_points text;
    tomo_sentences *found;
    size_t begin; /* of the sentence being read */
    bool good;
} splitter;

static void add_sentence(splitter *s, size_t begin, size_t end) {
    s->found->items[s->found->count++] =
        (tomo_points){s->text.at + begin, end > begin ? end - begin : (size_t)0};
}

static void try_candidate(splitter *s, const candidate *c) {
    tomo_arena_mark mark = tomo_arena_get_mark(s->arena);
    tomo_points context = {s->text.at + c->word, c->after - c->word};
    if (s->good && holds_break(s->punkt, s->arena, context, &s->good)) {
        add_sentence(s, s->begin, c->at + 1);
        s->begin = c->next;
    }
    tomo_arena_rewind(s->arena, mark);
}

/* _slices_from_text */
static void cut(splitter *s) {
    candidate before = {0}, c;
    bool has_before = false;
    for (size_t i = 0; i < s->text.count; i++) {
        if (!match_candidate(s->text, i, &c)) continue;
        c.word = find_word(s->text, &before, i);
        if (has_before && before.at <= c.word) try_candidate(s, &before);
        before = c;
        has_before = true;
    }
    if (has_before) try_candidate(s, &before);
    size_t end = s->text.count;
    while (end > 0 && tomo_point_is_space(s->text.at[end - 1])) end--;
    add_sentence(s, s->begin, end);
}

/* Closing marks at the front of a sentence belong to the one before: ["')\]}]+?(?:\s+|(?=--)|$). Gives the
 * end of the marks and of the white space behind them, both 0 where there are none. */
static size_t match_closing(tomo_points t, size_t *marks) {
    size_t i = 0;
    while (i < t.count && tomo_point_is_among(t.at[i], "\"')]}")) i++;
    *marks = i;
    while (i < t.count && tomo_point_is_space(t.at[i])) i++;
    bool dashes = i + 1 < t.count && t.at[i] == '-' && t.at[i + 1] == '-';
    if (*marks == 0 || !(i > *marks || i == t.count || dashes)) *marks = i = 0;
    return i;
}

/* _realign_boundaries, in place: at most as many sentences come out as went in. */
static void realign(tomo_sentences *s) {
    size_t used = 0, moved = 0;
    for (size_t i = 0; i < s->count; i++) {
        tomo_points sentence = s->items[i];
        size_t marks = 0;
        sentence.at += moved;
        sentence.count -= moved;
        moved = i + 1 < s->count ? match_closing(s->items[i + 1], &marks) : 0;
        if (marks > 0) sentence.count = (size_t)(s->items[i + 1].at + marks - sentence.at);
        if (sentence.count > 0) s->items[used++] = sentence;
    }
    s->count = used;
}

bool tomo_punkt_split(const tomo_punkt *punkt, tomo_arena *arena, tomo_points text,
                      tomo_sentences *sentences) {
    size_t stops = 1;
    for (size_t i = 0; i < text.count; i++) stops += tomo_point_is_among(text.at[i], ".?!");
    sentences->items = tomo_arena_alloc(arena, stops * sizeof *sentences->items);
    sentences->count = 0;
    if (sentences->items == NULL) return false;
    splitter s = {punkt, arena, text, sentences, 0, true};
    cut(&s);
    realign(sentences);
    return s.good;
}
