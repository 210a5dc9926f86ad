/* bench.c - stage times of a model beside the limits of the machine, measured in turn in the same run, since
 * shared machines change speed within minutes. */
#include "base/clock.h"
#include "base/size.h"
#include "model/gemm_rate.h"
#include "model/machine.h"
#include "model/prompt.h"
#include "model/reading.h"
#include "model/session.h"
#include "tensor/profile.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_REPEATS 101

typedef struct series {
    double value[MOST_REPEATS], limit[MOST_REPEATS], fraction[MOST_REPEATS];
    int count;
} series;

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts and returns the value at a quartile (0 to 4). */
static double quartile(double *values, int count, int which) {
    qsort(values, (size_t)count, sizeof *values, ascending);
    return values[(count - 1) * which / 4];
}

static void add_quartiles(cJSON *item, const char *name, double *values, int count) {
    double list[3] = {quartile(values, count, 1), quartile(values, count, 2), quartile(values, count, 3)};
    cJSON_AddItemToObject(item, name, cJSON_CreateDoubleArray(list, 3));
}

/* {"name", "value", "unit", "limit", "fraction_of_limit", quartiles}; limit and fraction are medians. */
static cJSON *add_series(cJSON *results, const char *name, const char *unit, series *s) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", name);
    cJSON_AddNumberToObject(item, "value", quartile(s->value, s->count, 2));
    cJSON_AddStringToObject(item, "unit", unit);
    cJSON_AddNumberToObject(item, "limit", quartile(s->limit, s->count, 2));
    cJSON_AddNumberToObject(item, "fraction_of_limit", quartile(s->fraction, s->count, 2));
    add_quartiles(item, "value_quartiles", s->value, s->count);
    add_quartiles(item, "fraction_quartiles", s->fraction, s->count);
    cJSON_AddItemToArray(results, item);
    return item;
}

/* A figure without a limit. */
static void add_value(cJSON *results, const char *name, const char *unit, double value) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", name);
    cJSON_AddNumberToObject(item, "value", value);
    cJSON_AddStringToObject(item, "unit", unit);
    cJSON_AddNullToObject(item, "limit");
    cJSON_AddNullToObject(item, "fraction_of_limit");
    cJSON_AddItemToArray(results, item);
}

typedef struct bench {
    tomo_session *session;
    tomo_bench_options options;
    tomo_machine *machine;
    tomo_gemm_rate *encoder_rate, *prefill_rate; /* NULL: products are in float32, and so is the limit */
    cJSON *results;
    tomo_product encoder[5], prefill[8];
    int encoder_count, prefill_count;
    double encoder_operations, prefill_operations; /* of one batch and one prompt, attention included */
} bench;

static double operations_of(const tomo_product *products, int count) {
    double sum = 0;
    for (int i = 0; i < count; i++) {
        const tomo_product *p = &products[i];
        sum += 2.0 * (double)p->m * (double)p->n * (double)p->k * (double)p->times;
    }
    return sum;
}

/* The products of one batch through the encoder, and of one prompt through the language model. */
/* Not where features are the pixels themselves. */
static bool has_encoder(const bench *b) {
    const tomo_model *m = b->session->model;
    return m->reads_scans && !tomo_encoder_vit(m->encoder)->is_pixels;
}

