#include "tensor/gemm.h"

#include "base/signals.h"
#include "base/size.h"

#include <assert.h>
#include <dnnl.h>
#include <stdatomic.h>

/* Block sizes, measured (SPEED.md): with few rows of x a strip of weights is read once by one thread; with
 * many, blocks of this size run within 5 % of the whole product in one call. */
#define STRIP_COLUMNS 64
#define MANY_ROWS 512
#define BLOCK_ROWS 384
#define BLOCK_COLUMNS 256
/* A product with fewer blocks than this (16 threads with three each) is cut into smaller ones, which run
 * within 5 % of large ones: forward (w is read transposed) wide ones, back about square ones. */
#define WANTED_BLOCKS 48
#define SMALL_ROWS 96
#define SMALL_COLUMNS 192
#define SMALL_BLOCK 128
#define SMALL_WEIGHT_BLOCK 96

typedef struct gemm_job {
    const tomo_kernels *kernels;
    float *out;
    int64_t out_stride;
    const float *x;
    int64_t x_stride;
    const void *w;
    tomo_dtype dtype;
    int64_t m, n, k;
    int64_t block_rows, block_columns, row_blocks;
    bool accumulate;
    tomo_epilogue epilogue;
    float *panels; /* one a worker, for widened weights; or NULL */
    atomic_bool failed;
} gemm_job;

void tomo_gemm_run(tomo_pool *pool, int64_t blocks, tomo_block_fn run, void *argument) {
    sigset_t before = tomo_signals_hold();
    tomo_pool_run(pool, blocks, run, argument);
    tomo_signals_release(&before);
}

bool tomo_sgemm(bool transposed_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t a_stride, const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride) {
    assert(tomo_signals_are_held());
    return dnnl_sgemm('N', transposed_b ? 'T' : 'N', m, n, k, alpha, a, a_stride, b, b_stride, beta, c,
                      c_stride) == dnnl_success;
}

bool tomo_sgemm_transposed(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_stride,
                           const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride) {
    assert(tomo_signals_are_held());
    return dnnl_sgemm('T', 'N', m, n, k, alpha, a, a_stride, b, b_stride, beta, c, c_stride) == dnnl_success;
}

/* n cut into even pieces of at most about `most`: the size of one, a multiple of 16. */
static int64_t even_piece(int64_t n, int64_t most) {
    int64_t size = tomo_pieces(n, tomo_pieces(n, most));
    return tomo_pieces(size, 16) * 16;
}

static void finish_tile(const gemm_job *job, int64_t row, int64_t rows, int64_t column, int64_t columns) {
    const tomo_epilogue *e = &job->epilogue;
    for (int64_t r = row; r < row + rows; r++) {
        float *y = job->out + r * job->out_stride + column;
        if (e->bias != NULL) job->kernels->add(y, y, e->bias + column, columns);
        if (e->activation != TOMO_ACT_NONE) job->kernels->activate(e->activation, y, y, columns);
        if (e->residual != NULL) {
            job->kernels->add(y, y, e->residual + r * job->out_stride + column, columns);
        }
    }
}

/* Rows of quantised weights that are widened at a time: few enough for the first-level cache. */
#define WIDENED_ROWS 4

/* y [m, columns] = x w^T for the strip of weights from w on; blocks of quantised weights become floats a few
 * rows at a time, so nothing but their own bytes is read from memory. */
static void strip_product(const gemm_job *job, float *y, int64_t stride, const char *w, int64_t columns,
                          int worker) {
    if (tomo_dtype_block(job->dtype) == 1) {
        job->kernels->product(y, stride, job->x, job->x_stride, job->m, w, job->dtype, job->k, columns,
                              job->k);
        return;
    }
    float *rows = job->panels + (int64_t)worker * WIDENED_ROWS * job->k;
    for (int64_t j = 0; j < columns; j += WIDENED_ROWS) {
        int64_t count = tomo_smaller(WIDENED_ROWS, columns - j);
        job->kernels->widen(rows, w + tomo_dtype_bytes(job->dtype, j * job->k), job->dtype, count * job->k);
        job->kernels->product(y + j, stride, job->x, job->x_stride, job->m, rows, TOMO_F32, job->k, count,
                              job->k);
    }
}

