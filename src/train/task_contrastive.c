/* task_contrastive.c - a 2D encoder on slices and their scans' texts, as CLIP: in a batch each picture should
 * resemble its own text most, and each text its own picture. The text tower is a language model, read at its
 * last token. Pictures are held in memory, so this is for small encoders. */
#include "base/file.h"
#include "base/folder.h"
#include "base/random.h"
#include "model/context.h"
#include "tensor/loss.h"
#include "text/tokenizer.h"
#include "train/fresh.h"
#include "train/render.h"
#include "train/task.h"
#include "vision/encoder.h"
#include "volume/image.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STANDARD_LENGTH 128
/* CLIP begins with a temperature of 0.07. */
#define FIRST_LOG_SCALE 2.6592600369327783

/* A scan's pictures, in BF16: [count][3][size][size]. */
typedef struct pictures {
    uint16_t *values;
    int64_t count;
} pictures;

typedef struct text_ids {
    int32_t *ids;
    int64_t count;
    char *beginning; /* the first sentence, where the stage asks for it */
} text_ids;

typedef struct contrastive_task {
    tomo_task base;
    char *encoder_folder;
    tomo_encoder *encoder;
    tomo_decoder *decoder;
    tomo_tokenizer *tokenizer;
    tomo_dataset *data[TOMO_SPLITS];
    pictures *pictures[TOMO_SPLITS];
    text_ids *texts[TOMO_SPLITS];
    tomo_parameters vision, language, heads;
    tomo_arena *arena; /* of the heads */
    tomo_linear image_head, text_head;
    tomo_tensor log_scale;
    int64_t longest, size;
    int64_t *starts, *lasts;
    int32_t *ids;
    float *pixels;
} contrastive_task;

/* ------------------------------------------------------------------------------- pass */

static tomo_status contrastive_weigh(tomo_task *task, tomo_split split, tomo_pick pick, int64_t slot,
                                     int64_t *weight, tomo_error *err) {
    (void)task;
    (void)split;
    (void)pick;
    (void)slot;
    (void)err;
    *weight = 1;
    return TOMO_OK;
}

/* Pixels [count, 3, size, size] and t->ids are filled. */
static tomo_status run_networks(contrastive_task *t, int64_t count, double scale, double *loss,
                                tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    tomo_tensor pixels = tomo_tensor_over(t->pixels, TOMO_F32, 4, (int64_t[]){count, 3, t->size, t->size});
    tomo_arena_reset(exec->arena);
    exec->tape = scale != 0 ? &t->base.tape : NULL;
    tomo_tensor *image = tomo_vit_pool(tomo_encoder_vit(t->encoder), exec, &pixels, t->base.stage->pooling);
    image = tomo_op_linear(exec, image, &t->image_head, TOMO_ACT_NONE, NULL);
    tomo_tensor *x = tomo_decoder_embed(t->decoder, exec, t->ids, t->starts[count]);
    x = tomo_decoder_forward_packed(t->decoder, exec, x, t->starts, NULL, NULL, count);
    x = t->base.stage->pooling == TOMO_POOLING_MEAN ? tomo_op_mean_rows(exec, x, t->starts, count)
                                                    : tomo_op_rows(exec, x, t->lasts, count);
    tomo_tensor *text = tomo_op_linear(exec, x, &t->text_head, TOMO_ACT_NONE, NULL);
    if (scale == 0) { /* the loss adds to gradients where there are any */
        tomo_tensor quiet = t->log_scale;
        quiet.grad = NULL;
        *loss = tomo_loss_contrastive(exec, image, text, &quiet, 1);
    } else {
        *loss = tomo_loss_contrastive(exec, image, text, &t->log_scale, (float)(scale * (double)count));
        if (exec->error.status == TOMO_OK) tomo_tape_backward(exec);
    }
    tomo_tape_clear(&t->base.tape);
    exec->tape = NULL;
    return tomo_exec_status(exec, err);
}

