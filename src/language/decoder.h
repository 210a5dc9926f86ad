/* decoder.h - a decoder-only language model: Qwen2/2.5, Qwen3 and Llama from their public checkpoints.
 *
 *     T  new tokens       H  hidden size       V  vocabulary */
#ifndef TOMO_LANGUAGE_DECODER_H
#define TOMO_LANGUAGE_DECODER_H

#include "language/config.h"
#include "language/lora.h"
#include "tensor/ops.h"
#include "tensor/packed.h"
#include "weights/bind.h"

typedef struct tomo_decoder tomo_decoder;

/* folder: as downloaded, or one GGUF file. adapter: folder of a PEFT LoRA adapter, or NULL; applied beside
 * the weights, or with `merge` added to copies of them. Weights stay mapped and are multiplied as stored.
 * Immutable after opening.
 */
tomo_status tomo_decoder_open(const char *folder, const char *adapter, bool merge, tomo_decoder **decoder,
                              tomo_error *err);
/* Brings the linear layers into a faster form (packed.h); once, before the decoder is used. Quantised blocks
 * stay whole numbers, and with int8 floats become such, in groups of 32; else BF16 where the CPU has it. */
tomo_status tomo_decoder_pack(tomo_decoder *decoder, tomo_pool *pool, const tomo_kernels *kernels,
                              tomo_precision precision, tomo_error *err);
/* The same for training all of it: weights are float copies with gradients, listed in `parameters`
 * (tomo_parameters_free), the output matrix once where it is the embedding table. */
tomo_status tomo_decoder_open_trainable(const char *folder, tomo_parameters *parameters,
                                        tomo_decoder **decoder, tomo_error *err);
/* Hangs a fresh trainable adapter on a decoder that has none, before anybody uses it; its A and B, with
 * gradients, are listed in `parameters` by the names of an adapter's file. */
tomo_status tomo_decoder_add_lora(tomo_decoder *decoder, const tomo_lora_settings *settings,
                                  tomo_parameters *parameters, tomo_error *err);
/* Makes the adapter with which the decoder was opened (not merged) trainable. */
tomo_status tomo_decoder_train_lora(tomo_decoder *decoder, tomo_parameters *parameters, tomo_error *err);
/* For training through a decoder that is packed in BF16 and not trained itself: its weights transposed too,
 * so that gradients are multiplied in BF16 as well. */
tomo_status tomo_decoder_pack_back(tomo_decoder *decoder, tomo_pool *pool, const tomo_kernels *kernels,
                                   tomo_error *err);
/* Puts copies in F32 or BF16 in the place of quantised weights, through which no gradient passes. In F32 they
 * are the values that the quantised weights stand for. Before packing. */
tomo_status tomo_decoder_widen(tomo_decoder *decoder, const tomo_kernels *kernels, tomo_dtype dtype,
                               tomo_error *err);
void tomo_decoder_free(tomo_decoder *decoder);
const tomo_decoder_config *tomo_decoder_get_config(const tomo_decoder *decoder);
/* Bytes of the weights that a pass reads, in the form that it reads, and their number. */
void tomo_decoder_weight_size(const tomo_decoder *decoder, int64_t *bytes, int64_t *parameters);

/* What a checkpoint of this configuration holds, for making one. */
tomo_status tomo_decoder_parameters(const tomo_decoder_config *config, tomo_parameter_fn tell, void *user,
                                    tomo_error *err);

/* Keys and values of the tokens so far. */
typedef struct tomo_kv_cache tomo_kv_cache;

/* Tokens first .. first + count - 1 of a text that all stand at position `first`; those behind them are
 * counted on from there. Visual tokens say themselves where they are from, and a language model that cannot
 * tell them apart by their positions finds what it looks for by what they say: what it learned with few it
 * does with many. {0}: every token has a position of its own. */
typedef struct tomo_position_block {
    int64_t first, count;
} tomo_position_block;

static inline int64_t tomo_position_in(tomo_position_block block, int64_t token) {
    if (block.count == 0 || token < block.first) return token;
    return token < block.first + block.count ? block.first : token - block.count + 1;
}
tomo_status tomo_kv_cache_create(const tomo_decoder *decoder, int64_t capacity, tomo_kv_cache **cache,
                                 tomo_error *err);
void tomo_kv_cache_free(tomo_kv_cache *cache);
int64_t tomo_kv_cache_length(const tomo_kv_cache *cache);
int64_t tomo_kv_cache_capacity(const tomo_kv_cache *cache);
/* Forgets the tokens from `length` on. */
void tomo_kv_cache_truncate(tomo_kv_cache *cache, int64_t length);
/* Of the tokens to come those of `block` share a position; forgotten when the cache is emptied. */
void tomo_kv_cache_share_position(tomo_kv_cache *cache, tomo_position_block block);

/* ids [count], each below V -> their embeddings [count, H]. */
tomo_tensor *tomo_decoder_embed(const tomo_decoder *decoder, tomo_exec *exec, const int32_t *ids,
                                int64_t count);

/* embeddings [T, H] of the tokens that follow those in the cache, which has room for them -> hidden states
 * after the final norm [T, H]; the cache grows by T. Shows (trace) hidden_states.0 (the embeddings),
 * hidden_states.i (the output of layer i - 1; the last is after the final norm) and last_layer_output. */
tomo_tensor *tomo_decoder_forward(const tomo_decoder *decoder, tomo_exec *exec, tomo_kv_cache *cache,
                                  const tomo_tensor *embeddings);
/* The same for whole sequences without a cache, one behind the other: sequence i has the rows starts[i] ..
 * starts[i + 1] - 1 (starts [count + 1]) and begins at position 0, or behind sequence prefixes[i], as if that
 * stood before it alone (-1, or prefixes NULL: none; ops.h has the order). positions [T]: of each row, or
 * NULL: counted. May leave notes on a tape. */
tomo_tensor *tomo_decoder_forward_packed(const tomo_decoder *decoder, tomo_exec *exec,
                                         const tomo_tensor *embeddings, const int64_t *starts,
                                         const int64_t *prefixes, const int64_t *positions, int64_t count);
/* The output layer H -> V, its weight with its gradient where it is trained. */
const tomo_linear *tomo_decoder_head(const tomo_decoder *decoder);
/* hidden [T, H] -> logits [T, V] */
tomo_tensor *tomo_decoder_logits(const tomo_decoder *decoder, tomo_exec *exec, const tomo_tensor *hidden);

/* tomo_decoder_forward in pieces that bound memory; false after a failure. */
bool tomo_decoder_extend(const tomo_decoder *decoder, tomo_exec *exec, tomo_kv_cache *cache,
                         const tomo_tensor *embeddings);
/* The same, then the logits [1, V] of the last token. */
tomo_tensor *tomo_decoder_prefill(const tomo_decoder *decoder, tomo_exec *exec, tomo_kv_cache *cache,
                                  const tomo_tensor *embeddings);

#endif
