/* tensor_gradients.c - every operation's backward against finite differences of its forward.
 *
 * A slope over a step of 1e-2 is off by rounding (about 1e-6 of the values over the step) and by curvature
 * (the square of the step); 1e-2 of the gradient's length covers both and is far below any wrong formula. */
#include "support/differences.h"
#include "tensor/loss.h"
#include "tensor/tape.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define STEP 1e-2
#define ALLOWED 1e-2
#define MOST_LEAVES 8

static const tomo_kernels *kernels;
static tomo_pool *pool;
static tomo_exec exec;

/* Leaves of one operation. */
typedef struct leaves {
    tomo_tensor t[MOST_LEAVES];
    int count;
    int variant;
} leaves;

static tomo_tensor *add_leaf(leaves *l, int rank, const int64_t *shape) {
    tomo_tensor *t = &l->t[l->count++];
    *t = tomo_tensor_over(NULL, TOMO_F32, rank, shape);
    int64_t n = tomo_tensor_count(t);
    float *data = malloc((size_t)n * sizeof *data);
    t->data = data;
    t->grad = malloc((size_t)n * sizeof *t->grad);
    uint32_t seed = (uint32_t)(l->count * 7919 + rank);
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        data[i] = (float)(seed >> 8) / 8388608.0f - 1.0f;
    }
    return t;
}
#define LEAF(l, ...)                                                                                         \
    add_leaf(l, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

static void check(const char *name, leaves *l, test_forward_fn forward) {
    double worst = test_worst_difference(&exec, forward, l, l->t, l->count, STEP);
    tomo_error err = {0};
    if (tomo_exec_status(&exec, &err) != TOMO_OK) fail_msg("%s: %s", name, err.message);
    if (!(worst <= ALLOWED)) fail_msg("%s is %.2e off", name, worst);
    for (int i = 0; i < l->count; i++) {
        free(l->t[i].data);
        free(l->t[i].grad);
    }
}

static tomo_tensor *forward_linear(void *user, tomo_exec *e) {
    leaves *l = user;
    tomo_linear layer = {.weight = l->t[1], .bias = l->t[2]};
    if (l->variant > 0) {
        layer.lora_a = l->t[3];
        layer.lora_b = l->t[4];
        layer.lora_scale = 1.5f;
    }
    return tomo_op_linear(e, &l->t[0], &layer, l->variant == 2 ? TOMO_ACT_GELU : TOMO_ACT_NONE,
                          l->variant == 2 ? &l->t[5] : NULL);
}

static void linear_layers_and_adapters(void **state) {
    (void)state;
    static const int64_t rows[] = {1, 7, 600}; /* on each side of the block sizes */
    for (int i = 0; i < 3; i++) {
        for (int variant = 0; variant < 3; variant++) {
            leaves l = {.variant = variant};
            LEAF(&l, rows[i], 33);
            LEAF(&l, 21, 33);
            LEAF(&l, 21);
            if (variant > 0) LEAF(&l, 3, 33);
            if (variant > 0) LEAF(&l, 21, 3);
            if (variant == 2) LEAF(&l, rows[i], 21);
            check("linear", &l, forward_linear);
        }
    }
}

static tomo_tensor *forward_norm(void *user, tomo_exec *e) {
    leaves *l = user;
    if (l->variant == 0) return tomo_op_layer_norm(e, &l->t[0], &l->t[1], &l->t[2], 1e-5);
    return tomo_op_rms_norm(e, &l->t[0], &l->t[1], l->variant == 2 ? 1 : 0, 1e-6);
}

static void norms(void **state) {
    (void)state;
    for (int variant = 0; variant < 3; variant++) {
        leaves l = {.variant = variant};
        LEAF(&l, 5, 37);
        LEAF(&l, 37);
        if (variant == 0) LEAF(&l, 37);
        check("norm", &l, forward_norm);
    }
}

static tomo_tensor *forward_activation(void *user, tomo_exec *e) {
    leaves *l = user;
    return tomo_op_activate(e, &l->t[0], (tomo_activation)l->variant);
}

static void activations(void **state) {
    (void)state;
    for (int variant = TOMO_ACT_GELU; variant <= TOMO_ACT_TANH; variant++) {
        leaves l = {.variant = variant};
        LEAF(&l, 9, 21);
        check("activation", &l, forward_activation);
    }
}

static tomo_tensor *forward_pointwise(void *user, tomo_exec *e) {
    leaves *l = user;
    const tomo_tensor *parts[] = {&l->t[0], &l->t[1]};
    switch (l->variant) {
    case 0:
        return tomo_op_add(e, &l->t[0], &l->t[1]);
    case 1:
        return tomo_op_multiply(e, &l->t[0], &l->t[1]);
    case 2:
        return tomo_op_silu_multiply(e, &l->t[0], &l->t[1]);
    case 3:
        return tomo_op_mix(e, &l->t[0], &l->t[1], &l->t[2]);
    case 4:
        return tomo_op_concat(e, parts, 2);
    case 5:
        return tomo_op_add_spread(e, &l->t[0], &l->t[1]);
    default:
        return tomo_op_add(e, &l->t[0], tomo_op_multiply(e, &l->t[0], &l->t[0])); /* used three times */
    }
}

static void sums_products_and_joins(void **state) {
    (void)state;
    for (int variant = 0; variant <= 6; variant++) {
        leaves l = {.variant = variant};
        LEAF(&l, 6, 13);
        if (variant < 5 && variant != 1) LEAF(&l, 6, 13);
        if (variant == 1) LEAF(&l, 13);
        if (variant == 3) LEAF(&l, 6, 13);
        if (variant == 5) LEAF(&l, 3, 13);
        check("pointwise", &l, forward_pointwise);
    }
}

static tomo_tensor *forward_rows(void *user, tomo_exec *e) {
    leaves *l = user;
    static const int32_t ids[] = {3, 0, 3, 5};
    static const int64_t places[] = {1, 4, 6}, picks[] = {6, 1, 1};
    switch (l->variant) {
    case 0:
        return tomo_op_embedding(e, &l->t[0], ids, 4);
    case 1:
        return tomo_op_replace_rows(e, &l->t[0], &l->t[1], places);
    case 2:
        return tomo_op_rows(e, &l->t[0], picks, 3);
    case 5:
        return tomo_op_mean_rows(e, &l->t[0], (const int64_t[]){0, 3, 4, 6}, 3);
    case 3: { /* into a copy of the leaf, or into one that wants no gradient itself */
        tomo_tensor *copy = tomo_op_contiguous(e, &l->t[0]);
        return tomo_op_put_rows(e, tomo_op_put_rows(e, copy, &l->t[1], places), &l->t[2], places + 1);
    }
    case 4: {
        tomo_tensor *none = tomo_exec_tensor(e, 2, l->t[0].shape);
        memset(none->data, 0, (size_t)tomo_tensor_count(none) * sizeof(float));
        none->grad = NULL;
        return tomo_op_add(e, tomo_op_put_rows(e, none, &l->t[1], places), &l->t[0]);
    }
    default: {
        tomo_tensor view = l->t[0]; /* turned */
        view.shape[0] = l->t[0].shape[1];
        view.shape[1] = l->t[0].shape[0];
        view.stride[0] = l->t[0].stride[1];
        view.stride[1] = l->t[0].stride[0];
        return tomo_op_contiguous(e, &view);
    }
    }
}

static void rows_by_their_places(void **state) {
    (void)state;
    for (int variant = 0; variant < 7; variant++) {
        leaves l = {.variant = variant};
        LEAF(&l, 7, 11);
        if (variant == 1 || variant == 3 || variant == 4) LEAF(&l, 3, 11);
        if (variant == 3) LEAF(&l, 2, 11);
        check("rows", &l, forward_rows);
    }
}

static tomo_tensor *forward_rope(void *user, tomo_exec *e) {
    leaves *l = user;
    int64_t T = l->t[0].shape[0], half = 3;
    tomo_tensor *cosine = tomo_exec_tensor(e, 2, (int64_t[]){T, half});
    tomo_tensor *sine = tomo_exec_tensor(e, 2, (int64_t[]){T, half});
    for (int64_t i = 0; i < T * half; i++) {
        tomo_tensor_f32(cosine)[i] = cosf((float)i * 0.3f);
        tomo_tensor_f32(sine)[i] = sinf((float)i * 0.3f);
    }
    return tomo_op_rope(e, &l->t[0], cosine, sine);
}

static void rotary_positions(void **state) {
    (void)state;
    leaves l = {0};
    LEAF(&l, 5, 2, 8); /* two elements of a head stay as they are */
    check("rope", &l, forward_rope);
}

/* Two prefixes with the texts behind them, one of which is longer than a strip of queries, and a sequence of
 * its own. */
#define SHARED 8
static const int64_t shared_starts[SHARED + 1] = {0, 5, 8, 10, 76, 78, 81, 90, 94};
static const int64_t shared_prefixes[SHARED] = {-1, 0, 0, 0, 0, -1, 5, -1};

static tomo_tensor *forward_attention(void *user, tomo_exec *e) {
    leaves *l = user;
    static const int64_t starts[] = {0, 1, 71, 80};
    if (l->variant == 2)
        return tomo_op_attention_packed(e, &l->t[0], &l->t[1], &l->t[2], starts, NULL, 3, 0.4, true);
    if (l->variant == 3)
        return tomo_op_attention_packed(e, &l->t[0], &l->t[1], &l->t[2], shared_starts, shared_prefixes,
                                        SHARED, 0.4, true);
    return tomo_op_attention(e, &l->t[0], &l->t[1], &l->t[2], 0.4, l->variant == 1);
}

static void attention(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) {
        static const int64_t queries[] = {3, 70};
        for (int i = 0; i < (variant < 2 ? 2 : 1); i++) {
            leaves l = {.variant = variant};
            if (variant >= 2) {
                int64_t rows = variant == 2 ? 80 : shared_starts[SHARED];
                LEAF(&l, rows, 6, 5);
                LEAF(&l, rows, 2, 5);
                LEAF(&l, rows, 2, 5);
            } else {
                LEAF(&l, 2, queries[i], 4, 5);
                LEAF(&l, 2, queries[i] + 4, 2, 5);
                LEAF(&l, 2, queries[i] + 4, 2, 5);
            }
            check("attention", &l, forward_attention);
        }
    }
}

