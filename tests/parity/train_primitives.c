/* train_primitives.c - forward and backward of single operations against reference/training/primitives; a
 * case is one file.
 *
 * Tolerances of reference/training/README.md: relative L2 2e-6 a tensor (float32 itself 5e-7), rope 2e-5
 * (positions to 3000 cost float32 4e-6). A key bias without rope behind it has a gradient of zero in exact
 * arithmetic; there 1e-6 absolute. */
#include "base/file.h"
#include "base/json.h"
#include "fusion/frequency.h"
#include "support/tensors.h"
#include "tensor/loss.h"
#include "tensor/ops.h"
#include "tensor/tape.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MOST_LEAVES 32

static test_machine machine;
static const cJSON *index_of_cases;

typedef struct leaf {
    char name[64];
    tomo_tensor tensor;
} leaf;

typedef struct primitive {
    tomo_checkpoint *file;
    const cJSON *attributes;
    leaf leaves[MOST_LEAVES];
    int leaf_count;
    double tolerance;
    const char *skip;
    char wrong[512];
} primitive;

static void wrong(primitive *c, const char *format, ...) TOMO_PRINTF(2, 3);
static void wrong(primitive *c, const char *format, ...) {
    if (c->wrong[0] != '\0') return;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(c->wrong, sizeof c->wrong, format, arguments);
    va_end(arguments);
}

/* ------------------------------------------------------------------------- tensors */

/* input.NAME with a gradient; absent where the file has none. */
static tomo_tensor take(primitive *c, const char *name) {
    char full[96];
    (void)snprintf(full, sizeof full, "input.%s", name);
    tomo_tensor t = test_tensor(c->file, full);
    if (t.data == NULL || c->leaf_count == MOST_LEAVES) return t;
    t.grad = calloc((size_t)tomo_tensor_count(&t) + 1, sizeof *t.grad);
    leaf *l = &c->leaves[c->leaf_count++];
    (void)snprintf(l->name, sizeof l->name, "%s", name);
    l->tensor = t;
    return t;
}

static double number(const primitive *c, const char *key) {
    const cJSON *value = tomo_json_get(c->attributes, key);
    return cJSON_IsNumber(value) ? value->valuedouble : NAN;
}

static const char *text(const primitive *c, const char *key) {
    const cJSON *value = tomo_json_get(c->attributes, key);
    return cJSON_IsString(value) ? value->valuestring : "";
}

/* The axes in another order: axis i of the result is axis order[i] of t. */
static tomo_tensor turned(const tomo_tensor *t, const int *order) {
    tomo_tensor view = *t;
    for (int i = 0; i < t->rank; i++) {
        view.shape[i] = t->shape[order[i]];
        view.stride[i] = t->stride[order[i]];
    }
    return view;
}

/* Element `i` counted in C order of the logical shape. */
static int64_t place_of(const tomo_tensor *t, int64_t i) {
    int64_t offset = 0;
    for (int axis = t->rank - 1; axis >= 0; axis--) {
        offset += i % t->shape[axis] * t->stride[axis];
        i /= t->shape[axis];
    }
    return offset;
}

static void judge(primitive *c, const char *name, const float *got, const float *want, int64_t n) {
    double d = parity_relative_l2(got, want, n);
    if (parity_largest(want, n) < 1e-5) d = parity_distance(got, want, n); /* zero but for rounding */
    if (!(d <= c->tolerance)) wrong(c, "%s is %.2e off; %.0e is allowed", name, d, c->tolerance);
}

/* Part `part` (0 of 1: all) along the first axis of output NAME: compares it, and sets its gradient. */
static void give(primitive *c, const char *name, const tomo_tensor *view, int64_t part) {
    char output[80], upstream[80];
    (void)snprintf(output, sizeof output, "output%s%s", name[0] == '\0' ? "" : ".", name);
    (void)snprintf(upstream, sizeof upstream, "grad_output%s%s", name[0] == '\0' ? "" : ".", name);
    const tomo_stored *want = tomo_checkpoint_find(c->file, output);
    const tomo_stored *slope = tomo_checkpoint_find(c->file, upstream);
    if (view == NULL || want == NULL || slope == NULL) {
        wrong(c, "%s: %s", output, view == NULL ? "no result" : "not recorded");
        return;
    }
    int64_t n = tomo_tensor_count(view);
    if ((part + 1) * n > want->count) {
        wrong(c, "%s has %lld values; %lld are recorded", output, (long long)n, (long long)want->count);
        return;
    }
    float *got = calloc((size_t)n, sizeof *got);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = place_of(view, i);
        got[i] = tomo_tensor_f32(view)[at];
        if (view->grad != NULL) view->grad[at] = ((const float *)slope->data)[part * n + i];
    }
    judge(c, output, got, (const float *)want->data + part * n, n);
    free(got);
}

