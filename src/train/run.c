/* run.c - a recipe from start to end: its folder, its stages, what comes out. */
#include "base/file.h"
#include "base/folder.h"
#include "base/size.h"
#include "model/context.h"
#include "train/trainer.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

typedef struct training_run {
    tomo_context *context;
    const tomo_train_options *options;
    tomo_recipe recipe;
    tomo_parallel parallel;
    tomo_trainee trainee;
    tomo_metrics *metrics;
    tomo_position position;
    char *state; /* the checkpoint to go on from, or NULL */
} training_run;

/* ------------------------------------------------------------------------------ folder */

/* What a killed run left half-written. */
static void sweep(const char *run) {
    static const char *const names[] = {"model.part", "encoder.part", "language.part"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char *path = tomo_path_join(run, names[i]);
        if (path != NULL) tomo_folder_remove(path);
        free(path);
    }
}

/* A best state that was cut off between its two renames is put back. */
static void mend(const training_run *r) {
    for (int i = 0; i < r->recipe.stage_count; i++) {
        char best[4096], old[4096];
        (void)snprintf(best, sizeof best, "%s/checkpoints/best-%02d", r->recipe.run, i);
        (void)snprintf(old, sizeof old, "%s/checkpoints/best-%02d.old", r->recipe.run, i);
        if (!tomo_path_exists(best) && tomo_path_exists(old)) (void)rename(old, best);
    }
}

/* Weights that were drawn for a run that was then refused: the next try may ask for others. */
static void remove_starts(const char *run) {
    DIR *stream = opendir(run);
    if (stream == NULL) return;
    for (const struct dirent *e; (e = readdir(stream)) != NULL;) {
        char *path = strncmp(e->d_name, "start", 5) == 0 ? tomo_path_join(run, e->d_name) : NULL;
        if (path != NULL) tomo_folder_remove(path);
        free(path);
    }
    (void)closedir(stream);
}

static tomo_status check_begun(training_run *r, const char *copy, tomo_error *err) {
    cJSON *begun = NULL;
    tomo_status status = tomo_json_open(copy, &begun, err);
    if (status == TOMO_OK) status = tomo_recipe_same(&r->recipe, begun, err);
    cJSON_Delete(begun);
    return status;
}

/* A new run, or one to go on with. */
static tomo_status open_folder(training_run *r, tomo_error *err) {
    const char *run = r->recipe.run;
    bool resume = r->options->resume;
    char *copy = tomo_path_join(run, "recipe.json"), *checkpoints = tomo_path_join(run, "checkpoints");
    tomo_status status = copy == NULL || checkpoints == NULL ? tomo_fail_memory(err, run, 0) : TOMO_OK;
    if (status == TOMO_OK && tomo_path_exists(copy)) {
        status = resume ? check_begun(r, copy, err)
                        : tomo_fail(err, TOMO_E_IO,
                                    "%s: holds a run already; --resume goes on with it, or another "
                                    "folder is wanted",
                                    run);
    } else if (status == TOMO_OK) {
        status = tomo_make_folders(checkpoints, err);
    }
    if (status == TOMO_OK && r->parallel.rank == 0) {
        if (!tomo_path_exists(copy)) remove_starts(run);
        sweep(run);
        mend(r);
    }
    free(copy);
    free(checkpoints);
    return status;
}

static tomo_status find_state(training_run *r, tomo_error *err) {
    r->position = (tomo_position){.seed = r->recipe.seed};
    if (!r->options->resume) return TOMO_OK;
    tomo_position found;
    tomo_status status = tomo_checkpoint_newest(&r->recipe, &r->context->hooks, &r->state, &found, err);
    if (status == TOMO_OK && r->state != NULL) r->position = found;
    return status;
}

/* ------------------------------------------------------------------------------ stages */

static tomo_status open_task(training_run *r, const tomo_stage *stage, tomo_task **task, tomo_error *err) {
    int64_t per_step = stage->batch * stage->accumulation, ranks = r->parallel.ranks;
    char start[4096], rank[32] = ""; /* each process draws its own, all the same */
    if (r->parallel.rank > 0) (void)snprintf(rank, sizeof rank, "-rank%d", r->parallel.rank);
    (void)snprintf(start, sizeof start, "%s/start-%02d%s", r->recipe.run, (int)r->position.stage, rank);
    if (stage->kind == TOMO_STAGE_CONTRASTIVE && per_step / ranks < 2) {
        return tomo_fail(
            err, TOMO_E_USAGE,
            "%s: stage %s: %lld samples a step for %lld processes; each tells its own apart, so at least "
            "two for each are wanted",
            r->recipe.path, stage->name, (long long)per_step, (long long)ranks);
    }
    tomo_task_options o = {.context = r->context,
                           .stage = stage,
                           .trainee = &r->trainee,
                           .config = r->recipe.config,
                           .run = r->recipe.run,
                           .start = start,
                           .precision = r->recipe.trained_precision,
                           .seed = r->recipe.seed + 7919u * (uint64_t)r->position.stage,
                           .slots = tomo_pieces(per_step, r->parallel.ranks),
                           .skip_broken = r->options->skip_broken};
    if (stage->kind == TOMO_STAGE_LANGUAGE) return tomo_task_language(&o, task, err);
    if (stage->kind == TOMO_STAGE_CONTRASTIVE) return tomo_task_contrastive(&o, task, err);
    tomo_status status = TOMO_OK;
    if (r->trainee.model == NULL) {
        (void)snprintf(start, sizeof start, "%s/start%s", r->recipe.run, rank);
        tomo_trainee_options t = {r->recipe.model, r->recipe.precision, r->recipe.config, start};
        status = tomo_trainee_open(r->context, &t, &r->trainee, err);
    }
    /* Parts of the stages before are trained weights too. */
    for (int64_t i = 0; i <= r->position.stage && status == TOMO_OK; i++) {
        const tomo_stage *s = &r->recipe.stages[i];
        if (s->kind == TOMO_STAGE_REPORT) {
            status = tomo_trainee_prepare(&r->trainee, s, r->recipe.seed + (uint64_t)i + 1, err);
        }
    }
    return status == TOMO_OK ? tomo_task_report(&o, task, err) : status;
}