/* Which picture of a scan a sample shows in an epoch. */
static int64_t draw_picture(const contrastive_task *t, tomo_pick pick, int64_t count) {
    tomo_random r = tomo_random_seed(t->base.seed + (uint64_t)pick.epoch * 0x9e3779b97f4a7c15u + pick.index);
    return (int64_t)(tomo_random_unit(&r) * (double)count);
}

static tomo_status contrastive_pass(tomo_task *task, const tomo_pass *pass, tomo_passed *passed,
                                    tomo_error *err) {
    contrastive_task *t = (contrastive_task *)task;
    int64_t plane = 3 * t->size * t->size;
    double loss;
    for (int64_t i = 0; i < pass->count; i++) {
        tomo_pick pick = pass->picks[i];
        const pictures *p = &t->pictures[pass->split][pick.index];
        const text_ids *text = &t->texts[pass->split][pick.index];
        /* Validation always looks at the middle. */
        int64_t which = pass->split == TOMO_SPLIT_TRAIN ? draw_picture(t, pick, p->count) : p->count / 2;
        const uint16_t *from = p->values + which * plane;
        for (int64_t k = 0; k < plane; k++) t->pixels[i * plane + k] = tomo_bf16_to_float(from[k]);
        memcpy(t->ids + t->starts[i], text->ids, (size_t)text->count * sizeof *t->ids);
        t->starts[i + 1] = t->starts[i] + text->count;
        t->lasts[i] = t->starts[i + 1] - 1;
    }
    tomo_status status = run_networks(t, pass->count, pass->scale, &loss, err);
    *passed = (tomo_passed){.sum = loss * (double)pass->count, .learned = pass->count};
    return status;
}

static tomo_status contrastive_reserve(tomo_task *task, tomo_error *err) {
    contrastive_task *t = (contrastive_task *)task;
    int64_t batch = task->stage->batch;
    double loss;
    memset(t->pixels, 0, (size_t)(batch * 3 * t->size * t->size) * sizeof *t->pixels);
    memset(t->ids, 0, (size_t)(batch * t->longest) * sizeof *t->ids);
    for (int64_t i = 0; i < batch; i++) {
        t->starts[i + 1] = (i + 1) * t->longest;
        t->lasts[i] = t->starts[i + 1] - 1;
    }
    return run_networks(t, batch, 1, &loss, err);
}

/* ------------------------------------------------------------------------------ reading */

static tomo_status read_pictures(contrastive_task *t, const tomo_volume *volume,
                                 const tomo_slices_settings *settings, pictures *out, tomo_error *err) {
    const tomo_vit *vit = tomo_encoder_vit(t->encoder);
    tomo_slices *slices = NULL;
    tomo_image_resizer *resizer = NULL;
    float *pixels = NULL, *work = NULL;
    tomo_status status = tomo_slices_make(volume, settings, NULL, &slices, err);
    if (status == TOMO_OK) {
        status = tomo_image_resizer_create(slices->height, slices->width, t->size, t->size, &resizer, err);
    }
    if (status == TOMO_OK) {
        int64_t plane = 3 * t->size * t->size, most = t->base.stage->slices;
        out->count = slices->slices < most ? slices->slices : most;
        out->values = malloc((size_t)(out->count * plane) * sizeof *out->values);
        pixels = malloc((size_t)plane * sizeof *pixels);
        work = malloc(tomo_image_encode_work(resizer, t->size) * sizeof *work);
        if (out->values == NULL || pixels == NULL || work == NULL) {
            status = tomo_fail_memory(err, "pictures", (size_t)(out->count * plane) * 2);
        }
        for (int64_t i = 0; i < out->count && status == TOMO_OK; i++) {
            int64_t slice = (2 * i + 1) * slices->slices / (2 * out->count); /* evenly spaced */
            tomo_image_encode_slices(slices, resizer, slice, 1, t->size, vit->mean, vit->std, work, pixels);
            for (int64_t k = 0; k < plane; k++) out->values[i * plane + k] = tomo_float_to_bf16(pixels[k]);
        }
    }
    free(pixels);
    free(work);
    tomo_image_resizer_free(resizer);
    tomo_slices_free(slices);
    return status;
}