/* -------------------------------------------------------------------------- operations */

static tomo_linear linear_of(primitive *c, const char *prefix) {
    char name[64];
    tomo_linear l = {0};
    (void)snprintf(name, sizeof name, "%sweight", prefix);
    l.weight = take(c, name);
    (void)snprintf(name, sizeof name, "%sbias", prefix);
    l.bias = take(c, name);
    return l;
}

static tomo_tensor *apply(const tomo_tensor *x, const tomo_linear *l) {
    return tomo_op_linear(&machine.exec, x, l, TOMO_ACT_NONE, NULL);
}

static void run_linear(primitive *c) {
    tomo_tensor x = take(c, "x");
    tomo_linear l = linear_of(c, "");
    give(c, "", apply(&x, &l), 0);
}

static void run_layer_norm(primitive *c) {
    tomo_tensor x = take(c, "x"), weight = take(c, "weight"), bias = take(c, "bias");
    give(c, "", tomo_op_layer_norm(&machine.exec, &x, &weight, &bias, number(c, "eps")), 0);
}

static void run_rms_norm(primitive *c) {
    tomo_tensor x = take(c, "x"), weight = take(c, "weight");
    double offset = strcmp(text(c, "style"), "gemma") == 0 ? 1 : 0;
    give(c, "", tomo_op_rms_norm(&machine.exec, &x, &weight, offset, number(c, "eps")), 0);
}

static bool activation_of(const char *name, tomo_activation *activation) {
    static const struct {
        const char *name;
        tomo_activation activation;
    } known[] = {
        {"gelu", TOMO_ACT_GELU}, {"gelu_pytorch_tanh", TOMO_ACT_GELU_TANH},
        {"silu", TOMO_ACT_SILU}, {"quick_gelu", TOMO_ACT_QUICK_GELU},
        {"tanh", TOMO_ACT_TANH}, {"sigmoid", TOMO_ACT_SIGMOID},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0) continue;
        *activation = known[i].activation;
        return true;
    }
    return false;
}

static void run_activation(primitive *c) {
    tomo_activation activation;
    if (!activation_of(text(c, "kind"), &activation)) {
        c->skip = "an activation that no network here has";
        return;
    }
    tomo_tensor x = take(c, "x");
    give(c, "", tomo_op_activate(&machine.exec, &x, activation), 0);
}

static void run_layer_scale(primitive *c) {
    tomo_tensor x = take(c, "x"), branch = take(c, "branch"), gamma = take(c, "gamma");
    tomo_exec *e = &machine.exec;
    give(c, "", tomo_op_add(e, &x, tomo_op_multiply(e, &branch, &gamma)), 0);
}

static void run_swiglu(primitive *c) {
    tomo_exec *e = &machine.exec;
    tomo_tensor x = take(c, "x");
    tomo_linear gate = {.weight = take(c, "gate")}, up = {.weight = take(c, "up")},
                down = {.weight = take(c, "down")};
    give(c, "", apply(tomo_op_silu_multiply(e, apply(&x, &gate), apply(&x, &up)), &down), 0);
}

static void run_embedding(primitive *c) {
    tomo_tensor table = take(c, "weight"), ids = test_tensor(c->file, "const.ids");
    int64_t n = tomo_tensor_count(&ids);
    int32_t *list = calloc((size_t)n, sizeof *list);
    for (int64_t i = 0; i < n; i++) list[i] = (int32_t)((const int64_t *)ids.data)[i];
    give(c, "", tomo_op_embedding(&machine.exec, &table, list, n), 0);
    free(list);
}

