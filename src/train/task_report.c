/* task_report.c - scans and their texts: features through the connector into the language model, which learns
 * the answer's tokens. */
#include "base/clock.h"
#include "base/file.h"
#include "model/context.h"
#include "tensor/loss.h"
#include "train/feature_cache.h"
#include "train/render.h"
#include "train/task.h"

#include <stdlib.h>
#include <string.h>

/* Data sets up to this size are rendered once and kept; larger ones sample by sample. */
#define KEPT_TEXTS 20000

typedef struct report_task {
    tomo_task base;
    tomo_trainee *trainee; /* the run's */
    const tomo_model *model;
    tomo_exec reader; /* of the encoder: its arena is reset whenever features are computed */
    tomo_volume_options volume;
    tomo_dataset *data[TOMO_SPLITS];
    tomo_rendered *texts[TOMO_SPLITS]; /* [samples], or NULL: too many */
    tomo_rendered *slots;              /* [slots]: of this step, where texts are not kept */
    tomo_feature_cache *cache;
    tomo_features *features;          /* [batch]: read for this pass */
    const tomo_features **used;       /* [batch]: of this pass, out of `features` or of `held` */
    tomo_features *held[TOMO_SPLITS]; /* [samples]: kept in memory while there is room for more */
    double room;                      /* bytes left for them */
    bool *missing[TOMO_SPLITS];       /* [samples]: scans that could not be read, told once */
    /* One pass, at its largest: */
    int64_t most_tokens, *starts, *places;
    int32_t *ids, *labels;
    const tomo_rendered **chosen; /* [batch] */
} report_task;

/* --------------------------------------------------------------------------- rendering */

static tomo_status render(report_task *t, tomo_split split, tomo_pick pick, tomo_rendered *out,
                          tomo_error *err) {
    const tomo_recipe_data *d = &t->base.stage->data;
    tomo_render_options options = {.instruction = d->instruction, .max_length = d->max_length};
    if (d->m3d_prompts) {
        options.instruction =
            tomo_m3d_prompts[tomo_m3d_prompt_draw(t->base.seed, (uint64_t)pick.epoch, pick.index)];
    }
    return tomo_sample_render(t->model, tomo_dataset_at(t->data[split], pick.index), &options, out, err);
}

static tomo_status report_weigh(tomo_task *task, tomo_split split, tomo_pick pick, int64_t slot,
                                int64_t *weight, tomo_error *err) {
    report_task *t = (report_task *)task;
    tomo_status status = TOMO_OK;
    if (t->texts[split] == NULL) status = render(t, split, pick, &t->slots[slot], err);
    *weight = 0;
    if (status != TOMO_OK) return status;
    const tomo_rendered *r = t->texts[split] == NULL ? &t->slots[slot] : &t->texts[split][pick.index];
    *weight = (int64_t)r->labelled;
    return TOMO_OK;
}

/* Renders every text, to keep it or to know the longest. */
static tomo_status render_all(report_task *t, tomo_split split, tomo_error *err) {
    size_t count = t->base.samples[split];
    bool keep = count <= KEPT_TEXTS && !t->base.stage->data.m3d_prompts;
    tomo_rendered one = {0};
    tomo_status status = TOMO_OK;
    if (keep && (t->texts[split] = calloc(count + 1, sizeof *t->texts[split])) == NULL) {
        return tomo_fail_memory(err, "texts", count * sizeof one);
    }
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        tomo_rendered *out = keep ? &t->texts[split][i] : &one;
        status = render(t, split, (tomo_pick){0, i}, out, err);
        if (status == TOMO_OK && (int64_t)out->count > t->most_tokens) t->most_tokens = (int64_t)out->count;
        if (status == TOMO_OK && i % 1000 == 0) {
            status = tomo_progress(&t->base.context->hooks, "reading texts", (int64_t)i, (int64_t)count, err);
        }
    }
    /* Another instruction may be longer. */
    if (t->base.stage->data.m3d_prompts) t->most_tokens += 64;
    tomo_rendered_free(&one);
    return status;
}

/* ---------------------------------------------------------------------------- features */

