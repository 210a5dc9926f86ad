#include "eval/rewrite.h"

#include <string.h>

void tomo_rewrite_begin(tomo_rewrite *r, tomo_arena *arena, tomo_points text) {
    *r = (tomo_rewrite){.arena = arena, .in = text.at, .count = text.count};
    tomo_rewrite_grow(r, text.count + text.count / 2 + 64);
}

void tomo_rewrite_grow(tomo_rewrite *r, size_t more) {
    size_t capacity = r->capacity * 2 > r->used + more ? r->capacity * 2 : r->used + more;
    uint32_t *out = r->failed ? NULL : tomo_arena_alloc(r->arena, capacity * sizeof *out);
    if (out == NULL) {
        r->failed = true;
        return;
    }
    if (r->used > 0) memcpy(out, r->out, r->used * sizeof *out);
    r->out = out;
    r->capacity = capacity;
}

void tomo_rewrite_next(tomo_rewrite *r) {
    uint32_t *free_buffer = r->spare;
    size_t free_capacity = r->spare_capacity;
    r->in = r->out;
    r->count = r->used;
    r->spare = r->out;
    r->spare_capacity = r->capacity;
    r->out = free_buffer;
    r->capacity = free_capacity;
    r->used = 0;
    if (r->out == NULL) tomo_rewrite_grow(r, r->count + 64);
}
