#include "eval/near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A 5-gram is its 64-bit hash: among the 5.5 million of M3D-Cap's reports two are taken for one with
 * probability 1e-6. */
typedef struct shingle {
    uint64_t hash;
    uint32_t frequency; /* in how many texts */
} shingle;

/* One text's 5-grams, each once: by hash, and the rarest again in order of rarity. */
typedef struct set {
    uint64_t *hashes; /* [count], ascending */
    uint64_t *rarest; /* [prefix] */
    size_t count, prefix, text;
} set;

/* Texts between two calls of the progress hook. */
#define TEXTS_A_STEP 256

typedef struct finder {
    const tomo_hooks *hooks;
    set *sets; /* [count]; after ordering, from the smallest to the largest */
    size_t count;
    shingle *known; /* [known_count], by hash */
    size_t known_count;
    /* An inverted index: a chain of sets for each known shingle. */
    size_t *heads;      /* [known_count]: link + 1, or 0 */
    struct link *links; /* [link_count] */
    size_t link_count, link_capacity;
    size_t *seen; /* [count]: the set that met this one last, + 1 */
} finder;

struct link {
    size_t set, next;
};

static int by_hash(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int by_size(const void *a, const void *b) {
    const set *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? -1 : 1;
    return (x->text > y->text) - (x->text < y->text);
}

static int by_rarity(const void *a, const void *b) {
    const shingle *x = a, *y = b;
    if (x->frequency != y->frequency) return x->frequency < y->frequency ? -1 : 1;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static size_t unique(uint64_t *hashes, size_t count) {
    size_t used = 0;
    qsort(hashes, count, sizeof *hashes, by_hash);
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || hashes[i] != hashes[i - 1]) hashes[used++] = hashes[i];
    }
    return used;
}

/* ------------------------------------------------------------------------------ 5-grams */

/* Where each word of a normalised text begins, and behind them its end. */
static size_t find_words(tomo_points text, size_t *begins) {
    size_t count = 0;
    for (size_t i = 0; i < text.count; i++) {
        if (i == 0 || text.at[i - 1] == ' ') begins[count++] = i;
    }
    begins[count] = text.count + 1;
    return count;
}

static bool make_set(tomo_points text, size_t index, set *s) {
    size_t *begins = malloc((text.count + 2) * sizeof *begins);
    if (begins == NULL) return false;
    size_t words = find_words(text, begins);
    size_t grams = words >= TOMO_NEAR_WORDS ? words - TOMO_NEAR_WORDS + 1 : 1;
    *s = (set){.hashes = malloc(grams * sizeof *s->hashes), .text = index};
    for (size_t i = 0; s->hashes != NULL && i < grams; i++) {
        tomo_points piece = text;
        if (words >= TOMO_NEAR_WORDS) {
            piece = (tomo_points){text.at + begins[i], begins[i + TOMO_NEAR_WORDS] - 1 - begins[i]};
        }
        s->hashes[i] = tomo_points_hash(piece);
    }
    free(begins);
    if (s->hashes == NULL) return false;
    s->count = unique(s->hashes, grams);
    return true;
}

/* All 5-grams and in how many texts each stands. */
static bool count_shingles(finder *f) {
    size_t all = 0, used = 0;
    for (size_t i = 0; i < f->count; i++) all += f->sets[i].count;
    uint64_t *hashes = malloc((all + 1) * sizeof *hashes);
    f->known = malloc((all + 1) * sizeof *f->known);
    if (hashes == NULL || f->known == NULL) {
        free(hashes);
        return false;
    }
    for (size_t i = 0; i < f->count; i++) {
        memcpy(hashes + used, f->sets[i].hashes, f->sets[i].count * sizeof *hashes);
        used += f->sets[i].count;
    }
    qsort(hashes, all, sizeof *hashes, by_hash);
    for (size_t i = 0; i < all; i++) {
        if (i > 0 && hashes[i] == hashes[i - 1]) {
            f->known[f->known_count - 1].frequency++;
        } else {
            f->known[f->known_count++] = (shingle){hashes[i], 1};
        }
    }
    free(hashes);
    return true;
}

