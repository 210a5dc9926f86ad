/* NIfTI-1 and NIfTI-2. Header bytes go through our own checks first, then libnifti2 turns them into fields
 * and transforms; voxels are read by our own checked reader (libnifti's trusts dim[] when it allocates).
 *
 * Transform: sform if sform_code > 0, else qform if qform_code > 0, else nibabel's choice for files without
 * either: x to Left, y to Anterior, z to Superior, centred (libnifti has x to Right and the origin at voxel
 * 0). */
#include "base/file.h"
#include "base/size.h"
#include "volume/reader.h"

#include <math.h>
#include <nifti2_io.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_1 348
#define HEADER_2 540

/* The header as it stands in the file, in the host's byte order. */
typedef struct header {
    int version;
    bool swapped, pair; /* pair: the voxels are in a file of their own */
    union {
        nifti_1_header one;
        nifti_2_header two;
    } as_stored;
    int64_t dim[8];
    int datatype, bits;
    double offset; /* of the first voxel, from the start of its file */
} header;

static int16_t get16(const unsigned char *p, bool swap) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return (int16_t)(swap ? __builtin_bswap16(v) : v);
}

static uint32_t get32(const unsigned char *p, bool swap) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return swap ? __builtin_bswap32(v) : v;
}

static int64_t get64(const unsigned char *p, bool swap) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return (int64_t)(swap ? __builtin_bswap64(v) : v);
}

static void parse_1(const unsigned char *bytes, header *h) {
    memcpy(&h->as_stored.one, bytes, HEADER_1);
    for (int i = 0; i < 8; i++) h->dim[i] = get16(bytes + 40 + 2 * i, h->swapped);
    h->datatype = get16(bytes + 70, h->swapped);
    h->bits = get16(bytes + 72, h->swapped);
    uint32_t word = get32(bytes + 108, h->swapped);
    float offset;
    memcpy(&offset, &word, sizeof offset);
    h->offset = (double)offset;
    h->pair = memcmp(bytes + 344, "ni1", 4) == 0;
}

static void parse_2(const unsigned char *bytes, header *h) {
    memcpy(&h->as_stored.two, bytes, HEADER_2);
    for (int i = 0; i < 8; i++) h->dim[i] = get64(bytes + 16 + 8 * i, h->swapped);
    h->datatype = get16(bytes + 12, h->swapped);
    h->bits = get16(bytes + 14, h->swapped);
    h->offset = (double)get64(bytes + 168, h->swapped);
    h->pair = memcmp(bytes + 4, "ni2", 4) == 0;
}

/* Reads and recognises the header. */
static tomo_status read_header(tomo_reader *reader, tomo_source *source, header *h, tomo_error *err) {
    unsigned char bytes[HEADER_2] = {0};
    *h = (header){0};
    size_t got = 0;
    tomo_status status = tomo_source_read_some(source, bytes, HEADER_1, &got, err);
    if (status != TOMO_OK) return status;
    uint32_t first = got >= 4 ? get32(bytes, false) : 0;
    h->swapped = first == __builtin_bswap32(HEADER_1) || first == __builtin_bswap32(HEADER_2);
    if (h->swapped) first = __builtin_bswap32(first);
    if (first != HEADER_1 && first != HEADER_2) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not a NIfTI file: it starts with %u; 348 or 540 is wanted",
                         reader->name, first);
    }
    if (got < HEADER_1) {
        return tomo_fail(err, TOMO_E_TRUNCATED, "%s: the header ends after %zu bytes; 348 are wanted",
                         reader->name, got);
    }
    h->version = first == HEADER_1 ? 1 : 2;
    if (h->version == 1) {
        if (memcmp(bytes + 344, "n+1", 4) != 0 && memcmp(bytes + 344, "ni1", 4) != 0) {
            return tomo_fail(
                err, TOMO_E_FORMAT,
                "%s: the NIfTI-1 magic is missing; 'n+1' or 'ni1' is wanted (ANALYZE files are not read)",
                reader->name);
        }
        parse_1(bytes, h);
        return TOMO_OK;
    }
    status = tomo_source_read(source, bytes + HEADER_1, HEADER_2 - HEADER_1, err);
    if (status != TOMO_OK) return status;
    if (memcmp(bytes + 4, "n+2\0\r\n\032\n", 8) != 0 && memcmp(bytes + 4, "ni2\0\r\n\032\n", 8) != 0) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: the NIfTI-2 magic is missing or was changed in transfer",
                         reader->name);
    }
    parse_2(bytes, h);
    return TOMO_OK;
}

