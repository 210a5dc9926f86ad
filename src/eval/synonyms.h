/* synonyms.h - WordNet's synonyms of the words seen so far: reports repeat few words, and a look into WordNet
 * costs a thousand times more than one into this table. One for each thread. Private to src/eval. */
#ifndef TOMO_EVAL_SYNONYMS_H
#define TOMO_EVAL_SYNONYMS_H

#include "eval/points.h"
#include "eval/wordnet.h"

typedef struct tomo_synonyms tomo_synonyms;

/* wordnet must outlive it; NULL when out of memory. */
tomo_synonyms *tomo_synonyms_create(const tomo_wordnet *wordnet);
void tomo_synonyms_free(tomo_synonyms *synonyms);

typedef struct tomo_synonym_list {
    const tomo_points *items; /* different names, without the word itself; valid until the next call */
    size_t count;
} tomo_synonym_list;

/* False when out of memory. */
bool tomo_synonyms_of(tomo_synonyms *synonyms, tomo_points word, tomo_synonym_list *list);

#endif