/* Few rows: kernels that take the weights as they are stored. */
static void run_strip(void *argument, int64_t block, int worker) {
    gemm_job *job = argument;
    int64_t column = block * job->block_columns, columns = tomo_smaller(job->block_columns, job->n - column);
    const char *w = (const char *)job->w + tomo_dtype_bytes(job->dtype, column * job->k);
    float *out = job->out + column;
    float sums[TOMO_PRODUCT_ROWS * STRIP_COLUMNS];
    float *y = job->accumulate ? sums : out;
    int64_t stride = job->accumulate ? columns : job->out_stride;
    strip_product(job, y, stride, w, columns, worker);
    if (job->accumulate) {
        for (int64_t r = 0; r < job->m; r++) {
            job->kernels->add(out + r * job->out_stride, out + r * job->out_stride, sums + r * columns,
                              columns);
        }
    }
    finish_tile(job, 0, job->m, column, columns);
}

/* Many rows: oneDNN on a block, weights widened to float where they are not. */
static void run_tile(void *argument, int64_t block, int worker) {
    gemm_job *job = argument;
    int64_t row = block % job->row_blocks * job->block_rows,
            rows = tomo_smaller(job->block_rows, job->m - row);
    int64_t column = block / job->row_blocks * job->block_columns;
    int64_t columns = tomo_smaller(job->block_columns, job->n - column);
    const char *stored = (const char *)job->w + tomo_dtype_bytes(job->dtype, column * job->k);
    const float *w = (const float *)(const void *)stored;
    if (job->dtype != TOMO_F32) {
        float *panel = job->panels + (int64_t)worker * job->block_columns * job->k;
        job->kernels->widen(panel, stored, job->dtype, columns * job->k);
        w = panel;
    }
    if (!tomo_sgemm(true, rows, columns, job->k, 1.0f, job->x + row * job->x_stride, job->x_stride, w, job->k,
                    job->accumulate ? 1.0f : 0.0f, job->out + row * job->out_stride + column,
                    job->out_stride)) {
        atomic_store(&job->failed, true);
        return;
    }
    finish_tile(job, row, rows, column, columns);
}

void tomo_gemm(tomo_exec *exec, float *out, int64_t out_stride, const float *x, int64_t x_stride, int64_t m,
               const tomo_tensor *w, bool accumulate, tomo_epilogue epilogue) {
    gemm_job job = {.kernels = exec->kernels,
                    .out = out,
                    .out_stride = out_stride,
                    .x = x,
                    .x_stride = x_stride,
                    .w = w->data,
                    .dtype = w->dtype,
                    .m = m,
                    .n = w->shape[0],
                    .k = w->shape[1],
                    .accumulate = accumulate,
                    .epilogue = epilogue};
    if (m == 0 || job.n == 0 || exec->error.status != TOMO_OK) return;
    bool few = m <= TOMO_PRODUCT_ROWS, many = m > MANY_ROWS;
    job.block_rows = many ? BLOCK_ROWS : m;
    job.block_columns = many ? BLOCK_COLUMNS : STRIP_COLUMNS;
    if (!few && job.dtype == TOMO_F32 &&
        tomo_pieces(m, job.block_rows) * tomo_pieces(job.n, job.block_columns) < WANTED_BLOCKS) {
        job.block_rows = even_piece(m, SMALL_ROWS);
        job.block_columns = even_piece(job.n, SMALL_COLUMNS);
    }
    job.row_blocks = tomo_pieces(m, job.block_rows);
    int64_t blocks = job.row_blocks * tomo_pieces(job.n, job.block_columns);
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    if (few && job.dtype == TOMO_BF16) {
        float *arranged = tomo_exec_alloc(exec, m * job.k, sizeof *arranged);
        if (arranged == NULL) return;
        for (int64_t r = 0; r < m; r++) exec->kernels->arrange(arranged + r * job.k, x + r * x_stride, job.k);
        job.x = arranged;
        job.x_stride = job.k;
    }
    int64_t widened = few ? tomo_dtype_block(job.dtype) > 1 ? WIDENED_ROWS : 0 : job.block_columns;
    if (job.dtype != TOMO_F32 && widened > 0) {
        job.panels =
            tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * widened * job.k, sizeof *job.panels);
        if (job.panels == NULL) return;
    }
    if (few) {
        tomo_pool_run(exec->pool, blocks, run_strip, &job);
    } else {
        tomo_gemm_run(exec->pool, blocks, run_tile, &job);
    }
    tomo_arena_rewind(exec->arena, mark);
    if (atomic_load(&job.failed)) {
        (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: matrix product %lld x %lld x %lld",
                        (long long)m, (long long)job.n, (long long)job.k);
    }
}

