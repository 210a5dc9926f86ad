#include "text/sampling.h"

#include "base/random.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tomo_sampler {
    tomo_sampling sampling;
    int32_t vocabulary;
    tomo_random random;
    uint32_t *seen; /* [vocabulary]: the round in which the penalty was last applied to an id */
    uint32_t round;
    int32_t *order; /* [vocabulary]: scratch */
};

/* ------------------------------------------------------------------------------ opening */

tomo_status tomo_sampling_check(const tomo_sampling *s, tomo_error *err) {
    if (!(s->temperature >= 0 && s->temperature <= 1e6)) {
        return tomo_fail(err, TOMO_E_USAGE, "temperature is %g; a number >= 0 is wanted", s->temperature);
    }
    if (s->top_k < 0)
        return tomo_fail(err, TOMO_E_USAGE, "top_k is %d; a number >= 0 is wanted", (int)s->top_k);
    if (!(s->top_p >= 0 && s->top_p <= 1)) {
        return tomo_fail(err, TOMO_E_USAGE, "top_p is %g; a number from 0 to 1 is wanted", s->top_p);
    }
    if (!(s->min_p >= 0 && s->min_p <= 1)) {
        return tomo_fail(err, TOMO_E_USAGE, "min_p is %g; a number from 0 to 1 is wanted", s->min_p);
    }
    if (!(s->repetition_penalty > 0 && s->repetition_penalty <= 1e6)) {
        return tomo_fail(err, TOMO_E_USAGE, "repetition_penalty is %g; a number > 0 is wanted",
                         s->repetition_penalty);
    }
    return TOMO_OK;
}

tomo_status tomo_sampler_create(const tomo_sampling *sampling, int32_t vocabulary, tomo_sampler **sampler,
                                tomo_error *err) {
    *sampler = NULL;
    tomo_status status = tomo_sampling_check(sampling, err);
    if (status != TOMO_OK) return status;
    if (vocabulary <= 0) return tomo_fail(err, TOMO_E_USAGE, "a vocabulary of %d tokens", (int)vocabulary);
    tomo_sampler *s = calloc(1, sizeof *s);
    if (s == NULL) return tomo_fail_memory(err, "sampling", sizeof *s);
    s->sampling = *sampling;
    s->vocabulary = vocabulary;
    s->seen = calloc((size_t)vocabulary, sizeof *s->seen);
    s->order = calloc((size_t)vocabulary, sizeof *s->order);
    if (s->seen == NULL || s->order == NULL) {
        tomo_sampler_free(s);
        return tomo_fail_memory(err, "sampling", (size_t)vocabulary * 8);
    }
    s->random = tomo_random_seed(sampling->seed);
    *sampler = s;
    return TOMO_OK;
}

void tomo_sampler_free(tomo_sampler *s) {
    if (s == NULL) return;
    free(s->seen);
    free(s->order);
    free(s);
}

/* ------------------------------------------------------------------------------ penalty and filters */

static void remove_non_numbers(const tomo_sampler *s, float *logits) {
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (isnan(logits[i])) logits[i] = -INFINITY;
    }
}

/* Once for each id, however often it occurs: towards "less likely", whatever the sign. */
static void penalise(tomo_sampler *s, float *logits, const int32_t *history, size_t count) {
    const float penalty = (float)s->sampling.repetition_penalty;
    if (++s->round == 0) { /* wrapped around: old rounds must not look new */
        memset(s->seen, 0, (size_t)s->vocabulary * sizeof *s->seen);
        s->round = 1;
    }
    for (size_t i = 0; i < count; i++) {
        int32_t id = history[i];
        if (id < 0 || id >= s->vocabulary || s->seen[id] == s->round) continue;
        s->seen[id] = s->round;
        logits[id] = logits[id] < 0 ? logits[id] * penalty : logits[id] / penalty;
    }
}

/* Higher logit first; of equals the higher id, which is where torch's sort leaves it. */
static bool goes_first(const float *logits, int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a > b;
}

static void sift_down(const float *logits, int32_t *heap, size_t count, size_t at) {
    int32_t moving = heap[at];
    for (size_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && goes_first(logits, heap[child + 1], heap[child])) child++;
        if (!goes_first(logits, heap[child], moving)) break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

/* The ids that are left, as a heap with the likeliest on top; returns how many. Taking the few likeliest from
 * a heap is far cheaper than sorting a whole vocabulary for each token. */
static size_t make_heap(tomo_sampler *s, const float *logits) {
    size_t count = 0;
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (logits[i] > -INFINITY) s->order[count++] = i;
    }
    for (size_t i = count / 2; i > 0; i--) sift_down(logits, s->order, count, i - 1);
    return count;
}

