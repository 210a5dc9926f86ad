/* json.h - results as JSON. Functions that add return false when out of memory, so that an object is built by
 * one chain of && and checked once. */
#ifndef TOMO_CLI_JSON_H
#define TOMO_CLI_JSON_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A copy that is UTF-8: bytes that are not (file names may hold any) become U+FFFD. Freed by free. */
char *json_repair(const char *text);

/* NULL becomes null. */
bool json_add_text(cJSON *object, const char *name, const char *text);
/* NaN and infinities become null. */
bool json_add_number(cJSON *object, const char *name, double number);
bool json_add_integers(cJSON *object, const char *name, const int64_t *numbers, size_t n);
/* Takes over `item`, which may be NULL (out of memory). */
bool json_add(cJSON *object, const char *name, cJSON *item);

/* The object when it was built whole; else it is deleted, and NULL. */
cJSON *json_whole(cJSON *object, bool good);

/* Writes the value and a line feed to `path` (NULL, "-": standard output) and deletes it; NULL means out of
 * memory. Returns the status to exit with. */
int json_write(const char *path, cJSON *value);
/* Writes a text of the library that is JSON already. */
int json_write_text(const char *path, const char *text);
/* The library's JSON; NULL after telling. */
cJSON *json_parse(const char *text);

#endif
