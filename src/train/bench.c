/* bench.c - a training step beside the forward passes that it is made of, at the sizes of a recipe. */
#include "base/clock.h"
#include "base/folder.h"
#include "model/context.h"
#include "model/machine.h"
#include "train/order.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>

#define MOST_REPEATS 99

typedef struct bench {
    tomo_recipe recipe;
    tomo_trainee trainee;
    tomo_task *task;
    tomo_optimizer optimizer;
    tomo_pick *picks;
    double *rates;
    const tomo_stage *stage;
} bench;

typedef struct times {
    double step[MOST_REPEATS], language[MOST_REPEATS], connector[MOST_REPEATS], ratio[MOST_REPEATS];
    int64_t tokens, learned;
} times;

/* One step of one micro-batch; with scale 0 the forward pass alone. */
static tomo_status one_pass(bench *b, double scale, double *seconds, tomo_passed *passed, tomo_error *err) {
    tomo_pass pass = {TOMO_SPLIT_TRAIN, b->picks, b->stage->batch, 0, scale};
    double start = tomo_seconds();
    for (int64_t i = 0; i < b->stage->batch; i++) {
        int64_t weight;
        tomo_status status = b->task->kind->weigh(b->task, TOMO_SPLIT_TRAIN, b->picks[i], i, &weight, err);
        if (status != TOMO_OK) return status;
    }
    tomo_status status = b->task->kind->pass(b->task, &pass, passed, err);
    if (status == TOMO_OK && scale != 0) {
        tomo_pool *pool = b->task->exec.pool;
        double norm = tomo_optimizer_gradient_norm(&b->optimizer, pool);
        tomo_optimizer_clip(&b->optimizer, pool, norm, b->stage->max_norm > 0 ? b->stage->max_norm : 1);
        tomo_optimizer_step(&b->optimizer, pool, b->rates);
        tomo_optimizer_zero_gradients(&b->optimizer, pool);
    }
    *seconds = tomo_seconds() - start;
    return status;
}

static tomo_status measure(bench *b, int repeats, times *t, tomo_error *err) {
    tomo_passed passed;
    double seconds;
    tomo_status status = one_pass(b, 1, &seconds, &passed, err); /* features are cached, memory is touched */
    for (int i = 0; i < repeats && status == TOMO_OK; i++) {
        status = one_pass(b, 0, &seconds, &passed, err);
        t->language[i] = b->task->language_seconds;
        t->connector[i] = b->task->connector_seconds;
        if (status == TOMO_OK) status = one_pass(b, 1e-3, &t->step[i], &passed, err);
        t->ratio[i] = t->step[i] / (2 * t->language[i] + 3 * t->connector[i]);
        t->learned = passed.learned;
        if (status == TOMO_OK) {
            status =
                tomo_progress(&b->task->context->hooks, "measuring a training step", i + 1, repeats, err);
        }
    }
    return status;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void add_row(cJSON *results, const char *name, const char *unit, double *values, int count) {
    cJSON *row = cJSON_CreateObject(), *quartiles = cJSON_CreateArray();
    qsort(values, (size_t)count, sizeof *values, by_value);
    for (int q = 1; q <= 3; q++) {
        cJSON_AddItemToArray(quartiles, cJSON_CreateNumber(values[(count - 1) * q / 4]));
    }
    cJSON_AddStringToObject(row, "name", name);
    cJSON_AddNumberToObject(row, "value", values[(count - 1) / 2]);
    cJSON_AddStringToObject(row, "unit", unit);
    cJSON_AddItemToObject(row, "quartiles", quartiles);
    cJSON_AddItemToArray(results, row);
}

static cJSON *describe(const bench *b, times *t, int repeats, int64_t peak) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddItemToObject(root, "machine", tomo_machine_describe(&b->task->exec));
    cJSON *results = cJSON_AddArrayToObject(root, "results");
    add_row(results, "step", "s", t->step, repeats);
    double rates[MOST_REPEATS];
    for (int i = 0; i < repeats; i++) rates[i] = (double)b->stage->batch / t->step[i];
    add_row(results, "samples_per_second", "1/s", rates, repeats);
    add_row(results, "language_forward", "s", t->language, repeats);
    add_row(results, "connector_forward", "s", t->connector, repeats);
    add_row(results, "step_over_2_language_3_connector", "", t->ratio, repeats);
    double rss = (double)peak / 1048576, learned = (double)t->learned;
    add_row(results, "peak_rss", "MiB", &rss, 1);
    add_row(results, "learned_tokens", "tokens", &learned, 1);
    return root;
}

