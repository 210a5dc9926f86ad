#include "tensor/packed.h"

#include "base/size.h"
#include "tensor/cpu/packed_kernels.h"
#include "tensor/groups.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Prepared rows that a block works on stay in the second-level cache beside a panel; measured (SPEED.md). */
#define ROW_BYTES (384 << 10)
#define LARGEST_ROWS 384
#define BLOCK_PANELS 8
/* Few rows: what costs is reading the weights, and handing blocks over between threads. */
#define FEW_ROWS TOMO_VECTOR_ROWS
#define FEW_PANELS 64
#define FEW_PIECES 4

#define LINE 64 /* bytes of a cache line */
#define HUGE_PAGE ((size_t)2 << 20)

struct tomo_packed {
    tomo_packing packing;
    /* Chosen once: asking the CPU what it offers takes microseconds on a virtual machine. */
    const tomo_packed_kernel *kernel;
    int64_t n, k, panels, steps;
    size_t panel_bytes, bytes;
    void *data;     /* [panels] of panel_bytes, in mapped pages */
    float *w_scale; /* [panels * TOMO_PANEL], INT8 */
};

static const tomo_packed_kernel *kernel_of(const tomo_kernels *kernels, tomo_packing packing) {
    const tomo_packed_kernels *table = tomo_packed_select(kernels);
    const tomo_packed_kernel *const list[] = {[TOMO_PACK_BF16] = &table->bf16,
                                              [TOMO_PACK_INT8] = &table->int8,
                                              [TOMO_PACK_Q8] = &table->q8,
                                              [TOMO_PACK_Q4] = &table->q4};
    return list[packing];
}

bool tomo_packing_is_native(const tomo_kernels *kernels, tomo_packing packing) {
    return packing != TOMO_PACK_BF16 || tomo_packed_select(kernels)->native_bf16;
}

const struct tomo_packed_kernels *tomo_half_products(const tomo_kernels *kernels) {
    return tomo_packed_select(kernels);
}

bool tomo_packing_in_groups(tomo_dtype dtype, tomo_packing *packing) {
    bool fours = dtype == TOMO_Q4_0 || dtype == TOMO_Q4_1 || dtype == TOMO_Q4_K;
    *packing = fours ? TOMO_PACK_Q4 : TOMO_PACK_Q8;
    return fours || tomo_dtype_block(dtype) == 1 || dtype == TOMO_Q8_0 || dtype == TOMO_Q5_0;
}

/* ---------------------------------------------------------------------------- packing */

typedef struct pack_job {
    tomo_packed *packed;
    const tomo_tensor *w;
    const tomo_kernels *kernels;
    float *rows; /* one [2 k + 2] a worker */
} pack_job;

/* A prepared row is the row in pairs of BF16; each pair goes to its step. words [steps] is scratch. */
static void pack_bf16_row(const pack_job *job, uint32_t *out, const void *stored, float *row,
                          uint32_t *words) {
    const tomo_packed *p = job->packed;
    const uint32_t *pairs = words;
    if (job->w->dtype == TOMO_BF16 && p->k % 2 == 0 && (uintptr_t)stored % sizeof *pairs == 0) {
        pairs = stored;
    } else {
        job->kernels->widen(row, stored, job->w->dtype, p->k);
        p->kernel->prepare(words, row, p->k, p->steps, NULL);
    }
    for (int64_t i = 0; i < p->steps; i++) out[i * TOMO_PANEL] = pairs[i];
}

static void pack_int8_row(uint8_t *out, const float *row, int64_t k, int64_t steps, float *scale) {
    float largest = 0;
    for (int64_t i = 0; i < k; i++) largest = fmaxf(largest, fabsf(row[i]));
    float most = TOMO_INT8_ZERO - 1, inverse = largest > 0 ? most / largest : 0;
    *scale = largest / most;
    for (int64_t i = 0; i < steps * 4; i++) {
        long q = i < k ? lrintf(row[i] * inverse) : 0;
        out[i / 4 * TOMO_PANEL * 4 + i % 4] = (uint8_t)(q + TOMO_INT8_ZERO);
    }
}

/* Puts a group into step `step` of a panel, as output j. */
static void put_group(uint8_t *step, const tomo_weight_group *g, bool fours, int64_t j) {
    memcpy(step + 2 * j, &g->scale, sizeof g->scale);
    if (!fours) {
        uint8_t *q = step + TOMO_PANEL * 2;
        for (int i = 0; i < TOMO_GROUP; i++) q[(i / 4 * TOMO_PANEL + j) * 4 + i % 4] = g->codes[i];
        return;
    }
    memcpy(step + TOMO_PANEL * 2 + 2 * j, &g->offset, sizeof g->offset);
    uint8_t *q = step + TOMO_PANEL * 4;
    for (int i = 0; i < 16; i++) {
        q[(i / 4 * TOMO_PANEL + j) * 4 + i % 4] = (uint8_t)(g->codes[i] | g->codes[i + 16] << 4);
    }
}

