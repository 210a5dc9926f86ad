#include "volume/image.h"

#include "base/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pillow's fixed point: 32 bits less 8 of the pixel less 2 for overshoot. */
#define PRECISION 22

/* One direction: output i is the sum of weights[i * most + k] times input first[i] + k, k < count[i]. */
typedef struct axis {
    int64_t in, out, most;
    int64_t *first, *count;
    double *weights;
    int32_t *fixed;
} axis;

struct tomo_image_resizer {
    axis vertical, horizontal;
};

static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void axis_free(axis *a) {
    free(a->first);
    free(a->count);
    free(a->weights);
    free(a->fixed);
}

/* The weights of one output pixel, as Pillow's precompute_coeffs: the kernel sampled at pixel centres, cut at
 * the border and scaled to the sum 1. */
static void fill_weights(axis *a, int64_t i, double scale, double stretch, double support) {
    double centre = ((double)i + 0.5) * scale;
    int64_t first = (int64_t)(centre - support + 0.5), last = (int64_t)(centre + support + 0.5);
    if (first < 0) first = 0;
    if (last > a->in) last = a->in;
    double *w = a->weights + i * a->most, sum = 0;
    a->first[i] = first;
    a->count[i] = last - first;
    for (int64_t k = 0; k < last - first; k++) {
        w[k] = bicubic(((double)(k + first) - centre + 0.5) * (1.0 / stretch));
        sum += w[k];
    }
    for (int64_t k = 0; k < last - first; k++) {
        if (sum != 0) w[k] /= sum;
        double scaled = w[k] * (1 << PRECISION);
        a->fixed[i * a->most + k] = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
}

static bool axis_init(axis *a, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, stretch = scale < 1 ? 1 : scale, support = 2 * stretch;
    size_t total = 0;
    *a = (axis){.in = in, .out = out, .most = 2 * (int64_t)ceil(support) + 1};
    if (!tomo_size_mul((size_t)out, (size_t)a->most, &total)) return false;
    a->first = calloc((size_t)out, sizeof *a->first);
    a->count = calloc((size_t)out, sizeof *a->count);
    a->weights = calloc(total, sizeof *a->weights);
    a->fixed = calloc(total, sizeof *a->fixed);
    if (a->first == NULL || a->count == NULL || a->weights == NULL || a->fixed == NULL) return false;
    for (int64_t i = 0; i < out; i++) fill_weights(a, i, scale, stretch, support);
    return true;
}

tomo_status tomo_image_resizer_create(int64_t height, int64_t width, int64_t to_height, int64_t to_width,
                                      tomo_image_resizer **resizer, tomo_error *err) {
    *resizer = NULL;
    const int64_t sizes[4] = {height, width, to_height, to_width};
    for (int i = 0; i < 4; i++) {
        if (sizes[i] < 1 || sizes[i] > 1 << 20) {
            return tomo_fail(err, TOMO_E_USAGE, "resize: a side of %lld pixels; 1 to %d are wanted",
                             (long long)sizes[i], 1 << 20);
        }
    }
    tomo_image_resizer *r = calloc(1, sizeof *r);
    if (r == NULL || !axis_init(&r->vertical, height, to_height) ||
        !axis_init(&r->horizontal, width, to_width)) {
        tomo_image_resizer_free(r);
        return tomo_fail_memory(err, "resize", (size_t)(to_height + to_width) * 64);
    }
    *resizer = r;
    return TOMO_OK;
}

void tomo_image_resizer_free(tomo_image_resizer *r) {
    if (r == NULL) return;
    axis_free(&r->vertical);
    axis_free(&r->horizontal);
    free(r);
}

size_t tomo_image_resizer_work(const tomo_image_resizer *r) {
    return (size_t)r->vertical.in * (size_t)r->horizontal.out;
}

/* Pillow passes over a direction only if its size changes; so do we, or floats would differ in the last bit.
 */
static bool is_same(const axis *a) {
    return a->in == a->out;
}

static void across_float(const axis *a, const float *from, int64_t rows, float *to) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < a->out; i++) {
            const float *p = from + r * a->in + a->first[i];
            const double *w = a->weights + i * a->most;
            double sum = 0;
            for (int64_t k = 0; k < a->count[i]; k++) sum += (double)p[k] * w[k];
            to[r * a->out + i] = (float)sum;
        }
    }
}

/* Sums of a strip of columns are kept in double side by side: rows are read in order, and each sum still adds
 * its terms from the first row to the last. */
#define STRIP 64

