/* evaluate.c - tomo_eval_run: predictions, then the benchmark's CSV, a summary and a page. */
#include "base/digest.h"
#include "base/file.h"
#include "eval/evaluation.h"
#include "eval/score.h"
#include "train/render.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Med3DVLM's script for captions takes the first so many of the test list. */
#define MED3DVLM_CAPTIONS 1000

static const char *const kind_names[] = {"caption", "vqa-open", "vqa-closed"};
static const char *const file_names[] = {"eval_caption", "eval_open_vqa", "eval_close_vqa"};
static const char *const protocol_names[] = {"tomo", "m3d", "med3dvlm"};
static const unsigned sample_kinds[] = {TOMO_SAMPLE_REPORT, TOMO_SAMPLE_OPEN, TOMO_SAMPLE_CLOSED};

/* ------------------------------------------------------------------------------ small parts */

char *tomo_evaluation_path(const tomo_evaluation *e, const char *suffix) {
    tomo_buffer name = {.maximum = 4096};
    char *path =
        tomo_buffer_format(&name, "%s%s", e->name, suffix) ? tomo_path_join(e->folder, name.data) : NULL;
    tomo_buffer_free(&name);
    return path;
}

const tomo_sample *tomo_evaluation_sample(const tomo_evaluation *e, size_t index) {
    return tomo_dataset_at(e->dataset, e->first + index);
}

bool tomo_evaluation_is_benchmark(const tomo_evaluation *e) {
    return e->options->protocol != TOMO_PROTOCOL_TOMO;
}

const char *tomo_evaluation_instruction(const tomo_evaluation *e, size_t index) {
    if (!tomo_evaluation_is_benchmark(e)) return NULL;
    return tomo_m3d_prompts[tomo_m3d_prompt_draw(e->options->seed, 0, e->first + index)];
}

static const char *split_of(const tomo_eval_options *o) {
    return o->split != NULL ? o->split : "test";
}

/* ------------------------------------------------------------------------------ opening */

static tomo_status check_options(const tomo_model *model, tomo_eval_kind kind, const tomo_eval_options *o,
                                 tomo_error *err) {
    if (kind < TOMO_EVAL_CAPTION || kind > TOMO_EVAL_VQA_CLOSED) {
        return tomo_fail(err, TOMO_E_USAGE, "evaluation kind %d is unknown", (int)kind);
    }
    if (o->protocol < TOMO_PROTOCOL_TOMO || o->protocol > TOMO_PROTOCOL_MED3DVLM) {
        return tomo_fail(err, TOMO_E_USAGE, "protocol %d is unknown", (int)o->protocol);
    }
    if (o->shard_count < 0 || o->shard < 0 || o->shard > o->shard_count ||
        (o->shard_count > 0 && o->shard == 0)) {
        return tomo_fail(err, TOMO_E_USAGE, "shard %lld of %lld; 1 to the number of shards is wanted",
                         (long long)o->shard, (long long)o->shard_count);
    }
    if (o->cache != NULL && o->force_windows) {
        return tomo_fail(
            err, TOMO_E_USAGE,
            "a cache holds features of scans with the model's own windows, not with forced ones");
    }
    if (model->reads_scans) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: a language model alone; a model directory is wanted to read scans", model->folder);
}

static tomo_status open_dataset(tomo_evaluation *e, tomo_error *err) {
    const tomo_eval_options *o = e->options;
    int64_t limit = o->limit;
    if (o->protocol == TOMO_PROTOCOL_MED3DVLM && e->kind == TOMO_EVAL_CAPTION &&
        (limit == 0 || limit > MED3DVLM_CAPTIONS)) {
        limit = MED3DVLM_CAPTIONS;
    }
    tomo_dataset_options d = {.split = split_of(o),
                              .kinds = sample_kinds[e->kind],
                              .captions = o->captions,
                              .questions = o->questions,
                              .limit = limit};
    tomo_status status = tomo_dataset_open(e->data, &d, &e->dataset, err);
    if (status != TOMO_OK) return status;
    size_t all = tomo_dataset_count(e->dataset), n = o->shard_count > 0 ? (size_t)o->shard_count : 1;
    size_t i = o->shard_count > 0 ? (size_t)o->shard - 1 : 0;
    e->first = all / n * i + (i < all % n ? i : all % n);
    e->count = all / n + (i < all % n);
    if (e->count == 0) {
        return tomo_fail(err, TOMO_E_USAGE, "%zu shards for %zu samples; at most one a sample is wanted", n,
                         all);
    }
    for (size_t k = 0; k < e->count; k++) {
        const tomo_sample *s = tomo_evaluation_sample(e, k);
        if (s->wrong == NULL) continue;
        return tomo_fail(err, TOMO_E_FORMAT, "%s: row %zu: %s", s->source, s->row, s->wrong);
    }
    return TOMO_OK;
}

