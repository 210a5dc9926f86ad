/* pattern_parse.h - an expression as syntax and character sets. Private to src/text. */
#ifndef TOMO_TEXT_PATTERN_PARSE_H
#define TOMO_TEXT_PATTERN_PARSE_H

#include "text/charset.h"

/* Distinct sets of one expression: as many as a signature of 64 bits can tell apart. */
#define TOMO_PATTERN_SETS 64
/* Characters of one expression; published ones have up to 500. */
#define TOMO_PATTERN_LENGTH 8192

/* What PCRE2 is given: characters of its syntax as they are, and numbers of sets as TOMO_PATTERN_SET +
 * number. */
#define TOMO_PATTERN_SET 0x100
typedef struct tomo_pattern_syntax {
    tomo_charset sets[TOMO_PATTERN_SETS];
    size_t set_count;
    uint16_t symbols[4 * TOMO_PATTERN_LENGTH];
    size_t symbol_count;
} tomo_pattern_syntax;

tomo_status tomo_pattern_parse(const char *file, const char *text, bool literal, tomo_pattern_syntax *syntax,
                               tomo_error *err);

#endif
