/* page.h - pieces of a self-contained HTML page: text, tables, curves and bars as SVG, pictures as data.
 * Private to src/eval. */
#ifndef TOMO_EVAL_PAGE_H
#define TOMO_EVAL_PAGE_H

#include "base/buffer.h"
#include "volume/volume.h"

/* What a buffer could not hold shows in its `failed`. */

void tomo_page_begin(tomo_buffer *page, const char *title);
void tomo_page_end(tomo_buffer *page);
/* With <, >, & and quotes as entities, control characters as spaces. */
void tomo_page_text(tomo_buffer *page, const char *text, size_t size);

/* values [count], 0..1: sorted from the smallest, and the mean over the rows seen so far. */
void tomo_page_curves(tomo_buffer *page, const char *name, const double *values, size_t count);

/* Starts and ends a list of horizontal bars; each is 0..1 with its interval (NaN: none). */
void tomo_page_bars_begin(tomo_buffer *page);
void tomo_page_bar(tomo_buffer *page, const char *name, double value, double low, double high);
void tomo_page_bars_end(tomo_buffer *page);

/* Slices z [count] of a volume side by side, at most `most` of them evenly chosen, as one picture. */
tomo_status tomo_page_slices(tomo_buffer *page, const tomo_volume *volume, const int64_t *z, int64_t count,
                             int64_t most, tomo_error *err);

#endif
