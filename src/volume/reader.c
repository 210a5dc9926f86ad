#include "volume/reader.h"

#include "base/limits.h"
#include "base/size.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} types[TOMO_VOXEL_TYPES] = {
    {"uint8", 1},  {"int8", 1},  {"uint16", 2},  {"int16", 2},   {"uint32", 4},  {"int32", 4},
    {"uint64", 8}, {"int64", 8}, {"float16", 2}, {"float32", 4}, {"float64", 8},
};

size_t tomo_voxel_size(tomo_voxel_type type) {
    return types[type].size;
}

const char *tomo_voxel_type_name(tomo_voxel_type type) {
    return types[type].name;
}

/* IEEE binary16: 1 sign, 5 exponent, 10 fraction bits. */
static double half_value(uint16_t bits) {
    uint32_t sign = (uint32_t)(bits & 0x8000) << 16, exponent = (bits >> 10) & 31, fraction = bits & 1023;
    uint32_t word;
    if (exponent == 0) { /* zero or subnormal: fraction * 2^-24 */
        double value = (double)fraction / 16777216.0;
        return sign != 0 ? -value : value;
    }
    word = sign | (exponent == 31 ? 0x7f800000u : (exponent + 112) << 23) | fraction << 13;
    float value;
    memcpy(&value, &word, sizeof value);
    return (double)value;
}

/* Reads element i of the host's byte order or, with `swap`, of the other one. */
#define LOAD(kind, swapped)                                                                                  \
    kind bits;                                                                                               \
    memcpy(&bits, raw + (size_t)i * sizeof bits, sizeof bits);                                               \
    if (swap) bits = swapped(bits);

static inline uint16_t swap16(uint16_t v) {
    return __builtin_bswap16(v);
}
static inline uint32_t swap32(uint32_t v) {
    return __builtin_bswap32(v);
}
static inline uint64_t swap64(uint64_t v) {
    return __builtin_bswap64(v);
}

static inline double value16(tomo_voxel_type type, uint16_t bits) {
    if (type == TOMO_VOXEL_F16) return half_value(bits);
    return type == TOMO_VOXEL_I16 ? (double)(int16_t)bits : (double)bits;
}

static inline double value32(tomo_voxel_type type, uint32_t bits) {
    if (type == TOMO_VOXEL_F32) {
        float value;
        memcpy(&value, &bits, sizeof value);
        return (double)value;
    }
    return type == TOMO_VOXEL_I32 ? (double)(int32_t)bits : (double)bits;
}

static inline double value64(tomo_voxel_type type, uint64_t bits) {
    if (type == TOMO_VOXEL_F64) {
        double value;
        memcpy(&value, &bits, sizeof value);
        return value;
    }
    return type == TOMO_VOXEL_I64 ? (double)(int64_t)bits : (double)bits;
}

static inline double load(tomo_voxel_type type, bool swap, const unsigned char *raw, int64_t i) {
    switch (types[type].size) {
    case 1:
        return type == TOMO_VOXEL_I8 ? (double)(int8_t)raw[i] : (double)raw[i];
    case 2: {
        LOAD(uint16_t, swap16)
        return value16(type, bits);
    }
    case 4: {
        LOAD(uint32_t, swap32)
        return value32(type, bits);
    }
    default: {
        LOAD(uint64_t, swap64)
        return value64(type, bits);
    }
    }
}

void tomo_voxels_convert(const tomo_voxel_format *f, const unsigned char *raw, int64_t n, float *out,
                         ptrdiff_t stride) {
    bool swap = f->big_endian == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__);
    if (f->scaled) {
        for (int64_t i = 0; i < n; i++) {
            out[i * stride] = (float)(load(f->type, swap, raw, i) * f->slope + f->intercept);
        }
    } else {
        for (int64_t i = 0; i < n; i++) out[i * stride] = (float)load(f->type, swap, raw, i);
    }
}