/* Sequence i of the shared ones behind its prefix: places of its rows; returns how many. */
static int64_t rows_of_sequence(int64_t i, int64_t *places) {
    int64_t count = 0, before = shared_prefixes[i];
    for (int64_t r = before < 0 ? 0 : shared_starts[before]; before >= 0 && r < shared_starts[before + 1];
         r++)
        places[count++] = r;
    for (int64_t r = shared_starts[i]; r < shared_starts[i + 1]; r++) places[count++] = r;
    return count;
}

/* A leaf's rows at `places`, with gradients of their own. */
static tomo_tensor rows_of_leaf(const tomo_tensor *leaf, const int64_t *places, int64_t count) {
    int64_t n = leaf->shape[1] * leaf->shape[2];
    tomo_tensor t = tomo_tensor_over(malloc((size_t)(count * n) * sizeof(float)), TOMO_F32, 3,
                                     (int64_t[]){count, leaf->shape[1], leaf->shape[2]});
    t.grad = calloc((size_t)(count * n), sizeof *t.grad);
    for (int64_t r = 0; r < count; r++) {
        memcpy(tomo_tensor_f32(&t) + r * n, tomo_tensor_f32(leaf) + places[r] * n, (size_t)n * sizeof(float));
    }
    return t;
}

static void assert_close(const char *what, const float *got, const float *wanted, int64_t count,
                         double size) {
    double worst = 0;
    for (int64_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)got[i] - (double)wanted[i]));
    if (!(worst <= 1e-5 * size)) fail_msg("%s: %.2e off, of %.2e", what, worst, size);
}

