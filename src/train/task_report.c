/* task_report.c - scans and their texts: features through the connector into the language model, which learns
 * the answer's tokens. */
#include "base/clock.h"
#include "base/file.h"
#include "model/context.h"
#include "model/prompt.h"
#include "tensor/loss.h"
#include "train/feature_cache.h"
#include "train/feature_noise.h"
#include "train/order.h"
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
    tomo_features nothing;            /* what a model without image sees of a scan */
    tomo_features *features;          /* [batch]: read for this pass */
    const tomo_features **used;       /* [batch]: of this pass, out of `features` or of `held` */
    tomo_features *held[TOMO_SPLITS]; /* [scans]: kept in memory while there is room for more */
    double room;                      /* bytes left for them */
    bool *missing[TOMO_SPLITS];       /* [scans]: those that could not be read, told once */
    size_t scans[TOMO_SPLITS];
    int64_t most_tokens;
    /* What all texts begin with, up to the last placeholder (prefix_count 0: they differ there), and into how
     * many families a pass then falls at most. */
    int32_t *prefix;
    int64_t prefix_count, most_families;
    bool differ;
    /* One pass, at its largest: */
    const tomo_rendered **chosen;    /* [batch] */
    bool *joins;                     /* [batch]: shares scan and prefix with the one before it */
    int64_t sequences, families;     /* of this pass */
    int64_t *starts, *prefixes;      /* [2 batch + 1]: as ops.h has them */
    int64_t *heads, *scans_of_heads; /* [batch]: sequence of each family that holds the placeholders, and the
                                        sample whose scan goes there */
    int64_t *places;
    int32_t *ids, *labels;
    int64_t *positions;
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

/* Tokens up to the last placeholder. */
static int64_t prefix_length(const report_task *t, const tomo_rendered *r) {
    int64_t length = (int64_t)r->count;
    while (length > 0 && r->ids[length - 1] != t->model->image_id) length--;
    return length;
}

/* Whether two texts begin with the same tokens up to the last placeholder, of which nothing is learned, and
 * go on behind it. */
static bool same_prefix(const report_task *t, const tomo_rendered *a, const tomo_rendered *b) {
    int64_t length = prefix_length(t, a);
    if (length == 0 || length != prefix_length(t, b)) return false;
    if (length >= (int64_t)a->count || length >= (int64_t)b->count) return false;
    for (int64_t i = 0; i <= length; i++) {
        if (a->labels[i] != TOMO_LABEL_NONE || b->labels[i] != TOMO_LABEL_NONE) return false;
    }
    return memcmp(a->ids, b->ids, (size_t)length * sizeof *a->ids) == 0;
}

/* Keeps the prefix of the first text and compares the others with it. */
static tomo_status note_prefix(report_task *t, const tomo_rendered *r, tomo_error *err) {
    int64_t length = prefix_length(t, r);
    if (t->prefix == NULL) {
        t->prefix = calloc((size_t)length + 1, sizeof *t->prefix);
        if (t->prefix == NULL) return tomo_fail_memory(err, "texts", (size_t)length * sizeof *t->prefix);
        memcpy(t->prefix, r->ids, (size_t)length * sizeof *t->prefix);
        t->prefix_count = length;
    }
    if (!same_prefix(t, r, r) || length != t->prefix_count ||
        memcmp(r->ids, t->prefix, (size_t)length * sizeof *r->ids) != 0) {
        t->differ = true;
    }
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
        if (status == TOMO_OK) status = note_prefix(t, out, err);
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
    bool *missing = &t->missing[pass->split][t->base.scan_of[pass->split][pick->index]];
    if (!*missing) tomo_log(&t->base.context->hooks, TOMO_LOG_WARNING, "left out: %s", failure.message);
    *missing = true;
    return TOMO_OK;
}

static tomo_augmentation augmentation_of(const report_task *t, const tomo_pass *pass, int64_t i) {
    if (!t->base.stage->augment || pass->split != TOMO_SPLIT_TRAIN) return (tomo_augmentation){0};
    return tomo_augmentation_draw(t->base.seed, (uint64_t)pass->picks[i].epoch, pass->picks[i].index);
}

