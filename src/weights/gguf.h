/* gguf.h - GGUF files (versions 2 and 3): metadata and tensors of a language model in one file.
 *
 * The tensors appear in a checkpoint (checkpoint.h) under the names and in the row order of the model's
 * downloaded form, so that one loader reads both: "blk.3.attn_q.weight" is
 * "model.layers.3.self_attn.q_proj.weight", and query and key rows of the architecture "llama", which GGUF
 * stores with the two halves of each head interleaved, are put back. Refused: an architecture other than
 * llama, qwen2 and qwen3, and, for whoever asks for such a tensor, types that blocks.h does not list. */
#ifndef TOMO_WEIGHTS_GGUF_H
#define TOMO_WEIGHTS_GGUF_H

#include "base/json.h"
#include "base/status.h"

/* Whether path is a regular file that begins as GGUF does; false also where it cannot be read. */
bool tomo_gguf_is(const char *path);

/* The metadata as one flat JSON object, "general.architecture": "llama", ...; lists are lists. Numbers are
 * doubles. The caller deletes it. */
tomo_status tomo_gguf_metadata_open(const char *path, cJSON **metadata, tomo_error *err);
/* The same from the bytes of a file; `file` is for messages. */
tomo_status tomo_gguf_metadata_read(const char *file, const unsigned char *bytes, size_t size,
                                    cJSON **metadata, tomo_error *err);

#endif