/* Reads the features of pick i of the pass into features[i]; false (and told once): the scan is gone. */
static tomo_status read_features(report_task *t, const tomo_pass *pass, int64_t i,
                                 const tomo_augmentation *augmentation, bool *there, tomo_error *err) {
    const tomo_pick *pick = &pass->picks[i];
    const tomo_sample *sample = tomo_dataset_at(t->data[pass->split], pick->index);
    tomo_error failure = {0};
    tomo_feature_cache *cache = tomo_augmentation_is_none(augmentation) ? t->cache : NULL;
    tomo_status status = tomo_features_get(cache, t->model, &t->reader, sample->scan, &t->volume,
                                           augmentation, &t->features[i], &failure);
    *there = status == TOMO_OK;
    if (status == TOMO_OK) return TOMO_OK;
    if (status == TOMO_E_MEMORY || status == TOMO_E_CANCELLED) {
        if (err != NULL) *err = failure;
        return status;
    }
    if (!t->missing[pass->split][pick->index]) {
        tomo_log(&t->base.context->hooks, TOMO_LOG_WARNING, "left out: %s", failure.message);
    }
    t->missing[pass->split][pick->index] = true;
    return TOMO_OK;
}

/* used[i] = the features of pick i of the pass, or NULL. */
static tomo_status find_features(report_task *t, const tomo_pass *pass, int64_t i, tomo_error *err) {
    const tomo_pick *pick = &pass->picks[i];
    tomo_augmentation augmentation = {0};
    if (t->base.stage->augment && pass->split == TOMO_SPLIT_TRAIN) {
        augmentation = tomo_augmentation_draw(t->base.seed, (uint64_t)pick->epoch, pick->index);
    }
    bool plain = tomo_augmentation_is_none(&augmentation), there;
    tomo_features *held = &t->held[pass->split][pick->index];
    t->used[i] = plain && held->values != NULL ? held : NULL;
    if (t->used[i] != NULL) return TOMO_OK;
    tomo_status status = read_features(t, pass, i, &augmentation, &there, err);
    if (status != TOMO_OK || !there) return status;
    tomo_features *f = &t->features[i];
    t->used[i] = f;
    double bytes = (double)(f->layers * f->kept_count * f->grid[0] * f->grid[1] * f->width) * sizeof(float);
    if (plain && bytes <= t->room) {
        t->room -= bytes;
        *held = *f;
        *f = (tomo_features){0};
        t->used[i] = held;
    }
    return TOMO_OK;
}

/* -------------------------------------------------------------------------------- pass */

/* Puts the texts one behind the other; labels become what the logits at a place predict. False: no label. */
static void pack(report_task *t, int64_t count) {
    t->starts[0] = 0;
    for (int64_t i = 0; i < count; i++) {
        const tomo_rendered *r = t->chosen[i];
        int64_t start = t->starts[i], n = (int64_t)r->count;
        memcpy(t->ids + start, r->ids, r->count * sizeof *t->ids);
        for (int64_t k = 0; k + 1 < n; k++) t->labels[start + k] = r->labels[k + 1];
        t->labels[start + n - 1] = TOMO_LABEL_NONE;
        t->starts[i + 1] = start + n;
    }
}

/* Visual tokens of sample i in place of its placeholders. */
static tomo_tensor *place_scan(report_task *t, tomo_tensor *x, int64_t i, const tomo_features *f,
                               tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    int64_t shape[] = {f->layers, f->kept_count, f->grid[0], f->grid[1], f->width}, count = 0;
    tomo_tensor features = tomo_tensor_over_const(f->values, 5, shape);
    tomo_tape *tape = exec->tape;
    if (!(t->base.stage->parts & TOMO_PART_CONNECTOR)) exec->tape = NULL;
    tomo_tensor *tokens = tomo_connector_forward(t->model->connector, exec, &features, f->kept, f->slices);
    exec->tape = tape;
    for (int64_t k = t->starts[i]; k < t->starts[i + 1]; k++) {
        if (t->ids[k] == t->model->image_id) t->places[count++] = k;
    }
    if (tokens != NULL && count != tokens->shape[0]) {
        (void)tomo_fail(err, TOMO_E_HEADER,
                        "a text has %lld places for %lld visual tokens; data.max_length is too small",
                        (long long)count, (long long)tokens->shape[0]);
        return NULL;
    }
    return tomo_op_replace_rows(exec, x, tokens, t->places);
}