static tomo_status hash_model(tomo_evaluation *e, tomo_error *err) {
    tomo_digest *digest = NULL;
    tomo_status status = tomo_digest_create(&digest, err);
    if (status == TOMO_OK) status = tomo_digest_add_path(digest, e->model->folder, err);
    if (status == TOMO_OK) tomo_digest_text(digest, e->model_hash);
    tomo_digest_free(digest);
    return status;
}

static bool add_prompt(const tomo_evaluation *e, cJSON *object) {
    const char *what = "the question";
    if (e->kind == TOMO_EVAL_CAPTION) what = e->model->config.report;
    if (e->kind == TOMO_EVAL_CAPTION && tomo_evaluation_is_benchmark(e)) {
        what = "one of M3D's 42 instructions a sample, drawn by seed and sample number";
    }
    if (e->kind == TOMO_EVAL_VQA_CLOSED) what = "the question with \" Choices: A. ... B. ...\"";
    return cJSON_AddStringToObject(object, "prompt", what) != NULL;
}

static bool add_generation(const tomo_evaluation *e, cJSON *object) {
    tomo_generate_options none = {0};
    const tomo_generate_options *g = e->options->generate != NULL ? e->options->generate : &none;
    cJSON *section = cJSON_AddObjectToObject(object, "generation");
    double most = (double)g->max_tokens;
    if (g->max_tokens == 0) most = tomo_evaluation_is_benchmark(e) ? 256 : 512;
    return section != NULL && cJSON_AddNumberToObject(section, "max_tokens", most) != NULL &&
           cJSON_AddNumberToObject(section, "temperature", g->temperature) != NULL &&
           cJSON_AddNumberToObject(section, "top_k", (double)g->top_k) != NULL &&
           cJSON_AddNumberToObject(section, "top_p", g->top_p) != NULL &&
           cJSON_AddNumberToObject(section, "min_p", g->min_p) != NULL &&
           cJSON_AddNumberToObject(section, "repetition_penalty", g->repetition_penalty) != NULL &&
           cJSON_AddNumberToObject(section, "seed", (double)g->seed) != NULL;
}

/* What the predictions depend on. */
static bool add_run(const tomo_evaluation *e, cJSON *object) {
    const tomo_eval_options *o = e->options;
    return cJSON_AddStringToObject(object, "evaluation", kind_names[e->kind]) != NULL &&
           cJSON_AddStringToObject(object, "protocol", protocol_names[o->protocol]) != NULL &&
           cJSON_AddStringToObject(object, "model_sha256", e->model_hash) != NULL &&
           cJSON_AddStringToObject(object, "data_sha256", tomo_dataset_hash(e->dataset)) != NULL &&
           cJSON_AddStringToObject(object, "split", split_of(o)) != NULL && add_prompt(e, object) &&
           add_generation(e, object) && cJSON_AddNumberToObject(object, "seed", (double)o->seed) != NULL &&
           cJSON_AddNumberToObject(object, "first_sample", (double)e->first) != NULL &&
           cJSON_AddNumberToObject(object, "samples", (double)e->count) != NULL &&
           cJSON_AddBoolToObject(object, "force_windows", o->force_windows) != NULL &&
           cJSON_AddBoolToObject(object, "cached_features", e->options->cache != NULL) != NULL &&
           cJSON_AddStringToObject(object, "kernels", e->context->kernels->name) != NULL &&
           cJSON_AddStringToObject(object, "precision", e->model->precision) != NULL;
}

static tomo_status describe_run(tomo_evaluation *e, tomo_error *err) {
    cJSON *object = cJSON_CreateObject();
    if (object != NULL && add_run(e, object)) e->run = cJSON_PrintUnformatted(object);
    cJSON_Delete(object);
    return e->run != NULL ? TOMO_OK : tomo_fail_memory(err, "settings", 0);
}

/* ------------------------------------------------------------------------------ results */

