/* draw.h - draws of a phantom: numbers from integers alone, so that every machine draws the same. */
#ifndef TOMO_PHANTOM_DRAW_H
#define TOMO_PHANTOM_DRAW_H

#include "base/random.h"

#include <stdbool.h>

static inline double tomo_draw_between(tomo_random *r, double low, double high) {
    return low + (high - low) * tomo_random_unit(r);
}

static inline int tomo_draw_below(tomo_random *r, int count) {
    return (int)tomo_random_below(r, (uint64_t)count);
}

static inline bool tomo_draw_chance(tomo_random *r, double probability) {
    return tomo_random_unit(r) < probability;
}

/* A number for a point of a lattice: its 64 bits are mixed as splitmix64 does. */
static inline uint64_t tomo_draw_hash(uint64_t seed, int64_t x, int64_t y, int64_t z) {
    uint64_t h = seed + (uint64_t)x * 0x9e3779b97f4a7c15u + (uint64_t)y * 0xc2b2ae3d27d4eb4fu +
                 (uint64_t)z * 0x165667b19e3779f9u;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
    h = (h ^ h >> 27) * 0x94d049bb133111ebu;
    return h ^ h >> 31;
}

/* In -1 .. 1: random at the points of a lattice of `step` mm, smooth between them. */
double tomo_draw_smooth(uint64_t seed, double step, double x, double y, double z);

#endif