/* Output j of a panel, row n of w; row [k] is scratch. */
static void pack_groups(const pack_job *job, uint8_t *panel, int64_t j, int64_t n, float *row) {
    const tomo_packed *p = job->packed;
    const tomo_tensor *w = job->w;
    bool fours = p->packing == TOMO_PACK_Q4, blocks = tomo_dtype_block(w->dtype) > 1;
    const uint8_t *stored = (const uint8_t *)w->data + tomo_dtype_bytes(w->dtype, n * p->k);
    int64_t groups_a_block = blocks ? tomo_dtype_block(w->dtype) / TOMO_GROUP : 1;
    if (!blocks) job->kernels->widen(row, stored, w->dtype, p->k);
    for (int64_t i = 0; i < p->steps; i++) {
        const uint8_t *block = stored + (size_t)(i / groups_a_block) * tomo_dtype_size(w->dtype);
        tomo_weight_group g = blocks ? tomo_group_of_block(block, w->dtype, (int)(i % groups_a_block))
                                     : tomo_group_of_floats(row + i * TOMO_GROUP);
        put_group(panel + (size_t)i * p->kernel->panel_step_bytes, &g, fours, j);
    }
}

static void pack_panel(void *argument, int64_t panel, int worker) {
    pack_job *job = argument;
    tomo_packed *p = job->packed;
    float *row = job->rows + (int64_t)worker * 2 * (p->k + 1);
    char *out = (char *)p->data + (size_t)panel * p->panel_bytes;
    for (int64_t j = 0; j < TOMO_PANEL; j++) {
        int64_t n = panel * TOMO_PANEL + j;
        if (p->packing == TOMO_PACK_Q8 || p->packing == TOMO_PACK_Q4) {
            /* Outputs that do not exist keep a scale of zero. */
            if (n < p->n) pack_groups(job, (uint8_t *)out, j, n, row);
            continue;
        }
        if (p->packing == TOMO_PACK_BF16) { /* outputs that do not exist stay zero */
            const char *stored = (const char *)job->w->data + tomo_dtype_bytes(job->w->dtype, n * p->k);
            if (n < p->n)
                pack_bf16_row(job, (uint32_t *)(void *)out + j, stored, row,
                              (uint32_t *)(void *)(row + p->k));
            continue;
        }
        if (n < p->n) {
            job->kernels->widen(row, (const char *)job->w->data + tomo_dtype_bytes(job->w->dtype, n * p->k),
                                job->w->dtype, p->k);
        } else {
            memset(row, 0, (size_t)p->k * sizeof *row);
        }
        pack_int8_row((uint8_t *)out + j * 4, row, p->k, p->steps, &p->w_scale[n]);
    }
}

/* Zeroed pages, large ones where the system has them: a product walks through all of its weights, and with
 * small pages looking up addresses costs a tenth of the time. */
static void *new_pages(size_t bytes) {
    void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return NULL;
    if (bytes >= HUGE_PAGE) (void)madvise(data, bytes, MADV_HUGEPAGE);
    return data;
}

tomo_status tomo_packed_create(tomo_pool *pool, const tomo_kernels *kernels, const tomo_tensor *w,
                               tomo_packing packing, tomo_packed **packed, tomo_error *err) {
    const tomo_packed_kernel *kernel = kernel_of(kernels, packing);
    int64_t n = w->shape[0], k = w->shape[1];
    assert((packing != TOMO_PACK_Q8 && packing != TOMO_PACK_Q4) || k % TOMO_GROUP == 0);
    *packed = NULL;
    tomo_packed *p = calloc(1, sizeof *p);
    if (p == NULL) return tomo_fail_memory(err, "packed weights", sizeof *p);
    *p = (tomo_packed){.packing = packing, .kernel = kernel, .n = n, .k = k};
    p->panels = tomo_pieces(n, TOMO_PANEL);
    p->steps = tomo_pieces(k, kernel->step);
    p->panel_bytes = (size_t)p->steps * kernel->panel_step_bytes;
    size_t pages = 0;
    bool fits = tomo_size_mul((size_t)p->panels, p->panel_bytes, &p->bytes) &&
                tomo_size_add(p->bytes, HUGE_PAGE, &pages);
    if (fits) p->data = new_pages(p->bytes);
    p->w_scale = calloc((size_t)(p->panels * TOMO_PANEL), sizeof *p->w_scale);
    float *rows = calloc((size_t)(2 * (k + 1) * tomo_pool_threads(pool)), sizeof *rows);
    if (p->data == NULL || p->w_scale == NULL || rows == NULL) {
        size_t wanted = p->bytes;
        free(rows);
        tomo_packed_free(p);
        return tomo_fail_memory(err, "packed weights", wanted);
    }
    pack_job job = {p, w, kernels, rows};
    tomo_pool_run(pool, p->panels, pack_panel, &job);
    free(rows);
    *packed = p;
    return TOMO_OK;
}

