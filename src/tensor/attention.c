/* attention.c - softmax(scale q k^T) v. A block is a strip of queries of one head (many queries), or all the
 * query heads that share one key head at one position (few: decoding), so keys and values are read once. */
#include "tensor/attention_half.h"
#include "tensor/gemm.h"
#include "tensor/ops.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* Queries of a strip: 64 rows of scores over 4,096 keys are 1 MB. */
#define STRIP 64

typedef struct attention_job {
    const tomo_kernels *kernels;
    const tomo_tensor *q, *k, *v;
    float *out;
    float *scores; /* one [rows, S] a worker */
    int64_t rows, strips;
    int64_t heads, kv_heads, queries, keys, d;
    float scale;
    bool causal;
    atomic_bool failed;
} attention_job;

/* How many keys query t sees. */
static int64_t visible(const attention_job *job, int64_t t) {
    return job->causal ? job->keys - job->queries + t + 1 : job->keys;
}

static const float *place(const tomo_tensor *x, int64_t b, int64_t t, int64_t h) {
    return tomo_tensor_f32(x) + b * x->stride[0] + t * x->stride[1] + h * x->stride[2];
}

static float *out_place(const attention_job *job, int64_t b, int64_t t, int64_t h) {
    return job->out + ((b * job->queries + t) * job->heads + h) * job->d;
}

static void run_strip(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t strip = block % job->strips, head = block / job->strips % job->heads;
    int64_t b = block / job->strips / job->heads, kv = head / (job->heads / job->kv_heads);
    int64_t first = strip * STRIP, rows = job->queries - first < STRIP ? job->queries - first : STRIP;
    int64_t keys = visible(job, first + rows - 1);
    float *scores = job->scores + (int64_t)worker * job->rows * job->keys;
    bool done = tomo_sgemm(true, rows, keys, job->d, 1.0f, place(job->q, b, first, head), job->q->stride[1],
                           place(job->k, b, 0, kv), job->k->stride[1], 0.0f, scores, keys);
    for (int64_t r = 0; r < rows && done; r++) {
        int64_t seen = visible(job, first + r);
        job->kernels->softmax(scores + r * keys, job->scale, seen);
        memset(scores + r * keys + seen, 0, (size_t)(keys - seen) * sizeof *scores);
    }
    done = done && tomo_sgemm(false, rows, job->d, keys, 1.0f, scores, keys, place(job->v, b, 0, kv),
                              job->v->stride[1], 0.0f, out_place(job, b, first, head), job->heads * job->d);
    if (!done) atomic_store(&job->failed, true);
}

static void run_group(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t t = block % job->queries, kv = block / job->queries % job->kv_heads;
    int64_t b = block / job->queries / job->kv_heads, group = job->heads / job->kv_heads;
    int64_t keys = visible(job, t);
    float *scores = job->scores + (int64_t)worker * job->rows * job->keys;
    for (int64_t g = 0; g < group; g += TOMO_PRODUCT_ROWS) {
        int64_t head = kv * group + g, rows = group - g < TOMO_PRODUCT_ROWS ? group - g : TOMO_PRODUCT_ROWS;
        job->kernels->product(scores, keys, place(job->q, b, t, head), job->q->stride[2], rows,
                              place(job->k, b, 0, kv), TOMO_F32, job->k->stride[1], keys, job->d);
        for (int64_t r = 0; r < rows; r++) job->kernels->softmax(scores + r * keys, job->scale, keys);
        job->kernels->weighted_sum(out_place(job, b, t, head), job->d, scores, keys, rows,
                                   place(job->v, b, 0, kv), job->v->stride[1], keys, job->d);
    }
}

tomo_tensor *tomo_op_attention(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                               const tomo_tensor *v, double scale, bool causal) {
    if (q == NULL || k == NULL || v == NULL || exec->error.status != TOMO_OK) return NULL;
    attention_job job = {.kernels = exec->kernels,
                         .q = q,
                         .k = k,
                         .v = v,
                         .queries = q->shape[1],
                         .keys = k->shape[1],
                         .heads = q->shape[2],
                         .kv_heads = k->shape[2],
                         .d = q->shape[3],
                         .scale = (float)scale,
                         .causal = causal};
    assert(job.heads % job.kv_heads == 0 && (!causal || job.keys >= job.queries) && scale >= 0);
    assert(q->stride[3] == 1 && k->stride[3] == 1 && v->stride[3] == 1);
    if (exec->half != NULL && exec->tape == NULL && job.queries > TOMO_PRODUCT_ROWS)
        return tomo_attention_half(exec, q, k, v, scale, causal);
    tomo_tensor *out = tomo_exec_tensor(exec, 3, (int64_t[]){q->shape[0], job.queries, job.heads * job.d});
    if (out == NULL) return NULL;
    job.out = tomo_tensor_f32(out);
    bool few = job.queries <= TOMO_PRODUCT_ROWS;
    job.strips = (job.queries + STRIP - 1) / STRIP;
    job.rows = few ? TOMO_PRODUCT_ROWS : STRIP;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scores =
        tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job.rows * job.keys, sizeof *job.scores);
    if (job.scores == NULL) return NULL;
    int64_t blocks = q->shape[0] * (few ? job.kv_heads * job.queries : job.heads * job.strips);
    tomo_pool_run(exec->pool, blocks, few ? run_group : run_strip, &job);
    tomo_arena_rewind(exec->arena, mark);
    if (atomic_load(&job.failed)) {
        (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: attention over %lld keys",
                        (long long)job.keys);
        return NULL;
    }
    return out;
}
