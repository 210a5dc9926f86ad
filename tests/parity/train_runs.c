/* train_runs.c - whole fine-tuning runs against reference/training: losses, gradients, norms, learning rates,
 * weights after some and after all steps, logits before and after, merged adapters.
 *
 * Tolerances of its README: losses 2e-5 absolute, gradients relative L2 1e-5, norms 1e-5 relative, learning
 * rates 1e-12 relative, weights 2e-5 absolute, logits 5e-4 absolute, merged against unmerged 5e-5. With
 * frozen weights multiplied in BF16 the initial loss may move by 1e-2, as the README has it (the library's
 * own moves by 2.5e-3), and gradients by 5e-2 of their length: products of factors rounded to 8 bits, through
 * all layers. */
#include "base/file.h"
#include "base/json.h"
#include "language/decoder.h"
#include "support/tensors.h"
#include "tensor/loss.h"
#include "tensor/tape.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

static test_machine machine;

typedef struct training_run {
    const char *folder;
    const cJSON *settings;
    tomo_checkpoint *batches, *expected;
    tomo_decoder *decoder;
    tomo_parameters parameters;
    tomo_optimizer optimizer;
    tomo_tape tape;
    bool projector;
    tomo_tensor norm_weight, norm_bias; /* of the projector */
    tomo_linear first, second;
    char wrong[512];
} training_run;

static void wrong(training_run *r, const char *format, ...) TOMO_PRINTF(2, 3);
static void wrong(training_run *r, const char *format, ...) {
    if (r->wrong[0] != '\0') return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(r->wrong, sizeof r->wrong, format, arguments);
    va_end(arguments);
}

static int64_t setting(const training_run *r, const char *key) {
    return (int64_t)tomo_json_get(r->settings, key)->valuedouble;
}
static double real(const training_run *r, const char *key) {
    return tomo_json_get(r->settings, key)->valuedouble;
}

static void compare(training_run *r, const char *name, const float *got, int64_t n, bool relative,
                    double allowed) {
    const tomo_stored *want = tomo_checkpoint_find(r->expected, name);
    if (want == NULL || want->count != n) {
        wrong(r, "%s is not recorded with %lld values", name, (long long)n);
        return;
    }
    double d = relative ? parity_relative_l2(got, want->data, n) : parity_distance(got, want->data, n);
    if (!(d <= allowed)) wrong(r, "%s is %.2e off; %.0e is allowed", name, d, allowed);
}

static void compare_all(training_run *r, const char *prefix, bool gradients, double allowed) {
    for (size_t i = 0; i < r->parameters.count; i++) {
        const struct tomo_parameter *p = &r->parameters.list[i];
        char name[256];
        (void)snprintf(name, sizeof name, "%s.%s", prefix, p->name);
        compare(r, name, gradients ? p->tensor.grad : tomo_tensor_f32(&p->tensor),
                tomo_tensor_count(&p->tensor), gradients, allowed);
    }
}

static void compare_number(training_run *r, const char *table, int64_t index, double got, bool relative,
                           double allowed) {
    const tomo_stored *want = tomo_checkpoint_find(r->expected, table);
    if (want == NULL || index >= want->count) {
        wrong(r, "%s is not recorded", table);
        return;
    }
    double value = ((const double *)want->data)[index], d = fabs(got - value);
    if (relative && value != 0) d /= fabs(value);
    if (!(d <= allowed))
        wrong(r, "%s[%lld] is %.2e off; %.0e is allowed", table, (long long)index, d, allowed);
}

/* ------------------------------------------------------------------------ micro-batches */

#define MOST_ROWS 64

/* One stored micro-batch without its padding. */
typedef struct micro {
    int64_t rows, T, K, total, starts[MOST_ROWS + 1];
    int32_t *ids, *labels; /* [total]; labels[t] is what the logits at t predict, or -1 */
    int64_t *places;       /* [rows * K]: of the image */
    int64_t learned;
} micro;

