/* attention.c - softmax(scale q k^T) v. A block is a strip of queries of one head (many queries), or all the
 * query heads that share one key head at one position (few: decoding), so keys and values are read once.
 *
 * Sequences behind a common prefix are taken several at a time (a span), as long as they fit one strip: one
 * product has the scores of all of them with the prefix, one those with each other, of which those of another
 * sequence are then set to zero. */
#include "base/size.h"
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

/* Queries that are taken together: a sequence, or whole sequences behind the same prefix. */
typedef struct span {
    int64_t b;                   /* its place in a batch */
    int64_t row, queries, keys;  /* row: its first row in the output, and in packed tensors */
    int64_t prefix, prefix_rows; /* rows that all of it sees before its own */
    int64_t partial;             /* where its share of the prefix's gradients is kept, in rows */
} span;

typedef struct attention_job {
    const tomo_kernels *kernels;
    tomo_tensor q, k, v;
    float *out;
    float *scores; /* one [rows, S] a worker; the backward pass has two */
    int64_t rows, strips;
    const span *spans;     /* of packed sequences, [sequences]; or NULL */
    const int64_t *begins; /* [T]: the first row of each row's sequence */
    float *partials;       /* backward: [span with a prefix][kv_heads][2 (k, v)][prefix_rows, d] */
    int64_t partial_rows;  /* of all of them, for one key head */
    int64_t sequences, heads, kv_heads, queries, keys, d; /* queries, keys: the most of a span */
    float scale;
    bool causal;
    atomic_bool failed;
} attention_job;

static span span_of(const attention_job *job, int64_t b) {
    if (job->spans != NULL) return job->spans[b];
    return (span){.b = b, .row = b * job->queries, .queries = job->queries, .keys = job->keys};
}

/* The end of what query t sees of its span's own keys. */
static int64_t visible(const attention_job *job, const span *s, int64_t t) {
    return job->causal ? s->keys - s->queries + t + 1 : s->keys;
}

/* The first of the span's own keys that query t sees. */
static int64_t first_visible(const attention_job *job, const span *s, int64_t t) {
    return job->begins == NULL ? 0 : job->begins[s->row + t] - s->row;
}

/* Offset of an element of q, k or v, also in its gradient; t counts the span's own rows. */
static int64_t offset(const attention_job *job, const tomo_tensor *x, const span *s, int64_t t, int64_t h) {
    int64_t start = job->spans == NULL ? s->b * x->stride[0] : s->row * x->stride[1];
    return start + t * x->stride[1] + h * x->stride[2];
}

static const float *place(const attention_job *job, const tomo_tensor *x, const span *s, int64_t t,
                          int64_t h) {
    return tomo_tensor_f32(x) + offset(job, x, s, t, h);
}

static int64_t out_offset(const attention_job *job, const span *s, int64_t t, int64_t h) {
    return ((s->row + t) * job->heads + h) * job->d;
}

/* Some queries of one head and the keys that any of them sees: those of the prefix, then the span's own. */
typedef struct strip {
    const span *span;
    int64_t head, kv, first, rows; /* queries */
    int64_t own;                   /* the first of the own keys */
    int64_t columns;               /* keys in all */
} strip;

static strip strip_of(const attention_job *job, const span *s, int64_t head, int64_t first) {
    int64_t rows = s->queries - first < STRIP ? s->queries - first : STRIP;
    strip t = {s, head, head / (job->heads / job->kv_heads), first, rows, 0, 0};
    if (rows <= 0) return t; /* a shorter span than the longest */
    t.own = first_visible(job, s, first);
    t.columns = s->prefix_rows + visible(job, s, first + rows - 1) - t.own;
    return t;
}

/* The keys of a strip lie in up to two places: t counts rows of the span, before which the prefix may be. */
typedef struct range {
    int64_t column, count, t;
} range;

static int ranges_of(const strip *t, range out[2]) {
    int64_t shared = t->span->prefix_rows;
    int count = 0;
    if (shared > 0) out[count++] = (range){0, shared, t->span->prefix - t->span->row};
    out[count++] = (range){shared, t->columns - shared, t->own};
    return count;
}

