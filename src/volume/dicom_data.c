#include "volume/dicom_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* Sequences within sequences; enhanced images use 4, radiotherapy 6. */
#define DEPTH_MOST 24
#define UNDEFINED 0xFFFFFFFFu
#define PREAMBLE 132

/* Elements of one file; an enhanced image of 1000 frames has 60,000. */
#define NODES_MOST 4000000

/* An element or an item. The elements of a set are chained by `next`, and so are the items of a sequence. */
typedef struct node {
    uint16_t group, number;
    bool is_value;
    uint32_t first, next; /* TOMO_DICOM_NONE: none */
    uint32_t size;
    size_t offset;
} node;

struct tomo_dicom_data {
    const unsigned char *bytes; /* the file's, or the inflated ones */
    unsigned char *inflated;
    node *nodes; /* node 0 is the data set */
    size_t count, capacity;
    char transfer_syntax[65];
    bool big_endian;
    tomo_dicom_pixel_data pixels;
};

typedef struct walker {
    const char *name;
    const unsigned char *bytes;
    size_t at, size;
    bool big_endian;
    tomo_dicom_data *data;
    tomo_error *err;
} walker;

/* Adds a node behind *previous, or as the first one of `parent`, and makes it the previous one. */
static tomo_status add_node(walker *w, node n, uint32_t parent, uint32_t *previous) {
    tomo_dicom_data *d = w->data;
    if (d->count == NODES_MOST) {
        return tomo_fail(w->err, TOMO_E_LIMIT, "%s: more than %d DICOM elements", w->name, NODES_MOST);
    }
    if (d->count == d->capacity) {
        size_t capacity = d->capacity == 0 ? 256 : 2 * d->capacity;
        node *nodes = realloc(d->nodes, capacity * sizeof *nodes);
        if (nodes == NULL) return tomo_fail_memory(w->err, w->name, capacity * sizeof *nodes);
        d->nodes = nodes;
        d->capacity = capacity;
    }
    uint32_t index = (uint32_t)d->count++;
    d->nodes[index] = n;
    if (*previous != TOMO_DICOM_NONE) {
        d->nodes[*previous].next = index;
    } else if (parent != TOMO_DICOM_NONE) {
        d->nodes[parent].first = index;
    }
    *previous = index;
    return TOMO_OK;
}

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

static tomo_status walk_set(walker *w, size_t end, bool delimited, bool implicit, int depth, uint32_t set);

/* The items of a sequence, up to `end` or (`delimited`) the sequence's delimiter. */
static tomo_status walk_items(walker *w, size_t end, bool delimited, bool implicit, int depth,
                              uint32_t sequence) {
    uint32_t item = TOMO_DICOM_NONE;
    if (depth > DEPTH_MOST) return broken(w, "sequences nested too deep");
    while (w->at < end) {
        element e;
        tomo_status status = read_element(w, end, implicit, &e);
        if (status != TOMO_OK) return status;
        if (delimited && e.group == 0xFFFE && e.number == 0xE0DD) return TOMO_OK;
        if (e.group != 0xFFFE || e.number != 0xE000) return broken(w, "a sequence holds no item");
        if (e.length != UNDEFINED && e.length > end - w->at) return cut(w);
        node n = {.group = e.group, .number = e.number, .first = TOMO_DICOM_NONE, .next = TOMO_DICOM_NONE};
        status = add_node(w, n, sequence, &item);
        if (status == TOMO_OK) {
            status = e.length == UNDEFINED ? walk_set(w, end, true, implicit, depth, item)
                                           : walk_set(w, w->at + e.length, false, implicit, depth, item);
        }
        if (status != TOMO_OK) return status;
    }
    return delimited ? cut(w) : TOMO_OK;
}

/* Encapsulated pixel data: an offset table, then fragments, then a delimiter. */
static tomo_status walk_fragments(walker *w, size_t end) {
    tomo_dicom_pixel_data *p = &w->data->pixels;
    p->encapsulated = true;
    p->bytes = w->bytes + w->at;
    for (int64_t i = -1;; i++) { /* item -1 is the offset table */
        element e;
        tomo_status status = read_element(w, end, true, &e);
        if (status != TOMO_OK) return status;
        if (e.group == 0xFFFE && e.number == 0xE0DD) break;
        if (e.group != 0xFFFE || e.number != 0xE000) {
            return broken(w, "pixel data of undefined length hold no fragments");
        }
        if (e.length > end - w->at) return cut(w);
        if (i == -1) p->offset_table_size = e.length;
        if (i == 0) {
            p->fragment = w->bytes + w->at;
            p->fragment_size = e.length;
        }
        p->fragments = i + 1;
        w->at += e.length;
    }
    p->size = (size_t)(w->bytes + w->at - p->bytes);
    return TOMO_OK;
}

/* What `e` holds; `index` is its node. */
static tomo_status walk_value(walker *w, const element *e, size_t end, bool implicit, int depth,
                              uint32_t index) {
    bool pixels = depth == 0 && e->group == 0x7FE0 && e->number == 0x0010;
    bool sequence = memcmp(e->vr, "SQ", 2) == 0, unknown = memcmp(e->vr, "UN", 2) == 0 || e->vr[0] == '?';
    if (pixels) w->data->pixels = (tomo_dicom_pixel_data){.present = true};
    if (e->length == UNDEFINED) {
        if (pixels) return walk_fragments(w, end);
        if (!sequence && !unknown) return broken(w, "a plain value of undefined length");
        /* The content of an UN value of undefined length is implicit (PS3.5, 6.2.2). */
        return walk_items(w, end, true, sequence ? implicit : true, depth + 1, index);
    }
    if (e->length > end - w->at) return cut(w);
    size_t next = w->at + e->length;
    if (pixels) {
        w->data->pixels.bytes = w->bytes + w->at;
        w->data->pixels.size = e->length;
    }
    /* Without a value representation only the content tells that this is a sequence. */
    static const unsigned char item[4] = {0xFE, 0xFF, 0x00, 0xE0};
    bool looks_like_items =
        unknown && !w->big_endian && !pixels && e->length >= 8 && memcmp(w->bytes + w->at, item, 4) == 0;
    if (sequence || looks_like_items) {
        return walk_items(w, next, false, sequence ? implicit : true, depth + 1, index);
    }
    w->data->nodes[index].is_value = true;
    w->data->nodes[index].offset = w->at;
    w->data->nodes[index].size = e->length;
    w->at = next;
    return TOMO_OK;
}

