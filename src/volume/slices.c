#include "volume/slices.h"

#include "base/decimal.h"
#include "base/limits.h"
#include "base/size.h"
#include "volume/geometry.h"
#include "volume/resample.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A slice distance this many times the pixel spacing (or the reverse) is told about: a 5 mm CT has 7. */
#define ANISOTROPY 4.0

/* What is being made, and from what. */
typedef struct job {
    const tomo_volume *given, *volume; /* volume: after resampling, else the given one */
    const tomo_slices_settings *settings;
    const tomo_hooks *hooks;
    tomo_channel channels[3];
    int64_t begin[3], end[3]; /* crop box z, y, x; end exclusive */
    tomo_slices *out;
} job;

void tomo_slices_free(tomo_slices *slices) {
    if (slices == NULL) return;
    free(slices->values);
    free(slices->source_z);
    cJSON_Delete(slices->record);
    free(slices);
}

/* ------------------------------------------------------------------ crop */

/* The box of values above 0; with several channels the lowest window decides, since each is increasing. */
static void find_foreground(job *j, int n_channels) {
    const tomo_volume *v = j->volume;
    tomo_channel lowest = j->channels[0];
    for (int c = 1; c < n_channels; c++) {
        if (j->channels[c].low < lowest.low) lowest = j->channels[c];
    }
    int64_t begin[3] = {v->shape[0], v->shape[1], v->shape[2]}, end[3] = {0, 0, 0};
    for (int64_t z = 0; z < v->shape[0]; z++) {
        for (int64_t y = 0; y < v->shape[1]; y++) {
            const float *row = v->voxels + (z * v->shape[1] + y) * v->shape[2];
            int64_t first = 0, last = v->shape[2];
            while (first < last && !(tomo_channel_apply(lowest, row[first]) > 0)) first++;
            if (first == last) continue;
            while (!(tomo_channel_apply(lowest, row[last - 1]) > 0)) last--;
            const int64_t low[3] = {z, y, first}, high[3] = {z + 1, y + 1, last};
            for (int i = 0; i < 3; i++) {
                begin[i] = low[i] < begin[i] ? low[i] : begin[i];
                end[i] = high[i] > end[i] ? high[i] : end[i];
            }
        }
    }
    if (end[0] == 0) return; /* no foreground: no crop */
    memcpy(j->begin, begin, sizeof begin);
    memcpy(j->end, end, sizeof end);
}

/* ------------------------------------------------------------------ record */

static cJSON *numbers(const int64_t *values, int64_t n) {
    cJSON *list = cJSON_CreateArray();
    for (int64_t i = 0; list != NULL && i < n; i++) {
        (void)cJSON_AddItemToArray(list, cJSON_CreateNumber((double)values[i]));
    }
    return list;
}

static void note_windows(cJSON *record, const job *j) {
    const tomo_slices_settings *s = j->settings;
    static const char *const kinds[] = {"HU", "minmax", "percentile"};
    (void)cJSON_AddStringToObject(record, "window_kind", kinds[s->kind]);
    cJSON *list = cJSON_AddArrayToObject(record, "windows");
    for (int64_t c = 0; list != NULL && c < j->out->channels; c++) {
        cJSON *window = cJSON_CreateObject();
        (void)cJSON_AddNumberToObject(window, "low", (double)j->channels[c].low);
        (void)cJSON_AddNumberToObject(window, "high",
                                      (double)j->channels[c].low + (double)j->channels[c].range);
        (void)cJSON_AddItemToArray(list, window);
    }
    if (s->kind == TOMO_WINDOW_HU && j->given->intensity != TOMO_INTENSITY_HU) {
        (void)cJSON_AddBoolToObject(record, "windows_forced", true);
    }
}

static void warn_anisotropy(job *j) {
    const double *mm = j->given->spacing_mm;
    double plane = sqrt(mm[1] * mm[2]), ratio = mm[0] > plane ? mm[0] / plane : plane / mm[0];
    if (j->settings->has_spacing || j->given->shape[0] == 1 || !(ratio > ANISOTROPY)) return;
    char text[160];
    (void)tomo_decimal_format(text, sizeof text,
                              "slices are %.3g mm apart, pixels %.3g mm; \"spacing\" would resample", mm[0],
                              plane);
    tomo_log(j->hooks, TOMO_LOG_WARNING, "W_ANISOTROPIC: %s", text);
    cJSON *list = cJSON_AddArrayToObject(j->out->record, "warnings"), *warning = cJSON_CreateObject();
    (void)cJSON_AddStringToObject(warning, "code", "W_ANISOTROPIC");
    (void)cJSON_AddStringToObject(warning, "text", text);
    if (!cJSON_AddItemToArray(list, warning)) cJSON_Delete(warning);
}

