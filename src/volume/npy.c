/* NPY: numpy's array files, versions 1 to 3. The header is a Python literal; it is read as the small grammar
 * that it is and never evaluated. Axes are [z][y][x], [1][z][y][x] or [y][x], canonical already; the spacing
 * is not known: 1 mm, origin 0. */
#include "volume/reader.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

/* What numpy itself accepts when it loads a header (format.py, _MAX_HEADER_SIZE). */
#define HEADER_MOST 10000
#define AXES_MOST 32

typedef struct header {
    char type[16];
    bool fortran, has_type, has_order, has_shape;
    int64_t axes[AXES_MOST];
    int rank;
} header;

/* Stands somewhere in the header's text, which ends with '\0'. */
typedef struct cursor {
    const char *at;
} cursor;

static void skip_space(cursor *c) {
    while (isspace((unsigned char)*c->at)) c->at++;
}

static bool take(cursor *c, char wanted) {
    skip_space(c);
    if (*c->at != wanted) return false;
    c->at++;
    return true;
}

/* 'text' or "text" without escapes, cut to `size`. */
static bool take_text(cursor *c, char *text, size_t size) {
    skip_space(c);
    char quote = *c->at;
    if (quote != '\'' && quote != '"') return false;
    const char *end = strchr(c->at + 1, quote);
    if (end == NULL || (size_t)(end - c->at) > size) return false;
    memcpy(text, c->at + 1, (size_t)(end - c->at) - 1);
    text[end - c->at - 1] = '\0';
    c->at = end + 1;
    return true;
}

static bool take_word(cursor *c, const char *word) {
    skip_space(c);
    size_t length = strlen(word);
    if (strncmp(c->at, word, length) != 0) return false;
    c->at += length;
    return true;
}

/* A whole number; what does not fit int64 is kept as the largest, which every limit refuses. */
static bool take_number(cursor *c, int64_t *number) {
    skip_space(c);
    bool negative = *c->at == '-';
    if (negative) c->at++;
    if (!isdigit((unsigned char)*c->at)) return false;
    *number = 0;
    for (; isdigit((unsigned char)*c->at); c->at++) {
        if (__builtin_mul_overflow(*number, 10, number) ||
            __builtin_add_overflow(*number, *c->at - '0', number)) {
            *number = INT64_MAX;
        }
    }
    if (*c->at == 'L') c->at++; /* written by Python 2 */
    if (negative) *number = -*number;
    return true;
}

static bool take_shape(cursor *c, header *h) {
    if (!take(c, '(')) return false;
    while (!take(c, ')')) {
        if (h->rank == AXES_MOST || !take_number(c, &h->axes[h->rank])) return false;
        h->rank++;
        if (!take(c, ',')) return take(c, ')');
    }
    return true;
}

static bool take_entry(cursor *c, header *h, bool *structured) {
    char key[32];
    if (!take_text(c, key, sizeof key) || !take(c, ':')) return false;
    if (strcmp(key, "descr") == 0) {
        skip_space(c);
        *structured = *c->at == '[';
        h->has_type = true;
        return !*structured && take_text(c, h->type, sizeof h->type);
    }
    if (strcmp(key, "fortran_order") == 0) {
        h->has_order = true;
        h->fortran = take_word(c, "True");
        return h->fortran || take_word(c, "False");
    }
    if (strcmp(key, "shape") == 0 && !h->has_shape) {
        h->has_shape = true;
        return take_shape(c, h);
    }
    return false;
}

static tomo_status parse_header(const tomo_reader *reader, const char *text, header *h, tomo_error *err) {
    cursor c = {text};
    bool structured = false, good = take(&c, '{');
    while (good && !take(&c, '}')) {
        good = take_entry(&c, h, &structured);
        if (good && !take(&c, ',')) {
            good = take(&c, '}');
            break;
        }
    }
    if (structured) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: an array of records; one number an element is wanted",
                         reader->name);
    }
    if (good && h->has_type && h->has_order && h->has_shape) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER,
                     "%s: the NPY header is no dictionary of 'descr', 'fortran_order' and 'shape'",
                     reader->name);
}

static tomo_status parse_type(const tomo_reader *reader, const header *h, tomo_voxel_format *format,
                              tomo_error *err) {
    static const struct {
        const char *name;
        tomo_voxel_type type;
    } known[] = {{"u1", TOMO_VOXEL_U8},  {"b1", TOMO_VOXEL_U8},  {"i1", TOMO_VOXEL_I8},
                 {"u2", TOMO_VOXEL_U16}, {"i2", TOMO_VOXEL_I16}, {"u4", TOMO_VOXEL_U32},
                 {"i4", TOMO_VOXEL_I32}, {"u8", TOMO_VOXEL_U64}, {"i8", TOMO_VOXEL_I64},
                 {"f2", TOMO_VOXEL_F16}, {"f4", TOMO_VOXEL_F32}, {"f8", TOMO_VOXEL_F64}};
    bool order = h->type[0] != '\0' && strchr("<>|=", h->type[0]) != NULL;
    format->big_endian = h->type[0] == '>';
    for (size_t i = 0; order && i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(h->type + 1, known[i].name) == 0) {
            format->type = known[i].type;
            return TOMO_OK;
        }
    }
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: element type '%s' is not read; whole numbers or floats of 1 to 8 bytes are wanted",
                     reader->name, h->type);
}

