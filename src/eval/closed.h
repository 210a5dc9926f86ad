/* closed.h - whether an answer to a closed question (choices A, B, C, D) is right. Private to src/eval. */
#ifndef TOMO_EVAL_CLOSED_H
#define TOMO_EVAL_CLOSED_H

#include "base/csv.h"

/* The benchmark's rule: the choice's letter and a full stop stand somewhere in the answer, as it is. It can
 * be gamed ("A. B. C. D." is always right) and is fooled by words ("MRA."). */
bool tomo_closed_is_right(tomo_csv_field choice, tomo_csv_field answer);

/* Our strict rule: the answer names exactly one choice, and it is this one. Named is every capital letter of
 * its own (no letter or digit beside it) that a ".", ")" or ":" follows, or that ends the answer: "A. Axial",
 * "(A)", "A", "The answer is A." The article of "A lesion" names nothing. */
bool tomo_closed_is_strictly_right(tomo_csv_field choice, tomo_csv_field answer);

#endif
