#include "tensor/gemm_half.h"

#include "base/size.h"
#include "tensor/cpu/packed_kernels.h"
#include "tensor/packed.h"

#include <string.h>

/* Fewer rows than this are not worth bringing the weights into panels. */
#define LEAST_ROWS 32
/* Blocks: rows that stay in the second-level cache beside a panel's piece of DEPTH steps. */
#define BLOCK_ROWS 384
#define BLOCK_PANELS 8
#define FEW_BLOCKS 16
#define SMALL_ROWS 96
#define SMALL_PANELS 2
#define DEPTH 512
/* What one call of a packing block does. */
#define PACK_ROWS 8
#define PACK_STEPS TOMO_SQUARE

#define PAIR ((int64_t)sizeof(uint32_t))
#define PANEL_STEP (TOMO_PANEL * PAIR)

/* out [rows, columns] (+)= a b in steps of two elements. a is stored by its rows (each a prepared row) or by
 * its columns (pairs of all rows side by side, step after step); b in panels, as packed.h has them. */
typedef struct product {
    const tomo_packed_kernels *half;
    const tomo_kernels *kernels;
    char *a, *panels;
    int64_t a_row, a_step; /* bytes from row to row, from step to step */
    bool by_columns;
    int64_t steps, panel_bytes, panel_count;
    float *out; /* [rows, columns] */
    int64_t rows, columns;
    const float *bias;
    bool accumulate;
    int64_t block_rows, row_blocks, block_panels;
} product;

/* ---------------------------------------------------------------------------- packing */

typedef struct pack_job {
    product *p;
    const float *x; /* [count, width] */
    int64_t count, width;
    uint32_t *words; /* one [steps] a worker */
} pack_job;

/* Rows of x become rows of a. */
static void pack_rows(void *argument, int64_t block, int worker) {
    (void)worker;
    pack_job *job = argument;
    product *p = job->p;
    int64_t end = tomo_smaller((block + 1) * PACK_ROWS, job->count);
    for (int64_t r = block * PACK_ROWS; r < end; r++)
        p->half->bf16.prepare(p->a + r * p->a_row, job->x + r * job->width, job->width, p->steps, NULL);
}

/* The two rows of x that are step i; *odd NULL behind the last. */
static const float *rows_of_step(const pack_job *job, int64_t i, const float **odd) {
    const float *even = job->x + 2 * i * job->width;
    *odd = 2 * i + 1 < job->count ? even + job->width : NULL;
    return even;
}

/* Pairs of rows of x become steps of a by columns. */
static void pack_columns(void *argument, int64_t block, int worker) {
    (void)worker;
    pack_job *job = argument;
    product *p = job->p;
    int64_t end = tomo_smaller((block + 1) * PACK_STEPS, p->steps);
    for (int64_t i = block * PACK_STEPS; i < end; i++) {
        const float *odd, *even = rows_of_step(job, i, &odd);
        p->half->interleave((uint16_t *)(void *)(p->a + i * p->a_step), even, odd, job->width);
    }
}

/* Pairs of rows of x become columns of a, whose rows are the columns of x: for tiles that take rows alone. */
static void pack_transposed(void *argument, int64_t block, int worker) {
    (void)worker;
    pack_job *job = argument;
    product *p = job->p;
    uint32_t words[PACK_STEPS][TOMO_SQUARE];
    int64_t first = block * PACK_STEPS, count = tomo_smaller(PACK_STEPS, p->steps - first);
    memset(words, 0, sizeof words);
    for (int64_t column = 0; column < job->width; column += TOMO_SQUARE) {
        int64_t columns = tomo_smaller(TOMO_SQUARE, job->width - column);
        for (int64_t i = 0; i < count; i++) {
            const float *odd, *even = rows_of_step(job, first + i, &odd);
            p->half->interleave((uint16_t *)words[i], even + column, odd == NULL ? NULL : odd + column,
                                columns);
        }
        p->half->transpose(p->a + column * p->a_row + first * PAIR, p->a_row, &words[0][0], columns);
    }
}

