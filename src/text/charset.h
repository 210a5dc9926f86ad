/* charset.h - a set of characters as a regular expression writes it. Private to src/text. */
#ifndef TOMO_TEXT_CHARSET_H
#define TOMO_TEXT_CHARSET_H

#include "text/unicode.h"

/* More items than any published pattern has in one set. */
#define TOMO_CHARSET_ITEMS 64

typedef enum tomo_charset_kind {
    TOMO_CHARSET_RANGE,
    TOMO_CHARSET_CATEGORIES, /* \p{...}, \d */
    TOMO_CHARSET_SPACE,      /* \s */
    TOMO_CHARSET_WORD        /* \w of Oniguruma */
} tomo_charset_kind;

typedef struct tomo_charset_item {
    tomo_charset_kind kind;
    bool negated;
    uint32_t first, last;
    uint32_t categories; /* bit mask of tomo_category */
} tomo_charset_item;

typedef struct tomo_charset {
    tomo_charset_item items[TOMO_CHARSET_ITEMS];
    size_t count;
    bool negated;
    bool fold; /* letter case does not count; items are then ASCII */
} tomo_charset;

/* False when the set is full. */
bool tomo_charset_add(tomo_charset *set, tomo_charset_item item);
/* category: of the code point, which a caller with many sets looks up once. */
bool tomo_charset_has(const tomo_charset *set, uint32_t code_point, tomo_category category);
bool tomo_charset_equal(const tomo_charset *a, const tomo_charset *b);

/* The categories of \p{NAME}: "L", "Lu", "Letter"...; false for names that are not known. */
bool tomo_charset_category(const char *name, size_t size, uint32_t *categories);

#endif
