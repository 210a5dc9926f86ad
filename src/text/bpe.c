#include "text/bpe.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ merges */

static size_t slot_of(const tomo_bpe *bpe, uint64_t pair) {
    size_t mask = bpe->slot_count - 1;
    size_t at = (size_t)tomo_hash_mix(pair) & mask;
    while (bpe->merges[at].pair != UINT64_MAX && bpe->merges[at].pair != pair) at = (at + 1) & mask;
    return at;
}

static const tomo_merge *find_merge(const tomo_bpe *bpe, int32_t left, int32_t right) {
    const tomo_merge *m = &bpe->merges[slot_of(bpe, (uint64_t)(uint32_t)left << 32 | (uint32_t)right)];
    return m->pair == UINT64_MAX ? NULL : m;
}

/* The two parts of "a b" or ["a", "b"]; both lie in the document. */
static bool merge_parts(const cJSON *item, const char **part, size_t *size) {
    if (cJSON_IsString(item)) {
        const char *space = strchr(item->valuestring, ' ');
        if (space == NULL || strchr(space + 1, ' ') != NULL) return false;
        part[0] = item->valuestring;
        size[0] = (size_t)(space - item->valuestring);
        part[1] = space + 1;
    } else {
        const cJSON *left = cJSON_IsArray(item) ? item->child : NULL;
        const cJSON *right = left == NULL ? NULL : left->next;
        if (right == NULL || right->next != NULL || !cJSON_IsString(left) || !cJSON_IsString(right))
            return false;
        part[0] = left->valuestring;
        size[0] = strlen(part[0]);
        part[1] = right->valuestring;
    }
    size[1] = strlen(part[1]);
    return true;
}

static tomo_status read_merge(tomo_bpe *bpe, const char *file, const cJSON *item, uint32_t rank,
                              tomo_buffer *joined, tomo_error *err) {
    const char *part[2] = {NULL, NULL};
    size_t size[2] = {0, 0};
    if (!merge_parts(item, part, size)) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: merge %u is no pair of tokens", file, (unsigned)rank);
    }
    tomo_buffer_clear(joined);
    (void)tomo_buffer_add(joined, part[0], size[0]);
    if (!tomo_buffer_add(joined, part[1], size[1])) return tomo_fail_memory(err, file, size[0] + size[1]);
    int32_t left = tomo_vocabulary_find(&bpe->vocabulary, part[0], size[0]);
    int32_t right = tomo_vocabulary_find(&bpe->vocabulary, part[1], size[1]);
    int32_t id = tomo_vocabulary_find(&bpe->vocabulary, joined->data, joined->size);
    if (left < 0 || right < 0 || id < 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: merge %u (\"%.*s\" and \"%.*s\") names what is no token",
                         file, (unsigned)rank, size[0] > 60 ? 60 : (int)size[0], part[0],
                         size[1] > 60 ? 60 : (int)size[1], part[1]);
    }
    uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    bpe->merges[slot_of(bpe, pair)] = (tomo_merge){pair, rank, id}; /* a pair named again: the last counts */
    return TOMO_OK;
}

static tomo_status read_merges(tomo_bpe *bpe, const char *file, const cJSON *merges, tomo_error *err) {
    if (!cJSON_IsArray(merges)) return tomo_fail(err, TOMO_E_HEADER, "%s: no \"model.merges\" in it", file);
    size_t count = (size_t)cJSON_GetArraySize(merges);
    for (bpe->slot_count = 1024; bpe->slot_count < 2 * count;) bpe->slot_count *= 2;
    bpe->merges = malloc(bpe->slot_count * sizeof *bpe->merges);
    if (bpe->merges == NULL) return tomo_fail_memory(err, file, bpe->slot_count * sizeof *bpe->merges);
    memset(bpe->merges, 0xff, bpe->slot_count * sizeof *bpe->merges);
    tomo_buffer joined = {.maximum = SIZE_MAX};
    tomo_status status = TOMO_OK;
    uint32_t rank = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) {
        status = read_merge(bpe, file, item, rank++, &joined, err);
        if (status != TOMO_OK) break;
    }
    tomo_buffer_free(&joined);
    return status;
}

