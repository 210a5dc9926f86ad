/* json.h - reading JSON from outside (cJSON does the parsing) with messages that name file and key. */
#ifndef TOMO_BASE_JSON_H
#define TOMO_BASE_JSON_H

#include "base/status.h"

#include <cjson/cJSON.h>

/* Parses `size` bytes; `name` is used in messages. Text behind the document is refused; keys
 * that come twice are not.
 * *root is freed by cJSON_Delete. Invalid JSON: TOMO_E_FORMAT with the byte at which it goes wrong. */
tomo_status tomo_json_parse(const char *name, const char *bytes, size_t size, cJSON **root, tomo_error *err);
/* Reads at most TOMO_LIMIT_JSON_BYTES and parses. */
tomo_status tomo_json_open(const char *path, cJSON **root, tomo_error *err);

/* The member of an object, or NULL when absent, null, or `object` is no object. */
const cJSON *tomo_json_get(const cJSON *object, const char *key);

/* Where a value was found, for messages: "FILE: KEY is ...". */
typedef struct tomo_json_at {
    const char *file;
    const char *section; /* "connector." or "" */
} tomo_json_at;

/* Each reads a member of an object into *value. Absent or null: *value stays as it is (set the default
 * first), unless `required`. A wrong type or a value out of [low, high]: TOMO_E_HEADER. */
tomo_status tomo_json_int(const cJSON *object, const char *key, tomo_json_at at, bool required, int64_t low,
                          int64_t high, int64_t *value, tomo_error *err);
tomo_status tomo_json_double(const cJSON *object, const char *key, tomo_json_at at, bool required, double low,
                             double high, double *value, tomo_error *err);
tomo_status tomo_json_bool(const cJSON *object, const char *key, tomo_json_at at, bool required, bool *value,
                           tomo_error *err);
/* *value points into the document. */
tomo_status tomo_json_text(const cJSON *object, const char *key, tomo_json_at at, bool required,
                           const char **value, tomo_error *err);

/* Refuses (TOMO_E_HEADER) the first key of `object` (NULL: it has none) that is not among `known` (ended by
 * NULL), and what is no object. */
tomo_status tomo_json_only(const cJSON *object, tomo_json_at at, const char *const *known, tomo_error *err);

/* True when `value` is a whole number in [low, high]; JSON numbers are doubles, exact up to 2^53. */
bool tomo_json_whole(const cJSON *value, int64_t low, int64_t high, int64_t *number);

#endif
