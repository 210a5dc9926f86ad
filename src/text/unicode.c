#include "text/unicode.h"

tomo_category tomo_unicode_category(uint32_t c) {
    size_t low = 0, high = tomo_unicode_range_count; /* the range begins in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (tomo_unicode_ranges[middle] >> 8 <= c) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return (tomo_category)(tomo_unicode_ranges[low] & 0xff);
}

bool tomo_unicode_is_space(uint32_t c) {
    if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
    if (c == 0x85) return true;
    tomo_category g = tomo_unicode_category(c);
    return g == TOMO_ZS || g == TOMO_ZL || g == TOMO_ZP;
}

/* Letters that are symbols by category (Other_Alphabetic): circled, squared and in parentheses. */
static bool is_enclosed_letter(uint32_t c) {
    return (c >= 0x24b6 && c <= 0x24e9) || (c >= 0x1f130 && c <= 0x1f149) || (c >= 0x1f150 && c <= 0x1f169) ||
           (c >= 0x1f170 && c <= 0x1f189);
}

bool tomo_unicode_is_word(uint32_t c) {
    if (c == 0x200c || c == 0x200d) return true;
    tomo_category g = tomo_unicode_category(c);
    return g <= TOMO_NL || g == TOMO_PC || is_enclosed_letter(c);
}

/* Length of the character that a first byte announces, and the bounds of its second byte; 0: no first byte.
 */
static size_t announced(unsigned char first, unsigned char *low, unsigned char *high) {
    *low = 0x80;
    *high = 0xbf;
    if (first >= 0xc2 && first <= 0xdf) return 2;
    if (first >= 0xe0 && first <= 0xef) {
        if (first == 0xe0) *low = 0xa0;
        if (first == 0xed) *high = 0x9f; /* no surrogates */
        return 3;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        if (first == 0xf0) *low = 0x90;
        if (first == 0xf4) *high = 0x8f;
        return 4;
    }
    return 0;
}

size_t tomo_utf8_next(const unsigned char *bytes, size_t size, uint32_t *code_point, bool *cut) {
    if (cut != NULL) *cut = false;
    *code_point = bytes[0];
    if (bytes[0] < 0x80) return 1;
    unsigned char low, high;
    size_t length = announced(bytes[0], &low, &high);
    *code_point = 0xfffd;
    if (length == 0) return 1;
    uint32_t c = bytes[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (i == size) {
            if (cut != NULL) *cut = true;
            return i;
        }
        if (bytes[i] < low || bytes[i] > high) return i;
        c = c << 6 | (bytes[i] & 0x3fu);
        low = 0x80;
        high = 0xbf;
    }
    *code_point = c;
    return length;
}

size_t tomo_utf8_put(uint32_t c, unsigned char *bytes) {
    if (c < 0x80) {
        bytes[0] = (unsigned char)c;
        return 1;
    }
    size_t length = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, c >>= 6) bytes[i] = (unsigned char)(0x80 | (c & 0x3f));
    bytes[0] = (unsigned char)((0xf00u >> length & 0xf0u) | c);
    return length;
}

bool tomo_utf8_repair(const unsigned char *bytes, size_t size, tomo_buffer *out) {
    size_t good = 0; /* where the bytes begin that are not yet written */
    for (size_t at = 0, length; at < size; at += length) {
        uint32_t c;
        length = tomo_utf8_next(bytes + at, size - at, &c, NULL);
        /* U+FFFD that stands in the text has three bytes EF BF BD; an invalid part has other bytes. */
        if (c != 0xfffd || (length == 3 && bytes[at] == 0xef)) continue;
        if (at > good) (void)tomo_buffer_add(out, bytes + good, at - good);
        (void)tomo_buffer_add(out, "\xef\xbf\xbd", 3);
        good = at + length;
    }
    if (size > good) (void)tomo_buffer_add(out, bytes + good, size - good);
    return !out->failed;
}
