/* reader.h - what the readers of the formats share. */
#ifndef TOMO_VOLUME_READER_H
#define TOMO_VOLUME_READER_H

#include "volume/geometry.h"
#include "volume/source.h"

/* A scan on its way from bytes to a volume. */
typedef struct tomo_reader {
    const char *name; /* for messages: the path as it was given */
    const char *path; /* where the file is, to find its second part (.img, detached data); NULL: in memory */
    tomo_volume_options options; /* limits are filled in */
    tomo_volume *volume;
} tomo_reader;

/* The readers. Each fills reader->volume but for what tomo_volume_open does at the end for all: replacing
 * non-finite voxels, statistics, W_OBLIQUE. */
tomo_status tomo_nifti_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err);
tomo_status tomo_npy_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err);
tomo_status tomo_nrrd_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err);

/* Element types of voxels in files. */
typedef enum tomo_voxel_type {
    TOMO_VOXEL_U8,
    TOMO_VOXEL_I8,
    TOMO_VOXEL_U16,
    TOMO_VOXEL_I16,
    TOMO_VOXEL_U32,
    TOMO_VOXEL_I32,
    TOMO_VOXEL_U64,
    TOMO_VOXEL_I64,
    TOMO_VOXEL_F16,
    TOMO_VOXEL_F32,
    TOMO_VOXEL_F64,
    TOMO_VOXEL_TYPES
} tomo_voxel_type;

/* How stored numbers become values: stored * slope + intercept in double, rounded once to float32. */
typedef struct tomo_voxel_format {
    tomo_voxel_type type;
    bool big_endian;
    bool scaled; /* false: slope and intercept are not applied */
    double slope, intercept;
} tomo_voxel_format;

size_t tomo_voxel_size(tomo_voxel_type type);
const char *tomo_voxel_type_name(tomo_voxel_type type);

/* Converts n elements; the i-th goes to out[i * stride]. */
void tomo_voxels_convert(const tomo_voxel_format *format, const unsigned char *raw, int64_t n, float *out,
                         ptrdiff_t stride);

/* Checks the counts (each at least 1) against the limits: TOMO_E_HEADER, TOMO_E_LIMIT. `most` is the number
 * of bytes that the input can still give; more voxels than that need: TOMO_E_TRUNCATED. */
tomo_status tomo_reader_check_size(const tomo_reader *reader, const int64_t count[3], size_t element,
                                   int64_t most, tomo_error *err);
/* Computes the placement and reserves the canonical voxels. The affine maps stored indices to RAS mm; one
 * that is not finite or singular is TOMO_E_HEADER. */
tomo_status tomo_reader_place(tomo_reader *reader, const int64_t count[3], const tomo_affine *affine,
                              tomo_placement *placement, tomo_error *err);
/* Reads count[0] x count[1] x count[2] elements, i fastest, into their canonical places. */
tomo_status tomo_reader_fill(tomo_reader *reader, const tomo_placement *placement,
                             const tomo_voxel_format *format, tomo_source *source, tomo_error *err);
/* Reads on behind the last voxel: a checksum that is wrong is an error, more data are W_TRAILING_DATA. */
tomo_status tomo_reader_finish(tomo_reader *reader, tomo_source *source, tomo_error *err);

/* Adds text or a number to the record; out of memory is noticed when the manifest is made. */
void tomo_reader_note(tomo_reader *reader, const char *key, const char *text);
void tomo_reader_note_number(tomo_reader *reader, const char *key, double number);

#endif