static int64_t values_of(const tomo_features *f) {
    return f->layers * f->kept_count * f->grid[0] * f->grid[1] * f->width;
}

/* used[i] = the features of pick i of the pass, or NULL; those of the pick before where it has the same scan
 * and neither is augmented. */
static tomo_status find_features(report_task *t, const tomo_pass *pass, int64_t i, tomo_error *err) {
    const size_t *scan_of = t->base.scan_of[pass->split];
    size_t scan = scan_of[pass->picks[i].index];
    tomo_augmentation augmentation = augmentation_of(t, pass, i), before = {0};
    if (i > 0) before = augmentation_of(t, pass, i - 1);
    bool plain = tomo_augmentation_is_none(&augmentation), there;
    t->used[i] = &t->nothing;
    if (!t->model->config.image) return TOMO_OK;
    bool again = i > 0 && scan == scan_of[pass->picks[i - 1].index] && tomo_augmentation_is_none(&before);
    tomo_features *held = &t->held[pass->split][scan];
    t->used[i] = plain && held->packed != NULL ? held : plain && again ? t->used[i - 1] : NULL;
    if (t->used[i] != NULL || (plain && again)) return TOMO_OK;
    tomo_status status = read_features(t, pass, i, &augmentation, &there, err);
    if (status != TOMO_OK || !there) return status;
    tomo_features *f = &t->features[i];
    t->used[i] = f;
    double bytes = (double)values_of(f) * sizeof *f->packed;
    if (plain && bytes <= t->room) {
        status = tomo_features_pack(f, err);
        if (status != TOMO_OK) return status;
        t->room -= bytes;
        *held = *f;
        *f = (tomo_features){0};
        t->used[i] = held;
    }
    return TOMO_OK;
}

/* -------------------------------------------------------------------------------- pass */

/* Adds tokens from .. to - 1 of a text as a sequence behind sequence `prefix` (-1: none); labels become what
 * the logits at a place predict. */
static void add_sequence(report_task *t, const tomo_rendered *r, int64_t from, int64_t to, int64_t prefix) {
    int64_t start = t->starts[t->sequences] - from;
    tomo_position_block block = tomo_prompt_positions(t->model, r->ids, r->count);
    for (int64_t k = from; k < to; k++) {
        t->ids[start + k] = r->ids[k];
        t->positions[start + k] = tomo_position_in(block, k);
        t->labels[start + k] = k + 1 < (int64_t)r->count ? r->labels[k + 1] : TOMO_LABEL_NONE;
    }
    t->prefixes[t->sequences++] = prefix;
    t->starts[t->sequences] = start + to;
}

/* Puts the texts one behind the other. Those that share scan and prefix are a family, which begins with the
 * prefix as a sequence of its own; nothing is learned there (same_prefix). */
static void pack(report_task *t, int64_t count) {
    t->sequences = t->families = 0;
    t->starts[0] = 0;
    for (int64_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && t->joins[end];) end++;
        int64_t head = t->sequences, shared = end - i > 1 ? prefix_length(t, t->chosen[i]) : 0;
        t->heads[t->families] = head;
        t->scans_of_heads[t->families++] = i;
        if (shared > 0) add_sequence(t, t->chosen[i], 0, shared, -1);
        for (; i < end; i++) {
            add_sequence(t, t->chosen[i], shared, (int64_t)t->chosen[i]->count, shared > 0 ? head : -1);
        }
    }
}

/* The features of pick i of the pass, in the arena where they are held packed: in training with noise, drawn
 * for each scan in each epoch. */
static const float *look_of(report_task *t, const tomo_pass *pass, int64_t i) {
    const tomo_pick *pick = &pass->picks[i];
    double amount = t->base.stage->feature_noise;
    tomo_features f = *t->used[i];
    if (f.packed != NULL) {
        int64_t count = values_of(&f);
        f.values = tomo_exec_alloc(&t->base.exec, count, sizeof *f.values);
        if (f.values == NULL) return NULL;
        t->base.exec.kernels->widen(f.values, f.packed, TOMO_BF16, count);
    }
    if (pass->split != TOMO_SPLIT_TRAIN || amount == 0) return f.values;
    uint64_t scan = t->base.scan_of[pass->split][pick->index];
    return tomo_feature_noise(&t->base.exec, &f, amount,
                              tomo_random_in_epoch(t->base.seed, (uint64_t)pick->epoch, scan));
}

