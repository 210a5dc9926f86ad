/* phrase.h - sentences of a radiologist in words that vary with the seed. */
#ifndef TOMO_PHANTOM_PHRASE_H
#define TOMO_PHANTOM_PHRASE_H

#include "base/buffer.h"
#include "base/random.h"
#include "phantom/patient.h"

/* Adds one of the phrases, which is drawn, with $1, $2 and $3 replaced by values[3], and a space. */
void tomo_say(tomo_random *random, tomo_buffer *text, const char *const *phrases, int count,
              const char *const values[3]);

/* writer: a pointer to something with `random`, `text` and `plain`: the first phrase, always. */
#define TOMO_SAY(writer, one, two, three, ...)                                                               \
    tomo_say(&(writer)->random, (writer)->text, (const char *const[]){__VA_ARGS__},                          \
             (writer)->plain ? 1 : (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)),       \
             (const char *const[3]){one, two, three})

/* "14 mm", or "3.2 cm" from 2 cm on. */
const char *tomo_size_text(double mm, char room[16]);
/* Of a severity: small, moderate, large; mild, moderate, severe. */
const char *tomo_amount(int severity);
const char *tomo_degree(int severity);
/* upper, middle, lower; of a kidney: upper pole, middle third, lower pole. */
const char *tomo_third(tomo_finding_place place);
const char *tomo_pole(tomo_finding_place place);

#endif
