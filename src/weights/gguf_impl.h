/* gguf_impl.h - walking through the bytes of a GGUF file. Private to src/weights. */
#ifndef TOMO_WEIGHTS_GGUF_IMPL_H
#define TOMO_WEIGHTS_GGUF_IMPL_H

#include "weights/gguf.h"
#include "weights/store.h"

/* Every take_ function checks what is left and fails the cursor for good; reads after a failure give zeros.
 */
typedef struct gguf_cursor {
    const char *file;
    const unsigned char *at, *begin, *end;
    uint64_t values;  /* of metadata so far: each takes far more memory than bytes of the file */
    tomo_error error; /* status TOMO_OK: nothing failed so far */
} gguf_cursor;

uint32_t gguf_take_u32(gguf_cursor *c);
uint64_t gguf_take_u64(gguf_cursor *c);
/* A text of the file, not terminated; *size its bytes. NULL after a failure. */
const char *gguf_take_text(gguf_cursor *c, size_t *size);

/* Magic, version and counts; leaves the cursor at the first key. */
tomo_status gguf_begin(const char *file, const unsigned char *bytes, size_t size, gguf_cursor *c,
                       uint64_t *tensors, uint64_t *keys);
/* `keys` pairs of key and value into a JSON object; leaves the cursor at the first tensor. NULL and a failed
 * cursor when something is wrong. */
cJSON *gguf_take_metadata(gguf_cursor *c, uint64_t keys);
/* The format's number of a tensor type that is read. */
uint32_t gguf_type_number(tomo_dtype dtype);
tomo_status gguf_fail(gguf_cursor *c, tomo_status status, const char *format, ...) TOMO_PRINTF(3, 4);

#endif
