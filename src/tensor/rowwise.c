#include "tensor/rowwise.h"

#include "base/size.h"

typedef struct rows_job {
    tomo_rows_fn run;
    const void *argument;
    const tomo_kernels *kernels;
    int64_t rows, rows_per_block;
} rows_job;

static void run_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const rows_job *job = argument;
    int64_t first = block * job->rows_per_block, end = first + job->rows_per_block;
    job->run(job->argument, job->kernels, first, end < job->rows ? end : job->rows);
}

void tomo_rows_run(tomo_exec *exec, int64_t rows, int64_t width, tomo_rows_fn run, const void *argument) {
    rows_job job = {run, argument, exec->kernels, rows, tomo_exec_rows_per_block(width)};
    tomo_pool_run(exec->pool, tomo_pieces(rows, job.rows_per_block), run_block, &job);
}
