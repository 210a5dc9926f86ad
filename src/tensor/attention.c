/* attention.c - softmax(scale q k^T) v. A block is a strip of queries of one head (many queries), or all the
 * query heads that share one key head at one position (few: decoding), so keys and values are read once. */
#include "tensor/attention_half.h"
#include "tensor/gemm.h"
#include "tensor/ops.h"
#include "tensor/profile.h"
#include "tensor/tape.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* Queries of a strip: 64 rows of scores over 4,096 keys are 1 MB. */
#define STRIP 64

typedef struct attention_job {
    const tomo_kernels *kernels;
    tomo_tensor q, k, v;
    float *out;
    float *scores; /* one [rows, S] a worker; the backward pass has two */
    int64_t rows, strips;
    const int64_t *starts;                                /* of packed sequences, [sequences + 1]; or NULL */
    int64_t sequences, heads, kv_heads, queries, keys, d; /* queries, keys: of the longest sequence */
    float scale;
    bool causal;
    atomic_bool failed;
} attention_job;

/* One sequence: its queries and keys; `row` is its first row in the output. */
typedef struct sequence {
    int64_t b, row, queries, keys;
} sequence;

static sequence sequence_of(const attention_job *job, int64_t b) {
    if (job->starts == NULL) return (sequence){b, b * job->queries, job->queries, job->keys};
    int64_t length = job->starts[b + 1] - job->starts[b];
    return (sequence){b, job->starts[b], length, length};
}

/* How many keys query t sees. */
static int64_t visible(const attention_job *job, const sequence *s, int64_t t) {
    return job->causal ? s->keys - s->queries + t + 1 : s->keys;
}

/* Offset of an element of q, k or v, also in its gradient. */
static int64_t offset(const attention_job *job, const tomo_tensor *x, const sequence *s, int64_t t,
                      int64_t h) {
    int64_t start = job->starts == NULL ? s->b * x->stride[0] : s->row * x->stride[1];
    return start + t * x->stride[1] + h * x->stride[2];
}

static const float *place(const attention_job *job, const tomo_tensor *x, const sequence *s, int64_t t,
                          int64_t h) {
    return tomo_tensor_f32(x) + offset(job, x, s, t, h);
}

static int64_t out_offset(const attention_job *job, const sequence *s, int64_t t, int64_t h) {
    return ((s->row + t) * job->heads + h) * job->d;
}

/* softmax(scale q k^T) of `rows` queries of a head from `first` on, zero where a query does not see; rows of
 * `keys` as the last of them sees. False when oneDNN failed. */
static bool weigh(const attention_job *job, const sequence *s, int64_t head, int64_t first, int64_t rows,
                  int64_t keys, float *scores) {
    int64_t kv = head / (job->heads / job->kv_heads);
    bool done =
        tomo_sgemm(true, rows, keys, job->d, 1.0f, place(job, &job->q, s, first, head), job->q.stride[1],
                   place(job, &job->k, s, 0, kv), job->k.stride[1], 0.0f, scores, keys);
    for (int64_t r = 0; r < rows && done; r++) {
        int64_t seen = visible(job, s, first + r);
        job->kernels->softmax(scores + r * keys, job->scale, seen);
        memset(scores + r * keys + seen, 0, (size_t)(keys - seen) * sizeof *scores);
    }
    return done;
}

static void run_strip(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t strip = block % job->strips, head = block / job->strips % job->heads;
    sequence s = sequence_of(job, block / job->strips / job->heads);
    int64_t first = strip * STRIP, rows = s.queries - first < STRIP ? s.queries - first : STRIP;
    if (rows <= 0) return; /* a shorter sequence than the longest */
    int64_t kv = head / (job->heads / job->kv_heads), keys = visible(job, &s, first + rows - 1);
    float *scores = job->scores + (int64_t)worker * job->rows * job->keys;
    bool done = weigh(job, &s, head, first, rows, keys, scores);
    done = done && tomo_sgemm(false, rows, job->d, keys, 1.0f, scores, keys, place(job, &job->v, &s, 0, kv),
                              job->v.stride[1], 0.0f, job->out + out_offset(job, &s, first, head),
                              job->heads * job->d);
    if (!done) atomic_store(&job->failed, true);
}

