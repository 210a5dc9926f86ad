#include "text/wordpiece.h"

#include "text/unicode.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

/* ------------------------------------------------------------------------------ characters */

typedef struct range {
    uint32_t first, last;
} range;

static bool in_ranges(const range *ranges, size_t n, uint32_t c) {
    for (size_t i = 0; i < n; i++) {
        if (c >= ranges[i].first && c <= ranges[i].last) return true;
    }
    return false;
}

/* The library's punctuation is that of Unicode 8: what came later is none. */
static bool is_punctuation(uint32_t c) {
    static const range later[] = {
        {0x61d, 0x61d},     {0x9fd, 0x9fd},     {0xa76, 0xa76},     {0xc77, 0xc77},     {0xc84, 0xc84},
        {0x1b4e, 0x1b4f},   {0x1b7d, 0x1b7f},   {0x2e43, 0x2e5d},   {0x10d6e, 0x10d6e}, {0x10ead, 0x10ead},
        {0x10f55, 0x10f59}, {0x10f86, 0x10f89}, {0x113d4, 0x113d8}, {0x1144b, 0x1145d}, {0x11660, 0x1166c},
        {0x116b9, 0x116b9}, {0x1183b, 0x1183b}, {0x11944, 0x11946}, {0x119e2, 0x119e2}, {0x11a3f, 0x11a46},
        {0x11a9a, 0x11aa2}, {0x11b00, 0x11b09}, {0x11c41, 0x11c45}, {0x11c70, 0x11c71}, {0x11ef7, 0x11ef8},
        {0x11f43, 0x11f4f}, {0x11fff, 0x11fff}, {0x12ff1, 0x12ff2}, {0x16d6d, 0x16d6f}, {0x16e97, 0x16e9a},
        {0x16fe2, 0x16fe2}, {0x1e5ff, 0x1e5ff}, {0x1e95e, 0x1e95f}};
    if (c < 0x80)
        return (c > 0x20 && c < 0x30) || (c > 0x39 && c < 0x41) || (c > 0x5a && c < 0x61) ||
               (c > 0x7a && c < 0x7f);
    tomo_category k = tomo_unicode_category(c);
    return k >= TOMO_PC && k <= TOMO_PO && !in_ranges(later, sizeof later / sizeof later[0], c);
}

static bool is_control(uint32_t c) {
    tomo_category k = tomo_unicode_category(c);
    return (k == TOMO_CC && c != '\t' && c != '\n' && c != '\r') || k == TOMO_CF || k == TOMO_CO;
}

/* is_chinese_char of the library, its ranges as they are. */
static bool is_chinese(uint32_t c) {
    static const range ranges[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df},
                                   {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b920, 0x2ceaf},
                                   {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};
    return in_ranges(ranges, sizeof ranges / sizeof ranges[0], c);
}

/* ------------------------------------------------------------------------------ normalising */

static bool put(tomo_buffer *out, uint32_t c) {
    unsigned char bytes[4];
    return tomo_buffer_add(out, bytes, tomo_utf8_put(c, bytes));
}

/* char::to_lowercase, one character at a time. */
static bool put_lower(const tomo_wordpiece *w, tomo_buffer *out, uint32_t c) {
    if (!w->lower) return put(out, c);
    if (c == 0x130) return put(out, 'i') && put(out, 0x307); /* the only one that becomes two */
    return put(out, (uint32_t)utf8proc_tolower((utf8proc_int32_t)c));
}

/* Marks that Unicode 8 already had, as the library's tables have them; 15 and 16 added those of
 * tomo_unicode_later. */
