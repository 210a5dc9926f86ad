#include "tensor/loss.h"

#include "base/signals.h"
#include "tensor/gemm.h"
#include "tensor/packed.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* Floats of logits that exist at once: 64 MB. */
#define CHUNK_FLOATS ((int64_t)1 << 24)

double tomo_cross_entropy_row(const tomo_kernels *kernels, float *logits, int64_t n, int32_t label,
                              float scale) {
    float largest = logits[0], wanted = logits[label];
    for (int64_t i = 1; i < n; i++) largest = logits[i] > largest ? logits[i] : largest;
    kernels->softmax(logits, 1.0f, n);
    /* The largest logit's share is 1 / sum exp(x - largest), from which the logarithm of the sum follows
     * without another pass of exponentials. */
    double share = 0;
    for (int64_t i = 0; i < n; i++) share = (double)logits[i] > share ? (double)logits[i] : share;
    double loss = (double)largest - (double)wanted - log(share);
    if (!(share > 0)) loss = NAN; /* a logit was no number */
    for (int64_t i = 0; i < n; i++) logits[i] *= scale;
    logits[label] -= scale;
    return loss;
}

/* ----------------------------------------------------------- cross-entropy of a decoder */

typedef struct chunk {
    const tomo_kernels *kernels;
    float *logits;         /* [rows, V] */
    const int32_t *labels; /* [rows] */
    double *losses;        /* [rows] */
    int64_t classes;
    float scale;
} chunk;

static void loss_row(void *argument, int64_t row, int worker) {
    (void)worker;
    const chunk *c = argument;
    c->losses[row] = tomo_cross_entropy_row(c->kernels, c->logits + row * c->classes, c->classes,
                                            c->labels[row], c->scale);
}

/* The loss of `rows` gathered rows x [rows, H]; dx (or NULL) receives their gradient. */
static double run_chunk(tomo_exec *exec, chunk *c, const tomo_linear *head, const float *x, int64_t rows,
                        float *dx) {
    const tomo_tensor *w = &head->weight;
    int64_t H = w->shape[1];
    double sum = 0;
    if (head->packed != NULL) {
        tomo_packed_product(exec, c->logits, c->classes, x, rows, head->packed, (tomo_epilogue){0});
    } else {
        tomo_gemm(exec, c->logits, c->classes, x, H, rows, w, false, (tomo_epilogue){0});
    }
    tomo_pool_run(exec->pool, rows, loss_row, c);
    for (int64_t r = 0; r < rows; r++) sum += c->losses[r];
    if (c->scale == 0) { /* an evaluation */
        if (dx != NULL) memset(dx, 0, (size_t)(rows * H) * sizeof *dx);
        return sum;
    }
    if (dx != NULL && head->packed_back != NULL) {
        tomo_packed_product(exec, dx, H, c->logits, rows, head->packed_back, (tomo_epilogue){0});
        dx = NULL;
    } else if (dx != NULL) {
        memset(dx, 0, (size_t)(rows * H) * sizeof *dx);
    }
    if (dx != NULL || w->grad != NULL) tomo_gemm_backward(exec, dx, w->grad, NULL, c->logits, x, rows, w);
    return sum;
}

double tomo_loss_cross_entropy(tomo_exec *exec, const tomo_tensor *hidden, const tomo_linear *head,
                               const int32_t *labels, float scale) {
    if (hidden == NULL || exec->error.status != TOMO_OK) return 0;
    int64_t T = hidden->shape[0], H = hidden->shape[1], V = head->weight.shape[0], most = CHUNK_FLOATS / V,
            learned = 0;
    assert(tomo_tensor_is_contiguous(hidden) && head->weight.shape[1] == H);
    for (int64_t t = 0; t < T; t++) learned += labels[t] >= 0;
    if (most < 16) most = 16;
    if (most > learned) most = learned;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    int32_t *chosen = tomo_exec_alloc(exec, most + 1, sizeof *chosen);
    int64_t *places = tomo_exec_alloc(exec, most + 1, sizeof *places);
    float *x = tomo_exec_alloc(exec, most * H, sizeof *x), *dx = tomo_exec_alloc(exec, most * H, sizeof *dx);
    chunk c = {exec->kernels,
               tomo_exec_alloc(exec, most * V, sizeof(float)),
               chosen,
               tomo_exec_alloc(exec, most + 1, sizeof(double)),
               V,
               scale};
    double sum = 0;
    for (int64_t t = 0, rows = 0; t < T && c.losses != NULL; t++) {
        if (labels[t] >= 0) {
            assert(labels[t] < V);
            chosen[rows] = labels[t];
            places[rows] = t;
            memcpy(x + rows++ * H, tomo_tensor_f32(hidden) + t * H, (size_t)H * sizeof *x);
        }
        if (rows == 0 || (rows < most && t + 1 < T)) continue;
        sum += run_chunk(exec, &c, head, x, rows, hidden->grad == NULL ? NULL : dx);
        for (int64_t r = 0; r < rows && hidden->grad != NULL; r++) {
            float *to = hidden->grad + places[r] * H;
            exec->kernels->add(to, to, dx + r * H, H);
        }
        rows = 0;
    }
    tomo_arena_rewind(exec->arena, mark);
    return sum;
}