static void down_float(const axis *a, const float *from, int64_t columns, float *to) {
    for (int64_t i = 0; i < a->out; i++) {
        const double *w = a->weights + i * a->most;
        for (int64_t c = 0; c < columns; c += STRIP) {
            double sums[STRIP] = {0};
            int64_t n = columns - c < STRIP ? columns - c : STRIP;
            for (int64_t k = 0; k < a->count[i]; k++) {
                const float *row = from + (a->first[i] + k) * columns + c;
                for (int64_t x = 0; x < n; x++) sums[x] += (double)row[x] * w[k];
            }
            for (int64_t x = 0; x < n; x++) to[i * columns + c + x] = (float)sums[x];
        }
    }
}

void tomo_image_resize_float(const tomo_image_resizer *r, const float *from, float *work, float *to) {
    const axis *h = &r->horizontal, *v = &r->vertical;
    if (is_same(h) && is_same(v)) {
        memcpy(to, from, (size_t)(v->in * h->in) * sizeof *to);
    } else if (is_same(h)) {
        down_float(v, from, h->in, to);
    } else if (is_same(v)) {
        across_float(h, from, v->in, to);
    } else {
        across_float(h, from, v->in, work);
        down_float(v, work, h->out, to);
    }
}

static uint8_t clamp_fixed(int32_t sum) {
    int32_t value = sum >> PRECISION;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

/* Pixel k of output i lies `step` bytes after pixel k - 1. */
static uint8_t sum_bytes(const axis *a, int64_t i, const uint8_t *p, int64_t step) {
    int32_t sum = 1 << (PRECISION - 1);
    const int32_t *w = a->fixed + i * a->most;
    for (int64_t k = 0; k < a->count[i]; k++) sum += p[k * step] * w[k];
    return clamp_fixed(sum);
}

static void across_bytes(const axis *a, const uint8_t *from, int64_t rows, uint8_t *to) {
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t i = 0; i < a->out; i++)
            to[r * a->out + i] = sum_bytes(a, i, from + r * a->in + a->first[i], 1);
    }
}

static void down_bytes(const axis *a, const uint8_t *from, int64_t columns, uint8_t *to) {
    for (int64_t i = 0; i < a->out; i++) {
        for (int64_t c = 0; c < columns; c++) {
            to[i * columns + c] = sum_bytes(a, i, from + a->first[i] * columns + c, columns);
        }
    }
}

void tomo_image_resize_bytes(const tomo_image_resizer *r, const uint8_t *from, uint8_t *work, uint8_t *to) {
    const axis *h = &r->horizontal, *v = &r->vertical;
    if (is_same(h) && is_same(v)) {
        memcpy(to, from, (size_t)(v->in * h->in));
    } else if (is_same(h)) {
        down_bytes(v, from, h->in, to);
    } else if (is_same(v)) {
        across_bytes(h, from, v->in, to);
    } else {
        across_bytes(h, from, v->in, work);
        down_bytes(v, work, h->out, to);
    }
}

/* ------------------------------------------------------------------ rules */

void tomo_image_shortest_edge(int64_t height, int64_t width, int64_t edge, int64_t *to_height,
                              int64_t *to_width) {
    bool tall = height > width;
    int64_t shorter = tall ? width : height, longer = tall ? height : width;
    int64_t other = edge * longer / shorter;
    *to_height = tall ? other : edge;
    *to_width = tall ? edge : other;
}

int64_t tomo_image_crop_offset(int64_t length, int64_t crop, bool torchvision) {
    double half = (double)(length - crop) / 2;
    return (int64_t)(torchvision ? rint(half) : floor(half));
}

size_t tomo_image_encode_work(const tomo_image_resizer *resizer, int64_t size) {
    return tomo_image_resizer_work(resizer) + (size_t)(size * size);
}

void tomo_image_encode_slices(const tomo_slices *slices, const tomo_image_resizer *resizer, int64_t first,
                              int64_t count, int64_t size, const float mean[3], const float std[3],
                              float *work, float *pixels) {
    int64_t area = size * size, plane = slices->height * slices->width;
    float *resized = work + tomo_image_resizer_work(resizer);
    for (int64_t s = first; s < first + count; s++) {
        for (int64_t c = 0; c < 3; c++) {
            if (c < slices->channels) {
                tomo_image_resize_float(resizer, slices->values + (c * slices->slices + s) * plane, work,
                                        resized);
            }
            for (int64_t i = 0; i < area; i++) *pixels++ = (resized[i] - mean[c]) / std[c];
        }
    }
}