/* Up to the first full stop that ends a sentence; the caller's. */
static char *first_sentence(const char *text) {
    const char *stop = strstr(text, ". ");
    return strndup(text, stop == NULL ? strlen(text) : (size_t)(stop - text));
}

static tomo_status read_text(contrastive_task *t, const tomo_sample *sample, text_ids *out, tomo_error *err) {
    const tomo_decoder_config *c = tomo_decoder_get_config(t->decoder);
    int64_t most = t->base.stage->data.max_length > 0 ? t->base.stage->data.max_length : STANDARD_LENGTH;
    tomo_ids ids = {0};
    char *answer = tomo_sample_answer(sample, false);
    tomo_status status =
        answer == NULL
            ? tomo_fail_memory(err, "texts", 0)
            : tomo_tokenizer_encode(t->tokenizer, answer, strlen(answer),
                                    (tomo_encode_options){.add_special = true, .plain = true}, &ids, err);
    char *beginning = NULL;
    if (status == TOMO_OK && t->base.stage->data.together > 1) {
        beginning = first_sentence(answer);
        if (beginning == NULL) status = tomo_fail_memory(err, "texts", strlen(answer));
    }
    free(answer);
    if ((int64_t)ids.count > most - 1) ids.count = (size_t)(most - 1);
    if (status == TOMO_OK && !tomo_ids_add(&ids, c->end_count > 0 ? c->ends[0] : 0)) {
        status = tomo_fail_memory(err, "texts", ids.capacity);
    }
    if (status == TOMO_OK)
        status = tomo_ids_check(ids.data, ids.count, c->vocabulary, t->base.stage->language, err);
    if (status != TOMO_OK) {
        tomo_ids_free(&ids);
        free(beginning);
        return status;
    }
    *out = (text_ids){ids.data, (int64_t)ids.count, beginning};
    if (out->count > t->longest) t->longest = out->count;
    return TOMO_OK;
}

/* Samples that are opened side by side. */
enum { READ_TOGETHER = 256 };

typedef struct reading {
    contrastive_task *t;
    const tomo_dataset *data;
    const tomo_slices_settings *settings;
    size_t first;
    pictures made[READ_TOGETHER];
    tomo_status statuses[READ_TOGETHER];
    tomo_error errors[READ_TOGETHER];
} reading;

static void read_scan(void *argument, int64_t i, int worker) {
    reading *r = argument;
    const tomo_sample *sample = tomo_dataset_at(r->data, r->first + (size_t)i);
    tomo_volume_options options = {.limits = r->t->base.context->limits};
    tomo_volume *volume = NULL;
    (void)worker;
    r->made[i] = (pictures){0};
    r->errors[i] = (tomo_error){0};
    if (sample->wrong != NULL) {
        r->statuses[i] = tomo_fail(&r->errors[i], TOMO_E_FORMAT, "%s: row %zu: %s", sample->source,
                                   sample->row, sample->wrong);
        return;
    }
    r->statuses[i] = tomo_volume_open(sample->scan, &options, &volume, &r->errors[i]);
    if (r->statuses[i] == TOMO_OK)
        r->statuses[i] = read_pictures(r->t, volume, r->settings, &r->made[i], &r->errors[i]);
    tomo_volume_free(volume);
}

/* Takes over the pictures of a sample and reads its text; a scan that cannot be used is told, and with
 * --skip-broken left out. */
static tomo_status keep_sample(contrastive_task *t, reading *r, size_t i, tomo_split split, bool skip_broken,
                               tomo_error *err) {
    size_t place = t->base.samples[split];
    tomo_status status = r->statuses[i];
    t->pictures[split][place] = r->made[i];
    r->made[i] = (pictures){0};
    if (status == TOMO_OK) {
        status = read_text(t, tomo_dataset_at(r->data, r->first + i), &t->texts[split][place], &r->errors[i]);
    }
    if (status == TOMO_OK) {
        t->base.samples[split]++;
    } else if (skip_broken && status != TOMO_E_MEMORY) {
        tomo_log(&t->base.context->hooks, TOMO_LOG_WARNING, "left out: %s", r->errors[i].message);
        free(t->pictures[split][place].values);
        t->pictures[split][place] = (pictures){0};
        status = TOMO_OK;
    } else if (err != NULL) {
        *err = r->errors[i];
    }
    return status;
}