static size_t find_known(const finder *f, uint64_t hash) {
    size_t low = 0, high = f->known_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (f->known[middle].hash < hash) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* The rarest 5-grams of a set: so many that what is left cannot reach the similarity alone. */
static bool choose_prefix(const finder *f, set *s) {
    shingle *all = malloc((s->count + 1) * sizeof *all);
    s->prefix = s->count - (size_t)ceil(TOMO_NEAR_LEAST * (double)s->count - 1e-9) + 1;
    s->rarest = malloc((s->prefix + 1) * sizeof *s->rarest);
    if (all == NULL || s->rarest == NULL) {
        free(all);
        return false;
    }
    for (size_t i = 0; i < s->count; i++) all[i] = f->known[find_known(f, s->hashes[i])];
    qsort(all, s->count, sizeof *all, by_rarity);
    for (size_t i = 0; i < s->prefix; i++) s->rarest[i] = all[i].hash;
    free(all);
    return true;
}

/* ------------------------------------------------------------------------------ pairs */

static double jaccard(const set *a, const set *b) {
    size_t shared = 0;
    for (size_t i = 0, j = 0; i < a->count && j < b->count;) {
        if (a->hashes[i] == b->hashes[j]) shared++;
        bool left = a->hashes[i] <= b->hashes[j], right = b->hashes[j] <= a->hashes[i];
        i += left;
        j += right;
    }
    return (double)shared / (double)(a->count + b->count - shared);
}

static bool add_link(finder *f, size_t place, size_t index) {
    if (f->link_count == f->link_capacity) {
        size_t capacity = f->link_capacity * 2 + 1024;
        struct link *links = realloc(f->links, capacity * sizeof *links);
        if (links == NULL) return false;
        f->links = links;
        f->link_capacity = capacity;
    }
    f->links[f->link_count] = (struct link){index, f->heads[place]};
    f->heads[place] = ++f->link_count;
    return true;
}

/* Compares set `index` with the smaller ones that share a rare 5-gram, then lists it. */
static bool meet(finder *f, size_t index, tomo_near_fn found, void *user) {
    const set *s = &f->sets[index];
    for (size_t k = 0; k < s->prefix; k++) {
        size_t place = find_known(f, s->rarest[k]);
        for (size_t link = f->heads[place]; link != 0; link = f->links[link - 1].next) {
            size_t other = f->links[link - 1].set;
            const set *o = &f->sets[other];
            if (f->seen[other] == index + 1) continue;
            f->seen[other] = index + 1;
            if ((double)o->count < TOMO_NEAR_LEAST * (double)s->count) continue;
            double similarity = jaccard(s, o);
            if (similarity < TOMO_NEAR_LEAST) continue;
            size_t a = s->text < o->text ? s->text : o->text, b = s->text < o->text ? o->text : s->text;
            found(user, a, b, similarity);
        }
        if (!add_link(f, place, index)) return false;
    }
    return true;
}

/* False without an error: out of memory. */
static bool find(finder *f, const tomo_points *texts, tomo_near_fn found, void *user, tomo_error *err) {
    for (size_t i = 0; i < f->count; i++) {
        if (!make_set(texts[i], i, &f->sets[i])) return false;
    }
    if (!count_shingles(f)) return false;
    for (size_t i = 0; i < f->count; i++) {
        if (!choose_prefix(f, &f->sets[i])) return false;
    }
    qsort(f->sets, f->count, sizeof *f->sets, by_size);
    f->heads = calloc(f->known_count + 1, sizeof *f->heads);
    f->seen = calloc(f->count + 1, sizeof *f->seen);
    if (f->heads == NULL || f->seen == NULL) return false;
    for (size_t i = 0; i < f->count; i++) {
        if (i % TEXTS_A_STEP == 0 &&
            tomo_progress(f->hooks, "comparing texts", (int64_t)i, (int64_t)f->count, err) != TOMO_OK) {
            return false;
        }
        if (!meet(f, i, found, user)) return false;
    }
    return true;
}

tomo_status tomo_near_pairs(const tomo_points *texts, size_t count, tomo_near_fn found, void *user,
                            const tomo_hooks *hooks, tomo_error *err) {
    finder f = {.sets = calloc(count + 1, sizeof *f.sets), .count = count, .hooks = hooks};
    tomo_error failure = {0};
    bool good = f.sets != NULL && find(&f, texts, found, user, &failure);
    for (size_t i = 0; f.sets != NULL && i < count; i++) {
        free(f.sets[i].hashes);
        free(f.sets[i].rarest);
    }
    free(f.sets);
    free(f.known);
    free(f.heads);
    free(f.links);
    free(f.seen);
    if (good) return TOMO_OK;
    if (failure.status == TOMO_OK) return tomo_fail_memory(err, "texts", count);
    if (err != NULL) *err = failure;
    return failure.status;
}