static bool is_accent(uint32_t c) {
    static const range later[] = {
        {0x7fd, 0x7fd},     {0x898, 0x89f},     {0x8ca, 0x8e1},     {0x9fe, 0x9fe},     {0xafa, 0xaff},
        {0xb55, 0xb55},     {0xc04, 0xc04},     {0xc3c, 0xc3c},     {0xd00, 0xd00},     {0xd3b, 0xd3c},
        {0xd81, 0xd81},     {0xeba, 0xeba},     {0x180f, 0x180f},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfb},
        {0xa82c, 0xa82c},   {0xa8c5, 0xa8c5},   {0xa8ff, 0xa8ff},   {0x10d24, 0x10d27}, {0x10eab, 0x10eac},
        {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070}, {0x11073, 0x11074}, {0x110c2, 0x110c2},
        {0x111cf, 0x111cf}, {0x1123e, 0x1123e}, {0x1133b, 0x1133b}, {0x11438, 0x1143f}, {0x11442, 0x11444},
        {0x11446, 0x11446}, {0x1145e, 0x1145e}, {0x1182f, 0x11837}, {0x11839, 0x1183a}, {0x1193b, 0x1193c},
        {0x1193e, 0x1193e}, {0x11943, 0x11943}, {0x119d4, 0x119d7}, {0x119da, 0x119db}, {0x119e0, 0x119e0},
        {0x11a01, 0x11a0a}, {0x11a33, 0x11a38}, {0x11a3b, 0x11a3e}, {0x11a47, 0x11a47}, {0x11a51, 0x11a56},
        {0x11a59, 0x11a5b}, {0x11a8a, 0x11a96}, {0x11a98, 0x11a99}, {0x11c30, 0x11c36}, {0x11c38, 0x11c3d},
        {0x11c3f, 0x11c3f}, {0x11c92, 0x11ca7}, {0x11caa, 0x11cb0}, {0x11cb2, 0x11cb3}, {0x11cb5, 0x11cb6},
        {0x11d31, 0x11d36}, {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d}, {0x11d3f, 0x11d45}, {0x11d47, 0x11d47},
        {0x11d90, 0x11d91}, {0x11d95, 0x11d95}, {0x11d97, 0x11d97}, {0x11ef3, 0x11ef4}, {0x16f4f, 0x16f4f},
        {0x16fe4, 0x16fe4}, {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46}, {0x1e000, 0x1e006}, {0x1e008, 0x1e018},
        {0x1e01b, 0x1e021}, {0x1e023, 0x1e024}, {0x1e026, 0x1e02a}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
        {0x1e2ec, 0x1e2ef}, {0x1e944, 0x1e94a}};
    if (tomo_unicode_category(c) != TOMO_MN || in_ranges(later, sizeof later / sizeof later[0], c))
        return false;
    for (size_t i = 0; i < tomo_unicode_later_count; i++) {
        if (c >= tomo_unicode_later[i][0] && c <= tomo_unicode_later[i][1]) return false;
    }
    return true;
}

/* NFD without marks that take no space of their own; marks that remain are not put into canonical order. */
static bool put_without_accents(const tomo_wordpiece *w, tomo_buffer *out, uint32_t c) {
    utf8proc_int32_t parts[32];
    int last = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, 32, UTF8PROC_DECOMPOSE, &last);
    if (n < 1 || n > 32) {
        parts[0] = (utf8proc_int32_t)c;
        n = 1;
    }
    bool good = true;
    for (utf8proc_ssize_t i = 0; good && i < n; i++) {
        if (!is_accent((uint32_t)parts[i])) good = put_lower(w, out, (uint32_t)parts[i]);
    }
    return good;
}

bool tomo_wordpiece_normalize(const tomo_wordpiece *w, const unsigned char *text, size_t size,
                              tomo_buffer *out) {
    bool good = true;
    for (size_t at = 0; good && at < size;) {
        uint32_t c;
        at += tomo_utf8_next(text + at, size - at, &c, NULL);
        if (w->clean && (c == 0 || c == 0xfffd || is_control(c))) continue;
        if (w->clean && tomo_unicode_is_space(c)) c = ' ';
        bool chinese = w->split_chinese && is_chinese(c);
        if (chinese) good = put(out, ' ');
        good = good && (w->strip_accents ? put_without_accents(w, out, c) : put_lower(w, out, c));
        if (chinese) good = good && put(out, ' ');
    }
    return good;
}

