#include "text/tokenizer_impl.h"

#include "text/unicode.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one added token; the longest published ones have some 50. Bounds the time of a search. */
#define LIMIT_LENGTH 1024
/* Added tokens of one tokenizer; the largest published number is some 6,000. */
#define LIMIT_COUNT 100000

void tomo_added_free(tomo_added *a) {
    for (size_t i = 0; i < a->count; i++) {
        free(a->tokens[i].text);
        free(a->tokens[i].bytes);
        free(a->tokens[i].pattern);
    }
    free(a->tokens);
    free(a->by_id);
    free(a->raw.sorted);
    free(a->normalized.sorted);
    *a = (tomo_added){0};
}

/* ------------------------------------------------------------------------------ reading */

static tomo_status read_flags(const cJSON *item, tomo_json_at at, tomo_added_token *t, tomo_error *err) {
    tomo_status status = tomo_json_bool(item, "special", at, false, &t->special, err);
    if (status == TOMO_OK) status = tomo_json_bool(item, "single_word", at, false, &t->single_word, err);
    if (status == TOMO_OK) status = tomo_json_bool(item, "lstrip", at, false, &t->strip_left, err);
    if (status == TOMO_OK) status = tomo_json_bool(item, "rstrip", at, false, &t->strip_right, err);
    t->normalized = !t->special; /* the default of tokenizers */
    if (status == TOMO_OK) status = tomo_json_bool(item, "normalized", at, false, &t->normalized, err);
    return status;
}

static tomo_status keep_texts(tomo_added_token *t, const char *file, const char *text,
                              const tomo_tokenizer *tokenizer, tomo_error *err) {
    t->size = strlen(text);
    t->text = strdup(text);
    if (t->text == NULL) return tomo_fail_memory(err, file, t->size);
    tomo_buffer pattern = {.maximum = SIZE_MAX};
    tomo_status status = TOMO_OK;
    if (t->normalized) {
        status = tomo_tokenizer_normalize(tokenizer, (const unsigned char *)text, t->size, &pattern, err);
    } else if (!tomo_buffer_add(&pattern, text, t->size)) {
        status = tomo_fail_memory(err, file, t->size);
    }
    t->pattern = pattern.data;
    t->pattern_size = pattern.size;
    if (status != TOMO_OK) return status;
    /* tokenizers 0.23 decodes to the normalised text, and forgets that it is special where that differs. */
    t->left_out = t->special && t->size == t->pattern_size && memcmp(t->text, t->pattern, t->size) == 0;
    t->bytes = malloc(t->pattern_size + 1);
    if (t->bytes == NULL) return tomo_fail_memory(err, file, t->pattern_size);
    t->byte_size = tomo_byte_level_decode(t->pattern, t->pattern_size, t->bytes);
    return TOMO_OK;
}

static tomo_status read_token(const cJSON *item, const char *file, const tomo_vocabulary *vocabulary,
                              const tomo_tokenizer *tokenizer, tomo_added_token *t, tomo_error *err) {
    tomo_json_at at = {file, "added_tokens."};
    const char *text = NULL;
    int64_t id = 0;
    tomo_status status = tomo_json_text(item, "content", at, true, &text, err);
    if (status == TOMO_OK)
        status = tomo_json_int(item, "id", at, true, 0, TOMO_LIMIT_TOKEN_IDS - 1, &id, err);
    if (status == TOMO_OK) status = read_flags(item, at, t, err);
    if (status != TOMO_OK) return status;
    if (strlen(text) > LIMIT_LENGTH) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: added token \"%.60s\" is longer than %d bytes", file, text,
                         LIMIT_LENGTH);
    }
    int32_t known = tomo_vocabulary_find(vocabulary, text, strlen(text));
    t->id = known >= 0 ? known : (int32_t)id; /* a token of the vocabulary keeps its id there */
    return keep_texts(t, file, text, tokenizer, err);
}

static tomo_status index_ids(tomo_added *a, const char *file, tomo_error *err) {
    for (size_t i = 0; i < a->count; i++) {
        if (a->tokens[i].id >= a->size) a->size = a->tokens[i].id + 1;
    }
    a->by_id = malloc(((size_t)a->size + 1) * sizeof *a->by_id);
    if (a->by_id == NULL) return tomo_fail_memory(err, file, (size_t)a->size * sizeof *a->by_id);
    memset(a->by_id, 0xff, ((size_t)a->size + 1) * sizeof *a->by_id);
    for (size_t i = 0; i < a->count; i++) a->by_id[a->tokens[i].id] = (int32_t)i;
    return TOMO_OK;
}

/* Equal patterns: the one that stands first in the file comes first and is found. */
static int by_pattern(const void *a, const void *b) {
    const tomo_added_token *x = *(const tomo_added_token *const *)a, *y = *(const tomo_added_token *const *)b;
    size_t common = x->pattern_size < y->pattern_size ? x->pattern_size : y->pattern_size;
    int order = common == 0 ? 0 : memcmp(x->pattern, y->pattern, common);
    if (order != 0) return order;
    if (x->pattern_size != y->pattern_size) return x->pattern_size < y->pattern_size ? -1 : 1;
    return x < y ? -1 : x > y;
}

static tomo_status build_set(tomo_added_set *set, const tomo_added *a, bool normalized, const char *file,
                             tomo_error *err) {
    set->sorted = malloc((a->count + 1) * sizeof *set->sorted);
    if (set->sorted == NULL) return tomo_fail_memory(err, file, a->count * sizeof *set->sorted);
    for (size_t i = 0; i < a->count; i++) {
        const tomo_added_token *t = &a->tokens[i];
        if (t->normalized != normalized || t->pattern_size == 0) continue;
        set->sorted[set->count++] = t;
        set->begins[(unsigned char)t->pattern[0]] = true;
    }
    if (set->count > 1) qsort(set->sorted, set->count, sizeof *set->sorted, by_pattern);
    return TOMO_OK;
}