static void read_micro(const training_run *r, int64_t index, micro *m) {
    tomo_tensor ids = test_tensor(r->batches, "input_ids"), labels = test_tensor(r->batches, "labels");
    tomo_tensor mask = test_tensor(r->batches, "attention_mask"), at = test_tensor(r->batches, "image_start");
    *m = (micro){.rows = ids.shape[1], .T = ids.shape[2], .K = setting(r, "image_count")};
    size_t most = (size_t)(m->rows * m->T);
    m->ids = calloc(most, sizeof *m->ids);
    m->labels = calloc(most, sizeof *m->labels);
    m->places = calloc((size_t)(m->rows * m->K) + 1, sizeof *m->places);
    for (int64_t b = 0; b < m->rows; b++) {
        int64_t base = (index * m->rows + b) * m->T, length = 0;
        while (length < m->T && ((const int64_t *)mask.data)[base + length] != 0) length++;
        for (int64_t t = 0; t < length; t++) {
            int64_t label = t + 1 < length ? ((const int64_t *)labels.data)[base + t + 1] : -100;
            m->ids[m->total + t] = (int32_t)((const int64_t *)ids.data)[base + t];
            m->labels[m->total + t] = label < 0 ? -1 : (int32_t)label;
            m->learned += label >= 0;
        }
        for (int64_t k = 0; k < m->K; k++) {
            m->places[b * m->K + k] = m->total + ((const int64_t *)at.data)[0] + k;
        }
        m->total += length;
        m->starts[b + 1] = m->total;
    }
}

static void free_micro(micro *m) {
    free(m->ids);
    free(m->labels);
    free(m->places);
}

/* The image's rows [rows * K, H]: as stored, or out of the projector. */
static tomo_tensor *image_of(training_run *r, int64_t index, const micro *m) {
    tomo_tensor all = test_tensor(r->batches, r->projector ? "features" : "image_embeds");
    tomo_tensor one = tomo_tensor_narrow(&all, 0, index, 1);
    one = tomo_tensor_reshape(&one, 2, (int64_t[]){m->rows * m->K, all.shape[3]});
    if (!r->projector) return tomo_exec_view(&machine.exec, one);
    tomo_tensor *x = tomo_op_layer_norm(&machine.exec, &one, &r->norm_weight, &r->norm_bias, 1e-5);
    x = tomo_op_linear(&machine.exec, x, &r->first, TOMO_ACT_GELU, NULL);
    return tomo_op_linear(&machine.exec, x, &r->second, TOMO_ACT_NONE, NULL);
}

static tomo_tensor *embeds_of(training_run *r, const micro *m, const tomo_tensor *image) {
    tomo_tensor *x = tomo_decoder_embed(r->decoder, &machine.exec, m->ids, m->total);
    return tomo_op_replace_rows(&machine.exec, x, image, m->places);
}

static tomo_tensor *hidden_of(training_run *r, const micro *m, const tomo_tensor *embeds) {
    return tomo_decoder_forward_packed(r->decoder, &machine.exec, embeds, m->starts, NULL, NULL, m->rows);
}

/* Forward and backward of one micro-batch; the gradient of the sum of its losses is multiplied with scale.
 * Returns the sum. */
static double learn(training_run *r, int64_t index, double scale) {
    micro m;
    read_micro(r, index, &m);
    machine.exec.tape = &r->tape;
    tomo_tensor *hidden = hidden_of(r, &m, embeds_of(r, &m, image_of(r, index, &m)));
    double sum =
        tomo_loss_cross_entropy(&machine.exec, hidden, tomo_decoder_head(r->decoder), m.labels, (float)scale);
    tomo_tape_backward(&machine.exec);
    machine.exec.tape = NULL;
    tomo_arena_reset(machine.exec.arena);
    free_micro(&m);
    return sum;
}