static void run_rope(primitive *c) {
    tomo_exec *e = &machine.exec;
    c->tolerance = 2e-5;
    tomo_tensor positions = test_tensor(c->file, "const.positions");
    static const char *const names[] = {"q", "k"};
    for (int which = 0; which < 2; which++) {
        tomo_tensor x = take(c, names[which]); /* [B, heads, T, d] */
        int64_t T = x.shape[2], d = x.shape[3];
        int64_t half = (int64_t)((double)d * number(c, "partial_rotary_factor")) / 2;
        for (int64_t b = 0; b < x.shape[0]; b++) {
            tomo_tensor *cosine = tomo_exec_tensor(e, 2, (int64_t[]){T, half});
            tomo_tensor *sine = tomo_exec_tensor(e, 2, (int64_t[]){T, half});
            for (int64_t i = 0; i < T * half; i++) {
                double step = pow(number(c, "theta"), -2.0 * (double)(i % half) / (double)(2 * half));
                float angle = (float)((const int64_t *)positions.data)[b * T + i / half] * (float)step;
                tomo_tensor_f32(cosine)[i] = (float)cos((double)angle);
                tomo_tensor_f32(sine)[i] = (float)sin((double)angle);
            }
            tomo_tensor one = tomo_tensor_narrow(&x, 0, b, 1);
            tomo_tensor heads = tomo_tensor_reshape(&one, 3, (int64_t[]){x.shape[1], T, d});
            heads = turned(&heads, (int[]){1, 0, 2});
            tomo_tensor *y = tomo_op_rope(e, &heads, cosine, sine);
            if (y == NULL) return;
            tomo_tensor back = turned(y, (int[]){1, 0, 2});
            give(c, which == 0 ? "q_out" : "k_out", &back, b);
        }
    }
}

/* How many keys row t of the mask [Lq, Lk] of batch item b lets through; they are the first ones. */
static int64_t seen_by(const tomo_tensor *mask, int64_t b, int64_t t) {
    const uint8_t *row = (const uint8_t *)mask->data + (b * mask->shape[2] + t) * mask->shape[3];
    int64_t n = 0;
    while (n < mask->shape[3] && row[n] != 0) n++;
    return n;
}

/* Queries first .. end - 1 of batch item b over its first `keys` keys; parts of q, k, v [B, T, heads, d]. */
static tomo_tensor *attend_part(const tomo_tensor *q, const tomo_tensor *k, const tomo_tensor *v, int64_t b,
                                int64_t first, int64_t end, int64_t keys, double scale, bool causal) {
    tomo_tensor part[3] = {tomo_tensor_narrow(q, 0, b, 1), tomo_tensor_narrow(k, 0, b, 1),
                           tomo_tensor_narrow(v, 0, b, 1)};
    part[0] = tomo_tensor_narrow(&part[0], 1, first, end - first);
    part[1] = tomo_tensor_narrow(&part[1], 1, 0, keys);
    part[2] = tomo_tensor_narrow(&part[2], 1, 0, keys);
    return tomo_op_attention(&machine.exec, &part[0], &part[1], &part[2], scale, causal);
}

/* Rows that see growing numbers of keys are causal, then rows that see the same are not. */
static void attend_masked(primitive *c, const tomo_tensor *q, const tomo_tensor *k, const tomo_tensor *v,
                          const tomo_tensor *mask) {
    static const int swap[] = {0, 2, 1, 3};
    tomo_tensor qt = turned(q, swap), kt = turned(k, swap), vt = turned(v, swap);
    int64_t T = qt.shape[1], heads = qt.shape[2], d = qt.shape[3];
    tomo_exec *e = &machine.exec;
    for (int64_t b = 0; b < qt.shape[0]; b++) {
        int64_t growing = 0;
        while (growing < T && seen_by(mask, b, growing) == growing + 1) growing++;
        bool causal = growing > 1;
        if (!causal) growing = 0;
        tomo_tensor *first =
            causal ? attend_part(&qt, &kt, &vt, b, 0, growing, growing, number(c, "scale"), true) : NULL;
        tomo_tensor *rest = growing < T ? attend_part(&qt, &kt, &vt, b, growing, T, seen_by(mask, b, T - 1),
                                                      number(c, "scale"), false)
                                        : NULL;
        const tomo_tensor *parts[2];
        int count = 0;
        tomo_tensor columns[2];
        tomo_tensor *made[] = {first, rest};
        for (int i = 0; i < 2; i++) { /* joined along the time axis: turned, joined as columns, turned back */
            if (made[i] == NULL) continue;
            tomo_tensor flat = tomo_tensor_reshape(made[i], 2, made[i]->shape + 1);
            columns[count] = turned(&flat, (int[]){1, 0});
            parts[count] = &columns[count];
            count++;
        }
        tomo_tensor *joined = tomo_op_concat(e, parts, count); /* [heads * d, T] */
        if (joined == NULL) return;
        tomo_tensor out = tomo_tensor_reshape(joined, 3, (int64_t[]){heads, d, T});
        out = turned(&out, (int[]){0, 2, 1});
        give(c, "", &out, b);
    }
}

