#include "eval/overlap.h"

#include "eval/words.h"

#include <math.h>
#include <string.h>

/* The sum over words of the smaller of their two counts. */
static bool count_shared(tomo_arena *arena, const tomo_tokens *a, const tomo_tokens *b, size_t *shared) {
    tomo_words words;
    if (!tomo_words_create(arena, a->count, &words)) return false;
    int32_t *counts = tomo_arena_alloc(arena, (a->count + 1) * sizeof *counts);
    if (counts == NULL) return false;
    memset(counts, 0, (a->count + 1) * sizeof *counts);
    for (size_t i = 0; i < a->count; i++) counts[tomo_words_add(&words, a->items[i])]++;
    *shared = 0;
    for (size_t i = 0; i < b->count; i++) {
        int32_t id = tomo_words_find(&words, b->items[i]);
        if (id >= 0 && counts[id]-- > 0) ++*shared;
    }
    return true;
}

bool tomo_bleu_score(tomo_arena *arena, const tomo_tokens *prediction, const tomo_tokens *reference,
                     tomo_bleu *bleu) {
    size_t shared = 0;
    *bleu = (tomo_bleu){0};
    if (prediction->count == 0 || reference->count == 0) return true;
    if (!count_shared(arena, prediction, reference, &shared)) return false;
    double ratio = (double)prediction->count / (double)reference->count;
    bleu->defined = true;
    bleu->precision = (double)shared / (double)prediction->count;
    bleu->brevity = ratio > 1 ? 1 : exp(1 - 1 / ratio);
    /* exp(log p), as the script has it, so that the last digits agree. */
    bleu->score = shared > 0 ? exp(log(bleu->precision)) * bleu->brevity : 0;
    return true;
}

bool tomo_rouge_score(tomo_arena *arena, const tomo_tokens *prediction, const tomo_tokens *reference,
                      tomo_rouge *rouge) {
    size_t shared = 0;
    *rouge = (tomo_rouge){0};
    if (prediction->count == 0 || reference->count == 0) return true;
    if (!count_shared(arena, prediction, reference, &shared)) return false;
    double p = (double)shared / (double)prediction->count, r = (double)shared / (double)reference->count;
    *rouge = (tomo_rouge){p, r, shared > 0 ? 2 * p * r / (p + r) : 0};
    return true;
}