static void note_frame(job *j) {
    cJSON *record = j->out->record;
    note_windows(record, j);
    if (j->settings->has_spacing) {
        (void)cJSON_AddItemToObject(record, "resampled_mm_zyx",
                                    cJSON_CreateDoubleArray(j->settings->spacing_mm, 3));
        (void)cJSON_AddItemToObject(record, "resampled_zyx", numbers(j->volume->shape, 3));
    }
    if (j->settings->crop_foreground) {
        cJSON *crop = cJSON_AddObjectToObject(record, "crop_zyx");
        (void)cJSON_AddItemToObject(crop, "begin", numbers(j->begin, 3));
        (void)cJSON_AddItemToObject(crop, "end", numbers(j->end, 3));
    }
    warn_anisotropy(j);
}

/* ------------------------------------------------------------------ output */

static tomo_status reserve(job *j, int64_t slices, int64_t height, int64_t width, tomo_error *err) {
    tomo_slices *o = j->out;
    const int64_t shape[4] = {o->channels, slices, height, width};
    int64_t count = 0;
    if (!tomo_shape_count(shape, 4, &count) || count > 3 * TOMO_LIMIT_VOXELS) {
        return tomo_fail(err, TOMO_E_LIMIT, "slices: %lld x %lld x %lld x %lld values; at most %lld are made",
                         (long long)shape[0], (long long)shape[1], (long long)shape[2], (long long)shape[3],
                         (long long)(3 * TOMO_LIMIT_VOXELS));
    }
    o->slices = slices;
    o->height = height;
    o->width = width;
    o->values = calloc((size_t)count, sizeof *o->values); /* padding is 0 */
    o->source_z = calloc((size_t)slices, sizeof *o->source_z);
    if (o->values == NULL || o->source_z == NULL)
        return tomo_fail_memory(err, "slices", (size_t)count * sizeof(float));
    return TOMO_OK;
}

/* The given volume's slice nearest to a (fractional) slice of the volume in use, at the middle of the
 * picture. */
static int64_t nearest_source(const job *j, double z) {
    if (j->volume != j->given) {
        tomo_affine inverse;
        if (!tomo_affine_invert(&j->given->affine_ras, &inverse)) return 0;
        tomo_affine back = tomo_affine_multiply(&inverse, &j->volume->affine_ras);
        z = back.m[2][0] * ((double)j->volume->shape[2] - 1) / 2 +
            back.m[2][1] * ((double)j->volume->shape[1] - 1) / 2 + back.m[2][2] * z + back.m[2][3];
    }
    double last = (double)j->given->shape[0] - 1;
    return (int64_t)floor(fmin(fmax(z, 0), last) + 0.5);
}

/* One slice of the crop box, windowed and resized to the output's height and width. */
static void resize_plane(const job *j, int channel, int64_t z, const tomo_linear_tap *ty,
                         const tomo_linear_tap *tx, float *row_buffer, float *out) {
    int64_t width = j->end[2] - j->begin[2], row_length = j->volume->shape[2];
    const float *plane = j->volume->voxels + (j->begin[0] + z) * j->volume->shape[1] * row_length;
    float *rows[2] = {row_buffer, row_buffer + width};
    int64_t held[2] = {-1, -1}; /* which rows are windowed already */
    for (int64_t y = 0; y < j->out->height; y++) {
        const int64_t wanted[2] = {ty[y].low, ty[y].high};
        if (held[1] == wanted[0] && held[0] != wanted[0]) { /* the high row of before is the low one now */
            float *swap = rows[0];
            rows[0] = rows[1];
            rows[1] = swap;
            held[0] = held[1];
            held[1] = -1;
        }
        for (int i = 0; i < 2; i++) {
            if (held[i] == wanted[i]) continue;
            const float *row = plane + (j->begin[1] + wanted[i]) * row_length + j->begin[2];
            tomo_channel_map(j->channels[channel], row, width, rows[i]);
            held[i] = wanted[i];
        }
        for (int64_t x = 0; x < j->out->width; x++) {
            tomo_linear_tap t = tx[x];
            float low = (1 - t.weight) * rows[0][t.low] + t.weight * rows[0][t.high];
            float high = (1 - t.weight) * rows[1][t.low] + t.weight * rows[1][t.high];
            *out++ = (1 - ty[y].weight) * low + ty[y].weight * high;
        }
    }
}