static void run_group(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t t = block % job->queries, kv = block / job->queries % job->kv_heads;
    int64_t group = job->heads / job->kv_heads;
    sequence s = sequence_of(job, block / job->queries / job->kv_heads);
    if (t >= s.queries) return;
    int64_t keys = visible(job, &s, t);
    float *scores = job->scores + (int64_t)worker * job->rows * job->keys;
    for (int64_t g = 0; g < group; g += TOMO_PRODUCT_ROWS) {
        int64_t head = kv * group + g, rows = group - g < TOMO_PRODUCT_ROWS ? group - g : TOMO_PRODUCT_ROWS;
        job->kernels->product(scores, keys, place(job, &job->q, &s, t, head), job->q.stride[2], rows,
                              place(job, &job->k, &s, 0, kv), TOMO_F32, job->k.stride[1], keys, job->d);
        for (int64_t r = 0; r < rows; r++) job->kernels->softmax(scores + r * keys, job->scale, keys);
        job->kernels->weighted_sum(job->out + out_offset(job, &s, t, head), job->d, scores, keys, rows,
                                   place(job, &job->v, &s, 0, kv), job->v.stride[1], keys, job->d);
    }
}

static void finish(tomo_exec *exec, const attention_job *job) {
    if (!atomic_load(&job->failed)) return;
    (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: attention over %lld keys",
                    (long long)job->keys);
}

/* -------------------------------------------------------------------------- backward */

/* With P = softmax(scale Q K^T), O = P V: dV += P^T dO; dP = dO V^T; dS = scale P (dP - sum(P dP));
 * dQ += dS K; dK += dS^T Q. P is computed again: kept, it would be the largest thing of a pass. */
static bool strip_backward(const attention_job *job, const sequence *s, int64_t head, int64_t first, float *p,
                           float *dp) {
    int64_t rows = s->queries - first < STRIP ? s->queries - first : STRIP, d = job->d;
    int64_t kv = head / (job->heads / job->kv_heads), keys = visible(job, s, first + rows - 1);
    const float *dy = job->out + out_offset(job, s, first, head);
    int64_t dy_stride = job->heads * d, at_k = offset(job, &job->k, s, 0, kv);
    int64_t at_v = offset(job, &job->v, s, 0, kv), at_q = offset(job, &job->q, s, first, head);
    bool done = weigh(job, s, head, first, rows, keys, p);
    if (done && job->v.grad != NULL) {
        done = tomo_sgemm_transposed(keys, d, rows, 1.0f, p, keys, dy, dy_stride, 1.0f, job->v.grad + at_v,
                                     job->v.stride[1]);
    }
    if (job->q.grad == NULL && job->k.grad == NULL) return done;
    done = done && tomo_sgemm(true, rows, keys, d, 1.0f, dy, dy_stride, tomo_tensor_f32(&job->v) + at_v,
                              job->v.stride[1], 0.0f, dp, keys);
    for (int64_t r = 0; r < rows && done; r++) {
        int64_t seen = visible(job, s, first + r);
        float *pr = p + r * keys, *dr = dp + r * keys, mean = job->kernels->dot(pr, dr, seen);
        for (int64_t i = 0; i < keys; i++) pr[i] *= (dr[i] - mean) * job->scale; /* zero stays zero */
    }
    if (done && job->q.grad != NULL) {
        done = tomo_sgemm(false, rows, d, keys, 1.0f, p, keys, tomo_tensor_f32(&job->k) + at_k,
                          job->k.stride[1], 1.0f, job->q.grad + at_q, job->q.stride[1]);
    }
    if (done && job->k.grad != NULL) {
        done = tomo_sgemm_transposed(keys, d, rows, 1.0f, p, keys, tomo_tensor_f32(&job->q) + at_q,
                                     job->q.stride[1], 1.0f, job->k.grad + at_k, job->k.stride[1]);
    }
    return done;
}

/* A block is a key head of a sequence with all queries that read it, in order. */
static void head_backward(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t kv = block % job->kv_heads, group = job->heads / job->kv_heads;
    sequence s = sequence_of(job, block / job->kv_heads);
    float *p = job->scores + 2 * (int64_t)worker * STRIP * job->keys, *dp = p + STRIP * job->keys;
    for (int64_t head = kv * group; head < (kv + 1) * group; head++) {
        for (int64_t first = 0; first < s.queries; first += STRIP) {
            if (!strip_backward(job, &s, head, first, p, dp)) atomic_store(&job->failed, true);
        }
    }
}

static void attention_backward(tomo_exec *exec, const tomo_node *node) {
    attention_job job = *(const attention_job *)node->attributes;
    job.out = node->output.grad;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scores = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * 2 * STRIP * job.keys, sizeof(float));
    if (job.scores == NULL) return;
    tomo_pool_run(exec->pool, job.sequences * job.kv_heads, head_backward, &job);
    tomo_arena_rewind(exec->arena, mark);
    finish(exec, &job);
}

