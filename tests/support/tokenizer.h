/* tokenizer.h - a tokenizer for the reference's language models, which have none, where a GGUF file must hold
 * one: the smallest that there is. */
#ifndef TOMO_TEST_TOKENIZER_H
#define TOMO_TEST_TOKENIZER_H

#define TEST_TOKENIZER                                                                                       \
    "{\"model\": {\"type\": \"BPE\", \"vocab\": {\"a\": 0}, \"merges\": []}, "                               \
    "\"pre_tokenizer\": {\"type\": \"ByteLevel\"}, \"decoder\": {\"type\": \"ByteLevel\"}}"

#endif