static void plan(bench *b) {
    const tomo_decoder_config *c = tomo_decoder_get_config(b->session->model->decoder);
    int64_t T = b->options.prompt_tokens, q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    b->prefill[b->prefill_count++] = (tomo_product){T, q, c->hidden, c->layers};
    b->prefill[b->prefill_count++] = (tomo_product){T, kv, c->hidden, 2 * c->layers};
    b->prefill[b->prefill_count++] = (tomo_product){T, c->hidden, q, c->layers};
    b->prefill[b->prefill_count++] = (tomo_product){T, c->intermediate, c->hidden, 2 * c->layers};
    b->prefill[b->prefill_count++] = (tomo_product){T, c->hidden, c->intermediate, c->layers};
    b->prefill_operations = operations_of(b->prefill, b->prefill_count);
    /* q k^T and p v, causal: half of T x T; and the last token's logits. */
    b->prefill_operations += 2.0 * (double)T * (double)T * (double)q * (double)c->layers +
                             2.0 * (double)c->vocabulary * (double)c->hidden;
    if (!has_encoder(b)) return;
    const tomo_vit *v = tomo_encoder_vit(b->session->model->encoder);
    int64_t side = v->image_size / v->patch_size, P = side * side, C = v->width;
    int64_t M = v->layers[0].fc1.weight.shape[0], batch = tomo_reading_batch(b->session->model);
    int64_t rows = batch * (P + 1);
    b->encoder[b->encoder_count++] = (tomo_product){batch * P, C, 3 * v->patch_size * v->patch_size, 1};
    b->encoder[b->encoder_count++] = (tomo_product){rows, 3 * C, C, v->depth};
    b->encoder[b->encoder_count++] = (tomo_product){rows, C, C, v->depth};
    b->encoder[b->encoder_count++] = (tomo_product){rows, M, C, v->depth};
    b->encoder[b->encoder_count++] = (tomo_product){rows, C, M, v->depth};
    b->encoder_operations = operations_of(b->encoder, b->encoder_count);
    b->encoder_operations += 4.0 * (double)rows * (double)(P + 1) * (double)C * (double)v->depth;
}

/* The limit is taken in the float type that the model's products are computed in; int8 is held against it
 * too. */
static tomo_status prepare_rates(bench *b, tomo_error *err) {
    const tomo_model *m = b->session->model;
    int threads = tomo_pool_threads(b->session->exec.pool);
    if (!m->half) return TOMO_OK;
    tomo_status status = tomo_gemm_rate_create(b->prefill, b->prefill_count, threads, &b->prefill_rate, err);
    if (status == TOMO_OK && has_encoder(b))
        status = tomo_gemm_rate_create(b->encoder, b->encoder_count, threads, &b->encoder_rate, err);
    return status;
}

static double gemm_rate(bench *b, tomo_gemm_rate *rate, const tomo_product *products, int count) {
    return rate != NULL ? tomo_gemm_rate_measure(rate) : tomo_machine_gemm_rate(b->machine, products, count);
}

static void describe_products(const bench *b, cJSON *machine) {
    const dnnl_version_t *v = dnnl_version();
    char gemm[96];
    (void)snprintf(gemm, sizeof gemm, "oneDNN %d.%d.%d %s", v->major, v->minor, v->patch,
                   b->prefill_rate == NULL ? "sgemm" : tomo_gemm_rate_implementation(b->prefill_rate));
    cJSON_AddStringToObject(machine, "gemm", gemm);
    cJSON_AddStringToObject(machine, "precision", b->session->model->precision);
}

/* ---------------------------------------------------------------------------- stages */

static tomo_status one_batch(bench *b, double *seconds, tomo_error *err) {
    tomo_exec *exec = &b->session->exec;
    const tomo_vit *v = tomo_encoder_vit(b->session->model->encoder);
    tomo_arena_reset(exec->arena);
    tomo_tensor *pixels = tomo_exec_tensor(
        exec, 4, (int64_t[]){tomo_reading_batch(b->session->model), 3, v->image_size, v->image_size});
    if (pixels == NULL) return tomo_exec_status(exec, err);
    for (int64_t i = 0; i < tomo_tensor_count(pixels); i++)
        tomo_tensor_f32(pixels)[i] = (float)(i % 255) / 127.5f - 1;
    double start = tomo_seconds();
    (void)tomo_vit_forward(v, exec, pixels, NULL, 0, NULL);
    *seconds = tomo_seconds() - start;
    return tomo_exec_status(exec, err);
}

