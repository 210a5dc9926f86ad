#include "volume/write.h"

#include "base/file.h"
#include "base/text.h"
#include "volume/geometry.h"
#include "volume/picture.h"

#include <errno.h>
#include <math.h>
#include <nifti2_io.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

/* ------------------------------------------------------------------ bytes, gzipped or not */

typedef struct sink {
    tomo_writer *writer;
    bool gzip;
    z_stream stream;
} sink;

/* level: of gzip, 1 (fast) to 9 (small). */
static tomo_status sink_open(const char *path, bool gzip, int level, sink *s, tomo_error *err) {
    *s = (sink){.gzip = gzip};
    tomo_status status = tomo_writer_open(path, &s->writer, err);
    if (status != TOMO_OK || !gzip) return status;
    if (deflateInit2(&s->stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK) return TOMO_OK;
    tomo_writer_abort(s->writer);
    return tomo_fail_memory(err, path, sizeof s->stream);
}

static tomo_status sink_push(sink *s, const void *bytes, size_t size, int flush, tomo_error *err) {
    unsigned char out[16384];
    s->stream.next_in = (z_const Bytef *)(uintptr_t)bytes;
    s->stream.avail_in = (uInt)size;
    do {
        s->stream.next_out = out;
        s->stream.avail_out = sizeof out;
        (void)deflate(&s->stream, flush);
        tomo_status status = tomo_writer_write(s->writer, out, sizeof out - s->stream.avail_out, err);
        if (status != TOMO_OK) return status;
    } while (s->stream.avail_out == 0);
    return TOMO_OK;
}

/* `size` below 2^32: one plane of a volume at most. */
static tomo_status sink_write(sink *s, const void *bytes, size_t size, tomo_error *err) {
    return s->gzip ? sink_push(s, bytes, size, Z_NO_FLUSH, err)
                   : tomo_writer_write(s->writer, bytes, size, err);
}

/* Ends the file; with a failure nothing is left of it. */
static tomo_status sink_close(sink *s, tomo_status status, tomo_error *err) {
    if (s->gzip) {
        if (status == TOMO_OK) status = sink_push(s, "", 0, Z_FINISH, err);
        (void)deflateEnd(&s->stream);
    }
    if (status == TOMO_OK) return tomo_writer_commit(s->writer, err);
    tomo_writer_abort(s->writer);
    return status;
}

/* Planes of float32; files are little endian, as is every machine that this is built for. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "NIfTI and NPY files are written in the host's byte order");

static tomo_status write_planes(sink *s, const float *values, int64_t planes, int64_t plane,
                                const tomo_hooks *hooks, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int64_t z = 0; z < planes && status == TOMO_OK; z++) {
        status = tomo_progress(hooks, "writing", z, planes, err);
        if (status == TOMO_OK) {
            status = sink_write(s, values + z * plane, (size_t)plane * sizeof *values, err);
        }
    }
    return status;
}

/* ------------------------------------------------------------------ NIfTI */

/* The qform can hold a rotation only; a sheared grid (gantry tilt) has the sform alone. */
static void set_qform(nifti_1_header *h, const tomo_volume *v) {
    nifti_dmat44 m;
    double qb, qc, qd, qx, qy, qz, dx, dy, dz, fac, worst = 0;
    for (int r = 0; r < 4; r++) {
        for (int c = 0; c < 4; c++) m.m[r][c] = v->affine_ras.m[r][c];
    }
    nifti_dmat44_to_quatern(m, &qb, &qc, &qd, &qx, &qy, &qz, &dx, &dy, &dz, &fac);
    nifti_dmat44 back = nifti_quatern_to_dmat44(qb, qc, qd, qx, qy, qz, dx, dy, dz, fac);
    for (int r = 0; r < 3; r++) {
        for (int c = 0; c < 3; c++) worst = fmax(worst, fabs(back.m[r][c] - m.m[r][c]));
    }
    h->pixdim[0] = (float)fac;
    if (worst > 1e-3) return;
    h->qform_code = NIFTI_XFORM_SCANNER_ANAT;
    h->quatern_b = (float)qb;
    h->quatern_c = (float)qc;
    h->quatern_d = (float)qd;
    h->qoffset_x = (float)qx;
    h->qoffset_y = (float)qy;
    h->qoffset_z = (float)qz;
}

static void fill_header(nifti_1_header *h, const tomo_volume *v) {
    *h = (nifti_1_header){.sizeof_hdr = 348, .regular = 'r', .datatype = NIFTI_TYPE_FLOAT32, .bitpix = 32};
    h->dim[0] = 3;
    for (int i = 1; i < 8; i++) {
        h->dim[i] = i < 4 ? (int16_t)v->shape[3 - i] : 1;
        h->pixdim[i] = i < 4 ? (float)v->spacing_mm[3 - i] : 0;
    }
    h->vox_offset = 352;
    h->scl_slope = 1;
    h->xyzt_units = NIFTI_UNITS_MM;
    h->sform_code = NIFTI_XFORM_SCANNER_ANAT;
    for (int c = 0; c < 4; c++) {
        h->srow_x[c] = (float)v->affine_ras.m[0][c];
        h->srow_y[c] = (float)v->affine_ras.m[1][c];
        h->srow_z[c] = (float)v->affine_ras.m[2][c];
    }
    memcpy(h->magic, "n+1", 4);
    set_qform(h, v);
}

static tomo_status open_nifti(const tomo_volume *v, const char *path, int level, sink *s, tomo_error *err) {
    for (int i = 0; i < 3; i++) {
        if (v->shape[i] > INT16_MAX) {
            return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: an axis of %lld voxels; NIfTI-1 holds 32767", path,
                             (long long)v->shape[i]);
        }
    }
    return sink_open(path, tomo_has_suffix(path, ".gz"), level, s, err);
}

