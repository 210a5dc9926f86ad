#include "tensor/attention_half.h"

#include "base/size.h"
#include "tensor/cpu/packed_kernels.h"
#include "tensor/packed.h"

#include <string.h>

/* A block is one head of one sequence: its keys and values are packed once, as the weights of a linear layer
 * are, and a tile of queries at a time goes through scores, soft-max and values, so no table of queries by
 * keys is ever held. */
typedef struct half_job {
    const tomo_kernels *kernels;
    const tomo_packed_kernels *half;
    const tomo_tensor *q, *k, *v;
    float *out;
    char *scratch; /* one a worker, of `scratch_bytes` */
    size_t scratch_bytes;
    int64_t heads, kv_heads, queries, keys, d;
    int64_t key_panels, d_panels, d_steps, key_steps;
    float scale;
    bool causal;
} half_job;

/* What a worker works in; rows of BF16 are padded to whole panels. */
typedef struct half_room {
    uint32_t *keys;   /* [key_panels][d_steps][TOMO_PANEL] pairs of BF16 */
    uint32_t *values; /* [d_panels][key_steps][TOMO_PANEL] */
    float *scores;    /* [TOMO_TILE_ROWS][key_panels * TOMO_PANEL] */
    uint32_t *row;    /* [TOMO_TILE_ROWS] prepared rows, each as long as the longer of the two kinds */
    float *out;       /* [TOMO_TILE_ROWS][d_panels * TOMO_PANEL] */
} half_room;

static int64_t longer(int64_t a, int64_t b) {
    return a > b ? a : b;
}

/* Words of a prepared row: pairs of elements of d, or of keys. */
static int64_t row_words(const half_job *job) {
    return longer(longer(job->d_steps, job->key_steps), job->d_panels * TOMO_PANEL);
}

static size_t room_bytes(const half_job *job) {
    int64_t words =
        job->key_panels * job->d_steps * TOMO_PANEL + job->d_panels * job->key_steps * TOMO_PANEL +
        TOMO_TILE_ROWS * (job->key_panels * TOMO_PANEL + row_words(job) + job->d_panels * TOMO_PANEL);
    return (size_t)(words + 16) * sizeof(uint32_t);
}

static half_room room_of(const half_job *job, int worker) {
    half_room r;
    r.keys = (uint32_t *)(void *)(job->scratch + (size_t)worker * job->scratch_bytes);
    r.values = r.keys + job->key_panels * job->d_steps * TOMO_PANEL;
    r.scores = (float *)(void *)(r.values + job->d_panels * job->key_steps * TOMO_PANEL);
    r.row = (uint32_t *)(void *)(r.scores + TOMO_TILE_ROWS * job->key_panels * TOMO_PANEL);
    r.out = (float *)(void *)(r.row + TOMO_TILE_ROWS * row_words(job));
    return r;
}

static const float *place(const tomo_tensor *x, int64_t b, int64_t t, int64_t h) {
    return tomo_tensor_f32(x) + b * x->stride[0] + t * x->stride[1] + h * x->stride[2];
}

/* Keys as rows of weights [keys, d]. */
static void pack_keys(const half_job *job, const half_room *room, int64_t b, int64_t head) {
    for (int64_t t = 0; t < job->key_panels * TOMO_PANEL; t++) {
        uint32_t *to = room->keys + t / TOMO_PANEL * job->d_steps * TOMO_PANEL + t % TOMO_PANEL;
        if (t < job->keys) {
            job->half->bf16.prepare(room->row, place(job->k, b, t, head), job->d, job->d_steps, NULL);
        } else {
            memset(room->row, 0, (size_t)job->d_steps * sizeof *room->row);
        }
        for (int64_t i = 0; i < job->d_steps; i++) to[i * TOMO_PANEL] = room->row[i];
    }
}

/* Values as weights [d, keys]: two keys lie side by side for each element of d. */
static void pack_values(const half_job *job, const half_room *room, int64_t b, int64_t head) {
    int64_t words = job->d_panels * TOMO_PANEL;
    uint16_t *even = (uint16_t *)(void *)room->row, *odd = even + words;
    for (int64_t i = 0; i < job->key_steps; i++) {
        memset(even, 0, (size_t)words * 2 * sizeof *even);
        job->half->bf16.prepare(even, place(job->v, b, 2 * i, head), job->d, words / 2, NULL);
        if (2 * i + 1 < job->keys) {
            job->half->bf16.prepare(odd, place(job->v, b, 2 * i + 1, head), job->d, words / 2, NULL);
        }
        for (int64_t p = 0; p < job->d_panels; p++) {
            uint32_t *to = room->values + (p * job->key_steps + i) * TOMO_PANEL;
            for (int64_t c = 0; c < TOMO_PANEL; c++) {
                to[c] = even[p * TOMO_PANEL + c] | (uint32_t)odd[p * TOMO_PANEL + c] << 16;
            }
        }
    }
}

