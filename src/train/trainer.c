#include "train/trainer.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/size.h"
#include "model/context.h"
#include "train/order.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One stage at work. */
typedef struct loop {
    const tomo_trainer *t;
    const tomo_stage *stage;
    tomo_task *task;
    tomo_position *at;
    tomo_pool *pool;
    const tomo_hooks *hooks;
    tomo_optimizer optimizer;
    tomo_schedule schedule;
    int64_t steps, per_step; /* samples of a step, in all processes */
    tomo_order order;        /* of epoch `epoch` */
    tomo_order in_turn;      /* of the validation samples */
    int64_t epoch;
    tomo_pick *picks; /* [slots]: this process's share of the step */
    int64_t *weights; /* [slots] */
    int64_t count;    /* of picks */
    double *rates;    /* [trained] */
    double started, validation;
    int64_t first_step;
    bool cancelled, reserved;
} loop;

int64_t tomo_stage_steps(const tomo_stage *s, size_t samples) {
    if (s->steps > 0) return s->steps;
    double steps = ceil(s->epochs * (double)samples / (double)(s->batch * s->accumulation));
    return steps < 1 ? 1 : (int64_t)steps;
}

/* ------------------------------------------------------------------------- checkpoints */

/* A disk that is full does not end a run: the checkpoint before stays, and the run says so. */
static bool save(loop *l, char *folder, bool with_optimizer) {
    tomo_error failure = {0};
    tomo_trained kept = l->task->kept;
    kept.optimizer = with_optimizer ? &l->optimizer : NULL;
    tomo_status status = folder == NULL ? tomo_fail_memory(&failure, "checkpoint", 0)
                                        : tomo_state_write(folder, l->at, &kept, &failure);
    if (status != TOMO_OK) {
        tomo_log(l->hooks, TOMO_LOG_WARNING, "no checkpoint at step %lld, the one before stays: %s",
                 (long long)l->at->step, failure.message);
    }
    free(folder);
    return status == TOMO_OK;
}

static void checkpoint(loop *l) {
    if (l->t->parallel->rank != 0) return;
    (void)save(l, tomo_checkpoint_folder(l->t->recipe, l->at->stage, l->at->step), true);
    tomo_checkpoint_prune(l->t->recipe, l->stage->keep);
    tomo_error failure = {0};
    if (l->t->metrics != NULL && tomo_metrics_draw(l->t->metrics, &failure) != TOMO_OK) {
        tomo_log(l->hooks, TOMO_LOG_WARNING, "%s", failure.message);
    }
}

/* ----------------------------------------------------------------------------- samples */

/* Sample number `number` of the stage, counted from 0 through all epochs. */
static tomo_pick pick_number(loop *l, int64_t number) {
    int64_t samples = (int64_t)l->task->samples[TOMO_SPLIT_TRAIN], epoch = number / samples;
    if (epoch != l->epoch) {
        uint64_t seed = l->t->recipe->seed + 1000003u * (uint64_t)l->at->stage;
        tomo_order_draw(&l->order, seed, (uint64_t)epoch);
        l->epoch = epoch;
    }
    return (tomo_pick){epoch, l->order.at[number % samples]};
}

/* What of `count` samples is this process's: every ranks-th one, or a run of them where samples of one scan
 * stand together. */
typedef struct portion {
    int64_t first, end, step;
} portion;

static portion portion_of(const loop *l, int64_t count) {
    int64_t rank = l->t->parallel->rank, ranks = l->t->parallel->ranks;
    if (l->stage->data.together == 1) return (portion){rank, count, ranks};
    int64_t each = tomo_pieces(count, ranks), first = rank * each < count ? rank * each : count;
    return (portion){first, first + each < count ? first + each : count, 1};
}

