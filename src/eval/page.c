#include "eval/page.h"

#include "volume/image.h"
#include "volume/picture.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Height of a slice on the page. */
#define SLICE_PIXELS 112
/* Points of a curve: more than the screen shows would only make the page large. */
#define CURVE_POINTS 400

static const char style[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#1d2327;"
    "background:#fff}h1{font-size:1.5rem;margin-bottom:0}h2{font-size:1.15rem;margin-top:2rem}"
    "table{border-collapse:collapse}td,th{padding:.25rem .7rem;border-bottom:1px solid "
    "#dde1e4;text-align:left;"
    "vertical-align:top}td "
    ".k{display:block;white-space:nowrap;font-size:.85em}td.n,th.n{text-align:right;font-variant-numeric:"
    "tabular-nums}"
    ".notice{color:#8a4b00}.case{border-top:1px solid #dde1e4;padding:.6rem 0}.case img{display:block;"
    "max-width:100%;background:#000;margin:.4rem 0}.case p{margin:.2rem 0}.k{color:#66707a}"
    "figure{display:inline-block;margin:0 1.5rem 1rem 0}figcaption{color:#66707a}"
    "svg text{font:11px system-ui,sans-serif;fill:#66707a}.wide{overflow-x:auto}";

void tomo_page_begin(tomo_buffer *page, const char *title) {
    (void)tomo_buffer_add_text(page, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
                                     "<meta name=\"viewport\" content=\"width=device-width\"><title>");
    tomo_page_text(page, title, strlen(title));
    (void)tomo_buffer_format(page, "</title><style>%s</style></head><body>\n<h1>", style);
    tomo_page_text(page, title, strlen(title));
    (void)tomo_buffer_add_text(page, "</h1>\n");
}

void tomo_page_end(tomo_buffer *page) {
    (void)tomo_buffer_add_text(page, "</body></html>\n");
}

void tomo_page_text(tomo_buffer *page, const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        switch (c) {
        case '<':
            (void)tomo_buffer_add_text(page, "&lt;");
            break;
        case '>':
            (void)tomo_buffer_add_text(page, "&gt;");
            break;
        case '&':
            (void)tomo_buffer_add_text(page, "&amp;");
            break;
        case '"':
            (void)tomo_buffer_add_text(page, "&quot;");
            break;
        default:
            (void)tomo_buffer_add(page, c < 0x20 || c == 0x7f ? " " : text + i, 1);
        }
    }
}

/* ------------------------------------------------------------------------------ curves */

enum { LEFT = 34, TOP = 8, WIDE = 300, HIGH = 150 };

static void begin_plot(tomo_buffer *page) {
    (void)tomo_buffer_format(page, "<svg width=\"%d\" height=\"%d\" role=\"img\">", LEFT + WIDE + 10,
                             TOP + HIGH + 22);
    for (int i = 0; i <= 4; i++) {
        int y = TOP + HIGH - HIGH * i / 4;
        (void)tomo_buffer_format(
            page, "<path d=\"M%d %dh%d\" stroke=\"#e6e9ec\"/><text x=\"2\" y=\"%d\">%.2f</text>", LEFT, y,
            WIDE, y + 4, i / 4.0);
    }
}

static double value_y(double value) {
    return TOP + HIGH - HIGH * fmin(fmax(value, 0), 1);
}

static void begin_line(tomo_buffer *page) {
    (void)tomo_buffer_add_text(page,
                               "<polyline fill=\"none\" stroke=\"#1f6feb\" stroke-width=\"1.5\" points=\"");
}

