/* random.h - random numbers that are the same for a seed on every machine: xoshiro256** (Blackman and Vigna,
 * 2018), seeded by splitmix64. */
#ifndef TOMO_BASE_RANDOM_H
#define TOMO_BASE_RANDOM_H

#include <stdint.h>

typedef struct tomo_random {
    uint64_t state[4];
} tomo_random;

tomo_random tomo_random_seed(uint64_t seed);
/* Those of one thing of many in one epoch of a training: a generator of its own. */
tomo_random tomo_random_in_epoch(uint64_t seed, uint64_t epoch, uint64_t index);
uint64_t tomo_random_next(tomo_random *random);
/* Uniform in [0, 1), 53 bits. */
double tomo_random_unit(tomo_random *random);
/* Uniform in 0 .. count - 1; the bias of count / 2^64 is never seen. */
uint64_t tomo_random_below(tomo_random *random, uint64_t count);
/* Standard normal (Box and Muller, two draws a number). */
double tomo_random_normal(tomo_random *random);

#endif
