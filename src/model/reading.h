/* reading.h - a scan through slices, encoder, pruning and connector to visual tokens. */
#ifndef TOMO_MODEL_READING_H
#define TOMO_MODEL_READING_H

#include "model/model.h"
#include "model/recorder.h"

/* What is known of a scan after it was read. Zero before; freed by tomo_reading_free.
 *
 *     S slices   K kept   L layers   h, w patch grid   C encoder width   T visual tokens   D language width
 */
typedef struct tomo_reading {
    int64_t slices;
    tomo_prune_result prune; /* K = prune.count */
    int64_t *kept_z;         /* [K]: the scan's own slice behind each kept one */
    double slice_mm;         /* from slice to slice; 0: the scan does not tell */
    float *descriptors;      /* [S, C] */
    float *features;         /* [L, K, h, w, C] */
    float *tokens;           /* [T, D] */
    cJSON *manifest;
    double slices_seconds, encoder_seconds, connector_seconds;
} tomo_reading;

/* A model without image only describes the scan: no slices, tokens NULL. exec: of the session that reads;
 * recorder NULL: nothing is traced. */
tomo_status tomo_reading_make(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                              const tomo_read_options *options, tomo_recorder *recorder,
                              tomo_reading *reading, tomo_error *err);
void tomo_reading_free(tomo_reading *reading);

/* Changes slices before the encoder sees them: augmentation. */
typedef tomo_status (*tomo_slices_change_fn)(void *user, tomo_slices *slices, tomo_error *err);

/* Slices, encoder and pruning alone: features, descriptors and kept slices; no tokens and no manifest. change
 * NULL: the slices as they are. */
tomo_status tomo_reading_encode(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                                const tomo_read_options *options, tomo_slices_change_fn change, void *user,
                                tomo_reading *reading, tomo_error *err);

/* From features to visual tokens: the reading has features, prune.kept, prune.count, prune.slices and
 * slice_mm, as tomo_reading_encode made them for a model of the same encoder and pruning, and gets its
 * tokens. */
tomo_status tomo_reading_connect(const tomo_model *model, tomo_exec *exec, tomo_reading *reading,
                                 tomo_error *err);

/* Sees slice s of S as the encoder read it: pixels [3, size, size], normalised; patches [P, C] of the deepest
 * layer that is read and their mean, descriptor [C]. Returns false when out of memory. */
typedef bool (*tomo_slice_see_fn)(void *user, int64_t s, int64_t slices, const float *pixels,
                                  const float *patches, const float *descriptor);
/* Encodes every slice, without pruning, and shows it. */
tomo_status tomo_reading_see(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                             const tomo_read_options *options, tomo_slice_see_fn see, void *user,
                             tomo_error *err);

/* Whether the model can do with slices of that distance: positions in millimetres need one above 0. */
tomo_status tomo_reading_check_distance(const tomo_model *model, double slice_mm, tomo_error *err);

/* Slices that go through the encoder at once: enough rows for the matrix product's full rate, few enough that
 * activations stay in the caches. Packed products need fewer rows (SPEED.md). */
int64_t tomo_reading_batch(const tomo_model *model);

#endif