/* What makes a BPE model something else than a byte-level one. */
static tomo_status check_kind(const char *file, const cJSON *model, tomo_error *err) {
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *affix = "";
        tomo_status status =
            tomo_json_text(model, affixes[i], (tomo_json_at){file, "model."}, false, &affix, err);
        if (status != TOMO_OK) return status;
        if (affix[0] != '\0') {
            return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: BPE with \"%s\"; byte-level BPE is read", file,
                             affixes[i]);
        }
    }
    bool fallback = false;
    tomo_status status =
        tomo_json_bool(model, "byte_fallback", (tomo_json_at){file, "model."}, false, &fallback, err);
    if (status == TOMO_OK && fallback) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: SentencePiece-like BPE with byte fallback; byte-level BPE is read", file);
    }
    return status;
}

tomo_status tomo_bpe_read(tomo_bpe *bpe, const char *file, const cJSON *model, tomo_error *err) {
    tomo_json_at at = {file, "model."};
    const char *unknown = NULL;
    bpe->unknown = -1;
    tomo_status status = check_kind(file, model, err);
    if (status == TOMO_OK)
        status = tomo_vocabulary_read(&bpe->vocabulary, file, tomo_json_get(model, "vocab"), err);
    if (status == TOMO_OK) status = read_merges(bpe, file, tomo_json_get(model, "merges"), err);
    if (status == TOMO_OK) status = tomo_json_text(model, "unk_token", at, false, &unknown, err);
    if (status == TOMO_OK) status = tomo_json_bool(model, "fuse_unk", at, false, &bpe->fuse_unknown, err);
    if (status == TOMO_OK)
        status = tomo_json_bool(model, "ignore_merges", at, false, &bpe->ignore_merges, err);
    if (status == TOMO_OK && unknown != NULL) {
        bpe->unknown = tomo_vocabulary_find(&bpe->vocabulary, unknown, strlen(unknown));
    }
    return status;
}

void tomo_bpe_free(tomo_bpe *bpe) {
    tomo_vocabulary_free(&bpe->vocabulary);
    free(bpe->merges);
    bpe->merges = NULL;
}

/* ------------------------------------------------------------------------------ encoding */

/* A part of the word, in a list; `id` -1: merged into the one before it. */
struct tomo_bpe_symbol {
    int32_t id;
    int32_t before, behind; /* positions, or -1 */
};

/* Two neighbours that may be merged, unless one of them has changed since. */
struct tomo_bpe_candidate {
    uint32_t rank;
    int32_t at; /* position of the left one */
    int32_t id; /* what they become */
};

typedef struct tomo_bpe_symbol symbol;
typedef struct tomo_bpe_candidate candidate;

void tomo_bpe_scratch_free(tomo_bpe_scratch *s) {
    free(s->symbols);
    free(s->heap);
    tomo_buffer_free(&s->text);
}

/* Lower rank first, then further left. */
static bool goes_first(const candidate *a, const candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static bool heap_push(tomo_bpe_scratch *s, candidate c) {
    if (s->heap_count == s->heap_capacity) {
        size_t capacity = s->heap_capacity * 2 + 64, bytes;
        candidate *heap = tomo_size_mul(capacity, sizeof *heap, &bytes) ? realloc(s->heap, bytes) : NULL;
        if (heap == NULL) return false;
        s->heap = heap;
        s->heap_capacity = capacity;
    }
    size_t at = s->heap_count++;
    for (; at > 0 && goes_first(&c, &s->heap[(at - 1) / 2]); at = (at - 1) / 2)
        s->heap[at] = s->heap[(at - 1) / 2];
    s->heap[at] = c;
    return true;
}

static candidate heap_pop(tomo_bpe_scratch *s) {
    candidate first = s->heap[0], last = s->heap[--s->heap_count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= s->heap_count) break;
        if (child + 1 < s->heap_count && goes_first(&s->heap[child + 1], &s->heap[child])) child++;
        if (!goes_first(&s->heap[child], &last)) break;
        s->heap[at] = s->heap[child];
        at = child;
    }
    if (s->heap_count > 0) s->heap[at] = last;
    return first;
}