/* M3D's resize: trilinear over the crop box; each plane is resized once and blended with the next. */
static tomo_status resize_channel(const job *j, int channel, const tomo_linear_tap *tz,
                                  const tomo_linear_tap *ty, const tomo_linear_tap *tx, float *planes,
                                  float *row_buffer, tomo_error *err) {
    tomo_slices *o = j->out;
    int64_t area = o->height * o->width, held[2] = {-1, -1};
    float *plane[2] = {planes, planes + area}, *out = o->values + channel * o->slices * area;
    for (int64_t z = 0; z < o->slices; z++) {
        tomo_status status =
            tomo_progress(j->hooks, "resizing slices", channel * o->slices + z, o->channels * o->slices, err);
        if (status != TOMO_OK) return status;
        const int64_t wanted[2] = {tz[z].low, tz[z].high};
        if (held[1] == wanted[0] && held[0] != wanted[0]) {
            float *swap = plane[0];
            plane[0] = plane[1];
            plane[1] = swap;
            held[0] = held[1];
            held[1] = -1;
        }
        for (int i = 0; i < 2; i++) {
            if (held[i] == wanted[i]) continue;
            resize_plane(j, channel, wanted[i], ty, tx, row_buffer, plane[i]);
            held[i] = wanted[i];
        }
        for (int64_t i = 0; i < area; i++) {
            *out++ = (1 - tz[z].weight) * plane[0][i] + tz[z].weight * plane[1][i];
        }
    }
    return TOMO_OK;
}

static tomo_status make_resized(job *j, tomo_error *err) {
    const int64_t *size = j->settings->size;
    tomo_status status = reserve(j, size[0], size[1], size[2], err);
    if (status != TOMO_OK) return status;
    size_t area = (size_t)(size[1] * size[2]), taps_count = (size_t)(size[0] + size[1] + size[2]);
    tomo_linear_tap *taps = malloc(taps_count * sizeof *taps);
    float *buffers = malloc((2 * area + 2 * (size_t)j->volume->shape[2]) * sizeof *buffers);
    if (taps == NULL || buffers == NULL) {
        status = tomo_fail_memory(err, "slices", area * 2 * sizeof *buffers);
        goto done;
    }
    tomo_linear_taps(j->end[0] - j->begin[0], size[0], taps);
    tomo_linear_taps(j->end[1] - j->begin[1], size[1], taps + size[0]);
    tomo_linear_taps(j->end[2] - j->begin[2], size[2], taps + size[0] + size[1]);
    for (int64_t z = 0; z < size[0]; z++) {
        j->out->source_z[z] = nearest_source(j, (double)(j->begin[0] + taps[z].low) + (double)taps[z].weight);
    }
    for (int c = 0; c < (int)j->out->channels && status == TOMO_OK; c++) {
        status = resize_channel(j, c, taps, taps + size[0], taps + size[0] + size[1], buffers,
                                buffers + 2 * area, err);
    }
    (void)cJSON_AddItemToObject(j->out->record, "resized_zyx", numbers(size, 3));
done:
    free(taps);
    free(buffers);
    return status;
}

/* Slice i of n taken evenly from `all`, rounded half up. */
static int64_t thinned(int64_t i, int64_t n, int64_t all) {
    if (n >= all) return i;
    return n > 1 ? (2 * i * (all - 1) + (n - 1)) / (2 * (n - 1)) : 0;
}

