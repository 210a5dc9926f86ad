/* picture.h - grey levels, PNG files and a small font. */
#ifndef TOMO_VOLUME_PICTURE_H
#define TOMO_VOLUME_PICTURE_H

#include "volume/slices.h"

/* How voxels become grey levels: the window of the options, else the volume's range. */
tomo_channel tomo_picture_channel(const tomo_volume *volume, const tomo_picture_options *picture);
/* 0..1 -> 0..255, rounded to even; what lies outside is clamped. */
static inline uint8_t tomo_picture_level(float value) {
    double scaled = __builtin_rint((double)value * 255);
    return (uint8_t)(scaled < 0 ? 0 : scaled > 255 ? 255 : scaled);
}

/* Writes pixels [height][width][components] (1: grey, 3: red, green, blue) atomically. */
tomo_status tomo_png_write(const char *path, const uint8_t *pixels, int64_t height, int64_t width,
                           int components, tomo_error *err);

/* The same in memory; *bytes is freed by free. */
tomo_status tomo_png_encode(const uint8_t *pixels, int64_t height, int64_t width, int components,
                            unsigned char **bytes, size_t *size, tomo_error *err);

/* A colour picture [height][width][3]; drawing outside of it does nothing. */
typedef struct tomo_canvas {
    uint8_t *pixels;
    int64_t height, width;
} tomo_canvas;

typedef struct tomo_colour {
    uint8_t red, green, blue;
} tomo_colour;

void tomo_canvas_dot(tomo_canvas *canvas, int64_t x, int64_t y, tomo_colour colour);
/* A frame of `thick` pixels, its outer corner at (x, y). */
void tomo_canvas_frame(tomo_canvas *canvas, int64_t x, int64_t y, int64_t width, int64_t height,
                       int64_t thick, tomo_colour colour);
/* Digits and the letters A, L, P, R in cells of 6 x 8, with a dark edge; anything else is a space. */
#define TOMO_FONT_WIDTH 6
#define TOMO_FONT_HEIGHT 7
void tomo_canvas_text(tomo_canvas *canvas, int64_t x, int64_t y, const char *text, tomo_colour colour);

#endif