/* What the stage made, as a folder; then the state at the start of the next stage. */
static tomo_status finish_stage(training_run *r, tomo_task *task, tomo_error *err) {
    char *product = tomo_path_join(r->recipe.run, task->kind->product), *next = NULL;
    double written[1] = {0}; /* by rank 0 */
    tomo_status status = product == NULL ? tomo_fail_memory(err, r->recipe.run, 0) : TOMO_OK;
    r->position.stage++;
    r->position.step = 0;
    r->position.best_step = r->position.stale = r->position.skipped_in_row = 0;
    r->position.best = 0;
    if (status == TOMO_OK) next = tomo_checkpoint_folder(&r->recipe, r->position.stage, 0);
    if (status == TOMO_OK && next == NULL) status = tomo_fail_memory(err, r->recipe.run, 0);
    if (status == TOMO_OK && r->parallel.rank == 0) {
        status = task->kind->export(task, product, err);
        tomo_error failure = {0};
        written[0] =
            status == TOMO_OK && tomo_state_write(next, &r->position, &task->kept, &failure) == TOMO_OK ? 1
                                                                                                        : 0;
        if (status == TOMO_OK && written[0] == 0) {
            tomo_log(&r->context->hooks, TOMO_LOG_WARNING, "no checkpoint between stages: %s",
                     failure.message);
        }
        if (r->metrics != NULL && tomo_metrics_draw(r->metrics, &failure) != TOMO_OK)
            tomo_log(&r->context->hooks, TOMO_LOG_WARNING, "%s", failure.message);
    }
    status = tomo_parallel_agree(&r->parallel, status, err);
    tomo_parallel_sum(&r->parallel, written, 1);
    free(r->state);
    r->state = NULL; /* what was learned is in memory all the same */
    if (written[0] > 0) {
        r->state = next;
        next = NULL;
    }
    free(next);
    free(product);
    return status;
}

/* From here on the folder holds a run: what was refused before leaves it free for another try. */
static tomo_status begin(training_run *r, tomo_error *err) {
    if (r->metrics != NULL || r->parallel.rank != 0) return TOMO_OK;
    tomo_status status = TOMO_OK;
    if (r->state == NULL) status = tomo_json_write(r->recipe.json, r->recipe.run, "recipe.json", err);
    if (status != TOMO_OK) return status;
    return tomo_metrics_open(r->recipe.run, r->state == NULL ? -1 : r->position.stage, r->position.step,
                             r->position.evaluation_due, &r->metrics, err);
}

static tomo_status run_stage(training_run *r, tomo_error *err) {
    const tomo_stage *stage = &r->recipe.stages[r->position.stage];
    tomo_task *task = NULL;
    tomo_status status = tomo_parallel_agree(&r->parallel, open_task(r, stage, &task, err), err);
    if (status == TOMO_OK) status = tomo_parallel_agree(&r->parallel, begin(r, err), err);
    if (status == TOMO_OK) {
        tomo_trainer t = {&r->recipe,       stage,           task, &r->parallel, r->metrics, &r->position,
                          r->options->step, r->options->user};
        /* A state of another kind of stage has nothing for this one. */
        bool usable =
            r->state != NULL && (r->position.step > 0 || r->position.stage == 0 ||
                                 (stage->kind == TOMO_STAGE_REPORT && stage[-1].kind == TOMO_STAGE_REPORT));
        status = tomo_trainer_run(&t, usable ? r->state : NULL, err);
    }
    if (status == TOMO_OK) status = finish_stage(r, task, err);
    tomo_task_free(task);
    return status;
}

static tomo_status run_all(training_run *r, tomo_error *err) {
    tomo_status status = tomo_parallel_agree(&r->parallel, open_folder(r, err), err);
    if (status == TOMO_OK) status = tomo_parallel_agree(&r->parallel, find_state(r, err), err);
    if (status == TOMO_OK && r->position.stage >= r->recipe.stage_count) {
        tomo_log(&r->context->hooks, TOMO_LOG_WARNING, "%s: the run is finished", r->recipe.run);
    }
    while (status == TOMO_OK && r->position.stage < r->recipe.stage_count) status = run_stage(r, err);
    return status;
}

tomo_status tomo_train(tomo_context *context, const char *recipe, const tomo_train_options *options,
                       tomo_error *err) {
    static const tomo_train_options none = {0};
    training_run *r = calloc(1, sizeof *r);
    if (r == NULL) return tomo_fail_memory(err, recipe, sizeof *r);
    r->context = context;
    r->options = options == NULL ? &none : options;
    r->parallel.ranks = 1;
    tomo_status status = tomo_recipe_read(recipe, &r->recipe, err);
    if (status == TOMO_OK) status = tomo_parallel_begin(&r->parallel, err);
    if (status == TOMO_OK) status = run_all(r, err);
    tomo_metrics_close(r->metrics);
    tomo_trainee_free(&r->trainee);
    tomo_parallel_end(&r->parallel);
    tomo_recipe_free(&r->recipe);
    free(r->state);
    free(r);
    return status;
}
