#include "model/session.h"

#include "base/clock.h"
#include "language/generate.h"
#include "model/prompt.h"
#include "model/scan.h"

#include <stdlib.h>
#include <string.h>

#define STANDARD_TOKENS 512

tomo_status tomo_session_create(tomo_model *model, tomo_session **session, tomo_error *err) {
    *session = NULL;
    tomo_session *s = calloc(1, sizeof *s);
    if (s == NULL) return tomo_fail_memory(err, "session", sizeof *s);
    s->model = model;
    tomo_context *c = model->context;
    tomo_status status = tomo_exec_init(&s->exec, c->kernels, c->pool, &c->hooks, 0, err);
    if (status != TOMO_OK) {
        free(s);
        return status;
    }
    if (model->half) s->exec.half = tomo_half_products(c->kernels);
    *session = s;
    return TOMO_OK;
}

void tomo_session_free(tomo_session *session) {
    if (session == NULL) return;
    tomo_reading_free(&session->reading);
    tomo_recorder_free(session->recorder);
    tomo_kv_cache_free(session->cache);
    tomo_ids_free(&session->prefix);
    tomo_exec_release(&session->exec);
    free(session);
}

/* ---------------------------------------------------------------------------- scans */

void tomo_session_take_reading(tomo_session *session, tomo_reading *reading) {
    tomo_reading_free(&session->reading);
    session->reading = *reading;
    session->has_scan = true;
    session->prefix.count = 0;
    *reading = (tomo_reading){0};
}

tomo_status tomo_session_read_scan(tomo_session *session, const tomo_scan *scan,
                                   const tomo_read_options *options, tomo_error *err) {
    if (!session->model->reads_scans) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: a language model alone; a model directory is wanted to read scans",
                         session->model->folder);
    }
    tomo_reading reading = {0};
    tomo_error failure = {0};
    tomo_status status = tomo_reading_make(session->model, &session->exec, scan->volume, options,
                                           session->recorder, &reading, &failure);
    if (status == TOMO_E_UNSUPPORTED) { /* this scan does not suit this model: say which scan */
        return tomo_fail(err, status, "%s: %s", scan->path, failure.message);
    }
    if (status != TOMO_OK) {
        if (err != NULL) *err = failure;
        return status;
    }
    tomo_session_take_reading(session, &reading);
    return TOMO_OK;
}

static tomo_status needs_scan(const tomo_session *session, tomo_error *err) {
    if (session->has_scan) return TOMO_OK;
    return tomo_fail(err, TOMO_E_USAGE, "no scan was read into this session");
}

tomo_status tomo_session_manifest(const tomo_session *session, char **json, tomo_error *err) {
    tomo_status status = needs_scan(session, err);
    return status == TOMO_OK ? tomo_json_hand_out(cJSON_Duplicate(session->reading.manifest, true), json, err)
                             : status;
}

void tomo_session_read_seconds(const tomo_session *session, double *slices, double *encoder,
                               double *connector) {
    *slices = session->reading.slices_seconds;
    *encoder = session->reading.encoder_seconds;
    *connector = session->reading.connector_seconds;
}

const int64_t *tomo_session_kept_slices(const tomo_session *session, size_t *count) {
    *count = session->has_scan ? (size_t)session->reading.prune.count : 0;
    return session->reading.kept_z;
}

/* --------------------------------------------------------------------------- prompts */

tomo_status tomo_session_reserve(tomo_session *session, int64_t tokens, tomo_error *err) {
    int64_t context = tomo_decoder_get_config(session->model->decoder)->context;
    if (tokens > context) tokens = context;
    session->prefix.count = 0;
    if (session->cache == NULL || tomo_kv_cache_capacity(session->cache) < tokens) {
        tomo_kv_cache_free(session->cache);
        session->cache = NULL;
        return tomo_kv_cache_create(session->model->decoder, tokens, &session->cache, err);
    }
    tomo_kv_cache_truncate(session->cache, 0);
    return TOMO_OK;
}

/* How many ids from the start are there up to the last visual token; 0 where nothing follows it. */
static size_t shared_length(const tomo_model *m, const tomo_ids *ids) {
    size_t length = ids->count;
    while (length > 0 && ids->data[length - 1] != m->image_id) length--;
    return length == ids->count ? 0 : length;
}

