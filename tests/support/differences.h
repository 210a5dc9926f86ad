/* differences.h - gradients against finite differences of the forward pass. */
#ifndef TOMO_TESTS_DIFFERENCES_H
#define TOMO_TESTS_DIFFERENCES_H

#include "tensor/tape.h"

/* Builds a result out of leaves; called again and again with changed leaves. */
typedef tomo_tensor *(*test_forward_fn)(void *user, tomo_exec *exec);

/* The loss is the sum of the result's elements, each times a fixed random number. For every leaf (contiguous
 * F32, with a gradient buffer, which is overwritten) the slope along a direction, (L(x + h d) - L(x - h d)) /
 * 2h, is compared with the gradient's. The direction leans towards the gradient, so that the slope is of its
 * size. Returns the largest distance over leaves, divided by the length of the leaf's gradient; infinity when
 * the forward pass fails. */
double test_worst_difference(tomo_exec *exec, test_forward_fn forward, void *user, const tomo_tensor *leaves,
                             int count, double h);

#endif
