/* decimal.h - numbers as Python and pandas write and read them, in every locale. */
#ifndef TOMO_BASE_DECIMAL_H
#define TOMO_BASE_DECIMAL_H

#include "base/status.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* snprintf and vsnprintf with a point in numbers, whatever locale the program around the library has set:
 * what a file or a message says must not depend on it. */
int tomo_decimal_format(char *text, size_t size, const char *format, ...) TOMO_PRINTF(3, 4);
/* The same as fprintf; allocates nothing either. */
int tomo_decimal_print(FILE *file, const char *format, ...) TOMO_PRINTF(2, 3);
int tomo_decimal_vformat(char *text, size_t size, const char *format, va_list arguments);

/* Room for any double: sign, 17 digits, point, up to 4 zeros or an exponent. */
#define TOMO_DECIMAL_TEXT 32

/* Python's repr of a float: the fewest digits that read back as the same number, "0.1", "1e-05", "2.0". */
void tomo_decimal_write(double value, char text[TOMO_DECIMAL_TEXT]);
/* A whole text as a number: sign, digits, point, exponent; "inf" and "infinity" only with `special`.
 * White space around it is skipped. */
bool tomo_decimal_read(const char *text, size_t size, bool special, double *value);
/* A whole text as an integer of 64 bits, white space around it skipped. */
bool tomo_decimal_read_integer(const char *text, size_t size, int64_t *value);

#endif