/* Samples 0 .. count - 1 of t->chosen with used[at[i]]. */
static tomo_status run_networks(report_task *t, int64_t count, const int64_t *at, double scale, double *sum,
                                tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    tomo_error failure = {0};
    tomo_arena_reset(exec->arena);
    pack(t, count);
    exec->tape = scale != 0 ? &t->base.tape : NULL;
    tomo_tensor *x = tomo_decoder_embed(t->model->decoder, exec, t->ids, t->starts[count]);
    double begun = tomo_seconds();
    for (int64_t i = 0; i < count && x != NULL; i++) x = place_scan(t, x, i, t->used[at[i]], &failure);
    double placed = tomo_seconds();
    tomo_tensor *hidden = tomo_decoder_forward_packed(t->model->decoder, exec, x, t->starts, NULL, count);
    *sum =
        tomo_loss_cross_entropy(exec, hidden, tomo_decoder_head(t->model->decoder), t->labels, (float)scale);
    t->base.connector_seconds = placed - begun;
    t->base.language_seconds = tomo_seconds() - placed;
    if (scale != 0 && hidden != NULL) tomo_tape_backward(exec);
    tomo_tape_clear(&t->base.tape);
    exec->tape = NULL;
    if (failure.status != TOMO_OK) {
        (void)tomo_exec_status(exec, NULL);
        if (err != NULL) *err = failure;
        return failure.status;
    }
    return tomo_exec_status(exec, err);
}

static tomo_status report_pass(tomo_task *task, const tomo_pass *pass, tomo_passed *passed, tomo_error *err) {
    report_task *t = (report_task *)task;
    int64_t count = 0, *at = t->places + t->most_tokens * t->base.stage->batch; /* behind the places */
    *passed = (tomo_passed){0};
    for (int64_t i = 0; i < pass->count; i++) {
        const tomo_rendered *r = t->texts[pass->split] == NULL ? &t->slots[pass->slot + i]
                                                               : &t->texts[pass->split][pass->picks[i].index];
        tomo_status status = find_features(t, pass, i, err);
        if (status != TOMO_OK) return status;
        if (t->used[i] == NULL || r->labelled == 0) continue;
        at[count] = i;
        t->chosen[count++] = r;
        passed->learned += (int64_t)r->labelled;
    }
    if (count == 0) return TOMO_OK;
    return run_networks(t, count, at, pass->scale, &passed->sum, err);
}

/* The longest text and the most slices, for every sample of a pass. */
static tomo_status report_reserve(tomo_task *task, tomo_error *err) {
    report_task *t = (report_task *)task;
    const tomo_connector_config *c = &t->model->config.connector;
    const tomo_model_config *m = &t->model->config;
    int64_t batch = task->stage->batch, T = tomo_connector_token_count(c);
    int64_t K = m->prune.max_slices < m->volume.max_slices ? m->prune.max_slices : m->volume.max_slices;
    if (t->most_tokens == 0) return TOMO_OK;
    tomo_features f = {c->layers, K, {c->grid[0], c->grid[1]}, c->encoder_width, K, NULL, NULL, NULL};
    size_t values = (size_t)(c->layers * K * c->grid[0] * c->grid[1] * c->encoder_width);
    tomo_rendered r = {.count = (size_t)t->most_tokens, .labelled = 1};
    f.kept = calloc((size_t)K, sizeof *f.kept);
    f.values = calloc(values, sizeof *f.values);
    r.ids = calloc(r.count + (size_t)T, sizeof *r.ids);
    r.labels = calloc(r.count + (size_t)T, sizeof *r.labels);
    int64_t *at = calloc((size_t)batch, sizeof *at);
    tomo_status status = TOMO_OK;
    if (f.kept == NULL || f.values == NULL || r.ids == NULL || r.labels == NULL || at == NULL) {
        status = tomo_fail_memory(err, "training", values * sizeof(float));
    } else {
        double sum;
        for (int64_t k = 0; k < K; k++) f.kept[k] = k;
        for (size_t k = 0; k < r.count; k++) {
            r.ids[k] = (int64_t)k < T ? t->model->image_id : 0;
            r.labels[k] = (int64_t)k < T ? TOMO_LABEL_NONE : 0;
        }
        t->used[0] = &f;
        for (int64_t i = 0; i < batch; i++) t->chosen[i] = &r;
        if ((int64_t)r.count >= T) status = run_networks(t, batch, at, 1, &sum, err);
    }
    tomo_features_free(&f);
    free(r.ids);
    free(r.labels);
    free(at);
    return status;
}