static tomo_status make_native(job *j, tomo_error *err) {
    int64_t all = j->end[0] - j->begin[0], height = j->end[1] - j->begin[1], width = j->end[2] - j->begin[2];
    int64_t n = all > j->settings->max_slices ? j->settings->max_slices : all;
    int64_t side = height > width ? height : width, top = (side - height) / 2, left = (side - width) / 2;
    tomo_status status = reserve(j, n, side, side, err);
    tomo_slices *o = j->out;
    for (int64_t z = 0; z < n && status == TOMO_OK; z++) {
        status = tomo_progress(j->hooks, "windowing slices", z, n, err);
        int64_t source = j->begin[0] + thinned(z, n, all);
        o->source_z[z] = nearest_source(j, (double)source);
        for (int64_t c = 0; c < o->channels; c++) {
            for (int64_t y = 0; y < height; y++) {
                const float *row = j->volume->voxels +
                                   (source * j->volume->shape[1] + j->begin[1] + y) * j->volume->shape[2] +
                                   j->begin[2];
                tomo_channel_map(j->channels[c], row, width,
                                 o->values + ((c * n + z) * side + top + y) * side + left);
            }
        }
    }
    if (status != TOMO_OK) return status;
    if (n < all) (void)cJSON_AddNumberToObject(o->record, "thinned_from", (double)all);
    const int64_t pad[4] = {top, side - height - top, left, side - width - left};
    (void)cJSON_AddItemToObject(o->record, "pad_top_bottom_left_right", numbers(pad, 4));
    return TOMO_OK;
}

/* Resizing keeps the field of view, thinning the first and the last slice. */
static void find_distance(job *j) {
    double all = (double)(j->end[0] - j->begin[0]), n = (double)j->out->slices, steps = 1;
    if (j->volume->spacing_unknown) return;
    if (j->settings->has_size) {
        steps = all / n;
    } else if (n > 1) {
        steps = (all - 1) / (n - 1);
    }
    j->out->slice_mm = steps * j->volume->spacing_mm[0];
    (void)cJSON_AddNumberToObject(j->out->record, "slice_mm", j->out->slice_mm);
}

/* ------------------------------------------------------------------ entry point */

static tomo_status check(const tomo_volume *volume, const tomo_slices_settings *s, tomo_error *err) {
    if (s->kind == TOMO_WINDOW_HU && volume->intensity != TOMO_INTENSITY_HU && !s->force_windows) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "windows in HU, but the scan has none (its values run from %g to %g); \"minmax\" or "
                         "\"percentile\" windows or a CT are wanted",
                         (double)volume->minimum, (double)volume->maximum);
    }
    bool windows = s->kind != TOMO_WINDOW_HU || s->n_windows == 1 || s->n_windows == 3;
    bool size = !s->has_size || (s->size[0] > 0 && s->size[1] > 0 && s->size[2] > 0);
    if (windows && size && (s->has_size || s->max_slices > 0)) return TOMO_OK;
    return tomo_fail(err, TOMO_E_USAGE, "slices: settings that make no sense");
}

static tomo_status make(job *j, tomo_error *err) {
    int channels = 0;
    tomo_status status = tomo_channels_make(j->volume, j->settings, j->channels, &channels, err);
    if (status != TOMO_OK) return status;
    j->out->channels = channels;
    for (int i = 0; i < 3; i++) j->end[i] = j->volume->shape[i];
    if (j->settings->crop_foreground) find_foreground(j, channels);
    note_frame(j);
    status = j->settings->has_size ? make_resized(j, err) : make_native(j, err);
    if (status != TOMO_OK) return status;
    find_distance(j);
    cJSON *source = numbers(j->out->source_z, j->out->slices);
    if (source == NULL) return tomo_fail_memory(err, "slices", 64);
    (void)cJSON_AddItemToObject(j->out->record, "source_z", source);
    return TOMO_OK;
}

tomo_status tomo_slices_make(const tomo_volume *volume, const tomo_slices_settings *settings,
                             const tomo_hooks *hooks, tomo_slices **slices, tomo_error *err) {
    *slices = NULL;
    tomo_status status = check(volume, settings, err);
    if (status != TOMO_OK) return status;
    tomo_volume *resampled = NULL;
    job j = {.given = volume, .volume = volume, .settings = settings, .hooks = hooks};
    j.out = calloc(1, sizeof *j.out);
    if (j.out != NULL) j.out->record = cJSON_CreateObject();
    if (j.out == NULL || j.out->record == NULL) {
        status = tomo_fail_memory(err, "slices", sizeof *j.out);
        goto done;
    }
    if (settings->has_spacing) {
        status = tomo_volume_resample(volume, settings->spacing_mm, TOMO_SPACING_MONAI, TOMO_LIMIT_VOXELS,
                                      hooks, &resampled, err);
        if (status != TOMO_OK) goto done;
        j.volume = resampled;
    }
    status = make(&j, err);
done:
    tomo_volume_free(resampled);
    if (status == TOMO_OK) {
        *slices = j.out;
    } else {
        tomo_slices_free(j.out);
    }
    return status;
}