static tomo_tensor *attend_alone(const tomo_tensor *parts, int64_t count) {
    int64_t starts[] = {0, count};
    return tomo_op_attention_packed(&exec, &parts[0], &parts[1], &parts[2], starts, NULL, 1, 0.4, true);
}

/* Sequences behind a prefix that is there once get what they get behind a prefix of their
 * own, and the prefix gets the sum of its copies' gradients. Products of 5 to 75 terms near 1 in another
 * order: 1e-5 of the largest value is about 80 units in the last place. */
static void a_shared_prefix_equals_copies_of_it(void **state) {
    (void)state;
    leaves l = {0};
    int64_t T = shared_starts[SHARED], widths[] = {30, 10, 10}, places[128];
    LEAF(&l, T, 6, 5);
    LEAF(&l, T, 2, 5);
    LEAF(&l, T, 2, 5);
    float *wanted[3], *slopes = malloc((size_t)(T * 30) * sizeof *slopes);
    for (int i = 0; i < 3; i++) {
        wanted[i] = calloc((size_t)(T * widths[i]), sizeof(float));
        memset(l.t[i].grad, 0, (size_t)(T * widths[i]) * sizeof(float));
    }
    for (int64_t i = 0; i < T * 30; i++) slopes[i] = sinf((float)i);
    tomo_tape tape = {0};
    exec.tape = &tape;
    tomo_tensor *shared = tomo_op_attention_packed(&exec, &l.t[0], &l.t[1], &l.t[2], shared_starts,
                                                   shared_prefixes, SHARED, 0.4, true);
    memcpy(shared->grad, slopes, (size_t)(T * 30) * sizeof *slopes);
    tomo_tape_backward(&exec);
    for (int64_t i = 0; i < SHARED; i++) {
        int64_t count = rows_of_sequence(i, places), own = shared_starts[i + 1] - shared_starts[i];
        tomo_tensor parts[3];
        for (int k = 0; k < 3; k++) parts[k] = rows_of_leaf(&l.t[k], places, count);
        tomo_tensor *alone = attend_alone(parts, count);
        assert_close("output", tomo_tensor_f32(shared) + shared_starts[i] * 30,
                     tomo_tensor_f32(alone) + (count - own) * 30, own * 30, 1);
        memset(alone->grad, 0, (size_t)(count * 30) * sizeof(float));
        memcpy(alone->grad + (count - own) * 30, slopes + shared_starts[i] * 30,
               (size_t)(own * 30) * sizeof(float));
        tomo_tape_backward(&exec);
        for (int k = 0; k < 3; k++) {
            for (int64_t r = 0; r < count * widths[k]; r++) {
                wanted[k][places[r / widths[k]] * widths[k] + r % widths[k]] += parts[k].grad[r];
            }
            free(parts[k].data);
            free(parts[k].grad);
        }
    }
    exec.tape = NULL;
    for (int k = 0; k < 3; k++) {
        assert_close("gradient", l.t[k].grad, wanted[k], T * widths[k], 10);
        free(wanted[k]);
        free(l.t[k].data);
        free(l.t[k].grad);
    }
    free(slopes);
    tomo_arena_reset(exec.arena);
}

