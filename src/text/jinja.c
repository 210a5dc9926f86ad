/* The writing of Jinja templates, brought to one form. Nothing is executed. */
#include "text/chat_impl.h"

#include <ctype.h>
#include <string.h>

typedef struct normaliser {
    const char *at, *end;
    tomo_buffer *out;
    bool in_text; /* the last part written is text, to which more may be joined */
} normaliser;

static void end_text(normaliser *n) {
    if (n->in_text) (void)tomo_buffer_add_text(n->out, TOMO_JINJA_END);
    n->in_text = false;
}

static void add_text(normaliser *n, const char *text, size_t size) {
    if (size == 0) return;
    if (!n->in_text) (void)tomo_buffer_add_text(n->out, TOMO_JINJA_TEXT);
    n->in_text = true;
    (void)tomo_buffer_add(n->out, text, size);
}

/* The character that a string holds at `at` (behind the quote), which moves on. */
static char string_char(const char **at, const char *end) {
    char c = *(*at)++;
    if (c != '\\' || *at == end) return c;
    c = *(*at)++;
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c;
}

/* Where the string that begins with the quote at `at` ends (behind its quote); NULL when it does not. */
static const char *string_end(const char *at, const char *end) {
    char quote = *at++;
    while (at < end && *at != quote) at += *at == '\\' && at + 1 < end ? 2 : 1;
    return at < end ? at + 1 : NULL;
}

/* ['name'] at `at`: the name and where it ends; NULL when it is something else. */
static const char *subscript(const char *at, const char *end, const char **name, size_t *size) {
    if (*at != '[' || at + 1 == end || (at[1] != '\'' && at[1] != '"')) return NULL;
    const char *close = string_end(at + 1, end);
    if (close == NULL || close == end || *close != ']') return NULL;
    *name = at + 2;
    *size = (size_t)(close - 1 - *name);
    for (size_t i = 0; i < *size; i++) {
        if (!isalnum((unsigned char)(*name)[i]) && (*name)[i] != '_') return NULL;
    }
    return close + 1;
}

/* One token of code: a string, a subscript that is a name, or a character. NULL: a string without an end. */
static const char *code_token(normaliser *n, const char *at, const char *end) {
    const char *name = NULL;
    size_t size = 0;
    if (*at == '\'' || *at == '"') {
        const char *close = string_end(at, end);
        if (close == NULL) return NULL;
        (void)tomo_buffer_add_text(n->out, "'");
        for (at++; at < close - 1;) {
            char c = string_char(&at, close - 1);
            (void)tomo_buffer_add(n->out, &c, 1);
        }
        (void)tomo_buffer_add_text(n->out, "'");
        return close;
    }
    const char *behind = subscript(at, end, &name, &size);
    if (behind != NULL) {
        (void)tomo_buffer_add_text(n->out, ".");
        (void)tomo_buffer_add(n->out, name, size);
        return behind;
    }
    if (!isspace((unsigned char)*at)) (void)tomo_buffer_add(n->out, at, 1);
    return at + 1;
}

static bool code(normaliser *n, const char *kind, const char *at, const char *end) {
    end_text(n);
    (void)tomo_buffer_add_text(n->out, kind);
    while (at < end) {
        at = code_token(n, at, end);
        if (at == NULL) return false;
    }
    (void)tomo_buffer_add_text(n->out, TOMO_JINJA_END);
    return true;
}

/* One term of a sum that is written: text when it is nothing but a string. */
static bool term(normaliser *n, const char *at, const char *end) {
    while (at < end && isspace((unsigned char)*at)) at++;
    while (end > at && isspace((unsigned char)end[-1])) end--;
    if (at == end) return false;
    if ((*at != '\'' && *at != '"') || string_end(at, end) != end) return code(n, TOMO_JINJA_VALUE, at, end);
    for (at++; at < end - 1;) {
        char c = string_char(&at, end - 1);
        add_text(n, &c, 1);
    }
    return true;
}

/* {{ a + 'b' + c }}, term by term. */
static bool sum(normaliser *n, const char *at, const char *end) {
    const char *begin = at;
    int depth = 0;
    while (at < end) {
        if (*at == '\'' || *at == '"') {
            at = string_end(at, end);
            if (at == NULL) return false;
            continue;
        }
        if (*at == '(' || *at == '[') depth++;
        if (*at == ')' || *at == ']') depth--;
        if (*at == '+' && depth == 0) {
            if (!term(n, begin, at)) return false;
            begin = at + 1;
        }
        at++;
    }
    return term(n, begin, end);
}

/* Where the tag that opens at `at` closes (at its '}' pair, or the '-' before it); NULL when it does not. */
static const char *tag_close(const char *at, const char *end) {
    const char close = at[1] == '{' ? '}' : at[1];
    for (at += 2; at + 1 < end;) {
        if (close != '#' && (*at == '\'' || *at == '"')) {
            at = string_end(at, end);
            if (at == NULL) return NULL;
            continue;
        }
        if (at[0] == close && at[1] == '}') return at;
        at++;
    }
    return NULL;
}

/* Raw text before a tag: `dashed` tags take the white space, blocks what stands before them on their line. */
static void raw_text(normaliser *n, const char *begin, const char *end, bool first, const char *tag) {
    if (tag != NULL && tag[2] == '-') {
        while (end > begin && isspace((unsigned char)end[-1])) end--;
    } else if (tag != NULL && tag[1] != '{') {
        const char *blank = end;
        while (blank > begin && (blank[-1] == ' ' || blank[-1] == '\t')) blank--;
        if ((blank == begin && first) || (blank > begin && blank[-1] == '\n')) end = blank;
    }
    add_text(n, begin, (size_t)(end - begin));
}

/* Runs one tag; returns where the text behind it begins, or NULL. */
static const char *run_tag(normaliser *n, const char *tag) {
    const char *close = tag_close(tag, n->end), *inner = tag + 2;
    if (close == NULL) return NULL;
    bool dashed = close > inner && close[-1] == '-';
    const char *inner_end = dashed ? close - 1 : close;
    if (inner < inner_end && (*inner == '-' || *inner == '+')) inner++;
    bool done = tag[1] == '#'   ? true
                : tag[1] == '{' ? sum(n, inner, inner_end)
                                : code(n, TOMO_JINJA_BLOCK, inner, inner_end);
    if (!done) return NULL;
    const char *behind = close + 2;
    if (dashed) {
        while (behind < n->end && isspace((unsigned char)*behind)) behind++;
    } else if (tag[1] != '{' && behind < n->end && *behind == '\n') {
        behind++; /* trim_blocks */
    }
    return behind;
}

static const char *find_tag(const char *at, const char *end) {
    for (; at + 2 < end; at++) {
        if (at[0] == '{' && (at[1] == '{' || at[1] == '%' || at[1] == '#')) return at;
    }
    return NULL;
}

bool tomo_jinja_normalise(const char *text, tomo_buffer *out) {
    normaliser n = {.at = text, .end = text + strlen(text), .out = out};
    if (n.end > n.at && n.end[-1] == '\n') n.end--; /* keep_trailing_newline is off */
    while (n.at < n.end) {
        const char *tag = find_tag(n.at, n.end);
        raw_text(&n, n.at, tag == NULL ? n.end : tag, n.at == text, tag);
        if (tag == NULL) break;
        n.at = run_tag(&n, tag);
        if (n.at == NULL) return false;
    }
    end_text(&n);
    return !out->failed;
}