/* The header, which stands in front of the voxels with 4 bytes that tell of no extensions. */
static tomo_status write_header(sink *s, const tomo_volume *v, int datatype, int bits, tomo_error *err) {
    nifti_1_header header;
    fill_header(&header, v);
    header.datatype = (int16_t)datatype;
    header.bitpix = (int16_t)bits;
    tomo_status status = sink_write(s, &header, sizeof header, err);
    return status == TOMO_OK ? sink_write(s, "\0\0\0", 4, err) : status;
}

tomo_status tomo_volume_write_nifti(const tomo_volume *v, const char *path, const tomo_hooks *hooks,
                                    tomo_error *err) {
    sink s;
    tomo_status status = open_nifti(v, path, 6, &s, err);
    if (status != TOMO_OK) return status;
    status = write_header(&s, v, NIFTI_TYPE_FLOAT32, 32, err);
    if (status == TOMO_OK)
        status = write_planes(&s, v->voxels, v->shape[0], v->shape[1] * v->shape[2], hooks, err);
    return sink_close(&s, status, err);
}

tomo_status tomo_volume_write_nifti_whole(const tomo_volume *v, const char *path, tomo_error *err) {
    int64_t plane = v->shape[1] * v->shape[2];
    int16_t *whole = malloc((size_t)plane * sizeof *whole);
    sink s;
    if (whole == NULL) return tomo_fail_memory(err, path, (size_t)plane * sizeof *whole);
    tomo_status status = open_nifti(v, path, 1, &s, err);
    if (status != TOMO_OK) {
        free(whole);
        return status;
    }
    tomo_writer_skip_sync(s.writer);
    status = write_header(&s, v, NIFTI_TYPE_INT16, 16, err);
    for (int64_t z = 0; z < v->shape[0] && status == TOMO_OK; z++) {
        for (int64_t i = 0; i < plane; i++) whole[i] = (int16_t)v->voxels[z * plane + i];
        status = sink_write(&s, whole, (size_t)plane * sizeof *whole, err);
    }
    free(whole);
    return sink_close(&s, status, err);
}

/* ------------------------------------------------------------------ NPY */

static tomo_status write_npy(const char *path, const float *values, const char *shape, int64_t planes,
                             int64_t plane, const tomo_hooks *hooks, tomo_error *err) {
    char header[192];
    sink s;
    /* 10 bytes, then the dictionary, padded with spaces so that the data begin at 128 or 192, ended by a line
     * feed. */
    int length = snprintf(header + 10, sizeof header - 10,
                          "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }", shape);
    size_t total = (size_t)length + 11 <= 128 ? 128 : 192;
    memcpy(header, "\x93NUMPY\1\0", 8);
    header[8] = (char)((total - 10) & 0xFF);
    header[9] = (char)((total - 10) >> 8);
    memset(header + 10 + length, ' ', total - 10 - (size_t)length);
    header[total - 1] = '\n';
    tomo_status status = sink_open(path, false, 0, &s, err);
    if (status != TOMO_OK) return status;
    status = sink_write(&s, header, total, err);
    if (status == TOMO_OK) status = write_planes(&s, values, planes, plane, hooks, err);
    return sink_close(&s, status, err);
}