void tomo_packed_free(tomo_packed *packed) {
    if (packed == NULL) return;
    if (packed->data != NULL) (void)munmap(packed->data, packed->bytes);
    free(packed->w_scale);
    free(packed);
}

size_t tomo_packed_bytes(const tomo_packed *packed) {
    bool scaled = packed->packing == TOMO_PACK_INT8;
    return packed->bytes + (scaled ? (size_t)packed->n * sizeof(float) : 0);
}

tomo_packing tomo_packed_packing(const tomo_packed *packed) {
    return packed->packing;
}

/* ---------------------------------------------------------------------------- product */

typedef struct product_job {
    const tomo_packed_target *targets;
    int64_t first_block[TOMO_PACKED_TARGETS + 1]; /* of each target */
    int count;
    const tomo_packed_kernel *kernel;
    const tomo_kernels *kernels;
    const float *x;
    int64_t m, k, steps;
    char *prepared; /* [m] rows of row_bytes */
    int64_t row_bytes;
    tomo_row_scale *x_scale; /* [m] */
    int64_t block_rows, row_blocks, block_panels;
} product_job;

/* Rows that one call prepares; enough work for a thread to fetch. */
#define PREPARE_ROWS 8

static void prepare_rows(void *argument, int64_t block, int worker) {
    (void)worker;
    product_job *job = argument;
    int64_t first = block * PREPARE_ROWS, end = tomo_smaller(first + PREPARE_ROWS, job->m);
    for (int64_t r = first; r < end; r++) {
        job->kernel->prepare(job->prepared + r * job->row_bytes, job->x + r * job->k, job->k, job->steps,
                             &job->x_scale[r]);
    }
}

/* A tile that is not stored as it comes: an activation follows, or the last panel is not full. `tile` is
 * [rows, TOMO_PANEL], still in the first-level cache; its bias is in. */
static void finish(const product_job *job, const tomo_packed_target *target, float *tile, int64_t row,
                   int64_t rows, int64_t column, int64_t columns) {
    const tomo_epilogue *e = &target->epilogue;
    if (e->activation != TOMO_ACT_NONE) job->kernels->activate(e->activation, tile, tile, rows * TOMO_PANEL);
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = (row + r) * target->out_stride + column;
        if (e->residual != NULL) {
            job->kernels->add(target->out + at, tile + r * TOMO_PANEL, e->residual + at, columns);
        } else {
            memcpy(target->out + at, tile + r * TOMO_PANEL, (size_t)columns * sizeof *tile);
        }
    }
}

static void run_panel(const product_job *job, const tomo_packed_target *target, int64_t panel, int64_t first,
                      int64_t end) {
    const tomo_packed *p = target->packed;
    const tomo_epilogue *e = &target->epilogue;
    int64_t column = panel * TOMO_PANEL, columns = tomo_smaller(TOMO_PANEL, p->n - column);
    float scratch[TOMO_TILE_ROWS * TOMO_PANEL], bias[TOMO_PANEL] = {0};
    tomo_tile tile = {.panel = (const char *)p->data + (size_t)panel * p->panel_bytes,
                      .w_scale = p->w_scale + column,
                      .steps = p->steps,
                      .x_stride = job->row_bytes};
    if (e->bias != NULL) {
        memcpy(bias, e->bias + column, (size_t)columns * sizeof *bias);
        tile.bias = bias;
    }
    bool direct = columns == TOMO_PANEL && e->activation == TOMO_ACT_NONE;
    int64_t tile_rows = job->kernel->tile_rows, tiles = tomo_pieces(end - first, tile_rows);
    /* Each tile has its share of the panel behind fetched, from the third-level cache or memory; with one
     * tile panels come as fast as memory gives them. */
    int64_t unfetched = tiles > 1 && panel + 1 < p->panels ? (int64_t)(p->panel_bytes / LINE) : 0;
    int64_t share = tomo_pieces(unfetched, tiles);
    tile.next = (const char *)tile.panel + p->panel_bytes;
    for (int64_t r = first; r < end; r += tile_rows) {
        int64_t at = r * target->out_stride + column;
        tile.rows = (int)tomo_smaller(tile_rows, end - r);
        tile.x = job->prepared + r * job->row_bytes;
        tile.x_scale = job->x_scale + r;
        tile.out = direct ? target->out + at : scratch;
        tile.out_stride = direct ? target->out_stride : TOMO_PANEL;
        tile.residual = direct && e->residual != NULL ? e->residual + at : NULL;
        tile.next_lines = tomo_smaller(share, unfetched);
        job->kernel->tile(&tile);
        tile.next += tile.next_lines * LINE;
        unfetched -= tile.next_lines;
        if (!direct) finish(job, target, scratch, r, tile.rows, column, columns);
    }
}

