#include "model/look.h"

#include "base/size.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Pixels of a block's side: noise of single pixels does not count, what is there does. */
#define BLOCK 4

tomo_status tomo_look_init(tomo_look *look, int64_t size, int64_t patch, int64_t rank, const float std[3],
                           tomo_error *err) {
    int64_t side = size / patch;
    *look = (tomo_look){.size = size, .patch = patch, .rank = rank < 1 ? 1 : rank};
    if (look->rank > side * side) look->rank = side * side;
    memcpy(look->std, std, sizeof look->std);
    look->cells = calloc((size_t)(side * side), sizeof *look->cells);
    look->last = calloc((size_t)(3 * size * size), sizeof *look->last);
    if (look->cells != NULL && look->last != NULL) return TOMO_OK;
    tomo_look_free(look);
    return tomo_fail_memory(err, "pruning", (size_t)(3 * size * size) * sizeof(float));
}

void tomo_look_free(tomo_look *look) {
    free(look->cells);
    free(look->last);
    *look = (tomo_look){0};
}

void tomo_look_keep(tomo_look *look, const float *pixels) {
    memcpy(look->last, pixels, (size_t)(3 * look->size * look->size) * sizeof *pixels);
}

/* The absolute sum of the differences in a block of rows x columns pixels from `at` on. */
static float block_difference(const tomo_look *look, const float *pixels, int64_t at, int64_t rows,
                              int64_t columns) {
    float sum = 0;
    for (int64_t y = 0; y < rows; y++) {
        const float *now = pixels + at + y * look->size, *last = look->last + at + y * look->size;
        for (int64_t x = 0; x < columns; x++) sum += now[x] - last[x];
    }
    return fabsf(sum);
}

/* The sum over the blocks of one cell, in grey levels. */
static float cell_difference(const tomo_look *look, const float *pixels, int64_t row, int64_t column) {
    int64_t patch = look->patch;
    float sum = 0;
    for (int64_t c = 0; c < 3; c++) {
        int64_t corner = (c * look->size + row * patch) * look->size + column * patch;
        float channel = 0;
        for (int64_t y = 0; y < patch; y += BLOCK) {
            for (int64_t x = 0; x < patch; x += BLOCK) {
                channel += block_difference(look, pixels, corner + y * look->size + x,
                                            tomo_smaller(BLOCK, patch - y), tomo_smaller(BLOCK, patch - x));
            }
        }
        sum += channel * look->std[c];
    }
    return sum;
}

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

float tomo_look_difference(tomo_look *look, const float *pixels) {
    int64_t side = look->size / look->patch;
    for (int64_t r = 0; r < side; r++) {
        for (int64_t c = 0; c < side; c++) look->cells[r * side + c] = cell_difference(look, pixels, r, c);
    }
    qsort(look->cells, (size_t)(side * side), sizeof *look->cells, descending);
    return look->cells[look->rank - 1] / (float)(3 * look->patch * look->patch);
}
