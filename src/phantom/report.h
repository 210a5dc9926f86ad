/* report.h - the truth as a radiologist's report, in words that vary with the seed. */
#ifndef TOMO_PHANTOM_REPORT_H
#define TOMO_PHANTOM_REPORT_H

#include "base/buffer.h"
#include "phantom/truth.h"

/* Adds technique, findings by region, and impression; the buffer's `failed` tells of a failure. */
void tomo_report_write(const tomo_truth *truth, uint64_t seed, bool plain, tomo_buffer *text);

#endif
