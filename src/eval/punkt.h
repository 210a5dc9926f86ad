/* punkt.h - sentences as nltk 3.9.1's PunktSentenceTokenizer finds them, with its English model (punkt_tab):
 * Kiss and Strunk, Unsupervised Multilingual Sentence Boundary Detection, 2006. Private to src/eval. */
#ifndef TOMO_EVAL_PUNKT_H
#define TOMO_EVAL_PUNKT_H

#include "eval/points.h"

/* The model, looked up by word; immutable, any number of threads may use one. */
typedef struct tomo_punkt tomo_punkt;

tomo_status tomo_punkt_create(tomo_punkt **punkt, tomo_error *err);
void tomo_punkt_free(tomo_punkt *punkt);

typedef struct tomo_sentences {
    tomo_points *items; /* pieces of the text; none is empty */
    size_t count;
} tomo_sentences;

/* False when out of memory. */
bool tomo_punkt_split(const tomo_punkt *punkt, tomo_arena *arena, tomo_points text,
                      tomo_sentences *sentences);

/* ------------------------------------------------------------------ the table, punkt_table.c */

/* What the model knows of a word: bits 1 to 6 are punkt's orthographic context. */
enum {
    TOMO_PUNKT_ABBREVIATION = 1,
    TOMO_PUNKT_BEGIN_UPPER = 2,
    TOMO_PUNKT_MID_UPPER = 4,
    TOMO_PUNKT_UNKNOWN_UPPER = 8,
    TOMO_PUNKT_BEGIN_LOWER = 16,
    TOMO_PUNKT_MID_LOWER = 32,
    TOMO_PUNKT_UNKNOWN_LOWER = 64,
    TOMO_PUNKT_STARTER = 128,    /* often begins sentences */
    TOMO_PUNKT_COLLOCATION = 256 /* "first\tsecond": a stop between the two ends no sentence */
};

typedef struct tomo_punkt_group {
    int flags;
    const char *words; /* ASCII, apart by single spaces (one inside a word is \v); a word may stand in several
                          groups */
} tomo_punkt_group;

extern const tomo_punkt_group tomo_punkt_groups[];
extern const size_t tomo_punkt_group_count;

#endif
