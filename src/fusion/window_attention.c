#include "fusion/window_attention.h"

#include "tensor/tape.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct window_job {
    const tomo_kernels *kernels;
    const float *query, *key, *value, *key_offset, *value_offset;
    float *out, *attention, *scratch;
    int64_t size[3]; /* K, h, w */
    int64_t grid[3];
    int64_t d, heads, tokens, most_cells;
} window_job;

/* The cells of one token's window, in order z, y, x. */
typedef struct window {
    int64_t first[3], count[3], cells;
} window;

static window window_of(const window_job *job, int64_t token) {
    int64_t at[3] = {token / (job->grid[1] * job->grid[2]), token / job->grid[2] % job->grid[1],
                     token % job->grid[2]};
    window w = {.cells = 1};
    for (int i = 0; i < 3; i++) {
        int64_t end;
        tomo_pool_window(at[i], job->size[i], job->grid[i], &w.first[i], &end);
        w.count[i] = end - w.first[i];
        w.cells *= w.count[i];
    }
    return w;
}

/* Index of cell n of a window in the whole grid, and its offset along z, y, x. */
static int64_t cell_of(const window_job *job, const window *w, int64_t n, float place[3]) {
    int64_t at[3] = {n / (w->count[1] * w->count[2]), n / w->count[2] % w->count[1], n % w->count[2]};
    for (int i = 0; i < 3; i++) place[i] = ((float)at[i] + 0.5f) / (float)w->count[i] - 0.5f;
    return ((w->first[0] + at[0]) * job->size[1] + w->first[1] + at[1]) * job->size[2] + w->first[2] + at[2];
}

/* q . (k + M place) = q . k + (M^T q) . place: the offset costs three products a head, not three a cell. */
static void score_head(const window_job *job, const window *w, const float *q, int64_t head, float *scores) {
    int64_t per_head = job->d / job->heads;
    float slope[3] = {0, 0, 0}, place[3];
    for (int64_t c = 0; c < per_head; c++) {
        for (int i = 0; i < 3; i++) slope[i] += q[c] * job->key_offset[(head * per_head + c) * 3 + i];
    }
    for (int64_t n = 0; n < w->cells; n++) {
        int64_t cell = cell_of(job, w, n, place);
        scores[n] = job->kernels->dot(q, job->key + cell * job->d + head * per_head, per_head) +
                    slope[0] * place[0] + slope[1] * place[1] + slope[2] * place[2];
    }
    job->kernels->softmax(scores, 1.0f / sqrtf((float)per_head), w->cells);
}

static void gather_head(const window_job *job, const window *w, const float *scores, int64_t head,
                        float *out) {
    int64_t per_head = job->d / job->heads;
    float mean[3] = {0, 0, 0}, place[3];
    memset(out, 0, (size_t)per_head * sizeof *out);
    for (int64_t n = 0; n < w->cells; n++) {
        int64_t cell = cell_of(job, w, n, place);
        job->kernels->add_scaled(out, scores[n], job->value + cell * job->d + head * per_head, per_head);
        for (int i = 0; i < 3; i++) mean[i] += scores[n] * place[i];
    }
    for (int64_t c = 0; c < per_head; c++) {
        const float *m = job->value_offset + (head * per_head + c) * 3;
        out[c] += m[0] * mean[0] + m[1] * mean[1] + m[2] * mean[2];
    }
}

static void spread_head(const window_job *job, const window *w, const float *scores, int64_t head,
                        int64_t token) {
    int64_t volume = job->size[0] * job->size[1] * job->size[2];
    float *map = job->attention + (head * job->tokens + token) * volume, place[3];
    for (int64_t n = 0; n < w->cells; n++) map[cell_of(job, w, n, place)] = scores[n];
}

static void run_token(void *argument, int64_t token, int worker) {
    window_job *job = argument;
    window w = window_of(job, token);
    float *scores = job->scratch + worker * job->most_cells;
    int64_t per_head = job->d / job->heads;
    for (int64_t head = 0; head < job->heads; head++) {
        int64_t at = token * job->d + head * per_head;
        score_head(job, &w, job->query + at, head, scores);
        gather_head(job, &w, scores, head, job->out + at);
        if (job->attention != NULL) spread_head(job, &w, scores, head, token);
    }
}

/* ------------------------------------------------------------------------- backward */

/* What one token and one head of the backward pass work with. */
typedef struct head_gradient {
    const float *q, *dy; /* [per_head] */
    const float *p;      /* [cells]: the attention, computed again */
    float *ds;           /* [cells]: gradient of the scores */
    int64_t channel;     /* the head's first */
} head_gradient;

/* dp = dy . v + place . (M_v^T dy), then through the soft-max; values' gradients on the way. */
static void values_backward(const window_job *job, const tomo_node *node, const window *w,
                            const head_gradient *h) {
    int64_t per_head = job->d / job->heads;
    float slope[3] = {0, 0, 0}, mean[3] = {0, 0, 0}, place[3], total = 0;
    float *value_grad = node->inputs[2].grad, *offset_grad = node->inputs[4].grad;
    for (int64_t c = 0; c < per_head; c++) {
        for (int i = 0; i < 3; i++) slope[i] += h->dy[c] * job->value_offset[(h->channel + c) * 3 + i];
    }
    for (int64_t n = 0; n < w->cells; n++) {
        int64_t at = cell_of(job, w, n, place) * job->d + h->channel;
        h->ds[n] = job->kernels->dot(h->dy, job->value + at, per_head) + slope[0] * place[0] +
                   slope[1] * place[1] + slope[2] * place[2];
        total += h->p[n] * h->ds[n];
        if (value_grad != NULL) job->kernels->add_scaled(value_grad + at, h->p[n], h->dy, per_head);
        for (int i = 0; i < 3; i++) mean[i] += h->p[n] * place[i];
    }
    for (int64_t c = 0; c < per_head && offset_grad != NULL; c++) {
        for (int i = 0; i < 3; i++) offset_grad[(h->channel + c) * 3 + i] += h->dy[c] * mean[i];
    }
    float scale = 1.0f / sqrtf((float)per_head);
    for (int64_t n = 0; n < w->cells; n++) h->ds[n] = h->p[n] * (h->ds[n] - total) * scale;
}

