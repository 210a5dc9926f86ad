/* bert.h - an encoder of texts from its public checkpoint in Hugging Face layout: BERT, and RoBERTa, which
 * differs in where positions begin and in its tokenizer. Devlin et al., BERT, 2019; transformers'
 * modeling_bert.py.
 *
 *     T tokens   C width */
#ifndef TOMO_LANGUAGE_BERT_H
#define TOMO_LANGUAGE_BERT_H

#include "text/tokenizer.h"
#include "weights/bind.h"

/* Immutable after opening. */
typedef struct tomo_bert tomo_bert;

/* folder: config.json of model_type "bert" or "roberta" with absolute positions, weights, tokenizer.json. */
tomo_status tomo_bert_open(const char *folder, tomo_bert **bert, tomo_error *err);
void tomo_bert_free(tomo_bert *bert);

int64_t tomo_bert_layers(const tomo_bert *bert);
/* Tokens of the longest text, with those at its ends. */
int64_t tomo_bert_longest(const tomo_bert *bert);

/* Appends the ids of a text with the tokens at its ends; a longer text loses its end. RoBERTa's gets the
 * space in front that its words have elsewhere. */
tomo_status tomo_bert_encode(const tomo_bert *bert, const char *text, size_t size, tomo_ids *ids,
                             tomo_error *err);
/* What `layers` encoder layers make of ids [T]: [T, C] in the exec's arena, or NULL after a failure. */
tomo_tensor *tomo_bert_forward(const tomo_bert *bert, tomo_exec *exec, const int32_t *ids, int64_t count,
                               int64_t layers);

#endif