/* Rows of x, [outputs, inner], become outputs of panels. A block is a panel. */
static void pack_outputs(void *argument, int64_t panel, int worker) {
    pack_job *job = argument;
    product *p = job->p;
    uint32_t *words = job->words + (int64_t)worker * p->steps;
    int64_t count = tomo_smaller(TOMO_PANEL, job->count - panel * TOMO_PANEL);
    uint32_t *out = (uint32_t *)(void *)(p->panels + panel * p->panel_bytes);
    if (count < TOMO_PANEL) memset(out, 0, (size_t)p->panel_bytes);
    for (int64_t j = 0; j < count; j++) {
        p->half->bf16.prepare(words, job->x + (panel * TOMO_PANEL + j) * job->width, job->width, p->steps,
                              NULL);
        for (int64_t i = 0; i < p->steps; i++) out[i * TOMO_PANEL + j] = words[i];
    }
}

/* Pairs of rows of x, [inner, outputs], become steps of panels. */
static void pack_inner(void *argument, int64_t block, int worker) {
    (void)worker;
    pack_job *job = argument;
    product *p = job->p;
    int64_t end = tomo_smaller((block + 1) * PACK_STEPS, p->steps);
    for (int64_t i = block * PACK_STEPS; i < end; i++) {
        const float *odd, *even = rows_of_step(job, i, &odd);
        for (int64_t panel = 0; panel < p->panel_count; panel++) {
            int64_t first = panel * TOMO_PANEL, count = tomo_smaller(TOMO_PANEL, job->width - first);
            char *out = p->panels + panel * p->panel_bytes + i * PANEL_STEP;
            if (count < TOMO_PANEL) memset(out, 0, (size_t)PANEL_STEP);
            p->half->interleave((uint16_t *)(void *)out, even + first, odd == NULL ? NULL : odd + first,
                                count);
        }
    }
}

/* --------------------------------------------------------------------------- products */

static void run_tiles(const product *p, int64_t panel, int64_t first, int64_t end, int64_t from) {
    int64_t column = panel * TOMO_PANEL, columns = tomo_smaller(TOMO_PANEL, p->columns - column);
    bool whole = columns == TOMO_PANEL;
    float scratch[TOMO_TILE_ROWS * TOMO_PANEL], bias[TOMO_PANEL] = {0};
    tomo_tile tile = {.panel = p->panels + panel * p->panel_bytes + from * PANEL_STEP,
                      .steps = tomo_smaller(DEPTH, p->steps - from),
                      .x_stride = p->a_row,
                      .x_step = p->a_step};
    bool added = p->accumulate || from > 0;
    if (p->bias != NULL && from == 0) {
        memcpy(bias, p->bias + column, (size_t)columns * sizeof *bias);
        tile.bias = bias;
    }
    for (int64_t r = first; r < end; r += p->half->bf16.tile_rows) {
        float *out = p->out + r * p->columns + column;
        tile.rows = (int)tomo_smaller(p->half->bf16.tile_rows, end - r);
        tile.x = p->a + r * p->a_row + from * p->a_step;
        tile.out = whole ? out : scratch;
        tile.out_stride = whole ? p->columns : TOMO_PANEL;
        tile.residual = whole && added ? out : NULL;
        if (p->by_columns) {
            p->half->tile_columns(&tile);
        } else {
            p->half->bf16.tile(&tile);
        }
        for (int64_t i = 0; i < tile.rows && !whole; i++) {
            float *to = out + i * p->columns;
            const float *sum = scratch + i * TOMO_PANEL;
            if (added) {
                p->kernels->add(to, to, sum, columns);
            } else {
                memcpy(to, sum, (size_t)columns * sizeof *to);
            }
        }
    }
}

static void run_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const product *p = argument;
    int64_t first = block % p->row_blocks * p->block_rows, end = tomo_smaller(first + p->block_rows, p->rows);
    int64_t panel = block / p->row_blocks * p->block_panels;
    int64_t last = tomo_smaller(panel + p->block_panels, p->panel_count);
    tomo_tiles_begin(&p->half->bf16, end - first);
    for (int64_t from = 0; from < p->steps; from += DEPTH)
        for (int64_t i = panel; i < last; i++) run_tiles(p, i, first, end, from);
    tomo_tiles_end(&p->half->bf16);
}

