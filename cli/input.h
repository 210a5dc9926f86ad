/* input.h - texts that the user hands in: an operand, standard input, a list in a file. */
#ifndef TOMO_CLI_INPUT_H
#define TOMO_CLI_INPUT_H

#include <stddef.h>

/* A copy of `operand`, or all of standard input when it is "-", as a '\0'-terminated text that the caller
 * frees. Returns EXIT_DONE, or the status to exit with after telling why. */
int input_text(const char *operand, char **text);

/* A whole file of at most `limit` bytes, as input_text. */
int input_file(const char *path, size_t limit, char **text, size_t *size);

#endif
