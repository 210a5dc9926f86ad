/* bpe.h - byte-pair encoding of one word, as the BPE model of tokenizers does it. Private to src/text. */
#ifndef TOMO_TEXT_BPE_H
#define TOMO_TEXT_BPE_H

#include "text/tokenizer.h"
#include "text/vocabulary.h"

/* What two neighbours become. */
typedef struct tomo_merge {
    uint64_t pair; /* left id << 32 | right id; UINT64_MAX: an empty slot */
    uint32_t rank; /* the lower, the earlier */
    int32_t id;
} tomo_merge;

typedef struct tomo_bpe {
    tomo_vocabulary vocabulary;
    tomo_merge *merges; /* hash table */
    size_t slot_count;  /* a power of two */
    int32_t unknown;    /* what stands for a byte that is no token, or -1: such a byte is left out */
    bool fuse_unknown;  /* one for several in a row */
    bool ignore_merges; /* a word that is a token is that token, whatever merges lead to */
} tomo_bpe;

/* model: the "model" of tokenizer.json. Free what was begun also after a failure. */
tomo_status tomo_bpe_read(tomo_bpe *bpe, const char *file, const cJSON *model, tomo_error *err);
void tomo_bpe_free(tomo_bpe *bpe);

/* Memory for encoding; one for each thread. Start with {.text = {.maximum = SIZE_MAX}}. */
typedef struct tomo_bpe_scratch {
    struct tomo_bpe_symbol *symbols;
    size_t symbol_capacity;
    struct tomo_bpe_candidate *heap;
    size_t heap_count, heap_capacity;
    tomo_buffer text;
} tomo_bpe_scratch;
void tomo_bpe_scratch_free(tomo_bpe_scratch *scratch);

/* Appends the ids of a word. Time n log n in its length. */
tomo_status tomo_bpe_encode(const tomo_bpe *bpe, const unsigned char *word, size_t size,
                            tomo_bpe_scratch *scratch, tomo_ids *ids, tomo_error *err);

#endif
