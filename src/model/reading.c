#include "model/reading.h"

#include "base/clock.h"
#include "base/random.h"
#include "fusion/run_search.h"
#include "model/look.h"
#include "volume/image.h"

#include <stdlib.h>
#include <string.h>

#define MOST_BATCH 8

/* The state of one reading. Features are kept only for slices that the walk keeps; a slice that is restored
 * in the end is encoded again, which is rare and costs one slice each. */
typedef struct reader {
    const tomo_model *model;
    tomo_exec *exec;
    tomo_recorder *recorder;
    tomo_slices_change_fn change; /* or NULL */
    void *user;                   /* handed to change */
    tomo_reading *out;
    tomo_slices *slices;
    tomo_image_resizer *resizer;
    tomo_pruner *pruner;
    float **store;                              /* [S]: features [L, P, C] of a slice, or NULL */
    int64_t L, P, C, size;                      /* size: the encoder's image */
    tomo_tensor *states[TOMO_CONNECTOR_LAYERS]; /* [batch, P, C] in the arena */
} reader;

/* ---------------------------------------------------------------------------- pixels */

typedef struct pixels_job {
    const reader *r;
    const int64_t *which; /* the slices */
    float *work, *pixels;
    size_t work_size;
} pixels_job;

static void resize_block(void *argument, int64_t block, int worker) {
    pixels_job *job = argument;
    const reader *r = job->r;
    const tomo_vit *vit = tomo_encoder_vit(r->model->encoder);
    tomo_image_encode_slices(r->slices, r->resizer, job->which[block], 1, r->size, vit->mean, vit->std,
                             job->work + (size_t)worker * job->work_size,
                             job->pixels + block * 3 * r->size * r->size);
}

/* Some slices as the encoder wants them: [count, 3, size, size]. */
static tomo_tensor *make_pixels(reader *r, const int64_t *which, int64_t count) {
    tomo_tensor *pixels = tomo_exec_tensor(r->exec, 4, (int64_t[]){count, 3, r->size, r->size});
    pixels_job job = {.r = r, .which = which, .work_size = tomo_image_encode_work(r->resizer, r->size)};
    job.work = tomo_exec_alloc(r->exec, tomo_pool_threads(r->exec->pool), job.work_size * sizeof(float));
    if (pixels == NULL || job.work == NULL) return NULL;
    job.pixels = tomo_tensor_f32(pixels);
    tomo_pool_run(r->exec->pool, count, resize_block, &job);
    if (r->recorder != NULL) {
        float *all = tomo_recorder_data(r->recorder, "pixel_values");
        int64_t n = 3 * r->size * r->size;
        for (int64_t i = 0; i < count; i++)
            memcpy(all + which[i] * n, job.pixels + i * n, (size_t)n * sizeof(float));
    }
    return pixels;
}

/* -------------------------------------------------------------------------- encoding */

/* pixels -> r->states, in the arena behind them. */
static tomo_status encode_pixels(reader *r, const tomo_tensor *pixels, tomo_error *err) {
    for (int64_t i = 0; i < r->L && pixels != NULL; i++) {
        r->states[i] = tomo_exec_tensor(r->exec, 3, (int64_t[]){pixels->shape[0], r->P, r->C});
        if (r->states[i] == NULL) pixels = NULL;
    }
    if (pixels != NULL) {
        (void)tomo_vit_forward(tomo_encoder_vit(r->model->encoder), r->exec, pixels, r->model->config.layers,
                               (int)r->L, r->states);
    }
    return tomo_exec_status(r->exec, err);
}

/* Encodes slices into r->states; the arena then holds pixels and states. */
static tomo_status encode(reader *r, const int64_t *which, int64_t count, tomo_error *err) {
    tomo_arena_reset(r->exec->arena);
    return encode_pixels(r, make_pixels(r, which, count), err);
}

/* Copies slice `index` of the batch in r->states to the store as slice s. */
static tomo_status keep_features(reader *r, int64_t s, int64_t index, tomo_error *err) {
    size_t layer = (size_t)(r->P * r->C);
    if (r->store[s] == NULL) r->store[s] = malloc((size_t)r->L * layer * sizeof(float));
    if (r->store[s] == NULL) return tomo_fail_memory(err, "features", (size_t)r->L * layer * sizeof(float));
    for (int64_t i = 0; i < r->L; i++) {
        memcpy(r->store[s] + (size_t)i * layer, tomo_tensor_f32(r->states[i]) + (size_t)index * layer,
               layer * sizeof(float));
    }
    return TOMO_OK;
}

