/* fusion_gradients.c - the connector's gradients against reference/connector: every parameter and the
 * features; and every parameter, so every module, against finite differences of the forward pass.
 *
 * Tolerance 5e-5 of the larger of 1 and a gradient's largest entry; float32 itself is 3e-6 off
 * (reference/connector/ README.md). */
#include "base/file.h"
#include "fusion/connector.h"
#include "support/differences.h"
#include "support/tensors.h"
#include "tensor/tape.h"

#include <stdlib.h>
#include <string.h>

static test_machine machine;

typedef struct gradient_case {
    tomo_connector_config config;
    int64_t slices, count, *kept;
    tomo_checkpoint *weights, *inputs, *expected;
    tomo_parameters parameters;
    tomo_connector *connector;
    char wrong[512];
} gradient_case;

static void compare(gradient_case *c, const char *name, const float *got, int64_t n) {
    char full[256];
    (void)snprintf(full, sizeof full, "grad.%s", name);
    const tomo_stored *want = tomo_checkpoint_find(c->expected, full);
    if (c->wrong[0] != '\0') return;
    if (want == NULL) { /* PyTorch gave none: the parameter took no part */
        if (parity_largest(got, n) != 0)
            (void)snprintf(c->wrong, sizeof c->wrong, "%s is not recorded", full);
        return;
    }
    double largest = parity_largest(want->data, want->count);
    double d = want->count == n ? parity_distance(got, want->data, n) / (largest > 1 ? largest : 1) : 1;
    if (!(d <= 5e-5)) (void)snprintf(c->wrong, sizeof c->wrong, "%s is %.2e off; 5e-5 is allowed", full, d);
}

/* Forward with a tape, upstream gradient, backward, comparison. */
static void run_tape(gradient_case *c) {
    tomo_tape tape;
    if (!tomo_tape_init(&tape)) return;
    tomo_tensor features = test_tensor(c->inputs, "features"), upstream = test_tensor(c->inputs, "upstream");
    int64_t n = tomo_tensor_count(&features);
    features.grad = calloc((size_t)n, sizeof *features.grad);
    machine.exec.tape = &tape;
    tomo_tensor *tokens =
        tomo_connector_forward(c->connector, &machine.exec, &features, c->kept, c->slices, 0);
    if (tokens != NULL) {
        memcpy(tokens->grad, upstream.data, (size_t)tomo_tensor_count(tokens) * sizeof(float));
        tomo_tape_backward(&machine.exec);
    }
    machine.exec.tape = NULL;
    tomo_error err = {0};
    if (tomo_exec_status(&machine.exec, &err) != TOMO_OK) {
        (void)snprintf(c->wrong, sizeof c->wrong, "%s", err.message);
    }
    compare(c, "features", features.grad, n);
    for (size_t i = 0; i < c->parameters.count; i++) {
        const struct tomo_parameter *p = &c->parameters.list[i];
        compare(c, p->name, p->tensor.grad, tomo_tensor_count(&p->tensor));
    }
    tomo_tape_release(&tape);
    free(features.grad);
    tomo_arena_reset(machine.exec.arena);
}

static tomo_tensor *forward(void *user, tomo_exec *exec) {
    gradient_case *c = user;
    tomo_tensor features = test_tensor(c->inputs, "features");
    return tomo_connector_forward(c->connector, exec, &features, c->kept, c->slices, 0);
}

/* 2e-2 of a gradient's length: a step of 3e-3 costs that much by rounding and curvature at most. */
static void compare_differences(gradient_case *c) {
    for (size_t i = 0; i < c->parameters.count && c->wrong[0] == '\0'; i++) {
        const struct tomo_parameter *p = &c->parameters.list[i];
        double d = test_worst_difference(&machine.exec, forward, c, &p->tensor, 1, 3e-3);
        if (!(d <= 2e-2))
            (void)snprintf(c->wrong, sizeof c->wrong, "%s is %.2e off by finite differences", p->name, d);
    }
}

static tomo_status read_case(const char *folder, gradient_case *c, tomo_error *err) {
    char *path = tomo_path_join(folder, "config.json");
    cJSON *root = NULL;
    tomo_status status = tomo_json_open(path, &root, err);
    if (status == TOMO_OK) {
        status = tomo_connector_parse(tomo_json_get(root, "connector"), (tomo_json_at){path, "connector."},
                                      &c->config, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(root, "slices", (tomo_json_at){path, ""}, true, 1, 100000, &c->slices, err);
    }
    const cJSON *list = tomo_json_get(root, "kept"), *item;
    c->kept = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *c->kept);
    cJSON_ArrayForEach(item, list) c->kept[c->count++] = (int64_t)item->valuedouble;
    cJSON_Delete(root);
    free(path);
    return status;
}

static void run(parity *p, const char *name, const char *folder) {
    char *gradients = tomo_path_join(folder, "gradients.safetensors");
    gradient_case c = {0};
    tomo_error err = {0};
    if (!tomo_path_exists(gradients)) goto done;
    c.weights = test_open_tensors(folder, "connector.safetensors", &err);
    c.inputs = test_open_tensors(folder, "inputs.safetensors", &err);
    c.expected = test_open_tensors(folder, "gradients.safetensors", &err);
    if (c.weights == NULL || c.inputs == NULL || c.expected == NULL ||
        read_case(folder, &c, &err) != TOMO_OK ||
        tomo_connector_create_trainable(&c.config, c.weights, &c.parameters, &c.connector, &err) != TOMO_OK) {
        (void)snprintf(c.wrong, sizeof c.wrong, "%s", err.message);
    } else {
        run_tape(&c);
        compare_differences(&c);
    }
    if (c.wrong[0] == '\0') {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "%s", c.wrong);
    }
done:
    tomo_connector_free(c.connector);
    tomo_parameters_free(&c.parameters);
    tomo_checkpoint_free(c.weights);
    tomo_checkpoint_free(c.inputs);
    tomo_checkpoint_free(c.expected);
    free(c.kept);
    free(gradients);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "connector");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
