#include "train/order.h"

#include "train/dataset.h"

#include <stdlib.h>
#include <string.h>

/* So that the order of groups is drawn from other numbers than that of samples. */
#define GROUP_SEED 0x67726f757073u

tomo_status tomo_order_create(size_t count, size_t together, const size_t *scan_of, tomo_order *o,
                              tomo_error *err) {
    *o = (tomo_order){.count = count, .together = together, .scan_of = together > 1 ? scan_of : NULL};
    for (size_t i = 0; o->scan_of != NULL && i < count; i++) {
        if (scan_of[i] >= o->scans) o->scans = scan_of[i] + 1;
    }
    o->at = calloc(count + 1, sizeof *o->at);
    bool good = o->at != NULL;
    if (o->scan_of != NULL) {
        o->sorted = calloc(count + 1, sizeof *o->sorted);
        o->groups = calloc(count + 1, sizeof *o->groups);
        o->group_order = calloc(count + 1, sizeof *o->group_order);
        o->ends = calloc(o->scans + 1, sizeof *o->ends);
        good = good && o->sorted != NULL && o->groups != NULL && o->group_order != NULL && o->ends != NULL;
    }
    return good ? TOMO_OK : tomo_fail_memory(err, "samples", count * 4 * sizeof *o->at);
}

void tomo_order_free(tomo_order *o) {
    free(o->at);
    free(o->sorted);
    free(o->groups);
    free(o->group_order);
    free(o->ends);
    *o = (tomo_order){0};
}

/* sorted [count] = the samples at [count], scan by scan, those of a scan in the order that they had; ends[s]
 * = the end of scan s in it. */
static void sort_by_scan(tomo_order *o, size_t count) {
    memset(o->ends, 0, (o->scans + 1) * sizeof *o->ends);
    for (size_t i = 0; i < count; i++) o->ends[o->scan_of[o->at[i]] + 1]++;
    for (size_t s = 1; s <= o->scans; s++) o->ends[s] += o->ends[s - 1];
    for (size_t i = 0; i < count; i++) o->sorted[o->ends[o->scan_of[o->at[i]]]++] = o->at[i];
}

/* Where a group that begins at `first` of `sorted` ends. */
static size_t group_end(const tomo_order *o, size_t first) {
    size_t end = o->ends[o->scan_of[o->sorted[first]]];
    return end - first < o->together ? end : first + o->together;
}

static size_t find_groups(tomo_order *o, size_t count) {
    size_t groups = 0;
    for (size_t first = 0; first < count; first = group_end(o, first)) o->groups[groups++] = first;
    return groups;
}

void tomo_order_draw(tomo_order *o, uint64_t seed, uint64_t epoch) {
    tomo_dataset_shuffle(seed, epoch, o->count, o->at);
    if (o->scan_of == NULL) return;
    sort_by_scan(o, o->count);
    size_t groups = find_groups(o, o->count), used = 0;
    tomo_dataset_shuffle(seed ^ GROUP_SEED, epoch, groups, o->group_order);
    for (size_t g = 0; g < groups; g++) {
        size_t first = o->groups[o->group_order[g]], end = group_end(o, first);
        memcpy(o->at + used, o->sorted + first, (end - first) * sizeof *o->at);
        used += end - first;
    }
}

void tomo_order_in_turn(tomo_order *o, size_t most) {
    for (size_t i = 0; i < most; i++) o->at[i] = i;
    if (o->scan_of == NULL) return;
    sort_by_scan(o, most);
    memcpy(o->at, o->sorted, most * sizeof *o->at);
}

static int by_size(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x > y) - (x < y);
}

/* The first and the last group of a batch may be cut, and the smallest groups lie between them; a batch that
 * reaches into other epochs meets each group once in each. */
size_t tomo_order_most_groups(const tomo_order *order, size_t batch) {
    tomo_order o = *order; /* its tables are drawn anew for every epoch */
    if (o.scan_of == NULL || o.count == 0 || batch <= 2) return batch;
    tomo_order_in_turn(&o, o.count);
    size_t groups = find_groups(&o, o.count), epochs = batch / o.count + 2, whole = 0, left = batch - 2;
    for (size_t g = 0; g < groups; g++) o.group_order[g] = group_end(&o, o.groups[g]) - o.groups[g];
    qsort(o.group_order, groups, sizeof *o.group_order, by_size);
    while (whole < groups * epochs && o.group_order[whole / epochs] <= left) {
        left -= o.group_order[whole++ / epochs];
    }
    return whole + 2 < batch ? whole + 2 : batch;
}
