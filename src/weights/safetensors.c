/* safetensors: 8 bytes of header length, a JSON header, the data. Format version 0.4 and later, as described
 * at https://github.com/huggingface/safetensors: tensors fill the data part without overlap or gap. */
#include "weights/store.h"

#include "base/json.h"
#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* Where one tensor lies in the data part. */
typedef struct span {
    uint64_t begin, end;
    const char *name;
} span;

typedef struct reader {
    tomo_checkpoint *checkpoint;
    const char *file;
    const unsigned char *data;
    size_t data_size;
    span *spans;
    size_t span_count;
} reader;

static bool dtype_from_name(const char *name, tomo_dtype *dtype) {
    for (int i = 0; i < TOMO_DTYPE_COUNT; i++) {
        /* Blocks have names of their own in GGUF; safetensors has none for them. */
        if (tomo_dtype_block((tomo_dtype)i) == 1 && strcmp(tomo_dtype_name((tomo_dtype)i), name) == 0) {
            *dtype = (tomo_dtype)i;
            return true;
        }
    }
    return false;
}

static tomo_status bad(const reader *r, const char *name, tomo_status code, const char *what,
                       tomo_error *err) {
    return tomo_fail(err, code, "%s: tensor \"%.*s\": %s", r->file, TOMO_NAME_SHOWN, name, what);
}

static tomo_status read_shape(const reader *r, const cJSON *entry, tomo_stored *t, tomo_error *err) {
    const cJSON *shape = tomo_json_get(entry, "shape"), *axis;
    if (!cJSON_IsArray(shape)) return bad(r, t->name, TOMO_E_HEADER, "no \"shape\" list", err);
    t->rank = 0;
    cJSON_ArrayForEach(axis, shape) {
        if (t->rank == TOMO_LIMIT_RANK) {
            return bad(r, t->name, TOMO_E_LIMIT, "too many axes; at most 8 are read", err);
        }
        if (!tomo_json_whole(axis, 0, INT64_MAX, &t->shape[t->rank++])) {
            return bad(r, t->name, TOMO_E_HEADER, "a length in \"shape\" is no whole number >= 0", err);
        }
    }
    if (!tomo_shape_count(t->shape, t->rank, &t->count)) {
        return bad(r, t->name, TOMO_E_HEADER, "the product of its \"shape\" is too large", err);
    }
    return TOMO_OK;
}

static tomo_status read_span(reader *r, const cJSON *entry, const char *name, span *s, tomo_error *err) {
    const cJSON *offsets = tomo_json_get(entry, "data_offsets");
    int64_t begin = 0, end = 0;
    if (!cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        !tomo_json_whole(cJSON_GetArrayItem(offsets, 0), 0, INT64_MAX, &begin) ||
        !tomo_json_whole(cJSON_GetArrayItem(offsets, 1), begin, INT64_MAX, &end)) {
        return bad(r, name, TOMO_E_HEADER, "\"data_offsets\" is not [begin, end] with begin <= end", err);
    }
    if ((uint64_t)end > r->data_size) {
        return tomo_fail(err, TOMO_E_TRUNCATED,
                         "%s: tensor \"%.*s\" ends at byte %lld of the data, but there are %zu", r->file,
                         TOMO_NAME_SHOWN, name, (long long)end, r->data_size);
    }
    *s = (span){(uint64_t)begin, (uint64_t)end, name};
    r->spans[r->span_count++] = *s;
    return TOMO_OK;
}

static tomo_status read_entry(reader *r, const cJSON *entry, tomo_error *err) {
    tomo_stored t = {.name = entry->string};
    span s;
    const cJSON *type = tomo_json_get(entry, "dtype");
    if (!cJSON_IsString(type)) return bad(r, t.name, TOMO_E_HEADER, "no \"dtype\"", err);
    tomo_status status = read_span(r, entry, t.name, &s, err);
    if (status != TOMO_OK) return status;
    if (!dtype_from_name(type->valuestring, &t.dtype)) {
        return tomo_store_add_unread(r->checkpoint, t.name, type->valuestring, err);
    }
    status = read_shape(r, entry, &t, err);
    if (status != TOMO_OK) return status;
    size_t bytes = 0;
    if (!tomo_size_mul((size_t)t.count, tomo_dtype_size(t.dtype), &bytes) || bytes != s.end - s.begin) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: tensor \"%.*s\" has %lld elements of %s but %llu bytes of data", r->file,
                         TOMO_NAME_SHOWN, t.name, (long long)t.count, type->valuestring,
                         (unsigned long long)(s.end - s.begin));
    }
    const unsigned char *data = r->data + s.begin;
    status = tomo_store_align(r->checkpoint, &data, bytes, tomo_dtype_size(t.dtype), err);
    if (status != TOMO_OK) return status;
    t.data = data;
    return tomo_store_add(r->checkpoint, &t, err);
}

static int by_place(const void *a, const void *b) {
    const span *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

static tomo_status check_spans(const reader *r, tomo_error *err) {
    uint64_t end = 0;
    if (r->span_count > 1) qsort(r->spans, r->span_count, sizeof *r->spans, by_place);
    for (size_t i = 0; i < r->span_count; i++) {
        if (r->spans[i].begin < end) {
            return bad(r, r->spans[i].name, TOMO_E_HEADER, "its data overlap another tensor's", err);
        }
        if (r->spans[i].begin > end) {
            return bad(r, r->spans[i].name, TOMO_E_HEADER, "a gap lies before its data", err);
        }
        end = r->spans[i].end;
    }
    if (end != r->data_size) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: %llu bytes after the last tensor; none are wanted", r->file,
                         (unsigned long long)(r->data_size - end));
    }
    return TOMO_OK;
}

static tomo_status read_entries(reader *r, const cJSON *root, tomo_error *err) {
    if (!cJSON_IsObject(root)) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: its header is no JSON object", r->file);
    }
    size_t count = (size_t)cJSON_GetArraySize(root);
    r->spans = calloc(count + 1, sizeof *r->spans);
    if (r->spans == NULL) return tomo_fail_memory(err, r->file, (count + 1) * sizeof *r->spans);
    const cJSON *entry;
    cJSON_ArrayForEach(entry, root) {
        if (strcmp(entry->string, "__metadata__") == 0) continue;
        tomo_status status = read_entry(r, entry, err);
        if (status != TOMO_OK) return status;
    }
    return check_spans(r, err);
}

tomo_status tomo_safetensors_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes,
                                  size_t size, tomo_error *err) {
    uint64_t length = 0;
    if (size < 8) return tomo_fail(err, TOMO_E_TRUNCATED, "%s: %zu bytes; at least 8 are wanted", file, size);
    for (int i = 7; i >= 0; i--) length = length << 8 | bytes[i];
    if (length > (uint64_t)TOMO_LIMIT_TENSOR_HEADER_BYTES) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: a header of %llu bytes; at most %lld are read", file,
                         (unsigned long long)length, (long long)TOMO_LIMIT_TENSOR_HEADER_BYTES);
    }
    if (length > size - 8) {
        return tomo_fail(err, TOMO_E_TRUNCATED, "%s: a header of %llu bytes, but only %zu follow", file,
                         (unsigned long long)length, size - 8);
    }
    reader r = {.checkpoint = c, .file = file};
    r.data = bytes + 8 + length;
    r.data_size = size - 8 - (size_t)length;
    cJSON *root = NULL;
    tomo_status status = tomo_json_parse(file, (const char *)bytes + 8, (size_t)length, &root, err);
    if (status == TOMO_OK) status = read_entries(&r, root, err);
    free(r.spans);
    cJSON_Delete(root);
    return status;
}
