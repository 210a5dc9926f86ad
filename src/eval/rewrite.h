/* rewrite.h - a text that is rewritten in passes, each from left to right, as re.sub does: a pass reads `in`,
 * puts what it makes, and ends with tomo_rewrite_next, after which its result is read. Private to src/eval.
 */
#ifndef TOMO_EVAL_REWRITE_H
#define TOMO_EVAL_REWRITE_H

#include "eval/points.h"

/* What a pass may put: this many code points for each one that it reads, and some. The longest rule makes
 * four of one. */
#define TOMO_REWRITE_GROWTH 4
#define TOMO_REWRITE_MORE 16

typedef struct tomo_rewrite {
    tomo_arena *arena;
    const uint32_t *in;
    size_t count;
    uint32_t *out, *spare; /* spare: the buffer behind `in`, once it is ours */
    size_t used, capacity, spare_capacity;
    bool failed;                      /* out of memory: `in` is then empty */
    uint32_t none[TOMO_REWRITE_MORE]; /* where passes over nothing put what nobody reads */
} tomo_rewrite;

/* Starts with `text`, which must outlive the first pass. */
void tomo_rewrite_begin(tomo_rewrite *r, tomo_arena *arena, tomo_points text);
void tomo_rewrite_next(tomo_rewrite *r);

static inline void tomo_rewrite_put(tomo_rewrite *r, uint32_t c) {
    r->out[r->used++] = c;
}

static inline void tomo_rewrite_put_text(tomo_rewrite *r, const char *ascii) {
    for (; *ascii != '\0'; ascii++) tomo_rewrite_put(r, (unsigned char)*ascii);
}

/* Puts in[begin .. end). */
static inline void tomo_rewrite_copy(tomo_rewrite *r, size_t begin, size_t end) {
    if (end > begin) memcpy(r->out + r->used, r->in + begin, (end - begin) * sizeof *r->out);
    r->used += end - begin;
}

/* in[begin .. end) with a space on either side. */
static inline void tomo_rewrite_pad(tomo_rewrite *r, size_t begin, size_t end) {
    tomo_rewrite_put(r, ' ');
    tomo_rewrite_copy(r, begin, end);
    tomo_rewrite_put(r, ' ');
}

#endif
