/* feature_store.h - the folder behind a feature cache: entries under their keys, their total size, which one
 * was used last. Private to src/train. */
#ifndef TOMO_TRAIN_FEATURE_STORE_H
#define TOMO_TRAIN_FEATURE_STORE_H

#include "base/digest.h"
#include "train/feature_cache.h"

typedef struct tomo_feature_store tomo_feature_store;

tomo_status tomo_feature_store_open(const char *folder, int64_t limit_bytes, tomo_feature_store **store,
                                    tomo_error *err);
void tomo_feature_store_free(tomo_feature_store *store);

typedef enum tomo_lookup { TOMO_LOOKUP_MISS, TOMO_LOOKUP_HIT, TOMO_LOOKUP_DAMAGED } tomo_lookup;

/* A hit fills features and marks the entry as used now; a damaged entry is deleted. Only lack of memory
 * fails. */
tomo_status tomo_feature_store_get(tomo_feature_store *store, const char key[TOMO_DIGEST_TEXT],
                                   tomo_features *features, tomo_lookup *found, tomo_error *err);
/* values [L, K, h, w, C] in bfloat16. *evicted grows by the entries that had to go. */
tomo_status tomo_feature_store_put(tomo_feature_store *store, const char key[TOMO_DIGEST_TEXT],
                                   const tomo_features *features, const uint16_t *values, int64_t *evicted,
                                   tomo_error *err);

/* L * K * h * w * C; false when a size is not above 0 or the product does not fit. */
bool tomo_features_count(const tomo_features *features, int64_t *count);

#endif
