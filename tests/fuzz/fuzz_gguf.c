/* fuzz_gguf.c - hostile GGUF files: metadata, what is made of them, and every byte of every tensor. */
#include "language/gguf.h"
#include "text/tokenizer.h"
#include "weights/checkpoint.h"
#include "weights/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void read_tensors(const uint8_t *bytes, size_t size) {
    tomo_checkpoint *c = NULL;
    tomo_error err;
    if (tomo_checkpoint_open_memory("fuzz", bytes, size, &c, &err) != TOMO_OK) return;
    volatile unsigned char sum = 0;
    for (size_t i = 0; i < tomo_checkpoint_count(c); i++) {
        const tomo_stored *t = tomo_checkpoint_at(c, i);
        const unsigned char *data = t->data;
        for (size_t k = 0; k < tomo_dtype_bytes(t->dtype, t->count); k++) sum ^= data[k];
    }
    (void)sum;
    tomo_checkpoint_free(c);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    cJSON *metadata = NULL, *made = NULL;
    tomo_error err;
    if (size < 4 || bytes[0] != 'G') return 0;
    if (tomo_gguf_metadata_read("fuzz", bytes, size, &metadata, &err) == TOMO_OK) {
        tomo_tokenizer *tokenizer = NULL;
        if (tomo_gguf_config("fuzz", metadata, true, (tomo_gguf_biases){0}, &made, &err) == TOMO_OK)
            cJSON_Delete(made);
        made = NULL;
        if (tomo_gguf_tokenizer("fuzz", metadata, &made, &err) == TOMO_OK &&
            tomo_tokenizer_open_document("fuzz", made, &tokenizer, &err) == TOMO_OK) {
            tomo_tokenizer_free(tokenizer);
        }
        cJSON_Delete(made);
        cJSON_Delete(metadata);
    }
    read_tensors(bytes, size);
    return 0;
}
