/* arena.h - memory that is handed out in order and given back all at once.
 *
 * An arena grows by chunks while its owner's shapes are still unknown; arena_reset() then joins the chunks
 * into one that holds the largest use seen, so that the same work done again allocates nothing. Not
 * thread-safe: one owner. */
#ifndef TOMO_BASE_ARENA_H
#define TOMO_BASE_ARENA_H

#include <stddef.h>

/* Every piece is aligned for the widest vector loads and to a cache line. */
#define TOMO_ARENA_ALIGNMENT 64

typedef struct tomo_arena tomo_arena;

/* A place in an arena to which it can be wound back. */
typedef struct tomo_arena_mark {
    void *chunk;
    size_t used, total;
} tomo_arena_mark;

/* reserve: bytes to hold from the start (0: none). NULL when out of memory. */
tomo_arena *tomo_arena_create(size_t reserve);
void tomo_arena_free(tomo_arena *arena);

/* Uninitialised bytes, valid until the arena is wound back past them; NULL when out of memory. */
void *tomo_arena_alloc(tomo_arena *arena, size_t bytes);

tomo_arena_mark tomo_arena_get_mark(const tomo_arena *arena);
/* Gives back all that was handed out since the mark; pointers to it are dead, but the bytes stay as they are
 * until the next tomo_arena_alloc. */
void tomo_arena_rewind(tomo_arena *arena, tomo_arena_mark mark);
/* Rewinds to the mark but keeps the `bytes` at `piece`, which were handed out since: they are moved to the
 * front and their new place is returned (NULL when out of memory). */
void *tomo_arena_keep(tomo_arena *arena, tomo_arena_mark mark, const void *piece, size_t bytes);
/* Gives back everything and joins the chunks (which may allocate; on failure the chunks stay). */
void tomo_arena_reset(tomo_arena *arena);

/* The largest number of bytes that was ever in use at once. */
size_t tomo_arena_peak(const tomo_arena *arena);

#endif
