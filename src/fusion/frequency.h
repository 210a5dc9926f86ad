/* frequency.h - the frequency branch: a learned filter over in-plane and inter-slice frequencies. */
#ifndef TOMO_FUSION_FREQUENCY_H
#define TOMO_FUSION_FREQUENCY_H

#include "tensor/ops.h"

/* x [K, h, w, d]; runs [K]: how many of the scan's slices each kept slice stands for; real, imag [h, w, bins,
 * d]: the filter on the in-plane DFT frequencies and on `bins` inter-slice frequencies evenly spaced over 0
 * .. 0.5 cycles a slice, linearly interpolated to those of the scan. -> [K, h, w, d].
 *
 * Each kept slice is spread over its run, transformed (orthonormal), filtered, transformed back and averaged
 * over its run. The spread axis of S = sum of runs is never built: with E[f, s] = exp(-2 pi i f s / S) /
 * sqrt(S), summing E over run k gives A [S/2 + 1, K], and the way back is Re sum_f c_f conj(A[f, k]) Y_f /
 * run_k with c = 1 at f = 0 and, for even S, at S / 2, and 2 elsewhere. In-plane transforms commute with
 * that, so they are done on K slices and not on S/2 + 1 frequencies. (FrequencyFilter of
 * tests/reference/make/connector.py.) */
tomo_tensor *tomo_op_frequency_filter(tomo_exec *exec, const tomo_tensor *x, const int64_t *runs,
                                      const tomo_tensor *real, const tomo_tensor *imag);

#endif