int64_t tomo_reading_batch(const tomo_model *model) {
    /* "fast" packs the encoder's weights only where the CPU multiplies in BF16. */
    bool packed =
        strcmp(model->precision, "int8") == 0 || (model->half && strcmp(model->precision, "f32") != 0);
    bool matrix_unit = strcmp(model->context->kernels->name, "amx") == 0;
    return !packed ? MOST_BATCH : matrix_unit ? 4 : 2; /* measured (SPEED.md) */
}

/* One slice that was encoded as number `index` of its batch. */
static tomo_status take_slice(reader *r, int64_t s, int64_t index, bool *kept, tomo_error *err) {
    const float *patches = tomo_tensor_f32(r->states[r->L - 1]) + index * r->P * r->C;
    float *descriptor = r->out->descriptors + s * r->C;
    *kept = false;
    tomo_describe_slices(patches, 1, r->P, r->C, descriptor);
    tomo_status status = tomo_pruner_push(r->pruner, descriptor, patches, kept, err);
    return status == TOMO_OK && *kept ? keep_features(r, s, index, err) : status;
}

/* A slice like the last kept one is dropped unseen; its descriptor is the kept one's. */
static tomo_status walk_early(reader *r, tomo_look *look, tomo_error *err) {
    const tomo_hooks *hooks = &r->model->context->hooks;
    int64_t S = r->slices->slices, last = 0;
    for (int64_t s = 0; s < S; s++) {
        tomo_status status = tomo_progress(hooks, "encoding slices", s, S, err);
        tomo_arena_reset(r->exec->arena);
        tomo_tensor *pixels = status == TOMO_OK ? make_pixels(r, &s, 1) : NULL;
        if (status == TOMO_OK) status = tomo_exec_status(r->exec, err);
        if (status != TOMO_OK) return status;
        bool kept = false;
        if (s > 0 &&
            (double)tomo_look_difference(look, tomo_tensor_f32(pixels)) < r->model->config.prune.early) {
            status = tomo_pruner_skip(r->pruner, TOMO_SLICE_EARLY, err);
            memcpy(r->out->descriptors + s * r->C, r->out->descriptors + last * r->C,
                   (size_t)r->C * sizeof(float));
        } else {
            status = encode_pixels(r, pixels, err);
            if (status == TOMO_OK) status = take_slice(r, s, 0, &kept, err);
            /* The pixels lie in the arena until the next slice. */
            if (status == TOMO_OK && kept) tomo_look_keep(look, tomo_tensor_f32(pixels));
            if (kept) last = s;
        }
        if (status != TOMO_OK) return status;
    }
    return tomo_progress(hooks, "encoding slices", S, S, err);
}

static const float *deep_patches(const reader *r, int64_t s) {
    return r->store[s] + (r->L - 1) * r->P * r->C;
}

/* How slice s, encoded now or for an earlier run, compares with the kept one. */
static tomo_status look_at(reader *r, tomo_run_search *search, int64_t s, tomo_error *err) {
    float *descriptor = r->out->descriptors + s * r->C;
    if (r->store[s] == NULL) {
        tomo_status status = encode(r, &s, 1, err);
        if (status == TOMO_OK) status = keep_features(r, s, 0, err);
        if (status != TOMO_OK) return status;
        tomo_describe_slices(deep_patches(r, s), 1, r->P, r->C, descriptor);
    }
    double margin = r->model->config.prune.search_margin;
    tomo_run_search_tell(search, s, tomo_pruner_look(r->pruner, descriptor, deep_patches(r, s), margin));
    return TOMO_OK;
}

/* Finds the end of the run, from slices that are encoded already as far as they tell it. */
static tomo_status search_run(reader *r, tomo_run_search *search, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (int64_t s = search->kept + 1; s < search->slices && status == TOMO_OK; s++)
        if (r->store[s] != NULL) status = look_at(r, search, s, err);
    for (int64_t s; status == TOMO_OK && (s = tomo_run_search_next(search)) >= 0;)
        status = look_at(r, search, s, err);
    return status;
}

