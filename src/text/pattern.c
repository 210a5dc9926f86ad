#include "text/pattern.h"

#include "base/buffer.h"
#include "text/pattern_parse.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Steps that matching one text may take, beside 64 for each character: real patterns take a few. */
#define LIMIT_STEPS 10000000

struct tomo_pattern {
    pcre2_code *code;
    unsigned char ascii[128]; /* class of each character below U+0080 */
    uint32_t *starts;         /* where runs of characters of one class begin, ascending; the first is 0 */
    unsigned char *classes;   /* of each run */
    size_t count;
};

void tomo_pattern_free(tomo_pattern *p) {
    if (p == NULL) return;
    pcre2_code_free(p->code);
    free(p->starts);
    free(p->classes);
    free(p);
}

void tomo_matcher_free(tomo_matcher *m) {
    pcre2_match_data_free(m->data);
    pcre2_match_context_free(m->limits);
    free(m->classes);
    *m = (tomo_matcher){0};
}

/* ------------------------------------------------------------------------------ classes */

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Every place where membership in some set can change, ascending, none twice. */
static size_t list_bounds(const tomo_pattern_syntax *syntax, uint32_t *bounds) {
    /* Edges of \s and \w that are no edges of categories, and the two letters that equal ASCII ones. */
    static const uint32_t edges[] = {0x80,   0x85,    0x86,    0xb2,    0xb4,    0xb9,    0xba,   0xbc,
                                     0xbf,   0x17f,   0x180,   0x200c,  0x200e,  0x212a,  0x212b, 0x24b6,
                                     0x24ea, 0x1f130, 0x1f14a, 0x1f150, 0x1f16a, 0x1f170, 0x1f18a};
    size_t count = 0, kept = 0;
    for (uint32_t c = 0; c < 0x80; c++) bounds[count++] = c;
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++) bounds[count++] = edges[i];
    for (size_t i = 0; i < tomo_unicode_range_count; i++) bounds[count++] = tomo_unicode_ranges[i] >> 8;
    for (size_t s = 0; s < syntax->set_count; s++) {
        for (size_t i = 0; i < syntax->sets[s].count; i++) {
            const tomo_charset_item *item = &syntax->sets[s].items[i];
            if (item->kind != TOMO_CHARSET_RANGE) continue;
            bounds[count++] = item->first;
            bounds[count++] = item->last + 1;
        }
    }
    qsort(bounds, count, sizeof *bounds, by_value);
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || bounds[kept - 1] != bounds[i]) bounds[kept++] = bounds[i];
    }
    return kept;
}

static uint64_t signature(const tomo_pattern_syntax *syntax, uint32_t c) {
    const tomo_category category = tomo_unicode_category(c);
    uint64_t bits = 0;
    for (size_t s = 0; s < syntax->set_count; s++) {
        if (tomo_charset_has(&syntax->sets[s], c, category)) bits |= UINT64_C(1) << s;
    }
    return bits;
}

/* Gives each run of characters between bounds a class: a number for its signature, which is kept. */
static tomo_status classify(tomo_pattern *p, const char *file, const tomo_pattern_syntax *syntax,
                            const uint32_t *bounds, size_t count, uint64_t *signatures, size_t *class_count,
                            tomo_error *err) {
    for (size_t i = 0; i < count; i++) {
        uint64_t bits = signature(syntax, bounds[i]);
        size_t class = 0;
        while (class < *class_count && signatures[class] != bits) class ++;
        if (class == 256) {
            return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: a pattern that tells more than 256 classes apart",
                             file);
        }
        if (class == *class_count) signatures[(*class_count)++] = bits;
        if (bounds[i] < 0x80) p->ascii[bounds[i]] = (unsigned char)class;
        if (p->count > 0 && p->classes[p->count - 1] == class) continue;
        p->starts[p->count] = bounds[i];
        p->classes[p->count++] = (unsigned char)class;
    }
    return TOMO_OK;
}