/* This process's samples of the next step. */
static tomo_status choose(loop *l, tomo_error *err) {
    int64_t first = l->at->step * l->per_step;
    portion mine = portion_of(l, l->per_step);
    l->count = 0;
    for (int64_t i = mine.first; i < mine.end; i += mine.step) {
        int64_t slot = l->count++;
        l->picks[slot] = pick_number(l, first + i);
        tomo_status status =
            l->task->kind->weigh(l->task, TOMO_SPLIT_TRAIN, l->picks[slot], slot, &l->weights[slot], err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

/* -------------------------------------------------------------------------------- step */

/* What a step came to, summed over processes. */
typedef struct outcome {
    double loss, norm;
    int64_t tokens;
    bool skipped;
} outcome;

/* Micro-batches of this process: each contributes scale times its sum of losses. *sum is what their losses
 * come to, *planned and *learned how many losses were expected and summed. micros: batches of all processes.
 */
static tomo_status learn(loop *l, double tokens, double micros, double values[3], tomo_error *err) {
    int64_t batch = l->stage->batch;
    for (int64_t first = 0; first < l->count; first += batch) {
        int64_t count = l->count - first < batch ? l->count - first : batch;
        double weight = 0;
        tomo_passed passed;
        for (int64_t i = first; i < first + count; i++) weight += (double)l->weights[i];
        double divisor = l->stage->normalisation == TOMO_TOKEN_MEAN ? tokens : weight * micros;
        if (divisor == 0) continue;
        tomo_pass pass = {TOMO_SPLIT_TRAIN, l->picks + first, count, first, 1 / divisor};
        tomo_status status = l->task->kind->pass(l->task, &pass, &passed, err);
        if (status != TOMO_OK) return status;
        values[0] += passed.sum / divisor;
        values[1] += weight;
        values[2] += (double)passed.learned;
    }
    return TOMO_OK;
}

static void scale_rates(loop *l) {
    double factor = tomo_schedule_factor(&l->schedule, l->at->step);
    for (size_t i = 0; i < l->task->trained.count; i++)
        l->rates[i] = l->stage->rates[l->task->parts[i]] * factor;
}

/* Forward, backward, sum, clip, update. */
static tomo_status step(loop *l, outcome *out, tomo_error *err) {
    double shared[2] = {0, 0}, values[3] = {0, 0, 0}; /* shared: tokens, batches */
    tomo_status status = tomo_parallel_agree(l->t->parallel, choose(l, err), err);
    if (status != TOMO_OK) return status;
    for (int64_t i = 0; i < l->count; i++) shared[0] += (double)l->weights[i];
    shared[1] = (double)tomo_pieces(l->count, l->stage->batch);
    tomo_parallel_sum(l->t->parallel, shared, 2);
    status = tomo_parallel_agree(l->t->parallel, learn(l, shared[0], shared[1], values, err), err);
    if (status != TOMO_OK) return status;
    tomo_parallel_sum(l->t->parallel, values, 3);
    tomo_parallel_sum_gradients(l->t->parallel, &l->task->trained);
    /* Samples that could not be read count as if they had not been drawn. */
    double share = values[2] > 0 ? values[1] / values[2] : 1;
    if (share != 1) tomo_optimizer_scale(&l->optimizer, l->pool, share);
    out->loss = values[0] * share;
    out->tokens = (int64_t)values[2];
    out->norm = tomo_optimizer_gradient_norm(&l->optimizer, l->pool);
    out->skipped = out->tokens == 0 || !isfinite(out->loss) || !isfinite(out->norm);
    scale_rates(l);
    if (!out->skipped) {
        if (l->stage->max_norm > 0)
            tomo_optimizer_clip(&l->optimizer, l->pool, out->norm, l->stage->max_norm);
        tomo_optimizer_step(&l->optimizer, l->pool, l->rates);
    }
    tomo_optimizer_zero_gradients(&l->optimizer, l->pool);
    return TOMO_OK;
}

/* A loss that is no number costs a step; several in a row end the run, whose last checkpoint is before. */
static tomo_status judge(loop *l, const outcome *out, tomo_error *err) {
    if (!out->skipped) {
        l->at->skipped_in_row = 0;
        return TOMO_OK;
    }
    l->at->skipped++;
    l->at->skipped_in_row++;
    tomo_log(l->hooks, TOMO_LOG_WARNING, "step %lld was skipped: %s", (long long)l->at->step,
             out->tokens == 0 ? "no token of an answer is in it" : "its loss or gradient is no number");
    if (l->at->skipped_in_row < l->stage->nan_limit) return TOMO_OK;
    if (out->tokens == 0) {
        return tomo_fail(
            err, TOMO_E_USAGE,
            "stage %s: %lld steps in a row had no token of an answer; a larger data.max_length is "
            "wanted, which counts visual tokens and prompt too",
            l->stage->name, (long long)l->at->skipped_in_row);
    }
    return tomo_fail(
        err, TOMO_E_INTERNAL,
        "stage %s stopped at step %lld: %lld steps in a row had no usable loss; a lower learning rate "
        "is wanted",
        l->stage->name, (long long)l->at->step, (long long)l->at->skipped_in_row);
}

/* -------------------------------------------------------------------------- evaluation */

static tomo_status evaluate_share(loop *l, double values[2], tomo_error *err) {
    int64_t all = (int64_t)l->task->samples[TOMO_SPLIT_VALIDATION], batch = l->stage->batch, count = 0;
    int64_t most =
        l->stage->evaluate_samples > 0 && l->stage->evaluate_samples < all ? l->stage->evaluate_samples : all;
    portion mine = portion_of(l, most);
    tomo_order_in_turn(&l->in_turn, (size_t)most);
    for (int64_t i = mine.first; i < mine.end; i += mine.step) {
        int64_t weight;
        l->picks[count] = (tomo_pick){0, l->in_turn.at[i]};
        tomo_status status =
            l->task->kind->weigh(l->task, TOMO_SPLIT_VALIDATION, l->picks[count], count, &weight, err);
        count++;
        if (status == TOMO_OK && (count == batch || i + mine.step >= mine.end)) {
            tomo_passed passed;
            tomo_pass pass = {TOMO_SPLIT_VALIDATION, l->picks, count, 0, 0};
            status = l->task->kind->pass(l->task, &pass, &passed, err);
            values[0] += passed.sum;
            values[1] += (double)passed.learned;
            count = 0;
        }
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

/* Keeps the weights beside the checkpoints; the same answer for all processes. */
static bool save_best(loop *l) {
    double saved[1] = {0};
    if (l->t->parallel->rank == 0)
        saved[0] = save(l, tomo_checkpoint_best(l->t->recipe, l->at->stage), false) ? 1 : 0;
    tomo_parallel_sum(l->t->parallel, saved, 1);
    return saved[0] > 0;
}

/* The mean loss of the validation split; the best weights so far are kept. */
static tomo_status evaluate(loop *l, tomo_error *err) {
    double values[2] = {0, 0};
    tomo_status status = tomo_parallel_agree(l->t->parallel, evaluate_share(l, values, err), err);
    if (status != TOMO_OK) return status;
    tomo_parallel_sum(l->t->parallel, values, 2);
    l->validation = values[1] > 0 ? values[0] / values[1] : NAN;
    tomo_metric m = {.stage = l->stage->name,
                     .stage_index = l->at->stage,
                     .step = l->at->step,
                     .validation = true,
                     .loss = l->validation,
                     .norm = NAN,
                     .tokens = (int64_t)values[1],
                     .seconds = l->at->seconds};
    if (l->t->metrics != NULL) {
        tomo_error failure = {0};
        if (tomo_metrics_add(l->t->metrics, &m, &failure) != TOMO_OK)
            tomo_log(l->hooks, TOMO_LOG_WARNING, "%s", failure.message);
    }
    l->at->stale++;
    if (isfinite(l->validation) && (l->at->best_step == 0 || l->validation < l->at->best)) {
        tomo_position before = *l->at;
        l->at->best = l->validation;
        l->at->best_step = l->at->step;
        l->at->stale = 0;
        if (l->stage->keep_best && !save_best(l)) *l->at = before; /* the best that there is stays the best */
    }
    return TOMO_OK;
}

/* -------------------------------------------------------------------------------- loop */

static void tell(loop *l, const outcome *out, double seconds) {
    double rate = seconds > 0 ? (double)out->tokens / seconds : 0;
    int64_t done = l->at->step - l->first_step;
    double each = done > 0 ? (tomo_seconds() - l->started) / (double)done : 0;
    tomo_metric m = {l->stage->name, l->at->stage, l->at->step, false, out->skipped, out->loss,
                     l->rates[0],    out->norm,    out->tokens, rate,  seconds};
    tomo_train_progress p = {l->stage->name,
                             (int)l->at->stage + 1,
                             l->t->recipe->stage_count,
                             l->at->step,
                             l->steps,
                             (double)(l->at->step * l->per_step) / (double)l->task->samples[TOMO_SPLIT_TRAIN],
                             out->loss,
                             l->validation,
                             l->rates[0],
                             out->norm,
                             rate,
                             each * (double)(l->steps - l->at->step)};
    tomo_error failure = {0};
    if (l->t->metrics != NULL && tomo_metrics_add(l->t->metrics, &m, &failure) != TOMO_OK)
        tomo_log(l->hooks, TOMO_LOG_WARNING, "%s", failure.message);
    if (l->t->progress != NULL && !l->t->progress(l->t->user, &p)) l->cancelled = true;
    double stop[1] = {l->cancelled ? 1 : 0};
    tomo_parallel_sum(l->t->parallel, stop, 1);
    l->cancelled = stop[0] > 0;
}

static bool due(int64_t every, int64_t step) {
    return every > 0 && step % every == 0;
}

static tomo_status stopped(const loop *l, tomo_error *err) {
    return tomo_fail(err, TOMO_E_CANCELLED, "cancelled at step %lld of stage %s; --resume goes on there",
                     (long long)l->at->step, l->stage->name);
}

/* What is due after a step. An evaluation that is interrupted is still due in the checkpoint. */
static tomo_status end_turn(loop *l, tomo_error *err) {
    tomo_status status = l->at->evaluation_due ? evaluate(l, err) : TOMO_OK;
    bool interrupted = status == TOMO_E_CANCELLED;
    if (status != TOMO_OK && !interrupted) return status;
    l->at->evaluation_due = interrupted;
    bool last = l->at->step == l->steps;
    l->cancelled |= interrupted;
    if (last || l->cancelled || due(l->stage->checkpoint_every, l->at->step)) checkpoint(l);
    return l->cancelled ? stopped(l, err) : TOMO_OK;
}

static tomo_status one_turn(loop *l, tomo_error *err) {
    double start = tomo_seconds();
    outcome out = {0};
    tomo_status status = step(l, &out, err);
    /* While scans are read, weights are still those of the last step. */
    if (status == TOMO_E_CANCELLED && l->at->step > l->first_step) {
        if (!due(l->stage->checkpoint_every, l->at->step)) checkpoint(l);
        return stopped(l, err);
    }
    if (status != TOMO_OK) return status;
    double seconds = tomo_seconds() - start;
    l->at->step++;
    l->at->tokens += out.tokens;
    l->at->seconds += seconds;
    status = judge(l, &out, err);
    tell(l, &out, seconds);
    if (status != TOMO_OK) return status;
    l->at->evaluation_due = l->task->samples[TOMO_SPLIT_VALIDATION] > 0 &&
                            (l->at->step == l->steps || due(l->stage->evaluate_every, l->at->step));
    return end_turn(l, err);
}

/* The best weights in place of the last. */
static tomo_status take_best(loop *l, tomo_error *err) {
    if (!l->stage->keep_best || l->at->best_step == 0) return TOMO_OK;
    char *folder = tomo_checkpoint_best(l->t->recipe, l->at->stage);
    tomo_position position;
    if (folder == NULL) return tomo_fail_memory(err, "checkpoint", 0);
    tomo_status status = tomo_state_peek(folder, &position, err);
    if (status == TOMO_OK) status = tomo_state_read(folder, &l->task->kept, false, err);
    free(folder);
    return status;
}

static tomo_status make_orders(loop *l, tomo_error *err) {
    const tomo_task *t = l->task;
    size_t together = (size_t)l->stage->data.together;
    tomo_status status = tomo_order_create(t->samples[TOMO_SPLIT_TRAIN], together,
                                           t->scan_of[TOMO_SPLIT_TRAIN], &l->order, err);
    if (status != TOMO_OK) return status;
    return tomo_order_create(t->samples[TOMO_SPLIT_VALIDATION], together, t->scan_of[TOMO_SPLIT_VALIDATION],
                             &l->in_turn, err);
}

static tomo_status prepare(loop *l, const char *state, tomo_error *err) {
    const tomo_stage *s = l->stage;
    size_t samples = l->task->samples[TOMO_SPLIT_TRAIN];
    int64_t slots = l->task->slots > s->batch ? l->task->slots : s->batch;
    l->per_step = s->batch * s->accumulation;
    l->steps = tomo_stage_steps(s, samples);
    l->epoch = -1;
    l->validation = NAN;
    l->schedule = s->schedule;
    l->schedule.steps = l->steps;
    if (l->schedule.warmup < 0) l->schedule.warmup = (int64_t)ceil(s->warmup_ratio * (double)l->steps);
    l->picks = calloc((size_t)slots, sizeof *l->picks);
    l->weights = calloc((size_t)slots, sizeof *l->weights);
    l->rates = calloc(l->task->trained.count + 1, sizeof *l->rates);
    if (l->picks == NULL || l->weights == NULL || l->rates == NULL) {
        return tomo_fail_memory(err, "training", (size_t)slots * sizeof *l->picks);
    }
    tomo_status status = make_orders(l, err);
    if (status == TOMO_OK)
        status =
            tomo_optimizer_create(&s->adam, l->task->exec.kernels, &l->task->trained, &l->optimizer, err);
    tomo_trained kept = l->task->kept;
    if (l->at->step > 0) kept.optimizer = &l->optimizer;
    /* The start of a later stage has weights of fewer parts than the stage itself. */
    if (status == TOMO_OK && state != NULL) status = tomo_state_read(state, &kept, l->at->step == 0, err);
    if (status == TOMO_OK) status = l->task->kind->reserve(l->task, err);
    tomo_optimizer_zero_gradients(&l->optimizer, l->pool);
    return status;
}

tomo_status tomo_trainer_run(const tomo_trainer *t, const char *state, tomo_error *err) {
    loop l = {.t = t,
              .stage = t->stage,
              .task = t->task,
              .at = t->position,
              .pool = t->task->exec.pool,
              .hooks = &t->task->context->hooks,
              .first_step = t->position->step};
    tomo_status status = tomo_parallel_agree(t->parallel, prepare(&l, state, err), err);
    l.started = tomo_seconds();
    if (status == TOMO_OK && l.at->evaluation_due) status = end_turn(&l, err);
    while (status == TOMO_OK && l.at->step < l.steps &&
           (l.stage->patience == 0 || l.at->stale < l.stage->patience)) {
        status = one_turn(&l, err);
    }
    if (status == TOMO_OK) status = tomo_parallel_agree(t->parallel, take_best(&l, err), err);
    tomo_optimizer_free(&l.optimizer);
    tomo_order_free(&l.order);
    tomo_order_free(&l.in_turn);
    free(l.picks);
    free(l.weights);
    free(l.rates);
    return status;
}