/* ----------------------------------------------------------------------------- opening */

static void report_free(tomo_task *task) {
    report_task *t = (report_task *)task;
    for (int s = 0; s < TOMO_SPLITS; s++) {
        for (size_t i = 0; t->texts[s] != NULL && i < task->samples[s]; i++)
            tomo_rendered_free(&t->texts[s][i]);
        free(t->texts[s]);
        for (size_t i = 0; t->held[s] != NULL && i < task->samples[s]; i++)
            tomo_features_free(&t->held[s][i]);
        free(t->held[s]);
        free(t->missing[s]);
        tomo_dataset_free(t->data[s]);
    }
    for (int64_t i = 0; t->slots != NULL && i < task->slots; i++) tomo_rendered_free(&t->slots[i]);
    for (int64_t i = 0; t->features != NULL && i < task->stage->batch; i++)
        tomo_features_free(&t->features[i]);
    free(t->slots);
    free(t->features);
    free(t->used);
    tomo_feature_cache_free(t->cache);
    tomo_exec_release(&t->reader);
    free(t->starts);
    free(t->places);
    free(t->ids);
    free(t->labels);
    free(t->chosen);
    free(t);
}

static tomo_status report_export(const tomo_task *task, const char *folder, tomo_error *err) {
    return tomo_trainee_export(((const report_task *)task)->trainee, folder, err);
}

static const tomo_task_kind kind = {report_weigh,  report_pass, report_reserve,
                                    report_export, report_free, "model"};

typedef struct verifying {
    const tomo_hooks *hooks;
    int64_t done;
} verifying;

static bool verified(void *user, const tomo_sample *first, const tomo_volume *volume,
                     const tomo_error *error) {
    verifying *v = user;
    (void)first;
    (void)volume;
    (void)error;
    return tomo_progress(v->hooks, "opening every scan once", ++v->done, 0, NULL) == TOMO_OK;
}

/* Nothing starts on broken data. */
static tomo_status check_data(report_task *t, tomo_dataset *data, const tomo_recipe_data *d, bool skip,
                              tomo_error *err) {
    verifying v = {&t->base.context->hooks, 0};
    tomo_status status = tomo_dataset_verify(data, &t->volume, verified, &v, err);
    if (status != TOMO_OK) return status;
    size_t wrong = tomo_dataset_wrong_count(data);
    if (wrong == 0) return TOMO_OK;
    char *table = NULL;
    status = tomo_dataset_wrong_table(data, &table, err);
    for (char *line = table, *end; status == TOMO_OK && line != NULL && *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        if (end != NULL) *end = '\0';
        tomo_log(&t->base.context->hooks, TOMO_LOG_WARNING, "%s", line);
        if (end == NULL) break;
    }
    free(table);
    if (status != TOMO_OK) return status;
    if (!skip) {
        return tomo_fail(
            err, TOMO_E_FORMAT,
            "%s: %zu samples cannot be used; they are listed above, and --skip-broken leaves them out",
            d->path, wrong);
    }
    tomo_dataset_drop_wrong(data);
    return TOMO_OK;
}

static tomo_status open_split(report_task *t, const tomo_task_options *o, tomo_split split, const char *name,
                              tomo_error *err) {
    const tomo_recipe_data *d = &o->stage->data;
    tomo_dataset_options options = {.split = name,
                                    .kinds = d->kinds,
                                    .captions = d->captions,
                                    .questions = d->questions,
                                    .limit = d->limit};
    tomo_status status = tomo_dataset_open(d->path, &options, &t->data[split], err);
    if (status == TOMO_OK) status = check_data(t, t->data[split], d, o->skip_broken, err);
    if (status != TOMO_OK) return status;
    t->base.samples[split] = tomo_dataset_count(t->data[split]);
    if (t->base.samples[split] == 0 && split == TOMO_SPLIT_TRAIN) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: no sample of the split \"%s\"", d->path, name);
    }
    t->missing[split] = calloc(t->base.samples[split] + 1, sizeof *t->missing[split]);
    t->held[split] = calloc(t->base.samples[split] + 1, sizeof *t->held[split]);
    if (t->missing[split] == NULL || t->held[split] == NULL) return tomo_fail_memory(err, d->path, 0);
    return render_all(t, split, err);
}

