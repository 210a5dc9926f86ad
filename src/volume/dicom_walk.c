#include "volume/dicom_walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Sequences within sequences; enhanced images use 4, radiotherapy 6. */
#define DEPTH_MOST 24
#define UNDEFINED 0xFFFFFFFFu
#define PREAMBLE 132

typedef struct walker {
    const char *name;
    const unsigned char *bytes;
    size_t at, size;
    bool implicit, big_endian;
    tomo_dicom_outline *outline;
    tomo_error *err;
} walker;

typedef struct element {
    uint16_t group, number;
    char vr[2]; /* "??" with implicit value representation */
    uint32_t length;
} element;

static uint16_t get16(const walker *w, size_t at) {
    const unsigned char *p = w->bytes + at;
    return (uint16_t)(w->big_endian ? p[0] << 8 | p[1] : p[1] << 8 | p[0]);
}

static uint32_t get32(const walker *w, size_t at) {
    uint32_t first = get16(w, at), second = get16(w, at + 2);
    return w->big_endian ? first << 16 | second : second << 16 | first;
}

static tomo_status cut(const walker *w) {
    return tomo_fail(w->err, TOMO_E_TRUNCATED,
                     "%s: the DICOM data end early, at byte %zu; copy the file again", w->name, w->at);
}

static tomo_status broken(const walker *w, const char *what) {
    return tomo_fail(w->err, TOMO_E_FORMAT, "%s: broken DICOM: %s at byte %zu", w->name, what, w->at);
}

static bool vr_is_in(const char vr[2], const char *list) {
    for (; *list != '\0'; list += 2) {
        if (vr[0] == list[0] && vr[1] == list[1]) return true;
    }
    return false;
}

static bool vr_is_long(const char vr[2]) {
    return vr_is_in(vr, "OBODOFOLOVOWSQSVUCUNURUTUV");
}

static bool vr_is_known(const char vr[2]) {
    return vr_is_long(vr) || vr_is_in(vr, "AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS");
}

/* Reads one element's header; `implicit` is that of the surrounding set. */
static tomo_status read_element(walker *w, size_t end, bool implicit, element *e) {
    if (end - w->at < 8) return cut(w);
    *e = (element){get16(w, w->at), get16(w, w->at + 2), {'?', '?'}, 0};
    if (e->group == 0xFFFE || implicit) { /* items and delimiters never have a value representation */
        e->length = get32(w, w->at + 4);
        w->at += 8;
        return TOMO_OK;
    }
    memcpy(e->vr, w->bytes + w->at + 4, 2);
    if (!vr_is_known(e->vr)) return broken(w, "an unknown value representation");
    if (!vr_is_long(e->vr)) {
        e->length = get16(w, w->at + 6);
        w->at += 8;
        return TOMO_OK;
    }
    if (end - w->at < 12) return cut(w);
    e->length = get32(w, w->at + 8);
    w->at += 12;
    return TOMO_OK;
}

static tomo_status walk_set(walker *w, size_t end, bool delimited, bool implicit, int depth);

/* The items of a sequence, up to `end` or (`delimited`) the sequence's delimiter. */
static tomo_status walk_items(walker *w, size_t end, bool delimited, bool implicit, int depth) {
    if (depth > DEPTH_MOST) return broken(w, "sequences nested too deep");
    while (w->at < end) {
        element e;
        tomo_status status = read_element(w, end, implicit, &e);
        if (status != TOMO_OK) return status;
        if (delimited && e.group == 0xFFFE && e.number == 0xE0DD) return TOMO_OK;
        if (e.group != 0xFFFE || e.number != 0xE000) return broken(w, "a sequence holds no item");
        if (e.length != UNDEFINED && e.length > end - w->at) return cut(w);
        status = e.length == UNDEFINED ? walk_set(w, end, true, implicit, depth)
                                       : walk_set(w, w->at + e.length, false, implicit, depth);
        if (status != TOMO_OK) return status;
    }
    return delimited ? cut(w) : TOMO_OK;
}

