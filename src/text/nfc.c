/* NFC with the tables of Unicode 9, which the tokenizers library uses: utf8proc's newer tables, with the
 * characters that came later treated as letters that nothing combines with.
 *
 * utf8proc orders combining marks by swapping neighbours, which takes quadratic time on a long run of them;
 * so only its tables and its composition are used here, and the order is made by a stable sort. */
#include "text/unicode.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* The longest canonical decomposition of one character has 4. */
#define LONGEST_DECOMPOSITION 18

typedef struct composer {
    int32_t *points; /* decomposed characters not yet written */
    size_t count, capacity;
    size_t run; /* where the run of combining marks at the end begins */
    tomo_buffer *out;
    tomo_error *err;
} composer;

static bool is_later(uint32_t c) {
    size_t low = 0, high = tomo_unicode_later_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (c < tomo_unicode_later[middle][0]) {
            high = middle;
        } else if (c > tomo_unicode_later[middle][1]) {
            low = middle + 1;
        } else {
            return true;
        }
    }
    return false;
}

static int combining_class(int32_t c) {
    return utf8proc_get_property(c)->combining_class;
}

/* Sorts the run of marks at the end by combining class, keeping the order of equals: by counting, as there
 * are 256 classes. Short runs, which are all that real text has, by insertion. */
static tomo_status order_run(composer *m) {
    int32_t *run = m->points + m->run;
    size_t length = m->count - m->run;
    m->run = m->count;
    if (length < 2) return TOMO_OK;
    if (length <= 16) {
        for (size_t i = 1; i < length; i++) {
            int32_t c = run[i];
            size_t at = i;
            for (; at > 0 && combining_class(run[at - 1]) > combining_class(c); at--) run[at] = run[at - 1];
            run[at] = c;
        }
        return TOMO_OK;
    }
    size_t from[257] = {0};
    int32_t *sorted = malloc(length * sizeof *sorted);
    if (sorted == NULL) return tomo_fail_memory(m->err, "normalisation", length * sizeof *sorted);
    for (size_t i = 0; i < length; i++) from[(combining_class(run[i]) & 0xff) + 1]++;
    for (int i = 1; i < 257; i++) from[i] += from[i - 1];
    for (size_t i = 0; i < length; i++) sorted[from[combining_class(run[i]) & 0xff]++] = run[i];
    memcpy(run, sorted, length * sizeof *sorted);
    free(sorted);
    return TOMO_OK;
}

/* Composes and writes what has been collected. */
static tomo_status flush(composer *m) {
    tomo_status status = order_run(m);
    if (status != TOMO_OK) return status;
    const utf8proc_option_t options = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    utf8proc_ssize_t left = utf8proc_normalize_utf32(m->points, (utf8proc_ssize_t)m->count, options);
    if (left < 0) return tomo_fail(m->err, TOMO_E_INTERNAL, "normalisation: %s", utf8proc_errmsg(left));
    for (utf8proc_ssize_t i = 0; i < left; i++) {
        unsigned char bytes[4];
        size_t length = tomo_utf8_put((uint32_t)m->points[i], bytes);
        (void)tomo_buffer_add(m->out, bytes, length);
    }
    m->count = m->run = 0;
    return TOMO_OK;
}

static tomo_status add(composer *m, int32_t c) {
    int32_t parts[LONGEST_DECOMPOSITION];
    int last = 0;
    const utf8proc_option_t options = (utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE);
    utf8proc_ssize_t count = utf8proc_decompose_char(c, parts, LONGEST_DECOMPOSITION, options, &last);
    if (count < 0 || count > LONGEST_DECOMPOSITION) {
        return tomo_fail(m->err, TOMO_E_INTERNAL, "normalisation: %s", utf8proc_errmsg(count));
    }
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        if (combining_class(parts[i]) == 0) {
            tomo_status status = order_run(m);
            if (status != TOMO_OK) return status;
            m->run = m->count + 1; /* the run begins behind this character */
        }
        m->points[m->count++] = parts[i];
    }
    return TOMO_OK;
}

/* Room for one more decomposed character. */
static tomo_status reserve(composer *m) {
    if (m->capacity - m->count >= LONGEST_DECOMPOSITION) return TOMO_OK;
    size_t capacity = m->capacity * 2 + 256, bytes;
    int32_t *points = tomo_size_mul(capacity, sizeof *points, &bytes) ? realloc(m->points, bytes) : NULL;
    if (points == NULL) return tomo_fail_memory(m->err, "normalisation", capacity * sizeof *points);
    m->points = points;
    m->capacity = capacity;
    return TOMO_OK;
}

static tomo_status compose(composer *m, const unsigned char *text, size_t size) {
    tomo_status status = TOMO_OK;
    for (size_t at = 0, length; at < size && status == TOMO_OK; at += length) {
        uint32_t c;
        length = tomo_utf8_next(text + at, size - at, &c, NULL);
        if (is_later(c)) {
            status = flush(m);
            (void)tomo_buffer_add(m->out, text + at, length);
            continue;
        }
        status = reserve(m);
        if (status == TOMO_OK) status = add(m, (int32_t)c);
    }
    return status == TOMO_OK ? flush(m) : status;
}

tomo_status tomo_unicode_nfc(const unsigned char *text, size_t size, tomo_buffer *out, tomo_error *err) {
    /* Everything below U+0300, whose first byte is 0xCC, is its own NFC. */
    size_t plain = 0;
    while (plain < size && text[plain] < 0xcc) plain++;
    tomo_status status = TOMO_OK;
    if (plain == size) {
        if (size > 0) (void)tomo_buffer_add(out, text, size);
    } else {
        composer m = {.out = out, .err = err};
        status = compose(&m, text, size);
        free(m.points);
    }
    if (status == TOMO_OK && out->failed) status = tomo_fail_memory(err, "normalised text", out->size);
    return status;
}
