#include "base/random.h"

#include <math.h>

static uint64_t rotate_left(uint64_t x, int bits) {
    return x << bits | x >> (64 - bits);
}

tomo_random tomo_random_seed(uint64_t seed) {
    tomo_random r;
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        r.state[i] = z ^ z >> 31;
    }
    return r;
}

/* Odd constants keep neighbours apart; splitmix64 does the mixing. */
tomo_random tomo_random_in_epoch(uint64_t seed, uint64_t epoch, uint64_t index) {
    return tomo_random_seed(seed ^ epoch * 0x9e3779b97f4a7c15u ^ index * 0xd1342543de82ef95u);
}

uint64_t tomo_random_next(tomo_random *r) {
    uint64_t *s = r->state, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

double tomo_random_unit(tomo_random *r) {
    return (double)(tomo_random_next(r) >> 11) * 0x1p-53;
}

/* The upper half of a product. */
__extension__ typedef unsigned __int128 wide;
uint64_t tomo_random_below(tomo_random *r, uint64_t count) {
    return (uint64_t)((wide)tomo_random_next(r) * count >> 64);
}

double tomo_random_normal(tomo_random *r) {
    double u = 1.0 - tomo_random_unit(r), v = tomo_random_unit(r); /* u > 0, so that its logarithm exists */
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586476925 * v);
}