/* Hands the pruner all slices of the run and the one that ends it. */
static tomo_status take_run(reader *r, const tomo_run_search *search, tomo_error *err) {
    size_t bytes = (size_t)r->C * sizeof(float);
    tomo_status status = TOMO_OK;
    for (int64_t s = search->kept + 1; s < search->slices && s <= search->differs && status == TOMO_OK; s++) {
        float *descriptor = r->out->descriptors + s * r->C;
        bool kept = false;
        if (r->store[s] == NULL) {
            memcpy(descriptor, r->out->descriptors + search->kept * r->C, bytes);
            status = tomo_pruner_skip(r->pruner, TOMO_SLICE_BETWEEN, err);
            continue;
        }
        status = tomo_pruner_push(r->pruner, descriptor, deep_patches(r, s), &kept, err);
        if (kept) continue;
        free(r->store[s]);
        r->store[s] = NULL;
    }
    return status;
}

/* Runs of near-duplicates are searched for their end; what lies between is not encoded. */
static tomo_status walk_search(reader *r, tomo_error *err) {
    const tomo_hooks *hooks = &r->model->context->hooks;
    tomo_run_search search = tomo_run_search_start(r->slices->slices);
    int64_t first = 0;
    bool kept;
    tomo_status status = encode(r, &first, 1, err);
    if (status == TOMO_OK) status = take_slice(r, 0, 0, &kept, err);
    while (status == TOMO_OK) {
        status = tomo_progress(hooks, "encoding slices", search.kept, search.slices, err);
        if (status == TOMO_OK) status = search_run(r, &search, err);
        if (status == TOMO_OK) status = take_run(r, &search, err);
        if (!tomo_run_search_next_run(&search)) break;
    }
    return status == TOMO_OK ? tomo_progress(hooks, "encoding slices", search.slices, search.slices, err)
                             : status;
}

static tomo_status walk(reader *r, tomo_error *err) {
    int64_t S = r->slices->slices, batch = tomo_reading_batch(r->model), which[MOST_BATCH];
    const tomo_hooks *hooks = &r->model->context->hooks;
    tomo_status status = TOMO_OK;
    for (int64_t first = 0; first < S && status == TOMO_OK; first += batch) {
        int64_t count = S - first < batch ? S - first : batch;
        for (int64_t i = 0; i < count; i++) which[i] = first + i;
        status = tomo_progress(hooks, "encoding slices", first, S, err);
        if (status == TOMO_OK) status = encode(r, which, count, err);
        for (int64_t i = 0; i < count && status == TOMO_OK; i++) {
            bool kept;
            status = take_slice(r, first + i, i, &kept, err);
        }
    }
    return status == TOMO_OK ? tomo_progress(hooks, "encoding slices", S, S, err) : status;
}

/* Tells scans apart by what they hold, the same for the same voxels in whatever file. */
static uint64_t content_of(const tomo_volume *v) {
    const double facts[] = {(double)v->shape[0], (double)v->shape[1], (double)v->shape[2], v->mean,
                            v->deviation};
    uint64_t sum = 0, bits;
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        memcpy(&bits, &facts[i], sizeof bits);
        tomo_random mixed = tomo_random_seed(sum ^ bits);
        sum = tomo_random_next(&mixed);
    }
    return sum;
}

/* The chosen slices alone; the descriptor of one that is not chosen is that of the kept one before it. */
static tomo_status walk_chosen(reader *r, const tomo_volume *volume, tomo_error *err) {
    tomo_prune_result *p = &r->out->prune;
    const tomo_hooks *hooks = &r->model->context->hooks;
    int64_t batch = tomo_reading_batch(r->model);
    size_t bytes = (size_t)r->C * sizeof(float);
    tomo_status status =
        tomo_prune_choose(&r->model->config.prune, r->slices->slices, content_of(volume), p, err);
    for (int64_t first = 0; status == TOMO_OK && first < p->count; first += batch) {
        int64_t count = p->count - first < batch ? p->count - first : batch;
        status = tomo_progress(hooks, "encoding slices", first, p->count, err);
        if (status == TOMO_OK) status = encode(r, p->kept + first, count, err);
        for (int64_t i = 0; i < count && status == TOMO_OK; i++) {
            int64_t s = p->kept[first + i];
            const float *patches = tomo_tensor_f32(r->states[r->L - 1]) + i * r->P * r->C;
            tomo_describe_slices(patches, 1, r->P, r->C, r->out->descriptors + s * r->C);
            status = keep_features(r, s, i, err);
        }
    }
    for (int64_t s = 1; s < r->slices->slices && status == TOMO_OK; s++) {
        float *descriptor = r->out->descriptors + s * r->C;
        if (p->fate[s] == TOMO_SLICE_NOT_CHOSEN) memcpy(descriptor, descriptor - r->C, bytes);
    }
    return status == TOMO_OK ? tomo_progress(hooks, "encoding slices", p->count, p->count, err) : status;
}

