#include "model/look.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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

/* Sum of the absolute differences in one cell, in grey levels. */
static float cell_difference(const tomo_look *look, const float *pixels, int64_t row, int64_t column) {
    float sum = 0;
    for (int64_t c = 0; c < 3; c++) {
        float channel = 0;
        for (int64_t y = row * look->patch; y < (row + 1) * look->patch; y++) {
            int64_t at = (c * look->size + y) * look->size + column * look->patch;
            for (int64_t x = 0; x < look->patch; x++) channel += fabsf(pixels[at + x] - look->last[at + x]);
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
