#include "support/differences.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* In -1 .. 1, of place and number alone. */
static double noise(uint64_t seed, int64_t i) {
    uint64_t z = seed * 0x9e3779b97f4a7c15u + (uint64_t)i * 0xbf58476d1ce4e5b9u + 1;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1;
}

/* The loss without a tape; *size grows by the sum of its terms' sizes, which rounding follows. */
static double loss_of(tomo_exec *exec, test_forward_fn forward, void *user, double *size) {
    tomo_arena_reset(exec->arena);
    tomo_tensor *y = forward(user, exec);
    if (y == NULL) return NAN;
    double sum = 0;
    for (int64_t i = 0; i < tomo_tensor_count(y); i++) {
        double term = noise(1, i) * (double)tomo_tensor_f32(y)[i];
        sum += term;
        *size += fabs(term);
    }
    return sum;
}

/* Forward and backward with a tape whose layers share memory. */
static bool gradients(tomo_exec *exec, test_forward_fn forward, void *user) {
    tomo_tape tape;
    if (!tomo_tape_init(&tape)) return false;
    tomo_arena_reset(exec->arena);
    exec->tape = &tape;
    tomo_tensor *y = forward(user, exec);
    bool good = y != NULL && y->grad != NULL;
    for (int64_t i = 0; good && i < tomo_tensor_count(y); i++) y->grad[i] = (float)noise(1, i);
    if (good) tomo_tape_backward(exec);
    exec->tape = NULL;
    tomo_tape_release(&tape);
    return good && exec->error.status == TOMO_OK;
}

static double length(const float *x, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* Moves x from `start` by `step` along the direction; returns what rounding made of the slope's other half.
 */
static void move(float *x, const float *start, const float *direction, int64_t n, double step) {
    for (int64_t i = 0; i < n; i++) x[i] = (float)((double)start[i] + step * (double)direction[i]);
}

static double compare_leaf(tomo_exec *exec, test_forward_fn forward, void *user, const tomo_tensor *leaf,
                           uint64_t seed, double h) {
    int64_t n = tomo_tensor_count(leaf);
    float *x = tomo_tensor_f32(leaf), *start = malloc((size_t)n * sizeof *start);
    float *direction = malloc((size_t)n * sizeof *direction);
    double size = length(leaf->grad, n), along = 0, terms = 0;
    memcpy(start, x, (size_t)n * sizeof *start);
    for (int64_t i = 0; i < n; i++) {
        double lean = size > 0 ? (double)leaf->grad[i] / size : 0;
        direction[i] = (float)(lean + noise(seed, i) * 0.7 / sqrt((double)n));
        along += (double)direction[i] * (double)leaf->grad[i];
    }
    move(x, start, direction, n, h);
    double above = loss_of(exec, forward, user, &terms);
    move(x, start, direction, n, -h);
    double below = loss_of(exec, forward, user, &terms);
    memcpy(x, start, (size_t)n * sizeof *start);
    free(start);
    free(direction);
    /* A gradient may be zero in exact arithmetic; what float32 makes of the loss is no fault of it. */
    double distance = fabs((above - below) / (2 * h) - along) - 1e-7 * terms / h;
    distance = distance > 0 ? distance / (size > 1e-6 ? size : 1e-6) : distance;
    return isnan(distance) ? INFINITY : distance;
}

double test_worst_difference(tomo_exec *exec, test_forward_fn forward, void *user, const tomo_tensor *leaves,
                             int count, double h) {
    double worst = 0;
    for (int i = 0; i < count; i++) {
        memset(leaves[i].grad, 0, (size_t)tomo_tensor_count(&leaves[i]) * sizeof(float));
    }
    if (!gradients(exec, forward, user)) return INFINITY;
    for (int i = 0; i < count; i++) {
        double d = compare_leaf(exec, forward, user, &leaves[i], (uint64_t)i + 2, h);
        if (d > worst) worst = d;
    }
    return worst;
}
