/* sheet.c - the contact sheet. */
#include "base/size.h"
#include "volume/image.h"
#include "volume/picture.h"
#include "volume/write.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GAP 4
#define FRAME 2

/* Where things go, in pixels. */
typedef struct layout {
    int64_t columns, rows;
    int64_t width, height; /* of one slice */
} layout;

/* The longer side of a slice: few slices are shown larger. */
static int64_t longest_side(int64_t slices) {
    if (slices <= 16) return 256;
    return slices <= 64 ? 160 : slices <= 400 ? 112 : 64;
}

static layout arrange(const tomo_volume *v, const tomo_picture_options *picture) {
    double width = (double)v->shape[2] * v->spacing_mm[2], height = (double)v->shape[1] * v->spacing_mm[1];
    double scale = (double)longest_side(v->shape[0]) / fmax(width, height);
    layout l = {0};
    l.width = (int64_t)fmax(rint(width * scale), 8); /* an extreme aspect still shows */
    l.height = (int64_t)fmax(rint(height * scale), 8);
    l.columns =
        picture != NULL && picture->columns > 0
            ? picture->columns
            : (int64_t)ceil(sqrt((double)v->shape[0] * (double)(l.height + GAP) / (double)(l.width + GAP)));
    if (l.columns > v->shape[0]) l.columns = v->shape[0];
    l.rows = tomo_pieces(v->shape[0], l.columns);
    return l;
}

static bool is_kept(const tomo_picture_options *picture, int64_t z) {
    for (int64_t i = 0; picture != NULL && i < picture->kept_count; i++) {
        if (picture->kept[i] == z) return true;
    }
    return false;
}

static void draw_slice(tomo_canvas *canvas, const layout *l, const float *values, int64_t x, int64_t y) {
    for (int64_t j = 0; j < l->height; j++) {
        for (int64_t i = 0; i < l->width; i++) {
            uint8_t level = tomo_picture_level(values[j * l->width + i]);
            tomo_canvas_dot(canvas, x + i, y + j, (tomo_colour){level, level, level});
        }
    }
}

/* Row 0 is anterior and column 0 the patient's right, as a radiologist sees it. */
static void draw_labels(tomo_canvas *canvas, const layout *l, int64_t z, int64_t x, int64_t y) {
    const tomo_colour number = {255, 220, 90}, side = {120, 190, 255};
    char text[24];
    int64_t middle_x = x + (l->width - TOMO_FONT_WIDTH) / 2,
            middle_y = y + (l->height - TOMO_FONT_HEIGHT) / 2;
    (void)snprintf(text, sizeof text, "%lld", (long long)z);
    tomo_canvas_text(canvas, x + 4, y + 4, text, number);
    tomo_canvas_text(canvas, x + 4, middle_y, "R", side);
    tomo_canvas_text(canvas, x + l->width - TOMO_FONT_WIDTH - 3, middle_y, "L", side);
    tomo_canvas_text(canvas, middle_x, y + 4, "A", side);
    tomo_canvas_text(canvas, middle_x, y + l->height - TOMO_FONT_HEIGHT - 4, "P", side);
}

static tomo_status draw_all(const tomo_volume *v, const tomo_picture_options *picture, const layout *l,
                            tomo_canvas *canvas, const tomo_hooks *hooks, tomo_error *err) {
    tomo_channel channel = tomo_picture_channel(v, picture);
    int64_t plane = v->shape[1] * v->shape[2];
    tomo_image_resizer *resizer = NULL;
    float *buffer = NULL;
    tomo_status status =
        tomo_image_resizer_create(v->shape[1], v->shape[2], l->height, l->width, &resizer, err);
    if (status != TOMO_OK) return status;
    size_t work = tomo_image_resizer_work(resizer),
           all = (size_t)plane + work + (size_t)(l->height * l->width);
    buffer = malloc(all * sizeof *buffer);
    if (buffer == NULL) status = tomo_fail_memory(err, "contact sheet", all * sizeof *buffer);
    for (int64_t z = 0; z < v->shape[0] && status == TOMO_OK; z++) {
        status = tomo_progress(hooks, "drawing slices", z, v->shape[0], err);
        int64_t x = GAP + z % l->columns * (l->width + GAP), y = GAP + z / l->columns * (l->height + GAP);
        tomo_channel_map(channel, v->voxels + z * plane, plane, buffer);
        tomo_image_resize_float(resizer, buffer, buffer + plane, buffer + plane + work);
        draw_slice(canvas, l, buffer + plane + work, x, y);
        if (l->width >= 48 && l->height >= 32) draw_labels(canvas, l, z, x, y);
        if (is_kept(picture, z)) {
            tomo_canvas_frame(canvas, x - FRAME, y - FRAME, l->width + 2 * FRAME, l->height + 2 * FRAME,
                              2 * FRAME, (tomo_colour){0, 210, 90});
        }
    }
    free(buffer);
    tomo_image_resizer_free(resizer);
    return status;
}

tomo_status tomo_contact_sheet_write(const tomo_volume *v, const char *path,
                                     const tomo_picture_options *picture, const tomo_hooks *hooks,
                                     tomo_error *err) {
    layout l = arrange(v, picture);
    tomo_canvas canvas = {.height = GAP + l.rows * (l.height + GAP),
                          .width = GAP + l.columns * (l.width + GAP)};
    size_t bytes =
        3 * (size_t)canvas.height * (size_t)canvas.width; /* at most 16384 slices of 64 x 64, or one row */
    canvas.pixels = malloc(bytes);
    if (canvas.pixels == NULL) return tomo_fail_memory(err, path, bytes);
    memset(canvas.pixels, 24, bytes);
    tomo_status status = draw_all(v, picture, &l, &canvas, hooks, err);
    if (status == TOMO_OK) status = tomo_png_write(path, canvas.pixels, canvas.height, canvas.width, 3, err);
    free(canvas.pixels);
    return status;
}
