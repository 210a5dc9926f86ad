#include "phantom/dicom.h"

#include "base/buffer.h"
#include "base/file.h"
#include "phantom/draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are written in the host's byte order");

#define UID_TEXT 64

/* ------------------------------------------------------------------ values */

/* The upper 64 bits and the lower ones. */
__extension__ typedef unsigned __int128 wide;

/* A random UUID (version 4) as a decimal number; `what` tells the UIDs of a seed apart. */
static void make_uid(uint64_t seed, int64_t what, char text[UID_TEXT]) {
    uint64_t high = tomo_draw_hash(seed, what, 1, 0x81d), low = tomo_draw_hash(seed, what, 2, 0x81d);
    high = (high & ~(uint64_t)0xf000) | 0x4000;
    low = (low & 0x3fffffffffffffffu) | 0x8000000000000000u;
    wide number = (wide)high << 64 | low;
    char digits[40];
    int n = 0;
    for (; number > 0; number /= 10) digits[n++] = (char)('0' + (int)(number % 10));
    (void)memcpy(text, "2.25.", 5);
    for (int i = 0; i < n; i++) text[5 + i] = digits[n - 1 - i];
    text[5 + n] = '\0';
}

/* A decimal string: at most 16 characters, five decimals. */
static const char *decimal(double v, char room[24]) {
    long long n = (long long)((v < 0 ? -v : v) * 100000 + 0.5);
    (void)snprintf(room, 24, "%s%lld.%05lld", v < 0 && n > 0 ? "-" : "", n / 100000, n % 100000);
    return room;
}

/* ------------------------------------------------------------------ elements */

static void put(tomo_buffer *b, const void *bytes, size_t size) {
    (void)tomo_buffer_add(b, bytes, size);
}

static void put_head(tomo_buffer *b, uint32_t tag, const char *vr, size_t size) {
    const uint16_t group = (uint16_t)(tag >> 16), element = (uint16_t)(tag & 0xffff);
    put(b, &group, 2);
    put(b, &element, 2);
    put(b, vr, 2);
    if (vr[0] == 'O') {
        const uint32_t length = (uint32_t)size;
        put(b, "\0\0", 2);
        put(b, &length, 4);
    } else {
        const uint16_t length = (uint16_t)size;
        put(b, &length, 2);
    }
}

/* Padded to an even length, UIDs with '\0'. */
static void put_text(tomo_buffer *b, uint32_t tag, const char *vr, const char *text) {
    size_t size = strlen(text);
    put_head(b, tag, vr, size + size % 2);
    put(b, text, size);
    if (size % 2 != 0) put(b, strcmp(vr, "UI") == 0 ? "\0" : " ", 1);
}

static void put_short(tomo_buffer *b, uint32_t tag, int64_t value) {
    const uint16_t v = (uint16_t)value;
    put_head(b, tag, "US", 2);
    put(b, &v, 2);
}

/* ------------------------------------------------------------------ an image */

typedef struct series {
    const tomo_render *render;
    const char *name;
    uint64_t seed;
    char study[UID_TEXT], series[UID_TEXT], frame[UID_TEXT], maker[UID_TEXT];
} series;

static const char ct_image[] = "1.2.840.10008.5.1.4.1.1.2", explicit_little[] = "1.2.840.10008.1.2.1";

static void put_preamble(const series *s, const char *image, tomo_buffer *b) {
    tomo_buffer meta = {.maximum = 1024};
    put_head(&meta, 0x00020001, "OB", 2);
    put(&meta, "\0\1", 2);
    put_text(&meta, 0x00020002, "UI", ct_image);
    put_text(&meta, 0x00020003, "UI", image);
    put_text(&meta, 0x00020010, "UI", explicit_little);
    put_text(&meta, 0x00020012, "UI", s->maker);
    const char zeros[128] = {0};
    const uint32_t size = (uint32_t)meta.size;
    put(b, zeros, sizeof zeros);
    put(b, "DICM", 4);
    put_head(b, 0x00020000, "UL", 4);
    put(b, &size, 4);
    put(b, meta.data, meta.failed ? 0 : meta.size);
    b->failed = b->failed || meta.failed;
    tomo_buffer_free(&meta);
}

/* What DICOM wants but a phantom has not is there and empty (type 2). */
static void put_identity(const series *s, const char *image, tomo_buffer *b) {
    put_text(b, 0x00080008, "CS", "DERIVED\\SECONDARY\\AXIAL");
    put_text(b, 0x00080016, "UI", ct_image);
    put_text(b, 0x00080018, "UI", image);
    put_text(b, 0x00080020, "DA", "");
    put_text(b, 0x00080030, "TM", "");
    put_text(b, 0x00080050, "SH", "");
    put_text(b, 0x00080060, "CS", "CT");
    put_text(b, 0x00080070, "LO", "Tomoscribe");
    put_text(b, 0x00080090, "PN", "");
    put_text(b, 0x00100010, "PN", s->name);
    put_text(b, 0x00100020, "LO", s->name);
    put_text(b, 0x00100030, "DA", "");
    put_text(b, 0x00100040, "CS", "");
}

