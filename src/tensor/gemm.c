#include "tensor/gemm.h"

#include <dnnl.h>
#include <stdatomic.h>

/* Block sizes, measured (SPEED.md): with few rows of x a strip of weights is read once by one thread; with
 * many, blocks of this size run within 5 % of the whole product in one call. */
#define STRIP_COLUMNS 64
#define MANY_ROWS 512
#define BLOCK_ROWS 384
#define BLOCK_COLUMNS 256

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

bool tomo_sgemm(bool transposed_b, int64_t m, int64_t n, int64_t k, float alpha, const float *a,
                int64_t a_stride, const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride) {
    return dnnl_sgemm('N', transposed_b ? 'T' : 'N', m, n, k, alpha, a, a_stride, b, b_stride, beta, c,
                      c_stride) == dnnl_success;
}

bool tomo_sgemm_transposed(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_stride,
                           const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride) {
    return dnnl_sgemm('T', 'N', m, n, k, alpha, a, a_stride, b, b_stride, beta, c, c_stride) == dnnl_success;
}

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
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
        int64_t count = smaller(WIDENED_ROWS, columns - j);
        job->kernels->widen(rows, w + tomo_dtype_bytes(job->dtype, j * job->k), job->dtype, count * job->k);
        job->kernels->product(y + j, stride, job->x, job->x_stride, job->m, rows, TOMO_F32, job->k, count,
                              job->k);
    }
}

/* Few rows: kernels that take the weights as they are stored. */
static void run_strip(void *argument, int64_t block, int worker) {
    gemm_job *job = argument;
    int64_t column = block * job->block_columns, columns = smaller(job->block_columns, job->n - column);
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
    int64_t row = block % job->row_blocks * job->block_rows, rows = smaller(job->block_rows, job->m - row);
    int64_t column = block / job->row_blocks * job->block_columns;
    int64_t columns = smaller(job->block_columns, job->n - column);
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
    job.row_blocks = (m + job.block_rows - 1) / job.block_rows;
    int64_t blocks = job.row_blocks * ((job.n + job.block_columns - 1) / job.block_columns);
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
    tomo_pool_run(exec->pool, blocks, few ? run_strip : run_tile, &job);
    tomo_arena_rewind(exec->arena, mark);
    if (atomic_load(&job.failed)) {
        (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: matrix product %lld x %lld x %lld",
                        (long long)m, (long long)job.n, (long long)job.k);
    }
}

/* --------------------------------------------------------------------------- backward */

typedef struct backward_job {
    const tomo_kernels *kernels;
    float *out;
    const float *dy, *x;
    const void *w;
    tomo_dtype dtype;
    int64_t m, n, k;
    int64_t columns, row_blocks; /* of a block of dx or dw */
    float scale;
    float *panels; /* one a worker [BACKWARD_DEPTH, BACKWARD_COLUMNS], for widened weights */
    atomic_bool failed;
} backward_job;

/* A block of dx is BLOCK_ROWS x BACKWARD_COLUMNS, summed over BACKWARD_DEPTH rows of w at a time, so that
 * widened weights stay in the cache. */
#define BACKWARD_COLUMNS 256
#define BACKWARD_DEPTH 512

static void input_block(void *argument, int64_t block, int worker) {
    backward_job *job = argument;
    int64_t row = block % job->row_blocks * BLOCK_ROWS, rows = smaller(BLOCK_ROWS, job->m - row);
    int64_t first = block / job->row_blocks * job->columns, count = smaller(job->columns, job->k - first);
    for (int64_t at = 0; at < job->n; at += BACKWARD_DEPTH) {
        int64_t depth = smaller(BACKWARD_DEPTH, job->n - at), stride = job->k;
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
                        job->out + row * job->k + first, job->k)) {
            atomic_store(&job->failed, true);
        }
    }
}

/* Blocks of dw: strips of its rows, and of its columns too where it has few rows. */
static void weight_block(void *argument, int64_t block, int worker) {
    (void)worker;
    backward_job *job = argument;
    int64_t row = block % job->row_blocks * STRIP_COLUMNS, rows = smaller(STRIP_COLUMNS, job->n - row);
    int64_t first = block / job->row_blocks * job->columns, count = smaller(job->columns, job->k - first);
    if (!tomo_sgemm_transposed(rows, count, job->m, job->scale, job->dy + row, job->n, job->x + first, job->k,
                               1.0f, job->out + row * job->k + first, job->k)) {
        atomic_store(&job->failed, true);
    }
}

static void finish_backward(tomo_exec *exec, const backward_job *job) {
    if (!atomic_load(&job->failed)) return;
    (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: gradient of a product %lld x %lld x %lld",
                    (long long)job->m, (long long)job->n, (long long)job->k);
}

void tomo_gemm_backward_input(tomo_exec *exec, float *dx, const float *dy, int64_t m, const tomo_tensor *w) {
    backward_job job = {.kernels = exec->kernels,
                        .out = dx,
                        .dy = dy,
                        .w = w->data,
                        .dtype = w->dtype,
                        .m = m,
                        .n = w->shape[0],
                        .k = w->shape[1],
                        .columns = BACKWARD_COLUMNS,
                        .row_blocks = (m + BLOCK_ROWS - 1) / BLOCK_ROWS};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    /* Fewer blocks than a machine has threads: smaller ones. */
    bool whole_blocks = BACKWARD_COLUMNS / 4 % tomo_dtype_block(job.dtype) == 0;
    if (job.row_blocks * (job.k / BACKWARD_COLUMNS) < 16 && whole_blocks) job.columns = BACKWARD_COLUMNS / 4;
    if (job.dtype != TOMO_F32) {
        job.panels = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * BACKWARD_DEPTH * BACKWARD_COLUMNS,
                                     sizeof(float));
        if (job.panels == NULL) return;
    }
    tomo_pool_run(exec->pool, job.row_blocks * ((job.k + job.columns - 1) / job.columns), input_block, &job);
    tomo_arena_rewind(exec->arena, mark);
    finish_backward(exec, &job);
}

void tomo_gemm_backward_weight(tomo_exec *exec, float *dw, const float *dy, const float *x, int64_t m,
                               int64_t n, int64_t k, float scale) {
    backward_job job = {.out = dw,
                        .dy = dy,
                        .x = x,
                        .m = m,
                        .n = n,
                        .k = k,
                        .columns = n > 4 * STRIP_COLUMNS ? k : 4 * STRIP_COLUMNS,
                        .row_blocks = (n + STRIP_COLUMNS - 1) / STRIP_COLUMNS,
                        .scale = scale};
    tomo_pool_run(exec->pool, job.row_blocks * ((k + job.columns - 1) / job.columns), weight_block, &job);
    finish_backward(exec, &job);
}
