#include "weights/gguf_impl.h"

#include "base/limits.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Lists of lists; real files have none. */
#define MOST_NESTING 4
/* A key's or tensor's name; real ones have fewer than 64 bytes. */
#define MOST_NAME 256

/* The format's numbers of value types. */
typedef enum value_type {
    VALUE_U8,
    VALUE_I8,
    VALUE_U16,
    VALUE_I16,
    VALUE_U32,
    VALUE_I32,
    VALUE_F32,
    VALUE_BOOL,
    VALUE_TEXT,
    VALUE_LIST,
    VALUE_U64,
    VALUE_I64,
    VALUE_F64
} value_type;

/* Least bytes that a value of the type takes: what a list's count is held against. */
static const size_t value_sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

tomo_status gguf_fail(gguf_cursor *c, tomo_status status, const char *format, ...) {
    char text[256];
    va_list arguments;
    if (c->error.status != TOMO_OK) return c->error.status;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    c->at = c->end;
    return tomo_fail(&c->error, status, "%s: %s", c->file, text);
}

static const unsigned char *take(gguf_cursor *c, uint64_t bytes) {
    if (c->error.status != TOMO_OK) return NULL;
    if (bytes > (uint64_t)(c->end - c->at)) {
        (void)gguf_fail(c, TOMO_E_TRUNCATED, "ends within its header; %llu more bytes are wanted",
                        (unsigned long long)(bytes - (uint64_t)(c->end - c->at)));
        return NULL;
    }
    const unsigned char *p = c->at;
    c->at += bytes;
    return p;
}

static uint64_t take_whole(gguf_cursor *c, int bytes) {
    const unsigned char *p = take(c, (uint64_t)bytes);
    uint64_t value = 0;
    for (int i = bytes - 1; p != NULL && i >= 0; i--) value = value << 8 | p[i];
    return value;
}

uint32_t gguf_take_u32(gguf_cursor *c) {
    return (uint32_t)take_whole(c, 4);
}

uint64_t gguf_take_u64(gguf_cursor *c) {
    return take_whole(c, 8);
}

const char *gguf_take_text(gguf_cursor *c, size_t *size) {
    uint64_t length = gguf_take_u64(c);
    const unsigned char *p = take(c, length);
    *size = p == NULL ? 0 : (size_t)length;
    return (const char *)p;
}

/* ---------------------------------------------------------------------------- metadata */

static cJSON *take_value(gguf_cursor *c, uint32_t type, int depth);

static cJSON *take_string(gguf_cursor *c) {
    size_t size;
    const char *text = gguf_take_text(c, &size);
    if (text == NULL) return NULL;
    char *copy = malloc(size + 1);
    if (copy == NULL) {
        (void)tomo_fail_memory(&c->error, c->file, size + 1);
        return NULL;
    }
    memcpy(copy, text, size);
    copy[size] = '\0'; /* a text ends at its first zero, as every text here does */
    cJSON *value = cJSON_CreateString(copy);
    free(copy);
    return value;
}

/* Notes that so many values follow; false: too many in all. */
static bool count_values(gguf_cursor *c, uint64_t count) {
    if (count > (uint64_t)TOMO_LIMIT_GGUF_VALUES - c->values) {
        (void)gguf_fail(c, TOMO_E_LIMIT, "metadata of more than %lld values",
                        (long long)TOMO_LIMIT_GGUF_VALUES);
        return false;
    }
    c->values += count;
    return true;
}