/* "<im_patch>" as often as there are visual tokens, as the benchmark's scripts write it. */
static bool put_question(const tomo_evaluation *e, size_t index, tomo_buffer *out) {
    const tomo_sample *s = tomo_evaluation_sample(e, index);
    const char *instruction = tomo_evaluation_instruction(e, index);
    char *question = tomo_sample_question(s, instruction != NULL ? instruction : e->model->config.report);
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    int64_t tokens = tomo_model_config_image_tokens(&e->model->config);
    for (int64_t i = 0; tomo_evaluation_is_benchmark(e) && i < tokens; i++) {
        (void)tomo_buffer_add_text(&text, "<im_patch>");
    }
    if (text.size > 0 && s->kind != TOMO_SAMPLE_REPORT) (void)tomo_buffer_add(&text, " ", 1);
    (void)tomo_buffer_add_text(&text, question != NULL ? question : "");
    bool good = question != NULL && !text.failed &&
                tomo_csv_put(out, e->kind == TOMO_EVAL_CAPTION, text.data, text.size);
    tomo_buffer_free(&text);
    free(question);
    return good;
}

static bool put_text(tomo_buffer *out, bool first, const char *text) {
    return tomo_csv_put(out, first, text, strlen(text));
}

static bool put_row(const tomo_evaluation *e, size_t index, tomo_buffer *out) {
    const tomo_sample *s = tomo_evaluation_sample(e, index);
    const tomo_prediction *p = &e->predictions[index];
    char *answer = tomo_sample_answer(s, false);
    const char type[2] = {s->type > 0 ? (char)('0' + s->type) : '\0', '\0'};
    bool good = answer != NULL;
    if (e->kind != TOMO_EVAL_CAPTION) good = good && put_text(out, true, type);
    good = good && put_question(e, index, out) && put_text(out, false, answer);
    if (e->kind == TOMO_EVAL_VQA_CLOSED) good = good && put_text(out, false, s->letter);
    good = good && put_text(out, false, p->text);
    for (int i = 0; e->kind == TOMO_EVAL_VQA_CLOSED && i < TOMO_RANKINGS; i++) {
        const char letter[2] = {p->ranked[i], '\0'};
        good = good && put_text(out, false, letter);
    }
    free(answer);
    return good && tomo_buffer_add(out, "\r\n", 2);
}

static bool put_names(const tomo_evaluation *e, tomo_buffer *out) {
    static const char *const names[] = {"Question,Ground Truth,pred", "Question Type,Question,Answer,Pred",
                                        "Question Type,Question,Answer,Answer Choice,Pred"};
    bool good = tomo_buffer_add_text(out, names[e->kind]);
    for (int i = 0; e->kind == TOMO_EVAL_VQA_CLOSED && i < TOMO_RANKINGS; i++) {
        good = good && put_text(out, false, tomo_rank_columns[i]);
    }
    return good && tomo_buffer_add(out, "\r\n", 2);
}

/* The predictions as the table that is scored. */
static tomo_status make_table(const tomo_evaluation *e, const char *path, tomo_csv **csv, tomo_error *err) {
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    bool good = put_names(e, &text);
    for (size_t i = 0; good && i < e->count; i++) good = put_row(e, i, &text);
    tomo_status status = good ? tomo_csv_open_memory(path, text.data, text.size, csv, err)
                              : tomo_fail_memory(err, path, text.size);
    tomo_buffer_free(&text);
    return status;
}

/* ------------------------------------------------------------------------------ summary */

static bool add_counts(const tomo_evaluation *e, cJSON *object) {
    double slices = 0, kept = 0, prompt = 0, tokens = 0, read = 0;
    for (size_t i = 0; i < e->count; i++) {
        const tomo_prediction *p = &e->predictions[i];
        slices += (double)p->slices;
        kept += (double)p->kept_count;
        prompt += (double)p->prompt_tokens;
        tokens += (double)p->tokens;
        read += p->failure == NULL;
    }
    read = read > 0 ? read : 1;
    cJSON *section = cJSON_AddObjectToObject(object, "per_sample");
    return cJSON_AddNumberToObject(object, "failed", (double)e->failed) != NULL && section != NULL &&
           cJSON_AddNumberToObject(section, "slices", slices / read) != NULL &&
           cJSON_AddNumberToObject(section, "kept_slices", kept / read) != NULL &&
           cJSON_AddNumberToObject(section, "prompt_tokens", prompt / read) != NULL &&
           cJSON_AddNumberToObject(section, "tokens", tokens / read) != NULL;
}

static bool add_prompts(const tomo_evaluation *e, cJSON *object) {
    if (e->kind != TOMO_EVAL_CAPTION || !tomo_evaluation_is_benchmark(e)) return true;
    cJSON *list = cJSON_AddArrayToObject(object, "prompts_drawn");
    for (size_t i = 0; list != NULL && i < e->count; i++) {
        cJSON *item = cJSON_CreateNumber(e->predictions[i].prompt);
        if (item == NULL || !cJSON_AddItemToArray(list, item)) return false;
    }
    return list != NULL;
}

