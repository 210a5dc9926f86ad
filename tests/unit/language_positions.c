/* language_positions.c - tokens that share a position: the same with a cache, in pieces, as in one pass. */
#include "language/decoder.h"
#include "support/tensors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/language/qwen2_tied_bf16/model"
enum { COUNT = 24, PIECE = 14 };
static const tomo_position_block none = {0}, block = {3, 9};

typedef struct fixture {
    test_machine machine;
    tomo_decoder *decoder;
    int64_t width;
} fixture;

static fixture open_all(void) {
    fixture f = {0};
    assert_true(test_machine_open(&f.machine, NULL));
    assert_int_equal(tomo_decoder_open(MODEL, NULL, false, &f.decoder, NULL), TOMO_OK);
    f.width = tomo_decoder_get_config(f.decoder)->hidden;
    return f;
}

static void close_all(fixture *f) {
    tomo_decoder_free(f->decoder);
    test_machine_close(&f->machine);
}

static tomo_tensor *embed(fixture *f) {
    int32_t ids[COUNT];
    for (int i = 0; i < COUNT; i++) ids[i] = (int32_t)(i * 37 % 300);
    tomo_arena_reset(f->machine.exec.arena);
    return tomo_decoder_embed(f->decoder, &f->machine.exec, ids, COUNT);
}

static float *copy_of(fixture *f, const tomo_tensor *x) {
    assert_int_equal(tomo_exec_status(&f->machine.exec, NULL), TOMO_OK);
    size_t bytes = (size_t)tomo_tensor_count(x) * sizeof(float);
    float *copy = malloc(bytes);
    assert_non_null(copy);
    memcpy(copy, x->data, bytes);
    return copy;
}

/* Hidden states [COUNT, H] in one pass; freed by free. */
static float *packed(fixture *f, const int64_t *positions) {
    static const int64_t starts[] = {0, COUNT};
    return copy_of(
        f, tomo_decoder_forward_packed(f->decoder, &f->machine.exec, embed(f), starts, NULL, positions, 1));
}

/* Those of the last COUNT - PIECE tokens, the others being in the cache already. */
static float *cached(fixture *f, tomo_kv_cache *cache, tomo_position_block shared) {
    tomo_tensor *x = embed(f), first = tomo_tensor_narrow(x, 0, 0, PIECE),
                rest = tomo_tensor_narrow(x, 0, PIECE, COUNT - PIECE);
    tomo_kv_cache_truncate(cache, 0);
    tomo_kv_cache_share_position(cache, shared);
    assert_true(tomo_decoder_extend(f->decoder, &f->machine.exec, cache, &first));
    return copy_of(f, tomo_decoder_forward(f->decoder, &f->machine.exec, cache, &rest));
}

static void positions_are_counted_on_behind_the_block(void **state) {
    (void)state;
    static const int64_t want[] = {0, 1, 2, 3, 3, 3, 3, 4, 5};
    for (int64_t i = 0; i < 9; i++) {
        assert_int_equal(tomo_position_in((tomo_position_block){3, 4}, i), want[i]);
        assert_int_equal(tomo_position_in((tomo_position_block){3, 1}, i), i);
        assert_int_equal(tomo_position_in(none, i), i);
    }
}

/* Sums in another order: 1e-5 of the largest value. */
static void near(const float *got, const float *want, int64_t n) {
    assert_true(parity_distance(got, want, n) <= 1e-5 * parity_largest(want, n));
}

static void a_cache_in_pieces_is_as_one_pass(void **state) {
    (void)state;
    fixture f = open_all();
    tomo_kv_cache *cache = NULL;
    int64_t positions[COUNT], n = (COUNT - PIECE) * f.width;
    for (int64_t i = 0; i < COUNT; i++) positions[i] = tomo_position_in(block, i);
    assert_int_equal(tomo_kv_cache_create(f.decoder, COUNT, &cache, NULL), TOMO_OK);
    float *own = packed(&f, NULL), *shared = packed(&f, positions);
    /* Nothing stands before the block that could differ, and everything behind its first token does. */
    assert_memory_equal(own, shared, (size_t)(4 * f.width) * sizeof *own);
    assert_true(parity_distance(shared + 4 * f.width, own + 4 * f.width, f.width) > 1e-3);
    float *with = cached(&f, cache, block), *without = cached(&f, cache, none);
    near(with, shared + PIECE * f.width, n);
    near(without, own + PIECE * f.width, n);
    free(with);
    free(without);
    free(own);
    free(shared);
    tomo_kv_cache_free(cache);
    close_all(&f);
}

static void an_emptied_cache_forgets_the_block(void **state) {
    (void)state;
    fixture f = open_all();
    tomo_kv_cache *cache = NULL;
    assert_int_equal(tomo_kv_cache_create(f.decoder, COUNT, &cache, NULL), TOMO_OK);
    float *own = packed(&f, NULL);
    free(cached(&f, cache, block));
    tomo_kv_cache_truncate(cache, 0);
    float *again = copy_of(&f, tomo_decoder_forward(f.decoder, &f.machine.exec, cache, embed(&f)));
    near(again, own, COUNT * f.width);
    free(own);
    free(again);
    tomo_kv_cache_free(cache);
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(positions_are_counted_on_behind_the_block),
        cmocka_unit_test(a_cache_in_pieces_is_as_one_pass),
        cmocka_unit_test(an_emptied_cache_forgets_the_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