static tomo_status bench_encoder(bench *b, tomo_error *err) {
    series rate = {0};
    double seconds, times[MOST_REPEATS];
    const tomo_hooks *hooks = b->session->exec.hooks;
    int64_t batch = tomo_reading_batch(b->session->model);
    int64_t batches = tomo_pieces(b->options.slices, batch);
    tomo_status status = one_batch(b, &seconds, err); /* the arena grows and pages are touched */
    for (int i = 0; i < b->options.repeats && status == TOMO_OK; i++) {
        double total = 0;
        rate.limit[i] = gemm_rate(b, b->encoder_rate, b->encoder, b->encoder_count) * 1e-9;
        for (int64_t k = 0; k < batches && status == TOMO_OK; k++) {
            status = one_batch(b, &seconds, err);
            total += seconds;
        }
        times[i] = total * 1e3 / (double)(batches * batch);
        rate.value[i] = b->encoder_operations * (double)batches / total * 1e-9;
        rate.fraction[i] = rate.value[i] / rate.limit[i];
        rate.count = i + 1;
        if (status == TOMO_OK)
            status = tomo_progress(hooks, "measuring the encoder", i + 1, b->options.repeats, err);
    }
    if (status != TOMO_OK) return status;
    (void)add_series(b->results, "encoder", "GFLOP/s", &rate);
    add_value(b->results, "encoder_slice", "ms", quartile(times, rate.count, 2));
    return TOMO_OK;
}

/* Once through the connector, with features of no meaning. */
static tomo_status one_connector(bench *b, double *seconds, tomo_error *err) {
    tomo_exec *exec = &b->session->exec;
    const tomo_model *m = b->session->model;
    const tomo_connector_config *c = &m->config.connector;
    int64_t K = tomo_model_config_most_slices(&m->config);
    if (K > b->options.slices && c->kind == TOMO_CONNECTOR_FUSION) K = b->options.slices;
    int64_t shape[] = {c->layers, K, c->grid[0], c->grid[1], c->encoder_width}, kept[4096];
    if (K > 4096) K = shape[1] = 4096;
    for (int64_t k = 0; k < K; k++) kept[k] = k * 2;
    tomo_arena_reset(exec->arena);
    tomo_tensor *features = tomo_exec_tensor(exec, 5, shape);
    if (features == NULL) return tomo_exec_status(exec, err);
    for (int64_t i = 0; i < tomo_tensor_count(features); i++)
        tomo_tensor_f32(features)[i] = (float)(i % 101) / 50.0f - 1;
    double start = tomo_seconds();
    (void)tomo_connector_forward(m->connector, exec, features, kept, 2 * K, 1);
    *seconds = tomo_seconds() - start;
    return tomo_exec_status(exec, err);
}

static tomo_status bench_connector(bench *b, tomo_error *err) {
    double seconds, times[MOST_REPEATS];
    tomo_status status = one_connector(b, &seconds, err); /* the arena grows */
    for (int i = 0; i < b->options.repeats && status == TOMO_OK; i++) {
        status = one_connector(b, &seconds, err);
        times[i] = seconds * 1e3;
        if (status == TOMO_OK)
            status = tomo_progress(b->session->exec.hooks, "measuring the connector", i + 1,
                                   b->options.repeats, err);
    }
    if (status == TOMO_OK) add_value(b->results, "connector", "ms", quartile(times, b->options.repeats, 2));
    return status;
}

/* A prompt of ordinary tokens into an empty cache. */
static tomo_tensor *read_prompt(bench *b, tomo_error *err) {
    tomo_ids ids = {0};
    const tomo_decoder_config *c = tomo_decoder_get_config(b->session->model->decoder);
    bool done = true;
    for (int64_t i = 0; i < b->options.prompt_tokens && done; i++) {
        done = tomo_ids_add(&ids, (int32_t)(i * 7 % (c->vocabulary < 256 ? c->vocabulary : 256)));
    }
    tomo_tensor *logits = NULL;
    if (!done) {
        (void)tomo_fail_memory(err, "bench", ids.capacity);
    } else {
        logits = tomo_session_prefill(b->session, &ids, false, b->options.decode_tokens + 1, err);
    }
    tomo_ids_free(&ids);
    return logits;
}