/* Visual tokens of the scan of pick i in place of the placeholders of sequence `head`. */
static tomo_tensor *place_scan(report_task *t, const tomo_pass *pass, tomo_tensor *x, int64_t head, int64_t i,
                               tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    if (!t->model->config.image) return x;
    const tomo_features *f = t->used[i];
    const float *values = look_of(t, pass, i);
    if (values == NULL) return NULL;
    int64_t shape[] = {f->layers, f->kept_count, f->grid[0], f->grid[1], f->width}, count = 0;
    tomo_tensor features = tomo_tensor_over_const(values, 5, shape);
    tomo_tape *tape = exec->tape;
    if (!(t->base.stage->parts & TOMO_PART_CONNECTOR)) exec->tape = NULL;
    tomo_tensor *tokens =
        tomo_connector_forward(t->model->connector, exec, &features, f->kept, f->slices, f->slice_mm);
    exec->tape = tape;
    for (int64_t k = t->starts[head]; k < t->starts[head + 1]; k++) {
        if (t->ids[k] == t->model->image_id) t->places[count++] = k;
    }
    if (tokens != NULL && count != tokens->shape[0]) {
        (void)tomo_fail(err, TOMO_E_HEADER,
                        "%s: a text has %lld places for %lld visual tokens; data.max_length is too small",
                        tomo_dataset_at(t->data[pass->split], pass->picks[i].index)->scan, (long long)count,
                        (long long)tokens->shape[0]);
        return NULL;
    }
    return tomo_op_put_rows(exec, x, tokens, t->places);
}

/* Samples 0 .. count - 1 of t->chosen, which are picks at[i]; t->joins says which of them go together. */
static tomo_status run_networks(report_task *t, const tomo_pass *pass, int64_t count, const int64_t *at,
                                double *sum, tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    tomo_error failure = {0};
    tomo_arena_reset(exec->arena);
    pack(t, count);
    exec->tape = pass->scale != 0 ? &t->base.tape : NULL;
    tomo_tensor *x = tomo_decoder_embed(t->model->decoder, exec, t->ids, t->starts[t->sequences]);
    double begun = tomo_seconds();
    for (int64_t i = 0; i < t->families && x != NULL; i++)
        x = place_scan(t, pass, x, t->heads[i], at[t->scans_of_heads[i]], &failure);
    double placed = tomo_seconds();
    bool shared = t->sequences > count;
    tomo_tensor *hidden = tomo_decoder_forward_packed(
        t->model->decoder, exec, x, t->starts, shared ? t->prefixes : NULL, t->positions, t->sequences);
    *sum = tomo_loss_cross_entropy(exec, hidden, tomo_decoder_head(t->model->decoder), t->labels,
                                   (float)pass->scale);
    t->base.connector_seconds = placed - begun;
    t->base.language_seconds = tomo_seconds() - placed;
    if (pass->scale != 0 && hidden != NULL) tomo_tape_backward(exec);
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
    bool together = t->base.stage->data.together > 1;
    *passed = (tomo_passed){0};
    for (int64_t i = 0; i < pass->count; i++) {
        const tomo_rendered *r = t->texts[pass->split] == NULL ? &t->slots[pass->slot + i]
                                                               : &t->texts[pass->split][pass->picks[i].index];
        tomo_status status = find_features(t, pass, i, err);
        if (status != TOMO_OK) return status;
        if (t->used[i] == NULL || r->labelled == 0) continue;
        at[count] = i;
        t->joins[count] = together && count > 0 && t->used[i] == t->used[at[count - 1]] &&
                          same_prefix(t, t->chosen[count - 1], r);
        t->chosen[count++] = r;
        passed->learned += (int64_t)r->labelled;
    }
    if (count == 0) return TOMO_OK;
    tomo_status status = run_networks(t, pass, count, at, &passed->sum, err);
    passed->rows = t->starts[t->sequences];
    return status;
}