static tomo_status read_samples(contrastive_task *t, tomo_split split, const tomo_slices_settings *settings,
                                bool skip_broken, tomo_error *err) {
    reading *r = malloc(sizeof *r);
    size_t count = tomo_dataset_count(t->data[split]);
    tomo_status status = r == NULL ? tomo_fail_memory(err, "pictures", sizeof *r) : TOMO_OK;
    if (status == TOMO_OK) *r = (reading){.t = t, .data = t->data[split], .settings = settings};
    for (size_t first = 0; first < count && status == TOMO_OK; first += READ_TOGETHER) {
        size_t some = count - first < READ_TOGETHER ? count - first : READ_TOGETHER;
        r->first = first;
        tomo_pool_run(t->base.context->pool, (int64_t)some, read_scan, r);
        for (size_t i = 0; i < some; i++) {
            if (status == TOMO_OK) status = keep_sample(t, r, i, split, skip_broken, err);
            free(r->made[i].values);
        }
        if (status == TOMO_OK) {
            status = tomo_progress(&t->base.context->hooks, "reading scans", (int64_t)(first + some),
                                   (int64_t)count, err);
        }
    }
    free(r);
    return status;
}

static int compare_beginnings(const void *a, const void *b) {
    return strcmp((*(const text_ids *const *)a)->beginning, (*(const text_ids *const *)b)->beginning);
}

/* Texts that begin with the same sentence get the same number, so that the order of samples can put them into
 * one batch: pictures that differ in little are the ones to tell apart (hard negatives). */
static tomo_status number_beginnings(contrastive_task *t, tomo_split split, tomo_error *err) {
    size_t count = t->base.samples[split], number = 0;
    size_t *numbers = t->base.scan_of[split] = calloc(count + 1, sizeof *numbers);
    const text_ids **sorted = calloc(count + 1, sizeof *sorted);
    if (numbers == NULL || sorted == NULL) {
        free(sorted);
        return tomo_fail_memory(err, "texts", count * sizeof *sorted);
    }
    for (size_t i = 0; i < count; i++) sorted[i] = &t->texts[split][i];
    qsort(sorted, count, sizeof *sorted, compare_beginnings);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && compare_beginnings(&sorted[i - 1], &sorted[i]) != 0) number++;
        numbers[sorted[i] - t->texts[split]] = number;
    }
    free(sorted);
    return TOMO_OK;
}

static tomo_status read_split(contrastive_task *t, const tomo_task_options *o, tomo_split split,
                              const char *name, const tomo_slices_settings *settings, tomo_error *err) {
    const tomo_recipe_data *d = &o->stage->data;
    tomo_dataset_options options = {
        .split = name, .kinds = TOMO_SAMPLE_REPORT, .captions = d->captions, .limit = d->limit};
    tomo_status status = tomo_dataset_open(d->path, &options, &t->data[split], err);
    if (status != TOMO_OK) return status;
    size_t count = tomo_dataset_count(t->data[split]);
    t->pictures[split] = calloc(count + 1, sizeof *t->pictures[split]);
    t->texts[split] = calloc(count + 1, sizeof *t->texts[split]);
    if (t->pictures[split] == NULL || t->texts[split] == NULL)
        return tomo_fail_memory(err, d->path, count * 32);
    status = read_samples(t, split, settings, o->skip_broken, err);
    if (status == TOMO_OK && t->base.samples[split] == 0 && split == TOMO_SPLIT_TRAIN) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: no scan with a report in the split \"%s\"", d->path, name);
    }
    return status == TOMO_OK && d->together > 1 ? number_beginnings(t, split, err) : status;
}

