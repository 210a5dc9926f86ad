#include "base/arena.h"

#include "base/size.h"

#include <stdlib.h>

/* Below this a chunk is not worth its bookkeeping. */
#define MINIMUM_CHUNK ((size_t)1 << 20)

typedef struct chunk {
    struct chunk *before; /* older chunk, or NULL */
    unsigned char *data;
    size_t size, used;
    size_t used_before; /* bytes in use in all older chunks */
} chunk;

struct tomo_arena {
    chunk *last;
    size_t peak;
};

static chunk *chunk_create(size_t size, chunk *before) {
    chunk *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->data = aligned_alloc(TOMO_ARENA_ALIGNMENT, size);
    if (c->data == NULL) {
        free(c);
        return NULL;
    }
    c->size = size;
    c->before = before;
    c->used_before = before == NULL ? 0 : before->used_before + before->used;
    return c;
}

static void chunk_free(chunk *c) {
    free(c->data);
    free(c);
}

/* Rounds up to the alignment; false when that does not fit. */
static bool round_up(size_t bytes, size_t *rounded) {
    if (!tomo_size_add(bytes, TOMO_ARENA_ALIGNMENT - 1, rounded)) return false;
    *rounded &= ~(size_t)(TOMO_ARENA_ALIGNMENT - 1);
    return true;
}

tomo_arena *tomo_arena_create(size_t reserve) {
    tomo_arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL) return NULL;
    size_t size = 0;
    if (reserve > 0 && (!round_up(reserve, &size) || (arena->last = chunk_create(size, NULL)) == NULL)) {
        free(arena);
        return NULL;
    }
    return arena;
}

void tomo_arena_free(tomo_arena *arena) {
    if (arena == NULL) return;
    while (arena->last != NULL) {
        chunk *c = arena->last;
        arena->last = c->before;
        chunk_free(c);
    }
    free(arena);
}

void *tomo_arena_alloc(tomo_arena *arena, size_t bytes) {
    size_t size;
    if (!round_up(bytes > 0 ? bytes : 1, &size)) return NULL;
    chunk *c = arena->last;
    if (c == NULL || c->size - c->used < size) {
        size_t wanted = c == NULL ? MINIMUM_CHUNK : c->size; /* doubles the total, so chunks stay few */
        if (wanted < MINIMUM_CHUNK) wanted = MINIMUM_CHUNK;
        c = chunk_create(wanted > size ? wanted : size, c);
        if (c == NULL) return NULL;
        arena->last = c;
    }
    void *piece = c->data + c->used;
    c->used += size;
    if (c->used_before + c->used > arena->peak) arena->peak = c->used_before + c->used;
    return piece;
}

tomo_arena_mark tomo_arena_get_mark(const tomo_arena *arena) {
    chunk *c = arena->last;
    return (tomo_arena_mark){c, c == NULL ? 0 : c->used};
}

void tomo_arena_rewind(tomo_arena *arena, tomo_arena_mark mark) {
    /* The oldest chunk is kept even for a mark taken before it existed: it will be wanted again. */
    while (arena->last != NULL && arena->last != mark.chunk && arena->last->before != NULL) {
        chunk *c = arena->last;
        arena->last = c->before;
        chunk_free(c);
    }
    if (arena->last != NULL) arena->last->used = arena->last == mark.chunk ? mark.used : 0;
}

void tomo_arena_reset(tomo_arena *arena) {
    size_t peak = arena->peak;
    if (arena->last != NULL && (arena->last->before != NULL || arena->last->size < peak)) {
        chunk *joined = chunk_create(peak, NULL);
        if (joined != NULL) {
            while (arena->last != NULL) {
                chunk *c = arena->last;
                arena->last = c->before;
                chunk_free(c);
            }
            arena->last = joined;
        }
    }
    tomo_arena_rewind(arena, (tomo_arena_mark){NULL, 0});
}

size_t tomo_arena_peak(const tomo_arena *arena) {
    return arena->peak;
}