/* --------------------------------------------------------------------------- backward */

/* How a gradient is cut into blocks. */
typedef struct tiling {
    int64_t rows, columns, row_blocks, blocks;
} tiling;

static tiling tile(int64_t m, int64_t n, int64_t rows, int64_t columns) {
    return (tiling){rows, columns, tomo_pieces(m, rows), tomo_pieces(m, rows) * tomo_pieces(n, columns)};
}

/* Gradients of one product, in one run of the threads; those that nobody wants have no blocks. */
typedef struct backward_job {
    const tomo_kernels *kernels;
    float *dx, *dw, *db;
    const float *dy, *x;
    const void *w;
    tomo_dtype dtype;
    int64_t m, n, k;
    tiling of_x, of_w, of_b;
    float scale;   /* of dw */
    float *panels; /* one a worker [BACKWARD_DEPTH, BACKWARD_COLUMNS], for widened weights */
    atomic_bool failed;
} backward_job;

/* A block of dx is summed over BACKWARD_DEPTH rows of w at a time, so that widened weights stay in the
 * cache. */
#define BACKWARD_COLUMNS 256
#define BACKWARD_DEPTH 512

static void input_block(backward_job *job, int64_t block, int worker) {
    const tiling *t = &job->of_x;
    int64_t row = block % t->row_blocks * t->rows, rows = tomo_smaller(t->rows, job->m - row);
    int64_t first = block / t->row_blocks * t->columns, count = tomo_smaller(t->columns, job->k - first);
    for (int64_t at = 0; at < job->n; at += BACKWARD_DEPTH) {
        int64_t depth = tomo_smaller(BACKWARD_DEPTH, job->n - at), stride = job->k;
        const float *w = (const float *)job->w + at * job->k + first;
        if (job->dtype != TOMO_F32) {
            float *panel = job->panels + (int64_t)worker * BACKWARD_DEPTH * BACKWARD_COLUMNS;
            for (int64_t j = 0; j < depth; j++) {
                job->kernels->widen(panel + j * count,
                                    (const char *)job->w +
                                        tomo_dtype_bytes(job->dtype, (at + j) * job->k + first),
                                    job->dtype, count);
            }
            w = panel;
            stride = count;
        }
        if (!tomo_sgemm(false, rows, count, depth, 1.0f, job->dy + row * job->n + at, job->n, w, stride, 1.0f,
                        job->dx + row * job->k + first, job->k)) {
            atomic_store(&job->failed, true);
        }
    }
}

static void weight_block(backward_job *job, int64_t block) {
    const tiling *t = &job->of_w;
    int64_t row = block % t->row_blocks * t->rows, rows = tomo_smaller(t->rows, job->n - row);
    int64_t first = block / t->row_blocks * t->columns, count = tomo_smaller(t->columns, job->k - first);
    if (!tomo_sgemm_transposed(rows, count, job->m, job->scale, job->dy + row, job->n, job->x + first, job->k,
                               1.0f, job->dw + row * job->k + first, job->k)) {
        atomic_store(&job->failed, true);
    }
}

