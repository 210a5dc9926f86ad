#include "support/connectors.h"

#include "base/random.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MOST 256

typedef struct collected {
    tomo_stored tensors[MOST];
    char names[MOST][64];
    size_t count;
    tomo_random random;
} collected;

static void collect(void *user, const char *name, int rank, const int64_t *shape) {
    collected *c = user;
    assert_true(c->count < MOST);
    tomo_stored *t = &c->tensors[c->count];
    (void)snprintf(c->names[c->count], sizeof c->names[0], "%s", name);
    *t = (tomo_stored){.name = c->names[c->count++], .dtype = TOMO_F32, .rank = rank, .count = 1};
    for (int i = 0; i < rank; i++) t->count *= t->shape[i] = shape[i];
    float *data = malloc((size_t)t->count * sizeof *data);
    assert_non_null(data);
    double spread = rank > 1 ? 1 / sqrt((double)t->count / (double)shape[0]) : 0.3;
    bool norm = strstr(name, "norm") != NULL && strstr(name, "weight") != NULL;
    for (int64_t i = 0; i < t->count; i++) {
        data[i] = (float)((norm ? 1 : 0) + spread * tomo_random_normal(&c->random));
    }
    t->data = data;
}

test_connector test_connector_make(const char *json, uint64_t seed) {
    test_connector made = {0};
    tomo_error err = {0};
    char folder[] = "/tmp/tomo_connector_XXXXXX", path[64];
    cJSON *root = cJSON_Parse(json);
    collected *c = calloc(1, sizeof *c);
    assert_true(root != NULL && c != NULL && mkdtemp(folder) != NULL);
    c->random = tomo_random_seed(seed);
    (void)snprintf(path, sizeof path, "%s/c.safetensors", folder);
    tomo_status status =
        tomo_connector_parse(root, (tomo_json_at){"config.json", "connector."}, &made.config, &err);
    if (status == TOMO_OK) status = tomo_connector_parameters(&made.config, collect, c, &err);
    if (status == TOMO_OK) status = tomo_safetensors_write(path, c->tensors, c->count, NULL, &err);
    if (status == TOMO_OK) status = tomo_checkpoint_open(path, &made.weights, &err);
    if (status == TOMO_OK) {
        status = tomo_connector_create_trainable(&made.config, made.weights, &made.parameters,
                                                 &made.connector, &err);
    }
    if (status != TOMO_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < c->count; i++) free((void *)(uintptr_t)c->tensors[i].data);
    free(c);
    cJSON_Delete(root);
    (void)unlink(path); /* it stays mapped */
    (void)rmdir(folder);
    return made;
}

void test_connector_free(test_connector *c) {
    tomo_connector_free(c->connector);
    tomo_parameters_free(&c->parameters);
    tomo_checkpoint_free(c->weights);
    *c = (test_connector){0};
}