static void run_attention(primitive *c) {
    tomo_tensor q = take(c, "q"), k = take(c, "k"), v = take(c, "v");
    tomo_tensor mask = test_tensor(c->file, "const.mask");
    if (q.shape[3] != v.shape[3]) {
        c->skip = "values of another width than keys, which no network here has";
        return;
    }
    attend_masked(c, &q, &k, &v, &mask);
}

/* x [B, T, C] as heads, without copying. */
static tomo_tensor heads_of(const tomo_tensor *x, int64_t heads) {
    return tomo_tensor_reshape(x, 4, (int64_t[]){x->shape[0], x->shape[1], heads, x->shape[2] / heads});
}

static void run_cross_block(primitive *c) {
    tomo_tensor x = take(c, "x"), context = take(c, "context"), bias = take(c, "in_proj_bias");
    tomo_tensor ignored = test_tensor(c->file, "const.key_padding_mask");
    int64_t n = x.shape[2], heads = (int64_t)number(c, "heads");
    tomo_linear layers[3] = {{.weight = take(c, "q_proj_weight")},
                             {.weight = take(c, "k_proj_weight")},
                             {.weight = take(c, "v_proj_weight")}};
    tomo_tensor *parts[3];
    for (int i = 0; i < 3; i++) {
        layers[i].bias = tomo_tensor_narrow(&bias, 0, i * n, n);
        parts[i] = apply(i == 0 ? &x : &context, &layers[i]);
    }
    tomo_linear out = linear_of(c, "out_proj.");
    if (parts[0] == NULL || parts[1] == NULL || parts[2] == NULL) return;
    tomo_tensor q = heads_of(parts[0], heads), k = heads_of(parts[1], heads), v = heads_of(parts[2], heads);
    for (int64_t b = 0; b < x.shape[0]; b++) {
        int64_t keys = 0;
        while (keys < k.shape[1] && ((const uint8_t *)ignored.data)[b * k.shape[1] + keys] == 0) keys++;
        double scale = 1 / sqrt((double)(n / heads));
        tomo_tensor *y = attend_part(&q, &k, &v, b, 0, x.shape[1], keys, scale, false);
        give(c, "", apply(y, &out), b);
    }
}

static void run_vision_block(primitive *c) {
    tomo_exec *e = &machine.exec;
    tomo_activation act;
    if (!activation_of(text(c, "act"), &act)) {
        c->skip = "an activation that no network here has";
        return;
    }
    int64_t heads = (int64_t)number(c, "heads");
    tomo_tensor x = take(c, "x"), w1 = take(c, "layer_norm1.weight"), b1 = take(c, "layer_norm1.bias");
    tomo_tensor w2 = take(c, "layer_norm2.weight"), b2 = take(c, "layer_norm2.bias");
    tomo_linear q = linear_of(c, "self_attn.q_proj."), k = linear_of(c, "self_attn.k_proj.");
    tomo_linear v = linear_of(c, "self_attn.v_proj."), o = linear_of(c, "self_attn.out_proj.");
    tomo_linear fc1 = linear_of(c, "mlp.fc1."), fc2 = linear_of(c, "mlp.fc2.");
    tomo_tensor *n = tomo_op_layer_norm(e, &x, &w1, &b1, number(c, "eps"));
    tomo_tensor *made[] = {apply(n, &q), apply(n, &k), apply(n, &v)};
    if (made[2] == NULL) return;
    tomo_tensor qh = heads_of(made[0], heads), kh = heads_of(made[1], heads), vh = heads_of(made[2], heads);
    tomo_tensor *a = tomo_op_attention(e, &qh, &kh, &vh, 1 / sqrt((double)qh.shape[3]), false);
    a = tomo_op_linear(e, a, &o, TOMO_ACT_NONE, &x);
    tomo_tensor *m = tomo_op_linear(e, tomo_op_layer_norm(e, a, &w2, &b2, number(c, "eps")), &fc1, act, NULL);
    give(c, "", tomo_op_linear(e, m, &fc2, TOMO_ACT_NONE, a), 0);
}

