/* tokens.c - the tokenizers of BLEU and ROUGE, and words by way of sentences. Treebank's rules: treebank.c.
 */
#include "eval/tokens.h"

#include "eval/rewrite.h"

#include <string.h>

static bool reserve(tomo_arena *arena, size_t count, tomo_tokens *tokens) {
    tokens->items = tomo_arena_alloc(arena, (count + 1) * sizeof *tokens->items);
    tokens->count = 0;
    return tokens->items != NULL;
}

void tomo_tokens_add_split(tomo_points text, tomo_tokens *tokens) {
    for (size_t i = 0; i < text.count;) {
        while (i < text.count && tomo_point_is_space(text.at[i])) i++;
        size_t begin = i;
        while (i < text.count && !tomo_point_is_space(text.at[i])) i++;
        if (i > begin) tokens->items[tokens->count++] = (tomo_points){text.at + begin, i - begin};
    }
}

/* ------------------------------------------------------------------------------ 13a */

static bool stands_at(const tomo_rewrite *r, size_t i, const char *ascii) {
    size_t n = strlen(ascii);
    if (n > r->count - i) return false;
    for (size_t k = 0; k < n; k++) {
        if (r->in[i + k] != (unsigned char)ascii[k]) return false;
    }
    return true;
}

static void replace(tomo_rewrite *r, const char *from, const char *to) {
    for (size_t i = 0; i < r->count;) {
        if (stands_at(r, i, from)) {
            tomo_rewrite_put_text(r, to);
            i += strlen(from);
        } else {
            tomo_rewrite_put(r, r->in[i++]);
        }
    }
    tomo_rewrite_next(r);
}

static bool is_digit(uint32_t c) {
    return c >= '0' && c <= '9';
}

/* The class {-~ [-` space-& (-+ :-@ / of the first expression, ASCII punctuation but ' , - ., as bits by code
 * point. */
static bool is_symbol(uint32_t c) {
    static const uint64_t bits[2] = {0xfc008f7f00000000u, 0x78000001f8000001u};
    return c < 0x80 && (bits[c / 64] >> c % 64 & 1) != 0;
}

static bool is_mark(uint32_t c) {
    return c == '.' || c == ',';
}

/* A space, which is a symbol too, stays one space: none of the later expressions needs it twice. */
static void pad_symbols(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (r->in[i] != ' ' && is_symbol(r->in[i])) {
            tomo_rewrite_pad(r, i, i + 1);
        } else {
            tomo_rewrite_put(r, r->in[i]);
        }
    }
    tomo_rewrite_next(r);
}

/* ([^0-9])([.,]) -> "\1 \2 " */
static void split_marks_after_words(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        tomo_rewrite_put(r, r->in[i]);
        if (!is_digit(r->in[i]) && i + 1 < r->count && is_mark(r->in[i + 1])) {
            i++;
            tomo_rewrite_pad(r, i, i + 1);
        }
    }
    tomo_rewrite_next(r);
}

/* ([.,])([^0-9]) -> " \1 \2" */
static void split_marks_before_words(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        if (is_mark(r->in[i]) && i + 1 < r->count && !is_digit(r->in[i + 1])) {
            tomo_rewrite_pad(r, i, i + 1);
            i++;
        }
        tomo_rewrite_put(r, r->in[i]);
    }
    tomo_rewrite_next(r);
}

/* ([0-9])(-) -> "\1 \2 " */
static void split_dashes_after_digits(tomo_rewrite *r) {
    for (size_t i = 0; i < r->count; i++) {
        tomo_rewrite_put(r, r->in[i]);
        if (is_digit(r->in[i]) && i + 1 < r->count && r->in[i + 1] == '-') {
            i++;
            tomo_rewrite_pad(r, i, i + 1);
        }
    }
    tomo_rewrite_next(r);
}

/* The replacements in front of the four expressions; most texts hold nothing to replace. */
static void replace_entities(tomo_rewrite *r) {
    bool opens = false, breaks = false, ampersand = false;
    for (size_t i = 0; i < r->count; i++) {
        opens = opens || r->in[i] == '<';
        breaks = breaks || r->in[i] == '\n';
        ampersand = ampersand || r->in[i] == '&';
    }
    if (opens) replace(r, "<skipped>", "");
    if (breaks) replace(r, "-\n", "");
    if (breaks) replace(r, "\n", " ");
    if (!ampersand) return;
    replace(r, "&quot;", "\"");
    replace(r, "&amp;", "&");
    replace(r, "&lt;", "<");
    replace(r, "&gt;", ">");
}

bool tomo_tokens_bleu(tomo_arena *arena, tomo_points text, tomo_tokens *tokens) {
    tomo_rewrite r;
    if (!reserve(arena, text.count, tokens)) return false;
    tomo_rewrite_begin(&r, arena, text);
    replace_entities(&r);
    tomo_rewrite_pad(&r, 0, r.count);
    tomo_rewrite_next(&r);
    bool marks = false, dashes = false;
    for (size_t i = 0; i < r.count; i++) {
        marks = marks || is_mark(r.in[i]);
        dashes = dashes || r.in[i] == '-';
    }
    pad_symbols(&r);
    if (marks) split_marks_after_words(&r);
    if (marks) split_marks_before_words(&r);
    if (dashes) split_dashes_after_digits(&r);
    if (r.failed) return false;
    tomo_tokens_add_split((tomo_points){r.in, r.count}, tokens);
    return true;
}

/* ------------------------------------------------------------------------------ ROUGE */

static bool is_rouge_letter(uint32_t c) {
    return (c >= 'a' && c <= 'z') || is_digit(c);
}

bool tomo_tokens_rouge(tomo_arena *arena, tomo_points text, tomo_tokens *tokens) {
    tomo_points lower;
    if (!tomo_points_lower(arena, text, &lower) || !reserve(arena, lower.count, tokens)) return false;
    for (size_t i = 0; i < lower.count;) {
        while (i < lower.count && !is_rouge_letter(lower.at[i])) i++;
        size_t begin = i;
        while (i < lower.count && is_rouge_letter(lower.at[i])) i++;
        if (i > begin) tokens->items[tokens->count++] = (tomo_points){lower.at + begin, i - begin};
    }
    return true;
}

/* ------------------------------------------------------------------------------ words */

bool tomo_tokens_words(tomo_arena *arena, const tomo_punkt *punkt, tomo_points text, tomo_tokens *tokens) {
    tomo_sentences sentences;
    if (!reserve(arena, text.count, tokens) || !tomo_punkt_split(punkt, arena, text, &sentences))
        return false;
    for (size_t i = 0; i < sentences.count; i++) {
        if (!tomo_tokens_add_sentence(arena, sentences.items[i], tokens)) return false;
    }
    return true;
}