static const struct {
    int code, bits;
    tomo_voxel_type type;
} scalar_types[] = {
    {NIFTI_TYPE_UINT8, 8, TOMO_VOXEL_U8},     {NIFTI_TYPE_INT8, 8, TOMO_VOXEL_I8},
    {NIFTI_TYPE_UINT16, 16, TOMO_VOXEL_U16},  {NIFTI_TYPE_INT16, 16, TOMO_VOXEL_I16},
    {NIFTI_TYPE_UINT32, 32, TOMO_VOXEL_U32},  {NIFTI_TYPE_INT32, 32, TOMO_VOXEL_I32},
    {NIFTI_TYPE_UINT64, 64, TOMO_VOXEL_U64},  {NIFTI_TYPE_INT64, 64, TOMO_VOXEL_I64},
    {NIFTI_TYPE_FLOAT32, 32, TOMO_VOXEL_F32}, {NIFTI_TYPE_FLOAT64, 64, TOMO_VOXEL_F64},
};

static tomo_status check_type(const tomo_reader *reader, const header *h, tomo_voxel_type *type,
                              tomo_error *err) {
    for (size_t i = 0; i < sizeof scalar_types / sizeof scalar_types[0]; i++) {
        if (scalar_types[i].code != h->datatype) continue;
        if (scalar_types[i].bits != h->bits) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: bitpix is %d; datatype %d has %d", reader->name,
                             h->bits, h->datatype, scalar_types[i].bits);
        }
        *type = scalar_types[i].type;
        return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: datatype %d is not read (colour, complex or unknown); one number a voxel is wanted",
                     reader->name, h->datatype);
}

/* Axes that the header does not count have one voxel, whatever their fields say. */
static tomo_status check_axes(tomo_reader *reader, header *h, int64_t count[3], int64_t *volumes,
                              tomo_error *err) {
    if (h->dim[0] < 1 || h->dim[0] > 7) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: dim[0] is %lld; 1 to 7 axes are wanted", reader->name,
                         (long long)h->dim[0]);
    }
    for (int i = 1; i < 8; i++) {
        if (i > h->dim[0]) h->dim[i] = 1;
        if (h->dim[i] < 1) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: dim[%d] is %lld; at least 1 is wanted", reader->name, i,
                             (long long)h->dim[i]);
        }
    }
    for (int i = 0; i < 3; i++) count[i] = h->dim[i + 1];
    *volumes = h->dim[4];
    int64_t all = 0;
    if (!tomo_shape_count(h->dim + 1, 7, &all)) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: more voxels than can be counted", reader->name);
    }
    if (h->dim[5] == 1 && h->dim[6] == 1 && h->dim[7] == 1) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: more than four axes (dim[5] to dim[7] are %lld, %lld, %lld)", reader->name,
                     (long long)h->dim[5], (long long)h->dim[6], (long long)h->dim[7]);
}

static tomo_status check_offset(const tomo_reader *reader, header *h, tomo_error *err) {
    int least = h->pair ? 0 : (h->version == 1 ? HEADER_1 : HEADER_2) + 4; /* + 4: the extension flags */
    if (h->offset == 0 && !h->pair) h->offset = least; /* common in files of older writers */
    if (h->offset >= least && h->offset <= 1e15 && h->offset == floor(h->offset)) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: vox_offset is %g; a whole number of at least %d is wanted",
                     reader->name, h->offset, least);
}

/* libnifti2 makes fields and both transforms of the header. */
static tomo_status convert_header(const tomo_reader *reader, const header *h, nifti_image **image,
                                  tomo_error *err) {
    /* Without this libnifti2 writes to stderr; it is one global number, always set to the same. */
    nifti_set_debug_level(0);
    *image = h->version == 1 ? nifti_convert_n1hdr2nim(h->as_stored.one, "volume.nii")
                             : nifti_convert_n2hdr2nim(h->as_stored.two, "volume.nii");
    if (*image != NULL) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: libnifti2 refuses the header", reader->name);
}

static tomo_affine from_nifti(const nifti_dmat44 *m) {
    tomo_affine a;
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < 4; c++) a.m[r][c] = m->m[r][c];
    }
    return a;
}