static tomo_status make_room(report_task *t, tomo_error *err) {
    size_t batch = (size_t)t->base.stage->batch, tokens = (size_t)t->most_tokens * batch;
    t->slots =
        calloc((size_t)(t->base.slots > t->base.stage->batch ? t->base.slots : t->base.stage->batch) + 1,
               sizeof *t->slots);
    t->features = calloc(batch, sizeof *t->features);
    t->used = calloc(batch, sizeof *t->used);
    t->room = t->base.stage->data.memory_gb * 1e9;
    t->starts = calloc(batch + 1, sizeof *t->starts);
    t->places = calloc(tokens + batch + 1, sizeof *t->places);
    t->ids = calloc(tokens + 1, sizeof *t->ids);
    t->labels = calloc(tokens + 1, sizeof *t->labels);
    t->chosen = calloc(batch, sizeof *t->chosen);
    bool good = t->slots != NULL && t->features != NULL && t->used != NULL && t->starts != NULL &&
                t->places != NULL && t->ids != NULL && t->labels != NULL && t->chosen != NULL;
    return good ? TOMO_OK : tomo_fail_memory(err, "training", tokens * 16);
}

static tomo_status open_cache(report_task *t, const tomo_task_options *o, tomo_error *err) {
    const tomo_recipe_data *d = &o->stage->data;
    char *own = tomo_path_join(o->run, "features");
    tomo_status status =
        own == NULL ? tomo_fail_memory(err, o->run, 0)
                    : tomo_feature_cache_open(d->cache != NULL ? d->cache : own, (int64_t)(d->cache_gb * 1e9),
                                              t->model, &t->base.context->hooks, &t->cache, err);
    free(own);
    return status;
}

static tomo_status list_parameters(report_task *t, tomo_trainee *trainee, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int i = 0; i < TOMO_PARTS && status == TOMO_OK; i++) {
        status = tomo_task_keep(&t->base, &trainee->parts[i], err);
        if (status == TOMO_OK && (t->base.stage->parts >> i & 1)) {
            status = tomo_task_train(&t->base, &trainee->parts[i], i, err);
        }
    }
    return status;
}

tomo_status tomo_task_report(const tomo_task_options *o, tomo_task **task, tomo_error *err) {
    report_task *t = calloc(1, sizeof *t);
    *task = NULL;
    if (t == NULL) return tomo_fail_memory(err, "training", sizeof *t);
    tomo_context *c = o->context;
    t->trainee = o->trainee;
    t->model = o->trainee->model;
    t->volume = (tomo_volume_options){.limits = c->limits};
    tomo_status status = tomo_task_init(&t->base, &kind, o, err);
    if (status == TOMO_OK) status = tomo_exec_init(&t->reader, c->kernels, c->pool, &c->hooks, 0, err);
    if (status == TOMO_OK) status = open_split(t, o, TOMO_SPLIT_TRAIN, o->stage->data.train, err);
    if (status == TOMO_OK && o->stage->data.validation != NULL && o->stage->evaluate_every > 0) {
        status = open_split(t, o, TOMO_SPLIT_VALIDATION, o->stage->data.validation, err);
    }
    if (status == TOMO_OK && o->stage->evaluate_every > 0 && t->base.samples[TOMO_SPLIT_VALIDATION] == 0) {
        tomo_log(&c->hooks, TOMO_LOG_WARNING,
                 "stage %s: nothing to evaluate on: no sample of the split \"%s\"", o->stage->name,
                 o->stage->data.validation != NULL ? o->stage->data.validation : "");
    }
    if (status == TOMO_OK) status = make_room(t, err);
    if (status == TOMO_OK) status = open_cache(t, o, err);
    if (status == TOMO_OK) status = list_parameters(t, o->trainee, err);
    if (status != TOMO_OK) {
        tomo_task_free(&t->base);
        return status;
    }
    *task = &t->base;
    return TOMO_OK;
}