static int32_t take_likeliest(const float *logits, int32_t *heap, size_t *count) {
    int32_t id = heap[0];
    heap[0] = heap[--*count];
    if (*count > 0) sift_down(logits, heap, *count, 0);
    return id;
}

/* All that equal the k-th stay. */
static void keep_top_k(tomo_sampler *s, float *logits) {
    size_t count = make_heap(s, logits);
    if ((size_t)s->sampling.top_k >= count) return;
    float least = INFINITY;
    for (int32_t i = 0; i < s->sampling.top_k; i++) least = logits[take_likeliest(logits, s->order, &count)];
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (logits[i] < least) logits[i] = -INFINITY;
    }
}

static float largest(const float *logits, int32_t count) {
    float most = -INFINITY;
    for (int32_t i = 0; i < count; i++) {
        if (logits[i] > most) most = logits[i];
    }
    return most;
}

/* exp(logit - most), where infinite ones share everything. */
static double weight(float logit, float most) {
    return logit == most ? 1.0 : exp((double)logit - (double)most);
}

static double total_weight(const float *logits, int32_t count, float most) {
    double total = 0;
    for (int32_t i = 0; i < count; i++) {
        if (logits[i] > -INFINITY) total += weight(logits[i], most);
    }
    return total;
}

/* A token stays while those likelier than it have less than p together. */
static void keep_top_p(tomo_sampler *s, float *logits) {
    float most = largest(logits, s->vocabulary);
    double total = total_weight(logits, s->vocabulary, most), before = 0;
    size_t count = make_heap(s, logits);
    bool first = true;
    while (count > 0 && (first || before < s->sampling.top_p * total)) {
        before += weight(logits[take_likeliest(logits, s->order, &count)], most);
        first = false;
    }
    for (size_t i = 0; i < count; i++) logits[s->order[i]] = -INFINITY;
}

static void keep_min_p(const tomo_sampler *s, float *logits) {
    float most = largest(logits, s->vocabulary);
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (weight(logits[i], most) < s->sampling.min_p) logits[i] = -INFINITY;
    }
}

void tomo_sampler_process(tomo_sampler *s, float *logits, const int32_t *history, size_t count) {
    const tomo_sampling *o = &s->sampling;
    remove_non_numbers(s, logits);
    if (o->repetition_penalty != 1) penalise(s, logits, history, count);
    if (o->temperature == 0) return;
    if (o->temperature != 1) {
        /* Below this a float would become 0 or infinite logits; the choice is greedy long before. */
        const float temperature = o->temperature < 1e-20 ? 1e-20F : (float)o->temperature;
        for (int32_t i = 0; i < s->vocabulary; i++) logits[i] /= temperature;
    }
    if (o->top_k > 0) keep_top_k(s, logits);
    if (o->top_p < 1) keep_top_p(s, logits);
    if (o->min_p > 0) keep_min_p(s, logits);
    remove_non_numbers(s, logits); /* infinities may have met */
}

/* ------------------------------------------------------------------------------ choice */

static int32_t choose_greedily(const tomo_sampler *s, const float *logits) {
    int32_t best = -1;
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (logits[i] > -INFINITY && (best < 0 || logits[i] > logits[best])) best = i;
    }
    return best;
}

static int32_t choose_randomly(tomo_sampler *s, const float *logits) {
    float most = largest(logits, s->vocabulary);
    double left = tomo_random_unit(&s->random) * total_weight(logits, s->vocabulary, most);
    int32_t last = -1;
    for (int32_t i = 0; i < s->vocabulary; i++) {
        if (!(logits[i] > -INFINITY)) continue;
        double w = weight(logits[i], most);
        if (!(w > 0)) continue;
        last = i;
        left -= w;
        if (left < 0) return i;
    }
    return last; /* rounding left a little over */
}

int32_t tomo_sampler_choose(tomo_sampler *s, float *logits, const int32_t *history, size_t count) {
    tomo_sampler_process(s, logits, history, count);
    return s->sampling.temperature == 0 ? choose_greedily(s, logits) : choose_randomly(s, logits);
}