/* Cosines and sines for positions 0 .. T - 1. */
static void tables(int64_t T, int64_t half, double theta, tomo_tensor **cosine, tomo_tensor **sine) {
    *cosine = tomo_exec_tensor(&machine.exec, 2, (int64_t[]){T, half});
    *sine = tomo_exec_tensor(&machine.exec, 2, (int64_t[]){T, half});
    for (int64_t i = 0; i < T * half && *sine != NULL; i++) {
        float step = (float)pow(theta, -(double)(i % half) / (double)half), angle = (float)(i / half) * step;
        tomo_tensor_f32(*cosine)[i] = (float)cos((double)angle);
        tomo_tensor_f32(*sine)[i] = (float)sin((double)angle);
    }
}

/* All batch items as packed sequences, as the decoder trains. */
static void run_decoder_block(primitive *c) {
    tomo_exec *e = &machine.exec;
    int64_t heads = (int64_t)number(c, "heads"), kv = (int64_t)number(c, "kv_heads");
    tomo_tensor x3 = take(c, "x"), norm1 = take(c, "input_layernorm.weight");
    tomo_tensor norm2 = take(c, "post_attention_layernorm.weight");
    tomo_linear q = linear_of(c, "self_attn.q_proj."), k = linear_of(c, "self_attn.k_proj.");
    tomo_linear v = linear_of(c, "self_attn.v_proj."), o = linear_of(c, "self_attn.o_proj.");
    tomo_linear gate = linear_of(c, "mlp.gate_proj."), up = linear_of(c, "mlp.up_proj.");
    tomo_linear down = linear_of(c, "mlp.down_proj.");
    int64_t B = x3.shape[0], T = x3.shape[1], n = x3.shape[2], d = q.weight.shape[0] / heads, starts[65];
    if (B > 64) return;
    for (int64_t b = 0; b <= B; b++) starts[b] = b * T;
    tomo_tensor x = tomo_tensor_reshape(&x3, 2, (int64_t[]){B * T, n}), *cosine, *sine;
    tables(T, d / 2, number(c, "theta"), &cosine, &sine);
    tomo_tensor *cs = tomo_exec_tensor(e, 2, (int64_t[]){B * T, d / 2});
    tomo_tensor *sn = tomo_exec_tensor(e, 2, (int64_t[]){B * T, d / 2});
    for (int64_t i = 0; i < B * T * (d / 2); i++) {
        tomo_tensor_f32(cs)[i] = tomo_tensor_f32(cosine)[i % (T * (d / 2))];
        tomo_tensor_f32(sn)[i] = tomo_tensor_f32(sine)[i % (T * (d / 2))];
    }
    tomo_tensor *u = tomo_op_rms_norm(e, &x, &norm1, 0, number(c, "eps"));
    tomo_tensor *made[] = {apply(u, &q), apply(u, &k), apply(u, &v)};
    if (made[2] == NULL) return;
    tomo_tensor qh = tomo_tensor_reshape(made[0], 3, (int64_t[]){B * T, heads, d});
    tomo_tensor kh = tomo_tensor_reshape(made[1], 3, (int64_t[]){B * T, kv, d});
    tomo_tensor vh = tomo_tensor_reshape(made[2], 3, (int64_t[]){B * T, kv, d});
    tomo_tensor *a = tomo_op_attention_packed(e, tomo_op_rope(e, &qh, cs, sn), tomo_op_rope(e, &kh, cs, sn),
                                              &vh, starts, NULL, B, 1 / sqrt((double)d), true);
    a = tomo_op_linear(e, a, &o, TOMO_ACT_NONE, &x);
    tomo_tensor *m = tomo_op_rms_norm(e, a, &norm2, 0, number(c, "eps"));
    m = tomo_op_silu_multiply(e, apply(m, &gate), apply(m, &up));
    give(c, "", tomo_op_linear(e, m, &down, TOMO_ACT_NONE, a), 0);
}