tomo_status tomo_added_read(tomo_added *a, const char *file, const cJSON *list,
                            const tomo_vocabulary *vocabulary, const tomo_tokenizer *tokenizer,
                            tomo_error *err) {
    int count = cJSON_IsArray(list) ? cJSON_GetArraySize(list) : 0;
    if (count > LIMIT_COUNT) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %d added tokens; at most %d are read", file, count,
                         LIMIT_COUNT);
    }
    a->tokens = calloc((size_t)count + 1, sizeof *a->tokens);
    if (a->tokens == NULL) return tomo_fail_memory(err, file, (size_t)count * sizeof *a->tokens);
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        tomo_status status = read_token(item, file, vocabulary, tokenizer, &a->tokens[a->count++], err);
        if (status != TOMO_OK) return status;
    }
    tomo_status status = index_ids(a, file, err);
    if (status == TOMO_OK) status = build_set(&a->raw, a, false, file, err);
    if (status == TOMO_OK) status = build_set(&a->normalized, a, true, file, err);
    return status;
}

const tomo_added_token *tomo_added_at(const tomo_added *a, int32_t id) {
    if (id < 0 || id >= a->size || a->by_id[id] < 0) return NULL;
    return &a->tokens[a->by_id[id]];
}

const tomo_added_token *tomo_added_find(const tomo_added *a, const char *text) {
    for (size_t i = 0; i < a->count; i++) {
        if (strcmp(a->tokens[i].text, text) == 0) return &a->tokens[i];
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ searching */

/* Where in sorted[low, high) the byte at `depth` of the pattern is at least `byte`; all share what is before.
 */
static size_t lower_bound(const tomo_added_set *set, size_t low, size_t high, size_t depth, int byte) {
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const tomo_added_token *t = set->sorted[middle];
        int here = depth < t->pattern_size ? (unsigned char)t->pattern[depth] : -1;
        if (here < byte) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The longest token at the front of text[size], or NULL. */
static const tomo_added_token *longest_at(const tomo_added_set *set, const unsigned char *text, size_t size) {
    const tomo_added_token *found = NULL;
    size_t low = 0, high = set->count;
    for (size_t depth = 0; depth < size && low < high; depth++) {
        low = lower_bound(set, low, high, depth, text[depth]);
        high = lower_bound(set, low, high, depth, text[depth] + 1);
        if (low < high && set->sorted[low]->pattern_size == depth + 1) found = set->sorted[low];
    }
    return found;
}

static size_t previous_start(const unsigned char *text, size_t at) {
    do {
        at--;
    } while (at > 0 && (text[at] & 0xc0) == 0x80);
    return at;
}

static bool word_before(const unsigned char *text, size_t at) {
    if (at == 0) return false;
    uint32_t c;
    size_t start = previous_start(text, at);
    (void)tomo_utf8_next(text + start, at - start, &c, NULL);
    return tomo_unicode_is_word(c);
}

static bool word_behind(const unsigned char *text, size_t at, size_t size) {
    if (at == size) return false;
    uint32_t c;
    (void)tomo_utf8_next(text + at, size - at, &c, NULL);
    return tomo_unicode_is_word(c);
}

/* Where the white space that ends at `at` begins, not before `least`. */
static size_t space_before(const unsigned char *text, size_t at, size_t least) {
    while (at > least) {
        uint32_t c;
        size_t start = previous_start(text, at);
        (void)tomo_utf8_next(text + start, at - start, &c, NULL);
        if (!tomo_unicode_is_space(c)) break;
        at = start;
    }
    return at > least ? at : least;
}

static size_t space_behind(const unsigned char *text, size_t at, size_t size) {
    while (at < size) {
        uint32_t c;
        size_t length = tomo_utf8_next(text + at, size - at, &c, NULL);
        if (!tomo_unicode_is_space(c)) break;
        at += length;
    }
    return at;
}

tomo_status tomo_added_split(const tomo_added_set *set, const unsigned char *text, size_t size,
                             tomo_added_fn part, void *user, tomo_error *err) {
    size_t done = 0;
    for (size_t at = 0; at < size;) {
        const tomo_added_token *t = set->begins[text[at]] ? longest_at(set, text + at, size - at) : NULL;
        if (t == NULL) {
            at++;
            continue;
        }
        size_t begin = at, end = at + t->pattern_size;
        at = end; /* a match that is dropped is passed over all the same, and no shorter one is tried */
        if (t->single_word && (word_before(text, begin) || word_behind(text, end, size))) continue;
        /* The token before may have taken white space in which this one stands: one that strips on its left
         * is then left without text and vanishes; one that does not is found all the same. */
        if (t->strip_left) begin = begin > done ? space_before(text, begin, done) : done;
        if (t->strip_right) end = space_behind(text, end, size);
        if (begin > end) continue; /* tokenizers itself fails here */
        tomo_status status = TOMO_OK;
        if (begin > done) status = part(user, text + done, begin - done, NULL, err);
        if (status == TOMO_OK && end > begin) status = part(user, text + begin, end - begin, t, err);
        if (status != TOMO_OK) return status;
        done = end;
    }
    return done < size ? part(user, text + done, size - done, NULL, err) : TOMO_OK;
}
