/* number.h - decimal numbers in headers, read alike in every locale. */
#ifndef TOMO_VOLUME_NUMBER_H
#define TOMO_VOLUME_NUMBER_H

#include <stdbool.h>

/* Reads a number at the start of `text` (leading white space is skipped); *rest stands behind it. */
bool tomo_number_parse(const char *text, const char **rest, double *number);

#endif
