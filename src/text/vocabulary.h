/* vocabulary.h - tokens by text and by id, of a byte-level BPE model. Private to src/text.
 *
 * Byte-level models write each byte as a printable character (GPT-2's table: 'A' for 0x41, U+0120 for a
 * space). Tokens are kept both ways. */
#ifndef TOMO_TEXT_VOCABULARY_H
#define TOMO_TEXT_VOCABULARY_H

#include "base/buffer.h"
#include "base/json.h"

/* Ids are below this: the largest published vocabulary has 262,144 tokens. */
#define TOMO_LIMIT_TOKEN_IDS ((int32_t)1 << 22)

typedef struct tomo_token {
    const char *text;           /* '\0'-terminated; NULL: no such id */
    const unsigned char *bytes; /* what it decodes to */
    uint32_t text_size, byte_size;
} tomo_token;

typedef struct tomo_vocabulary {
    char *pool; /* texts and bytes of all tokens lie here one behind another */
    size_t pool_used;
    tomo_token *tokens;    /* by id */
    int32_t size;          /* largest id + 1 */
    int32_t *slots;        /* hash table of ids by text, -1 where empty */
    size_t slot_count;     /* a power of two */
    size_t count;          /* tokens in the table */
    int32_t byte_ids[256]; /* of the tokens of one byte, or -1 */
} tomo_vocabulary;

/* vocab: {"text": id, ...}. `file` is for messages. Free what was begun also after a failure. */
tomo_status tomo_vocabulary_read(tomo_vocabulary *v, const char *file, const cJSON *vocab, tomo_error *err);
void tomo_vocabulary_free(tomo_vocabulary *v);

/* -1 when there is none. */
int32_t tomo_vocabulary_find(const tomo_vocabulary *v, const char *text, size_t size);
/* The token of these bytes, or -1. */
int32_t tomo_vocabulary_find_bytes(const tomo_vocabulary *v, const unsigned char *bytes, size_t size,
                                   tomo_buffer *scratch);

/* What a token's text decodes to: the bytes that its characters stand for, or, when one is not in the table,
 * its text. out holds at least size bytes; returns how many. */
size_t tomo_byte_level_decode(const char *text, size_t size, unsigned char *out);

/* A fast hash of 64 bits (the finaliser of splitmix64). */
static inline uint64_t tomo_hash_mix(uint64_t x) {
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

#endif
