/* order.h - in which order the samples of an epoch are learned from. */
#ifndef TOMO_TRAIN_ORDER_H
#define TOMO_TRAIN_ORDER_H

#include "base/status.h"

#include <stdint.h>

typedef struct tomo_order {
    size_t count, together, scans;
    const size_t *scan_of; /* [count]: number of each sample's scan, below `scans`; the caller's */
    size_t *at;            /* [count]: the samples, in their order */
    size_t *sorted;        /* [count]: the same, scan by scan */
    size_t *groups;        /* [count]: where the groups of an epoch begin in `sorted` */
    size_t *ends;          /* [scans + 1] */
    size_t *group_order;   /* [count] */
} tomo_order;

/* together: how many samples of one scan stand next to each other at most; 1: scans do not matter, and
 * scan_of may be NULL. */
tomo_status tomo_order_create(size_t count, size_t together, const size_t *scan_of, tomo_order *order,
                              tomo_error *err);
void tomo_order_free(tomo_order *order);

/* Sets order->at for an epoch; it depends on seed and epoch alone. With together 1 it is that of
 * tomo_dataset_shuffle. Else the samples of each scan, shuffled, are cut into groups, and the groups
 * shuffled. Allocates nothing. */
void tomo_order_draw(tomo_order *order, uint64_t seed, uint64_t epoch);

/* Sets order->at to the first `most` samples, scan by scan (in order of first use), or with together 1 as
 * they come. */
void tomo_order_in_turn(tomo_order *order, size_t most);

/* Of how many groups `batch` samples in a row can have members, in any epoch. */
size_t tomo_order_most_groups(const tomo_order *order, size_t batch);

#endif
