/* train_tables.c - optimiser trajectories, learning-rate tables and gradient clipping against
 * reference/training; a case is one variant.
 *
 * Tolerances of its README: relative L2 2e-6 for what is float32, 1e-12 relative for schedules (double). */
#include "base/file.h"
#include "base/json.h"
#include "support/tensors.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static test_machine machine;

static double number(const cJSON *object, const char *key, double standard) {
    const cJSON *value = tomo_json_get(object, key);
    return cJSON_IsNumber(value) ? value->valuedouble : standard;
}

/* Tells one case: the worst distance of its parts beside what is allowed. */
static void tell(parity *p, const char *family, const char *variant, double distance, double allowed) {
    char name[160];
    (void)snprintf(name, sizeof name, "%s/%s", family, variant);
    if (distance <= allowed) {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "%.2e off; %.0e is allowed", distance, allowed);
    }
}

static double larger(double a, double b) {
    return a > b ? a : b;
}

/* ------------------------------------------------------------------------- optimisers */

static const tomo_stored *part(const tomo_checkpoint *file, const char *variant, const char *what) {
    char name[128];
    (void)snprintf(name, sizeof name, "%s.%s", variant, what);
    return tomo_checkpoint_find(file, name);
}

static double trajectory(const tomo_checkpoint *file, const cJSON *variant) {
    const cJSON *options = tomo_json_get(variant, "options"), *betas = tomo_json_get(options, "betas");
    bool adam = strcmp(tomo_json_get(variant, "class")->valuestring, "Adam") == 0;
    tomo_adam settings = {.beta1 = betas == NULL ? 0.9 : cJSON_GetArrayItem(betas, 0)->valuedouble,
                          .beta2 = betas == NULL ? 0.999 : cJSON_GetArrayItem(betas, 1)->valuedouble,
                          .eps = number(options, "eps", 1e-8),
                          .weight_decay = number(options, "weight_decay", adam ? 0 : 0.01),
                          .coupled = adam};
    double rate = number(options, "lr", 1e-3), worst = 0;
    const tomo_stored *start = tomo_checkpoint_find(file, "start"),
                      *grads = tomo_checkpoint_find(file, "grads");
    const tomo_stored *rows = part(file, variant->string, "parameters");
    int64_t n = start->count, steps = grads->shape[0];
    /* torch decays whatever it is given; here only matrices are: the vector becomes one. */
    tomo_tensor p = tomo_tensor_over(calloc((size_t)n, sizeof(float)), TOMO_F32, 2, (int64_t[]){1, n});
    p.grad = calloc((size_t)n, sizeof *p.grad);
    memcpy(p.data, start->data, (size_t)n * sizeof(float));
    tomo_parameters list = {0};
    tomo_optimizer optimizer;
    (void)tomo_parameters_add(&list, "p", &p, NULL);
    if (tomo_optimizer_create(&settings, machine.exec.kernels, &list, &optimizer, NULL) != TOMO_OK)
        return INFINITY;
    for (int64_t s = 0; s < steps; s++) {
        memcpy(p.grad, (const float *)grads->data + s * n, (size_t)n * sizeof(float));
        tomo_optimizer_step(&optimizer, machine.pool, &rate);
        const float *want = (const float *)rows->data + (s + 1) * n;
        worst = larger(worst, parity_relative_l2(tomo_tensor_f32(&p), want, n));
    }
    worst =
        larger(worst, parity_relative_l2(optimizer.mean[0], part(file, variant->string, "exp_avg")->data, n));
    worst = larger(
        worst, parity_relative_l2(optimizer.square[0], part(file, variant->string, "exp_avg_sq")->data, n));
    tomo_optimizer_free(&optimizer);
    tomo_parameters_free(&list);
    free(p.data);
    free(p.grad);
    return worst;
}

/* -------------------------------------------------------------------------- schedules */