static bool add_protocol(const tomo_evaluation *e, cJSON *object) {
    static const char *const lists[] = {"the whole list", "the whole list", "captions: the first 1000"};
    static const char *const means[] = {"macro and micro, both printed", "micro: the mean of all rows",
                                        "per question type; captions: the mean of all rows"};
    cJSON *section = cJSON_AddObjectToObject(object, "protocol_rules");
    return section != NULL && cJSON_AddStringToObject(section, "list", lists[e->options->protocol]) != NULL &&
           cJSON_AddStringToObject(section, "mean", means[e->options->protocol]) != NULL;
}

/* All but this process's times is the same for the same run. */
static bool add_timing(const tomo_evaluation *e, cJSON *object) {
    cJSON *section = cJSON_AddObjectToObject(object, "timing");
    return section != NULL && cJSON_AddNumberToObject(section, "samples", (double)e->evaluated) != NULL &&
           cJSON_AddNumberToObject(section, "seconds", e->seconds) != NULL &&
           cJSON_AddNumberToObject(section, "opening_scans", e->scan_seconds) != NULL &&
           cJSON_AddNumberToObject(section, "encoding", e->read_seconds) != NULL &&
           cJSON_AddNumberToObject(section, "answering", e->answer_seconds) != NULL;
}

static tomo_status make_summary(const tomo_evaluation *e, cJSON *scores, cJSON **summary, tomo_error *err) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && add_run(e, object) &&
                cJSON_AddStringToObject(object, "model", e->model->folder) != NULL &&
                cJSON_AddStringToObject(object, "data", e->data) != NULL && add_protocol(e, object) &&
                add_counts(e, object) && add_prompts(e, object);
    if (good) {
        good = cJSON_AddItemToObject(object, "scores", scores);
        scores = good ? NULL : scores;
    }
    good = good && cJSON_AddStringToObject(object, "version", tomo_version()) != NULL &&
           cJSON_AddStringToObject(object, "notice", "For research, not for diagnosis.") != NULL &&
           add_timing(e, object);
    cJSON_Delete(scores);
    *summary = good ? object : NULL;
    if (good) return TOMO_OK;
    cJSON_Delete(object);
    return tomo_fail_memory(err, "summary", 0);
}

/* Whether the data set has training texts to compare with; those of a file of its own are not looked for. */
static bool has_training(const tomo_evaluation *e) {
    tomo_dataset_options d = {.split = "train", .kinds = sample_kinds[e->kind], .limit = 1};
    tomo_dataset *dataset = NULL;
    if (e->options->questions != NULL || e->options->captions != NULL ||
        strcmp(split_of(e->options), "train") == 0)
        return false;
    bool found = tomo_dataset_open(e->data, &d, &dataset, NULL) == TOMO_OK;
    tomo_dataset_free(dataset);
    return found;
}

static tomo_status score(const tomo_evaluation *e, const char *path, cJSON *scores, tomo_results **results,
                         tomo_error *err) {
    const tomo_eval_options *o = e->options;
    tomo_csv *csv = NULL;
    tomo_score_options s = {.train = has_training(e) ? e->data : NULL,
                            .wordnet = o->wordnet,
                            .bertscore_model = o->bertscore_model,
                            .bertscore_layer = o->bertscore_layer,
                            .bertscore_idf = o->bertscore_idf,
                            .bertscore_baseline = o->bertscore_baseline,
                            .draws = o->draws};
    tomo_score_kind kind = e->kind == TOMO_EVAL_CAPTION ? TOMO_SCORE_CAPTION : TOMO_SCORE_VQA;
    tomo_status status = make_table(e, path, &csv, err);
    return status == TOMO_OK ? tomo_score_csv(e->context, kind, csv, &s, scores, results, err) : status;
}

static tomo_status write_text(const char *path, const char *text, tomo_error *err) {
    tomo_writer *writer = NULL;
    tomo_status status = tomo_writer_open(path, &writer, err);
    if (status != TOMO_OK) return status;
    status = tomo_writer_write(writer, text, strlen(text), err);
    if (status == TOMO_OK) status = tomo_writer_write(writer, "\n", 1, err);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}