static tomo_status build_classes(tomo_pattern *p, const char *file, const tomo_pattern_syntax *syntax,
                                 uint64_t *signatures, size_t *class_count, tomo_error *err) {
    size_t most = 256 + tomo_unicode_range_count + syntax->set_count * 2 * TOMO_CHARSET_ITEMS;
    uint32_t *bounds = malloc(most * sizeof *bounds);
    p->starts = malloc(most * sizeof *p->starts);
    p->classes = malloc(most);
    tomo_status status = TOMO_OK;
    if (bounds == NULL || p->starts == NULL || p->classes == NULL) {
        status = tomo_fail_memory(err, file, most * sizeof *bounds);
    } else {
        size_t count = list_bounds(syntax, bounds);
        status = classify(p, file, syntax, bounds, count, signatures, class_count, err);
    }
    free(bounds);
    return status;
}

static unsigned char class_of(const tomo_pattern *p, uint32_t c) {
    size_t low = 0, high = p->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (p->starts[middle] <= c) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return p->classes[low];
}

/* ------------------------------------------------------------------------------ compiling */

static void put_set(tomo_buffer *b, size_t set, const uint64_t *signatures, size_t class_count) {
    bool any = false;
    (void)tomo_buffer_add_text(b, "[");
    for (size_t i = 0; i < class_count; i++) {
        if ((signatures[i] >> set & 1) == 0) continue;
        (void)tomo_buffer_format(b, "\\x%02x", (unsigned)i);
        any = true;
    }
    (void)tomo_buffer_add_text(b, any ? "]" : "^\\x00-\\xff]"); /* a set without members matches nothing */
}

static tomo_status compile(tomo_pattern *p, const char *file, const tomo_pattern_syntax *syntax,
                           const uint64_t *signatures, size_t class_count, tomo_error *err) {
    tomo_buffer b = {.maximum = (size_t)64 << 20};
    for (size_t i = 0; i < syntax->symbol_count; i++) {
        unsigned symbol = syntax->symbols[i];
        if (symbol >= TOMO_PATTERN_SET) {
            put_set(&b, symbol - TOMO_PATTERN_SET, signatures, class_count);
        } else {
            char c = (char)symbol;
            (void)tomo_buffer_add(&b, &c, 1);
        }
    }
    tomo_status status = b.failed ? tomo_fail_memory(err, file, b.size) : TOMO_OK;
    if (status == TOMO_OK) {
        int code = 0;
        PCRE2_SIZE at = 0;
        p->code =
            pcre2_compile((PCRE2_SPTR)b.data, b.size, PCRE2_NEVER_UTF | PCRE2_NEVER_UCP, &code, &at, NULL);
        if (p->code == NULL) {
            PCRE2_UCHAR text[128] = "";
            (void)pcre2_get_error_message(code, text, sizeof text);
            status =
                tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: a pattern that is not read: %s", file, (char *)text);
        }
    }
    tomo_buffer_free(&b);
    /* Without the compiler to machine code (not every processor has it) matching is slower, no more. */
    if (status == TOMO_OK) (void)pcre2_jit_compile(p->code, PCRE2_JIT_COMPLETE);
    return status;
}

tomo_status tomo_pattern_compile(const char *file, const char *text, bool literal, tomo_pattern **pattern,
                                 tomo_error *err) {
    uint64_t signatures[256];
    size_t class_count = 0;
    *pattern = NULL;
    tomo_pattern *p = calloc(1, sizeof *p);
    tomo_pattern_syntax *syntax = malloc(sizeof *syntax);
    tomo_status status = TOMO_OK;
    if (p == NULL || syntax == NULL) {
        status = tomo_fail_memory(err, file, sizeof *syntax);
        goto done;
    }
    status = tomo_pattern_parse(file, text, literal, syntax, err);
    if (status == TOMO_OK) status = build_classes(p, file, syntax, signatures, &class_count, err);
    if (status == TOMO_OK) status = compile(p, file, syntax, signatures, class_count, err);
    if (status != TOMO_OK) goto done;
    *pattern = p;
    p = NULL;
done:
    tomo_pattern_free(p);
    free(syntax);
    return status;
}