/* nibabel's base affine: x flipped, the volume's centre at 0. */
static tomo_affine base_affine(const nifti_image *image, const int64_t count[3]) {
    tomo_affine a = tomo_affine_identity();
    const double spacing[3] = {-fabs(image->dx), fabs(image->dy), fabs(image->dz)};
    for (int i = 0; i < 3; i++) {
        a.m[i][i] = spacing[i];
        a.m[i][3] = -spacing[i] * ((double)count[i] - 1) / 2;
    }
    return a;
}

static void compare_transforms(tomo_volume *volume, const nifti_image *image) {
    double worst = 0;
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 4; c++)
            worst = fmax(worst, fabs(image->qto_xyz.m[r][c] - image->sto_xyz.m[r][c]));
    }
    if (worst > 0.01) {
        tomo_volume_warn(volume, "W_XFORM_DISAGREE",
                         "qform and sform differ by up to %.3g; the sform is used", worst);
    }
}

/* Metres and microns become millimetres, as in ITK (nibabel ignores the field). */
static void apply_units(tomo_volume *volume, const nifti_image *image, tomo_affine *affine) {
    double factor = image->xyz_units == NIFTI_UNITS_METER    ? 1000.0
                    : image->xyz_units == NIFTI_UNITS_MICRON ? 0.001
                                                             : 1.0;
    if (factor == 1.0) return;
    tomo_volume_warn(volume, "W_UNITS", "the file is in %s; lengths were turned into millimetres",
                     factor > 1 ? "metres" : "microns");
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 4; c++) affine->m[r][c] *= factor;
    }
}

static tomo_affine choose_affine(tomo_reader *reader, const nifti_image *image, const int64_t count[3]) {
    tomo_affine affine;
    const char *by;
    if (image->sform_code > 0) {
        affine = from_nifti(&image->sto_xyz);
        by = "sform";
        if (image->qform_code > 0) compare_transforms(reader->volume, image);
    } else if (image->qform_code > 0) {
        affine = from_nifti(&image->qto_xyz);
        by = "qform";
    } else {
        affine = base_affine(image, count);
        by = "none";
        tomo_volume_warn(reader->volume, "W_NO_ORIENTATION",
                         "the file has no orientation; x is taken as Left, y as Anterior, z as Superior");
    }
    apply_units(reader->volume, image, &affine);
    tomo_reader_note(reader, "transform", by);
    return affine;
}

static void note_header(tomo_reader *reader, const header *h, const tomo_voxel_format *format,
                        const nifti_image *image, int64_t volumes) {
    tomo_reader_note(reader, "kind", h->version == 1 ? "NIfTI-1" : "NIfTI-2");
    tomo_reader_note(reader, "stored_type", tomo_voxel_type_name(format->type));
    if (format->scaled) {
        tomo_reader_note_number(reader, "rescale_slope", format->slope);
        tomo_reader_note_number(reader, "rescale_intercept", format->intercept);
    }
    tomo_reader_note_number(reader, "qform_code", image->qform_code);
    tomo_reader_note_number(reader, "sform_code", image->sform_code);
    if (volumes > 1) {
        tomo_reader_note_number(reader, "volumes", (double)volumes);
        tomo_reader_note_number(reader, "volume", (double)reader->options.index);
    }
}

static tomo_status choose_volume(tomo_reader *reader, int64_t volumes, tomo_error *err) {
    if (reader->options.index < 0 || reader->options.index >= volumes) {
        return tomo_fail(err, TOMO_E_USAGE,
                         "%s: volume %lld was asked for; the file has %lld, counted from 0", reader->name,
                         (long long)reader->options.index, (long long)volumes);
    }
    if (volumes > 1 && reader->options.index == 0) {
        tomo_volume_warn(reader->volume, "W_4D", "the file has %lld volumes; the first is read",
                         (long long)volumes);
    }
    return TOMO_OK;
}