static tomo_status bench_prefill(bench *b, tomo_error *err) {
    series rate = {0};
    double tokens[MOST_REPEATS];
    tomo_error failure = {0};
    if (read_prompt(b, &failure) == NULL) goto failed;
    for (int i = 0; i < b->options.repeats; i++) {
        rate.limit[i] = gemm_rate(b, b->prefill_rate, b->prefill, b->prefill_count) * 1e-9;
        double start = tomo_seconds();
        if (read_prompt(b, &failure) == NULL) goto failed;
        double seconds = tomo_seconds() - start;
        rate.value[i] = b->prefill_operations / seconds * 1e-9;
        rate.fraction[i] = rate.value[i] / rate.limit[i];
        tokens[i] = (double)b->options.prompt_tokens / seconds;
        rate.count = i + 1;
    }
    (void)add_series(b->results, "prefill", "GFLOP/s", &rate);
    add_value(b->results, "prefill_tokens", "tokens/s", quartile(tokens, rate.count, 2));
    return TOMO_OK;
failed:
    if (err != NULL) *err = failure;
    return failure.status;
}

static tomo_status decode_some(bench *b, double *seconds, tomo_error *err) {
    tomo_exec *exec = &b->session->exec;
    const tomo_decoder *decoder = b->session->model->decoder;
    int64_t prompt = tomo_kv_cache_length(b->session->cache);
    tomo_status status = TOMO_OK;
    double start = tomo_seconds();
    for (int64_t t = 0; t < b->options.decode_tokens && status == TOMO_OK; t++) {
        int64_t V = tomo_decoder_get_config(decoder)->vocabulary;
        int32_t id = (int32_t)(t % (V < 100 ? V : 100));
        tomo_arena_reset(exec->arena);
        (void)tomo_decoder_prefill(decoder, exec, b->session->cache,
                                   tomo_decoder_embed(decoder, exec, &id, 1));
        status = tomo_exec_status(exec, err);
    }
    *seconds = (tomo_seconds() - start) / (double)b->options.decode_tokens;
    tomo_kv_cache_truncate(b->session->cache, prompt);
    return status;
}

/* The cache holds the prompt of bench_prefill. */
static tomo_status bench_decode(bench *b, tomo_error *err) {
    series rate = {0};
    int64_t bytes, parameters;
    double seconds, tokens[MOST_REPEATS];
    tomo_decoder_weight_size(b->session->model->decoder, &bytes, &parameters);
    const tomo_hooks *hooks = b->session->exec.hooks;
    tomo_status status = decode_some(b, &seconds, err);
    for (int i = 0; i < b->options.repeats && status == TOMO_OK; i++) {
        rate.limit[i] = tomo_machine_read_rate(b->machine) * 1e-9;
        status = decode_some(b, &seconds, err);
        rate.value[i] = (double)bytes / seconds * 1e-9;
        rate.fraction[i] = rate.value[i] / rate.limit[i];
        tokens[i] = 1 / seconds;
        rate.count = i + 1;
        if (status == TOMO_OK)
            status = tomo_progress(hooks, "measuring decoding", i + 1, b->options.repeats, err);
    }
    if (status != TOMO_OK) return status;
    (void)add_series(b->results, "decode", "GB/s", &rate);
    add_value(b->results, "decode_tokens", "tokens/s", quartile(tokens, rate.count, 2));
    return TOMO_OK;
}

/* Peak resident memory beside the bytes of weights plus the activation arena; taken before the limits' own
 * buffers are made. */
static void bench_memory(bench *b, int64_t peak) {
    const tomo_model *m = b->session->model;
    int64_t bytes[3] = {0, 0, 0}, parameters;
    tomo_decoder_weight_size(m->decoder, &bytes[0], &parameters);
    if (m->reads_scans) {
        tomo_encoder_weight_size(m->encoder, &bytes[1], &parameters);
        tomo_connector_weight_size(m->connector, &bytes[2], &parameters);
    }
    double weights = (double)(bytes[0] + bytes[1] + bytes[2]);
    double activations = (double)tomo_arena_peak(b->session->exec.arena);
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "name", "peak_rss");
    cJSON_AddNumberToObject(item, "value", (double)peak / 1048576);
    cJSON_AddStringToObject(item, "unit", "MiB");
    cJSON_AddNumberToObject(item, "limit", (weights + activations) / 1048576);
    cJSON_AddNumberToObject(item, "fraction_of_limit", (double)peak / (weights + activations));
    cJSON_AddNumberToObject(item, "weights_mib", weights / 1048576);
    cJSON_AddNumberToObject(item, "activations_mib", activations / 1048576);
    cJSON_AddItemToArray(b->results, item);
}

