#include "base/buffer.h"

#include "base/decimal.h"
#include "base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room for `more` bytes and a '\0'. */
static bool reserve(tomo_buffer *b, size_t more) {
    size_t needed;
    if (b->failed) return false;
    if (!tomo_size_add(b->size, more, &needed) || needed > b->maximum || needed == SIZE_MAX) {
        b->failed = true;
        return false;
    }
    if (needed < b->capacity) return true;
    size_t capacity = b->capacity < 64 ? 64 : b->capacity;
    while (capacity <= needed && tomo_size_mul(capacity, 2, &capacity)) {
    }
    if (capacity <= needed) capacity = needed + 1;
    char *data = realloc(b->data, capacity);
    if (data == NULL) {
        b->failed = true;
        return false;
    }
    b->data = data;
    b->capacity = capacity;
    return true;
}

bool tomo_buffer_add(tomo_buffer *b, const void *bytes, size_t size) {
    if (!reserve(b, size)) return false;
    if (size > 0) memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = '\0';
    return true;
}

bool tomo_buffer_add_text(tomo_buffer *b, const char *text) {
    return tomo_buffer_add(b, text, strlen(text));
}

bool tomo_buffer_format(tomo_buffer *b, const char *format, ...) {
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = tomo_decimal_vformat(NULL, 0, format, arguments);
    va_end(arguments);
    bool done = length >= 0 && reserve(b, (size_t)length);
    if (done) {
        (void)tomo_decimal_vformat(b->data + b->size, (size_t)length + 1, format, again);
        b->size += (size_t)length;
    }
    va_end(again);
    return done;
}

void tomo_buffer_clear(tomo_buffer *b) {
    b->size = 0;
    b->failed = false;
    if (b->data != NULL) b->data[0] = '\0';
}

void tomo_buffer_free(tomo_buffer *b) {
    free(b->data);
    *b = (tomo_buffer){.maximum = b->maximum};
}