static void keys_backward(const window_job *job, const tomo_node *node, const window *w,
                          const head_gradient *h, float *query_grad) {
    int64_t per_head = job->d / job->heads;
    float moment[3] = {0, 0, 0}, place[3];
    float *key_grad = node->inputs[1].grad, *offset_grad = node->inputs[3].grad;
    for (int64_t n = 0; n < w->cells; n++) {
        int64_t at = cell_of(job, w, n, place) * job->d + h->channel;
        if (key_grad != NULL) job->kernels->add_scaled(key_grad + at, h->ds[n], h->q, per_head);
        if (query_grad != NULL) job->kernels->add_scaled(query_grad, h->ds[n], job->key + at, per_head);
        for (int i = 0; i < 3; i++) moment[i] += h->ds[n] * place[i];
    }
    for (int64_t c = 0; c < per_head; c++) {
        for (int i = 0; i < 3; i++) {
            int64_t at = (h->channel + c) * 3 + i;
            if (query_grad != NULL) query_grad[c] += job->key_offset[at] * moment[i];
            if (offset_grad != NULL) offset_grad[at] += h->q[c] * moment[i];
        }
    }
}

typedef struct window_gradient {
    window_job job;
    const tomo_node *node;
} window_gradient;

/* Windows overlap, so a block is a head: its channels of keys, values and offsets are its own. */
static void head_backward(void *argument, int64_t head, int worker) {
    const window_gradient *g = argument;
    const window_job *job = &g->job;
    int64_t per_head = job->d / job->heads;
    float *scores = job->scratch + worker * 2 * job->most_cells;
    for (int64_t token = 0; token < job->tokens; token++) {
        window w = window_of(job, token);
        int64_t at = token * job->d + head * per_head;
        head_gradient h = {job->query + at, g->node->output.grad + at, scores, scores + job->most_cells,
                           head * per_head};
        score_head(job, &w, h.q, head, scores);
        values_backward(job, g->node, &w, &h);
        float *query_grad = g->node->inputs[0].grad;
        keys_backward(job, g->node, &w, &h, query_grad == NULL ? NULL : query_grad + at);
    }
}

static void window_backward(tomo_exec *exec, const tomo_node *node) {
    window_gradient g = {*(const window_job *)node->attributes, node};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    g.job.scratch =
        tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * 2 * g.job.most_cells, sizeof(float));
    if (g.job.scratch == NULL) return;
    tomo_pool_run(exec->pool, g.job.heads, head_backward, &g);
    tomo_arena_rewind(exec->arena, mark);
}

/* -------------------------------------------------------------------------- forward */

tomo_tensor *tomo_op_window_attention(tomo_exec *exec, const tomo_tensor *query, const tomo_tensor *key,
                                      const tomo_tensor *value, const tomo_tensor *key_offset,
                                      const tomo_tensor *value_offset, int64_t heads, const int64_t grid[3],
                                      tomo_tensor *attention) {
    if (query == NULL || key == NULL || value == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(tomo_tensor_is_contiguous(query) && tomo_tensor_is_contiguous(key) &&
           tomo_tensor_is_contiguous(value));
    tomo_tensor *out = tomo_exec_tensor(exec, 2, query->shape);
    if (out == NULL) return NULL;
    window_job job = {.kernels = exec->kernels,
                      .query = tomo_tensor_f32(query),
                      .key = tomo_tensor_f32(key),
                      .value = tomo_tensor_f32(value),
                      .key_offset = tomo_tensor_f32(key_offset),
                      .value_offset = tomo_tensor_f32(value_offset),
                      .out = tomo_tensor_f32(out),
                      .d = query->shape[1],
                      .heads = heads,
                      .tokens = query->shape[0],
                      .most_cells = 1};
    for (int i = 0; i < 3; i++) {
        job.size[i] = key->shape[i];
        job.grid[i] = grid[i];
        /* floor(i n / b) .. ceil((i + 1) n / b) spans at most n / b + 2 cells. */
        job.most_cells *= key->shape[i] / grid[i] + 2;
    }
    if (attention != NULL) {
        job.attention = tomo_tensor_f32(attention);
        memset(job.attention, 0, (size_t)tomo_tensor_count(attention) * sizeof(float));
    }
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scratch = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job.most_cells, sizeof(float));
    if (job.scratch == NULL) return NULL;
    tomo_pool_run(exec->pool, job.tokens, run_token, &job);
    tomo_arena_rewind(exec->arena, mark);
    const tomo_tensor *inputs[] = {query, key, value, key_offset, value_offset};
    tomo_tape_record(exec, window_backward, out, inputs, 5, &job, sizeof job);
    return out;
}