/* ------------------------------------------------------------------------------ matching */

static tomo_status prepare(const tomo_pattern *p, tomo_matcher *m, const unsigned char *text, size_t size,
                           size_t *length, tomo_error *err) {
    if (m->data == NULL) m->data = pcre2_match_data_create(1, NULL);
    if (m->limits == NULL) m->limits = pcre2_match_context_create(NULL);
    if (m->data == NULL || m->limits == NULL) return tomo_fail_memory(err, "matching", 1024);
    if (m->capacity < size) {
        unsigned char *classes = realloc(m->classes, size);
        if (classes == NULL) return tomo_fail_memory(err, "matching", size);
        m->classes = classes;
        m->capacity = size;
    }
    size_t count = 0;
    for (size_t at = 0; at < size; count++) {
        if (text[at] < 0x80) {
            m->classes[count] = p->ascii[text[at++]];
            continue;
        }
        uint32_t c;
        at += tomo_utf8_next(text + at, size - at, &c, NULL);
        m->classes[count] = class_of(p, c);
    }
    *length = count;
    uint64_t steps = LIMIT_STEPS + 64 * (uint64_t)count;
    (void)pcre2_set_match_limit(m->limits, steps > UINT32_MAX ? UINT32_MAX : (uint32_t)steps);
    return TOMO_OK;
}

/* Where the next match from `from` on begins and ends, in characters; *found false when there is none. */
static tomo_status find(const tomo_pattern *p, const tomo_matcher *m, size_t length, size_t from,
                        size_t *begin, size_t *end, bool *found, tomo_error *err) {
    int code = pcre2_match(p->code, m->classes, length, from, 0, m->data, m->limits);
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {
        code = pcre2_match(p->code, m->classes, length, from, PCRE2_NO_JIT, m->data, m->limits);
    }
    *found = code >= 0;
    if (code == PCRE2_ERROR_NOMATCH) return TOMO_OK;
    if (code < 0) {
        PCRE2_UCHAR text[128] = "";
        (void)pcre2_get_error_message(code, text, sizeof text);
        return tomo_fail(err, TOMO_E_LIMIT, "a text of %zu characters cannot be cut into words: %s", length,
                         (char *)text);
    }
    const PCRE2_SIZE *place = pcre2_get_ovector_pointer(m->data);
    *begin = place[0];
    *end = place[1];
    return TOMO_OK;
}

/* A place in the text, counted in characters and in bytes. */
typedef struct cursor {
    size_t character, byte;
} cursor;

static void advance(cursor *c, size_t character, const unsigned char *text, size_t size) {
    while (c->character < character) {
        do {
            c->byte++;
        } while (c->byte < size && (text[c->byte] & 0xc0) == 0x80);
        c->character++;
    }
}

tomo_status tomo_pattern_split(const tomo_pattern *p, tomo_matcher *m, const unsigned char *text, size_t size,
                               tomo_span_fn span, void *user, tomo_error *err) {
    size_t length = 0, from = 0, begin = 0, end = 0;
    cursor done = {0, 0};
    bool found = true;
    tomo_status status = prepare(p, m, text, size, &length, err);
    while (status == TOMO_OK && from <= length) {
        status = find(p, m, length, from, &begin, &end, &found, err);
        if (status != TOMO_OK || !found) break;
        cursor before = done;
        advance(&done, begin, text, size);
        if (done.byte > before.byte) status = span(user, before.byte, done.byte, false, err);
        before = done;
        advance(&done, end, text, size);
        if (status == TOMO_OK && done.byte > before.byte)
            status = span(user, before.byte, done.byte, true, err);
        from = end > begin ? end : end + 1; /* an empty match cuts, and the search goes on behind it */
    }
    if (status == TOMO_OK && done.byte < size) status = span(user, done.byte, size, false, err);
    return status;
}