/* --------------------------------------------------------------------------- forward */

/* job: everything but what follows from the shapes; rank and shape are those of the result. */
static tomo_tensor *attend(tomo_exec *exec, attention_job job, int rank, const int64_t *shape) {
    assert(job.heads % job.kv_heads == 0 && (!job.causal || job.keys >= job.queries) && job.scale >= 0);
    assert(job.q.stride[3] == 1 && job.k.stride[3] == 1 && job.v.stride[3] == 1);
    tomo_tensor *out = tomo_exec_tensor(exec, rank, shape);
    if (out == NULL) return NULL;
    job.kernels = exec->kernels;
    job.out = tomo_tensor_f32(out);
    bool few = job.queries <= TOMO_PRODUCT_ROWS;
    job.strips = (job.queries + STRIP - 1) / STRIP;
    job.rows = few ? TOMO_PRODUCT_ROWS : STRIP;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scores =
        tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job.rows * job.keys, sizeof *job.scores);
    if (job.scores == NULL) return NULL;
    int64_t blocks = job.sequences * (few ? job.kv_heads * job.queries : job.heads * job.strips);
    tomo_pool_run(exec->pool, blocks, few ? run_group : run_strip, &job);
    tomo_arena_rewind(exec->arena, mark);
    finish(exec, &job);
    const tomo_tensor *inputs[] = {&job.q, &job.k, &job.v};
    tomo_tape_record(exec, attention_backward, out, inputs, 3, &job, sizeof job);
    return exec->error.status == TOMO_OK ? out : NULL;
}

static tomo_tensor *run_attention(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                  const tomo_tensor *v, double scale, bool causal) {
    if (q == NULL || k == NULL || v == NULL || exec->error.status != TOMO_OK) return NULL;
    attention_job job = {.q = *q,
                         .k = *k,
                         .v = *v,
                         .sequences = q->shape[0],
                         .queries = q->shape[1],
                         .keys = k->shape[1],
                         .heads = q->shape[2],
                         .kv_heads = k->shape[2],
                         .d = q->shape[3],
                         .scale = (float)scale,
                         .causal = causal};
    if (exec->half != NULL && exec->tape == NULL && job.queries > TOMO_PRODUCT_ROWS)
        return tomo_attention_half(exec, q, k, v, scale, causal);
    return attend(exec, job, 3, (int64_t[]){job.sequences, job.queries, job.heads * job.d});
}

tomo_tensor *tomo_op_attention(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                               const tomo_tensor *v, double scale, bool causal) {
    double start = tomo_profile_begin(exec);
    tomo_tensor *y = run_attention(exec, q, k, v, scale, causal);
    tomo_profile_end(exec, TOMO_PROFILE_ATTENTION, start);
    return y;
}

/* [T, heads, d] -> [1, T, heads, d] */
static tomo_tensor with_batch(const tomo_tensor *x) {
    tomo_tensor y = *x;
    y.rank = 4;
    y.shape[0] = 1;
    y.stride[0] = 0;
    for (int i = 0; i < 3; i++) {
        y.shape[i + 1] = x->shape[i];
        y.stride[i + 1] = x->stride[i];
    }
    return y;
}

tomo_tensor *tomo_op_attention_packed(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                      const tomo_tensor *v, const int64_t *starts, int64_t count,
                                      double scale, bool causal) {
    if (q == NULL || k == NULL || v == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(q->rank == 3 && starts[0] == 0 && starts[count] == q->shape[0]);
    attention_job job = {.q = with_batch(q),
                         .k = with_batch(k),
                         .v = with_batch(v),
                         .starts = starts,
                         .sequences = count,
                         .heads = q->shape[1],
                         .kv_heads = k->shape[1],
                         .d = q->shape[2],
                         .scale = (float)scale,
                         .causal = causal};
    for (int64_t i = 0; i < count; i++) {
        int64_t length = starts[i + 1] - starts[i];
        assert(length >= 1);
        if (length > job.queries) job.queries = job.keys = length;
    }
    int64_t *copy = tomo_exec_alloc(exec, count + 1, sizeof *copy);
    if (copy == NULL) return NULL;
    memcpy(copy, starts, (size_t)(count + 1) * sizeof *copy);
    job.starts = copy;
    return attend(exec, job, 2, (int64_t[]){q->shape[0], job.heads * job.d});
}
