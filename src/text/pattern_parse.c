/* Oniguruma's syntax, as far as pre-tokenizers use it: literals, sets, groups, look-around, alternation,
 * quantifiers. Anything else is refused. */
#include "text/pattern_parse.h"

#include <string.h>

/* Groups within groups. */
#define DEPTH 64

typedef struct parser {
    const char *file, *text;
    const unsigned char *at, *end;
    tomo_pattern_syntax *syntax;
    bool fold[DEPTH]; /* per open group: case does not count in it */
    int depth;
    bool after_atom; /* a quantifier may follow */
    tomo_error *err;
} parser;

static tomo_status refuse(const parser *p, const char *what) {
    return tomo_fail(p->err, TOMO_E_UNSUPPORTED, "%s: the pattern \"%.120s\" has %s, which is not read",
                     p->file, p->text, what);
}

static tomo_status put(parser *p, const char *syntax) {
    tomo_pattern_syntax *s = p->syntax;
    for (; *syntax != '\0'; syntax++) {
        if (s->symbol_count == sizeof s->symbols / sizeof *s->symbols) return refuse(p, "too many parts");
        s->symbols[s->symbol_count++] = (unsigned char)*syntax;
    }
    return TOMO_OK;
}

static tomo_status put_set(parser *p, tomo_charset *set) {
    tomo_pattern_syntax *s = p->syntax;
    set->fold = p->fold[p->depth];
    for (size_t i = 0; i < set->count && set->fold; i++) {
        if (set->items[i].kind != TOMO_CHARSET_RANGE || set->items[i].last > 0x7f) {
            return refuse(p, "more than ASCII where case does not count");
        }
    }
    size_t number = 0;
    while (number < s->set_count && !tomo_charset_equal(&s->sets[number], set)) number++;
    if (number == TOMO_PATTERN_SETS) return refuse(p, "too many different sets");
    if (number == s->set_count) s->sets[s->set_count++] = *set;
    if (s->symbol_count == sizeof s->symbols / sizeof *s->symbols) return refuse(p, "too many parts");
    s->symbols[s->symbol_count++] = (uint16_t)(TOMO_PATTERN_SET + number);
    p->after_atom = true;
    return TOMO_OK;
}

static tomo_charset_item one(uint32_t c) {
    return (tomo_charset_item){.kind = TOMO_CHARSET_RANGE, .first = c, .last = c};
}

static uint32_t next_char(parser *p) {
    uint32_t c;
    p->at += tomo_utf8_next(p->at, (size_t)(p->end - p->at), &c, NULL);
    return c;
}

static bool next_is(const parser *p, const char *text) {
    size_t size = strlen(text);
    return (size_t)(p->end - p->at) >= size && memcmp(p->at, text, size) == 0;
}

/* ------------------------------------------------------------------------------ escapes */

static bool hex_digit(unsigned char c, uint32_t *value) {
    if (c >= '0' && c <= '9')
        *value = c - (uint32_t)'0';
    else if (c >= 'a' && c <= 'f')
        *value = c - (uint32_t)'a' + 10;
    else if (c >= 'A' && c <= 'F')
        *value = c - (uint32_t)'A' + 10;
    else
        return false;
    return true;
}

/* \xHH, \x{H...} and \uHHHH; `at` is behind the letter. */
static tomo_status hex_escape(parser *p, char letter, tomo_charset_item *item) {
    bool braces = letter == 'x' && p->at < p->end && *p->at == '{';
    int digits = braces ? 6 : letter == 'x' ? 2 : 4, got = 0;
    uint32_t c = 0, value = 0;
    if (braces) p->at++;
    while (got < digits && p->at < p->end && hex_digit(*p->at, &value)) {
        c = c << 4 | value;
        p->at++;
        got++;
    }
    if (braces && (p->at == p->end || *p->at++ != '}')) return refuse(p, "an unfinished escape");
    if (got == 0 || (letter == 'u' && got < 4) || c > 0x10ffff) return refuse(p, "a broken escape");
    *item = one(c);
    return TOMO_OK;
}