static void put_geometry(const series *s, int64_t slice, tomo_buffer *b) {
    const tomo_render *r = s->render;
    char x[24], y[24], z[24], text[80];
    put_text(b, 0x00180050, "DS", decimal(r->spacing_mm[0], z));
    put_text(b, 0x00180060, "DS", "");
    put_text(b, 0x0020000d, "UI", s->study);
    put_text(b, 0x0020000e, "UI", s->series);
    put_text(b, 0x00200010, "SH", "");
    put_text(b, 0x00200011, "IS", "1");
    put_text(b, 0x00200012, "IS", "");
    (void)snprintf(text, sizeof text, "%lld", (long long)slice + 1);
    put_text(b, 0x00200013, "IS", text);
    /* DICOM's x and y run to the left and to the back, as the rows and columns do. */
    (void)snprintf(text, sizeof text, "%s\\%s\\%s", decimal(-r->affine_ras.m[0][3], x),
                   decimal(-r->affine_ras.m[1][3], y),
                   decimal(r->affine_ras.m[2][3] + (double)slice * r->spacing_mm[0], z));
    put_text(b, 0x00200032, "DS", text);
    put_text(b, 0x00200037, "DS", "1\\0\\0\\0\\1\\0");
    put_text(b, 0x00200052, "UI", s->frame);
    put_text(b, 0x00201040, "LO", "");
}

static void put_pixels(const series *s, int64_t slice, tomo_buffer *b) {
    const tomo_render *r = s->render;
    size_t count = (size_t)(r->shape[1] * r->shape[2]), size = count * sizeof *r->hu;
    char y[24], x[24], text[56];
    put_short(b, 0x00280002, 1);
    put_text(b, 0x00280004, "CS", "MONOCHROME2");
    put_short(b, 0x00280010, r->shape[1]);
    put_short(b, 0x00280011, r->shape[2]);
    (void)snprintf(text, sizeof text, "%s\\%s", decimal(r->spacing_mm[1], y), decimal(r->spacing_mm[2], x));
    put_text(b, 0x00280030, "DS", text);
    put_short(b, 0x00280100, 16);
    put_short(b, 0x00280101, 16);
    put_short(b, 0x00280102, 15);
    put_short(b, 0x00280103, 1);
    put_text(b, 0x00281052, "DS", "0");
    put_text(b, 0x00281053, "DS", "1");
    put_text(b, 0x00281054, "LO", "HU");
    put_head(b, 0x7fe00010, "OW", size);
    put(b, r->hu + (size_t)slice * count, size);
}

static tomo_status write_image(const series *s, int64_t slice, const char *path, tomo_buffer *b,
                               tomo_error *err) {
    char image[UID_TEXT];
    tomo_writer *writer = NULL;
    make_uid(s->seed, 16 + slice, image);
    tomo_buffer_clear(b);
    put_preamble(s, image, b);
    put_identity(s, image, b);
    put_geometry(s, slice, b);
    put_pixels(s, slice, b);
    if (b->failed) return tomo_fail_memory(err, path, b->maximum);
    tomo_status status = tomo_writer_open(path, &writer, err);
    if (status == TOMO_OK) tomo_writer_skip_sync(writer); /* the data set is synced as a whole */
    if (status == TOMO_OK) status = tomo_writer_write(writer, b->data, b->size, err);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}

tomo_status tomo_dicom_write(const tomo_render *render, uint64_t seed, const char *name, const char *folder,
                             tomo_error *err) {
    series s = {.render = render, .name = name, .seed = seed};
    tomo_buffer bytes = {.maximum = (size_t)(render->shape[1] * render->shape[2]) * 2 + 8192};
    tomo_status status = TOMO_OK;
    make_uid(seed, 0, s.study);
    make_uid(seed, 1, s.series);
    make_uid(seed, 2, s.frame);
    make_uid(0, 3, s.maker);
    for (int64_t slice = 0; slice < render->shape[0] && status == TOMO_OK; slice++) {
        char file[24];
        (void)snprintf(file, sizeof file, "%04lld.dcm", (long long)slice + 1);
        char *path = tomo_path_join(folder, file);
        status = path == NULL ? tomo_fail_memory(err, folder, 0) : write_image(&s, slice, path, &bytes, err);
        free(path);
    }
    tomo_buffer_free(&bytes);
    return status;
}