static void end_plot(tomo_buffer *page, size_t count, const char *unit, const char *caption,
                     const char *name) {
    (void)tomo_buffer_format(
        page, "\"/><text x=\"%d\" y=\"%d\">1</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">%zu %s</text>",
        LEFT, TOP + HIGH + 16, LEFT + WIDE, TOP + HIGH + 16, count, unit);
    (void)tomo_buffer_format(page, "</svg><figcaption>%s: %s</figcaption></figure>\n", name, caption);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Which row the point stands for, and where. */
static size_t point_row(size_t point, size_t points, size_t count) {
    return points < 2 ? 0 : point * (count - 1) / (points - 1);
}

static double point_x(size_t row, size_t count) {
    return LEFT + (count < 2 ? 0 : (double)row / (double)(count - 1) * WIDE);
}

void tomo_page_curves(tomo_buffer *page, const char *name, const double *values, size_t count) {
    size_t points = count < CURVE_POINTS ? count : CURVE_POINTS;
    double *sorted = malloc((count + 1) * sizeof *sorted), sum = 0;
    if (sorted == NULL || count == 0) {
        page->failed = page->failed || sorted == NULL;
        free(sorted);
        return;
    }
    memcpy(sorted, values, count * sizeof *sorted);
    qsort(sorted, count, sizeof *sorted, by_value);
    (void)tomo_buffer_add_text(page, "<figure>");
    begin_plot(page);
    begin_line(page);
    for (size_t i = 0; i < points; i++) {
        size_t row = point_row(i, points, count);
        (void)tomo_buffer_format(page, "%.1f,%.1f ", point_x(row, count), value_y(sorted[row]));
    }
    end_plot(page, count, "rows", "rows from the worst to the best", name);
    (void)tomo_buffer_add_text(page, "<figure>");
    begin_plot(page);
    begin_line(page);
    for (size_t i = 0, row = 0; i < points; i++) {
        for (; row <= point_row(i, points, count); row++) sum += values[row];
        (void)tomo_buffer_format(page, "%.1f,%.1f ", point_x(row - 1, count), value_y(sum / (double)row));
    }
    end_plot(page, count, "rows", "mean of the rows so far", name);
    free(sorted);
}

/* ------------------------------------------------------------------------------ bars */

void tomo_page_bars_begin(tomo_buffer *page) {
    (void)tomo_buffer_add_text(page, "<table>");
}

void tomo_page_bar(tomo_buffer *page, const char *name, double value, double low, double high) {
    (void)tomo_buffer_add_text(page, "<tr><td>");
    tomo_page_text(page, name, strlen(name));
    (void)tomo_buffer_format(
        page,
        "</td><td><svg width=\"304\" height=\"16\"><rect x=\"2\" y=\"2\" width=\"300\" height=\"12\" "
        "fill=\"#eef1f4\"/><rect x=\"2\" y=\"2\" width=\"%.1f\" height=\"12\" fill=\"#1f6feb\"/>",
        fmin(fmax(value, 0), 1) * 300);
    if (isfinite(low) && isfinite(high)) {
        (void)tomo_buffer_format(page, "<path d=\"M%.1f 8H%.1f\" stroke=\"#1d2327\"/>", 2 + low * 300,
                                 2 + high * 300);
    }
    (void)tomo_buffer_format(page, "</svg></td><td class=\"n\">%.4f</td></tr>\n", value);
}

void tomo_page_bars_end(tomo_buffer *page) {
    (void)tomo_buffer_add_text(page, "</table>\n");
}

/* ------------------------------------------------------------------------------ pictures */

static void add_base64(tomo_buffer *page, const unsigned char *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)bytes[i] << 16;
        if (i + 1 < size) three |= (uint32_t)bytes[i + 1] << 8;
        if (i + 2 < size) three |= bytes[i + 2];
        char four[4] = {digits[three >> 18], digits[three >> 12 & 63], digits[three >> 6 & 63],
                        digits[three & 63]};
        if (i + 1 >= size) four[2] = '=';
        if (i + 2 >= size) four[3] = '=';
        (void)tomo_buffer_add(page, four, sizeof four);
    }
}