/* The first micro-batch alone, with the gradient of what enters the language model. */
static void first_micro(training_run *r) {
    micro m;
    read_micro(r, 0, &m);
    machine.exec.tape = &r->tape;
    tomo_tensor *image = image_of(r, 0, &m), *embeds = embeds_of(r, &m, image);
    if (embeds != NULL && embeds->grad == NULL) {
        embeds->grad = tomo_exec_alloc(&machine.exec, tomo_tensor_count(embeds), sizeof(float));
        memset(embeds->grad, 0, (size_t)tomo_tensor_count(embeds) * sizeof(float));
    }
    tomo_tensor *hidden = hidden_of(r, &m, embeds);
    double loss = tomo_loss_cross_entropy(&machine.exec, hidden, tomo_decoder_head(r->decoder), m.labels,
                                          1.0f / (float)m.learned) /
                  (double)m.learned;
    tomo_tape_backward(&machine.exec);
    machine.exec.tape = NULL;
    float single = (float)loss;
    compare(r, "initial_loss", &single, 1, false, 2e-5);
    compare_all(r, "micro1.grad", true, 1e-5);
    if (embeds != NULL && r->projector) {
        compare(r, "micro1.image_embeds", tomo_tensor_f32(image), tomo_tensor_count(image), true, 1e-5);
        compare(r, "micro1.grad.image_embeds", image->grad, tomo_tensor_count(image), true, 1e-5);
    } else if (embeds != NULL) {
        int64_t H = embeds->shape[1];
        float *padded = calloc((size_t)(m.rows * m.T * H), sizeof *padded);
        for (int64_t b = 0; b < m.rows; b++) {
            memcpy(padded + b * m.T * H, embeds->grad + m.starts[b] * H,
                   (size_t)((m.starts[b + 1] - m.starts[b]) * H) * sizeof *padded);
        }
        compare(r, "micro1.grad.inputs_embeds", padded, m.rows * m.T * H, true, 1e-5);
        free(padded);
    }
    tomo_optimizer_zero_gradients(&r->optimizer, machine.pool);
    tomo_arena_reset(machine.exec.arena);
    free_micro(&m);
}

/* Logits of the first micro-batch where its mask is 1; *values is freed by the caller. */
static void compare_logits(training_run *r, const tomo_decoder *decoder, const char *name, double allowed) {
    const tomo_stored *want = tomo_checkpoint_find(r->expected, name);
    if (want == NULL) return;
    micro m;
    read_micro(r, 0, &m);
    int64_t V = want->shape[2];
    tomo_tensor *x = tomo_decoder_embed(decoder, &machine.exec, m.ids, m.total);
    x = tomo_op_replace_rows(&machine.exec, x, image_of(r, 0, &m), m.places);
    tomo_tensor *hidden =
        tomo_decoder_forward_packed(decoder, &machine.exec, x, m.starts, NULL, NULL, m.rows);
    tomo_tensor *logits = tomo_decoder_logits(decoder, &machine.exec, hidden);
    for (int64_t b = 0; b < m.rows && logits != NULL; b++) {
        double d =
            parity_distance(tomo_tensor_f32(logits) + m.starts[b] * V,
                            (const float *)want->data + b * m.T * V, (m.starts[b + 1] - m.starts[b]) * V);
        if (!(d <= allowed)) wrong(r, "%s is %.2e off; %.0e is allowed", name, d, allowed);
    }
    if (logits == NULL) wrong(r, "%s: no logits", name);
    tomo_arena_reset(machine.exec.arena);
    free_micro(&m);
}

/* ------------------------------------------------------------------------------- steps */

