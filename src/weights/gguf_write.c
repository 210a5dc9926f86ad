#include "weights/gguf_write.h"

#include "base/file.h"
#include "base/text.h"
#include "weights/gguf_impl.h"

#include <string.h>

#define ALIGNMENT 32

/* The format's numbers of value types. */
enum { VALUE_U32 = 4, VALUE_I32 = 5, VALUE_F32 = 6, VALUE_BOOL = 7, VALUE_TEXT = 8, VALUE_LIST = 9 };

typedef struct gguf_out {
    tomo_writer *writer;
    uint64_t at;
    tomo_status status;
    tomo_error *err;
} gguf_out;

static void put(gguf_out *o, const void *bytes, size_t size) {
    if (o->status == TOMO_OK) o->status = tomo_writer_write(o->writer, bytes, size, o->err);
    o->at += size;
}

static void put_whole(gguf_out *o, uint64_t value, int bytes) {
    uint8_t little[8];
    for (int i = 0; i < bytes; i++) little[i] = (uint8_t)(value >> (8 * i));
    put(o, little, (size_t)bytes);
}

static void put_text(gguf_out *o, const char *text) {
    put_whole(o, strlen(text), 8);
    put(o, text, strlen(text));
}

static void put_padding(gguf_out *o) {
    static const uint8_t zeros[ALIGNMENT];
    if (o->at % ALIGNMENT != 0) put(o, zeros, (size_t)(ALIGNMENT - o->at % ALIGNMENT));
}

/* ---------------------------------------------------------------------------- metadata */

static void put_number(gguf_out *o, const char *key, double value) {
    bool is_float =
        tomo_ends_with(key, "_epsilon") || tomo_ends_with(key, "_base") || tomo_ends_with(key, ".factor");
    put_whole(o, is_float ? VALUE_F32 : VALUE_U32, 4);
    if (is_float) {
        float narrow = (float)value;
        uint32_t bits;
        memcpy(&bits, &narrow, sizeof bits);
        put_whole(o, bits, 4);
    } else {
        put_whole(o, (uint64_t)value, 4);
    }
}

static void put_list(gguf_out *o, const cJSON *list) {
    const cJSON *item;
    bool texts = list->child == NULL || cJSON_IsString(list->child); /* an empty list is of merges */
    put_whole(o, VALUE_LIST, 4);
    put_whole(o, texts ? VALUE_TEXT : VALUE_I32, 4);
    put_whole(o, (uint64_t)cJSON_GetArraySize(list), 8);
    cJSON_ArrayForEach(item, list) {
        if (texts) {
            put_text(o, cJSON_IsString(item) ? item->valuestring : "");
        } else {
            put_whole(o, (uint64_t)(int64_t)item->valuedouble, 4);
        }
    }
}

static void put_value(gguf_out *o, const cJSON *item) {
    put_text(o, item->string);
    if (cJSON_IsString(item)) {
        put_whole(o, VALUE_TEXT, 4);
        put_text(o, item->valuestring);
    } else if (cJSON_IsBool(item)) {
        put_whole(o, VALUE_BOOL, 4);
        put_whole(o, cJSON_IsTrue(item) ? 1 : 0, 1);
    } else if (cJSON_IsArray(item)) {
        put_list(o, item);
    } else {
        put_number(o, item->string, item->valuedouble);
    }
}

/* ----------------------------------------------------------------------------- tensors */

static uint64_t padded(uint64_t bytes) {
    return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static uint64_t bytes_of(const tomo_gguf_tensor *t) {
    int64_t count = 1;
    for (int i = 0; i < t->rank; i++) count *= t->shape[i];
    return tomo_dtype_bytes(t->dtype, count);
}

static void put_entries(gguf_out *o, const tomo_gguf_tensor *tensors, size_t count) {
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const tomo_gguf_tensor *t = &tensors[i];
        put_text(o, t->name);
        put_whole(o, (uint64_t)t->rank, 4);
        for (int a = t->rank - 1; a >= 0; a--) put_whole(o, (uint64_t)t->shape[a], 8);
        put_whole(o, gguf_type_number(t->dtype), 4);
        put_whole(o, offset, 8);
        offset += padded(bytes_of(t));
    }
}

static void put_tensors(gguf_out *o, const tomo_gguf_tensor *tensors, size_t count, tomo_gguf_fill_fn fill,
                        void *user) {
    for (size_t i = 0; i < count && o->status == TOMO_OK; i++) {
        const void *bytes = NULL;
        o->status = fill(user, i, &bytes, o->err);
        if (o->status == TOMO_OK) put(o, bytes, (size_t)bytes_of(&tensors[i]));
        put_padding(o);
    }
}

tomo_status tomo_gguf_write(const char *path, const cJSON *metadata, const tomo_gguf_tensor *tensors,
                            size_t count, tomo_gguf_fill_fn fill, void *user, tomo_error *err) {
    gguf_out o = {.err = err};
    const cJSON *item;
    o.status = tomo_writer_open(path, &o.writer, err);
    if (o.status != TOMO_OK) return o.status;
    put(&o, "GGUF", 4);
    put_whole(&o, 3, 4);
    put_whole(&o, count, 8);
    put_whole(&o, (uint64_t)cJSON_GetArraySize(metadata), 8);
    cJSON_ArrayForEach(item, metadata) put_value(&o, item);
    put_entries(&o, tensors, count);
    put_padding(&o);
    put_tensors(&o, tensors, count, fill, user);
    if (o.status == TOMO_OK) return tomo_writer_commit(o.writer, err);
    tomo_writer_abort(o.writer);
    return o.status;
}
