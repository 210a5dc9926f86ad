#include "base/arena.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* Below this a chunk is not worth its bookkeeping. */
#define MINIMUM_CHUNK ((size_t)1 << 20)

typedef struct chunk {
    struct chunk *next; /* handed out after this one, or NULL */
    unsigned char *data;
    size_t size, used;
} chunk;

struct tomo_arena {
    chunk *first, *current; /* chunks behind `current` are empty */
    size_t total, peak;     /* bytes handed out now, and at most */
};

static chunk *chunk_create(size_t size) {
    chunk *c = calloc(1, sizeof *c);
    if (c == NULL) return NULL;
    c->data = aligned_alloc(TOMO_ARENA_ALIGNMENT, size);
    if (c->data == NULL) {
        free(c);
        return NULL;
    }
    c->size = size;
    return c;
}

static void chunks_free(chunk *c) {
    while (c != NULL) {
        chunk *next = c->next;
        free(c->data);
        free(c);
        c = next;
    }
}

/* Rounds up to the alignment; false when that does not fit. */
static bool round_up(size_t bytes, size_t *rounded) {
    if (!tomo_size_add(bytes > 0 ? bytes : 1, TOMO_ARENA_ALIGNMENT - 1, rounded)) return false;
    *rounded &= ~(size_t)(TOMO_ARENA_ALIGNMENT - 1);
    return true;
}

tomo_arena *tomo_arena_create(size_t reserve) {
    tomo_arena *arena = calloc(1, sizeof *arena);
    size_t size = 0;
    if (arena == NULL || reserve == 0) return arena;
    if (!round_up(reserve, &size) || (arena->first = chunk_create(size)) == NULL) {
        free(arena);
        return NULL;
    }
    arena->current = arena->first;
    return arena;
}

void tomo_arena_free(tomo_arena *arena) {
    if (arena == NULL) return;
    chunks_free(arena->first);
    free(arena);
}

/* Makes a chunk with room for `size` current: the next empty one that has it, or a new one. */
static bool find_room(tomo_arena *arena, size_t size) {
    while (arena->current != NULL && arena->current->size - arena->current->used < size) {
        if (arena->current->next == NULL) break;
        arena->current = arena->current->next;
    }
    chunk *last = arena->current;
    if (last != NULL && last->size - last->used >= size) return true;
    size_t wanted = last == NULL ? MINIMUM_CHUNK : last->size * 2; /* so that chunks stay few */
    chunk *c = chunk_create(wanted > size ? wanted : size);
    if (c == NULL && wanted > size) c = chunk_create(size);
    if (c == NULL) return false;
    if (last == NULL) {
        arena->first = c;
    } else {
        last->next = c;
    }
    arena->current = c;
    return true;
}

void *tomo_arena_alloc(tomo_arena *arena, size_t bytes) {
    size_t size;
    if (!round_up(bytes, &size) || !find_room(arena, size)) return NULL;
    void *piece = arena->current->data + arena->current->used;
    arena->current->used += size;
    arena->total += size;
    if (arena->total > arena->peak) arena->peak = arena->total;
    return piece;
}

tomo_arena_mark tomo_arena_get_mark(const tomo_arena *arena) {
    return (tomo_arena_mark){arena->current, arena->current == NULL ? 0 : arena->current->used, arena->total};
}

void tomo_arena_rewind(tomo_arena *arena, tomo_arena_mark mark) {
    arena->current = mark.chunk == NULL ? arena->first : mark.chunk;
    arena->total = mark.total;
    if (arena->current == NULL) return;
    arena->current->used = mark.used;
    for (chunk *c = arena->current->next; c != NULL; c = c->next) c->used = 0;
}

void *tomo_arena_keep(tomo_arena *arena, tomo_arena_mark mark, const void *piece, size_t bytes) {
    tomo_arena_rewind(arena, mark);
    /* The new place is in another chunk, or at or before the old one: the piece was handed out after the
     * mark. */
    void *kept = tomo_arena_alloc(arena, bytes);
    if (kept != NULL) memmove(kept, piece, bytes);
    return kept;
}

void tomo_arena_reset(tomo_arena *arena) {
    if (arena->first != NULL && (arena->first->next != NULL || arena->first->size < arena->peak)) {
        chunk *joined = chunk_create(arena->peak);
        if (joined != NULL) {
            chunks_free(arena->first);
            arena->first = joined;
        }
    }
    tomo_arena_rewind(arena, (tomo_arena_mark){NULL, 0, 0});
}

size_t tomo_arena_peak(const tomo_arena *arena) {
    return arena->peak;
}