static void one_step(training_run *r, int64_t step, const tomo_schedule *schedule) {
    int64_t accumulation = setting(r, "accumulation"), distinct = setting(r, "distinct"), tokens = 0;
    bool of_step = strcmp(tomo_json_get(r->settings, "normalisation")->valuestring, "token_mean") == 0;
    int64_t learned[256];
    if (accumulation > 256) return;
    for (int64_t i = 0; i < accumulation; i++) {
        micro m;
        read_micro(r, (step * accumulation + i) % distinct, &m);
        learned[i] = m.learned;
        tokens += m.learned;
        free_micro(&m);
    }
    double total = 0;
    for (int64_t i = 0; i < accumulation; i++) {
        double parts = of_step ? (double)tokens : (double)(learned[i] * accumulation);
        double sum = learn(r, (step * accumulation + i) % distinct, 1 / parts);
        compare_number(r, "micro_losses", step * accumulation + i,
                       of_step ? sum / parts : sum / (double)learned[i], false, 2e-5);
        total += sum / parts;
    }
    compare_number(r, "losses", step, total, false, 2e-5);
    if (step == 0) compare_all(r, "step1.grad", true, 1e-5);
    double norm = tomo_optimizer_gradient_norm(&r->optimizer, machine.pool);
    double rate = real(r, "lr") * tomo_schedule_factor(schedule, step), *rates;
    compare_number(r, "grad_norms", step, norm, true, 1e-5);
    compare_number(r, "learning_rates", step, rate, true, 1e-12);
    rates = calloc(r->parameters.count, sizeof *rates);
    for (size_t i = 0; i < r->parameters.count; i++) rates[i] = rate;
    tomo_optimizer_clip(&r->optimizer, machine.pool, norm, real(r, "max_norm"));
    tomo_optimizer_step(&r->optimizer, machine.pool, rates);
    tomo_optimizer_zero_gradients(&r->optimizer, machine.pool);
    free(rates);
}

static void run_steps(training_run *r) {
    tomo_schedule schedule = {.warmup = setting(r, "warmup"), .steps = setting(r, "steps")};
    if (!tomo_schedule_named(tomo_json_get(r->settings, "schedule")->valuestring, &schedule.kind)) {
        wrong(r, "the schedule is not known");
        return;
    }
    for (int64_t step = 0; step < schedule.steps && r->wrong[0] == '\0'; step++) {
        one_step(r, step, &schedule);
        if (step + 1 == setting(r, "snapshot")) compare_all(r, "snapshot", false, 2e-5);
    }
    compare_all(r, "final", false, 2e-5);
}

/* A decoder of the base with an adapter (NULL: none), for its logits. */
static void logits_with(training_run *r, const char *adapter, bool merge, const char *name, double allowed) {
    char *base = tomo_path_join(r->folder, "base"), *path = NULL;
    if (adapter != NULL) path = tomo_path_join(r->folder, adapter);
    tomo_decoder *decoder = NULL;
    tomo_error err = {0};
    if (tomo_decoder_open(base, path, merge, &decoder, &err) == TOMO_OK) {
        compare_logits(r, decoder, name, allowed);
    } else {
        wrong(r, "%s", err.message);
    }
    tomo_decoder_free(decoder);
    free(path);
    free(base);
}

/* The first micro-batch with products of the frozen weights in BF16, where these kernels have them. */
static void in_bf16(training_run *r) {
    char *base = tomo_path_join(r->folder, "base"), *initial = tomo_path_join(r->folder, "adapter_initial");
    training_run half = {
        .folder = r->folder, .settings = r->settings, .batches = r->batches, .expected = r->expected};
    tomo_error err = {0};
    tomo_status status = tomo_tape_init(&half.tape) ? TOMO_OK : TOMO_E_MEMORY;
    if (status == TOMO_OK) status = tomo_decoder_open(base, initial, false, &half.decoder, &err);
    if (status == TOMO_OK) {
        status = tomo_decoder_pack(half.decoder, machine.pool, machine.kernels, TOMO_PRECISION_BF16, &err);
    }
    if (status == TOMO_OK) status = tomo_decoder_pack_back(half.decoder, machine.pool, machine.kernels, &err);
    if (status == TOMO_OK) status = tomo_decoder_train_lora(half.decoder, &half.parameters, &err);
    if (status != TOMO_OK) {
        wrong(r, "BF16: %s", err.message);
    } else {
        micro m;
        read_micro(&half, 0, &m);
        float loss = (float)(learn(&half, 0, 1.0 / (double)m.learned) / (double)m.learned);
        compare(&half, "initial_loss", &loss, 1, false, 1e-2);
        compare_all(&half, "micro1.grad", true, 5e-2);
        free_micro(&m);
        if (half.wrong[0] != '\0') wrong(r, "BF16: %s", half.wrong);
    }
    tomo_tape_release(&half.tape);
    tomo_parameters_free(&half.parameters);
    tomo_decoder_free(half.decoder);
    free(initial);
    free(base);
}

