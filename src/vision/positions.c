/* positions.c - position tables for image sizes other than the one that an encoder was trained on. */
#include "vision/vit.h"

#include <math.h>
#include <string.h>

/* Keys' cubic convolution kernel. */
static double cubic(double x, double a) {
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
    return 0;
}

/* Row i of a matrix [out, in] that resamples an axis: taps at the four neighbours, clamped to the edge. */
static void plain_row(float *row, int64_t i, int64_t in, int64_t out) {
    double source = ((double)i + 0.5) * (double)in / (double)out - 0.5;
    int64_t first = (int64_t)floor(source) - 1;
    for (int64_t tap = first; tap < first + 4; tap++) {
        int64_t at = tap < 0 ? 0 : tap >= in ? in - 1 : tap;
        row[at] += (float)cubic(source - (double)tap, -0.75);
    }
}

/* The same, antialiased: the kernel is as wide as the step between outputs, and its weights sum to 1. */
static void antialiased_row(float *row, int64_t i, int64_t in, int64_t out) {
    double scale = (double)in / (double)out, stretch = scale > 1 ? scale : 1;
    double center = scale * ((double)i + 0.5), support = 2 * stretch, sum = 0;
    int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
    if (center - support + 0.5 < 0) first = 0;
    if (end > in) end = in;
    for (int64_t at = first; at < end; at++) sum += cubic(((double)at - center + 0.5) / stretch, -0.5);
    for (int64_t at = first; at < end; at++) {
        row[at] = (float)(cubic(((double)at - center + 0.5) / stretch, -0.5) / sum);
    }
}

static float *axis_matrix(tomo_exec *exec, int64_t in, int64_t out, bool antialias) {
    float *matrix = tomo_exec_alloc(exec, out * in, sizeof *matrix);
    if (matrix == NULL) return NULL;
    memset(matrix, 0, (size_t)(out * in) * sizeof *matrix);
    for (int64_t i = 0; i < out; i++) {
        if (antialias) {
            antialiased_row(matrix + i * in, i, in, out);
        } else {
            plain_row(matrix + i * in, i, in, out);
        }
    }
    return matrix;
}

tomo_tensor *tomo_vit_positions(tomo_exec *exec, const tomo_tensor *table, int64_t rows, int64_t columns,
                                bool antialias) {
    int64_t C = table->shape[1], side = (int64_t)lround(sqrt((double)(table->shape[0] - 1)));
    tomo_tensor *out = tomo_exec_tensor(exec, 2, (int64_t[]){1 + rows * columns, C});
    float *down = axis_matrix(exec, side, rows, antialias),
          *across = axis_matrix(exec, side, columns, antialias);
    float *half = tomo_exec_alloc(exec, side * columns * C, sizeof *half); /* [side, columns, C] */
    if (out == NULL || half == NULL) return NULL;
    const float *from = tomo_tensor_f32(table) + C;
    float *to = tomo_tensor_f32(out);
    memcpy(to, tomo_tensor_f32(table), (size_t)C * sizeof *to);
    for (int64_t y = 0; y < side; y++) {
        exec->kernels->weighted_sum(half + y * columns * C, C, across, side, columns, from + y * side * C, C,
                                    side, C);
    }
    exec->kernels->weighted_sum(to + C, columns * C, down, side, rows, half, columns * C, side, columns * C);
    return out;
}