static void run_block(void *argument, int64_t block, int worker) {
    (void)worker;
    product_job *job = argument;
    int t = 0;
    while (block >= job->first_block[t + 1]) t++;
    const tomo_packed_target *target = &job->targets[t];
    block -= job->first_block[t];
    int64_t first = block % job->row_blocks * job->block_rows,
            end = tomo_smaller(first + job->block_rows, job->m);
    int64_t panel = block / job->row_blocks * job->block_panels;
    int64_t last = tomo_smaller(panel + job->block_panels, target->packed->panels);
    tomo_tiles_begin(job->kernel, end - first);
    for (; panel < last; panel++) run_panel(job, target, panel, first, end);
    tomo_tiles_end(job->kernel);
}

/* Blocks of about equal numbers of rows, whole tiles each. With few rows the threads share the panels among
 * them in few pieces: a piece takes about as long as its hand-over. How panels are cut changes no result. */
static void cut(product_job *job, int threads) {
    int64_t tile = job->kernel->tile_rows, most = ROW_BYTES / job->row_bytes / tile * tile, panels = 0;
    most = tomo_smaller(most < 4 * tile ? 4 * tile : most, LARGEST_ROWS);
    job->row_blocks = tomo_pieces(job->m, most);
    int64_t rows = tomo_pieces(job->m, job->row_blocks);
    job->block_rows = tomo_pieces(rows, tile) * tile;
    job->row_blocks = tomo_pieces(job->m, job->block_rows);
    for (int i = 0; i < job->count; i++) panels += job->targets[i].packed->panels;
    int64_t piece = panels / (FEW_PIECES * threads);
    job->block_panels = job->m > FEW_ROWS ? BLOCK_PANELS : tomo_smaller(piece < 1 ? 1 : piece, FEW_PANELS);
    for (int i = 0; i < job->count; i++) {
        int64_t groups = (job->targets[i].packed->panels + job->block_panels - 1) / job->block_panels;
        job->first_block[i + 1] = job->first_block[i] + groups * job->row_blocks;
    }
}

void tomo_packed_products(tomo_exec *exec, const tomo_packed_target *targets, int count, const float *x,
                          int64_t m) {
    const tomo_packed *p = targets[0].packed;
    if (m == 0 || exec->error.status != TOMO_OK) return;
    assert(count >= 1 && count <= TOMO_PACKED_TARGETS);
    product_job job = {.targets = targets,
                       .count = count,
                       .kernel = p->kernel,
                       .kernels = exec->kernels,
                       .x = x,
                       .m = m,
                       .k = p->k,
                       .steps = p->steps};
    for (int i = 1; i < count; i++) assert(tomo_packed_alike(p, targets[i].packed));
    int64_t line = TOMO_ARENA_ALIGNMENT;
    job.row_bytes = p->steps * (int64_t)job.kernel->row_step_bytes;
    job.row_bytes = tomo_pieces(job.row_bytes, line) * line;
    /* Rows a multiple of 512 bytes apart would share few sets of the first-level cache. */
    if (job.row_bytes % 512 == 0) job.row_bytes += line;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    int64_t room = tomo_pieces(m, TOMO_ROWS_READ) * TOMO_ROWS_READ;
    job.prepared = tomo_exec_alloc(exec, room, (size_t)job.row_bytes);
    job.x_scale = tomo_exec_alloc(exec, m, sizeof *job.x_scale);
    if (job.prepared == NULL || job.x_scale == NULL) return;
    cut(&job, tomo_pool_threads(exec->pool));
    tomo_pool_run(exec->pool, tomo_pieces(m, PREPARE_ROWS), prepare_rows, &job);
    tomo_pool_run(exec->pool, job.first_block[count], run_block, &job);
    tomo_arena_rewind(exec->arena, mark);
}

void tomo_packed_product(tomo_exec *exec, float *out, int64_t out_stride, const float *x, int64_t m,
                         const tomo_packed *packed, tomo_epilogue epilogue) {
    tomo_packed_target target = {packed, out, out_stride, epilogue};
    tomo_packed_products(exec, &target, 1, x, m);
}

bool tomo_packed_alike(const tomo_packed *a, const tomo_packed *b) {
    return a->packing == b->packing && a->k == b->k;
}
