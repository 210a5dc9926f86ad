/* fusion_vit3d_gradients.c - the 3D transformer against its formula, written plainly in double precision, and
 * its gradients against finite differences. */
#include "support/connectors.h"
#include "support/differences.h"
#include "support/tensors.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Sizes that are all different where they may be: an exchange of two shows. */
enum {
    K = 6,
    P = 2,
    H = 2,
    W = 3,
    C = 5,
    D = 12,
    HEADS = 3,
    RATIO = 2,
    N = K / P * H * W,
    T = 3 * 1 * 2,
    L = 7
};
#define SETTINGS                                                                                             \
    "{\"kind\": \"vit3d\", \"width\": 12, \"blocks\": 2, \"heads\": 3, \"mlp_ratio\": 2, \"tokens\": [3, "   \
    "1, 2], "                                                                                                \
    "\"layers\": 1, \"encoder_width\": 5, \"grid\": [2, 3], \"language_width\": 7, \"slices\": 6, "          \
    "\"patch_slices\": 2}"

typedef struct fixture {
    test_machine machine;
    test_connector c;
    float values[K * H * W * C];
} fixture;

static fixture *open_all(void) {
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_true(test_machine_open(&f->machine, NULL));
    f->c = test_connector_make(SETTINGS, 11);
    for (int i = 0; i < K * H * W * C; i++) f->values[i] = (float)(i * 29 % 83) / 41 - 1;
    return f;
}

static void close_all(fixture *f) {
    test_connector_free(&f->c);
    test_machine_close(&f->machine);
    free(f);
}

static tomo_tensor *forward(void *user, tomo_exec *exec) {
    fixture *f = user;
    static const int64_t kept[K] = {0, 1, 2, 3, 4, 5};
    tomo_tensor features = tomo_tensor_over(f->values, TOMO_F32, 5, (int64_t[]){1, K, H, W, C});
    return tomo_connector_forward(f->c.connector, exec, &features, kept, K, 0);
}

/* ------------------------------------------------------------------------------ the formula */

static const float *weight(const fixture *f, const char *name) {
    const tomo_stored *t = tomo_checkpoint_find(f->c.weights, name);
    if (t == NULL) fail_msg("no weight %s", name);
    return t->data;
}

static const float *of_block(const fixture *f, int block, const char *name) {
    char full[64];
    (void)snprintf(full, sizeof full, "blocks.%d.%s", block, name);
    return weight(f, full);
}

/* y = x w^T + b, [rows, in] -> [rows, out] */
static void linear(const double *x, int rows, int in, int out, const float *w, const float *b, double *y) {
    for (int r = 0; r < rows; r++) {
        for (int o = 0; o < out; o++) {
            double sum = (double)b[o];
            for (int i = 0; i < in; i++) sum += x[r * in + i] * (double)w[o * in + i];
            y[r * out + o] = sum;
        }
    }
}

static void layer_norm(const double *x, int rows, int n, const float *w, const float *b, double *y) {
    for (int r = 0; r < rows; r++) {
        double mean = 0, square = 0;
        for (int i = 0; i < n; i++) mean += x[r * n + i] / n;
        for (int i = 0; i < n; i++) square += (x[r * n + i] - mean) * (x[r * n + i] - mean) / n;
        for (int i = 0; i < n; i++)
            y[r * n + i] = (x[r * n + i] - mean) / sqrt(square + 1e-6) * (double)w[i] + (double)b[i];
    }
}

static void gelu(double *x, int n) {
    for (int i = 0; i < n; i++) x[i] = 0.5 * x[i] * (1 + erf(x[i] / sqrt(2.0)));
}

/* qkv [N, 3 D] -> [N, D] */
static void attend(const double *qkv, double *y) {
    int d = D / HEADS;
    for (int h = 0; h < HEADS; h++) {
        for (int t = 0; t < N; t++) {
            double score[N], total = 0;
            for (int s = 0; s < N; s++) {
                double dot = 0;
                for (int i = 0; i < d; i++)
                    dot += qkv[t * 3 * D + h * d + i] * qkv[s * 3 * D + D + h * d + i];
                total += score[s] = exp(dot / sqrt((double)d));
            }
            for (int i = 0; i < d; i++) {
                double sum = 0;
                for (int s = 0; s < N; s++) sum += score[s] * qkv[s * 3 * D + 2 * D + h * d + i];
                y[t * D + h * d + i] = sum / total;
            }
        }
    }
}

static void block(const fixture *f, int b, double *x) {
    static double normed[N * D], qkv[N * 3 * D], mixed[N * D], out[N * D], hidden[N * RATIO * D];
    layer_norm(x, N, D, of_block(f, b, "norm1.weight"), of_block(f, b, "norm1.bias"), normed);
    linear(normed, N, D, 3 * D, of_block(f, b, "qkv.weight"), of_block(f, b, "qkv.bias"), qkv);
    attend(qkv, mixed);
    linear(mixed, N, D, D, of_block(f, b, "out.weight"), of_block(f, b, "out.bias"), out);
    for (int i = 0; i < N * D; i++) x[i] += out[i];
    layer_norm(x, N, D, of_block(f, b, "norm2.weight"), of_block(f, b, "norm2.bias"), normed);
    linear(normed, N, D, RATIO * D, of_block(f, b, "fc1.weight"), of_block(f, b, "fc1.bias"), hidden);
    gelu(hidden, N * RATIO * D);
    linear(hidden, N, RATIO * D, D, of_block(f, b, "fc2.weight"), of_block(f, b, "fc2.bias"), out);
    for (int i = 0; i < N * D; i++) x[i] += out[i];
}