tomo_status tomo_volume_write_npy(const tomo_volume *v, const char *path, tomo_error *err) {
    char shape[80];
    (void)snprintf(shape, sizeof shape, "%lld, %lld, %lld", (long long)v->shape[0], (long long)v->shape[1],
                   (long long)v->shape[2]);
    return write_npy(path, v->voxels, shape, v->shape[0], v->shape[1] * v->shape[2], NULL, err);
}

tomo_status tomo_volume_write_m3d(const tomo_volume *v, const int64_t size[3], const char *path,
                                  const tomo_hooks *hooks, tomo_error *err) {
    static const int64_t benchmark[3] = {32, 256, 256};
    tomo_slices_settings settings = tomo_slices_defaults();
    tomo_slices *slices = NULL;
    char shape[80];
    settings.crop_foreground = settings.has_size = true;
    memcpy(settings.size, size == NULL ? benchmark : size, sizeof settings.size);
    tomo_status status = tomo_slices_make(v, &settings, hooks, &slices, err);
    if (status != TOMO_OK) return status;
    (void)snprintf(shape, sizeof shape, "1, %lld, %lld, %lld", (long long)slices->slices,
                   (long long)slices->height, (long long)slices->width);
    status =
        write_npy(path, slices->values, shape, slices->slices, slices->height * slices->width, hooks, err);
    tomo_slices_free(slices);
    return status;
}

/* ------------------------------------------------------------------ PNG slices */

static tomo_status write_pictures(const tomo_volume *v, const char *folder, tomo_channel channel,
                                  const tomo_hooks *hooks, tomo_error *err) {
    int64_t plane = v->shape[1] * v->shape[2];
    uint8_t *pixels = malloc((size_t)plane);
    if (pixels == NULL) return tomo_fail_memory(err, folder, (size_t)plane);
    tomo_status status = TOMO_OK;
    for (int64_t z = 0; z < v->shape[0] && status == TOMO_OK; z++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%04lld.png", (long long)z);
        char *path = tomo_path_join(folder, name);
        status = path == NULL ? tomo_fail_memory(err, folder, 64)
                              : tomo_progress(hooks, "writing", z, v->shape[0], err);
        for (int64_t i = 0; i < plane; i++) {
            pixels[i] = tomo_picture_level(tomo_channel_apply(channel, v->voxels[z * plane + i]));
        }
        if (status == TOMO_OK) status = tomo_png_write(path, pixels, v->shape[1], v->shape[2], 1, err);
        free(path);
    }
    free(pixels);
    return status;
}

/* Removes what write_pictures made. */
static void remove_pictures(const char *folder, int64_t slices) {
    for (int64_t z = 0; z < slices; z++) {
        char name[32];
        (void)snprintf(name, sizeof name, "%04lld.png", (long long)z);
        char *path = tomo_path_join(folder, name);
        if (path != NULL) (void)unlink(path);
        free(path);
    }
    (void)rmdir(folder);
}

tomo_status tomo_volume_write_png(const tomo_volume *v, const char *path, const tomo_picture_options *picture,
                                  const tomo_hooks *hooks, tomo_error *err) {
    size_t length = tomo_path_length(path), size = length + 48;
    char *folder = malloc(size); /* beside the target; renamed when all pictures are in it */
    if (folder == NULL) return tomo_fail_memory(err, path, size);
    int made = -1;
    for (int attempt = 0; made != 0 && attempt < 100; attempt++) {
        (void)snprintf(folder, size, "%.*s.%ld-%d.part", (int)length, path, (long)getpid(), attempt);
        made = mkdir(folder, 0777);
        if (made != 0 && errno != EEXIST) break;
    }
    if (made != 0) {
        free(folder);
        return tomo_fail_errno(err, path, "create");
    }
    tomo_status status = write_pictures(v, folder, tomo_picture_channel(v, picture), hooks, err);
    if (status == TOMO_OK && rename(folder, path) != 0) {
        status =
            errno == ENOTEMPTY || errno == EEXIST
                ? tomo_fail(err, TOMO_E_IO, "%s: the folder is not empty; a new or empty one is wanted", path)
                : tomo_fail_errno(err, path, "rename the finished folder");
    }
    if (status != TOMO_OK) remove_pictures(folder, v->shape[0]);
    free(folder);
    return status;
}