/* ------------------------------------------------------------------------ contrastive */

/* Rows divided by their lengths; the lengths are kept for the way back. */
static void normalise(const tomo_exec *exec, const tomo_tensor *x, float *unit, float *lengths) {
    int64_t B = x->shape[0], E = x->shape[1];
    for (int64_t b = 0; b < B; b++) {
        const float *row = tomo_tensor_f32(x) + b * E;
        lengths[b] = sqrtf(exec->kernels->dot(row, row, E));
        for (int64_t i = 0; i < E; i++) unit[b * E + i] = row[i] / lengths[b];
    }
}

/* dx += (du - u (u . du)) / length */
static void normalise_backward(const tomo_exec *exec, const tomo_tensor *x, const float *unit,
                               const float *lengths, const float *dunit) {
    int64_t B = x->shape[0], E = x->shape[1];
    for (int64_t b = 0; b < B && x->grad != NULL; b++) {
        const float *u = unit + b * E, *du = dunit + b * E;
        float along = exec->kernels->dot(u, du, E);
        for (int64_t i = 0; i < E; i++) x->grad[b * E + i] += (du[i] - u[i] * along) / lengths[b];
    }
}

/* Both cross-entropies over logits [B, B], whose mean gradient is written to slope. */
static double both_ways(const tomo_exec *exec, const float *logits, float *slope, float *line, int64_t B,
                        float scale) {
    double sum = 0;
    float share = scale / (2.0f * (float)B);
    for (int64_t b = 0; b < B; b++) {
        memcpy(slope + b * B, logits + b * B, (size_t)B * sizeof *slope);
        sum += tomo_cross_entropy_row(exec->kernels, slope + b * B, B, (int32_t)b, share);
    }
    for (int64_t b = 0; b < B; b++) {
        for (int64_t i = 0; i < B; i++) line[i] = logits[i * B + b];
        sum += tomo_cross_entropy_row(exec->kernels, line, B, (int32_t)b, share);
        for (int64_t i = 0; i < B; i++) slope[i * B + b] += line[i];
    }
    return sum / (2.0 * (double)B);
}

double tomo_loss_contrastive(tomo_exec *exec, const tomo_tensor *image, const tomo_tensor *text,
                             const tomo_tensor *log_scale, float scale) {
    if (image == NULL || text == NULL || exec->error.status != TOMO_OK) return 0;
    int64_t B = image->shape[0], E = image->shape[1];
    assert(tomo_tensor_count(image) == tomo_tensor_count(text));
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    float *u = tomo_exec_alloc(exec, 4 * B * E, sizeof *u),
          *w = tomo_exec_alloc(exec, 2 * B * B + 3 * B, sizeof *w);
    if (u == NULL || w == NULL) return 0;
    float *v = u + B * E, *du = v + B * E, *dv = du + B * E, *logits = w, *slope = w + B * B;
    float *line = slope + B * B, *image_lengths = line + B, *text_lengths = image_lengths + B;
    float temperature = expf(tomo_tensor_f32(log_scale)[0]);
    normalise(exec, image, u, image_lengths);
    normalise(exec, text, v, text_lengths);
    sigset_t before = tomo_signals_hold(); /* see tomo_gemm_run */
    bool done = tomo_sgemm(true, B, B, E, temperature, u, E, v, E, 0.0f, logits, B);
    double loss = both_ways(exec, logits, slope, line, B, scale);
    if (log_scale->grad != NULL) log_scale->grad[0] += exec->kernels->dot(slope, logits, B * B);
    done = done && tomo_sgemm(false, B, E, B, temperature, slope, B, v, E, 0.0f, du, E) &&
           tomo_sgemm_transposed(B, E, B, temperature, slope, B, u, E, 0.0f, dv, E);
    tomo_signals_release(&before);
    normalise_backward(exec, image, u, image_lengths, du);
    normalise_backward(exec, text, v, text_lengths, dv);
    tomo_arena_rewind(exec->arena, mark);
    if (!done)
        (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: contrastive loss of %lld pairs",
                        (long long)B);
    return loss;
}
