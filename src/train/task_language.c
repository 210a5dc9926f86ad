/* task_language.c - next-token training of a language model on text alone: a .txt file, whose documents are
 * separated by blank lines, or a .jsonl file of {"text", "split"}. */
#include "base/buffer.h"
#include "base/file.h"
#include "base/folder.h"
#include "model/context.h"
#include "tensor/loss.h"
#include "text/tokenizer.h"
#include "train/fresh.h"
#include "train/task.h"

#include <stdlib.h>
#include <string.h>

/* Longer documents become several samples. */
#define STANDARD_LENGTH 512
/* A text file to learn from; larger ones are cut up by their owner. */
#define MOST_TEXT_BYTES (INT64_C(4) << 30)

/* Ids first .. first + count - 1 of the split's. */
typedef struct document {
    size_t first;
    int64_t count;
} document;

typedef struct language_task {
    tomo_task base;
    char *folder; /* that the decoder was opened from */
    tomo_decoder *decoder;
    tomo_tokenizer *tokenizer;
    tomo_parameters parameters;
    tomo_ids ids[TOMO_SPLITS];
    document *documents[TOMO_SPLITS];
    size_t room[TOMO_SPLITS];
    int64_t longest, most;
    int64_t *starts;
    int32_t *packed, *labels;
} language_task;

/* ------------------------------------------------------------------------------- pass */

static tomo_status language_weigh(tomo_task *task, tomo_split split, tomo_pick pick, int64_t slot,
                                  int64_t *weight, tomo_error *err) {
    (void)slot;
    (void)err;
    *weight = ((language_task *)task)->documents[split][pick.index].count - 1;
    return TOMO_OK;
}

/* The packed sequences of t->starts. */
static tomo_status run_network(language_task *t, int64_t count, double scale, double *sum, tomo_error *err) {
    tomo_exec *exec = &t->base.exec;
    tomo_arena_reset(exec->arena);
    exec->tape = scale != 0 ? &t->base.tape : NULL;
    tomo_tensor *x = tomo_decoder_embed(t->decoder, exec, t->packed, t->starts[count]);
    x = tomo_decoder_forward_packed(t->decoder, exec, x, t->starts, NULL, NULL, count);
    *sum = tomo_loss_cross_entropy(exec, x, tomo_decoder_head(t->decoder), t->labels, (float)scale);
    if (scale != 0 && x != NULL) tomo_tape_backward(exec);
    tomo_tape_clear(&t->base.tape);
    exec->tape = NULL;
    return tomo_exec_status(exec, err);
}

static tomo_status language_pass(tomo_task *task, const tomo_pass *pass, tomo_passed *passed,
                                 tomo_error *err) {
    language_task *t = (language_task *)task;
    *passed = (tomo_passed){0};
    for (int64_t i = 0; i < pass->count; i++) {
        const document *d = &t->documents[pass->split][pass->picks[i].index];
        const int32_t *ids = t->ids[pass->split].data + d->first;
        int64_t start = t->starts[i];
        memcpy(t->packed + start, ids, (size_t)d->count * sizeof *ids);
        memcpy(t->labels + start, ids + 1, (size_t)(d->count - 1) * sizeof *ids);
        t->labels[start + d->count - 1] = -1;
        t->starts[i + 1] = start + d->count;
        passed->learned += d->count - 1;
    }
    return run_network(t, pass->count, pass->scale, &passed->sum, err);
}

static tomo_status language_reserve(tomo_task *task, tomo_error *err) {
    language_task *t = (language_task *)task;
    int64_t batch = task->stage->batch, n = t->longest;
    double sum;
    for (int64_t i = 0; i < batch * n; i++) {
        t->packed[i] = 0;
        t->labels[i] = i % n == n - 1 ? -1 : 0;
    }
    for (int64_t i = 0; i < batch; i++) t->starts[i + 1] = (i + 1) * n;
    return run_network(t, batch, 1, &sum, err);
}

/* ---------------------------------------------------------------------------- reading */

