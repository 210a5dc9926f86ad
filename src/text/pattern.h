/* pattern.h - the regular expressions by which pre-tokenizers cut text. Private to src/text.
 *
 * They are written for Oniguruma with the character classes of Unicode 16. PCRE2 runs them here, but it never
 * sees Unicode: every set of characters in the expression is evaluated with our own tables, characters that
 * no set of the expression tells apart share one byte, and PCRE2 matches a text of such bytes, one for each
 * character. So the version of Unicode is ours, and matching is as fast as for ASCII. What of Oniguruma's
 * syntax is not translated is refused by name. */
#ifndef TOMO_TEXT_PATTERN_H
#define TOMO_TEXT_PATTERN_H

#include "base/status.h"

typedef struct tomo_pattern tomo_pattern; /* immutable: any number of threads may use one */

/* file: for messages. literal: `text` stands for itself. */
tomo_status tomo_pattern_compile(const char *file, const char *text, bool literal, tomo_pattern **pattern,
                                 tomo_error *err);
void tomo_pattern_free(tomo_pattern *pattern);

/* Memory for matching; one for each thread. Start with {0}. */
typedef struct tomo_matcher {
    void *data; /* pcre2_match_data */
    void *limits;
    unsigned char *classes;
    size_t capacity;
} tomo_matcher;
void tomo_matcher_free(tomo_matcher *matcher);

/* Gets one part of the text after another, in order, together all of it; none is empty. */
typedef tomo_status (*tomo_span_fn)(void *user, size_t begin, size_t end, bool matched, tomo_error *err);

/* Cuts text[size] (valid UTF-8) at every match: matches, and what lies between them. */
tomo_status tomo_pattern_split(const tomo_pattern *pattern, tomo_matcher *matcher, const unsigned char *text,
                               size_t size, tomo_span_fn span, void *user, tomo_error *err);

#endif