/* Soft-max over a row of the columns that its query sees, and zero in the others. */
static void weigh_row(const attention_job *job, const strip *t, int64_t query, float *row) {
    int64_t shared = t->span->prefix_rows;
    int64_t hidden = first_visible(job, t->span, query) - t->own;
    int64_t seen = visible(job, t->span, query) - t->own - hidden;
    if (hidden > 0) memmove(row + shared, row + shared + hidden, (size_t)seen * sizeof *row);
    job->kernels->softmax(row, job->scale, shared + seen);
    if (hidden > 0) {
        memmove(row + shared + hidden, row + shared, (size_t)seen * sizeof *row);
        memset(row + shared, 0, (size_t)hidden * sizeof *row);
    }
    memset(row + shared + hidden + seen, 0, (size_t)(t->columns - shared - hidden - seen) * sizeof *row);
}

/* scores [rows, columns] = softmax(scale q k^T) of a strip. False when oneDNN failed. */
static bool weigh(const attention_job *job, const strip *t, float *scores) {
    range parts[2];
    int count = ranges_of(t, parts);
    bool done = true;
    for (int i = 0; i < count && done; i++) {
        done = tomo_sgemm(true, t->rows, parts[i].count, job->d, 1.0f,
                          place(job, &job->q, t->span, t->first, t->head), job->q.stride[1],
                          place(job, &job->k, t->span, parts[i].t, t->kv), job->k.stride[1], 0.0f,
                          scores + parts[i].column, t->columns);
    }
    for (int64_t r = 0; r < t->rows && done; r++) weigh_row(job, t, t->first + r, scores + r * t->columns);
    return done;
}

static void run_strip(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t number = block % job->strips, head = block / job->strips % job->heads;
    span s = span_of(job, block / job->strips / job->heads);
    strip t = strip_of(job, &s, head, number * STRIP);
    if (t.rows <= 0) return;
    float *scores = job->scores + (int64_t)worker * job->rows * job->keys;
    range parts[2];
    int count = ranges_of(&t, parts);
    bool done = weigh(job, &t, scores);
    for (int i = 0; i < count && done; i++) {
        done = tomo_sgemm(false, t.rows, job->d, parts[i].count, 1.0f, scores + parts[i].column, t.columns,
                          place(job, &job->v, &s, parts[i].t, t.kv), job->v.stride[1], i > 0 ? 1.0f : 0.0f,
                          job->out + out_offset(job, &s, t.first, head), job->heads * job->d);
    }
    if (!done) atomic_store(&job->failed, true);
}