/* Whether the cache begins with the first `length` ids and has room for `tokens`. */
static bool prefix_holds(const tomo_session *s, const tomo_ids *ids, size_t length, int64_t tokens) {
    return s->cache != NULL && s->prefix.count == length && tomo_kv_cache_capacity(s->cache) >= tokens &&
           memcmp(s->prefix.data, ids->data, length * sizeof *ids->data) == 0;
}

/* Reads the first `length` ids into the empty cache and remembers them. */
static bool read_prefix(tomo_session *s, const tomo_ids *ids, size_t length, tomo_error *err) {
    tomo_ids prefix = {.data = ids->data, .count = length};
    tomo_arena_reset(s->exec.arena);
    tomo_tensor *x = tomo_prompt_embed(s->model, &s->exec, &prefix, s->reading.tokens,
                                       tomo_model_config_image_tokens(&s->model->config));
    tomo_kv_cache_share_position(s->cache, tomo_prompt_positions(s->model, prefix.data, prefix.count));
    (void)tomo_decoder_extend(s->model->decoder, &s->exec, s->cache, x);
    if (tomo_exec_status(&s->exec, err) != TOMO_OK) return false;
    for (size_t i = 0; i < length; i++) {
        if (!tomo_ids_add(&s->prefix, ids->data[i])) {
            s->prefix.count = 0; /* it is read again next time */
            break;
        }
    }
    return true;
}

tomo_tensor *tomo_session_prefill(tomo_session *s, const tomo_ids *ids, bool with_scan, int64_t more,
                                  tomo_error *err) {
    int64_t count = (int64_t)ids->count, context = tomo_decoder_get_config(s->model->decoder)->context;
    if (count == 0 || count >= context) {
        (void)tomo_fail(err, TOMO_E_LIMIT,
                        "%s: the prompt has %lld tokens; 1 to %lld fit into the model's context",
                        s->model->folder, (long long)count, (long long)context - 1);
        return NULL;
    }
    size_t shared = with_scan ? shared_length(s->model, ids) : 0;
    if (shared > 0 && prefix_holds(s, ids, shared, count + more < context ? count + more : context)) {
        tomo_kv_cache_truncate(s->cache, (int64_t)shared);
    } else {
        if (tomo_session_reserve(s, count + more, err) != TOMO_OK) return NULL;
        if (shared > 0 && !read_prefix(s, ids, shared, err)) return NULL;
    }
    tomo_ids rest = {.data = ids->data + shared, .count = ids->count - shared};
    tomo_arena_reset(s->exec.arena);
    tomo_tensor *x = tomo_prompt_embed(s->model, &s->exec, &rest, NULL, 0);
    tomo_tensor *logits = tomo_decoder_prefill(s->model->decoder, &s->exec, s->cache, x);
    if (tomo_exec_status(&s->exec, err) != TOMO_OK) {
        s->prefix.count = 0;
        return NULL;
    }
    return logits;
}

/* -------------------------------------------------------------------------- answering */

void tomo_answer_clear(tomo_answer *answer) {
    if (answer == NULL) return;
    free(answer->text);
    free(answer->ids);
    *answer = (tomo_answer){0};
}

static tomo_generation plan(const tomo_session *s, const tomo_generate_options *o, const tomo_ids *prompt,
                            bool with_scan) {
    tomo_generate_options none = {0};
    if (o == NULL) o = &none;
    tomo_generation g = {.max_tokens = o->max_tokens > 0 ? o->max_tokens : STANDARD_TOKENS,
                         .end_id = s->model->end_id,
                         .text = o->text,
                         .user = o->user};
    g.sampling = (tomo_sampling){.temperature = o->temperature,
                                 .top_k = (int32_t)o->top_k,
                                 .top_p = o->top_p > 0 ? o->top_p : 1,
                                 .min_p = o->min_p,
                                 .repetition_penalty = o->repetition_penalty > 0 ? o->repetition_penalty : 1,
                                 .seed = o->seed};
    if (!with_scan) {
        g.history = prompt->data;
        g.history_count = prompt->count;
    }
    int64_t room = tomo_decoder_get_config(s->model->decoder)->context - (int64_t)prompt->count;
    if (g.max_tokens > room && room > 0) g.max_tokens = room;
    return g;
}

