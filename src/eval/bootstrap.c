#include "eval/bootstrap.h"

#include "base/random.h"
#include "base/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

size_t tomo_scored_statistics(const tomo_scored *sample) {
    return (sample->group_count + 2) * sample->metrics;
}

typedef struct work {
    const tomo_scored *sample;
    size_t *rows;   /* [rows], those of a group together */
    size_t *begins; /* [group_count + 1] */
    double *drawn;  /* [draws][statistics] */
    uint64_t seed;
    size_t first; /* draw of block 0 */
} work;

/* Draws between two calls of the progress hook. */
#define DRAWS_A_STEP 64

/* ------------------------------------------------------------------------------ statistics */

/* From sums of each group in the first group_count rows of `at` to all statistics. */
static void finish(const work *w, double *at) {
    const tomo_scored *s = w->sample;
    double *micro = at + s->group_count * s->metrics, *macro = micro + s->metrics;
    for (size_t m = 0; m < s->metrics; m++) micro[m] = macro[m] = 0;
    for (size_t g = 0; g < s->group_count; g++) {
        double n = (double)(w->begins[g + 1] - w->begins[g]);
        for (size_t m = 0; m < s->metrics; m++) {
            double *sum = &at[g * s->metrics + m];
            micro[m] += *sum;
            *sum /= n;
            macro[m] += *sum;
        }
    }
    for (size_t m = 0; m < s->metrics; m++) {
        micro[m] /= (double)s->rows;
        macro[m] /= (double)s->group_count;
    }
}

static void add_row(const tomo_scored *s, size_t row, double *sums) {
    for (size_t m = 0; m < s->metrics; m++) sums[m] += s->values[row * s->metrics + m];
}

/* random NULL: every row once. */
static void compute(const work *w, tomo_random *random, double *at) {
    const tomo_scored *s = w->sample;
    memset(at, 0, tomo_scored_statistics(s) * sizeof *at);
    for (size_t g = 0; g < s->group_count; g++) {
        size_t begin = w->begins[g], n = w->begins[g + 1] - begin;
        for (size_t i = 0; i < n; i++) {
            size_t chosen = random == NULL ? i : (size_t)tomo_random_below(random, n);
            add_row(s, w->rows[begin + chosen], at + g * s->metrics);
        }
    }
    finish(w, at);
}

static void run_draw(void *argument, int64_t block, int worker) {
    const work *w = argument;
    (void)worker;
    size_t draw = w->first + (size_t)block;
    tomo_random random = tomo_random_seed(w->seed + draw * 0x9e3779b97f4a7c15u);
    compute(w, &random, w->drawn + draw * tomo_scored_statistics(w->sample));
}

/* ------------------------------------------------------------------------------ estimates */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The value at a fraction of a sorted list, between two of its members. */
static double quantile(const double *sorted, size_t n, double fraction) {
    double at = fraction * (double)(n - 1);
    size_t low = (size_t)at, high = low + 1 < n ? low + 1 : low;
    return sorted[low] + (at - (double)low) * (sorted[high] - sorted[low]);
}

static void estimate(double *list, size_t n, tomo_estimate *e) {
    size_t below = 0, above = 0;
    if (n == 0) {
        e->low = e->high = e->p = NAN;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        below += list[i] <= 0;
        above += list[i] >= 0;
    }
    qsort(list, n, sizeof *list, compare);
    e->low = quantile(list, n, 0.025);
    e->high = quantile(list, n, 0.975);
    /* The observed rows count as one draw, so that p is never 0. */
    e->p = fmin(1, 2 * (double)(1 + (below < above ? below : above)) / (double)(n + 1));
}

static void estimate_all(const work *w, size_t draws, double *list, tomo_estimate *estimates) {
    size_t statistics = tomo_scored_statistics(w->sample);
    for (size_t k = 0; k < statistics; k++) {
        for (size_t i = 0; i < draws; i++) list[i] = w->drawn[i * statistics + k];
        estimate(list, draws, &estimates[k]);
    }
}

/* Sorts rows by group, in the order of the file. */
static void order_rows(work *w) {
    const tomo_scored *s = w->sample;
    size_t used = 0;
    for (size_t g = 0; g < s->group_count; g++) {
        w->begins[g] = used;
        for (size_t i = 0; i < s->rows; i++) {
            if (s->groups[i] == (int)g) w->rows[used++] = i;
        }
    }
    w->begins[s->group_count] = used;
}

static tomo_status run_draws(work *w, tomo_pool *pool, const tomo_hooks *hooks, size_t draws,
                             tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (w->first = 0; w->first < draws && status == TOMO_OK; w->first += DRAWS_A_STEP) {
        size_t left = draws - w->first;
        status = tomo_progress(hooks, "drawing rows anew", (int64_t)w->first, (int64_t)draws, err);
        if (status == TOMO_OK)
            tomo_pool_run(pool, (int64_t)(left < DRAWS_A_STEP ? left : DRAWS_A_STEP), run_draw, w);
    }
    return status;
}

tomo_status tomo_bootstrap(tomo_pool *pool, const tomo_hooks *hooks, const tomo_scored *sample, size_t draws,
                           uint64_t seed, tomo_estimate *estimates, tomo_error *err) {
    size_t statistics = tomo_scored_statistics(sample), doubles = 0;
    tomo_status status = TOMO_OK;
    double *list = NULL;
    work w = {.sample = sample, .seed = seed};
    if (!tomo_size_mul(draws + 1, statistics, &doubles)) return tomo_fail_memory(err, "bootstrap", SIZE_MAX);
    w.rows = calloc(sample->rows + 1, sizeof *w.rows);
    w.begins = calloc(sample->group_count + 1, sizeof *w.begins);
    w.drawn = calloc(doubles, sizeof *w.drawn);
    list = calloc(draws + 1, sizeof *list);
    if (w.rows == NULL || w.begins == NULL || w.drawn == NULL || list == NULL) {
        status = tomo_fail_memory(err, "bootstrap", doubles * sizeof *w.drawn);
        goto done;
    }
    order_rows(&w);
    compute(&w, NULL, w.drawn);
    for (size_t k = 0; k < statistics; k++) estimates[k].mean = w.drawn[k];
    status = run_draws(&w, pool, hooks, draws, err);
    if (status == TOMO_OK) estimate_all(&w, draws, list, estimates);
done:
    free(w.rows);
    free(w.begins);
    free(w.drawn);
    free(list);
    return status;
}
