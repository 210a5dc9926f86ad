/* window_attention.h - each visual token looks at the cells that it was pooled from. */
#ifndef TOMO_FUSION_WINDOW_ATTENTION_H
#define TOMO_FUSION_WINDOW_ATTENTION_H

#include "tensor/ops.h"

/* query [T, d]; key, value [K, h, w, d]; key_offset, value_offset [d, 3]; grid (Tz, Th, Tw), T = Tz Th Tw.
 * Token t attends, head by head (contiguous blocks of channels), to the cells of its pooling window. To keys
 * and values is added the linear map of a cell's offset in the window, (index - first + 0.5) / size - 0.5
 * along z, y, x. -> [T, d]. attention: [heads, T, K, h, w], zero outside the windows, is written too; or
 * NULL. (Injection.forward of tests/reference/make/connector.py.) */
tomo_tensor *tomo_op_window_attention(tomo_exec *exec, const tomo_tensor *query, const tomo_tensor *key,
                                      const tomo_tensor *value, const tomo_tensor *key_offset,
                                      const tomo_tensor *value_offset, int64_t heads, const int64_t grid[3],
                                      tomo_tensor *attention);

#endif