/* The most families that a pass can have. */
static tomo_status count_families(report_task *t, tomo_error *err) {
    const tomo_stage *s = t->base.stage;
    t->most_families = s->batch;
    if (s->data.together == 1 || s->augment || t->differ) return TOMO_OK;
    t->most_families = 1;
    for (int split = 0; split < TOMO_SPLITS; split++) {
        tomo_order order;
        tomo_status status = tomo_order_create(t->base.samples[split], (size_t)s->data.together,
                                               t->base.scan_of[split], &order, err);
        if (status != TOMO_OK) return status;
        int64_t most =
            t->base.samples[split] == 0 ? 0 : (int64_t)tomo_order_most_groups(&order, (size_t)s->batch);
        if (most > t->most_families) t->most_families = most;
        tomo_order_free(&order);
    }
    return TOMO_OK;
}

/* The longest text with what all texts begin with, or with placeholders alone. */
static void fill_longest(const report_task *t, tomo_rendered *r) {
    int64_t T = tomo_model_config_image_tokens(&t->model->config);
    bool known = !t->differ;
    for (size_t k = 0; k < r->count; k++) {
        bool head = (int64_t)k < (known ? t->prefix_count : T);
        r->ids[k] = !head ? 0 : known ? t->prefix[k] : t->model->image_id;
        r->labels[k] = head || (known && (int64_t)k == t->prefix_count) ? TOMO_LABEL_NONE : 0;
    }
}

/* The longest text and the most slices, for every sample of a pass, in as many families as there can be. */
static tomo_status report_reserve(tomo_task *task, tomo_error *err) {
    report_task *t = (report_task *)task;
    const tomo_connector_config *c = &t->model->config.connector;
    const tomo_model_config *m = &t->model->config;
    int64_t batch = task->stage->batch, T = tomo_model_config_image_tokens(m);
    int64_t K = tomo_model_config_most_slices(m);
    if (t->most_tokens == 0) return TOMO_OK;
    tomo_features f = {.layers = c->layers,
                       .kept_count = K,
                       .grid = {c->grid[0], c->grid[1]},
                       .width = c->encoder_width,
                       .slices = K,
                       .slice_mm = 1};
    size_t values = (size_t)values_of(&f);
    tomo_rendered r = {.count = (size_t)t->most_tokens, .labelled = 1};
    f.kept = calloc((size_t)K, sizeof *f.kept);
    f.packed = calloc(values, sizeof *f.packed); /* held features take more of the arena than others */
    r.ids = calloc(r.count + (size_t)T, sizeof *r.ids);
    r.labels = calloc(r.count + (size_t)T, sizeof *r.labels);
    int64_t *at = calloc((size_t)batch, sizeof *at);
    tomo_status status = TOMO_OK;
    if (f.kept == NULL || f.packed == NULL || r.ids == NULL || r.labels == NULL || at == NULL) {
        status = tomo_fail_memory(err, "training", values * sizeof(float));
    } else {
        double sum;
        tomo_pick first = {0};
        tomo_pass pass = {TOMO_SPLIT_TRAIN, &first, 1, 0, 1};
        for (int64_t k = 0; k < K; k++) f.kept[k] = k;
        fill_longest(t, &r);
        t->used[0] = &f;
        for (int64_t i = 0; i < batch; i++) {
            t->chosen[i] = &r;
            t->joins[i] = i > 0 && i * t->most_families / batch == (i - 1) * t->most_families / batch;
        }
        if ((int64_t)r.count >= T) status = run_networks(t, &pass, batch, at, &sum, err);
    }
    tomo_features_free(&f);
    free(r.ids);
    free(r.labels);
    free(at);
    return status;
}

/* ----------------------------------------------------------------------------- opening */

static int64_t slot_count(const report_task *t) {
    return t->base.slots > t->base.stage->batch ? t->base.slots : t->base.stage->batch;
}