/* Scores of `rows` queries from `first` with the first `seen` keys, then their exponentials as BF16 rows;
 * what these add up to goes to sums [rows]. */
static void weigh(const half_job *job, const half_room *room, int64_t b, int64_t head, int64_t first,
                  int rows, int64_t seen, float *sums) {
    int64_t stride = job->key_panels * TOMO_PANEL, row = row_words(job);
    for (int r = 0; r < rows; r++) {
        job->half->bf16.prepare(room->row + r * row, place(job->q, b, first + r, head), job->d, job->d_steps,
                                NULL);
    }
    tomo_tile tile = {.out_stride = stride,
                      .x = room->row,
                      .x_stride = row * (int64_t)sizeof *room->row,
                      .rows = rows,
                      .steps = job->d_steps};
    for (int64_t p = 0; p * TOMO_PANEL < seen; p++) {
        tile.out = room->scores + p * TOMO_PANEL;
        tile.panel = room->keys + p * job->d_steps * TOMO_PANEL;
        job->half->bf16.tile(&tile);
    }
    for (int r = 0; r < rows; r++) {
        int64_t visible = job->causal ? job->keys - job->queries + first + r + 1 : job->keys;
        sums[r] = job->half->weigh((uint16_t *)(void *)(room->row + r * row), room->scores + r * stride,
                                   visible, (seen + 1) / 2, job->scale);
    }
}

static void run_head(void *argument, int64_t block, int worker) {
    half_job *job = argument;
    half_room room = room_of(job, worker);
    int64_t b = block / job->heads, head = block % job->heads, kv = head / (job->heads / job->kv_heads);
    pack_keys(job, &room, b, kv);
    pack_values(job, &room, b, kv);
    int tile_rows = job->half->bf16.tile_rows;
    tomo_tiles_begin(&job->half->bf16, job->queries);
    for (int64_t first = 0; first < job->queries; first += tile_rows) {
        int rows = (int)tomo_smaller(tile_rows, job->queries - first);
        int64_t seen = job->causal ? job->keys - job->queries + first + rows : job->keys;
        float sums[TOMO_TILE_ROWS];
        weigh(job, &room, b, head, first, rows, seen, sums);
        tomo_tile tile = {.out_stride = job->d_panels * TOMO_PANEL,
                          .x = room.row,
                          .x_stride = row_words(job) * (int64_t)sizeof *room.row,
                          .rows = rows,
                          .steps = (seen + 1) / 2};
        for (int64_t p = 0; p < job->d_panels; p++) {
            tile.out = room.out + p * TOMO_PANEL;
            tile.panel = room.values + p * job->key_steps * TOMO_PANEL;
            job->half->bf16.tile(&tile);
        }
        for (int r = 0; r < rows; r++) {
            float *out = job->out + ((b * job->queries + first + r) * job->heads + head) * job->d;
            const float *y = room.out + r * tile.out_stride;
            float inverse = 1 / sums[r];
            for (int64_t c = 0; c < job->d; c++) out[c] = y[c] * inverse;
        }
    }
    tomo_tiles_end(&job->half->bf16);
}

tomo_tensor *tomo_attention_half(tomo_exec *exec, const tomo_tensor *q, const tomo_tensor *k,
                                 const tomo_tensor *v, double scale, bool causal) {
    half_job job = {.kernels = exec->kernels,
                    .half = exec->half,
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
    job.key_panels = tomo_pieces(job.keys, TOMO_PANEL);
    job.d_panels = tomo_pieces(job.d, TOMO_PANEL);
    job.d_steps = (job.d + 1) / 2;
    job.key_steps = (job.keys + 1) / 2;
    tomo_tensor *out = tomo_exec_tensor(exec, 3, (int64_t[]){q->shape[0], job.queries, job.heads * job.d});
    if (out == NULL) return NULL;
    job.out = tomo_tensor_f32(out);
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    size_t line = TOMO_ARENA_ALIGNMENT;
    job.scratch_bytes = (room_bytes(&job) + line - 1) / line * line;
    job.scratch = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool), job.scratch_bytes);
    if (job.scratch == NULL) return NULL;
    tomo_pool_run(exec->pool, q->shape[0] * job.heads, run_head, &job);
    tomo_arena_rewind(exec->arena, mark);
    return out;
}