/* CSV, summary and page; *json is the summary. */
static tomo_status write_results(const tomo_evaluation *e, char **json, tomo_error *err) {
    char *csv = tomo_evaluation_path(e, ".csv"), *text = tomo_evaluation_path(e, ".json");
    char *page = tomo_evaluation_path(e, ".html");
    cJSON *scores = cJSON_CreateObject(), *summary = NULL;
    tomo_results *results = NULL;
    tomo_status status = csv == NULL || text == NULL || page == NULL || scores == NULL
                             ? tomo_fail_memory(err, e->folder, 0)
                             : score(e, csv, scores, &results, err);
    if (status == TOMO_OK) {
        status = make_summary(e, scores, &summary, err); /* takes the scores over */
    } else {
        cJSON_Delete(scores);
    }
    if (status == TOMO_OK) status = tomo_results_write(results, csv, !tomo_evaluation_is_benchmark(e), err);
    if (status == TOMO_OK) status = tomo_evaluation_write_html(e, results, summary, page, err);
    if (status == TOMO_OK) {
        status = tomo_json_hand_out(summary, json, err);
        summary = NULL;
    }
    if (status == TOMO_OK) status = write_text(text, *json, err);
    cJSON_Delete(summary);
    tomo_results_free(results);
    free(csv);
    free(text);
    free(page);
    return status;
}

/* ------------------------------------------------------------------------------ together */

static void name_run(tomo_evaluation *e) {
    const tomo_eval_options *o = e->options;
    if (o->shard_count > 0) {
        int digits = snprintf(NULL, 0, "%lld", (long long)o->shard_count);
        (void)snprintf(e->name, sizeof e->name, "%s.%0*lld-of-%lld", file_names[e->kind], digits,
                       (long long)o->shard, (long long)o->shard_count);
    } else {
        (void)snprintf(e->name, sizeof e->name, "%s", file_names[e->kind]);
    }
}

static tomo_status prepare(tomo_evaluation *e, tomo_error *err) {
    name_run(e);
    tomo_status status = open_dataset(e, err);
    if (status == TOMO_OK) status = hash_model(e, err);
    if (status == TOMO_OK) status = describe_run(e, err);
    if (status == TOMO_OK && e->options->cache != NULL && e->model->config.image) {
        status =
            tomo_feature_cache_open(e->options->cache, 0, e->model, &e->context->hooks, &e->features, err);
    }
    if (status != TOMO_OK) return status;
    if (mkdir(e->folder, 0777) != 0 && errno != EEXIST) {
        return tomo_fail_errno(err, e->folder, "make the folder");
    }
    e->predictions = calloc(e->count, sizeof *e->predictions);
    return e->predictions != NULL ? TOMO_OK
                                  : tomo_fail_memory(err, "predictions", e->count * sizeof *e->predictions);
}

/* Half-written files of a process that was killed. The journal's lock keeps off others of this name. */
static void remove_leftovers(const tomo_evaluation *e) {
    DIR *stream = opendir(e->folder);
    size_t length = strlen(e->name);
    if (stream == NULL) return;
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        const char *name = entry->d_name, *dot = strrchr(name, '.');
        bool ours = strncmp(name, e->name, length) == 0 && name[length] == '.';
        char *path =
            ours && dot != NULL && strcmp(dot, ".part") == 0 ? tomo_path_join(e->folder, name) : NULL;
        if (path != NULL) (void)unlink(path);
        free(path);
    }
    (void)closedir(stream);
}

static tomo_status run(tomo_evaluation *e, char **json, tomo_error *err) {
    tomo_journal *journal = NULL;
    tomo_status status = prepare(e, err);
    char *path = status == TOMO_OK ? tomo_evaluation_path(e, ".journal.jsonl") : NULL;
    if (status == TOMO_OK && path == NULL) status = tomo_fail_memory(err, e->folder, 0);
    if (status == TOMO_OK) status = tomo_journal_open(path, e->run, tomo_prediction_read, e, &journal, err);
    if (status == TOMO_OK) {
        remove_leftovers(e);
        status = tomo_evaluation_predict(e, journal, err);
    }
    if (status == TOMO_OK) status = write_results(e, json, err);
    tomo_journal_close(journal);
    free(path);
    return status;
}

tomo_status tomo_eval_run(tomo_model *model, tomo_eval_kind kind, const char *data, const char *folder,
                          const tomo_eval_options *options, char **json, tomo_error *err) {
    const tomo_eval_options none = {0}, *o = options != NULL ? options : &none;
    tomo_evaluation e = {.context = model->context,
                         .model = model,
                         .kind = kind,
                         .options = o,
                         .folder = folder,
                         .data = data};
    *json = NULL;
    tomo_status status = check_options(model, kind, o, err);
    if (status == TOMO_OK) status = run(&e, json, err);
    for (size_t i = 0; e.predictions != NULL && i < e.count; i++) tomo_prediction_free(&e.predictions[i]);
    free(e.predictions);
    tomo_feature_cache_free(e.features);
    tomo_dataset_free(e.dataset);
    cJSON_free(e.run);
    return status;
}