static void list_projector(training_run *r) {
    static const char *const names[] = {"0.weight", "0.bias", "1.weight", "1.bias", "3.weight", "3.bias"};
    tomo_tensor *parts[] = {&r->norm_weight, &r->norm_bias,     &r->first.weight,
                            &r->first.bias,  &r->second.weight, &r->second.bias};
    for (int i = 0; i < 6; i++) {
        char full[32];
        (void)snprintf(full, sizeof full, "initial.%s", names[i]);
        tomo_tensor t = test_tensor(r->expected, full);
        size_t bytes = (size_t)tomo_tensor_count(&t) * sizeof(float);
        void *copy = malloc(bytes);
        memcpy(copy, t.data, bytes);
        t.data = copy;
        t.grad = calloc(1, bytes);
        *parts[i] = t;
        (void)tomo_parameters_add(&r->parameters, names[i], &t, NULL);
    }
}

static void run_case(training_run *r) {
    tomo_error err = {0};
    char *base = tomo_path_join(r->folder, "base"), *initial = tomo_path_join(r->folder, "adapter_initial");
    r->projector = !tomo_path_is_folder(initial);
    tomo_status status = tomo_decoder_open(base, r->projector ? NULL : initial, false, &r->decoder, &err);
    if (status == TOMO_OK && !r->projector) {
        compare_logits(r, r->decoder, "logits.initial", 5e-4);
        status = tomo_decoder_train_lora(r->decoder, &r->parameters, &err);
    }
    if (r->projector) list_projector(r);
    tomo_adam settings = {0.9, 0.999, 1e-8, real(r, "weight_decay"), false};
    if (status == TOMO_OK)
        status = tomo_optimizer_create(&settings, machine.exec.kernels, &r->parameters, &r->optimizer, &err);
    if (status != TOMO_OK) {
        wrong(r, "%s", err.message);
    } else {
        first_micro(r);
        run_steps(r);
        if (!r->projector) {
            compare_logits(r, r->decoder, "logits.final", 5e-4);
            logits_with(r, NULL, false, "logits.base", 5e-4);
            logits_with(r, "adapter_final", true, "logits.merged", 5e-4);
            in_bf16(r);
        }
    }
    if (tomo_exec_status(&machine.exec, &err) != TOMO_OK) wrong(r, "%s", err.message);
    free(initial);
    free(base);
}

static void run(parity *p, const char *name, const char *folder) {
    char *path = tomo_path_join(folder, "case.json"), *base = tomo_path_join(folder, "base");
    cJSON *root = NULL;
    tomo_error err = {0};
    training_run r = {.folder = folder};
    if (!tomo_path_is_folder(base)) goto done; /* tables and single operations have tests of their own */
    r.batches = test_open_tensors(folder, "batches.safetensors", &err);
    r.expected = test_open_tensors(folder, "expected.safetensors", &err);
    if (r.batches == NULL || r.expected == NULL || tomo_json_open(path, &root, &err) != TOMO_OK ||
        !tomo_tape_init(&r.tape)) {
        wrong(&r, "%s", err.message);
    } else {
        r.settings = tomo_json_get(root, "settings");
        run_case(&r);
    }
    if (r.wrong[0] == '\0') {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "%s", r.wrong);
    }
done:
    tomo_optimizer_free(&r.optimizer);
    for (size_t i = 0; r.projector && i < r.parameters.count; i++) {
        free(r.parameters.list[i].tensor.data);
        free(r.parameters.list[i].tensor.grad);
    }
    tomo_tape_release(&r.tape);
    tomo_parameters_free(&r.parameters);
    tomo_decoder_free(r.decoder);
    tomo_checkpoint_free(r.batches);
    tomo_checkpoint_free(r.expected);
    cJSON_Delete(root);
    free(base);
    free(path);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "training");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