static double table(const tomo_checkpoint *file, const cJSON *variant, const char **skip) {
    const tomo_stored *rows = tomo_checkpoint_find(file, variant->string);
    double rate = number(variant, "lr", NAN), worst = 0;
    tomo_schedule s = {.warmup = (int64_t)number(variant, "warmup", 0),
                       .steps = (int64_t)number(variant, "steps", 0),
                       .least = number(tomo_json_get(variant, "options"), "min_lr", 0) / rate};
    if (!tomo_schedule_named(tomo_json_get(variant, "name")->valuestring, &s.kind)) {
        *skip = "a schedule that is not offered";
        return 0;
    }
    for (int64_t i = 0; i < rows->count; i++) {
        double want = ((const double *)rows->data)[i], got = rate * tomo_schedule_factor(&s, i);
        double d = fabs(got - want);
        worst = larger(worst, want == 0 ? d : d / fabs(want));
    }
    return worst;
}

/* --------------------------------------------------------------------------- clipping */

static double clipping(const tomo_checkpoint *file, const cJSON *variant) {
    char name[128];
    tomo_parameters list = {0};
    tomo_optimizer optimizer;
    double worst = 0;
    for (int j = 0;; j++) {
        (void)snprintf(name, sizeof name, "grad.%d", j);
        const tomo_stored *g = tomo_checkpoint_find(file, name);
        if (g == NULL) break;
        tomo_tensor p =
            tomo_tensor_over(calloc((size_t)g->count, sizeof(float)), TOMO_F32, g->rank, g->shape);
        p.grad = calloc((size_t)g->count, sizeof *p.grad);
        for (int64_t i = 0; i < g->count; i++) {
            p.grad[i] = ((const float *)g->data)[i] * (float)number(variant, "scale", 1);
        }
        (void)tomo_parameters_add(&list, "p", &p, NULL);
    }
    if (tomo_optimizer_create(&(tomo_adam){0}, machine.exec.kernels, &list, &optimizer, NULL) != TOMO_OK)
        return INFINITY;
    float norm = (float)tomo_optimizer_gradient_norm(&optimizer, machine.pool);
    tomo_optimizer_clip(&optimizer, machine.pool, (double)norm, number(variant, "max_norm", 1));
    worst = parity_relative_l2(&norm, part(file, variant->string, "norm")->data, 1);
    for (size_t j = 0; j < list.count; j++) {
        (void)snprintf(name, sizeof name, "clipped.%d", (int)j);
        const tomo_tensor *t = &list.list[j].tensor;
        const tomo_stored *want = part(file, variant->string, name);
        worst = larger(worst, parity_relative_l2(t->grad, want->data, want->count));
        free(t->data);
        free(t->grad);
    }
    tomo_optimizer_free(&optimizer);
    tomo_parameters_free(&list);
    return worst;
}

/* --------------------------------------------------------------------------- together */

/* What kind of table a folder holds is seen from its case.json. */
static void run_variant(parity *p, const char *folder, const tomo_checkpoint *file, const cJSON *variant) {
    const char *skip = NULL;
    double distance = 0, allowed = 2e-6;
    if (tomo_json_get(variant, "class") != NULL) {
        distance = trajectory(file, variant);
    } else if (tomo_json_get(variant, "table") != NULL) {
        distance = table(file, variant, &skip);
        allowed = 1e-12;
    } else if (tomo_json_get(variant, "scale") != NULL && tomo_json_get(variant, "max_norm") != NULL) {
        distance = clipping(file, variant);
    } else {
        return; /* single operations and whole runs have tests of their own */
    }
    char name[160];
    (void)snprintf(name, sizeof name, "%s/%s", folder, variant->string);
    if (skip != NULL) {
        parity_skip(p, name, "%s", skip);
    } else {
        tell(p, folder, variant->string, distance, allowed);
    }
}

static void walk(parity *p, const char *name, const char *folder) {
    tomo_error err = {0};
    char *path = tomo_path_join(folder, "case.json");
    cJSON *root = NULL, *variant;
    tomo_checkpoint *file = test_open_tensors(folder, "expected.safetensors", &err);
    if (file != NULL && tomo_json_open(path, &root, &err) == TOMO_OK) {
        cJSON_ArrayForEach(variant, root) {
            if (cJSON_IsObject(variant)) run_variant(p, name, file, variant);
        }
    }
    cJSON_Delete(root);
    tomo_checkpoint_free(file);
    free(path);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "training");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", walk);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
