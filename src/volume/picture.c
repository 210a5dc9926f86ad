#include "volume/picture.h"

#include "base/file.h"

#include <png.h>
#include <stdlib.h>
#include <string.h>

tomo_channel tomo_picture_channel(const tomo_volume *v, const tomo_picture_options *picture) {
    if (picture != NULL && picture->use_window && picture->width > 0) {
        return (tomo_channel){(float)(picture->level - picture->width / 2), (float)picture->width, true};
    }
    float range = v->maximum - v->minimum;
    return (tomo_channel){v->minimum, range > 1e-8F ? range : 1e-8F, true};
}

static png_image describe_image(int64_t height, int64_t width, int components) {
    return (png_image){.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = components == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB};
}

tomo_status tomo_png_write(const char *path, const uint8_t *pixels, int64_t height, int64_t width,
                           int components, tomo_error *err) {
    tomo_writer *writer = NULL;
    tomo_status status = tomo_writer_open(path, &writer, err);
    if (status != TOMO_OK) return status;
    png_image image = describe_image(height, width, components);
    if (!png_image_write_to_stdio(&image, tomo_writer_stream(writer), 0, pixels, 0, NULL)) {
        tomo_writer_abort(writer);
        return tomo_fail(err, TOMO_E_IO, "%s: the PNG cannot be written: %s", path, image.message);
    }
    return tomo_writer_commit(writer, err);
}

tomo_status tomo_png_encode(const uint8_t *pixels, int64_t height, int64_t width, int components,
                            unsigned char **bytes, size_t *size, tomo_error *err) {
    png_image image = describe_image(height, width, components);
    png_alloc_size_t room = PNG_IMAGE_PNG_SIZE_MAX(image);
    *bytes = malloc(room);
    if (*bytes == NULL) return tomo_fail_memory(err, "a PNG", room);
    if (!png_image_write_to_memory(&image, *bytes, &room, 0, pixels, 0, NULL)) {
        free(*bytes);
        *bytes = NULL;
        return tomo_fail(err, TOMO_E_INTERNAL, "the PNG cannot be made: %s", image.message);
    }
    *size = room;
    return TOMO_OK;
}

void tomo_canvas_dot(tomo_canvas *canvas, int64_t x, int64_t y, tomo_colour colour) {
    if (x < 0 || y < 0 || x >= canvas->width || y >= canvas->height) return;
    uint8_t *p = canvas->pixels + 3 * (y * canvas->width + x);
    p[0] = colour.red;
    p[1] = colour.green;
    p[2] = colour.blue;
}

void tomo_canvas_frame(tomo_canvas *canvas, int64_t x, int64_t y, int64_t width, int64_t height,
                       int64_t thick, tomo_colour colour) {
    for (int64_t j = 0; j < height; j++) {
        bool edge_row = j < thick || j >= height - thick;
        for (int64_t i = 0; i < width; i++) {
            if (edge_row || i < thick || i >= width - thick) tomo_canvas_dot(canvas, x + i, y + j, colour);
        }
    }
}

/* Seven rows of five dots, the leftmost is bit 4. */
static const struct {
    char letter;
    uint8_t rows[TOMO_FONT_HEIGHT];
} font[] = {
    {'0', {14, 17, 19, 21, 25, 17, 14}}, {'1', {4, 12, 4, 4, 4, 4, 14}},
    {'2', {14, 17, 1, 6, 8, 16, 31}},    {'3', {14, 17, 1, 6, 1, 17, 14}},
    {'4', {2, 6, 10, 18, 31, 2, 2}},     {'5', {31, 16, 30, 1, 1, 17, 14}},
    {'6', {6, 8, 16, 30, 17, 17, 14}},   {'7', {31, 1, 2, 4, 8, 8, 8}},
    {'8', {14, 17, 17, 14, 17, 17, 14}}, {'9', {14, 17, 17, 15, 1, 2, 12}},
    {'A', {14, 17, 17, 31, 17, 17, 17}}, {'L', {16, 16, 16, 16, 16, 16, 31}},
    {'P', {30, 17, 17, 30, 16, 16, 16}}, {'R', {30, 17, 17, 30, 20, 18, 17}},
};

static const uint8_t *glyph(char letter) {
    for (size_t i = 0; i < sizeof font / sizeof font[0]; i++) {
        if (font[i].letter == letter) return font[i].rows;
    }
    return NULL;
}

static void draw(tomo_canvas *canvas, int64_t x, int64_t y, const uint8_t *rows, tomo_colour colour) {
    for (int64_t j = 0; j < TOMO_FONT_HEIGHT; j++) {
        for (int64_t i = 0; i < 5; i++) {
            if (rows[j] >> (4 - i) & 1) tomo_canvas_dot(canvas, x + i, y + j, colour);
        }
    }
}

void tomo_canvas_text(tomo_canvas *canvas, int64_t x, int64_t y, const char *text, tomo_colour colour) {
    const tomo_colour dark = {0, 0, 0};
    for (int pass = 0; pass < 2; pass++) { /* all edges first: letters stand close */
        for (size_t i = 0; text[i] != '\0'; i++) {
            const uint8_t *rows = glyph(text[i]);
            int64_t at = x + (int64_t)i * TOMO_FONT_WIDTH;
            for (int d = 0; rows != NULL && pass == 0 && d < 9; d++)
                draw(canvas, at + d % 3 - 1, y + d / 3 - 1, rows, dark);
            if (rows != NULL && pass == 1) draw(canvas, at, y, rows, colour);
        }
    }
}
