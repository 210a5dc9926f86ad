/* slices.h - from a volume to the slices that a 2D encoder reads: windows, crop, size, thinning, padding.
 *
 * Defined by windowed() and prepare_volume() of tests/reference/make/pipeline.py. */
#ifndef TOMO_VOLUME_SLICES_H
#define TOMO_VOLUME_SLICES_H

#include "base/json.h"
#include "volume/volume.h"

typedef enum tomo_window_kind {
    TOMO_WINDOW_HU,        /* one or three windows in HU, each a channel */
    TOMO_WINDOW_MINMAX,    /* one channel, the volume's own range */
    TOMO_WINDOW_PERCENTILE /* one channel, between two percentiles of all voxels */
} tomo_window_kind;

/* Values from level - width/2 to level + width/2 become 0..1 (DICOM's LINEAR_EXACT). */
typedef struct tomo_window {
    double level, width;
} tomo_window;

typedef struct tomo_slices_settings {
    tomo_window_kind kind;
    tomo_window windows[3]; /* of TOMO_WINDOW_HU */
    int n_windows;          /* 1 or 3 */
    double percentile[2];   /* low, high: 0 to 100 */
    bool crop_foreground;   /* to the box in which any channel is above 0 */
    bool has_size;
    int64_t size[3];    /* slices, height, width; then max_slices plays no part */
    int64_t max_slices; /* without a size: more are thinned evenly; at least 1 */
    bool has_spacing;
    double spacing_mm[3]; /* z, y, x; resampled to before anything else */
    bool force_windows;   /* apply HU windows to a volume that has no HU */
} tomo_slices_settings;

/* Minmax, no crop, native size, 256 slices. */
tomo_slices_settings tomo_slices_defaults(void);

/* Reads the section "volume" of a config.json: windows (a list of {level, width}, "minmax", or {"percentile":
 * [low, high]}), crop_foreground, size [S, H, H], max_slices, spacing (one number, or [z, y, x]),
 * force_windows. What is absent keeps the default; unknown keys and values that make no sense are
 * TOMO_E_HEADER and named. */
tomo_status tomo_slices_settings_parse(const cJSON *section, tomo_json_at at, tomo_slices_settings *settings,
                                       tomo_error *err);

typedef struct tomo_slices {
    float *values; /* [channels][slices][height][width], 0..1 */
    int64_t channels, slices, height, width;
    int64_t *source_z; /* [slices]: the volume's own slice nearest to each */
    double slice_mm;   /* from slice to slice, the mean where they were thinned; 0: the scan does not tell */
    cJSON *record;     /* what was done, for the manifest */
} tomo_slices;

/* HU windows on a volume without HU: TOMO_E_UNSUPPORTED unless forced. A strongly anisotropic volume without
 * a spacing is warned about (W_ANISOTROPIC, in the record and the log). *slices is freed by tomo_slices_free.
 */
tomo_status tomo_slices_make(const tomo_volume *volume, const tomo_slices_settings *settings,
                             const tomo_hooks *hooks, tomo_slices **slices, tomo_error *err);
void tomo_slices_free(tomo_slices *slices);

/* Windows alone. Each channel maps values by (value - low) / range, clipped to 0..1 where `clip`. */
typedef struct tomo_channel {
    float low, range;
    bool clip;
} tomo_channel;
/* Fills up to three channels for the volume. */
tomo_status tomo_channels_make(const tomo_volume *volume, const tomo_slices_settings *settings,
                               tomo_channel channels[3], int *count, tomo_error *err);
static inline float tomo_channel_apply(tomo_channel c, float value) {
    float y = (value - c.low) / c.range;
    if (!c.clip) return y;
    y = y > 0 ? y : 0; /* in this form a minimum and a maximum without branches */
    return y < 1 ? y : 1;
}
void tomo_channel_map(tomo_channel channel, const float *values, int64_t n, float *out);

/* numpy.percentile(values, percent, method "linear") in double; n at least 1, all finite. Needs 512 KB. */
tomo_status tomo_percentiles(const float *values, int64_t n, const double *percents, int count,
                             double *results, tomo_error *err);

#endif
