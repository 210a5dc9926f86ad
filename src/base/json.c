#include "base/json.h"

#include "base/decimal.h"
#include "base/file.h"
#include "base/limits.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

tomo_status tomo_json_parse(const char *name, const char *bytes, size_t size, cJSON **root, tomo_error *err) {
    const char *end = NULL;
    *root = cJSON_ParseWithLengthOpts(bytes, size, &end, false);
    if (*root == NULL) {
        size_t at = end != NULL && end >= bytes ? (size_t)(end - bytes) : 0;
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not valid JSON at byte %zu of %zu", name, at, size);
    }
    while (end < bytes + size && (isspace((unsigned char)*end) || *end == '\0')) end++;
    if (end < bytes + size) {
        cJSON_Delete(*root);
        *root = NULL;
        return tomo_fail(err, TOMO_E_FORMAT, "%s: text after the JSON value, at byte %zu", name,
                         (size_t)(end - bytes));
    }
    return TOMO_OK;
}

tomo_status tomo_json_open(const char *path, cJSON **root, tomo_error *err) {
    char *bytes = NULL;
    size_t size = 0;
    *root = NULL;
    tomo_status status = tomo_file_read(path, TOMO_LIMIT_JSON_BYTES, &bytes, &size, err);
    if (status == TOMO_OK) status = tomo_json_parse(path, bytes, size, root, err);
    free(bytes);
    return status;
}

const cJSON *tomo_json_get(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
    return item == NULL || cJSON_IsNull(item) ? NULL : item;
}

bool tomo_json_whole(const cJSON *value, int64_t low, int64_t high, int64_t *number) {
    if (!cJSON_IsNumber(value)) return false;
    double d = value->valuedouble;
    if (!(fabs(d) <= 9007199254740992.0) || d != floor(d)) return false;
    int64_t n = (int64_t)d;
    if (n < low || n > high) return false;
    *number = n;
    return true;
}

static tomo_status missing(const char *key, tomo_json_at at, tomo_error *err) {
    return tomo_fail(err, TOMO_E_HEADER, "%s: \"%s%s\" is missing", at.file, at.section, key);
}

/* "KEY is VALUE; WANTED", with the value as it stands in the file, shortened. */
static tomo_status wrong(const cJSON *item, const char *key, tomo_json_at at, const char *wanted,
                         tomo_error *err) {
    char *text = cJSON_PrintUnformatted(item);
    tomo_status status = tomo_fail(err, TOMO_E_HEADER, "%s: \"%s%s\" is %.60s; %s", at.file, at.section, key,
                                   text == NULL ? "?" : text, wanted);
    cJSON_free(text);
    return status;
}

tomo_status tomo_json_int(const cJSON *object, const char *key, tomo_json_at at, bool required, int64_t low,
                          int64_t high, int64_t *value, tomo_error *err) {
    const cJSON *item = tomo_json_get(object, key);
    if (item == NULL) return required ? missing(key, at, err) : TOMO_OK;
    if (tomo_json_whole(item, low, high, value)) return TOMO_OK;
    char wanted[96];
    (void)tomo_decimal_format(wanted, sizeof wanted, "a whole number from %lld to %lld is wanted",
                              (long long)low, (long long)high);
    return wrong(item, key, at, wanted, err);
}

tomo_status tomo_json_double(const cJSON *object, const char *key, tomo_json_at at, bool required, double low,
                             double high, double *value, tomo_error *err) {
    const cJSON *item = tomo_json_get(object, key);
    if (item == NULL) return required ? missing(key, at, err) : TOMO_OK;
    if (cJSON_IsNumber(item) && item->valuedouble >= low && item->valuedouble <= high) {
        *value = item->valuedouble;
        return TOMO_OK;
    }
    char wanted[96];
    (void)tomo_decimal_format(wanted, sizeof wanted, "a number from %g to %g is wanted", low, high);
    return wrong(item, key, at, wanted, err);
}

tomo_status tomo_json_bool(const cJSON *object, const char *key, tomo_json_at at, bool required, bool *value,
                           tomo_error *err) {
    const cJSON *item = tomo_json_get(object, key);
    if (item == NULL) return required ? missing(key, at, err) : TOMO_OK;
    if (!cJSON_IsBool(item)) return wrong(item, key, at, "true or false is wanted", err);
    *value = cJSON_IsTrue(item);
    return TOMO_OK;
}

tomo_status tomo_json_text(const cJSON *object, const char *key, tomo_json_at at, bool required,
                           const char **value, tomo_error *err) {
    const cJSON *item = tomo_json_get(object, key);
    if (item == NULL) return required ? missing(key, at, err) : TOMO_OK;
    if (!cJSON_IsString(item)) return wrong(item, key, at, "a text is wanted", err);
    *value = item->valuestring;
    return TOMO_OK;
}

tomo_status tomo_json_only(const cJSON *object, tomo_json_at at, const char *const *known, tomo_error *err) {
    const cJSON *item;
    if (object != NULL && !cJSON_IsObject(object)) { /* members of a list have no names */
        int length = (int)strlen(at.section);
        return tomo_fail(err, TOMO_E_HEADER, "%s: \"%.*s\" must be an object", at.file,
                         length > 0 ? length - 1 : 0, at.section);
    }
    cJSON_ArrayForEach(item, object) {
        bool found = false;
        for (size_t i = 0; known[i] != NULL && !found; i++) found = strcmp(known[i], item->string) == 0;
        if (!found) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: unknown key \"%s%.100s\"", at.file, at.section,
                             item->string);
        }
    }
    return TOMO_OK;
}
