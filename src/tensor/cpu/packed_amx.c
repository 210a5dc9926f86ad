/* packed_amx.c - products with packed weights for AMX_BF16 and AMX_INT8.
 *
 * A tile register holds 16 rows of 64 bytes. Panels have the order that the instructions want of their right
 * factor: 16 steps of 16 outputs are a register as they lie. Sums of 32 rows and 32 outputs stay in four
 * registers, since an instruction waits for the one before it on the same sums. A row's sums do not depend on
 * the other rows. */
#include "tensor/cpu/packed_amx.h"

#include "base/size.h"
#include "tensor/cpu/packed_ends.h"
#include "tensor/packed.h"

#include <immintrin.h>
#include <string.h>

#define TILE_ROWS 16
#define TILE_BYTES 64
/* Of a step: in a row of x, in a panel. The same for both types. */
#define X_STEP 4
#define PANEL_STEP (TOMO_PANEL * X_STEP)
/* Bytes that a panel is fetched ahead when it is read for few rows, from memory; measured (SPEED.md). */
#define AHEAD 1024

/* The operand of ldtilecfg (Intel SDM, palette 1). */
typedef struct tile_configuration {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_configuration;

/* Sums 0 to 3: rows above and below by outputs left and right. 4, 5: rows of x; 6, 7: weights. An instruction
 * takes as long as there are rows of x. Constants: gcc 12 believes that _tile_loadconfig reads the first
 * bytes alone, and would drop other stores. */
#define OF_ROWS(R)                                                                                           \
    [R] = {.palette = 1,                                                                                     \
           .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64},                                                    \
           .rows = {R, R, R, R, R, R, TILE_ROWS, TILE_ROWS}}
static const tile_configuration configurations[TILE_ROWS + 1] = {
    OF_ROWS(1), OF_ROWS(2),  OF_ROWS(3),  OF_ROWS(4),  OF_ROWS(5),  OF_ROWS(6),  OF_ROWS(7),  OF_ROWS(8),
    OF_ROWS(9), OF_ROWS(10), OF_ROWS(11), OF_ROWS(12), OF_ROWS(13), OF_ROWS(14), OF_ROWS(15), OF_ROWS(16)};

void tomo_amx_enter(int64_t rows) {
    _tile_loadconfig(&configurations[rows < TILE_ROWS ? rows : TILE_ROWS]);
}

void tomo_amx_leave(void) {
    _tile_release();
}

#define ONE_STEP(PRODUCT, X, X_STRIDE, PANEL, BOTH)                                                          \
    do {                                                                                                     \
        _tile_loadd(4, X, X_STRIDE);                                                                         \
        _tile_loadd(6, PANEL, PANEL_STEP);                                                                   \
        _tile_loadd(7, (PANEL) + TILE_BYTES, PANEL_STEP);                                                    \
        PRODUCT(0, 4, 6);                                                                                    \
        PRODUCT(1, 4, 7);                                                                                    \
        if (BOTH) {                                                                                          \
            _tile_loadd(5, (X) + TILE_ROWS * (X_STRIDE), X_STRIDE);                                          \
            PRODUCT(2, 5, 6);                                                                                \
            PRODUCT(3, 5, 7);                                                                                \
        }                                                                                                    \
    } while (0)

/* The last steps, fewer than a register's: with zeros behind them. */
typedef struct last_steps {
    _Alignas(64) char x[2 * TILE_ROWS * TILE_BYTES];
    _Alignas(64) char panel[TILE_ROWS * PANEL_STEP];
} last_steps;

static void take_last(last_steps *to, const tomo_tile *t, int64_t from) {
    const char *x = t->x;
    int64_t left = t->steps - from;
    memset(to, 0, sizeof *to);
    for (int r = 0; r < t->rows; r++)
        memcpy(to->x + r * TILE_BYTES, x + r * t->x_stride + from * X_STEP, (size_t)(left * X_STEP));
    memcpy(to->panel, (const char *)t->panel + from * PANEL_STEP, (size_t)(left * PANEL_STEP));
}