static tomo_status read_data(contrastive_task *t, const tomo_task_options *o, tomo_error *err) {
    tomo_slices_settings settings;
    cJSON *standard = cJSON_Parse("{\"windows\": \"minmax\"}");
    const cJSON *volume = tomo_json_get(o->config, "volume");
    tomo_status status = tomo_slices_settings_parse(
        volume != NULL ? volume : standard, (tomo_json_at){"recipe", "config.volume."}, &settings, err);
    if (status == TOMO_OK) {
        status = read_split(t, o, TOMO_SPLIT_TRAIN, o->stage->data.train, &settings, err);
    }
    if (status == TOMO_OK && o->stage->evaluate_every > 0 && o->stage->data.validation != NULL) {
        status = read_split(t, o, TOMO_SPLIT_VALIDATION, o->stage->data.validation, &settings, err);
    }
    cJSON_Delete(standard);
    return status;
}

/* ------------------------------------------------------------------------------ opening */

static void contrastive_free(tomo_task *task) {
    contrastive_task *t = (contrastive_task *)task;
    for (int s = 0; s < TOMO_SPLITS; s++) {
        size_t count = t->data[s] == NULL ? 0 : tomo_dataset_count(t->data[s]);
        for (size_t i = 0; t->pictures[s] != NULL && i < count; i++) free(t->pictures[s][i].values);
        for (size_t i = 0; t->texts[s] != NULL && i < count; i++) {
            free(t->texts[s][i].ids);
            free(t->texts[s][i].beginning);
        }
        free(t->pictures[s]);
        free(t->texts[s]);
        tomo_dataset_free(t->data[s]);
    }
    tomo_parameters_free(&t->vision);
    tomo_parameters_free(&t->language);
    tomo_parameters_free(&t->heads);
    tomo_encoder_free(t->encoder);
    tomo_decoder_free(t->decoder);
    tomo_tokenizer_free(t->tokenizer);
    tomo_arena_free(t->arena);
    free(t->encoder_folder);
    free(t->starts);
    free(t->lasts);
    free(t->ids);
    free(t->pixels);
    free(t);
}

static tomo_status contrastive_export(const tomo_task *task, const char *folder, tomo_error *err) {
    const contrastive_task *t = (const contrastive_task *)task;
    return tomo_task_write(t->encoder_folder, &t->vision, folder, err);
}

static const tomo_task_kind kind = {contrastive_weigh,  contrastive_pass, contrastive_reserve,
                                    contrastive_export, contrastive_free, "encoder"};

static tomo_status open_networks(contrastive_task *t, const tomo_task_options *o, tomo_error *err) {
    char *fresh_encoder = NULL, *fresh_text = NULL;
    const char *encoder = NULL, *text = NULL;
    if (asprintf(&fresh_encoder, "%s-encoder", o->start) < 0) return tomo_fail_memory(err, o->start, 0);
    if (asprintf(&fresh_text, "%s-text", o->start) < 0) {
        free(fresh_encoder);
        return tomo_fail_memory(err, o->start, 0);
    }
    tomo_status status = tomo_fresh_encoder(o->stage->encoder, fresh_encoder, o->seed, &encoder, err);
    if (status == TOMO_OK)
        status = tomo_fresh_language(o->stage->language, fresh_text, o->seed + 1, &text, err);
    if (status == TOMO_OK && (t->encoder_folder = strdup(encoder)) == NULL)
        status = tomo_fail_memory(err, encoder, 0);
    if (status == TOMO_OK) status = tomo_encoder_open_trainable(encoder, &t->vision, &t->encoder, err);
    if (status == TOMO_OK && strcmp(tomo_encoder_vit(t->encoder)->family, "clip") != 0) {
        status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                           "%s: an encoder in the layout of CLIP (config.json) is wanted", encoder);
    }
    if (status == TOMO_OK) status = tomo_decoder_open_trainable(text, &t->language, &t->decoder, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open(text, &t->tokenizer, err);
    free(fresh_encoder);
    free(fresh_text);
    return status;
}