static tomo_status open_bench(tomo_context *context, bench *b, tomo_error *err) {
    const tomo_recipe *r = &b->recipe;
    for (int i = 0; i < r->stage_count; i++) {
        if (r->stages[i].kind == TOMO_STAGE_REPORT) b->stage = &r->stages[i];
    }
    if (b->stage == NULL) {
        return tomo_fail(err, TOMO_E_USAGE, "%s: has no stage that learns from scans", r->path);
    }
    char start[4096];
    (void)snprintf(start, sizeof start, "%s/start", r->run);
    tomo_trainee_options t = {r->model, r->precision, r->config, start};
    tomo_status status = tomo_trainee_open(context, &t, &b->trainee, err);
    if (status == TOMO_OK) status = tomo_trainee_prepare(&b->trainee, b->stage, 1, err);
    tomo_task_options o = {.context = context,
                           .stage = b->stage,
                           .trainee = &b->trainee,
                           .run = r->run,
                           .precision = r->trained_precision,
                           .seed = r->seed,
                           .slots = b->stage->batch};
    if (status == TOMO_OK) status = tomo_task_report(&o, &b->task, err);
    if (status == TOMO_OK) {
        status =
            tomo_optimizer_create(&b->stage->adam, context->kernels, &b->task->trained, &b->optimizer, err);
    }
    if (status != TOMO_OK) return status;
    b->picks = calloc((size_t)b->stage->batch, sizeof *b->picks);
    b->rates = calloc(b->task->trained.count + 1, sizeof *b->rates);
    if (b->picks == NULL || b->rates == NULL) return tomo_fail_memory(err, "bench", 0);
    size_t samples = b->task->samples[TOMO_SPLIT_TRAIN];
    tomo_order order;
    status = tomo_order_create(samples, (size_t)b->stage->data.together, b->task->scan_of[TOMO_SPLIT_TRAIN],
                               &order, err);
    if (status != TOMO_OK) return status;
    tomo_order_in_turn(&order, samples);
    for (int64_t i = 0; i < b->stage->batch; i++) b->picks[i].index = order.at[(size_t)i % samples];
    tomo_order_free(&order);
    return b->task->kind->reserve(b->task, err);
}

tomo_status tomo_train_bench(tomo_context *context, const char *recipe, int repeats, char **json,
                             tomo_error *err) {
    bench b = {0};
    times *t = calloc(1, sizeof *t);
    if (repeats == 0) repeats = 9;
    tomo_status status = t == NULL ? tomo_fail_memory(err, recipe, sizeof *t) : TOMO_OK;
    if (status == TOMO_OK && (repeats < 1 || repeats > MOST_REPEATS)) {
        status = tomo_fail(err, TOMO_E_USAGE, "bench: 1 to %d repeats are wanted", MOST_REPEATS);
    }
    if (status == TOMO_OK) status = tomo_recipe_read(recipe, &b.recipe, err);
    if (status == TOMO_OK) status = tomo_make_folders(b.recipe.run, err);
    if (status == TOMO_OK) status = open_bench(context, &b, err);
    if (status == TOMO_OK) status = measure(&b, repeats, t, err);
    if (status == TOMO_OK) {
        status = tomo_json_hand_out(describe(&b, t, repeats, tomo_machine_peak_rss()), json, err);
    }
    tomo_optimizer_free(&b.optimizer);
    tomo_task_free(b.task);
    tomo_trainee_free(&b.trainee);
    tomo_recipe_free(&b.recipe);
    free(b.picks);
    free(b.rates);
    free(t);
    return status;
}
