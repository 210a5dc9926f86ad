/* quantise.h - a downloaded language model as one quantised GGUF file. */
#ifndef TOMO_LANGUAGE_QUANTISE_H
#define TOMO_LANGUAGE_QUANTISE_H

#include "base/hooks.h"
#include "tensor/kernels.h"

/* Reads folder (a downloaded model of a family that decoder.h reads) and writes the file out: matrices as
 * dtype (tomo_quantise_writes), but the embedding table, whose rows are also the output matrix where they are
 * tied, as Q8_0; norms and biases as F32. Tokenizer and chat template go into the metadata. One tensor is
 * held at a time. */
tomo_status tomo_language_quantise(const char *folder, const char *out, tomo_dtype dtype,
                                   const tomo_kernels *kernels, const tomo_hooks *hooks, tomo_error *err);

#endif
