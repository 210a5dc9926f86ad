#include "eval/rewrite.h"

/* Room in `out` for all that the next pass may put. */
static void reserve(tomo_rewrite *r) {
    size_t wanted = r->count * TOMO_REWRITE_GROWTH + TOMO_REWRITE_MORE;
    if (r->capacity >= wanted) return;
    r->out = tomo_arena_alloc(r->arena, wanted * sizeof *r->out);
    r->capacity = r->out == NULL ? 0 : wanted;
    if (r->out != NULL) return;
    r->failed = true;
    r->count = r->used = 0;
    r->out = r->none;
}

void tomo_rewrite_begin(tomo_rewrite *r, tomo_arena *arena, tomo_points text) {
    *r = (tomo_rewrite){.arena = arena, .in = text.at, .count = text.count};
    reserve(r);
}

void tomo_rewrite_next(tomo_rewrite *r) {
    uint32_t *free_buffer = r->spare;
    size_t free_capacity = r->spare_capacity;
    if (r->failed) {
        r->used = 0;
        return;
    }
    r->in = r->out;
    r->count = r->used;
    r->spare = r->out;
    r->spare_capacity = r->capacity;
    r->out = free_buffer;
    r->capacity = free_capacity;
    r->used = 0;
    reserve(r);
}
