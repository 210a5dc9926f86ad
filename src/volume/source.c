#include "volume/source.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct tomo_source {
    const char *name;
    const unsigned char *next;
    size_t left;        /* stored bytes not yet taken */
    int64_t most, made; /* bytes that gzip may make, and has made */
    bool gzip, ended;
    z_stream stream;
};

/* Deflate makes at most 1032 bytes out of one (zlib's technical notes). */
#define DEFLATE_RATIO 1032

bool tomo_source_is_gzip(const unsigned char *bytes, size_t size) {
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

tomo_status tomo_source_open(const char *name, const unsigned char *bytes, size_t size, bool gzip,
                             int64_t most, tomo_source **source, tomo_error *err) {
    *source = NULL;
    tomo_source *s = calloc(1, sizeof *s);
    if (s == NULL) return tomo_fail_memory(err, name, sizeof *s);
    *s = (tomo_source){.name = name, .next = bytes, .left = size, .most = most, .gzip = gzip};
    if (gzip && inflateInit2(&s->stream, 15 + 16) != Z_OK) { /* + 16: gzip wrapper, its CRC is checked */
        free(s);
        return tomo_fail_memory(err, name, sizeof *s);
    }
    *source = s;
    return TOMO_OK;
}

void tomo_source_free(tomo_source *s) {
    if (s == NULL) return;
    if (s->gzip) (void)inflateEnd(&s->stream);
    free(s);
}

int64_t tomo_source_most(const tomo_source *s) {
    if (!s->gzip) return (int64_t)s->left;
    int64_t most;
    /* 64 KB: what zlib may hold back of bytes that it has taken already. */
    if (__builtin_mul_overflow((int64_t)s->left, DEFLATE_RATIO, &most) || most > INT64_MAX - 65536) {
        return INT64_MAX;
    }
    return most + 65536;
}

/* One call of inflate; a member that ends is followed by the next one, if there is one (bgzip writes many).
 */
static tomo_status inflate_more(tomo_source *s, tomo_error *err) {
    uInt offered = s->left > 1u << 30 ? 1u << 30 : (uInt)s->left;
    s->stream.next_in = (z_const Bytef *)(uintptr_t)s->next;
    s->stream.avail_in = offered;
    int code = inflate(&s->stream, Z_NO_FLUSH);
    s->next += offered - s->stream.avail_in;
    s->left -= offered - s->stream.avail_in;
    if (code == Z_STREAM_END) {
        if (!tomo_source_is_gzip(s->next, s->left)) {
            s->ended = true;
        } else if (inflateReset(&s->stream) != Z_OK) {
            return tomo_fail(err, TOMO_E_INTERNAL, "%s: zlib cannot start again", s->name);
        }
        return TOMO_OK;
    }
    if (code == Z_MEM_ERROR) return tomo_fail_memory(err, s->name, 65536);
    if (code != Z_OK && code != Z_BUF_ERROR) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: broken gzip stream (%s); copy the file again", s->name,
                         s->stream.msg == NULL ? "no reason given" : s->stream.msg);
    }
    if (s->left == 0 && s->stream.avail_out > 0) {
        return tomo_fail(err, TOMO_E_TRUNCATED, "%s: the gzip stream is cut short; copy the file again",
                         s->name);
    }
    return TOMO_OK;
}

static tomo_status read_gzip(tomo_source *s, unsigned char *out, size_t size, size_t *got, tomo_error *err) {
    while (*got < size && !s->ended) {
        size_t room = size - *got > 1u << 30 ? 1u << 30 : size - *got;
        s->stream.next_out = out + *got;
        s->stream.avail_out = (uInt)room;
        tomo_status status = inflate_more(s, err);
        *got += room - s->stream.avail_out;
        if (status != TOMO_OK) return status;
        s->made += (int64_t)(room - s->stream.avail_out);
        if (s->made > s->most)
            return tomo_fail(err, TOMO_E_LIMIT, "%s: the gzip stream expands to over %lld bytes", s->name,
                             (long long)s->most);
    }
    return TOMO_OK;
}

tomo_status tomo_source_read_some(tomo_source *s, void *out, size_t size, size_t *got, tomo_error *err) {
    *got = 0;
    if (s->gzip) return read_gzip(s, out, size, got, err);
    *got = size < s->left ? size : s->left;
    if (*got > 0) memcpy(out, s->next, *got);
    s->next += *got;
    s->left -= *got;
    return TOMO_OK;
}

tomo_status tomo_source_read(tomo_source *s, void *out, size_t size, tomo_error *err) {
    size_t got = 0;
    tomo_status status = tomo_source_read_some(s, out, size, &got, err);
    if (status != TOMO_OK) return status;
    if (got == size) return TOMO_OK;
    return tomo_fail(err, TOMO_E_TRUNCATED, "%s: the data end %zu bytes early; copy the file again", s->name,
                     size - got);
}

tomo_status tomo_source_skip(tomo_source *s, int64_t size, tomo_error *err) {
    unsigned char waste[4096];
    while (size > 0) {
        size_t piece = size < (int64_t)sizeof waste ? (size_t)size : sizeof waste;
        tomo_status status = tomo_source_read(s, waste, piece, err);
        if (status != TOMO_OK) return status;
        size -= (int64_t)piece;
    }
    return TOMO_OK;
}
