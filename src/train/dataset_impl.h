/* dataset_impl.h - what a dataset consists of while its files are read. Private to src/train. */
#ifndef TOMO_TRAIN_DATASET_IMPL_H
#define TOMO_TRAIN_DATASET_IMPL_H

#include "base/csv.h"
#include "base/digest.h"
#include "train/dataset.h"

/* Texts lie in blocks, one behind the other. */
typedef struct tomo_text_block {
    struct tomo_text_block *next;
    size_t used, size;
    char bytes[];
} tomo_text_block;

/* How many samples of a kind and split there are, for options.limit. */
typedef struct tomo_sample_tally {
    const char *split;
    tomo_sample_kind kind;
    int64_t count;
} tomo_sample_tally;

struct tomo_dataset {
    tomo_text_block *blocks;
    tomo_sample *samples;
    size_t count, capacity;
    tomo_sample_tally *tallies;
    size_t tally_count;
    tomo_dataset_options options; /* its texts belong to the caller and are used while opening alone */
    bool is_m3d;
    char hash[TOMO_DIGEST_TEXT];
};

/* Each returns NULL when out of memory. */

/* A copy of text[size], '\0'-terminated. */
char *tomo_dataset_keep(tomo_dataset *d, const char *text, size_t size);
/* Room for choices, aligned for pointers. */
const char **tomo_dataset_keep_choices(tomo_dataset *d, size_t count);

/* Whether options want samples of this kind and split. */
bool tomo_dataset_wants(const tomo_dataset *d, const char *split, tomo_sample_kind kind);
/* Adds a copy of the sample unless options.limit is reached. */
tomo_status tomo_dataset_add(tomo_dataset *d, const tomo_sample *sample, tomo_error *err);

/* dataset_m3d.c, dataset_own.c */
tomo_status tomo_dataset_read_m3d(tomo_dataset *d, const char *folder, tomo_error *err);
tomo_status tomo_dataset_read_own(tomo_dataset *d, const char *path, tomo_error *err);

#endif