static tomo_status check_options(const tomo_generate_options *o, tomo_error *err) {
    if (o == NULL) return TOMO_OK;
    if (o->max_tokens < 0) {
        return tomo_fail(err, TOMO_E_USAGE, "max_tokens: %lld; at least 1 is wanted",
                         (long long)o->max_tokens);
    }
    if (o->top_k < 0 || o->top_k > INT32_MAX) {
        return tomo_fail(err, TOMO_E_USAGE, "top_k: %lld; 1 or more is wanted, 0 for off",
                         (long long)o->top_k);
    }
    return TOMO_OK;
}

static tomo_status record_answer(tomo_session *s, const tomo_ids *prompt, const tomo_tensor *logits,
                                 tomo_error *err) {
    if (s->recorder == NULL) return TOMO_OK;
    int64_t vocabulary = tomo_tensor_width(logits);
    tomo_status status = tomo_recorder_add_ids(s->recorder, "prompt_ids", prompt->data, prompt->count, err);
    if (status == TOMO_OK) {
        status = tomo_recorder_add(s->recorder, "logits", TOMO_F32, 1, &vocabulary, logits->data, err);
    }
    return status;
}

/* Prefill, then token after token. The ids of the prompt are the caller's. */
static tomo_status answer_prompt(tomo_session *s, const tomo_ids *prompt, bool with_scan,
                                 const tomo_generate_options *options, tomo_answer *answer, tomo_error *err) {
    tomo_generation how = plan(s, options, prompt, with_scan);
    tomo_generated made = {0};
    tomo_status status = tomo_sampling_check(&how.sampling, err);
    if (status != TOMO_OK) return status;
    double start = tomo_seconds();
    tomo_error failure = {0};
    tomo_tensor *logits = tomo_session_prefill(s, prompt, with_scan, how.max_tokens, &failure);
    double read = tomo_seconds();
    if (logits == NULL) {
        if (err != NULL) *err = failure;
        return failure.status;
    }
    status = record_answer(s, prompt, logits, err);
    if (status == TOMO_OK) {
        status = tomo_generate(s->model->decoder, s->model->tokenizer, &s->exec, s->cache, logits, &how,
                               &made, err);
    }
    if (status == TOMO_OK && s->recorder != NULL) {
        status = tomo_recorder_add_ids(s->recorder, "ids", made.ids.data, made.ids.count, err);
    }
    if (status == TOMO_OK) {
        *answer = (tomo_answer){.text = made.text.data,
                                .ids = made.ids.data,
                                .count = made.count,
                                .prompt_tokens = prompt->count,
                                .finish = made.finish,
                                .prefill_seconds = read - start,
                                .decode_seconds = tomo_seconds() - read};
    } else {
        tomo_generated_free(&made);
    }
    return status;
}

/* A closed question whose answer begins with the words: a small model finds the words long before it can look
 * up which letter they had, so the letter is looked up here, and the answer is told in one piece. */
static tomo_status answer_in_words(tomo_session *s, const char *question, const tomo_ids *prompt,
                                   const tomo_generate_options *options, tomo_answer *answer,
                                   tomo_error *err) {
    tomo_generate_options quiet = {0};
    if (options != NULL) quiet = *options;
    quiet.text = NULL;
    tomo_status status = answer_prompt(s, prompt, true, &quiet, answer, err);
    if (status != TOMO_OK) return status;
    if (answer->text == NULL) return TOMO_OK;
    tomo_prompt_correct_letter(question, answer->text);
    size_t size = strlen(answer->text);
    if (options != NULL && options->text != NULL && size > 0 &&
        !options->text(options->user, answer->text, size)) {
        answer->finish = "callback";
    }
    return TOMO_OK;
}

/* question NULL: a report. */
static tomo_status answer_scan(tomo_session *s, const char *question, const tomo_generate_options *options,
                               tomo_answer *answer, tomo_error *err) {
    tomo_ids prompt = {0};
    tomo_status status = needs_scan(s, err);
    if (status == TOMO_OK) status = check_options(options, err);
    if (status == TOMO_OK) {
        int64_t tokens = tomo_model_config_image_tokens(&s->model->config);
        const char *instruction = options != NULL ? options->instruction : NULL;
        status = question != NULL ? tomo_prompt_question(s->model, question, tokens, &prompt, err)
                                  : tomo_prompt_report(s->model, instruction, tokens, &prompt, err);
    }
    bool words = question != NULL && s->model->config.text_first && tomo_prompt_has_choices(question);
    if (status == TOMO_OK) {
        status = words ? answer_in_words(s, question, &prompt, options, answer, err)
                       : answer_prompt(s, &prompt, true, options, answer, err);
    }
    tomo_ids_free(&prompt);
    return status;
}

