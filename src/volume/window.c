/* window.c - values to 0..1. */
#include "volume/slices.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Floats in ascending order have keys in ascending order. */
static uint32_t order_key(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

static float key_value(uint32_t key) {
    uint32_t bits = key & 0x80000000u ? key & 0x7FFFFFFFu : ~key;
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Which of 65536 counts holds the rank-th element (from 0); *rank becomes the rank within it. */
static uint32_t find_bin(const int64_t *counts, int64_t *rank) {
    uint32_t bin = 0;
    while (bin < 65535 && *rank >= counts[bin]) *rank -= counts[bin++];
    return bin;
}

/* The rank-th smallest value, by counting the upper and then the lower half of the keys: no copy, no sorting.
 */
static float ranked(const float *values, int64_t n, const int64_t *upper, int64_t rank, int64_t *lower) {
    uint32_t high = find_bin(upper, &rank);
    memset(lower, 0, 65536 * sizeof *lower);
    for (int64_t i = 0; i < n; i++) {
        uint32_t key = order_key(values[i]);
        if (key >> 16 == high) lower[key & 0xFFFF]++;
    }
    return key_value(high << 16 | find_bin(lower, &rank));
}

tomo_status tomo_percentiles(const float *values, int64_t n, const double *percents, int count,
                             double *results, tomo_error *err) {
    int64_t *upper = calloc(2 * 65536, sizeof *upper), *lower = upper == NULL ? NULL : upper + 65536;
    if (upper == NULL) return tomo_fail_memory(err, "percentiles", 2 * 65536 * sizeof *upper);
    for (int64_t i = 0; i < n; i++) upper[order_key(values[i]) >> 16]++;
    for (int p = 0; p < count; p++) {
        double at = (double)(n - 1) * (percents[p] / 100), below = floor(at);
        int64_t rank = (int64_t)below;
        double a = (double)ranked(values, n, upper, rank, lower);
        double b = rank + 1 < n ? (double)ranked(values, n, upper, rank + 1, lower) : a, t = at - below;
        results[p] = t < 0.5 ? a + (b - a) * t : b - (b - a) * (1 - t); /* numpy's lerp */
    }
    free(upper);
    return TOMO_OK;
}

void tomo_channel_map(tomo_channel channel, const float *values, int64_t n, float *out) {
    if (channel.clip) {
        for (int64_t i = 0; i < n; i++)
            out[i] = tomo_channel_apply((tomo_channel){channel.low, channel.range, true}, values[i]);
    } else {
        for (int64_t i = 0; i < n; i++) out[i] = (values[i] - channel.low) / channel.range;
    }
}

tomo_status tomo_channels_make(const tomo_volume *v, const tomo_slices_settings *settings,
                               tomo_channel channels[3], int *count, tomo_error *err) {
    *count = 1;
    if (settings->kind == TOMO_WINDOW_HU) {
        *count = settings->n_windows;
        for (int i = 0; i < settings->n_windows; i++) {
            const tomo_window *w = &settings->windows[i];
            channels[i] = (tomo_channel){(float)(w->level - w->width / 2), (float)w->width, true};
        }
        return TOMO_OK;
    }
    bool percentile = settings->kind == TOMO_WINDOW_PERCENTILE;
    float low = v->minimum, range = v->maximum - v->minimum;
    if (percentile) {
        double bounds[2];
        int64_t n = v->shape[0] * v->shape[1] * v->shape[2];
        tomo_status status = tomo_percentiles(v->voxels, n, settings->percentile, 2, bounds, err);
        if (status != TOMO_OK) return status;
        low = (float)bounds[0];
        range = (float)(bounds[1] - bounds[0]);
    }
    channels[0] = (tomo_channel){low, range > 1e-8F ? range : 1e-8F, percentile};
    return TOMO_OK;
}