/* Leaves the sums of up to 16 rows, or with `both` of up to 32, in the tile registers. */
#define SUMS(NAME, PRODUCT)                                                                                  \
    static inline __attribute__((always_inline)) void NAME(const tomo_tile *t, const bool both) {            \
        const char *x = t->x, *panel = t->panel;                                                             \
        int64_t i = 0;                                                                                       \
        _tile_zero(0);                                                                                       \
        _tile_zero(1);                                                                                       \
        if (both) {                                                                                          \
            _tile_zero(2);                                                                                   \
            _tile_zero(3);                                                                                   \
        }                                                                                                    \
        int64_t each = t->steps >= TILE_ROWS ? tomo_pieces(t->next_lines, t->steps / TILE_ROWS) : 0;         \
        int64_t fetched = 0;                                                                                 \
        for (; i + TILE_ROWS <= t->steps; i += TILE_ROWS) {                                                  \
            for (int64_t n = 0; n < each && fetched < t->next_lines; n++, fetched++)                         \
                _mm_prefetch(t->next + fetched * TILE_BYTES, _MM_HINT_T1);                                   \
            for (int line = 0; line < 2 * TILE_ROWS && !both; line++)                                        \
                _mm_prefetch(panel + i * PANEL_STEP + AHEAD + line * TILE_BYTES, _MM_HINT_T0);               \
            ONE_STEP(PRODUCT, x + i * X_STEP, t->x_stride, panel + i * PANEL_STEP, both);                    \
        }                                                                                                    \
        if (i < t->steps) {                                                                                  \
            last_steps last;                                                                                 \
            take_last(&last, t, i);                                                                          \
            __asm__ volatile("" ::: "memory"); /* the compiler does not know that tiles read memory */       \
            ONE_STEP(PRODUCT, last.x, (int64_t)TILE_BYTES, last.panel, both);                                \
        }                                                                                                    \
    }

SUMS(sums_bf16, _tile_dpbf16ps)
SUMS(sums_int8, _tile_dpbsud)

/* Sums out of the tile registers; rows `stride` bytes apart. */
static inline __attribute__((always_inline)) void store(void *out, int64_t stride, bool both) {
    char *y = out;
    _tile_stored(0, y, stride);
    _tile_stored(1, y + TILE_BYTES, stride);
    if (both) {
        _tile_stored(2, y + TILE_ROWS * stride, stride);
        _tile_stored(3, y + TILE_ROWS * stride + TILE_BYTES, stride);
    }
}

void tomo_amx_tile_bf16(const tomo_tile *t) {
    _Alignas(64) float sums[TOMO_TILE_ROWS * TOMO_PANEL];
    bool both = t->rows > TILE_ROWS, whole = t->rows == (both ? 2 : 1) * TILE_ROWS;
    bool direct = whole && t->bias == NULL && t->residual == NULL;
    if (both) {
        sums_bf16(t, true);
    } else {
        sums_bf16(t, false);
    }
    if (direct) {
        store(t->out, t->out_stride * (int64_t)sizeof(float), both);
        return;
    }
    store(sums, TOMO_PANEL * (int64_t)sizeof(float), both);
    for (int r = 0; r < t->rows; r++)
        put(t, r, _mm512_load_ps(sums + r * TOMO_PANEL), _mm512_load_ps(sums + r * TOMO_PANEL + 16));
}

void tomo_amx_tile_int8(const tomo_tile *t) {
    _Alignas(64) int32_t sums[TOMO_TILE_ROWS * TOMO_PANEL];
    bool both = t->rows > TILE_ROWS;
    if (both) {
        sums_int8(t, true);
    } else {
        sums_int8(t, false);
    }
    store(sums, TOMO_PANEL * (int64_t)sizeof(int32_t), both);
    __m512 s0 = _mm512_loadu_ps(t->w_scale), s1 = _mm512_loadu_ps(t->w_scale + 16);
    for (int r = 0; r < t->rows; r++) {
        const int32_t *row = sums + r * TOMO_PANEL;
        tomo_row_scale scale = t->x_scale[r];
        put(t, r, scaled(_mm512_load_si512(row), scale, s0), scaled(_mm512_load_si512(row + 16), scale, s1));
    }
}