static tomo_status walk_set(walker *w, size_t end, bool delimited, bool implicit, int depth, uint32_t set) {
    uint32_t index = TOMO_DICOM_NONE;
    while (w->at < end) {
        element e;
        tomo_status status = read_element(w, end, implicit, &e);
        if (status != TOMO_OK) return status;
        if (e.group == 0xFFFE) {
            if (delimited && e.number == 0xE00D) return TOMO_OK;
            return broken(w, "a delimiter where none belongs");
        }
        node n = {.group = e.group, .number = e.number, .first = TOMO_DICOM_NONE, .next = TOMO_DICOM_NONE};
        status = add_node(w, n, set, &index);
        if (status == TOMO_OK) status = walk_value(w, &e, end, implicit, depth, index);
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
            char *uid = w->data->transfer_syntax;
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

/* Inflates a deflated data set; the caller frees the bytes. */
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
    w->data->inflated = bytes;
    w->data->bytes = bytes;
    walker inner = {w->name, bytes, 0, size, false, w->data, w->err};
    return walk_set(&inner, size, false, false, 0, TOMO_DICOM_ROOT);
}

/* Finds out how the data set behind the meta group is written, and walks it. */
static tomo_status walk_data_set(walker *w, bool implicit, int64_t expanded_limit) {
    char *syntax = w->data->transfer_syntax;
    if (w->at == w->size)
        return tomo_fail(w->err, TOMO_E_TRUNCATED, "%s: a DICOM file without a data set", w->name);
    if (syntax[0] == '\0') { /* no meta group: the first element tells */
        char vr[2] = {'?', '?'};
        if (w->size - w->at >= 8) memcpy(vr, w->bytes + w->at + 4, 2);
        implicit = !vr_is_known(vr);
        (void)snprintf(syntax, sizeof w->data->transfer_syntax, "%s",
                       implicit ? "1.2.840.10008.1.2" : "1.2.840.10008.1.2.1");
    } else {
        implicit = strcmp(syntax, "1.2.840.10008.1.2") == 0;
        w->big_endian = w->data->big_endian = strcmp(syntax, "1.2.840.10008.1.2.2") == 0;
    }
    if (strcmp(syntax, "1.2.840.10008.1.2.1.99") == 0) return walk_deflated(w, expanded_limit);
    return walk_set(w, w->size, false, implicit, 0, TOMO_DICOM_ROOT);
}

tomo_status tomo_dicom_parse(const char *name, const unsigned char *bytes, size_t size,
                             int64_t expanded_limit, tomo_dicom_data **data, tomo_error *err) {
    *data = NULL;
    bool mark = has_mark(bytes, size), implicit = false;
    if (!mark && !starts_a_set(bytes, size, &implicit)) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not a DICOM file", name);
    }
    tomo_dicom_data *d = calloc(1, sizeof *d);
    if (d == NULL) return tomo_fail_memory(err, name, sizeof *d);
    d->bytes = bytes;
    walker w = {name, bytes, mark ? PREAMBLE : 0, size, false, d, err};
    uint32_t root = TOMO_DICOM_NONE;
    tomo_status status = add_node(&w, (node){.first = TOMO_DICOM_NONE, .next = TOMO_DICOM_NONE}, root, &root);
    if (status == TOMO_OK) status = walk_meta(&w);
    if (status == TOMO_OK) status = walk_data_set(&w, implicit, expanded_limit);
    if (status == TOMO_OK) {
        *data = d;
    } else {
        tomo_dicom_data_free(d);
    }
    return status;
}

/* ------------------------------------------------------------------ access */

void tomo_dicom_data_free(tomo_dicom_data *data) {
    if (data == NULL) return;
    free(data->nodes);
    free(data->inflated);
    free(data);
}

const char *tomo_dicom_transfer_syntax(const tomo_dicom_data *data) {
    return data->transfer_syntax;
}

bool tomo_dicom_is_big_endian(const tomo_dicom_data *data) {
    return data->big_endian;
}

const tomo_dicom_pixel_data *tomo_dicom_pixels(const tomo_dicom_data *data) {
    return &data->pixels;
}

static const node *find(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t number) {
    for (uint32_t i = data->nodes[set].first; i != TOMO_DICOM_NONE; i = data->nodes[i].next) {
        if (data->nodes[i].group == group && data->nodes[i].number == number) return &data->nodes[i];
    }
    return NULL;
}

bool tomo_dicom_value(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t number,
                      const char **bytes, size_t *size) {
    const node *n = find(data, set, group, number);
    if (n == NULL || !n->is_value || n->size == 0) return false;
    *bytes = (const char *)data->bytes + n->offset;
    *size = n->size;
    return true;
}

tomo_dicom_set tomo_dicom_first_item(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group,
                                     uint16_t number) {
    const node *n = find(data, set, group, number);
    return n == NULL || n->is_value ? TOMO_DICOM_NONE : n->first;
}

tomo_dicom_set tomo_dicom_next_item(const tomo_dicom_data *data, tomo_dicom_set item) {
    return data->nodes[item].next;
}
