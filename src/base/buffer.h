/* buffer.h - bytes that grow, up to a stated maximum. */
#ifndef TOMO_BASE_BUFFER_H
#define TOMO_BASE_BUFFER_H

#include "base/status.h"

/* data is always '\0'-terminated once anything was added (the '\0' is not counted in size). Start with
 * {.maximum = N}; a buffer that failed once (memory, maximum) stays failed and ignores what is added, so a
 * caller may check `failed` once at the end. */
typedef struct tomo_buffer {
    char *data;
    size_t size, capacity, maximum;
    bool failed;
} tomo_buffer;

bool tomo_buffer_add(tomo_buffer *buffer, const void *bytes, size_t size);
bool tomo_buffer_add_text(tomo_buffer *buffer, const char *text);
bool tomo_buffer_format(tomo_buffer *buffer, const char *format, ...) TOMO_PRINTF(2, 3);
/* Forgets the content, keeps the memory and clears `failed`. */
void tomo_buffer_clear(tomo_buffer *buffer);
void tomo_buffer_free(tomo_buffer *buffer);

#endif
