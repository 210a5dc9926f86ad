/* words.h - a tokenizer for language models of random weights: every byte, and invented words up to the
 * public vocabulary's size, so that what such a model writes can be seen. */
#ifndef TOMO_MODEL_WORDS_H
#define TOMO_MODEL_WORDS_H

#include "base/json.h"

/* tokenizer.json of a byte-level BPE without merges whose ids fill `vocabulary`, control tokens as in Qwen2's
 * last; NULL when out of memory. */
cJSON *tomo_words_tokenizer(int64_t vocabulary);
/* The id of <|im_end|> in it. */
int64_t tomo_words_end_id(int64_t vocabulary);

/* ChatML. */
#define TOMO_WORDS_TEMPLATE                                                                                  \
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "        \
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% "    \
    "endif %}"

#endif
