#include "eval/words.h"

#include <string.h>

bool tomo_words_create(tomo_arena *arena, size_t most, tomo_words *words) {
    size_t places = 16;
    while (places < most * 2) places *= 2;
    *words = (tomo_words){.mask = places - 1};
    words->items = tomo_arena_alloc(arena, (most + 1) * sizeof *words->items);
    words->places = tomo_arena_alloc(arena, places * sizeof *words->places);
    if (words->items == NULL || words->places == NULL) return false;
    memset(words->places, 0xff, places * sizeof *words->places);
    return true;
}

/* The word's place, or the free one where it would stand. */
static size_t find_place(const tomo_words *words, tomo_points word) {
    size_t place = tomo_points_hash(word) & words->mask;
    while (words->places[place] >= 0 && !tomo_points_equal(words->items[words->places[place]], word)) {
        place = (place + 1) & words->mask;
    }
    return place;
}

int32_t tomo_words_add(tomo_words *words, tomo_points word) {
    size_t place = find_place(words, word);
    if (words->places[place] < 0) {
        words->places[place] = (int32_t)words->count;
        words->items[words->count++] = word;
    }
    return words->places[place];
}

int32_t tomo_words_find(const tomo_words *words, tomo_points word) {
    return words->places[find_place(words, word)];
}