/* ------------------------------------------------------------------ spatial operations */

static const int channels_last[] = {1, 2, 3, 0}, channels_first[] = {3, 0, 1, 2};

/* Item b of x [N, C, D, H, W] as [D, H, W, C]. */
static tomo_tensor *item_of(const tomo_tensor *x, int64_t b) {
    tomo_tensor one = tomo_tensor_narrow(x, 0, b, 1);
    one = tomo_tensor_reshape(&one, 4, x->shape + 1);
    one = turned(&one, channels_last);
    return tomo_op_contiguous(&machine.exec, &one);
}

static void give_item(primitive *c, const tomo_tensor *y, int64_t b) {
    if (y == NULL) return;
    tomo_tensor back = turned(y, channels_first);
    give(c, "", &back, b);
}

static bool all_are(const cJSON *list, int value) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (item->valueint != value) return false;
    }
    return true;
}

static void run_conv3d(primitive *c) {
    tomo_tensor weight = test_tensor(c->file, "input.weight"), x = test_tensor(c->file, "input.x");
    bool ours = number(c, "groups") == (double)x.shape[1] && weight.shape[0] == x.shape[1];
    for (int i = 2; i < 5; i++) ours = ours && weight.shape[i] == 3;
    ours = ours && all_are(tomo_json_get(c->attributes, "padding"), 1) &&
           all_are(tomo_json_get(c->attributes, "stride"), 1) &&
           tomo_checkpoint_find(c->file, "input.bias") != NULL;
    if (!ours) {
        c->skip = "the convolution here is depthwise, 3 x 3 x 3, with stride and padding 1 and a bias";
        return;
    }
    x = take(c, "x");
    weight = take(c, "weight");
    tomo_tensor bias = take(c, "bias");
    for (int64_t b = 0; b < x.shape[0]; b++) {
        give_item(c, tomo_op_depthwise_conv3d(&machine.exec, item_of(&x, b), &weight, &bias), b);
    }
}

static void run_adaptive_pool(primitive *c) {
    tomo_tensor x = take(c, "x");
    int64_t bins[3];
    for (int i = 0; i < 3; i++) {
        bins[i] = cJSON_GetArrayItem(tomo_json_get(c->attributes, "size"), i)->valueint;
    }
    for (int64_t b = 0; b < x.shape[0]; b++) {
        give_item(c, tomo_op_adaptive_pool3d(&machine.exec, item_of(&x, b), bins), b);
    }
}

/* filter [..., 2] -> the part that is real (0) or imaginary (1), contiguous, without the last axis. */
static tomo_tensor *part_of(const tomo_tensor *filter, int which) {
    tomo_tensor part = tomo_tensor_narrow(filter, filter->rank - 1, which, 1);
    part.rank--;
    return tomo_op_contiguous(&machine.exec, &part);
}

#define UNEVEN "with an odd axis the filter's last bin is not at half a cycle, where it is here"

/* The last axis is that of the slices: x [N, C, h, w, S], filter [C, h, w, S / 2 + 1, 2]. */
static void run_fft3_filter(primitive *c) {
    tomo_exec *e = &machine.exec;
    tomo_tensor x = test_tensor(c->file, "input.x");
    int64_t S = x.shape[4], *runs = tomo_exec_alloc(e, S, sizeof *runs);
    if (S % 2 != 0) {
        c->skip = UNEVEN;
        return;
    }
    x = take(c, "x");
    tomo_tensor filter = take(c, "filter");
    for (int64_t i = 0; i < S; i++) runs[i] = 1;
    tomo_tensor *parts[2];
    for (int i = 0; i < 2; i++) {
        tomo_tensor *part = part_of(&filter, i);
        if (part == NULL) return;
        tomo_tensor view = turned(part, (int[]){1, 2, 3, 0});
        parts[i] = tomo_op_contiguous(e, &view);
    }
    for (int64_t b = 0; b < x.shape[0]; b++) {
        tomo_tensor one = tomo_tensor_narrow(&x, 0, b, 1);
        one = tomo_tensor_reshape(&one, 4, x.shape + 1);
        one = turned(&one, (int[]){3, 1, 2, 0});
        tomo_tensor *y = tomo_op_frequency_filter(e, tomo_op_contiguous(e, &one), runs, parts[0], parts[1]);
        if (y == NULL) return;
        tomo_tensor back = turned(y, (int[]){3, 1, 2, 0});
        give(c, "", &back, b);
    }
}

