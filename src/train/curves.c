#include "train/curves.h"

#include "base/buffer.h"
#include "base/file.h"
#include "volume/picture.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 900
#define HEIGHT 520
#define LEFT 70
#define RIGHT 20
#define TOP 20
#define BOTTOM 40
#define TICKS 5

void tomo_curves_add(tomo_curves *c, int64_t stage, int64_t step, bool validation, double loss) {
    if (c->stages == 0 || stage != c->stage) {
        if (c->stages < 64) c->starts[c->stages++] = c->last;
        c->stage = stage;
    }
    double x = (c->stages > 0 ? c->starts[c->stages - 1] : 0) + (double)step;
    if (x > c->last) c->last = x;
    struct tomo_curve *line = &c->lines[validation];
    if (!isfinite(loss)) return;
    if (line->count == line->room) {
        size_t room = line->room == 0 ? 1024 : line->room * 2;
        tomo_curve_point *points = realloc(line->points, room * sizeof *points);
        if (points == NULL) {
            c->failed = true;
            return;
        }
        line->points = points;
        line->room = room;
    }
    line->points[line->count++] = (tomo_curve_point){x, loss};
}

void tomo_curves_free(tomo_curves *c) {
    free(c->lines[0].points);
    free(c->lines[1].points);
    *c = (tomo_curves){0};
}

/* ------------------------------------------------------------------------------ scales */

typedef struct scale {
    double low, high, last;
} scale;

static scale find_scale(const tomo_curves *c) {
    scale s = {INFINITY, -INFINITY, c->last > 1 ? c->last : 1};
    for (int i = 0; i < 2; i++) {
        for (size_t k = 0; k < c->lines[i].count; k++) {
            s.low = fmin(s.low, c->lines[i].points[k].y);
            s.high = fmax(s.high, c->lines[i].points[k].y);
        }
    }
    if (!(s.low <= s.high)) s.low = 0, s.high = 1;
    if (s.low > 0) s.low = 0; /* losses start at zero */
    if (s.high - s.low < 1e-9) s.high = s.low + 1;
    return s;
}

static double x_of(const scale *s, double x) {
    return LEFT + x / s->last * (WIDTH - LEFT - RIGHT);
}
static double y_of(const scale *s, double y) {
    return TOP + (s->high - y) / (s->high - s->low) * (HEIGHT - TOP - BOTTOM);
}

/* -------------------------------------------------------------------------------- SVG */

static const char *const names[] = {"training", "validation"};
static const char *const inks[] = {"#4878cf", "#d65f5f"};

static void svg_axes(tomo_buffer *b, const tomo_curves *c, const scale *s) {
    for (int i = 0; i <= TICKS; i++) {
        double y = s->low + (s->high - s->low) * i / TICKS, x = s->last * i / TICKS;
        (void)tomo_buffer_format(b,
                                 "<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" stroke=\"#ddd\"/>\n"
                                 "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.3g</text>\n"
                                 "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                                 LEFT, WIDTH - RIGHT, y_of(s, y), y_of(s, y), LEFT - 8, y_of(s, y) + 4, y,
                                 x_of(s, x), HEIGHT - BOTTOM + 18, x);
    }
    for (int i = 1; i < c->stages; i++) {
        (void)tomo_buffer_format(b,
                                 "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"#888\" "
                                 "stroke-dasharray=\"4\"/>\n",
                                 x_of(s, c->starts[i]), x_of(s, c->starts[i]), TOP, HEIGHT - BOTTOM);
    }
    (void)tomo_buffer_format(b, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">step</text>\n", WIDTH / 2,
                             HEIGHT - 6);
}