static void run_group(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t t = block % job->queries, kv = block / job->queries % job->kv_heads;
    int64_t group = job->heads / job->kv_heads;
    span s = span_of(job, block / job->queries / job->kv_heads);
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

/* Where the gradient of a strip's keys (which 0) or values (which 1) is added to: rows of the tensor, or of
 * the span's share of the prefix. NULL: nobody wants it. */
static float *gradient_place(const attention_job *job, const strip *t, const range *part, int which,
                             int64_t *stride) {
    const tomo_tensor *x = which == 0 ? &job->k : &job->v;
    *stride = x->stride[1];
    if (x->grad == NULL) return NULL;
    if (part->t >= 0) return x->grad + offset(job, x, t->span, part->t, t->kv);
    *stride = job->d;
    return job->partials +
           (t->span->partial * job->kv_heads + (t->kv * 2 + which) * t->span->prefix_rows) * job->d;
}

/* With P = softmax(scale Q K^T), O = P V: dV += P^T dO; dP = dO V^T; dS = scale P (dP - sum(P dP));
 * dQ += dS K; dK += dS^T Q. P is computed again: kept, it would be the largest thing of a pass. */
static bool strip_backward(const attention_job *job, const strip *t, float *p, float *dp) {
    int64_t rows = t->rows, d = job->d, columns = t->columns, dy_stride = job->heads * d, stride;
    const float *dy = job->out + out_offset(job, t->span, t->first, t->head);
    int64_t at_q = offset(job, &job->q, t->span, t->first, t->head);
    range parts[2];
    int count = ranges_of(t, parts);
    bool done = weigh(job, t, p), deeper = job->q.grad != NULL || job->k.grad != NULL;
    for (int i = 0; i < count && done; i++) {
        const range *part = &parts[i];
        float *dv = gradient_place(job, t, part, 1, &stride);
        if (dv != NULL) {
            done = tomo_sgemm_transposed(part->count, d, rows, 1.0f, p + part->column, columns, dy, dy_stride,
                                         1.0f, dv, stride);
        }
        if (!done || !deeper) continue;
        done = tomo_sgemm(true, rows, part->count, d, 1.0f, dy, dy_stride,
                          place(job, &job->v, t->span, part->t, t->kv), job->v.stride[1], 0.0f,
                          dp + part->column, columns);
    }
    if (!deeper) return done;
    for (int64_t r = 0; r < rows && done; r++) {
        int64_t seen = t->span->prefix_rows + visible(job, t->span, t->first + r) - t->own;
        float *pr = p + r * columns, *dr = dp + r * columns, mean = job->kernels->dot(pr, dr, seen);
        for (int64_t i = 0; i < columns; i++) pr[i] *= (dr[i] - mean) * job->scale; /* zero stays zero */
    }
    for (int i = 0; i < count && done; i++) {
        const range *part = &parts[i];
        float *dk = gradient_place(job, t, part, 0, &stride);
        if (job->q.grad != NULL) {
            done = tomo_sgemm(false, rows, d, part->count, 1.0f, p + part->column, columns,
                              place(job, &job->k, t->span, part->t, t->kv), job->k.stride[1], 1.0f,
                              job->q.grad + at_q, job->q.stride[1]);
        }
        if (done && dk != NULL) {
            done = tomo_sgemm_transposed(part->count, d, rows, 1.0f, p + part->column, columns,
                                         tomo_tensor_f32(&job->q) + at_q, job->q.stride[1], 1.0f, dk, stride);
        }
    }
    return done;
}

/* A block is a key head of a span with all queries that read it, in order. */
static void head_backward(void *argument, int64_t block, int worker) {
    attention_job *job = argument;
    int64_t kv = block % job->kv_heads, group = job->heads / job->kv_heads;
    span s = span_of(job, block / job->kv_heads);
    float *p = job->scores + 2 * (int64_t)worker * STRIP * job->keys, *dp = p + STRIP * job->keys;
    if (s.prefix_rows > 0) {
        int64_t share = 2 * s.prefix_rows * job->d;
        memset(job->partials + s.partial * job->kv_heads * job->d + kv * share, 0,
               (size_t)share * sizeof *job->partials);
    }
    for (int64_t head = kv * group; head < (kv + 1) * group; head++) {
        for (int64_t first = 0; first < s.queries; first += STRIP) {
            strip t = strip_of(job, &s, head, first);
            if (!strip_backward(job, &t, p, dp)) atomic_store(&job->failed, true);
        }
    }
}

/* A key head of a prefix gets the shares of the spans that follow it, in their order. */
static void prefix_backward(void *argument, int64_t block, int worker) {
    (void)worker;
    const attention_job *job = argument;
    int64_t kv = block % job->kv_heads, first = block / job->kv_heads;
    if (job->spans[first].prefix_rows > 0) return;
    for (int64_t b = first + 1; b < job->sequences && job->spans[b].prefix_rows > 0; b++) {
        const span *s = &job->spans[b];
        const tomo_tensor *const to[] = {&job->k, &job->v};
        const float *share = job->partials + (s->partial * job->kv_heads + kv * 2 * s->prefix_rows) * job->d;
        for (int64_t r = 0; r < 2 * s->prefix_rows; r++) {
            const tomo_tensor *x = to[r / s->prefix_rows];
            int64_t row = s->prefix + r % s->prefix_rows;
            if (x->grad == NULL) continue;
            float *sum = x->grad + row * x->stride[1] + kv * x->stride[2];
            job->kernels->add(sum, sum, share + r * job->d, job->d);
        }
    }
}

static void attention_backward(tomo_exec *exec, const tomo_node *node) {
    attention_job job = *(const attention_job *)node->attributes;
    job.out = node->output.grad;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scores = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * 2 * STRIP * job.keys, sizeof(float));
    job.partials = tomo_exec_alloc(exec, job.partial_rows * job.kv_heads * job.d, sizeof(float));
    if (job.scores == NULL || job.partials == NULL) return;
    tomo_gemm_run(exec->pool, job.sequences * job.kv_heads, head_backward, &job);
    if (job.partial_rows > 0) {
        tomo_pool_run(exec->pool, job.sequences * job.kv_heads, prefix_backward, &job);
    }
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
    bool few = job.queries <= TOMO_PRODUCT_ROWS && job.begins == NULL;
    job.strips = tomo_pieces(job.queries, STRIP);
    job.rows = few ? TOMO_PRODUCT_ROWS : STRIP;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.scores =
        tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job.rows * job.keys, sizeof *job.scores);
    if (job.scores == NULL) return NULL;
    int64_t blocks = job.sequences * (few ? job.kv_heads * job.queries : job.heads * job.strips);
    if (few) {
        tomo_pool_run(exec->pool, blocks, run_group, &job);
    } else {
        tomo_gemm_run(exec->pool, blocks, run_strip, &job);
    }
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