/* ------------------------------------------------------------------------------ encoding */

static size_t count_characters(const unsigned char *text, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++) count += (text[i] & 0xc0) != 0x80;
    return count;
}

/* The longest token at the front of text[size], its bytes in *length; -1: none. */
static int32_t find_longest(const tomo_wordpiece *w, const tomo_vocabulary *v, const unsigned char *text,
                            size_t size, bool later, tomo_buffer *scratch, size_t *length) {
    for (*length = size; *length > 0; --*length) {
        if (*length < size && (text[*length] & 0xc0) == 0x80) continue; /* inside a character */
        tomo_buffer_clear(scratch);
        if (later) (void)tomo_buffer_add(scratch, w->prefix, w->prefix_size);
        if (!tomo_buffer_add(scratch, text, *length)) return -1;
        int32_t id = tomo_vocabulary_find(v, scratch->data, scratch->size);
        if (id >= 0) return id;
    }
    return -1;
}

static tomo_status encode_word(const tomo_wordpiece *w, const tomo_vocabulary *v, const unsigned char *word,
                               size_t size, tomo_buffer *scratch, tomo_ids *ids, tomo_error *err) {
    size_t before = ids->count, at = 0;
    bool known = (int64_t)count_characters(word, size) <= w->longest, good = true;
    while (known && good && at < size) {
        size_t length = 0;
        int32_t id = find_longest(w, v, word + at, size - at, at > 0, scratch, &length);
        known = id >= 0;
        good = !scratch->failed && (!known || tomo_ids_add(ids, id));
        at += length;
    }
    if (!known && good) {
        ids->count = before;
        good = tomo_ids_add(ids, w->unknown);
    }
    return good ? TOMO_OK : tomo_fail_memory(err, "tokens", ids->count);
}

tomo_status tomo_wordpiece_encode(const tomo_wordpiece *w, const tomo_vocabulary *vocabulary,
                                  const unsigned char *text, size_t size, tomo_buffer *scratch, tomo_ids *ids,
                                  tomo_error *err) {
    tomo_status status = TOMO_OK;
    size_t begin = 0;
    for (size_t at = 0; status == TOMO_OK && at < size;) {
        uint32_t c;
        size_t length = tomo_utf8_next(text + at, size - at, &c, NULL);
        bool space = tomo_unicode_is_space(c), mark = is_punctuation(c);
        if (space || mark) {
            if (at > begin) status = encode_word(w, vocabulary, text + begin, at - begin, scratch, ids, err);
            begin = at + length;
            if (mark && status == TOMO_OK) {
                status = encode_word(w, vocabulary, text + at, length, scratch, ids, err);
            }
        }
        at += length;
    }
    if (status == TOMO_OK && size > begin) {
        status = encode_word(w, vocabulary, text + begin, size - begin, scratch, ids, err);
    }
    return status;
}

/* ------------------------------------------------------------------------------ decoding */

static void replace_all(char *text, const char *from, const char *to) {
    size_t n = strlen(from), m = strlen(to);
    for (char *at = text; (at = strstr(at, from)) != NULL; at += m) {
        memcpy(at, to, m);
        memmove(at + m, at + n, strlen(at + n) + 1); /* never longer than it was */
    }
}

static void clean_up(char *text) {
    static const char *const pairs[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) replace_all(text, pairs[i][0], pairs[i][1]);
}