/* A patch's pixels: the cells of its place in P slices one behind the other. */
static void embed(const fixture *f, double *x) {
    static double patches[N * P * C];
    for (int z = 0; z < K; z++) {
        for (int cell = 0; cell < H * W; cell++) {
            for (int c = 0; c < C; c++)
                patches[((z / P * H * W + cell) * P + z % P) * C + c] =
                    (double)f->values[(z * H * W + cell) * C + c];
        }
    }
    linear(patches, N, P * C, D, weight(f, "patch.weight"), weight(f, "patch.bias"), x);
    for (int i = 0; i < N * D; i++) x[i] += (double)weight(f, "positions")[i];
}

static void the_forward_is_the_formula(void **state) {
    (void)state;
    fixture *f = open_all();
    static double x[N * D], normed[N * D], pooled[T * D], hidden[T * L], tokens[T * L];
    embed(f, x);
    block(f, 0, x);
    block(f, 1, x);
    layer_norm(x, N, D, weight(f, "norm.weight"), weight(f, "norm.bias"), normed);
    memset(pooled, 0, sizeof pooled); /* 3 x 2 x 3 -> 3 x 1 x 2: the windows along x are 0..1 and 1..2 */
    for (int n = 0; n < N; n++) {
        for (int t = 0; t < 2; t++) {
            bool inside = n % W == t || n % W == t + 1;
            for (int i = 0; i < D && inside; i++)
                pooled[(n / (H * W) * 2 + t) * D + i] += normed[n * D + i] / 4;
        }
    }
    linear(pooled, T, D, L, weight(f, "proj1.weight"), weight(f, "proj1.bias"), hidden);
    gelu(hidden, T * L);
    linear(hidden, T, L, L, weight(f, "proj2.weight"), weight(f, "proj2.bias"), tokens);
    tomo_tensor *got = forward(f, &f->machine.exec);
    assert_int_equal(tomo_exec_status(&f->machine.exec, NULL), TOMO_OK);
    double worst = 0;
    for (int i = 0; i < T * L; i++) worst = fmax(worst, fabs(tokens[i] - (double)tomo_tensor_f32(got)[i]));
    if (!(worst <= 2e-5)) fail_msg("%.2e off; 2e-5 is allowed, as for the connector of the reference", worst);
    close_all(f);
}

/* 2e-2 of a gradient's length: a step of 3e-3 costs that much by rounding and curvature at most. */
static void every_parameter_has_its_gradient(void **state) {
    (void)state;
    fixture *f = open_all();
    assert_int_equal(f->c.parameters.count, 2 + 1 + 2 + 2 * 12 + 4);
    for (size_t i = 0; i < f->c.parameters.count; i++) {
        const struct tomo_parameter *p = &f->c.parameters.list[i];
        double d = test_worst_difference(&f->machine.exec, forward, f, &p->tensor, 1, 3e-3);
        if (!(d <= 2e-2)) fail_msg("%s is %.2e off by finite differences", p->name, d);
        double length = 0;
        for (int64_t k = 0; k < tomo_tensor_count(&p->tensor); k++) length += fabs((double)p->tensor.grad[k]);
        assert_true(length > 0);
    }
    close_all(f);
}

static void settings_that_make_no_sense_are_named(void **state) {
    (void)state;
    static const char *const bad[][2] = {{"\"slices\": 5", "connector.slices"},
                                         {"\"layers\": 2", "connector.layers"},
                                         {"\"heads\": 5", "connector.width"},
                                         {"\"filter_bins\": 3", "connector.filter_bins"},
                                         {"\"position\": \"mm\"", "connector.position"},
                                         {"\"kind\": \"vit2d\"", "connector.kind"},
                                         {"\"grid\": [4096, 4096]", "connector.grid"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char other[64];
        tomo_error err = {0};
        tomo_connector_config config;
        (void)snprintf(other, sizeof other, "{%s}", bad[i][0]);
        cJSON *root = cJSON_Parse(SETTINGS), *change = cJSON_Parse(other);
        cJSON_DeleteItemFromObjectCaseSensitive(root, change->child->string);
        cJSON_AddItemToObject(root, change->child->string, cJSON_Duplicate(change->child, true));
        assert_int_not_equal(
            tomo_connector_parse(root, (tomo_json_at){"c.json", "connector."}, &config, &err), TOMO_OK);
        assert_non_null(strstr(err.message, bad[i][1]));
        cJSON_Delete(root);
        cJSON_Delete(change);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_forward_is_the_formula),
        cmocka_unit_test(every_parameter_has_its_gradient),
        cmocka_unit_test(settings_that_make_no_sense_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