/* One axis: every line along it is a scan with one cell and one channel. */
static void run_dft_axis(primitive *c) {
    tomo_exec *e = &machine.exec;
    int axis = (int)number(c, "axis");
    tomo_tensor x = test_tensor(c->file, "input.x");
    int64_t S = x.shape[axis], *runs = tomo_exec_alloc(e, S, sizeof *runs);
    if (S % 2 != 0 || axis != 1 || x.rank != 3) {
        c->skip = UNEVEN;
        return;
    }
    x = take(c, "x");
    tomo_tensor filter = take(c, "filter");
    for (int64_t i = 0; i < S; i++) runs[i] = 1;
    tomo_tensor *parts[2];
    for (int i = 0; i < 2; i++) {
        parts[i] = part_of(&filter, i);
        if (parts[i] == NULL) return;
        *parts[i] = tomo_tensor_reshape(parts[i], 4, (int64_t[]){1, 1, S / 2 + 1, 1});
    }
    for (int64_t b = 0; b < x.shape[0]; b++) {
        tomo_tensor lines[64];
        const tomo_tensor *joined[64];
        for (int64_t i = 0; i < x.shape[2] && i < 64; i++) {
            tomo_tensor one = tomo_tensor_narrow(&x, 0, b, 1);
            one = tomo_tensor_narrow(&one, 2, i, 1);
            tomo_tensor *line = tomo_op_contiguous(e, &one);
            if (line == NULL) return;
            *line = tomo_tensor_reshape(line, 4, (int64_t[]){S, 1, 1, 1});
            tomo_tensor *y = tomo_op_frequency_filter(e, line, runs, parts[0], parts[1]);
            if (y == NULL) return;
            lines[i] = tomo_tensor_reshape(y, 2, (int64_t[]){S, 1});
            joined[i] = &lines[i];
        }
        give(c, "", tomo_op_concat(e, joined, (int)x.shape[2]), b);
    }
}

/* ------------------------------------------------------------------------------ losses */

/* The mean over rows with a label; `shift` compares row t with label t + 1. */
static void run_loss(primitive *c, bool shift) {
    tomo_tensor logits = take(c, "logits"), labels = test_tensor(c->file, "const.labels");
    int64_t n = tomo_tensor_width(&logits), rows = tomo_tensor_rows(&logits), learned = 0;
    int64_t T = logits.rank == 3 ? logits.shape[1] : rows;
    int64_t *wanted = calloc((size_t)rows, sizeof *wanted);
    for (int64_t r = 0; r < rows; r++) {
        bool last = shift && r % T == T - 1;
        wanted[r] = last ? -100 : ((const int64_t *)labels.data)[r + (shift ? 1 : 0)];
        learned += wanted[r] >= 0;
    }
    double sum = 0;
    for (int64_t r = 0; r < rows; r++) {
        float *row = logits.grad + r * n;
        if (wanted[r] < 0) continue;
        memcpy(row, tomo_tensor_f32(&logits) + r * n, (size_t)n * sizeof *row);
        sum += tomo_cross_entropy_row(machine.kernels, row, n, (int32_t)wanted[r], 1.0f / (float)learned);
    }
    free(wanted);
    float loss = (float)(sum / (double)learned);
    judge(c, "output", &loss, tomo_checkpoint_find(c->file, "output")->data, 1);
}

static void run_cross_entropy(primitive *c) {
    run_loss(c, false);
}
static void run_causal_lm_loss(primitive *c) {
    run_loss(c, true);
}

/* --------------------------------------------------------------------------- together */

