/* feature_cache.h - what the frozen encoder makes of a scan, kept on disk.
 *
 * The encoder never changes, so a scan's features are computed once, and each step of training after the
 * first epoch starts at the connector. The trainer calls tomo_features_get for every sample that is not
 * augmented:
 *
 *     tomo_features f = {0};
 *     tomo_features_get(cache, model, &exec, sample->scan, &volume_options, NULL, &f, &err);
 *     ... tomo_connector_forward(connector, exec, tensor over f.values, f.kept, f.slices, f.slice_mm) ...
 *     tomo_features_free(&f);
 *
 * An entry holds the kept slices alone, in bfloat16; what was just computed is rounded too, so that a run
 * does not depend on what the cache held. Augmentations that change pixels pass cache NULL and an
 * augmentation: then everything is computed, and nothing is kept or rounded.
 *
 * Its key is the SHA-256 of the scan's bytes (of all files of a folder), the settings that decide what the
 * encoder sees and which slices are kept, the encoder's weights, the precision, and the kernels in use.
 * (Within one process a scan whose size and time of change stay the same is hashed once.) An entry is written
 * beside its place and renamed; it ends with a checksum, and one that does not agree is deleted and computed
 * again. Several processes may use one folder. */
#ifndef TOMO_TRAIN_FEATURE_CACHE_H
#define TOMO_TRAIN_FEATURE_CACHE_H

#include "model/reading.h"
#include "train/augment.h"

/* May be used by several threads. */
typedef struct tomo_feature_cache tomo_feature_cache;

/* folder is made where it is missing. limit_bytes: when the entries pass it, the least recently used go until
 * 90 % of it are left; 0: no limit. model's encoder weights are hashed here. hooks may be NULL. */
tomo_status tomo_feature_cache_open(const char *folder, int64_t limit_bytes, const tomo_model *model,
                                    const tomo_hooks *hooks, tomo_feature_cache **cache, tomo_error *err);
void tomo_feature_cache_free(tomo_feature_cache *cache);

typedef struct tomo_feature_counts {
    int64_t hits, misses, damaged, evicted; /* since the cache was opened, by this process */
} tomo_feature_counts;
tomo_feature_counts tomo_feature_cache_counts(const tomo_feature_cache *cache);

/*     S slices   K kept   L layers   h, w patch grid   C encoder width */
typedef struct tomo_features {
    int64_t layers, kept_count, grid[2], width, slices;
    double slice_mm;  /* from slice to slice; 0: the scan does not tell */
    int64_t *kept;    /* [K], ascending, of the S slices */
    int64_t *kept_z;  /* [K]: the scan's own slice behind each */
    float *values;    /* [L, K, h, w, C] */
    uint16_t *packed; /* the values in bfloat16 in place of them: tomo_features_pack */
} tomo_features;
/* Accepts one that is all zero. */
void tomo_features_free(tomo_features *features);

/* Halves what features that came through a cache take in memory: they are of bfloat16 anyway. */
tomo_status tomo_features_pack(tomo_features *features, tomo_error *err);

/* cache NULL: computed. augmentation NULL or none: the scan as it is; else cache must be NULL. read may be
 * NULL. The exec's arena is reset when features are computed. */
tomo_status tomo_features_get(tomo_feature_cache *cache, const tomo_model *model, tomo_exec *exec,
                              const char *path, const tomo_volume_options *options,
                              const tomo_augmentation *augmentation, tomo_features *features,
                              tomo_error *err);

#endif
