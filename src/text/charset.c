#include "text/charset.h"

#include <string.h>

bool tomo_charset_add(tomo_charset *set, tomo_charset_item item) {
    if (set->count == TOMO_CHARSET_ITEMS) return false;
    set->items[set->count++] = item;
    return true;
}

/* Oniguruma counts these numbers among word characters, beside what Unicode does. */
static bool is_onig_word(uint32_t c) {
    if (c == 0x200c || c == 0x200d) return false;
    return tomo_unicode_is_word(c) || c == 0xb2 || c == 0xb3 || c == 0xb9 || (c >= 0xbc && c <= 0xbe);
}

static bool item_has(const tomo_charset_item *item, uint32_t c, tomo_category category) {
    bool has = false;
    switch (item->kind) {
    case TOMO_CHARSET_RANGE:
        has = c >= item->first && c <= item->last;
        break;
    case TOMO_CHARSET_CATEGORIES:
        has = (item->categories >> category & 1) != 0;
        break;
    case TOMO_CHARSET_SPACE:
        has = tomo_unicode_is_space(c);
        break;
    case TOMO_CHARSET_WORD:
        has = is_onig_word(c);
        break;
    }
    return has != item->negated;
}

static bool any_has(const tomo_charset *set, uint32_t c, tomo_category category) {
    for (size_t i = 0; i < set->count; i++) {
        if (item_has(&set->items[i], c, category)) return true;
    }
    return false;
}

/* The ASCII letter that a character equals without regard to case, in lower case: beside the letters
 * themselves, U+017F (long s) and U+212A (Kelvin). */
static uint32_t fold(uint32_t c) {
    if (c >= 'A' && c <= 'Z') return c - 'A' + 'a';
    return c == 0x17f ? 's' : c == 0x212a ? 'k' : c;
}

bool tomo_charset_has(const tomo_charset *set, uint32_t c, tomo_category category) {
    bool has = any_has(set, c, category);
    if (!has && set->fold) { /* the set has ASCII ranges alone, so categories play no part */
        uint32_t folded = fold(c);
        has =
            folded < 0x80 && (any_has(set, folded, category) ||
                              (folded >= 'a' && folded <= 'z' && any_has(set, folded - 'a' + 'A', category)));
    }
    return has != set->negated;
}

bool tomo_charset_equal(const tomo_charset *a, const tomo_charset *b) {
    if (a->count != b->count || a->negated != b->negated || a->fold != b->fold) return false;
    for (size_t i = 0; i < a->count; i++) {
        const tomo_charset_item *x = &a->items[i], *y = &b->items[i];
        if (x->kind != y->kind || x->negated != y->negated || x->first != y->first || x->last != y->last ||
            x->categories != y->categories) {
            return false;
        }
    }
    return true;
}

#define BIT(category) (UINT32_C(1) << (category))
#define LETTERS (BIT(TOMO_LU) | BIT(TOMO_LL) | BIT(TOMO_LT) | BIT(TOMO_LM) | BIT(TOMO_LO))
#define MARKS (BIT(TOMO_MN) | BIT(TOMO_MC) | BIT(TOMO_ME))
#define NUMBERS (BIT(TOMO_ND) | BIT(TOMO_NL) | BIT(TOMO_NO))
#define PUNCTUATION                                                                                          \
    (BIT(TOMO_PC) | BIT(TOMO_PD) | BIT(TOMO_PS) | BIT(TOMO_PE) | BIT(TOMO_PI) | BIT(TOMO_PF) | BIT(TOMO_PO))
#define SYMBOLS (BIT(TOMO_SM) | BIT(TOMO_SC) | BIT(TOMO_SK) | BIT(TOMO_SO))
#define SEPARATORS (BIT(TOMO_ZS) | BIT(TOMO_ZL) | BIT(TOMO_ZP))
#define OTHERS (BIT(TOMO_CC) | BIT(TOMO_CF) | BIT(TOMO_CS) | BIT(TOMO_CO) | BIT(TOMO_CN))

bool tomo_charset_category(const char *name, size_t size, uint32_t *categories) {
    static const struct {
        const char *name;
        uint32_t categories;
    } names[] = {
        {"L", LETTERS},       {"Letter", LETTERS},  {"M", MARKS},         {"Mark", MARKS},
        {"N", NUMBERS},       {"Number", NUMBERS},  {"P", PUNCTUATION},   {"Punctuation", PUNCTUATION},
        {"S", SYMBOLS},       {"Symbol", SYMBOLS},  {"Z", SEPARATORS},    {"Separator", SEPARATORS},
        {"C", OTHERS},        {"Other", OTHERS},    {"Lu", BIT(TOMO_LU)}, {"Ll", BIT(TOMO_LL)},
        {"Lt", BIT(TOMO_LT)}, {"Lm", BIT(TOMO_LM)}, {"Lo", BIT(TOMO_LO)}, {"Mn", BIT(TOMO_MN)},
        {"Mc", BIT(TOMO_MC)}, {"Me", BIT(TOMO_ME)}, {"Nd", BIT(TOMO_ND)}, {"Nl", BIT(TOMO_NL)},
        {"No", BIT(TOMO_NO)}, {"Pc", BIT(TOMO_PC)}, {"Pd", BIT(TOMO_PD)}, {"Ps", BIT(TOMO_PS)},
        {"Pe", BIT(TOMO_PE)}, {"Pi", BIT(TOMO_PI)}, {"Pf", BIT(TOMO_PF)}, {"Po", BIT(TOMO_PO)},
        {"Sm", BIT(TOMO_SM)}, {"Sc", BIT(TOMO_SC)}, {"Sk", BIT(TOMO_SK)}, {"So", BIT(TOMO_SO)},
        {"Zs", BIT(TOMO_ZS)}, {"Zl", BIT(TOMO_ZL)}, {"Zp", BIT(TOMO_ZP)}, {"Cc", BIT(TOMO_CC)},
        {"Cf", BIT(TOMO_CF)}, {"Co", BIT(TOMO_CO)}, {"Cn", BIT(TOMO_CN)},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i].name) == size && memcmp(names[i].name, name, size) == 0) {
            *categories = names[i].categories;
            return true;
        }
    }
    return false;
}
