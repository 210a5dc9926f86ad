/* unicode.h - UTF-8, character classes and normalisation, as the tokenizers library (0.23) has them: classes
 * of Unicode 16, NFC of Unicode 9. Private to src/text. */
#ifndef TOMO_TEXT_UNICODE_H
#define TOMO_TEXT_UNICODE_H

#include "base/buffer.h"
#include "base/status.h"

/* General categories, in the order of scripts/make_unicode_table.py. */
typedef enum tomo_category {
    TOMO_LU,
    TOMO_LL,
    TOMO_LT,
    TOMO_LM,
    TOMO_LO,
    TOMO_MN,
    TOMO_MC,
    TOMO_ME,
    TOMO_ND,
    TOMO_NL,
    TOMO_NO,
    TOMO_PC,
    TOMO_PD,
    TOMO_PS,
    TOMO_PE,
    TOMO_PI,
    TOMO_PF,
    TOMO_PO,
    TOMO_SM,
    TOMO_SC,
    TOMO_SK,
    TOMO_SO,
    TOMO_ZS,
    TOMO_ZL,
    TOMO_ZP,
    TOMO_CC,
    TOMO_CF,
    TOMO_CS,
    TOMO_CO,
    TOMO_CN,
    TOMO_CATEGORY_COUNT
} tomo_category;

/* The tables of unicode_table.c. */
extern const uint32_t tomo_unicode_ranges[];
extern const size_t tomo_unicode_range_count;
extern const uint32_t tomo_unicode_later[][2];
extern const size_t tomo_unicode_later_count;

tomo_category tomo_unicode_category(uint32_t code_point);
/* White_Space: U+0085, U+00A0, U+2028 and so on; not U+180E, U+200B, U+001C. */
bool tomo_unicode_is_space(uint32_t code_point);
/* \w of Rust's regex: letters, marks, decimal and letter numbers, connectors, joiners, circled letters. */
bool tomo_unicode_is_word(uint32_t code_point);

/* Decodes the character at the front of bytes[size], size > 0; returns its length. Where the bytes are no
 * UTF-8, *code_point is U+FFFD and the length that of the longest part that could have begun a character (as
 * Rust's from_utf8_lossy and WHATWG replace); *cut tells that only more bytes could decide. cut may be NULL.
 */
size_t tomo_utf8_next(const unsigned char *bytes, size_t size, uint32_t *code_point, bool *cut);
/* Writes 1 to 4 bytes and returns how many. */
size_t tomo_utf8_put(uint32_t code_point, unsigned char *bytes);
/* Appends text with each invalid part as U+FFFD. */
bool tomo_utf8_repair(const unsigned char *bytes, size_t size, tomo_buffer *out);

/* Appends the NFC of valid UTF-8. Linear in time, whatever combining marks follow one another. */
tomo_status tomo_unicode_nfc(const unsigned char *text, size_t size, tomo_buffer *out, tomo_error *err);

#endif