/* The header's text into `text` (HEADER_MOST + 1 bytes). */
static tomo_status read_header(const tomo_reader *reader, tomo_source *source, char *text, tomo_error *err) {
    unsigned char start[8], length[4] = {0};
    tomo_status status = tomo_source_read(source, start, sizeof start, err);
    if (status != TOMO_OK || memcmp(start, "\x93NUMPY", 6) != 0) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not an NPY file: the mark \\x93NUMPY is missing",
                         reader->name);
    }
    if (start[6] < 1 || start[6] > 3) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: NPY version %u; 1 to 3 are read", reader->name,
                         start[6]);
    }
    status = tomo_source_read(source, length, start[6] == 1 ? 2 : 4, err);
    if (status != TOMO_OK) return status;
    uint32_t bytes = (uint32_t)length[0] | (uint32_t)length[1] << 8 | (uint32_t)length[2] << 16 |
                     (uint32_t)length[3] << 24;
    if (bytes > HEADER_MOST) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: an NPY header of %u bytes; at most %d are read",
                         reader->name, bytes, HEADER_MOST);
    }
    text[bytes] = '\0';
    return tomo_source_read(source, text, bytes, err);
}

/* Counts of the stored axes i (fastest), j, k, and the transform that makes [z][y][x] canonical: x runs to
 * Left, y to Posterior, so the affine is LPS with 1 mm. In Fortran order the first axis, z, is the fastest.
 */
static tomo_status place_axes(const tomo_reader *reader, const header *h, int64_t count[3],
                              tomo_affine *affine, tomo_error *err) {
    int first = h->rank == 4 ? 1 : 0;
    if (h->rank < 2 || h->rank > 4 || (h->rank == 4 && h->axes[0] != 1)) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: %d axes%s; [z][y][x], [1][z][y][x] or [y][x] is wanted", reader->name, h->rank,
                         h->rank == 4 ? ", the first longer than 1" : "");
    }
    int64_t zyx[3] = {1, h->axes[h->rank - 2], h->axes[h->rank - 1]};
    if (h->rank > 2) zyx[0] = h->axes[first];
    *affine = (tomo_affine){0};
    affine->m[3][3] = 1;
    for (int i = 0; i < 3; i++) {
        int world = h->fortran ? 2 - i : i; /* 0: x */
        count[i] = zyx[2 - world];
        affine->m[world][i] = world == 2 ? 1 : -1;
    }
    return TOMO_OK;
}

static tomo_status read_array(tomo_reader *reader, const header *h, tomo_source *source, tomo_error *err) {
    int64_t count[3];
    tomo_affine affine;
    tomo_voxel_format format = {0};
    tomo_placement placement;
    tomo_status status = parse_type(reader, h, &format, err);
    if (status == TOMO_OK) status = place_axes(reader, h, count, &affine, err);
    if (status == TOMO_OK) {
        status = tomo_reader_check_size(reader, count, tomo_voxel_size(format.type), tomo_source_most(source),
                                        err);
    }
    reader->volume->spacing_unknown = true;
    if (status == TOMO_OK) status = tomo_reader_place(reader, count, &affine, &placement, err);
    if (status != TOMO_OK) return status;
    tomo_reader_note(reader, "kind", "NPY");
    tomo_reader_note(reader, "stored_type", tomo_voxel_type_name(format.type));
    tomo_reader_note(reader, "transform", "none: axes taken as [z][y][x], 1 mm");
    status = tomo_reader_fill(reader, &placement, &format, source, err);
    /* The affine has no origin: flips of a stored axis would move it. */
    for (int r = 0; r < 3; r++) reader->volume->affine_ras.m[r][3] = 0;
    return status == TOMO_OK ? tomo_reader_finish(reader, source, err) : status;
}

tomo_status tomo_npy_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err) {
    tomo_source *source = NULL;
    char text[HEADER_MOST + 1];
    header h = {0};
    tomo_status status = tomo_source_open(reader->name, bytes, size, tomo_source_is_gzip(bytes, size),
                                          reader->options.limits.expanded_bytes, &source, err);
    if (status == TOMO_OK) status = read_header(reader, source, text, err);
    if (status == TOMO_OK) status = parse_header(reader, text, &h, err);
    if (status == TOMO_OK) status = read_array(reader, &h, source, err);
    tomo_source_free(source);
    return status;
}