/* Cuts the ids that were added since `first` into documents. */
static tomo_status add_documents(language_task *t, tomo_split split, size_t first, tomo_error *err) {
    size_t end = t->ids[split].count;
    while (end - first > 1) {
        int64_t count = (int64_t)(end - first) < t->most ? (int64_t)(end - first) : t->most;
        size_t *n = &t->base.samples[split];
        if (*n == t->room[split]) {
            size_t room = *n == 0 ? 256 : *n * 2;
            document *list = realloc(t->documents[split], room * sizeof *list);
            if (list == NULL) return tomo_fail_memory(err, "documents", room * sizeof *list);
            t->documents[split] = list;
            t->room[split] = room;
        }
        t->documents[split][(*n)++] = (document){first, count};
        if (count > t->longest) t->longest = count;
        first += (size_t)count;
    }
    return TOMO_OK;
}

static tomo_status add_text(language_task *t, tomo_split split, const char *text, size_t size,
                            tomo_error *err) {
    const tomo_decoder_config *c = tomo_decoder_get_config(t->decoder);
    tomo_encode_options options = {.add_special = true, .plain = true};
    size_t first = t->ids[split].count;
    tomo_status status = tomo_tokenizer_encode(t->tokenizer, text, size, options, &t->ids[split], err);
    if (status == TOMO_OK && c->end_count > 0 && !tomo_ids_add(&t->ids[split], c->ends[0])) {
        status = tomo_fail_memory(err, "texts", t->ids[split].capacity);
    }
    const tomo_ids *ids = &t->ids[split];
    if (status == TOMO_OK && ids->count > first)
        status = tomo_ids_check(ids->data + first, ids->count - first, c->vocabulary, t->folder, err);
    return status == TOMO_OK ? add_documents(t, split, first, err) : status;
}

/* The first line feed of a blank line's two, whether lines end as in Unix or in Windows; NULL: there is none.
 */
static const char *blank_line(const char *at, const char *end) {
    for (; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) {
        const char *next = at + 1 < end && at[1] == '\r' ? at + 2 : at + 1;
        if (next < end && *next == '\n') return at;
    }
    return NULL;
}

/* Documents between blank lines, all of them to learn from. */
static tomo_status read_plain(language_task *t, const char *text, size_t size, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (const char *at = text, *end = text + size; at < end && status == TOMO_OK;) {
        const char *stop = blank_line(at, end);
        if (stop == NULL) stop = end;
        size_t length = (size_t)(stop - at);
        while (length > 0 && (at[length - 1] == '\n' || at[length - 1] == '\r')) length--;
        if (length > 0) status = add_text(t, TOMO_SPLIT_TRAIN, at, length, err);
        for (at = stop; at < end && (*at == '\n' || *at == '\r');) at++;
    }
    return status;
}

static tomo_status read_line(language_task *t, const char *path, int64_t number, const char *line,
                             size_t size, tomo_error *err) {
    const tomo_recipe_data *d = &t->base.stage->data;
    cJSON *root = cJSON_ParseWithLength(line, size);
    const cJSON *text = tomo_json_get(root, "text"), *split = tomo_json_get(root, "split");
    tomo_status status = TOMO_OK;
    if (!cJSON_IsString(text) || (split != NULL && !cJSON_IsString(split))) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: line %lld is no {\"text\": ..., \"split\": ...}", path,
                           (long long)number);
    } else if (split == NULL || strcmp(split->valuestring, d->train) == 0) {
        status = add_text(t, TOMO_SPLIT_TRAIN, text->valuestring, strlen(text->valuestring), err);
    } else if (d->validation != NULL && t->base.stage->evaluate_every > 0 &&
               strcmp(split->valuestring, d->validation) == 0) {
        status = add_text(t, TOMO_SPLIT_VALIDATION, text->valuestring, strlen(text->valuestring), err);
    }
    cJSON_Delete(root);
    return status;
}

static tomo_status read_lines(language_task *t, const char *path, const char *text, size_t size,
                              tomo_error *err) {
    tomo_status status = TOMO_OK;
    int64_t number = 0;
    for (const char *at = text, *end = text + size; at < end && status == TOMO_OK;) {
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if (stop == NULL) stop = end;
        number++;
        if (stop > at) status = read_line(t, path, number, at, (size_t)(stop - at), err);
        at = stop + 1;
    }
    return status;
}

