/* weights_pickle.c - pickles written by hand: what is refused, and that nothing is run. */
#include "weights/checkpoint.h"
#include "weights/pickle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static tomo_status read_pickle(const char *bytes, size_t size, tomo_error *err) {
    tomo_arena *arena = tomo_arena_create(0);
    /* Of exact size, so that a sanitizer sees reads past the end; NULL when empty, as zip entries are. */
    unsigned char *copy = size == 0 ? NULL : malloc(size);
    assert_true(arena != NULL && (size == 0 || copy != NULL));
    if (size > 0) memcpy(copy, bytes, size);
    tomo_pickle pickle;
    tomo_status status = tomo_pickle_read("p", copy, size, arena, &pickle, err);
    free(copy);
    tomo_arena_free(arena);
    return status;
}

#define PICKLE(text) text, sizeof(text) - 1

static void damaged_pickles_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        tomo_status status;
    } cases[] = {
        {PICKLE("\x80\x02}q\x00."), TOMO_OK},
        {PICKLE("\x80\x02}q\x00"), TOMO_E_TRUNCATED},
        {PICKLE(""), TOMO_E_TRUNCATED},
        {PICKLE("\x80\x02."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02("), TOMO_E_TRUNCATED},
        {PICKLE("\x80\x02(."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02t."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02K\x01(\x85."), TOMO_E_FORMAT},   /* a tuple across a mark */
        {PICKLE("\x80\x02K\x01K\x02s."), TOMO_E_FORMAT},  /* an item of nothing */
        {PICKLE("\x80\x02]K\x01K\x02s."), TOMO_E_FORMAT}, /* an item of a list */
        {PICKLE("\x80\x02}(K\x01u."), TOMO_E_FORMAT},     /* a key without a value */
        {PICKLE("\x80\x02}q\x05."), TOMO_E_FORMAT},       /* memo out of order */
        {PICKLE("\x80\x02}r\xff\xff\xff\xff."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02h\x00."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02X\xff\xff\xff\xff"
                "ab."),
         TOMO_E_TRUNCATED},
        {PICKLE("\x80\x02\x8a\xff\x01."), TOMO_E_TRUNCATED},
        {PICKLE("\x80\x02K\x01)R."), TOMO_E_FORMAT}, /* a call of a number */
        {PICKLE("\x80\x02K\x01Q."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02K\x01}b."), TOMO_E_FORMAT},
        {PICKLE("\x80\x02"
                "cposix\nsystem\nX\x04\0\0\0true\x85R."),
         TOMO_E_UNSUPPORTED},
        {PICKLE("\x80\x04\x8c\x05posix\x8c\x06system\x93."), TOMO_E_UNSUPPORTED},
        {PICKLE("\x80\x02"
                "cbuiltins\neval\n."),
         TOMO_E_UNSUPPORTED},
        {PICKLE("\x80\x02"
                "ctorch\nComplexFloatStorage\n."),
         TOMO_E_UNSUPPORTED},
        {PICKLE("\x80\x02"
                "ctorch\nFloatStorage\n)R."),
         TOMO_E_FORMAT},
        {PICKLE("\x80\x02"
                "ctorch._utils\n_rebuild_tensor_v2\n)R."),
         TOMO_E_FORMAT},
        {PICKLE("\x80\x02"
                "ctorch._utils\n_rebuild_parameter\n)R."),
         TOMO_E_FORMAT},
        {PICKLE("\x80\x02"
                "ccollections\nOrderedDict\nK\x01\x85R."),
         TOMO_E_FORMAT},
        {PICKLE("\x80\x02"
                "i."),
         TOMO_E_UNSUPPORTED},                           /* INST */
        {PICKLE("\x80\x02)\x81."), TOMO_E_UNSUPPORTED}, /* NEWOBJ */
        {PICKLE("\x80\x01}."), TOMO_E_UNSUPPORTED},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tomo_error err = {0};
        tomo_status status = read_pickle(cases[i].bytes, cases[i].size, &err);
        if (status != cases[i].status) fail_msg("case %zu: %d %s", i, status, err.message);
    }
}

/* A list inside a list inside a list, a million deep: nothing may recurse over it. */
static void deep_nesting_is_harmless(void **state) {
    (void)state;
    size_t depth = 1000000;
    char *bytes = malloc(2 * depth + 3);
    assert_non_null(bytes);
    memcpy(bytes, "\x80\x02", 2);
    memset(bytes + 2, ']', depth);
    memset(bytes + 2 + depth, 'a', depth);
    bytes[2 * depth + 1] = '.';
    assert_int_equal(read_pickle(bytes, 2 * depth + 2, NULL), TOMO_OK);
    free(bytes);
}

/* One row of `a`, `b` and `c`: storage size, then offset, shape and stride of a matrix. */
static tomo_status view(unsigned char storage, unsigned char offset, unsigned char rows,
                        unsigned char columns, unsigned char row_stride, unsigned char column_stride) {
    unsigned char bytes[256];
    size_t at = 0;
#define ADD(text) (memcpy(bytes + at, text, sizeof(text) - 1), at += sizeof(text) - 1)
    ADD("\x80\x02"
        "ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nFloatStorage\nU\x01"
        "0U\x03"
        "cpuK");
    bytes[at++] = storage;
    ADD("tQK");
    bytes[at++] = offset;
    ADD("K");
    bytes[at++] = rows;
    ADD("K");
    bytes[at++] = columns;
    ADD("\x86K");
    bytes[at++] = row_stride;
    ADD("K");
    bytes[at++] = column_stride;
    ADD("\x86\x89NtR.");
#undef ADD
    return read_pickle((const char *)bytes, at, NULL);
}

static void views_stay_in_their_storage(void **state) {
    (void)state;
    assert_int_equal(view(12, 0, 3, 4, 4, 1), TOMO_OK);
    assert_int_equal(view(12, 0, 4, 3, 1, 4), TOMO_OK);
    assert_int_equal(view(12, 1, 3, 4, 4, 1), TOMO_E_FORMAT);
    assert_int_equal(view(11, 0, 3, 4, 4, 1), TOMO_E_FORMAT);
    assert_int_equal(view(1, 0, 255, 255, 0, 0), TOMO_OK);
    assert_int_equal(view(0, 0, 0, 4, 4, 1), TOMO_OK);
    assert_int_equal(view(0, 0, 1, 1, 1, 1), TOMO_E_FORMAT);
    assert_int_equal(view(4, 5, 0, 1, 1, 1), TOMO_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_pickles_are_refused),
        cmocka_unit_test(deep_nesting_is_harmless),
        cmocka_unit_test(views_stay_in_their_storage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