/* One run of a stage with the clock on every operation: milliseconds by kind, "encoder.linear" and so on;
 * what the operations do not account for is "other". */
static tomo_status profile_stage(bench *b, const char *stage,
                                 tomo_status (*run_stage)(bench *, double *, tomo_error *), tomo_error *err) {
    tomo_profile profile = {0};
    double seconds, rest;
    char name[64];
    b->session->exec.profile = &profile;
    tomo_status status = run_stage(b, &seconds, err);
    b->session->exec.profile = NULL;
    if (status != TOMO_OK) return status;
    rest = seconds;
    for (int k = 0; k < TOMO_PROFILE_KINDS; k++) {
        rest -= profile.seconds[k];
        (void)snprintf(name, sizeof name, "%s.%s", stage, tomo_profile_name((tomo_profile_kind)k));
        if (profile.calls[k] > 0) add_value(b->results, name, "ms", profile.seconds[k] * 1e3);
    }
    (void)snprintf(name, sizeof name, "%s.other", stage);
    add_value(b->results, name, "ms", rest * 1e3);
    return TOMO_OK;
}

static tomo_status one_prompt(bench *b, double *seconds, tomo_error *err) {
    tomo_error failure = {0};
    double start = tomo_seconds();
    bool read = read_prompt(b, &failure) != NULL;
    *seconds = tomo_seconds() - start;
    if (!read && err != NULL) *err = failure;
    return read ? TOMO_OK : failure.status;
}

/* decode_some tells the time of a token; the profile sums all of them. */
static tomo_status some_tokens(bench *b, double *seconds, tomo_error *err) {
    tomo_status status = decode_some(b, seconds, err);
    *seconds *= (double)b->options.decode_tokens;
    return status;
}

/* oneDNN's rate at each product's shape, rows x outputs x inputs, in the type of the limit. */
static tomo_status bench_shapes(bench *b, const tomo_product *products, int count, tomo_error *err) {
    for (int i = 0; i < count; i++) {
        const tomo_product *p = &products[i];
        tomo_gemm_rate *rate = NULL;
        char name[64];
        if (b->session->model->half) {
            tomo_status status =
                tomo_gemm_rate_create(p, 1, tomo_pool_threads(b->session->exec.pool), &rate, err);
            if (status != TOMO_OK) return status;
        }
        double best = 0;
        for (int k = 0; k < 5; k++) {
            double now = gemm_rate(b, rate, p, 1);
            best = now > best ? now : best;
        }
        (void)snprintf(name, sizeof name, "gemm %lldx%lldx%lld", (long long)p->m, (long long)p->n,
                       (long long)p->k);
        add_value(b->results, name, "GFLOP/s", best * 1e-9);
        tomo_gemm_rate_free(rate);
    }
    return TOMO_OK;
}

static tomo_status bench_profile(bench *b, tomo_error *err) {
    tomo_status status = bench_shapes(b, b->encoder, b->encoder_count, err);
    if (status == TOMO_OK) status = bench_shapes(b, b->prefill, b->prefill_count, err);
    if (status != TOMO_OK) return status;
    if (has_encoder(b)) status = profile_stage(b, "encoder_batch", one_batch, err);
    if (status == TOMO_OK && b->session->model->reads_scans)
        status = profile_stage(b, "connector", one_connector, err);
    if (status == TOMO_OK) status = profile_stage(b, "prefill", one_prompt, err);
    return status == TOMO_OK ? profile_stage(b, "decode", some_tokens, err) : status;
}

