/* fuzz_safetensors.c - hostile safetensors files: opened from memory, every byte of every tensor read. */
#include "weights/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    tomo_checkpoint *c = NULL;
    tomo_error err;
    if (tomo_checkpoint_open_memory("fuzz", bytes, size, &c, &err) != TOMO_OK) return 0;
    volatile unsigned char sum = 0;
    for (size_t i = 0; i < tomo_checkpoint_count(c); i++) {
        const tomo_stored *t = tomo_checkpoint_at(c, i);
        const unsigned char *data = t->data;
        size_t end = (size_t)t->count * tomo_dtype_size(t->dtype);
        for (size_t k = 0; k < end; k++) sum ^= data[k];
    }
    (void)sum;
    tomo_checkpoint_free(c);
    return 0;
}