static tomo_tensor *forward_spatial(void *user, tomo_exec *e) {
    leaves *l = user;
    static const int64_t bins[] = {2, 3, 2};
    if (l->variant == 0) return tomo_op_depthwise_conv3d(e, &l->t[0], &l->t[1], &l->t[2]);
    return tomo_op_adaptive_pool3d(e, &l->t[0], bins);
}

static tomo_tensor *forward_largest(void *user, tomo_exec *e) {
    leaves *l = user;
    return tomo_op_append_largest(e, &l->t[0], 3);
}

static void the_largest_over_groups(void **state) {
    (void)state;
    leaves l = {0};
    LEAF(&l, 12, 18);
    check("largest", &l, forward_largest);
}

static void convolution_and_pooling(void **state) {
    (void)state;
    for (int variant = 0; variant < 2; variant++) {
        leaves l = {.variant = variant};
        LEAF(&l, 3, 4, 5, 18);
        if (variant == 0) LEAF(&l, 18, 1, 3, 3, 3);
        if (variant == 0) LEAF(&l, 18);
        check("spatial", &l, forward_spatial);
    }
}

/* ------------------------------------------------------------------------------ losses */

/* What a loss adds to the gradients of its inputs beside its own differences; it needs no tape. */
static void check_loss(const char *name, leaves *l, double (*loss)(leaves *l)) {
    for (int i = 0; i < l->count; i++) {
        memset(l->t[i].grad, 0, (size_t)tomo_tensor_count(&l->t[i]) * sizeof(float));
    }
    (void)loss(l);
    float *kept[MOST_LEAVES];
    for (int i = 0; i < l->count; i++) {
        kept[i] = l->t[i].grad;
        l->t[i].grad = NULL;
    }
    for (int i = 0; i < l->count; i++) {
        float *x = tomo_tensor_f32(&l->t[i]);
        double size = 0, worst = 0;
        for (int64_t k = 0; k < tomo_tensor_count(&l->t[i]); k++) {
            float old = x[k];
            x[k] = old + 0.02f;
            double above = loss(l), step = (double)x[k];
            x[k] = old - 0.02f;
            double slope = (above - loss(l)) / (step - (double)x[k]);
            x[k] = old;
            size = fmax(size, fabs((double)kept[i][k]));
            worst = fmax(worst, fabs(slope - (double)kept[i][k]));
        }
        if (!(size > 0) || !(worst <= ALLOWED * size))
            fail_msg("%s: leaf %d is %.2e off of %.2e", name, i, worst, size);
    }
    for (int i = 0; i < l->count; i++) {
        free(kept[i]);
        free(l->t[i].data);
    }
    tomo_arena_reset(exec.arena);
}

static double cross_entropy(leaves *l) {
    static const int32_t labels[] = {4, -100, 0, 11, -100, 7};
    tomo_linear head = {.weight = l->t[1]};
    return tomo_loss_cross_entropy(&exec, &l->t[0], &head, labels, 1);
}

static double contrastive(leaves *l) {
    return tomo_loss_contrastive(&exec, &l->t[0], &l->t[1], &l->t[2], 1);
}

