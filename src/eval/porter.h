/* porter.h - Porter's stemmer as nltk 3.9.1 has it by default (NLTK_EXTENSIONS): An algorithm for suffix
 * stripping, 1980, with Martin Porter's later rules and NLTK's own. Our own code, because the stemmers of
 * libstemmer (porter, english) give other stems for one word of the benchmark's language in sixty: kidney,
 * enjoy, dies, radiology. Private to src/eval. */
#ifndef TOMO_EVAL_PORTER_H
#define TOMO_EVAL_PORTER_H

#include "eval/points.h"

/* word: in small letters already (nltk lower-cases it first). The stem lives in the arena, or is the word
 * itself. False when out of memory. */
bool tomo_porter_stem(tomo_arena *arena, tomo_points word, tomo_points *stem);

#endif
