/* packed_kernels.h - the inner loops of products with packed weights, one table an instruction set. */
#ifndef TOMO_TENSOR_CPU_PACKED_KERNELS_H
#define TOMO_TENSOR_CPU_PACKED_KERNELS_H

#include "tensor/kernels.h"

#include <stddef.h>
#include <stdint.h>

/* Most rows of x that a tile takes, of any table. */
#define TOMO_TILE_ROWS 32
/* Rows of a tile whose sums stay in vector registers, in the AVX-512 kernels. */
#define TOMO_VECTOR_ROWS 12
/* Memory for prepared rows is for a multiple of this: tiles may read, not use, rows that do not exist. */
#define TOMO_ROWS_READ 16

/* Words a side of what `transpose` takes. */
#define TOMO_SQUARE 16

/* INT8 weights are stored plus this, as unsigned bytes: the instructions multiply unsigned by signed. */
#define TOMO_INT8_ZERO 64

/* What turns a row's whole-number sums into results: (sum - shift) * scale * w_scale. */
typedef struct tomo_row_scale {
    float scale;   /* of the row of x */
    int32_t shift; /* TOMO_INT8_ZERO times the sum of the row's elements */
} tomo_row_scale;

typedef struct tomo_tile {
    float *out;            /* row stride out_stride */
    const float *residual; /* row stride out_stride, or NULL */
    const float *bias;     /* [TOMO_PANEL] or NULL */
    int64_t out_stride;
    const void *x; /* prepared rows, x_stride bytes apart */
    int64_t x_stride;
    int64_t x_step; /* of tile_columns alone: bytes from step to step, rows lying side by side */
    const tomo_row_scale *x_scale; /* [rows], INT8 */
    int rows;                      /* 1 to tile_rows of the kernel */
    const void *panel;
    const float *w_scale; /* [TOMO_PANEL], INT8 */
    int64_t steps;
    /* `next_lines` lines of 64 bytes that later tiles read, from `next` on: a kernel may fetch them. */
    const char *next;
    int64_t next_lines;
} tomo_tile;

/* clang-format off */
/* Packings in groups: TOMO_GROUP elements of k are a step.
 *   a step of a panel   Q8: [TOMO_PANEL] scales, half floats; [8][TOMO_PANEL][4] bytes q + 128
 *                       Q4: [TOMO_PANEL] scales, [TOMO_PANEL] offsets, half floats; [4][TOMO_PANEL][4] bytes, the low
 *                       halves elements 4 i .. 4 i + 3, the high halves 16 more
 *   a prepared row      [steps] tomo_group_scale, then [steps][TOMO_GROUP] signed bytes */
/* clang-format on */
#define TOMO_GROUP 32

typedef struct tomo_group_scale {
    float scale, sum; /* of the group of x; scale times the sum of its whole numbers */
} tomo_group_scale;

/* A product of one packing. Rows of x are first brought into the type of the product ("prepared"), then tiles
 * of up to tile_rows rows and TOMO_PANEL outputs are computed. `steps` is k / step, rounded up. */
typedef struct tomo_packed_kernel {
    const char *name;
    int step;                                /* elements of k that lie side by side */
    size_t row_step_bytes, panel_step_bytes; /* of a step of a prepared row, and of a panel */
    /* x [k] -> a prepared row, zeros behind k; only INT8 writes *scale. */
    void (*prepare)(void *out, const float *x, int64_t k, int64_t steps, tomo_row_scale *scale);
    /* y[r][j] = sum over k of x[r] w[j], times scales, + bias[j] + residual[r][j]; for r < rows and all
     * TOMO_PANEL j. Bias and residual are added while the sums are in registers. */
    void (*tile)(const tomo_tile *tile);
    int tile_rows;
    /* NULL, or to be called by a thread before tiles of so many rows in all and after them: tomo_tiles_begin,
     * tomo_tiles_end. */
    void (*enter)(int64_t rows);
    void (*leave)(void);
} tomo_packed_kernel;

static inline void tomo_tiles_begin(const tomo_packed_kernel *kernel, int64_t rows) {
    if (kernel->enter != NULL) kernel->enter(rows);
}
static inline void tomo_tiles_end(const tomo_packed_kernel *kernel) {
    if (kernel->leave != NULL) kernel->leave();
}

/* Scores of a query to weights of the values: exp(scale (score - largest)) as a prepared row of BF16, zeros
 * behind the `count` that are visible; returns their sum in float, by which the result is to be divided.
 * scale >= 0. */
typedef float (*tomo_weigh_fn)(uint16_t *out, const float *scores, int64_t count, int64_t steps, float scale);

typedef struct tomo_packed_kernels {
    const char *name; /* of the table */
    bool native_bf16; /* worth using: the generic table's, for tests, and that of CPUs with the instruction */
    tomo_packed_kernel bf16, int8, q8, q4;
    tomo_weigh_fn weigh;
    /* For products that sum over rows. out[2 j] = a[j], out[2 j + 1] = b[j] (NULL: 0) in BF16, j < n. */
    void (*interleave)(uint16_t *out, const float *a, const float *b, int64_t n);
    /* bf16.tile for x of which step i of row r, a pair, lies at x + i x_step + 4 r. NULL: rows are brought
     * into the order of bf16.tile, by `transpose`: out[j][i] = words[i][j] for j < count, i < TOMO_SQUARE;
     * rows of out are `stride` bytes apart. */
    void (*tile_columns)(const tomo_tile *tile);
    void (*transpose)(void *out, int64_t stride, const uint32_t *words, int64_t count);
} tomo_packed_kernels;

/* Bytes of a step, for the tables. */
#define TOMO_BF16_STEP 2, 2 * sizeof(uint16_t), TOMO_PANEL * 2 * sizeof(uint16_t)
#define TOMO_INT8_STEP 4, 4, TOMO_PANEL * 4
#define TOMO_Q8_STEP TOMO_GROUP, TOMO_GROUP + sizeof(tomo_group_scale), TOMO_PANEL *(2 + TOMO_GROUP)
#define TOMO_Q4_STEP TOMO_GROUP, TOMO_GROUP + sizeof(tomo_group_scale), TOMO_PANEL *(4 + TOMO_GROUP / 2)

extern const tomo_packed_kernels tomo_packed_generic; /* the reference */
#if defined(__x86_64__)
extern const tomo_packed_kernels tomo_packed_avx2;   /* int8; its bf16 is the reference's */
extern const tomo_packed_kernels tomo_packed_avx512; /* with AVX512_BF16 and AVX512_VNNI */
extern const tomo_packed_kernels tomo_packed_amx;    /* with AMX_BF16 and AMX_INT8 too */
#endif

/* The best table that this CPU runs, but no better than the table of ordinary kernels that was chosen:
 * whoever forces "avx2" gets AVX2 here too. */
const tomo_packed_kernels *tomo_packed_select(const tomo_kernels *kernels);
/* Every table that this CPU runs, into list[room]; for tests. Returns how many. */
size_t tomo_packed_runnable(const tomo_packed_kernels **list, size_t room);

#endif