static tomo_status new_head(contrastive_task *t, tomo_random *random, const char *name, int rank,
                            const int64_t *shape, tomo_tensor *out, tomo_error *err) {
    int64_t count = 1;
    for (int i = 0; i < rank; i++) count *= shape[i];
    float *data = tomo_arena_alloc(t->arena, (size_t)count * sizeof *data);
    float *grad = tomo_arena_alloc(t->arena, (size_t)count * sizeof *grad);
    if (data == NULL || grad == NULL) return tomo_fail_memory(err, name, (size_t)count * 8);
    double deviation = 1 / sqrt((double)shape[rank - 1]);
    for (int64_t i = 0; i < count; i++) {
        data[i] = rank == 1 ? (float)FIRST_LOG_SCALE : (float)(tomo_random_normal(random) * deviation);
        grad[i] = 0;
    }
    *out = tomo_tensor_over(data, TOMO_F32, rank, shape);
    out->grad = grad;
    return tomo_parameters_add(&t->heads, name, out, err);
}

static tomo_status make_heads(contrastive_task *t, const tomo_task_options *o, tomo_error *err) {
    tomo_random random = tomo_random_seed(o->seed + 2);
    int64_t E = o->stage->embedding, C = tomo_encoder_vit(t->encoder)->width;
    int64_t H = tomo_decoder_get_config(t->decoder)->hidden, one = 1;
    t->arena = tomo_arena_create(0);
    if (t->arena == NULL) return tomo_fail_memory(err, "training", 0);
    tomo_status status =
        new_head(t, &random, "contrastive.image", 2, (int64_t[]){E, C}, &t->image_head.weight, err);
    if (status == TOMO_OK) {
        status = new_head(t, &random, "contrastive.text", 2, (int64_t[]){E, H}, &t->text_head.weight, err);
    }
    return status == TOMO_OK ? new_head(t, &random, "contrastive.log_scale", 1, &one, &t->log_scale, err)
                             : status;
}

static tomo_status make_room(contrastive_task *t, tomo_error *err) {
    size_t batch = (size_t)t->base.stage->batch;
    t->starts = calloc(batch + 1, sizeof *t->starts);
    t->lasts = calloc(batch + 1, sizeof *t->lasts);
    t->ids = calloc(batch * (size_t)t->longest + 1, sizeof *t->ids);
    t->pixels = calloc(batch * 3 * (size_t)(t->size * t->size), sizeof *t->pixels);
    bool good = t->starts != NULL && t->lasts != NULL && t->ids != NULL && t->pixels != NULL;
    return good ? TOMO_OK : tomo_fail_memory(err, "training", 0);
}

static tomo_status list_parameters(contrastive_task *t, tomo_error *err) {
    const tomo_parameters *lists[] = {&t->vision, &t->language, &t->heads};
    tomo_status status = TOMO_OK;
    /* Both towers may call a tensor by the same name only if one of them is unusual: CLIP's and a decoder's
     * differ. */
    for (int i = 0; i < 3 && status == TOMO_OK; i++) {
        status = tomo_task_keep(&t->base, lists[i], err);
        if (status == TOMO_OK) status = tomo_task_train(&t->base, lists[i], i == 1 ? 2 : 0, err);
    }
    return status;
}

tomo_status tomo_task_contrastive(const tomo_task_options *o, tomo_task **task, tomo_error *err) {
    contrastive_task *t = calloc(1, sizeof *t);
    *task = NULL;
    if (t == NULL) return tomo_fail_memory(err, "training", sizeof *t);
    tomo_status status = tomo_task_init(&t->base, &kind, o, err);
    if (status == TOMO_OK && o->stage->batch < 2) {
        status = tomo_fail(err, TOMO_E_HEADER, "stage %s: \"batch\" must be 2 or more: pairs are told apart",
                           o->stage->name);
    }
    if (status == TOMO_OK) status = open_networks(t, o, err);
    if (status == TOMO_OK) t->size = tomo_encoder_vit(t->encoder)->image_size;
    if (status == TOMO_OK) status = read_data(t, o, err);
    if (status == TOMO_OK) status = make_heads(t, o, err);
    if (status == TOMO_OK) status = make_room(t, err);
    if (status == TOMO_OK) status = list_parameters(t, err);
    if (status != TOMO_OK) {
        tomo_task_free(&t->base);
        return status;
    }
    *task = &t->base;
    return TOMO_OK;
}
