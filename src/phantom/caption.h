/* caption.h - what a slice, or a few neighbours, show as a short text, in words that vary with the seed. */
#ifndef TOMO_PHANTOM_CAPTION_H
#define TOMO_PHANTOM_CAPTION_H

#include "base/buffer.h"
#include "phantom/view.h"

/* Adds phase, level, organs and every finding with size and place, or that there is none; the buffer's
 * `failed` tells of a failure. */
void tomo_caption_write(const tomo_view *view, uint64_t seed, bool plain, tomo_buffer *text);

#endif