tomo_status tomo_session_report(tomo_session *session, const tomo_generate_options *options,
                                tomo_answer *answer, tomo_error *err) {
    return answer_scan(session, NULL, options, answer, err);
}

tomo_status tomo_session_ask(tomo_session *session, const char *question,
                             const tomo_generate_options *options, tomo_answer *answer, tomo_error *err) {
    if (question == NULL) return tomo_fail(err, TOMO_E_USAGE, "a question is wanted");
    return answer_scan(session, question, options, answer, err);
}

tomo_status tomo_session_complete(tomo_session *session, const char *prompt, bool chat,
                                  const tomo_generate_options *options, tomo_answer *answer,
                                  tomo_error *err) {
    tomo_ids ids = {0};
    tomo_status status = check_options(options, err);
    if (status == TOMO_OK) status = tomo_prompt_text(session->model, prompt, chat, &ids, err);
    if (status == TOMO_OK) status = answer_prompt(session, &ids, false, options, answer, err);
    tomo_ids_free(&ids);
    return status;
}

/* ------------------------------------------------------------------ trace and features */

tomo_status tomo_session_trace_start(tomo_session *session, tomo_error *err) {
    tomo_recorder_free(session->recorder);
    session->recorder = NULL;
    return tomo_recorder_create(&session->recorder, err);
}

tomo_status tomo_session_trace_write(tomo_session *session, const char *path, tomo_error *err) {
    if (session->recorder == NULL)
        return tomo_fail(err, TOMO_E_USAGE, "no trace was started in this session");
    return tomo_recorder_write(session->recorder, path, err);
}

/* Descriptors of the kept slices, each counted as often as it stands for slices: [C]. */
static void mean_descriptor(const tomo_reading *r, int64_t C, float *out) {
    for (int64_t c = 0; c < C; c++) {
        double sum = 0;
        for (int64_t k = 0; k < r->prune.count; k++) {
            int64_t end = k + 1 < r->prune.count ? r->prune.kept[k + 1] : r->slices;
            sum += (double)(end - r->prune.kept[k]) * (double)r->descriptors[r->prune.kept[k] * C + c];
        }
        out[c] = (float)(sum / (double)r->slices);
    }
}

tomo_status tomo_session_embed(const tomo_session *session, tomo_embedding what, float **data, int64_t *shape,
                               int *rank, tomo_error *err) {
    tomo_status status = needs_scan(session, err);
    if (status != TOMO_OK) return status;
    if (!session->model->config.image) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: the model looks at no scan (prompt.image is false)",
                         session->model->folder);
    }
    const tomo_reading *r = &session->reading;
    const tomo_connector_config *c = &session->model->config.connector;
    int64_t slices[] = {r->slices, c->encoder_width}, volume[] = {c->encoder_width};
    int64_t features[] = {c->layers, r->prune.count, c->grid[0], c->grid[1], c->encoder_width};
    int64_t tokens[] = {tomo_connector_token_count(c), c->language_width};
    const struct {
        const float *from;
        const int64_t *shape;
        int rank;
    } kinds[] = {
        [TOMO_EMBED_SLICES] = {r->descriptors, slices, 2},
        [TOMO_EMBED_FEATURES] = {r->features, features, 5},
        [TOMO_EMBED_TOKENS] = {r->tokens, tokens, 2},
        [TOMO_EMBED_VOLUME] = {NULL, volume, 1},
    };
    if ((unsigned)what >= sizeof kinds / sizeof kinds[0])
        return tomo_fail(err, TOMO_E_USAGE, "no such embedding");
    size_t count = 1;
    for (int i = 0; i < kinds[what].rank; i++) {
        shape[i] = kinds[what].shape[i];
        count *= (size_t)shape[i];
    }
    *rank = kinds[what].rank;
    *data = malloc(count * sizeof **data);
    if (*data == NULL) return tomo_fail_memory(err, "an embedding", count * sizeof **data);
    if (kinds[what].from == NULL) {
        mean_descriptor(r, c->encoder_width, *data);
    } else {
        memcpy(*data, kinds[what].from, count * sizeof **data);
    }
    return TOMO_OK;
}
