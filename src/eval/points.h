/* points.h - texts as Python's str has them: code points, its white space, lower() and character classes. The
 * scores are defined on these, and Python's answers differ from those of C and PCRE2 at the edges (U+001C to
 * U+001F are white space, U+200B is not, the final sigma). Private to src/eval. */
#ifndef TOMO_EVAL_POINTS_H
#define TOMO_EVAL_POINTS_H

#include "base/arena.h"
#include "base/status.h"

#include <string.h>

/* A piece of a text that somebody else owns. */
typedef struct tomo_points {
    const uint32_t *at;
    size_t count;
} tomo_points;

/* Functions that take an arena return false when out of memory; what they make lives there. */

/* utf8[size] is valid UTF-8 (tomo_csv_open sees to it); what is not becomes U+FFFD. */
bool tomo_points_decode(tomo_arena *arena, const char *utf8, size_t size, tomo_points *text);
/* Writes at most `room` bytes of UTF-8 and no '\0'; returns the bytes written, or SIZE_MAX when they do not
 * fit. 4 bytes a code point always do. */
size_t tomo_points_encode(tomo_points text, char *utf8, size_t room);

/* str.strip(). */
tomo_points tomo_points_strip(tomo_points text);
/* str.lower(). */
bool tomo_points_lower(tomo_arena *arena, tomo_points text, tomo_points *lower);

/* Inline: words are short. */
static inline bool tomo_points_equal(tomo_points a, tomo_points b) {
    if (a.count != b.count) return false;
    for (size_t i = 0; i < a.count; i++) {
        if (a.at[i] != b.at[i]) return false;
    }
    return true;
}
bool tomo_points_equal_text(tomo_points text, const char *ascii);
/* Inline, so that the length of a constant is one. */
static inline bool tomo_points_end_with(tomo_points text, const char *ascii) {
    size_t n = strlen(ascii);
    if (n > text.count) return false;
    for (size_t i = 0; i < n; i++) {
        if (text.at[text.count - n + i] != (unsigned char)ascii[i]) return false;
    }
    return true;
}
uint64_t tomo_points_hash(tomo_points text);

/* Whether c is one of a few ASCII characters. */
static inline bool tomo_point_is_among(uint32_t c, const char *ascii) {
    for (; *ascii != '\0'; ascii++) {
        if (c == (unsigned char)*ascii) return true;
    }
    return false;
}
/* What the classes below say of characters beyond ASCII. */
bool tomo_point_is_space_beyond(uint32_t c);
bool tomo_point_is_word_beyond(uint32_t c);
bool tomo_point_is_digit_beyond(uint32_t c);
uint32_t tomo_point_fold_beyond(uint32_t c);

/* \s and isspace. */
static inline bool tomo_point_is_space(uint32_t c) {
    if (c >= 0x80) return tomo_point_is_space_beyond(c);
    return c == ' ' || (c >= 0x9 && c <= 0xd) || (c >= 0x1c && c <= 0x1f);
}
/* \d: decimal digits of every script. */
static inline bool tomo_point_is_digit(uint32_t c) {
    return c < 0x80 ? c >= '0' && c <= '9' : tomo_point_is_digit_beyond(c);
}
/* \w: letters, numbers, the underscore. */
static inline bool tomo_point_is_word(uint32_t c) {
    if (c >= 0x80) return tomo_point_is_word_beyond(c);
    return ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c >= '0' && c <= '9') || c == '_';
}
/* How re.IGNORECASE compares with a small ASCII letter. */
static inline uint32_t tomo_point_fold(uint32_t c) {
    if (c >= 0x80) return tomo_point_fold_beyond(c);
    return c >= 'A' && c <= 'Z' ? c | 0x20 : c;
}
bool tomo_point_is_upper(uint32_t c);
bool tomo_point_is_lower(uint32_t c);

#endif