static tomo_status read_texts(language_task *t, tomo_error *err) {
    const tomo_recipe_data *d = &t->base.stage->data;
    size_t size = 0, length = strlen(d->path);
    char *text = NULL;
    bool lines = length > 6 && strcmp(d->path + length - 6, ".jsonl") == 0;
    t->most = d->max_length > 1 ? d->max_length : STANDARD_LENGTH;
    tomo_status status = tomo_file_read(d->path, MOST_TEXT_BYTES, &text, &size, err);
    if (status == TOMO_OK) {
        status = lines ? read_lines(t, d->path, text, size, err) : read_plain(t, text, size, err);
    }
    free(text);
    if (status == TOMO_OK && t->base.samples[TOMO_SPLIT_TRAIN] == 0) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: no text to learn from", d->path);
    }
    return status;
}

/* ---------------------------------------------------------------------------- opening */

static void language_free(tomo_task *task) {
    language_task *t = (language_task *)task;
    for (int s = 0; s < TOMO_SPLITS; s++) {
        tomo_ids_free(&t->ids[s]);
        free(t->documents[s]);
    }
    tomo_parameters_free(&t->parameters);
    tomo_decoder_free(t->decoder);
    tomo_tokenizer_free(t->tokenizer);
    free(t->folder);
    free(t->starts);
    free(t->packed);
    free(t->labels);
    free(t);
}

static tomo_status language_export(const tomo_task *task, const char *folder, tomo_error *err) {
    const language_task *t = (const language_task *)task;
    return tomo_task_write(t->folder, &t->parameters, folder, err);
}

static const tomo_task_kind kind = {language_weigh,  language_pass, language_reserve,
                                    language_export, language_free, "language"};

static tomo_status open_network(language_task *t, const tomo_task_options *o, tomo_error *err) {
    char *fresh = NULL;
    const char *used = NULL;
    if (asprintf(&fresh, "%s-language", o->start) < 0) return tomo_fail_memory(err, o->start, 0);
    tomo_status status = tomo_fresh_language(o->stage->language, fresh, o->seed, &used, err);
    if (status == TOMO_OK && (t->folder = strdup(used)) == NULL) status = tomo_fail_memory(err, used, 0);
    if (status == TOMO_OK) status = tomo_decoder_open_trainable(t->folder, &t->parameters, &t->decoder, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open(t->folder, &t->tokenizer, err);
    free(fresh);
    return status;
}

static tomo_status make_room(language_task *t, tomo_error *err) {
    size_t batch = (size_t)t->base.stage->batch, tokens = (size_t)t->longest * batch;
    t->starts = calloc(batch + 1, sizeof *t->starts);
    t->packed = calloc(tokens + 1, sizeof *t->packed);
    t->labels = calloc(tokens + 1, sizeof *t->labels);
    return t->starts != NULL && t->packed != NULL && t->labels != NULL
               ? TOMO_OK
               : tomo_fail_memory(err, "training", tokens * 8);
}

tomo_status tomo_task_language(const tomo_task_options *o, tomo_task **task, tomo_error *err) {
    language_task *t = calloc(1, sizeof *t);
    *task = NULL;
    if (t == NULL) return tomo_fail_memory(err, "training", sizeof *t);
    tomo_status status = tomo_task_init(&t->base, &kind, o, err);
    if (status == TOMO_OK) status = open_network(t, o, err);
    if (status == TOMO_OK) status = read_texts(t, err);
    if (status == TOMO_OK) status = make_room(t, err);
    if (status == TOMO_OK) status = tomo_task_keep(&t->base, &t->parameters, err);
    if (status == TOMO_OK) status = tomo_task_train(&t->base, &t->parameters, 2, err);
    if (status != TOMO_OK) {
        tomo_task_free(&t->base);
        return status;
    }
    *task = &t->base;
    return TOMO_OK;
}