/* One slice in true proportions, SLICE_PIXELS high, into columns from `left` on. */
typedef struct strip {
    uint8_t *pixels; /* [SLICE_PIXELS][width] */
    int64_t width, slice_width;
    tomo_image_resizer *resizer;
    float *buffer; /* windowed slice, work, result */
    size_t plane, work;
} strip;

static tomo_status open_strip(strip *s, const tomo_volume *v, int64_t count, tomo_error *err) {
    double across = (double)v->shape[2] * v->spacing_mm[2], down = (double)v->shape[1] * v->spacing_mm[1];
    double width = down > 0 ? round(SLICE_PIXELS * across / down) : SLICE_PIXELS;
    s->slice_width = width >= 8 && width <= 4 * SLICE_PIXELS ? (int64_t)width : SLICE_PIXELS;
    s->width = count * (s->slice_width + 2);
    s->plane = (size_t)(v->shape[1] * v->shape[2]);
    tomo_status status =
        tomo_image_resizer_create(v->shape[1], v->shape[2], SLICE_PIXELS, s->slice_width, &s->resizer, err);
    if (status != TOMO_OK) return status;
    s->work = tomo_image_resizer_work(s->resizer);
    s->buffer = malloc((s->plane + s->work + (size_t)(SLICE_PIXELS * s->slice_width)) * sizeof *s->buffer);
    s->pixels = calloc((size_t)(SLICE_PIXELS * s->width), 1);
    return s->buffer != NULL && s->pixels != NULL ? TOMO_OK : tomo_fail_memory(err, "a picture", s->plane);
}

static void draw_slice(strip *s, const tomo_volume *v, tomo_channel channel, int64_t z, int64_t left) {
    float *result = s->buffer + s->plane + s->work;
    tomo_channel_map(channel, v->voxels + (size_t)z * s->plane, (int64_t)s->plane, s->buffer);
    tomo_image_resize_float(s->resizer, s->buffer, s->buffer + s->plane, result);
    for (int64_t y = 0; y < SLICE_PIXELS; y++) {
        for (int64_t x = 0; x < s->slice_width; x++) {
            s->pixels[y * s->width + left + x] = tomo_picture_level(result[y * s->slice_width + x]);
        }
    }
}

static tomo_status add_picture(tomo_buffer *page, const strip *s, tomo_error *err) {
    unsigned char *png = NULL;
    size_t size = 0;
    tomo_status status = tomo_png_encode(s->pixels, SLICE_PIXELS, s->width, 1, &png, &size, err);
    if (status != TOMO_OK) return status;
    (void)tomo_buffer_add_text(page, "<img alt=\"kept slices\" src=\"data:image/png;base64,");
    add_base64(page, png, size);
    (void)tomo_buffer_add_text(page, "\">");
    free(png);
    return TOMO_OK;
}

tomo_status tomo_page_slices(tomo_buffer *page, const tomo_volume *volume, const int64_t *z, int64_t count,
                             int64_t most, tomo_error *err) {
    strip s = {0};
    int64_t shown = count < most ? count : most;
    /* CTs look best in a soft-tissue window, everything else in its own range. */
    tomo_picture_options window = {
        .use_window = volume->intensity == TOMO_INTENSITY_HU, .level = 40, .width = 400};
    tomo_channel channel = tomo_picture_channel(volume, &window);
    if (shown == 0) return TOMO_OK;
    tomo_status status = open_strip(&s, volume, shown, err);
    for (int64_t i = 0; status == TOMO_OK && i < shown; i++) {
        int64_t slice = z[shown < 2 ? 0 : i * (count - 1) / (shown - 1)];
        if (slice >= 0 && slice < volume->shape[0])
            draw_slice(&s, volume, channel, slice, i * (s.slice_width + 2));
    }
    if (status == TOMO_OK) status = add_picture(page, &s, err);
    tomo_image_resizer_free(s.resizer);
    free(s.buffer);
    free(s.pixels);
    return status;
}
