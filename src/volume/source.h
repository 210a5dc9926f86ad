/* source.h - bytes of a file that is mapped or in memory, read forward, gunzipped on the way when asked.
 * Memory does not follow the stream: a gzip bomb is read as far as its header asks and no further. */
#ifndef TOMO_VOLUME_SOURCE_H
#define TOMO_VOLUME_SOURCE_H

#include "base/status.h"

typedef struct tomo_source tomo_source;

/* The bytes belong to the caller and outlive the source. `name` is for messages. most: bytes that a gzip
 * stream may expand to; more is TOMO_E_LIMIT. */
tomo_status tomo_source_open(const char *name, const unsigned char *bytes, size_t size, bool gzip,
                             int64_t most, tomo_source **source, tomo_error *err);
void tomo_source_free(tomo_source *source);

/* All `size` bytes, or TOMO_E_TRUNCATED; a broken gzip stream is TOMO_E_FORMAT. */
tomo_status tomo_source_read(tomo_source *source, void *out, size_t size, tomo_error *err);
/* As many as there are, at most `size`. */
tomo_status tomo_source_read_some(tomo_source *source, void *out, size_t size, size_t *got, tomo_error *err);
tomo_status tomo_source_skip(tomo_source *source, int64_t size, tomo_error *err);
/* An upper bound of the bytes that can still be read. */
int64_t tomo_source_most(const tomo_source *source);

bool tomo_source_is_gzip(const unsigned char *bytes, size_t size);

#endif
