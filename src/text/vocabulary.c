#include "text/vocabulary.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ bytes as characters */

/* The bytes that stand for themselves in GPT-2's table; the others are U+0100 and up, in order. */
static bool is_printable(unsigned c) {
    return (c >= '!' && c <= '~') || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
}

/* The byte that a character stands for, or -1: 0x00..0x20, 0x7f..0xa0 and 0xad are U+0100..U+0143. */
static int byte_of(uint32_t c) {
    if (c < 0x100) return is_printable(c) ? (int)c : -1;
    if (c <= 0x120) return (int)(c - 0x100);
    if (c <= 0x142) return (int)(c - 0x121 + 0x7f);
    return c == 0x143 ? 0xad : -1;
}

static uint32_t char_of(unsigned char byte) {
    if (is_printable(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    return byte == 0xad ? 0x143u : 0x121u + byte - 0x7fu;
}

size_t tomo_byte_level_decode(const char *text, size_t size, unsigned char *out) {
    const unsigned char *from = (const unsigned char *)text;
    size_t count = 0;
    for (size_t at = 0; at < size;) {
        uint32_t c;
        at += tomo_utf8_next(from + at, size - at, &c, NULL);
        int byte = byte_of(c);
        if (byte < 0) {
            memcpy(out, text, size);
            return size;
        }
        out[count++] = (unsigned char)byte;
    }
    return count;
}

/* ------------------------------------------------------------------------------ hash table */

static uint64_t hash_text(const char *text, size_t size) {
    uint64_t h = size;
    while (size > 0) {
        uint64_t word = 0;
        size_t n = size < 8 ? size : 8;
        memcpy(&word, text, n);
        h = tomo_hash_mix(h ^ word);
        text += n;
        size -= n;
    }
    return h;
}

/* The slot of this text, or the empty one where it belongs. */
static size_t slot_of(const tomo_vocabulary *v, const char *text, size_t size) {
    size_t mask = v->slot_count - 1;
    size_t at = (size_t)hash_text(text, size) & mask;
    for (; v->slots[at] >= 0; at = (at + 1) & mask) {
        const tomo_token *t = &v->tokens[v->slots[at]];
        if (t->text_size == size && memcmp(t->text, text, size) == 0) break;
    }
    return at;
}

int32_t tomo_vocabulary_find(const tomo_vocabulary *v, const char *text, size_t size) {
    return v->slot_count == 0 ? -1 : v->slots[slot_of(v, text, size)];
}

int32_t tomo_vocabulary_find_bytes(const tomo_vocabulary *v, const unsigned char *bytes, size_t size,
                                   tomo_buffer *scratch) {
    tomo_buffer_clear(scratch);
    for (size_t i = 0; i < size; i++) {
        unsigned char text[4];
        size_t length = tomo_utf8_put(char_of(bytes[i]), text);
        (void)tomo_buffer_add(scratch, text, length);
    }
    return scratch->failed ? -1 : tomo_vocabulary_find(v, scratch->data, scratch->size);
}

/* ------------------------------------------------------------------------------ reading */

/* Sizes everything in one walk, so that the second one allocates nothing. */
static tomo_status measure(tomo_vocabulary *v, const char *file, const cJSON *vocab, tomo_error *err) {
    const cJSON *item;
    size_t count = 0, bytes = 0;
    int64_t id = 0;
    v->size = 0;
    cJSON_ArrayForEach(item, vocab) {
        if (!tomo_json_whole(item, 0, TOMO_LIMIT_TOKEN_IDS - 1, &id)) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: the id of token \"%.60s\" is no number from 0 to %d",
                             file, item->string, TOMO_LIMIT_TOKEN_IDS - 1);
        }
        if (id >= v->size) v->size = (int32_t)id + 1;
        bytes += 2 * strlen(item->string) + 2;
        count++;
    }
    if (count == 0) return tomo_fail(err, TOMO_E_HEADER, "%s: no tokens in \"model.vocab\"", file);
    for (v->slot_count = 1024; v->slot_count < 2 * count;) v->slot_count *= 2;
    v->pool = malloc(bytes);
    v->tokens = calloc((size_t)v->size, sizeof *v->tokens);
    v->slots = malloc(v->slot_count * sizeof *v->slots);
    if (v->pool == NULL || v->tokens == NULL || v->slots == NULL) {
        return tomo_fail_memory(err, file, bytes + v->slot_count * sizeof *v->slots);
    }
    memset(v->slots, 0xff, v->slot_count * sizeof *v->slots);
    return TOMO_OK;
}

static void add_token(tomo_vocabulary *v, const char *text, int32_t id) {
    size_t size = strlen(text);
    char *kept = v->pool + v->pool_used;
    memcpy(kept, text, size + 1);
    unsigned char *bytes = (unsigned char *)kept + size + 1;
    size_t byte_size = tomo_byte_level_decode(text, size, bytes);
    v->pool_used += size + 1 + byte_size;
    v->tokens[id] = (tomo_token){kept, bytes, (uint32_t)size, (uint32_t)byte_size};
}

tomo_status tomo_vocabulary_read(tomo_vocabulary *v, const char *file, const cJSON *vocab, tomo_error *err) {
    if (!cJSON_IsObject(vocab)) return tomo_fail(err, TOMO_E_HEADER, "%s: no \"model.vocab\" in it", file);
    tomo_status status = measure(v, file, vocab, err);
    if (status != TOMO_OK) return status;
    const cJSON *item;
    cJSON_ArrayForEach(item, vocab) {
        int32_t id = (int32_t)item->valuedouble;
        size_t slot = slot_of(v, item->string, strlen(item->string));
        if (v->slots[slot] >= 0 || v->tokens[id].text != NULL) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: token \"%.60s\" or its id %d is there twice", file,
                             item->string, (int)id);
        }
        add_token(v, item->string, id);
        v->slots[slot] = id;
        v->count++;
    }
    for (unsigned b = 0; b < 256; b++) {
        unsigned char text[4];
        size_t length = tomo_utf8_put(char_of((unsigned char)b), text);
        v->byte_ids[b] = tomo_vocabulary_find(v, (const char *)text, length);
    }
    return TOMO_OK;
}

void tomo_vocabulary_free(tomo_vocabulary *v) {
    free(v->pool);
    free(v->tokens);
    free(v->slots);
    *v = (tomo_vocabulary){0};
}