static tomo_status property(parser *p, bool negated, tomo_charset_item *item) {
    if (p->at == p->end || *p->at != '{') return refuse(p, "a property without a name in braces");
    const unsigned char *name = ++p->at;
    if (p->at < p->end && *p->at == '^') {
        negated = !negated;
        name++;
    }
    const unsigned char *close = memchr(name, '}', (size_t)(p->end - name));
    if (close == NULL) return refuse(p, "a property without an end");
    *item = (tomo_charset_item){.kind = TOMO_CHARSET_CATEGORIES, .negated = negated};
    p->at = close + 1;
    if (!tomo_charset_category((const char *)name, (size_t)(close - name), &item->categories)) {
        return refuse(p, "a property other than a general category");
    }
    return TOMO_OK;
}

/* What follows a backslash, as an item of a set; a plain character is a range of one. */
static tomo_status escape(parser *p, tomo_charset_item *item) {
    if (p->at == p->end) return refuse(p, "a backslash at its end");
    uint32_t c = next_char(p);
    switch (c) {
    case 'r':
        *item = one('\r');
        return TOMO_OK;
    case 'n':
        *item = one('\n');
        return TOMO_OK;
    case 't':
        *item = one('\t');
        return TOMO_OK;
    case 'f':
        *item = one('\f');
        return TOMO_OK;
    case 'v':
        *item = one('\v');
        return TOMO_OK;
    case 's':
    case 'S':
        *item = (tomo_charset_item){.kind = TOMO_CHARSET_SPACE, .negated = c == 'S'};
        return TOMO_OK;
    case 'w':
    case 'W':
        *item = (tomo_charset_item){.kind = TOMO_CHARSET_WORD, .negated = c == 'W'};
        return TOMO_OK;
    case 'd':
    case 'D':
        *item = (tomo_charset_item){.kind = TOMO_CHARSET_CATEGORIES, .negated = c == 'D'};
        item->categories = UINT32_C(1) << TOMO_ND;
        return TOMO_OK;
    case 'p':
    case 'P':
        return property(p, c == 'P', item);
    case 'x':
    case 'u':
        return hex_escape(p, (char)c, item);
    default:
        if (c < 0x80 && ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'))) {
            return refuse(p, "an escape of another kind");
        }
        *item = one(c);
        return TOMO_OK;
    }
}

/* ------------------------------------------------------------------------------ sets in brackets */

static tomo_status bracket_item(parser *p, tomo_charset_item *item) {
    if (p->at == p->end) return refuse(p, "a set without an end");
    if (*p->at == '[') return refuse(p, "a set within a set");
    if (next_is(p, "&&")) return refuse(p, "an intersection of sets");
    uint32_t c = next_char(p);
    if (c == '\\') return escape(p, item);
    *item = one(c);
    return TOMO_OK;
}

static tomo_status bracket(parser *p) {
    tomo_charset set = {0};
    if (next_is(p, "^")) {
        set.negated = true;
        p->at++;
    }
    if (next_is(p, "]")) return refuse(p, "an empty set");
    while (!next_is(p, "]")) {
        tomo_charset_item item, last;
        tomo_status status = bracket_item(p, &item);
        if (status != TOMO_OK) return status;
        if (next_is(p, "-") && !next_is(p, "-]")) {
            p->at++;
            status = bracket_item(p, &last);
            if (status != TOMO_OK) return status;
            if (item.kind != TOMO_CHARSET_RANGE || last.kind != TOMO_CHARSET_RANGE ||
                last.first < item.first) {
                return refuse(p, "a range without two ends in order");
            }
            item.last = last.first;
        }
        if (!tomo_charset_add(&set, item)) return refuse(p, "too large a set");
    }
    p->at++;
    return put_set(p, &set);
}

/* ------------------------------------------------------------------------------ groups and quantifiers */

static tomo_status open_group(parser *p) {
    static const char *const kept[] = {"?:", "?=", "?!", "?<=", "?<!", "?>"};
    bool fold = p->fold[p->depth];
    const char *head = "?:"; /* captures play no part */
    if (next_is(p, "?i:")) {
        fold = true;
        p->at += 3;
    } else if (next_is(p, "?")) {
        size_t i = 0;
        while (i < sizeof kept / sizeof *kept && !next_is(p, kept[i])) i++;
        if (i == sizeof kept / sizeof *kept) return refuse(p, "a group of another kind");
        head = kept[i];
        p->at += strlen(head);
    }
    if (p->depth + 1 == DEPTH) return refuse(p, "too deep a nesting of groups");
    p->fold[++p->depth] = fold;
    p->after_atom = false;
    tomo_status status = put(p, "(");
    return status == TOMO_OK ? put(p, head) : status;
}