static const struct {
    const char *op;
    void (*run)(primitive *c);
    const char *skip; /* why there is none */
} operations[] = {
    {"linear", run_linear, NULL},
    {"layer_norm", run_layer_norm, NULL},
    {"rms_norm", run_rms_norm, NULL},
    {"activation", run_activation, NULL},
    {"layer_scale", run_layer_scale, NULL},
    {"swiglu", run_swiglu, NULL},
    {"embedding", run_embedding, NULL},
    {"rope", run_rope, NULL},
    {"attention", run_attention, NULL},
    {"cross_block", run_cross_block, NULL},
    {"vision_block", run_vision_block, NULL},
    {"decoder_block", run_decoder_block, NULL},
    {"conv3d", run_conv3d, NULL},
    {"adaptive_pool", run_adaptive_pool, NULL},
    {"fft3_filter", run_fft3_filter, NULL},
    {"dft_axis", run_dft_axis, NULL},
    {"cross_entropy", run_cross_entropy, NULL},
    {"causal_lm_loss", run_causal_lm_loss, NULL},
    {"softmax", NULL, "soft-max stands inside attention and losses here, not alone"},
    {"trilinear", NULL, "scans are resampled before they are learned from; no gradient passes there"},
};

static void compare_gradients(primitive *c) {
    for (int i = 0; i < c->leaf_count; i++) {
        const leaf *l = &c->leaves[i];
        char full[96];
        (void)snprintf(full, sizeof full, "grad.%s", l->name);
        const tomo_stored *want = tomo_checkpoint_find(c->file, full);
        if (want == NULL || want->count != tomo_tensor_count(&l->tensor)) {
            wrong(c, "%s is not recorded", full);
        } else {
            judge(c, full, l->tensor.grad, want->data, want->count);
        }
    }
}

static void run_operation(primitive *c, const char *op) {
    size_t i = 0, count = sizeof operations / sizeof operations[0];
    while (i < count && strcmp(operations[i].op, op) != 0) i++;
    if (i == count || operations[i].run == NULL) {
        c->skip = i == count ? "an operation that is not known here" : operations[i].skip;
        return;
    }
    tomo_tape tape = {0};
    tomo_error err = {0};
    machine.exec.tape = &tape;
    operations[i].run(c);
    if (c->skip == NULL) tomo_tape_backward(&machine.exec);
    machine.exec.tape = NULL;
    if (tomo_exec_status(&machine.exec, &err) != TOMO_OK) wrong(c, "%s", err.message);
    if (c->skip == NULL) compare_gradients(c);
    tomo_arena_reset(machine.exec.arena);
}

static void run(parity *p, const char *name, const char *path) {
    char stem[128], shown[160];
    (void)snprintf(stem, sizeof stem, "%.*s", (int)(strlen(name) - strlen(".safetensors")), name);
    (void)snprintf(shown, sizeof shown, "primitives/%s", stem);
    const cJSON *item = tomo_json_get(index_of_cases, stem), *op = tomo_json_get(item, "op");
    primitive c = {.attributes = tomo_json_get(item, "attributes"), .tolerance = 2e-6};
    tomo_error err = {0};
    if (!cJSON_IsString(op)) {
        wrong(&c, "case.json has no operation of that name");
    } else if (tomo_checkpoint_open(path, &c.file, &err) != TOMO_OK) {
        wrong(&c, "%s", err.message);
    } else {
        run_operation(&c, op->valuestring);
    }
    if (c.wrong[0] != '\0') {
        parity_fail(p, shown, "%s", c.wrong);
    } else if (c.skip != NULL) {
        parity_skip(p, shown, "%s", c.skip);
    } else {
        parity_pass(p, shown);
    }
    for (int i = 0; i < c.leaf_count; i++) free(c.leaves[i].tensor.grad);
    tomo_checkpoint_free(c.file);
}

/* A folder of single operations is one whose case.json gives each of its members an operation. */
static void walk(parity *p, const char *name, const char *folder) {
    char *path = tomo_path_join(folder, "case.json");
    cJSON *root = NULL;
    if (tomo_json_open(path, &root, NULL) == TOMO_OK && root->child != NULL &&
        tomo_json_get(root->child, "op") != NULL) {
        index_of_cases = root;
        parity_each_file(p, name, ".safetensors", run);
    }
    cJSON_Delete(root);
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
