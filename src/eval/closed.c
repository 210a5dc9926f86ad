#include "eval/closed.h"

#include <string.h>

bool tomo_closed_is_right(tomo_csv_field choice, tomo_csv_field answer) {
    for (size_t i = 0; i + choice.size < answer.size; i++) {
        if (memcmp(answer.text + i, choice.text, choice.size) == 0 && answer.text[i + choice.size] == '.') {
            return true;
        }
    }
    return false;
}

/* Letters and digits of ASCII, and every byte of other characters, most of which are letters. */
static bool is_word(tomo_csv_field text, size_t i) {
    if (i >= text.size) return false;
    unsigned char c = (unsigned char)text.text[i];
    return (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || c == '_' || c >= 0x80;
}

static bool is_capital(char c) {
    return c >= 'A' && c <= 'Z';
}

/* Only white space from i on. */
static bool is_end(tomo_csv_field text, size_t i) {
    while (i < text.size && strchr(" \t\r\n", text.text[i]) != NULL && text.text[i] != '\0') i++;
    return i >= text.size;
}

static bool is_named_at(tomo_csv_field text, size_t i) {
    if (!is_capital(text.text[i]) || (i > 0 && is_word(text, i - 1)) || is_word(text, i + 1)) return false;
    if (is_end(text, i + 1)) return true;
    return strchr(".):", text.text[i + 1]) != NULL && text.text[i + 1] != '\0';
}

bool tomo_closed_is_strictly_right(tomo_csv_field choice, tomo_csv_field answer) {
    char named = '\0';
    for (size_t i = 0; i < answer.size; i++) {
        if (!is_named_at(answer, i)) continue;
        if (named != '\0' && named != answer.text[i]) return false;
        named = answer.text[i];
    }
    return choice.size == 1 && named == choice.text[0];
}