/* Encapsulated pixel data: an offset table, then fragments, then a delimiter. */
static tomo_status walk_fragments(walker *w, size_t end) {
    tomo_dicom_outline *o = w->outline;
    o->encapsulated = true;
    for (int64_t i = -1;; i++) { /* item -1 is the offset table */
        element e;
        tomo_status status = read_element(w, end, true, &e);
        if (status != TOMO_OK) return status;
        if (e.group == 0xFFFE && e.number == 0xE0DD) return TOMO_OK;
        if (e.group != 0xFFFE || e.number != 0xE000)
            return broken(w, "pixel data of undefined length hold no fragments");
        if (e.length > end - w->at) return cut(w);
        if (i == 0) {
            o->fragment = w->bytes + w->at;
            o->fragment_size = e.length;
        }
        if (i >= 0) {
            o->fragments++;
            o->pixel_bytes += e.length;
        }
        w->at += e.length;
    }
}

static tomo_status walk_value(walker *w, const element *e, size_t end, bool implicit, int depth) {
    bool pixels = depth == 0 && e->group == 0x7FE0 && e->number == 0x0010;
    bool sequence = memcmp(e->vr, "SQ", 2) == 0, unknown = memcmp(e->vr, "UN", 2) == 0 || e->vr[0] == '?';
    if (pixels) w->outline->has_pixels = true;
    if (e->length == UNDEFINED) {
        if (pixels) return walk_fragments(w, end);
        if (!sequence && !unknown) return broken(w, "a plain value of undefined length");
        /* The content of an UN value of undefined length is implicit (PS3.5, 6.2.2). */
        return walk_items(w, end, true, sequence ? implicit : true, depth + 1);
    }
    if (e->length > end - w->at) return cut(w);
    if (pixels) w->outline->pixel_bytes = e->length;
    size_t next = w->at + e->length;
    static const unsigned char item[4] = {0xFE, 0xFF, 0x00, 0xE0};
    bool looks_like_items =
        unknown && !w->big_endian && !pixels && e->length >= 8 && memcmp(w->bytes + w->at, item, 4) == 0;
    if (sequence || looks_like_items) {
        return walk_items(w, next, false, sequence ? implicit : true, depth + 1);
    }
    w->at = next;
    return TOMO_OK;
}

static tomo_status walk_set(walker *w, size_t end, bool delimited, bool implicit, int depth) {
    while (w->at < end) {
        element e;
        tomo_status status = read_element(w, end, implicit, &e);
        if (status != TOMO_OK) return status;
        if (e.group == 0xFFFE) {
            if (delimited && e.number == 0xE00D) return TOMO_OK;
            return broken(w, "a delimiter where none belongs");
        }
        status = walk_value(w, &e, end, implicit, depth);
        if (status != TOMO_OK) return status;
    }
    return delimited ? cut(w) : TOMO_OK;
}

/* Group 0002, always explicit little endian; takes the transfer syntax out of it. */
static tomo_status walk_meta(walker *w) {
    while (w->size - w->at >= 8 && get16(w, w->at) == 0x0002) {
        element e;
        tomo_status status = read_element(w, w->size, false, &e);
        if (status != TOMO_OK) return status;
        if (e.length > w->size - w->at) return cut(w);
        if (e.number == 0x0010) {
            char *uid = w->outline->transfer_syntax;
            size_t length = e.length < 64 ? e.length : 64;
            memcpy(uid, w->bytes + w->at, length);
            uid[length] = '\0';
            for (size_t i = strlen(uid); i > 0 && uid[i - 1] == ' '; i--) uid[i - 1] = '\0';
        }
        w->at += e.length;
    }
    return TOMO_OK;
}

/* Without a preamble the first element must be one with which data sets begin. */
static bool starts_a_set(const unsigned char *p, size_t size, bool *implicit) {
    if (size < 16 || p[1] != 0 || (p[0] != 0x02 && p[0] != 0x08) || p[3] != 0) return false;
    char vr[2] = {(char)p[4], (char)p[5]};
    *implicit = !vr_is_known(vr);
    uint32_t length = (uint32_t)p[4] | (uint32_t)p[5] << 8 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 24;
    return !*implicit || (p[0] == 0x08 && length <= 1024);
}

static bool has_mark(const unsigned char *bytes, size_t size) {
    return size >= PREAMBLE && memcmp(bytes + 128, "DICM", 4) == 0;
}