/* What the sequences come to: spans, and where each row's sequence begins (NULL: no prefixes, so a span is a
 * sequence). False: out of memory. */
static bool make_spans(tomo_exec *exec, attention_job *job, const int64_t *starts, const int64_t *prefixes,
                       int64_t count) {
    span *spans = tomo_exec_alloc(exec, count, sizeof *spans), *last = NULL;
    int64_t *begins = prefixes == NULL ? NULL : tomo_exec_alloc(exec, starts[count], sizeof *begins);
    if (spans == NULL || (prefixes != NULL && begins == NULL)) return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t length = starts[i + 1] - starts[i], shared = prefixes == NULL ? -1 : prefixes[i];
        assert(length >= 1 && (shared < 0 || (shared < i && prefixes[shared] < 0)));
        for (int64_t r = starts[i]; begins != NULL && r < starts[i + 1]; r++) begins[r] = starts[i];
        if (shared >= 0 && last->prefix_rows > 0 && last->queries + length <= STRIP) {
            assert(last->prefix == starts[shared]);
            last->queries = last->keys += length;
        } else {
            last = &spans[job->sequences++];
            *last = (span){.row = starts[i], .queries = length, .keys = length};
        }
        if (shared >= 0 && last->prefix_rows == 0) {
            last->prefix = starts[shared];
            last->prefix_rows = starts[shared + 1] - starts[shared];
            last->partial = job->partial_rows;
            job->partial_rows += 2 * last->prefix_rows;
        }
        if (last->queries > job->queries) job->queries = last->queries;
        if (last->prefix_rows + last->keys > job->keys) job->keys = last->prefix_rows + last->keys;
    }
    job->spans = spans;
    job->begins = begins;
    return true;
}

tomo_tensor *tomo_op_attention_packed(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                      const tomo_tensor *v, const int64_t *starts, const int64_t *prefixes,
                                      int64_t count, double scale, bool causal) {
    if (q == NULL || k == NULL || v == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(q->rank == 3 && starts[0] == 0 && starts[count] == q->shape[0] && (prefixes == NULL || causal));
    attention_job job = {.q = with_batch(q),
                         .k = with_batch(k),
                         .v = with_batch(v),
                         .heads = q->shape[1],
                         .kv_heads = k->shape[1],
                         .d = q->shape[2],
                         .scale = (float)scale,
                         .causal = causal};
    if (!make_spans(exec, &job, starts, prefixes, count)) return NULL;
    return attend(exec, job, 2, (int64_t[]){q->shape[0], job.heads * job.d});
}