/* Columns of dy summed over the rows, in order. */
static void bias_block(backward_job *job, int64_t block) {
    int64_t first = block * job->of_b.columns, count = tomo_smaller(job->of_b.columns, job->n - first);
    float *sum = job->db + first;
    for (int64_t r = 0; r < job->m; r++) job->kernels->add(sum, sum, job->dy + r * job->n + first, count);
}

/* The deepest blocks come first, so that none of them is begun last. */
static void backward_block(void *argument, int64_t block, int worker) {
    backward_job *job = argument;
    int64_t of_w = job->of_w.blocks, of_x = job->of_x.blocks;
    if (block < of_w) {
        weight_block(job, block);
    } else if (block < of_w + of_x) {
        input_block(job, block - of_w, worker);
    } else {
        bias_block(job, block - of_w - of_x);
    }
}

static void tile_input(backward_job *job) {
    job->of_x = tile(job->m, job->k, BLOCK_ROWS, BACKWARD_COLUMNS);
    bool whole_blocks = BACKWARD_COLUMNS / 4 % tomo_dtype_block(job->dtype) == 0;
    if (job->dtype == TOMO_F32 && job->of_x.blocks < WANTED_BLOCKS) {
        job->of_x = tile(job->m, job->k, even_piece(job->m, SMALL_BLOCK), even_piece(job->k, SMALL_BLOCK));
    } else if (job->of_x.blocks < 16 && whole_blocks) {
        job->of_x = tile(job->m, job->k, BLOCK_ROWS, BACKWARD_COLUMNS / 4);
    }
}

static void tile_weight(backward_job *job) {
    job->of_w = tile(job->n, job->k, STRIP_COLUMNS, job->n > 4 * STRIP_COLUMNS ? job->k : 4 * STRIP_COLUMNS);
    if (job->of_w.blocks < WANTED_BLOCKS) {
        job->of_w = tile(job->n, job->k, even_piece(job->n, SMALL_WEIGHT_BLOCK),
                         even_piece(job->k, SMALL_WEIGHT_BLOCK));
    }
}

static void run_backward(tomo_exec *exec, backward_job *job) {
    if (job->m == 0) return;
    job->kernels = exec->kernels;
    if (job->dx != NULL) tile_input(job);
    if (job->dw != NULL) tile_weight(job);
    if (job->db != NULL) job->of_b = tile(1, job->n, 1, SMALL_BLOCK);
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    if (job->dx != NULL && job->dtype != TOMO_F32) {
        job->panels = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * BACKWARD_DEPTH * BACKWARD_COLUMNS,
                                      sizeof(float));
        if (job->panels == NULL) return;
    }
    tomo_gemm_run(exec->pool, job->of_w.blocks + job->of_x.blocks + job->of_b.blocks, backward_block, job);
    tomo_arena_rewind(exec->arena, mark);
    if (!atomic_load(&job->failed)) return;
    (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: gradient of a product %lld x %lld x %lld",
                    (long long)job->m, (long long)job->n, (long long)job->k);
}

void tomo_gemm_backward(tomo_exec *exec, float *dx, float *dw, float *db, const float *dy, const float *x,
                        int64_t m, const tomo_tensor *w) {
    backward_job job = {.dx = dx,
                        .dw = dw,
                        .db = db,
                        .dy = dy,
                        .x = x,
                        .w = w->data,
                        .dtype = w->dtype,
                        .m = m,
                        .n = w->shape[0],
                        .k = w->shape[1],
                        .scale = 1};
    run_backward(exec, &job);
}

void tomo_gemm_backward_input(tomo_exec *exec, float *dx, const float *dy, int64_t m, const tomo_tensor *w) {
    tomo_gemm_backward(exec, dx, NULL, NULL, dy, NULL, m, w);
}

void tomo_gemm_backward_weight(tomo_exec *exec, float *dw, const float *dy, const float *x, int64_t m,
                               int64_t n, int64_t k, float scale) {
    backward_job job = {.dw = dw, .dy = dy, .x = x, .m = m, .n = n, .k = k, .scale = scale};
    run_backward(exec, &job);
}