static tomo_status close_group(parser *p) {
    if (p->depth == 0) return refuse(p, "a parenthesis that closes nothing");
    p->depth--;
    p->after_atom = true;
    return put(p, ")");
}

/* {n}, {n,}, {n,m} and {,m}, which means {0,m}. */
static tomo_status interval(parser *p) {
    char text[16] = "{";
    size_t length = 1;
    if (next_is(p, ",")) text[length++] = '0';
    while (p->at < p->end && ((*p->at >= '0' && *p->at <= '9') || *p->at == ',')) {
        if (length == sizeof text - 2) return refuse(p, "too large a count");
        text[length++] = (char)*p->at++;
    }
    text[length] = '}';
    if (!next_is(p, "}") || text[1] == '}' || !p->after_atom) return refuse(p, "a brace that is no count");
    p->at++;
    /* Oniguruma reads {n,m}+ as a repetition of the repetition, PCRE2 as a possessive one. */
    if (next_is(p, "+") || next_is(p, "?") || next_is(p, "*")) return refuse(p, "a quantified count");
    p->after_atom = false;
    return put(p, text);
}

static tomo_status quantifier(parser *p, uint32_t c) {
    char text[3] = {(char)c, '\0', '\0'};
    if (!p->after_atom) return refuse(p, "a quantifier of nothing");
    if (next_is(p, "?") || next_is(p, "+")) text[1] = (char)*p->at++;
    if (next_is(p, "?") || next_is(p, "+") || next_is(p, "*") || next_is(p, "{")) {
        return refuse(p, "a quantified quantifier");
    }
    p->after_atom = false;
    return put(p, text);
}

/* Not a line feed: what '.' stands for, and what may not stand before '^' and behind '$' in Oniguruma. */
static tomo_status not_a_line_feed(parser *p, const char *before, const char *behind) {
    tomo_charset set = {.negated = true};
    (void)tomo_charset_add(&set, one('\n'));
    tomo_status status = put(p, before);
    if (status == TOMO_OK) status = put_set(p, &set);
    if (status == TOMO_OK) status = put(p, behind);
    return status;
}

static tomo_status literal_char(parser *p, uint32_t c) {
    tomo_charset set = {0};
    (void)tomo_charset_add(&set, one(c));
    return put_set(p, &set);
}

static tomo_status part(parser *p) {
    uint32_t c = next_char(p);
    tomo_charset set = {0};
    tomo_status status;
    switch (c) {
    case '\\':
        status = escape(p, &set.items[0]);
        set.count = 1;
        return status == TOMO_OK ? put_set(p, &set) : status;
    case '[':
        return bracket(p);
    case '(':
        return open_group(p);
    case ')':
        return close_group(p);
    case '{':
        return interval(p);
    case '*':
    case '+':
    case '?':
        return quantifier(p, c);
    case '|':
        p->after_atom = false;
        return put(p, "|");
    case '.':
        return not_a_line_feed(p, "", "");
    case '^':
        return not_a_line_feed(p, "(?<!", ")");
    case '$':
        return not_a_line_feed(p, "(?!", ")");
    default:
        return literal_char(p, c);
    }
}

tomo_status tomo_pattern_parse(const char *file, const char *text, bool literal, tomo_pattern_syntax *syntax,
                               tomo_error *err) {
    size_t size = strlen(text);
    parser p = {.file = file, .text = text, .syntax = syntax, .err = err};
    p.at = (const unsigned char *)text;
    p.end = p.at + size;
    syntax->set_count = syntax->symbol_count = 0;
    if (size == 0 || size > TOMO_PATTERN_LENGTH) return refuse(&p, "no text, or too much");
    tomo_status status = TOMO_OK;
    while (p.at < p.end && status == TOMO_OK) status = literal ? literal_char(&p, next_char(&p)) : part(&p);
    if (status == TOMO_OK && p.depth > 0) status = refuse(&p, "a group without an end");
    return status;
}
