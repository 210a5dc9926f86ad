/* Writing safetensors: what the Python package of that name reads back. */
#include "weights/checkpoint.h"

#include "base/buffer.h"
#include "base/file.h"
#include "base/json.h"
#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* Tensors lie in the file from the widest element type to the narrowest (in the given order within one), so
 * that each is aligned to its element size. */
static const size_t widths[] = {8, 4, 2, 1};
#define WIDTHS (sizeof widths / sizeof *widths)

static tomo_status check_tensor(const char *path, const tomo_stored *t, size_t *bytes, tomo_error *err) {
    int64_t count = 0;
    if (t->name == NULL || strcmp(t->name, "__metadata__") == 0 || t->rank < 0 || t->rank > TOMO_LIMIT_RANK ||
        !tomo_shape_count(t->shape, t->rank, &count) || count != t->count ||
        !tomo_size_mul((size_t)count, tomo_dtype_size(t->dtype), bytes)) {
        return tomo_fail(err, TOMO_E_USAGE,
                         "%s: cannot write tensor \"%.120s\": its shape and count disagree", path,
                         t->name == NULL ? "" : t->name);
    }
    return TOMO_OK;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static tomo_status check_names(const char *path, const tomo_stored *tensors, size_t count, tomo_error *err) {
    const char **names = calloc(count + 1, sizeof *names);
    if (names == NULL) return tomo_fail_memory(err, path, count * sizeof *names);
    for (size_t i = 0; i < count; i++) names[i] = tensors[i].name;
    qsort(names, count, sizeof *names, by_name);
    tomo_status status = TOMO_OK;
    for (size_t i = 1; i < count && status == TOMO_OK; i++) {
        if (strcmp(names[i - 1], names[i]) == 0) {
            status = tomo_fail(err, TOMO_E_USAGE, "%s: cannot write tensor \"%.120s\" twice", path, names[i]);
        }
    }
    free(names);
    return status;
}

static void add_quoted(tomo_buffer *b, const char *text) {
    cJSON *item = cJSON_CreateStringReference(text);
    char *quoted = item == NULL ? NULL : cJSON_PrintUnformatted(item);
    if (quoted == NULL) {
        b->failed = true;
    } else {
        (void)tomo_buffer_add_text(b, quoted);
    }
    cJSON_free(quoted);
    cJSON_Delete(item);
}

static void add_metadata(tomo_buffer *b, const char *const *metadata) {
    (void)tomo_buffer_add_text(b, "\"__metadata__\":{");
    for (size_t i = 0; metadata[i] != NULL && metadata[i + 1] != NULL; i += 2) {
        if (i > 0) (void)tomo_buffer_add_text(b, ",");
        add_quoted(b, metadata[i]);
        (void)tomo_buffer_add_text(b, ":");
        add_quoted(b, metadata[i + 1]);
    }
    (void)tomo_buffer_add_text(b, "}");
}

static void add_entry(tomo_buffer *b, const tomo_stored *t, size_t begin, size_t end) {
    add_quoted(b, t->name);
    (void)tomo_buffer_format(b, ":{\"dtype\":\"%s\",\"shape\":[", tomo_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) {
        (void)tomo_buffer_format(b, "%s%lld", i == 0 ? "" : ",", (long long)t->shape[i]);
    }
    (void)tomo_buffer_format(b, "],\"data_offsets\":[%zu,%zu]}", begin, end);
}

/* The header, padded with spaces so that the data begin at a multiple of 8. */
static tomo_status build_header(const char *path, const tomo_stored *tensors, size_t count,
                                const char *const *metadata, tomo_buffer *b, tomo_error *err) {
    size_t offset = 0;
    (void)tomo_buffer_add_text(b, "{");
    if (metadata != NULL) add_metadata(b, metadata);
    for (size_t w = 0; w < WIDTHS; w++) {
        for (size_t i = 0; i < count; i++) {
            size_t bytes = 0, end = 0;
            if (tomo_dtype_size(tensors[i].dtype) != widths[w]) continue;
            tomo_status status = check_tensor(path, &tensors[i], &bytes, err);
            if (status != TOMO_OK) return status;
            if (!tomo_size_add(offset, bytes, &end)) return tomo_fail_memory(err, path, SIZE_MAX);
            if (b->size > 1) (void)tomo_buffer_add_text(b, ",");
            add_entry(b, &tensors[i], offset, end);
            offset = end;
        }
    }
    (void)tomo_buffer_add_text(b, "}");
    while (!b->failed && b->size % 8 != 0) (void)tomo_buffer_add_text(b, " ");
    if (b->failed) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: the header of %zu tensors does not fit %zu bytes", path,
                         count, b->maximum);
    }
    return TOMO_OK;
}

static tomo_status write_all(const char *path, const tomo_stored *tensors, size_t count,
                             const tomo_buffer *header, tomo_error *err) {
    tomo_writer *w = NULL;
    tomo_status status = tomo_writer_open(path, &w, err);
    if (status != TOMO_OK) return status;
    unsigned char length[8];
    for (int i = 0; i < 8; i++) length[i] = (unsigned char)((uint64_t)header->size >> (8 * i));
    status = tomo_writer_write(w, length, sizeof length, err);
    if (status == TOMO_OK) status = tomo_writer_write(w, header->data, header->size, err);
    for (size_t k = 0; k < WIDTHS; k++) {
        for (size_t i = 0; i < count && status == TOMO_OK; i++) {
            size_t width = tomo_dtype_size(tensors[i].dtype);
            if (width != widths[k]) continue;
            status = tomo_writer_write(w, tensors[i].data, (size_t)tensors[i].count * width, err);
        }
    }
    if (status == TOMO_OK) return tomo_writer_commit(w, err);
    tomo_writer_abort(w);
    return status;
}

tomo_status tomo_safetensors_write(const char *path, const tomo_stored *tensors, size_t count,
                                   const char *const *metadata, tomo_error *err) {
    tomo_buffer header = {.maximum = (size_t)TOMO_LIMIT_TENSOR_HEADER_BYTES};
    tomo_status status = build_header(path, tensors, count, metadata, &header, err);
    if (status == TOMO_OK) status = check_names(path, tensors, count, err);
    if (status == TOMO_OK) status = write_all(path, tensors, count, &header, err);
    tomo_buffer_free(&header);
    return status;
}
