/* loss.h - what training makes small; each computes value and gradients in one go. */
#ifndef TOMO_TENSOR_LOSS_H
#define TOMO_TENSOR_LOSS_H

#include "tensor/ops.h"

/* -log softmax(logits)[label] of one row of n logits, which become scale * (softmax - one at the label): the
 * loss's gradient times scale. */
double tomo_cross_entropy_row(const tomo_kernels *kernels, float *logits, int64_t n, int32_t label,
                              float scale);

/* The sum over rows t with labels[t] >= 0 of -log softmax(hidden_t W^T)[labels[t]]; hidden [T, H], W [V, H]
 * the weight of head, which has no bias and no adapter. Adds scale times its gradient to hidden's and to
 * head's, where they have one; without a tape and gradients it is the value alone. Logits exist for a few
 * rows at a time, so the largest thing is not [T, V]. A failure is kept in the exec. */
double tomo_loss_cross_entropy(tomo_exec *exec, const tomo_tensor *hidden, const tomo_linear *head,
                               const int32_t *labels, float scale);

/* CLIP's contrastive loss: rows of image and text [B, E] are divided by their lengths, logits =
 * exp(log_scale) image text^T, and the loss is the mean of both cross-entropies (each picture's text, each
 * text's picture). log_scale [1]. Adds the gradients times `scale`. */
double tomo_loss_contrastive(tomo_exec *exec, const tomo_tensor *image, const tomo_tensor *text,
                             const tomo_tensor *log_scale, float scale);

#endif