static tomo_status look_and_walk(reader *r, tomo_error *err) {
    const tomo_vit *vit = tomo_encoder_vit(r->model->encoder);
    const tomo_prune_settings *p = &r->model->config.prune;
    tomo_look look;
    tomo_status status =
        tomo_look_init(&look, r->size, vit->patch_size, p->guard ? p->guard_patches : 1, vit->std, err);
    if (status != TOMO_OK) return status;
    status = walk_early(r, &look, err);
    tomo_look_free(&look);
    return status;
}

/* Features of the kept slices: [L, K, h, w, C], restored slices encoded again. */
static tomo_status gather(reader *r, tomo_error *err) {
    const tomo_prune_result *p = &r->out->prune;
    size_t layer = (size_t)(r->P * r->C), K = (size_t)p->count;
    r->out->features = malloc((size_t)r->L * K * layer * sizeof(float));
    if (r->out->features == NULL) {
        return tomo_fail_memory(err, "features", (size_t)r->L * K * layer * sizeof(float));
    }
    for (size_t k = 0; k < K; k++) {
        int64_t s = p->kept[k];
        tomo_status status = TOMO_OK;
        if (r->store[s] == NULL) {
            status = encode(r, &s, 1, err);
            if (status == TOMO_OK) status = keep_features(r, s, 0, err);
        }
        if (status != TOMO_OK) return status;
        for (size_t i = 0; i < (size_t)r->L; i++) {
            memcpy(r->out->features + (i * K + k) * layer, r->store[s] + i * layer, layer * sizeof(float));
        }
        free(r->store[s]);
        r->store[s] = NULL;
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------- connector */

typedef struct show_target {
    tomo_recorder *recorder;
    tomo_error error;
} show_target;

static void record_shown(void *user, const char *name, const tomo_tensor *value) {
    show_target *t = user;
    if (t->error.status != TOMO_OK) return;
    (void)tomo_recorder_add(t->recorder, name, TOMO_F32, value->rank, value->shape, value->data, &t->error);
}

static tomo_status connect(reader *r, tomo_error *err) {
    const tomo_connector_config *c = &r->model->config.connector;
    const tomo_prune_result *p = &r->out->prune;
    int64_t shape[] = {r->L, p->count, c->grid[0], c->grid[1], r->C};
    tomo_tensor features = tomo_tensor_over_const(r->out->features, 5, shape);
    show_target target = {.recorder = r->recorder};
    tomo_trace trace = {record_shown, &target};
    tomo_arena_reset(r->exec->arena);
    if (r->recorder != NULL) r->exec->trace = &trace;
    tomo_tensor *tokens =
        tomo_connector_forward(r->model->connector, r->exec, &features, p->kept, p->slices, r->out->slice_mm);
    tomo_exec_show(r->exec, tokens, "tokens");
    r->exec->trace = NULL;
    tomo_status status = tomo_exec_status(r->exec, err);
    if (status == TOMO_OK && target.error.status != TOMO_OK) {
        if (err != NULL) *err = target.error;
        status = target.error.status;
    }
    if (status != TOMO_OK) return status;
    size_t bytes = (size_t)tomo_tensor_count(tokens) * sizeof(float);
    r->out->tokens = malloc(bytes);
    if (r->out->tokens == NULL) return tomo_fail_memory(err, "visual tokens", bytes);
    memcpy(r->out->tokens, tokens->data, bytes);
    return TOMO_OK;
}

/* ---------------------------------------------------------------- manifest and trace */

static void describe_settings(cJSON *root, const tomo_prune_settings *s) {
    cJSON_AddNumberToObject(root, "max_slices", (double)s->max_slices);
    if (s->choice != TOMO_CHOICE_SIMILARITY) {
        bool random = s->choice == TOMO_CHOICE_RANDOM;
        cJSON_AddStringToObject(root, "choice", random ? "random" : "uniform");
        if (random) cJSON_AddNumberToObject(root, "seed", (double)s->seed);
        return;
    }
    cJSON_AddNumberToObject(root, "threshold", s->threshold);
    cJSON_AddNumberToObject(root, "min_slices", (double)s->min_slices);
    if (s->early > 0) cJSON_AddNumberToObject(root, "early", s->early);
    if (s->search) cJSON_AddNumberToObject(root, "search", s->search_margin);
    if (s->guard) {
        cJSON *guard = cJSON_AddObjectToObject(root, "guard");
        cJSON_AddNumberToObject(guard, "threshold", s->guard_threshold);
        cJSON_AddNumberToObject(guard, "patches", (double)s->guard_patches);
    }
}

static cJSON *describe_pruning(const reader *r) {
    const tomo_prune_result *p = &r->out->prune;
    const tomo_prune_settings *s = &r->model->config.prune;
    cJSON *root = cJSON_CreateObject();
    cJSON_AddNumberToObject(root, "slices", (double)p->slices);
    cJSON_AddNumberToObject(root, "kept", (double)p->count);
    describe_settings(root, s);
    cJSON *list = cJSON_AddArrayToObject(root, "decisions");
    for (int64_t i = 0, k = 0; i < p->slices; i++) {
        cJSON *item = cJSON_CreateObject();
        bool kept = k < p->count && p->kept[k] == i;
        k += kept;
        cJSON_AddNumberToObject(item, "slice", (double)i);
        cJSON_AddNumberToObject(item, "source_z", (double)r->slices->source_z[i]);
        cJSON_AddBoolToObject(item, "kept", kept);
        cJSON_AddStringToObject(item, "rule", tomo_slice_fate_name(p->fate[i]));
        if (p->similarity != NULL) cJSON_AddNumberToObject(item, "similarity", p->similarity[i]);
        if (p->changed != NULL && p->changed[i] >= 0)
            cJSON_AddNumberToObject(item, "changed_patches", (double)p->changed[i]);
        cJSON_AddItemToArray(list, item);
    }
    return root;
}

static tomo_status describe(reader *r, const tomo_volume *volume, tomo_error *err) {
    cJSON *root = tomo_volume_manifest(volume, r->slices != NULL ? r->slices->record : NULL);
    if (root == NULL) return tomo_fail_memory(err, "manifest", 0);
    cJSON *model = cJSON_AddObjectToObject(root, "model");
    const tomo_vit *vit = tomo_encoder_vit(r->model->encoder);
    cJSON_AddStringToObject(model, "encoder", vit->family);
    cJSON_AddNumberToObject(model, "encoder_image_size", (double)vit->image_size);
    cJSON *layers = cJSON_AddArrayToObject(model, "encoder_layers");
    for (int64_t i = 0; i < r->L; i++) {
        cJSON_AddItemToArray(layers, cJSON_CreateNumber((double)r->model->config.layers[i]));
    }
    cJSON_AddNumberToObject(model, "visual_tokens",
                            (double)tomo_model_config_image_tokens(&r->model->config));
    if (r->slices != NULL) cJSON_AddItemToObject(root, "pruning", describe_pruning(r));
    r->out->manifest = root;
    return TOMO_OK;
}

/* What the other stages do not record themselves; pixel_values is filled in batch by batch. */
static tomo_status record_start(reader *r, tomo_error *err) {
    const tomo_slices *s = r->slices;
    int64_t volume[] = {s->channels, s->slices, s->height, s->width};
    int64_t pixels[] = {s->slices, 3, r->size, r->size};
    tomo_status status = tomo_recorder_add(r->recorder, "volume", TOMO_F32, 4, volume, s->values, err);
    if (status == TOMO_OK) {
        status = tomo_recorder_add(r->recorder, "pixel_values", TOMO_F32, 4, pixels, NULL, err);
    }
    return status;
}

static tomo_status record_end(reader *r, tomo_error *err) {
    const tomo_connector_config *c = &r->model->config.connector;
    const tomo_reading *out = r->out;
    int64_t descriptors[] = {out->slices, r->C};
    int64_t features[] = {r->L, out->prune.count, c->grid[0], c->grid[1], r->C};
    tomo_status status =
        tomo_recorder_add(r->recorder, "descriptors", TOMO_F32, 2, descriptors, out->descriptors, err);
    if (status == TOMO_OK) {
        status = tomo_recorder_add(r->recorder, "features", TOMO_F32, 5, features, out->features, err);
    }
    if (status == TOMO_OK) {
        status = tomo_recorder_add(r->recorder, "kept", TOMO_I64, 1, &out->prune.count, out->prune.kept, err);
    }
    return status;
}

/* --------------------------------------------------------------------------- together */

tomo_status tomo_reading_check_distance(const tomo_model *model, double slice_mm, tomo_error *err) {
    if (model->config.connector.position != TOMO_POSITION_MM || slice_mm > 0) return TOMO_OK;
    return tomo_fail(
        err, TOMO_E_UNSUPPORTED,
        "the model places slices in millimetres (connector.position), but the scan does not tell "
        "how far its slices are apart; a file that does, NIfTI or DICOM, is wanted");
}

static tomo_status prepare(reader *r, const tomo_volume *volume, const tomo_read_options *options,
                           tomo_error *err) {
    const tomo_vit *vit = tomo_encoder_vit(r->model->encoder);
    tomo_slices_settings settings = r->model->config.volume;
    settings.force_windows = settings.force_windows || (options != NULL && options->force_windows);
    r->size = vit->image_size;
    r->L = r->model->config.layer_count;
    r->C = vit->width;
    r->P = (vit->image_size / vit->patch_size) * (vit->image_size / vit->patch_size);
    tomo_status status = tomo_slices_make(volume, &settings, &r->model->context->hooks, &r->slices, err);
    if (status == TOMO_OK) status = tomo_reading_check_distance(r->model, r->slices->slice_mm, err);
    if (status == TOMO_OK && r->change != NULL) status = r->change(r->user, r->slices, err);
    if (status != TOMO_OK) return status;
    size_t S = (size_t)r->slices->slices;
    r->out->slices = r->slices->slices;
    r->out->slice_mm = r->slices->slice_mm;
    r->out->descriptors = calloc(S * (size_t)r->C, sizeof(float));
    r->store = calloc(S, sizeof *r->store);
    if (r->out->descriptors == NULL || r->store == NULL) return tomo_fail_memory(err, "descriptors", S * 8);
    status =
        tomo_image_resizer_create(r->slices->height, r->slices->width, r->size, r->size, &r->resizer, err);
    if (status == TOMO_OK) {
        status = tomo_pruner_create(&r->model->config.prune, r->P, r->C, &r->pruner, err);
    }
    if (status == TOMO_OK && r->recorder != NULL) status = record_start(r, err);
    return status;
}

static tomo_status find_sources(reader *r, tomo_error *err) {
    const tomo_prune_result *p = &r->out->prune;
    r->out->kept_z = calloc((size_t)p->count, sizeof *r->out->kept_z);
    if (r->out->kept_z == NULL) return tomo_fail_memory(err, "kept slices", (size_t)p->count * 8);
    for (int64_t k = 0; k < p->count; k++) r->out->kept_z[k] = r->slices->source_z[p->kept[k]];
    return TOMO_OK;
}

static void reader_free(reader *r) {
    for (int64_t s = 0; r->store != NULL && s < r->out->slices; s++) free(r->store[s]);
    free(r->store);
    tomo_pruner_free(r->pruner);
    tomo_image_resizer_free(r->resizer);
    tomo_slices_free(r->slices);
}

/* Encodes slices and decides which are kept. */
static tomo_status prune(reader *r, const tomo_volume *volume, tomo_error *err) {
    const tomo_prune_settings *p = &r->model->config.prune;
    if (p->choice != TOMO_CHOICE_SIMILARITY) return walk_chosen(r, volume, err);
    tomo_status status = p->early > 0 ? look_and_walk(r, err)
                         : p->search  ? walk_search(r, err)
                                      : walk(r, err);
    return status == TOMO_OK ? tomo_pruner_finish(r->pruner, &r->out->prune, err) : status;
}

/* From the volume to the features of the kept slices. */
static tomo_status read_features(reader *r, const tomo_volume *volume, const tomo_read_options *options,
                                 tomo_error *err) {
    double start = tomo_seconds();
    tomo_status status = prepare(r, volume, options, err);
    double sliced = tomo_seconds();
    if (status == TOMO_OK) status = prune(r, volume, err);
    if (status == TOMO_OK) status = gather(r, err);
    if (status == TOMO_OK) status = find_sources(r, err);
    r->out->slices_seconds = sliced - start;
    r->out->encoder_seconds = tomo_seconds() - sliced;
    return status;
}

tomo_status tomo_reading_make(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                              const tomo_read_options *options, tomo_recorder *recorder,
                              tomo_reading *reading, tomo_error *err) {
    reader r = {.model = model, .exec = exec, .recorder = recorder, .out = reading};
    if (!model->config.image) {
        r.L = model->config.layer_count;
        return describe(&r, volume, err);
    }
    tomo_status status = read_features(&r, volume, options, err);
    if (status == TOMO_OK && recorder != NULL) status = record_end(&r, err);
    double encoded = tomo_seconds();
    if (status == TOMO_OK) status = connect(&r, err);
    if (status == TOMO_OK) status = describe(&r, volume, err);
    reading->connector_seconds = tomo_seconds() - encoded;
    reader_free(&r);
    if (status != TOMO_OK) tomo_reading_free(reading);
    return status;
}

tomo_status tomo_reading_encode(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                                const tomo_read_options *options, tomo_slices_change_fn change, void *user,
                                tomo_reading *reading, tomo_error *err) {
    reader r = {.model = model, .exec = exec, .change = change, .user = user, .out = reading};
    tomo_status status = read_features(&r, volume, options, err);
    reader_free(&r);
    if (status != TOMO_OK) tomo_reading_free(reading);
    return status;
}

tomo_status tomo_reading_connect(const tomo_model *model, tomo_exec *exec, tomo_reading *reading,
                                 tomo_error *err) {
    reader r = {.model = model, .exec = exec, .out = reading, .L = model->config.layer_count};
    r.C = model->config.connector.encoder_width;
    double start = tomo_seconds();
    tomo_status status = connect(&r, err);
    reading->connector_seconds = tomo_seconds() - start;
    return status;
}

void tomo_reading_free(tomo_reading *reading) {
    tomo_prune_free(&reading->prune);
    free(reading->kept_z);
    free(reading->descriptors);
    free(reading->features);
    free(reading->tokens);
    cJSON_Delete(reading->manifest);
    *reading = (tomo_reading){0};
}

tomo_status tomo_reading_see(const tomo_model *model, tomo_exec *exec, const tomo_volume *volume,
                             const tomo_read_options *options, tomo_slice_see_fn see, void *user,
                             tomo_error *err) {
    tomo_reading reading = {0};
    reader r = {.model = model, .exec = exec, .out = &reading};
    tomo_status status = prepare(&r, volume, options, err);
    int64_t S = status == TOMO_OK ? r.slices->slices : 0;
    for (int64_t s = 0; s < S && status == TOMO_OK; s++) {
        status = tomo_progress(&model->context->hooks, "encoding slices", s, S, err);
        tomo_arena_reset(exec->arena);
        tomo_tensor *pixels = status == TOMO_OK ? make_pixels(&r, &s, 1) : NULL;
        if (status == TOMO_OK) status = encode_pixels(&r, pixels, err);
        if (status != TOMO_OK) break;
        const float *patches = tomo_tensor_f32(r.states[r.L - 1]);
        float *descriptor = reading.descriptors + s * r.C;
        tomo_describe_slices(patches, 1, r.P, r.C, descriptor);
        if (!see(user, s, S, tomo_tensor_f32(pixels), patches, descriptor))
            status = tomo_fail_memory(err, "slices", (size_t)(r.P * r.C) * sizeof(float));
    }
    reader_free(&r);
    tomo_reading_free(&reading);
    return status;
}