static void losses(void **state) {
    (void)state;
    leaves l = {0};
    LEAF(&l, 6, 9);
    LEAF(&l, 12, 9);
    check_loss("cross-entropy", &l, cross_entropy);
    l = (leaves){0};
    LEAF(&l, 5, 8);
    LEAF(&l, 5, 8);
    LEAF(&l, 1);
    check_loss("contrastive", &l, contrastive);
}

/* A step of a stack: layers whose gradients share memory give what one alone gives. */
static tomo_tensor *forward_stack(void *user, tomo_exec *e) {
    leaves *l = user;
    const tomo_tensor *x = &l->t[0];
    tomo_tensor *y = NULL;
    tomo_arena_mark mark = tomo_arena_get_mark(e->arena);
    tomo_tape_begin_layers(e);
    for (int i = 0; i < 5; i++) {
        y = tomo_op_activate(e, tomo_op_multiply(e, x, &l->t[1 + i % 2]), TOMO_ACT_TANH);
        y = tomo_op_add(e, y, x);
        x = y = tomo_exec_keep(e, mark, y);
    }
    tomo_tape_end_layers(e);
    return tomo_op_multiply(e, y, &l->t[0]); /* the first input is read outside too */
}

static void a_stack_of_layers(void **state) {
    (void)state;
    leaves l = {0};
    LEAF(&l, 4, 10);
    LEAF(&l, 4, 10);
    LEAF(&l, 4, 10);
    check("stack", &l, forward_stack);
}

/* Layers in which the last thing done is to keep (kept_first false) or the first. */
static tomo_tensor *run_stack(tomo_exec *e, const tomo_tensor *x, const tomo_tensor *weight, int layers,
                              bool kept_first) {
    tomo_arena_mark mark = tomo_arena_get_mark(e->arena);
    tomo_tensor *y = NULL;
    tomo_tape_begin_layers(e);
    for (int i = 0; i < layers; i++) {
        if (kept_first) x = tomo_exec_keep(e, mark, x);
        y = tomo_op_add(e, tomo_op_activate(e, tomo_op_multiply(e, x, weight), TOMO_ACT_TANH), x);
        x = kept_first ? y : tomo_exec_keep(e, mark, y);
    }
    if (kept_first) x = tomo_exec_keep(e, mark, x);
    tomo_tape_end_layers(e);
    return tomo_op_contiguous(e, x);
}

/* Two stacks, one reading the other, or side by side, as a connector before a language model or a picture's
 * tower beside a text's: what stands between them reaches the first one. */
static tomo_tensor *forward_two_stacks(void *user, tomo_exec *e) {
    leaves *l = user;
    int first = 1 + l->variant % 3, second = 1 + l->variant / 3 % 3;
    bool kept_first = l->variant / 9 % 2 != 0, side_by_side = l->variant / 18 != 0;
    tomo_tensor *a = run_stack(e, &l->t[0], &l->t[1], first, kept_first);
    a = tomo_op_multiply(e, a, &l->t[2]);
    tomo_tensor *b = run_stack(e, side_by_side ? &l->t[3] : a, &l->t[1], second, true);
    return side_by_side ? tomo_op_multiply(e, a, b) : b;
}

static void two_stacks_of_layers(void **state) {
    (void)state;
    for (int variant = 0; variant < 36; variant++) {
        leaves l = {.variant = variant};
        for (int i = 0; i < 4; i++) LEAF(&l, 4, 10);
        if (variant < 18) free(l.t[--l.count].data), free(l.t[l.count].grad); /* not read */
        check("two stacks", &l, forward_two_stacks);
    }
}

static int open_all(void **state) {
    (void)state;
    return tomo_kernels_select(NULL, &kernels, NULL) == TOMO_OK &&
                   tomo_pool_create(2, &pool, NULL) == TOMO_OK &&
                   tomo_exec_init(&exec, kernels, pool, NULL, 0, NULL) == TOMO_OK
               ? 0
               : -1;
}

static int close_all(void **state) {
    (void)state;
    tomo_exec_release(&exec);
    tomo_pool_free(pool);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(linear_layers_and_adapters),
        cmocka_unit_test(norms),
        cmocka_unit_test(activations),
        cmocka_unit_test(sums_products_and_joins),
        cmocka_unit_test(rows_by_their_places),
        cmocka_unit_test(rotary_positions),
        cmocka_unit_test(attention),
        cmocka_unit_test(a_shared_prefix_equals_copies_of_it),
        cmocka_unit_test(convolution_and_pooling),
        cmocka_unit_test(the_largest_over_groups),
        cmocka_unit_test(losses),
        cmocka_unit_test(a_stack_of_layers),
        cmocka_unit_test(two_stacks_of_layers),
    };
    return cmocka_run_group_tests(tests, open_all, close_all);
}
