/* size.h - products and sums of sizes that come from outside (true when the result fits, false when not), the
 * smaller of two, and how many pieces hold so many. */
#ifndef TOMO_BASE_SIZE_H
#define TOMO_BASE_SIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool tomo_size_mul(size_t a, size_t b, size_t *product) {
    return !__builtin_mul_overflow(a, b, product);
}

static inline bool tomo_size_add(size_t a, size_t b, size_t *sum) {
    return !__builtin_add_overflow(a, b, sum);
}

static inline int64_t tomo_smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* How many pieces of `size` it takes to hold n. */
static inline int64_t tomo_pieces(int64_t n, int64_t size) {
    return (n + size - 1) / size;
}

/* The product of a shape; false when an axis is negative or the product does not fit int64. */
static inline bool tomo_shape_count(const int64_t *shape, int rank, int64_t *count) {
    int64_t n = 1;
    for (int i = 0; i < rank; i++) {
        if (shape[i] < 0 || __builtin_mul_overflow(n, shape[i], &n)) return false;
    }
    *count = n;
    return true;
}

#endif