static tomo_status write_svg(const tomo_curves *c, const scale *s, const char *path, tomo_error *err) {
    tomo_buffer b = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_format(&b,
                             "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                             "font-family=\"sans-serif\" font-size=\"12\">\n"
                             "<title>loss</title>\n<rect width=\"100%%\" height=\"100%%\" fill=\"#fff\"/>\n",
                             WIDTH, HEIGHT);
    svg_axes(&b, c, s);
    for (int i = 0; i < 2; i++) {
        const struct tomo_curve *line = &c->lines[i];
        if (line->count == 0) continue;
        (void)tomo_buffer_format(&b, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"%d\" points=\"",
                                 inks[i], i + 1);
        for (size_t k = 0; k < line->count; k++) {
            (void)tomo_buffer_format(&b, "%.1f,%.1f ", x_of(s, line->points[k].x),
                                     y_of(s, line->points[k].y));
        }
        (void)tomo_buffer_format(
            &b, "\"/>\n<text x=\"%d\" y=\"%d\" text-anchor=\"end\" fill=\"%s\">%s loss</text>\n",
            WIDTH - RIGHT - 8, TOP + 16 * (i + 1), inks[i], names[i]);
    }
    (void)tomo_buffer_add_text(&b, "</svg>\n");
    tomo_status status =
        b.failed ? tomo_fail_memory(err, path, b.size) : tomo_file_write(path, b.data, b.size, err);
    tomo_buffer_free(&b);
    return status;
}

/* -------------------------------------------------------------------------------- PNG */

static void draw_line(tomo_canvas *canvas, double x0, double y0, double x1, double y1, int thick,
                      tomo_colour colour) {
    int steps = (int)fmax(fabs(x1 - x0), fabs(y1 - y0)) + 1;
    for (int i = 0; i <= steps; i++) {
        double t = (double)i / steps;
        for (int k = 0; k < thick; k++) {
            tomo_canvas_dot(canvas, (int64_t)lround(x0 + t * (x1 - x0)),
                            (int64_t)lround(y0 + t * (y1 - y0)) + k, colour);
        }
    }
}

/* The small font has digits but no dot: losses are labelled in thousandths. */
static void png_axes(tomo_canvas *canvas, const tomo_curves *c, const scale *s) {
    const tomo_colour grey = {80, 80, 80}, ink = {235, 235, 235};
    char text[24];
    for (int i = 0; i <= TICKS; i++) {
        double y = s->low + (s->high - s->low) * i / TICKS, x = s->last * i / TICKS;
        draw_line(canvas, LEFT, y_of(s, y), WIDTH - RIGHT, y_of(s, y), 1, grey);
        (void)snprintf(text, sizeof text, "%.0f", y * 1000);
        tomo_canvas_text(canvas, 6, (int64_t)y_of(s, y) - 3, text, ink);
        (void)snprintf(text, sizeof text, "%.0f", x);
        tomo_canvas_text(canvas, (int64_t)x_of(s, x) - 10, HEIGHT - BOTTOM + 10, text, ink);
    }
    for (int i = 1; i < c->stages; i++) {
        draw_line(canvas, x_of(s, c->starts[i]), TOP, x_of(s, c->starts[i]), HEIGHT - BOTTOM, 1, ink);
    }
}

static tomo_status write_png(const tomo_curves *c, const scale *s, const char *path, tomo_error *err) {
    static const tomo_colour colours[] = {{110, 160, 255}, {255, 120, 120}};
    tomo_canvas canvas = {calloc((size_t)WIDTH * HEIGHT, 3), HEIGHT, WIDTH};
    if (canvas.pixels == NULL) return tomo_fail_memory(err, path, (size_t)WIDTH * HEIGHT * 3);
    png_axes(&canvas, c, s);
    for (int i = 0; i < 2; i++) {
        const struct tomo_curve *line = &c->lines[i];
        for (size_t k = 0; k < line->count; k++) {
            tomo_curve_point from = line->points[k == 0 ? 0 : k - 1], to = line->points[k];
            draw_line(&canvas, x_of(s, from.x), y_of(s, from.y), x_of(s, to.x), y_of(s, to.y), i + 1,
                      colours[i]);
        }
    }
    tomo_status status = tomo_png_write(path, canvas.pixels, HEIGHT, WIDTH, 3, err);
    free(canvas.pixels);
    return status;
}

tomo_status tomo_curves_write(const tomo_curves *c, const char *folder, tomo_error *err) {
    scale s = find_scale(c);
    char *svg = tomo_path_join(folder, "curves.svg"), *png = tomo_path_join(folder, "curves.png");
    tomo_status status = svg == NULL || png == NULL || c->failed ? tomo_fail_memory(err, folder, 0)
                                                                 : write_svg(c, &s, svg, err);
    if (status == TOMO_OK) status = write_png(c, &s, png, err);
    free(svg);
    free(png);
    return status;
}