static void report_free(tomo_task *task) {
    report_task *t = (report_task *)task;
    for (int s = 0; s < TOMO_SPLITS; s++) {
        for (size_t i = 0; t->texts[s] != NULL && i < task->samples[s]; i++)
            tomo_rendered_free(&t->texts[s][i]);
        free(t->texts[s]);
        for (size_t i = 0; t->held[s] != NULL && i < t->scans[s]; i++) tomo_features_free(&t->held[s][i]);
        free(t->held[s]);
        free(t->missing[s]);
        tomo_dataset_free(t->data[s]);
    }
    for (int64_t i = 0; t->slots != NULL && i < slot_count(t); i++) tomo_rendered_free(&t->slots[i]);
    for (int64_t i = 0; t->features != NULL && i < task->stage->batch; i++)
        tomo_features_free(&t->features[i]);
    free(t->slots);
    free(t->features);
    free(t->used);
    tomo_feature_cache_free(t->cache);
    tomo_exec_release(&t->reader);
    free(t->prefix);
    free(t->joins);
    free(t->starts);
    free(t->prefixes);
    free(t->heads);
    free(t->scans_of_heads);
    free(t->places);
    free(t->ids);
    free(t->labels);
    free(t->positions);
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
    size_t *scan_of = t->base.scan_of[split] = calloc(t->base.samples[split] + 1, sizeof *scan_of);
    if (scan_of == NULL) return tomo_fail_memory(err, d->path, 0);
    status = tomo_dataset_number_scans(t->data[split], scan_of, &t->scans[split], err);
    if (status != TOMO_OK) return status;
    t->missing[split] = calloc(t->scans[split] + 1, sizeof *t->missing[split]);
    t->held[split] = calloc(t->scans[split] + 1, sizeof *t->held[split]);
    if (t->missing[split] == NULL || t->held[split] == NULL) return tomo_fail_memory(err, d->path, 0);
    return render_all(t, split, err);
}

static tomo_status make_room(report_task *t, tomo_error *err) {
    size_t batch = (size_t)t->base.stage->batch, tokens = (size_t)t->most_tokens * batch;
    t->slots = calloc((size_t)slot_count(t) + 1, sizeof *t->slots);
    t->features = calloc(batch, sizeof *t->features);
    t->used = calloc(batch, sizeof *t->used);
    t->room = t->base.stage->data.memory_gb * 1e9;
    t->joins = calloc(batch, sizeof *t->joins);
    t->starts = calloc(2 * batch + 1, sizeof *t->starts);
    t->prefixes = calloc(2 * batch + 1, sizeof *t->prefixes);
    t->heads = calloc(batch, sizeof *t->heads);
    t->scans_of_heads = calloc(batch, sizeof *t->scans_of_heads);
    t->places = calloc(tokens + batch + 1, sizeof *t->places);
    t->ids = calloc(tokens + 1, sizeof *t->ids);
    t->labels = calloc(tokens + 1, sizeof *t->labels);
    t->positions = calloc(tokens + 1, sizeof *t->positions);
    t->chosen = calloc(batch, sizeof *t->chosen);
    bool good = t->slots != NULL && t->features != NULL && t->used != NULL && t->joins != NULL &&
                t->starts != NULL && t->prefixes != NULL && t->heads != NULL && t->scans_of_heads != NULL &&
                t->places != NULL && t->ids != NULL && t->labels != NULL && t->positions != NULL &&
                t->chosen != NULL;
    return good ? count_families(t, err) : tomo_fail_memory(err, "training", tokens * 16);
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
    if (status == TOMO_OK && !t->model->config.image && (o->stage->parts & TOMO_PART_CONNECTOR)) {
        status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                           "stage %s: trains the connector of a model that looks at no scan (prompt.image is "
                           "false); lora or language are wanted",
                           o->stage->name);
    }
    if (status == TOMO_OK) status = tomo_exec_init(&t->reader, c->kernels, c->pool, &c->hooks, 0, err);
    if (status == TOMO_OK && t->model->half)
        t->reader.half = tomo_half_products(c->kernels); /* as sessions do */
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
    if (status == TOMO_OK && t->model->config.image) status = open_cache(t, o, err);
    if (status == TOMO_OK) status = list_parameters(t, o->trainee, err);
    if (status != TOMO_OK) {
        tomo_task_free(&t->base);
        return status;
    }
    *task = &t->base;
    return TOMO_OK;
}