/* Memory of both factors. inner: how many products an element is the sum of. */
static bool reserve(tomo_exec *exec, product *p, int64_t inner) {
    p->half = exec->half_tape;
    p->kernels = exec->kernels;
    p->steps = tomo_pieces(inner, 2);
    p->panel_count = tomo_pieces(p->columns, TOMO_PANEL);
    p->panel_bytes = p->steps * PANEL_STEP;
    /* Distances that are a multiple of 512 bytes would share few sets of the first-level cache. */
    int64_t line = tomo_pieces((p->by_columns ? p->rows : p->steps) * PAIR, TOMO_ARENA_ALIGNMENT);
    int64_t bytes = (line + (line % 8 == 0)) * TOMO_ARENA_ALIGNMENT;
    p->a_row = p->by_columns ? PAIR : bytes;
    p->a_step = p->by_columns ? bytes : PAIR;
    int64_t rows = tomo_pieces(p->rows, TOMO_ROWS_READ) * TOMO_ROWS_READ;
    p->a = tomo_exec_alloc(exec, p->by_columns ? p->steps : rows, (size_t)bytes);
    p->panels = tomo_exec_alloc(exec, p->panel_count, (size_t)p->panel_bytes);
    return p->a != NULL && p->panels != NULL;
}

static void run(tomo_exec *exec, product *p) {
    p->block_rows = BLOCK_ROWS;
    p->block_panels = BLOCK_PANELS;
    if (tomo_pieces(p->rows, BLOCK_ROWS) * tomo_pieces(p->panel_count, BLOCK_PANELS) < FEW_BLOCKS) {
        p->block_rows = SMALL_ROWS;
        p->block_panels = SMALL_PANELS;
    }
    p->row_blocks = tomo_pieces(p->rows, p->block_rows);
    tomo_pool_run(exec->pool, p->row_blocks * tomo_pieces(p->panel_count, p->block_panels), run_block, p);
}

bool tomo_gemm_half_wanted(const tomo_exec *exec, const tomo_tensor *w, int64_t rows) {
    return exec->half_tape != NULL && w->dtype == TOMO_F32 && rows >= LEAST_ROWS;
}

void tomo_gemm_half(tomo_exec *exec, float *out, const float *x, int64_t m, const tomo_tensor *w,
                    const float *bias) {
    int64_t n = w->shape[0], k = w->shape[1];
    product p = {.out = out, .rows = m, .columns = n, .bias = bias};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    if (reserve(exec, &p, k)) {
        uint32_t *words = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * p.steps, sizeof *words);
        pack_job of_x = {&p, x, m, k, NULL}, of_w = {&p, tomo_tensor_f32(w), n, k, words};
        if (words != NULL) {
            tomo_pool_run(exec->pool, p.panel_count, pack_outputs, &of_w);
            tomo_pool_run(exec->pool, tomo_pieces(m, PACK_ROWS), pack_rows, &of_x);
            run(exec, &p);
        }
    }
    tomo_arena_rewind(exec->arena, mark);
}

/* dx += dy w */
static void backward_input(tomo_exec *exec, float *dx, const float *dy, int64_t m, const tomo_tensor *w) {
    int64_t n = w->shape[0], k = w->shape[1];
    product p = {.out = dx, .rows = m, .columns = k, .accumulate = true};
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    if (reserve(exec, &p, n)) {
        pack_job of_dy = {&p, dy, m, n, NULL}, of_w = {&p, tomo_tensor_f32(w), n, k, NULL};
        tomo_pool_run(exec->pool, tomo_pieces(p.steps, PACK_STEPS), pack_inner, &of_w);
        tomo_pool_run(exec->pool, tomo_pieces(m, PACK_ROWS), pack_rows, &of_dy);
        run(exec, &p);
    }
    tomo_arena_rewind(exec->arena, mark);
}

/* dw += dy^T x */
static void backward_weight(tomo_exec *exec, float *dw, const float *dy, const float *x, int64_t m, int64_t n,
                            int64_t k) {
    product p = {.out = dw, .rows = n, .columns = k, .accumulate = true};
    p.by_columns = exec->half_tape->tile_columns != NULL;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    if (reserve(exec, &p, m)) {
        pack_job of_dy = {&p, dy, m, n, NULL}, of_x = {&p, x, m, k, NULL};
        tomo_pool_run(exec->pool, tomo_pieces(p.steps, PACK_STEPS),
                      p.by_columns ? pack_columns : pack_transposed, &of_dy);
        tomo_pool_run(exec->pool, tomo_pieces(p.steps, PACK_STEPS), pack_inner, &of_x);
        run(exec, &p);
    }
    tomo_arena_rewind(exec->arena, mark);
}

void tomo_gemm_half_backward(tomo_exec *exec, float *dx, float *dw, const float *dy, const float *x,
                             int64_t m, const tomo_tensor *w) {
    if (exec->error.status != TOMO_OK) return;
    if (dw != NULL) backward_weight(exec, dw, dy, x, m, w->shape[0], w->shape[1]);
    if (dx != NULL) backward_input(exec, dx, dy, m, w);
}