/* Opening the model directory, weights mapped, and packing, which costs once. */
static void bench_start(bench *b) {
    add_value(b->results, "start", "s", b->session->model->open_seconds);
    add_value(b->results, "packing", "s", b->session->model->pack_seconds);
}

/* ---------------------------------------------------------------------------- together */

static tomo_status run(bench *b, tomo_error *err) {
    double seconds;
    tomo_error failure = {0};
    tomo_status status = TOMO_OK;
    /* Every stage once, so that the peak is that of the work and not of the measurement. */
    if (has_encoder(b)) status = one_batch(b, &seconds, err);
    if (status == TOMO_OK && read_prompt(b, &failure) == NULL) {
        if (err != NULL) *err = failure;
        status = failure.status;
    }
    if (status == TOMO_OK) status = decode_some(b, &seconds, err);
    int64_t peak = tomo_machine_peak_rss();
    tomo_product all[16];
    memcpy(all, b->encoder, sizeof b->encoder);
    memcpy(all + b->encoder_count, b->prefill, sizeof b->prefill);
    if (status == TOMO_OK) {
        status = tomo_machine_create(b->session->exec.pool, all, b->encoder_count + b->prefill_count,
                                     &b->machine, err);
    }
    if (status == TOMO_OK) status = prepare_rates(b, err);
    if (status == TOMO_OK && has_encoder(b)) status = bench_encoder(b, err);
    if (status == TOMO_OK && b->session->model->reads_scans) status = bench_connector(b, err);
    if (status == TOMO_OK) status = bench_prefill(b, err);
    if (status == TOMO_OK) status = bench_decode(b, err);
    if (status == TOMO_OK) bench_memory(b, peak);
    if (status == TOMO_OK) bench_start(b);
    if (status == TOMO_OK && b->options.profile) status = bench_profile(b, err);
    return status;
}

static tomo_status check(const tomo_bench_options *o, const tomo_model *m, tomo_error *err) {
    int64_t context = tomo_decoder_get_config(m->decoder)->context;
    if (o->repeats > MOST_REPEATS || o->repeats < 1 || o->slices < 1 || o->decode_tokens < 1) {
        return tomo_fail(err, TOMO_E_USAGE,
                         "bench: 1 to %d repeats and at least 1 slice and token are wanted", MOST_REPEATS);
    }
    if (o->prompt_tokens < 1 || o->prompt_tokens + o->decode_tokens + 1 > context) {
        return tomo_fail(err, TOMO_E_USAGE,
                         "bench: a prompt of %lld tokens does not fit into the context of %lld",
                         (long long)o->prompt_tokens, (long long)context);
    }
    return TOMO_OK;
}

tomo_status tomo_model_bench(tomo_model *model, const tomo_bench_options *options, char **json,
                             tomo_error *err) {
    bench b = {.options = {.slices = 32, .prompt_tokens = 320, .decode_tokens = 32, .repeats = 9}};
    if (options != NULL) {
        if (options->slices != 0) b.options.slices = options->slices;
        if (options->prompt_tokens != 0) b.options.prompt_tokens = options->prompt_tokens;
        if (options->decode_tokens != 0) b.options.decode_tokens = options->decode_tokens;
        if (options->repeats != 0) b.options.repeats = options->repeats;
        b.options.profile = options->profile;
    }
    tomo_status status = check(&b.options, model, err);
    if (status == TOMO_OK) status = tomo_session_create(model, &b.session, err);
    if (status != TOMO_OK) return status;
    cJSON *root = cJSON_CreateObject();
    cJSON *machine = tomo_machine_describe(&b.session->exec);
    cJSON_AddItemToObject(root, "machine", machine);
    b.results = cJSON_AddArrayToObject(root, "results");
    plan(&b);
    status = run(&b, err);
    describe_products(&b, machine);
    tomo_gemm_rate_free(b.encoder_rate);
    tomo_gemm_rate_free(b.prefill_rate);
    tomo_machine_free(b.machine);
    tomo_session_free(b.session);
    if (status == TOMO_OK) return tomo_json_hand_out(root, json, err);
    cJSON_Delete(root);
    return status;
}