bool tomo_dicom_is_plausible(const unsigned char *bytes, size_t size) {
    bool implicit;
    return has_mark(bytes, size) || starts_a_set(bytes, size, &implicit);
}

/* Inflates a deflated data set, whose bytes the caller frees. */
static tomo_status inflate_set(walker *w, int64_t limit, unsigned char **out, size_t *out_size) {
    z_stream stream = {0};
    size_t left = w->size - w->at, capacity = 65536;
    unsigned char *bytes = malloc(capacity);
    if (bytes == NULL || left > UINT32_MAX || inflateInit2(&stream, -15) != Z_OK) {
        free(bytes);
        return tomo_fail_memory(w->err, w->name, capacity);
    }
    stream.next_in = (z_const Bytef *)(uintptr_t)(w->bytes + w->at);
    stream.avail_in = (uInt)left;
    tomo_status status = TOMO_OK;
    int code = Z_OK;
    while (code == Z_OK && status == TOMO_OK) {
        if (stream.total_out == capacity) {
            unsigned char *larger = (int64_t)capacity < limit ? realloc(bytes, 2 * capacity) : NULL;
            if (larger == NULL) {
                status =
                    tomo_fail(w->err, TOMO_E_LIMIT, "%s: the deflated data set expands to over %lld bytes",
                              w->name, (long long)limit);
                break;
            }
            bytes = larger;
            capacity *= 2;
        }
        stream.next_out = bytes + stream.total_out;
        stream.avail_out =
            (uInt)(capacity - stream.total_out > 1u << 30 ? 1u << 30 : capacity - stream.total_out);
        code = inflate(&stream, Z_NO_FLUSH);
    }
    *out_size = stream.total_out;
    (void)inflateEnd(&stream);
    if (status == TOMO_OK && code == Z_BUF_ERROR) status = cut(w);
    if (status == TOMO_OK && code != Z_STREAM_END) status = broken(w, "the deflated data set is damaged");
    if (status == TOMO_OK) {
        *out = bytes;
    } else {
        free(bytes);
    }
    return status;
}

static tomo_status walk_deflated(walker *w, int64_t limit) {
    unsigned char *bytes = NULL;
    size_t size = 0;
    tomo_status status = inflate_set(w, limit, &bytes, &size);
    if (status != TOMO_OK) return status;
    walker inner = {w->name, bytes, 0, size, false, false, w->outline, w->err};
    status = walk_set(&inner, size, false, false, 0);
    w->outline->fragment = NULL; /* it would point into what is freed here */
    free(bytes);
    return status;
}

tomo_status tomo_dicom_walk(const char *name, const unsigned char *bytes, size_t size, int64_t expanded_limit,
                            tomo_dicom_outline *outline, tomo_error *err) {
    *outline = (tomo_dicom_outline){0};
    walker w = {name, bytes, 0, size, false, false, outline, err};
    bool mark = has_mark(bytes, size), implicit = false;
    if (!mark && !starts_a_set(bytes, size, &implicit)) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not a DICOM file", name);
    }
    if (mark) w.at = PREAMBLE;
    tomo_status status = walk_meta(&w);
    if (status != TOMO_OK) return status;
    const char *syntax = outline->transfer_syntax;
    if (w.at == size) return tomo_fail(err, TOMO_E_TRUNCATED, "%s: a DICOM file without a data set", name);
    if (syntax[0] == '\0') { /* no meta group: the first element tells */
        char vr[2] = {'?', '?'};
        if (size - w.at >= 8) memcpy(vr, bytes + w.at + 4, 2);
        implicit = !vr_is_known(vr);
        (void)snprintf(outline->transfer_syntax, sizeof outline->transfer_syntax, "%s",
                       implicit ? "1.2.840.10008.1.2" : "1.2.840.10008.1.2.1");
    } else {
        implicit = strcmp(syntax, "1.2.840.10008.1.2") == 0;
        w.big_endian = strcmp(syntax, "1.2.840.10008.1.2.2") == 0;
    }
    if (strcmp(syntax, "1.2.840.10008.1.2.1.99") == 0) return walk_deflated(&w, expanded_limit);
    return walk_set(&w, size, false, implicit, 0);
}
