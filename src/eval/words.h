/* words.h - the words of one pair of texts, numbered from 0: equal words have equal numbers. Private to
 * src/eval. */
#ifndef TOMO_EVAL_WORDS_H
#define TOMO_EVAL_WORDS_H

#include "eval/points.h"

typedef struct tomo_words {
    tomo_points *items; /* by number */
    int32_t *places;    /* a hash table: a number, or -1 */
    size_t count, mask;
} tomo_words;

/* Room for `most` different words, in the arena; false when out of memory. */
bool tomo_words_create(tomo_arena *arena, size_t most, tomo_words *words);
/* The word's number, a new one where it has none. */
int32_t tomo_words_add(tomo_words *words, tomo_points word);
/* The word's number, or -1. */
int32_t tomo_words_find(const tomo_words *words, tomo_points word);

#endif
