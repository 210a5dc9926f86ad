/* write_impl.h - what the contents of a phantom data set share while they are written. Private to
 * src/phantom. */
#ifndef TOMO_PHANTOM_WRITE_IMPL_H
#define TOMO_PHANTOM_WRITE_IMPL_H

#include "base/buffer.h"
#include "model/context.h"
#include "phantom/render.h"

#include <cjson/cJSON.h>

enum { TOMO_PHANTOM_SPLITS = 3, TOMO_PHANTOM_QUESTIONS_MOST = 16 };
extern const char *const tomo_phantom_split_names[TOMO_PHANTOM_SPLITS];

/* Most bytes of a list of all items, and of one text. */
#define TOMO_PHANTOM_LIST_BYTES ((size_t)1 << 32)
#define TOMO_PHANTOM_TEXT_BYTES ((size_t)1 << 16)

/* Checked options; the same for all items. */
typedef struct tomo_phantom_order {
    tomo_context *context;
    const tomo_phantom_options *options;
    const char *folder;           /* beside the target */
    int64_t count, size[3], slab; /* slab 0: whole scans */
    int split, questions;         /* split -1: drawn */
} tomo_phantom_order;

/* The seed of a patient of a kind of contents, and the split that it belongs to. */
uint64_t tomo_phantom_seed(const tomo_phantom_order *order, int64_t index, int64_t attempt);
int tomo_phantom_split(const tomo_phantom_order *order, uint64_t seed);

/* A patient, and neighbouring slices of the order's size[0]: one to order->slab of them. Of four items one
 * lies anywhere, one goes through a finding, and two through a focal lesion, so that what is small and rare
 * is seen often. Returns the patient's seed. */
uint64_t tomo_phantom_draw_slab(const tomo_phantom_order *order, int64_t index, tomo_patient *patient,
                                tomo_slab *slab);

/* How items are made, in batches: `make` on any thread, then `finish` in order on the calling thread. Items
 * are `item_size` bytes, zero at first. */
typedef struct tomo_phantom_work {
    const char *stage; /* for the progress */
    size_t item_size;
    int batch; /* items a thread */
    void *state;
    /* pool NULL: this thread alone; else there are fewer items than threads, which may share in one. */
    tomo_status (*make)(const void *state, int64_t index, tomo_pool *pool, void *item, tomo_error *err);
    tomo_status (*finish)(void *state, void *item, tomo_error *err);
    void (*clear)(void *item);
} tomo_phantom_work;
tomo_status tomo_phantom_run(const tomo_phantom_order *order, const tomo_phantom_work *work, tomo_error *err);

/* Writes a text below the folder, which is synced as a whole at the end. */
tomo_status tomo_phantom_put(const tomo_phantom_order *order, const char *name, const char *text,
                             tomo_error *err);

/* Each fills order->folder. *summary is freed by cJSON_Delete. */
tomo_status tomo_phantom_scans(const tomo_phantom_order *order, cJSON **summary, tomo_error *err);
tomo_status tomo_phantom_slices(const tomo_phantom_order *order, cJSON **summary, tomo_error *err);
tomo_status tomo_phantom_texts(const tomo_phantom_order *order, cJSON **summary, tomo_error *err);

#endif