static cJSON *take_list(gguf_cursor *c, int depth) {
    uint32_t type = gguf_take_u32(c);
    uint64_t count = gguf_take_u64(c);
    if (c->error.status != TOMO_OK) return NULL;
    if (type > VALUE_F64 || depth == MOST_NESTING) {
        (void)gguf_fail(c, TOMO_E_FORMAT, "a list of values of type %u; 0 to 12 are known", (unsigned)type);
        return NULL;
    }
    if (count > (uint64_t)(c->end - c->at) / value_sizes[type]) {
        (void)gguf_fail(c, TOMO_E_TRUNCATED, "a list of %llu values, and %llu bytes are left",
                        (unsigned long long)count, (unsigned long long)(c->end - c->at));
        return NULL;
    }
    if (!count_values(c, count)) return NULL;
    cJSON *list = cJSON_CreateArray();
    for (uint64_t i = 0; i < count && list != NULL; i++) {
        cJSON *item = take_value(c, type, depth + 1);
        if (item == NULL || !cJSON_AddItemToArray(list, item)) {
            cJSON_Delete(item);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

static double signed_value(uint64_t bits, int bytes) {
    uint64_t sign = (uint64_t)1 << (8 * bytes - 1);
    return (double)(int64_t)((bits ^ sign) - sign);
}

static double take_number(gguf_cursor *c, uint32_t type) {
    int bytes = (int)value_sizes[type];
    uint64_t bits = take_whole(c, bytes);
    if (type == VALUE_F32) {
        uint32_t narrow = (uint32_t)bits;
        float value;
        memcpy(&value, &narrow, sizeof value);
        return (double)value;
    }
    if (type == VALUE_F64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    bool is_signed = type == VALUE_I8 || type == VALUE_I16 || type == VALUE_I32 || type == VALUE_I64;
    return is_signed ? signed_value(bits, bytes) : (double)bits;
}

static cJSON *take_value(gguf_cursor *c, uint32_t type, int depth) {
    if (type == VALUE_TEXT) return take_string(c);
    if (type == VALUE_LIST) return take_list(c, depth);
    if (type == VALUE_BOOL) return cJSON_CreateBool(take_whole(c, 1) != 0);
    if (type <= VALUE_F64) return cJSON_CreateNumber(take_number(c, type));
    (void)gguf_fail(c, TOMO_E_FORMAT, "a value of type %u; 0 to 12 are known", (unsigned)type);
    return NULL;
}

tomo_status gguf_begin(const char *file, const unsigned char *bytes, size_t size, gguf_cursor *c,
                       uint64_t *tensors, uint64_t *keys) {
    *c = (gguf_cursor){.file = file, .at = bytes, .begin = bytes, .end = bytes + size};
    if (gguf_take_u32(c) != 0x46554747) return gguf_fail(c, TOMO_E_FORMAT, "does not begin with \"GGUF\"");
    uint32_t version = gguf_take_u32(c);
    if (version != 2 && version != 3)
        return gguf_fail(c, TOMO_E_UNSUPPORTED, "GGUF version %u; 2 or 3 is wanted", (unsigned)version);
    *tensors = gguf_take_u64(c);
    *keys = gguf_take_u64(c);
    if (*tensors > TOMO_LIMIT_TENSORS) {
        return gguf_fail(c, TOMO_E_LIMIT, "%llu tensors; at most %d are read", (unsigned long long)*tensors,
                         TOMO_LIMIT_TENSORS);
    }
    return c->error.status;
}

cJSON *gguf_take_metadata(gguf_cursor *c, uint64_t keys) {
    cJSON *root = cJSON_CreateObject();
    for (uint64_t i = 0; i < keys && c->error.status == TOMO_OK && root != NULL; i++) {
        size_t size;
        const char *text = gguf_take_text(c, &size);
        if (text == NULL || size >= MOST_NAME) {
            (void)gguf_fail(c, TOMO_E_LIMIT, "a key of %zu bytes; fewer than %d are read", size, MOST_NAME);
            break;
        }
        char name[MOST_NAME];
        memcpy(name, text, size);
        name[size] = '\0';
        cJSON *value = count_values(c, 1) ? take_value(c, gguf_take_u32(c), 0) : NULL;
        if (value == NULL || !cJSON_AddItemToObject(root, name, value)) {
            cJSON_Delete(value);
            if (c->error.status == TOMO_OK) (void)tomo_fail_memory(&c->error, c->file, size);
        }
    }
    if (c->error.status == TOMO_OK && root != NULL) return root;
    if (root == NULL) (void)tomo_fail_memory(&c->error, c->file, sizeof *root);
    cJSON_Delete(root);
    return NULL;
}

tomo_status tomo_gguf_metadata_read(const char *file, const unsigned char *bytes, size_t size,
                                    cJSON **metadata, tomo_error *err) {
    gguf_cursor c;
    uint64_t tensors, keys;
    *metadata = NULL;
    if (gguf_begin(file, bytes, size, &c, &tensors, &keys) == TOMO_OK)
        *metadata = gguf_take_metadata(&c, keys);
    if (c.error.status != TOMO_OK && err != NULL) *err = c.error;
    return c.error.status;
}

tomo_status tomo_gguf_metadata_open(const char *path, cJSON **metadata, tomo_error *err) {
    tomo_map map = {0};
    *metadata = NULL;
    tomo_status status = tomo_map_open(path, &map, err);
    if (status == TOMO_OK) status = tomo_gguf_metadata_read(path, map.data, map.size, metadata, err);
    tomo_map_close(&map);
    return status;
}

bool tomo_gguf_is(const char *path) {
    char magic[4] = "";
    FILE *file = tomo_path_is_folder(path) ? NULL : fopen(path, "rbe");
    if (file == NULL) return false;
    bool is = fread(magic, 1, sizeof magic, file) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    (void)fclose(file);
    return is;
}