tomo_status tomo_wordpiece_decode(const tomo_wordpiece *w, const char *token, bool first, tomo_buffer *text,
                                  tomo_error *err) {
    size_t begin = text->size, prefix = strlen(w->decoder_prefix);
    bool later = !first && strncmp(token, w->decoder_prefix, prefix) == 0;
    if (!first && !later) (void)tomo_buffer_add(text, " ", 1);
    if (!tomo_buffer_add_text(text, token + (later ? prefix : 0)))
        return tomo_fail_memory(err, "text", text->size);
    if (w->cleanup && text->size > begin) {
        clean_up(text->data + begin);
        text->size = begin + strlen(text->data + begin);
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ tokenizer.json */

static bool type_is(const cJSON *object, const char *type) {
    const char *is = cJSON_GetStringValue(tomo_json_get(object, "type"));
    return is != NULL && strcmp(is, type) == 0;
}

static tomo_status unsupported(const char *file, const char *part, const char *wanted, tomo_error *err) {
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: another %s than WordPiece tokenizers have; %s is read",
                     file, part, wanted);
}

static tomo_status read_normalizer(tomo_wordpiece *w, const char *file, const cJSON *n, tomo_error *err) {
    tomo_json_at at = {file, "normalizer."};
    if (n == NULL) return TOMO_OK;
    if (!type_is(n, "BertNormalizer")) return unsupported(file, "normalizer", "BertNormalizer", err);
    w->clean = w->split_chinese = w->lower = true;
    tomo_status status = tomo_json_bool(n, "clean_text", at, false, &w->clean, err);
    if (status == TOMO_OK)
        status = tomo_json_bool(n, "handle_chinese_chars", at, false, &w->split_chinese, err);
    if (status == TOMO_OK) status = tomo_json_bool(n, "lowercase", at, false, &w->lower, err);
    w->strip_accents = w->lower;
    return status == TOMO_OK ? tomo_json_bool(n, "strip_accents", at, false, &w->strip_accents, err) : status;
}

static tomo_status read_prefix(const cJSON *object, const char *key, tomo_json_at at, char prefix[16],
                               tomo_error *err) {
    const char *text = "##";
    tomo_status status = tomo_json_text(object, key, at, false, &text, err);
    if (status != TOMO_OK) return status;
    if (strlen(text) > 15)
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %s%s of over 15 bytes", at.file, at.section, key);
    (void)snprintf(prefix, 16, "%s", text);
    return TOMO_OK;
}

static tomo_status read_model(tomo_wordpiece *w, tomo_vocabulary *v, const char *file, const cJSON *model,
                              tomo_error *err) {
    tomo_json_at at = {file, "model."};
    const char *unknown = "[UNK]";
    w->longest = 100;
    tomo_status status = tomo_vocabulary_read(v, file, tomo_json_get(model, "vocab"), err);
    if (status == TOMO_OK) status = tomo_json_text(model, "unk_token", at, false, &unknown, err);
    if (status == TOMO_OK) {
        status = tomo_json_int(model, "max_input_chars_per_word", at, false, 1, 4096, &w->longest, err);
    }
    if (status == TOMO_OK) status = read_prefix(model, "continuing_subword_prefix", at, w->prefix, err);
    if (status != TOMO_OK) return status;
    w->prefix_size = strlen(w->prefix);
    w->unknown = tomo_vocabulary_find(v, unknown, strlen(unknown));
    if (w->unknown >= 0) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: the unknown token \"%.40s\" is not in the vocabulary", file,
                     unknown);
}

tomo_status tomo_wordpiece_read(tomo_wordpiece *w, tomo_vocabulary *vocabulary, const char *file,
                                const cJSON *root, tomo_error *err) {
    const cJSON *decoder = tomo_json_get(root, "decoder");
    if (!type_is(tomo_json_get(root, "pre_tokenizer"), "BertPreTokenizer")) {
        return unsupported(file, "pre_tokenizer", "BertPreTokenizer", err);
    }
    if (!type_is(decoder, "WordPiece")) return unsupported(file, "decoder", "WordPiece", err);
    tomo_status status = read_model(w, vocabulary, file, tomo_json_get(root, "model"), err);
    if (status == TOMO_OK) status = read_normalizer(w, file, tomo_json_get(root, "normalizer"), err);
    tomo_json_at at = {file, "decoder."};
    w->cleanup = true;
    if (status == TOMO_OK) status = tomo_json_bool(decoder, "cleanup", at, false, &w->cleanup, err);
    return status == TOMO_OK ? read_prefix(decoder, "prefix", at, w->decoder_prefix, err) : status;
}