tomo_status tomo_reader_check_size(const tomo_reader *reader, const int64_t count[3], size_t element,
                                   int64_t most, tomo_error *err) {
    int64_t voxels = 0, bytes = 0;
    for (int i = 0; i < 3; i++) {
        if (count[i] < 1) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: axis %d has %lld voxels; at least 1 is wanted",
                             reader->name, i + 1, (long long)count[i]);
        }
    }
    if (!tomo_shape_count(count, 3, &voxels) || voxels > reader->options.limits.voxels) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %lld x %lld x %lld voxels; at most %lld in all are read",
                         reader->name, (long long)count[0], (long long)count[1], (long long)count[2],
                         (long long)reader->options.limits.voxels);
    }
    if (__builtin_mul_overflow(voxels, (int64_t)element, &bytes) || bytes > most) {
        return tomo_fail(err, TOMO_E_TRUNCATED,
                         "%s: %lld x %lld x %lld voxels need more bytes than the file holds; copy it again",
                         reader->name, (long long)count[0], (long long)count[1], (long long)count[2]);
    }
    return TOMO_OK;
}

tomo_status tomo_reader_place(tomo_reader *reader, const int64_t count[3], const tomo_affine *affine,
                              tomo_placement *placement, tomo_error *err) {
    if (!tomo_affine_is_usable(affine)) {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: the transform to millimetres is singular or not finite; three different directions "
            "and a spacing above 0 are wanted",
            reader->name);
    }
    tomo_placement_compute(count, affine, placement);
    if (placement->shape[0] > reader->options.limits.slices) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %lld slices; at most %lld are read", reader->name,
                         (long long)placement->shape[0], (long long)reader->options.limits.slices);
    }
    tomo_volume *v = reader->volume;
    int64_t voxels = 0;
    size_t bytes = 0;
    if (!tomo_shape_count(placement->shape, 3, &voxels) ||
        !tomo_size_mul((size_t)voxels, sizeof *v->voxels, &bytes)) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: too many voxels", reader->name);
    }
    free(v->voxels);
    v->voxels = malloc(bytes); /* pages are touched as voxels arrive: a hostile header costs nothing */
    if (v->voxels == NULL) return tomo_fail_memory(err, reader->name, bytes);
    memcpy(v->shape, placement->shape, sizeof v->shape);
    tomo_volume_set_affine(v, &placement->affine);
    return TOMO_OK;
}

/* Rows of i are read in pieces of at most this many, so that even one row of a billion needs little. */
#define ROW_PIECE 65536

tomo_status tomo_reader_fill(tomo_reader *reader, const tomo_placement *p, const tomo_voxel_format *format,
                             tomo_source *source, tomo_error *err) {
    size_t element = tomo_voxel_size(format->type);
    unsigned char *raw = malloc(ROW_PIECE * element);
    if (raw == NULL) return tomo_fail_memory(err, reader->name, ROW_PIECE * element);
    tomo_status status = TOMO_OK;
    for (int64_t k = 0; k < p->count[2] && status == TOMO_OK; k++) {
        status = tomo_progress(reader->options.hooks, "reading", k, p->count[2], err);
        for (int64_t j = 0; j < p->count[1] && status == TOMO_OK; j++) {
            float *row = reader->volume->voxels + p->base + j * p->stride[1] + k * p->stride[2];
            for (int64_t i = 0; i < p->count[0] && status == TOMO_OK; i += ROW_PIECE) {
                int64_t n = p->count[0] - i < ROW_PIECE ? p->count[0] - i : ROW_PIECE;
                status = tomo_source_read(source, raw, (size_t)n * element, err);
                if (status == TOMO_OK)
                    tomo_voxels_convert(format, raw, n, row + i * p->stride[0], p->stride[0]);
            }
        }
    }
    free(raw);
    return status;
}

/* What follows the last voxel is read this far in search of the checksum; a gzip bomb is left unread. */
#define TRAILING_MOST ((int64_t)16 << 20)

tomo_status tomo_reader_finish(tomo_reader *reader, tomo_source *source, tomo_error *err) {
    unsigned char waste[4096];
    size_t got = 1;
    for (int64_t all = 0; got > 0 && all < TRAILING_MOST; all += (int64_t)got) {
        tomo_status status = tomo_source_read_some(source, waste, sizeof waste, &got, err);
        if (status != TOMO_OK) return status;
        if (got > 0) {
            tomo_volume_warn(reader->volume, "W_TRAILING_DATA",
                             "data follow the last voxel; they are not read");
        }
    }
    return TOMO_OK;
}

void tomo_reader_note(tomo_reader *reader, const char *key, const char *text) {
    (void)cJSON_AddStringToObject(reader->volume->record, key, text);
}

void tomo_reader_note_number(tomo_reader *reader, const char *key, double number) {
    (void)cJSON_AddNumberToObject(reader->volume->record, key, number);
}