/* Everything behind the header; `source` stands at byte `at` of the file that holds the voxels. */
static tomo_status read_voxels(tomo_reader *reader, header *h, tomo_source *source, int64_t at,
                               tomo_error *err) {
    int64_t count[3], volumes = 1, skip = 0, voxels = 0;
    tomo_voxel_format format = {.big_endian = h->swapped == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)};
    nifti_image *image = NULL;
    tomo_placement placement;
    tomo_status status = check_type(reader, h, &format.type, err);
    if (status == TOMO_OK) status = check_axes(reader, h, count, &volumes, err);
    if (status == TOMO_OK) status = check_offset(reader, h, err);
    if (status == TOMO_OK) {
        int64_t most = tomo_source_most(source), offset = (int64_t)h->offset - at;
        status = tomo_reader_check_size(reader, count, tomo_voxel_size(format.type),
                                        most - (offset < most ? offset : most), err);
    }
    if (status == TOMO_OK) status = choose_volume(reader, volumes, err);
    if (status == TOMO_OK) status = convert_header(reader, h, &image, err);
    if (status != TOMO_OK) goto done;
    /* Slope 0 or not finite: no scaling at all, the intercept is ignored (NIfTI standard, nibabel). */
    format.slope = image->scl_slope;
    format.intercept = isfinite(image->scl_inter) ? image->scl_inter : 0;
    format.scaled =
        isfinite(format.slope) && format.slope != 0 && (format.slope != 1 || format.intercept != 0);
    tomo_affine affine = choose_affine(reader, image, count);
    note_header(reader, h, &format, image, volumes);
    status = tomo_reader_place(reader, count, &affine, &placement, err);
    if (status != TOMO_OK) goto done;
    (void)tomo_shape_count(count, 3, &voxels); /* checked above */
    if (__builtin_mul_overflow(voxels * (int64_t)tomo_voxel_size(format.type), reader->options.index,
                               &skip) ||
        __builtin_add_overflow(skip, (int64_t)h->offset - at, &skip)) {
        status = tomo_fail(err, TOMO_E_LIMIT, "%s: volume %lld lies too far into the file", reader->name,
                           (long long)reader->options.index);
        goto done;
    }
    status = tomo_source_skip(source, skip, err);
    if (status == TOMO_OK) status = tomo_reader_fill(reader, &placement, &format, source, err);
    if (status == TOMO_OK && reader->options.index == volumes - 1)
        status = tomo_reader_finish(reader, source, err);
done:
    nifti_image_free(image);
    return status;
}

/* "x.hdr" -> "x.img", "x.hdr.gz" -> "x.img.gz" or "x.img", whichever is there. Freed by the caller. */
static char *image_path(const char *path) {
    size_t length = strlen(path);
    bool gz = length > 3 && strcmp(path + length - 3, ".gz") == 0;
    size_t stem = gz ? length - 3 : length;
    if (stem < 4 || strncmp(path + stem - 4, ".hdr", 4) != 0) return NULL;
    char *image = malloc(stem + 4);
    if (image == NULL) return NULL;
    memcpy(image, path, stem - 4);
    memcpy(image + stem - 4, ".img.gz", 8);
    if (!tomo_path_exists(image)) image[stem] = '\0';
    return image;
}

static tomo_status read_pair(tomo_reader *reader, header *h, tomo_error *err) {
    char *path = reader->path == NULL ? NULL : image_path(reader->path);
    if (path == NULL) {
        return tomo_fail(
            err, TOMO_E_UNSUPPORTED,
            "%s: a header whose voxels are in another file; name it .hdr, with the .img beside it",
            reader->name);
    }
    tomo_map map = {0};
    tomo_source *source = NULL;
    tomo_error inner;
    tomo_status status = tomo_map_open(path, &map, &inner);
    if (status != TOMO_OK) {
        (void)tomo_fail(err, status, "%s: its voxels are in %.400s", reader->name, inner.message);
        goto done;
    }
    status = tomo_source_open(reader->name, map.data, map.size, tomo_source_is_gzip(map.data, map.size),
                              reader->options.limits.expanded_bytes, &source, err);
    if (status == TOMO_OK) status = read_voxels(reader, h, source, 0, err);
done:
    tomo_source_free(source);
    tomo_map_close(&map);
    free(path);
    return status;
}

tomo_status tomo_nifti_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err) {
    tomo_source *source = NULL;
    header h;
    tomo_status status = tomo_source_open(reader->name, bytes, size, tomo_source_is_gzip(bytes, size),
                                          reader->options.limits.expanded_bytes, &source, err);
    if (status == TOMO_OK) status = read_header(reader, source, &h, err);
    if (status == TOMO_OK) {
        status = h.pair ? read_pair(reader, &h, err)
                        : read_voxels(reader, &h, source, h.version == 1 ? HEADER_1 : HEADER_2, err);
    }
    tomo_source_free(source);
    return status;
}
