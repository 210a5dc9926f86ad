#include "eval/points.h"

#include <utf8proc.h>

typedef struct range {
    uint32_t first, last;
} range;

static bool in_ranges(const range *ranges, size_t n, uint32_t c) {
    for (size_t i = 0; i < n && ranges[i].first <= c; i++) {
        if (c <= ranges[i].last) return true;
    }
    return false;
}
#define IN(ranges, c) in_ranges(ranges, sizeof(ranges) / sizeof(ranges)[0], c)

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

/* ------------------------------------------------------------------------------ classes */

bool tomo_point_is_space_beyond(uint32_t c) {
    static const range spaces[] = {{0x85, 0x85},     {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                                   {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}};
    return IN(spaces, c);
}

bool tomo_point_is_word_beyond(uint32_t c) {
    utf8proc_category_t k = category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO) ||
           (k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO);
}

bool tomo_point_is_digit_beyond(uint32_t c) {
    return category(c) == UTF8PROC_CATEGORY_ND;
}

/* Unicode's Other_Uppercase and Other_Lowercase: Roman numerals, circled and raised letters. */
bool tomo_point_is_upper(uint32_t c) {
    static const range other[] = {
        {0x2160, 0x216f}, {0x24b6, 0x24cf}, {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};
    if (c < 0x80) return c >= 'A' && c <= 'Z';
    return category(c) == UTF8PROC_CATEGORY_LU || IN(other, c);
}

bool tomo_point_is_lower(uint32_t c) {
    static const range other[] = {
        {0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},     {0x2c0, 0x2c1},    {0x2e0, 0x2e4},
        {0x345, 0x345},     {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},  {0x1d9b, 0x1dbf},
        {0x2071, 0x2071},   {0x207f, 0x207f},   {0x2090, 0x209c},   {0x2170, 0x217f},  {0x24d0, 0x24e9},
        {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},   {0xa7f8, 0xa7f9},  {0xab5c, 0xab5f},
        {0x10780, 0x10780}, {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba}};
    if (c < 0x80) return c >= 'a' && c <= 'z';
    return category(c) == UTF8PROC_CATEGORY_LL || IN(other, c);
}

uint32_t tomo_point_fold_beyond(uint32_t c) {
    switch (c) {
    case 0x130:
    case 0x131:
        return 'i';
    case 0x17f:
        return 's';
    case 0x212a:
        return 'k';
    default:
        return c;
    }
}

/* ------------------------------------------------------------------------------ bytes */

bool tomo_points_decode(tomo_arena *arena, const char *utf8, size_t size, tomo_points *text) {
    uint32_t *out = tomo_arena_alloc(arena, (size + 1) * sizeof *out);
    size_t used = 0;
    if (out == NULL) return false;
    for (size_t i = 0; i < size;) {
        unsigned char byte = (unsigned char)utf8[i];
        if (byte < 0x80) {
            out[used++] = byte;
            i++;
            continue;
        }
        utf8proc_int32_t c = 0xfffd;
        size_t left = size - i;
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)utf8 + i, left < 4 ? (utf8proc_ssize_t)left : 4, &c);
        out[used++] = length > 0 ? (uint32_t)c : 0xfffd;
        i += length > 0 ? (size_t)length : 1;
    }
    *text = (tomo_points){out, used};
    return true;
}

size_t tomo_points_encode(tomo_points text, char *utf8, size_t room) {
    size_t used = 0;
    for (size_t i = 0; i < text.count; i++) {
        utf8proc_uint8_t bytes[4];
        size_t n = (size_t)utf8proc_encode_char((utf8proc_int32_t)text.at[i], bytes);
        if (n > room - used) return SIZE_MAX;
        memcpy(utf8 + used, bytes, n);
        used += n;
    }
    return used;
}

/* ------------------------------------------------------------------------------ lower() */

/* Unicode's Cased: what a capital sigma looks for on both sides. */
static bool is_cased(uint32_t c) {
    return tomo_point_is_upper(c) || tomo_point_is_lower(c) || category(c) == UTF8PROC_CATEGORY_LT;
}

/* Unicode's Case_Ignorable: marks, modifiers, and what may stand inside a word. */
static bool is_case_ignorable(uint32_t c) {
    static const range inside[] = {{0x27, 0x27},     {0x2e, 0x2e},     {0x3a, 0x3a},     {0xb7, 0xb7},
                                   {0x387, 0x387},   {0x55f, 0x55f},   {0x5f4, 0x5f4},   {0x2018, 0x2019},
                                   {0x2024, 0x2024}, {0x2027, 0x2027}, {0xfe13, 0xfe13}, {0xfe52, 0xfe52},
                                   {0xfe55, 0xfe55}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}};
    switch (category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return IN(inside, c);
    }
}

/* A capital sigma at the end of a word becomes the final one. */
static uint32_t lower_sigma(tomo_points text, size_t i) {
    size_t before = i, after = i + 1;
    while (before > 0 && is_case_ignorable(text.at[before - 1])) before--;
    while (after < text.count && is_case_ignorable(text.at[after])) after++;
    bool is_final =
        before > 0 && is_cased(text.at[before - 1]) && !(after < text.count && is_cased(text.at[after]));
    return is_final ? 0x3c2 : 0x3c3;
}

bool tomo_points_lower(tomo_arena *arena, tomo_points text, tomo_points *lower) {
    /* Only U+0130 becomes longer: i and a dot above. */
    uint32_t *out = tomo_arena_alloc(arena, (text.count + 1) * 2 * sizeof *out);
    size_t used = 0;
    if (out == NULL) return false;
    for (size_t i = 0; i < text.count; i++) {
        uint32_t c = text.at[i];
        if (c < 0x80) {
            out[used++] = c >= 'A' && c <= 'Z' ? c | 0x20 : c;
        } else if (c == 0x130) {
            out[used++] = 'i';
            out[used++] = 0x307;
        } else {
            out[used++] = c == 0x3a3 ? lower_sigma(text, i) : (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
        }
    }
    *lower = (tomo_points){out, used};
    return true;
}

/* ------------------------------------------------------------------------------ pieces */

tomo_points tomo_points_strip(tomo_points text) {
    while (text.count > 0 && tomo_point_is_space(text.at[0])) {
        text.at++;
        text.count--;
    }
    while (text.count > 0 && tomo_point_is_space(text.at[text.count - 1])) text.count--;
    return text;
}

bool tomo_points_equal_text(tomo_points text, const char *ascii) {
    return text.count == strlen(ascii) && tomo_points_end_with(text, ascii);
}

/* Two code points a step, as the products wait for each other. An odd factor carries upwards alone, so the
 * upper half is folded into the lower one, from which places in tables are taken. */
uint64_t tomo_points_hash(tomo_points text) {
    const uint64_t factor = 0x9e3779b97f4a7c15u;
    uint64_t hash = text.count;
    size_t i = 0;
    for (; i + 1 < text.count; i += 2) hash = (hash ^ text.at[i] ^ (uint64_t)text.at[i + 1] << 32) * factor;
    if (i < text.count) hash = (hash ^ text.at[i]) * factor;
    hash = (hash ^ hash >> 32) * factor;
    return hash ^ hash >> 29;
}