static bool consider(const tomo_bpe *bpe, tomo_bpe_scratch *s, int32_t at) {
    if (at < 0 || s->symbols[at].behind < 0) return true;
    const tomo_merge *m = find_merge(bpe, s->symbols[at].id, s->symbols[s->symbols[at].behind].id);
    return m == NULL || heap_push(s, (candidate){m->rank, at, m->id});
}

/* One symbol for each byte that is a token; returns how many. */
static size_t split_bytes(const tomo_bpe *bpe, const unsigned char *word, size_t size, symbol *symbols) {
    size_t count = 0;
    bool fusing = false;
    for (size_t i = 0; i < size; i++) {
        int32_t id = bpe->vocabulary.byte_ids[word[i]];
        if (id < 0) {
            if (bpe->unknown < 0 || (fusing && bpe->fuse_unknown)) continue;
            id = bpe->unknown;
            fusing = true;
        } else {
            fusing = false;
        }
        symbols[count] = (symbol){id, (int32_t)count - 1, (int32_t)count + 1};
        count++;
    }
    if (count > 0) symbols[count - 1].behind = -1;
    return count;
}

static bool merge_all(const tomo_bpe *bpe, tomo_bpe_scratch *s, size_t count) {
    symbol *symbols = s->symbols;
    s->heap_count = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        if (!consider(bpe, s, (int32_t)i)) return false;
    }
    while (s->heap_count > 0) {
        candidate c = heap_pop(s);
        symbol *left = &symbols[c.at];
        if (left->id < 0 || left->behind < 0) continue;
        symbol *right = &symbols[left->behind];
        const tomo_merge *m = find_merge(bpe, left->id, right->id);
        if (m == NULL || m->id != c.id) continue; /* the neighbours have changed since */
        left->id = c.id;
        left->behind = right->behind;
        right->id = -1;
        if (left->behind >= 0) symbols[left->behind].before = c.at;
        if (!consider(bpe, s, left->before) || !consider(bpe, s, c.at)) return false;
    }
    return true;
}

static bool reserve_symbols(tomo_bpe_scratch *s, size_t count) {
    if (count <= s->symbol_capacity) return true;
    size_t bytes;
    symbol *symbols = tomo_size_mul(count, sizeof *symbols, &bytes) ? realloc(s->symbols, bytes) : NULL;
    if (symbols == NULL) return false;
    s->symbols = symbols;
    s->symbol_capacity = count;
    return true;
}

tomo_status tomo_bpe_encode(const tomo_bpe *bpe, const unsigned char *word, size_t size, tomo_bpe_scratch *s,
                            tomo_ids *ids, tomo_error *err) {
    if (bpe->ignore_merges) {
        int32_t id = tomo_vocabulary_find_bytes(&bpe->vocabulary, word, size, &s->text);
        if (id >= 0) return tomo_ids_add(ids, id) ? TOMO_OK : tomo_fail_memory(err, "tokens", ids->count);
    }
    if (size > INT32_MAX - 1 || !reserve_symbols(s, size)) return tomo_fail_memory(err, "a word", size);
    size_t count = split_bytes(bpe, word, size, s->symbols);
    if (!merge_all(bpe, s, count)) return tomo_fail_memory(err, "a word", size);
    for (int32_t at = count == 0 ? -1 : 0; at >= 0; at = s->symbols[at].behind) {
        if (!tomo_ids_add(ids, s->symbols[at].id)) return tomo_fail_memory(err, "tokens", ids->count);
    }
    return TOMO_OK;
}
