/* weights_safetensors.c - files that lie, shards that are missing, and what the writer writes. */
#include "base/file.h"
#include "weights/checkpoint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A file from its JSON header and data; `length` -1: the true length of the header. */
static size_t build(unsigned char *out, const char *header, long long length, const void *data, size_t size) {
    size_t text = strlen(header);
    unsigned long long claimed = length < 0 ? text : (unsigned long long)length;
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(claimed >> (8 * i));
    memcpy(out + 8, header, text);
    memcpy(out + 8 + text, data, size);
    return 8 + text + size;
}

static tomo_status open_text(const char *header, long long length, size_t data_size, tomo_error *err) {
    static const unsigned char data[256];
    unsigned char *file = malloc(4096); /* of its exact use, so that a sanitizer sees reads past the end */
    assert_non_null(file);
    size_t size = build(file, header, length, data, data_size);
    file = realloc(file, size);
    assert_non_null(file);
    tomo_checkpoint *c = NULL;
    tomo_status status = tomo_checkpoint_open_memory("t", file, size, &c, err);
    if (status == TOMO_OK) assert_non_null(c);
    if (status != TOMO_OK) assert_null(c);
    tomo_checkpoint_free(c);
    free(file);
    return status;
}

#define ENTRY(type, shape, begin, end)                                                                       \
    "{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"

static void headers_that_lie_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *header;
        long long length;
        size_t data;
        tomo_status status;
    } cases[] = {
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", -1, 8, TOMO_OK},
        {"{}", -1, 0, TOMO_OK},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", 1000, 8, TOMO_E_TRUNCATED},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", 1LL << 40, 8, TOMO_E_LIMIT},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", -1, 4, TOMO_E_TRUNCATED},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) "}", -1, 12, TOMO_E_FORMAT},
        {"{\"a\":" ENTRY("F32", "[3]", 0, 8) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[2]", 8, 0) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[-2]", 0, 8) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[1.5]", 0, 8) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[4294967296,4294967296]", 0, 8) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[4611686018427387904]", 0, 8) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", -1, 8, TOMO_E_LIMIT},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 1e300) "}", -1, 8, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[2]", 0, 8) ",\"b\":" ENTRY("F32", "[2]", 4, 12) "}", -1, 12, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"b\":" ENTRY("F32", "[1]", 8, 12) "}", -1, 12, TOMO_E_HEADER},
        {"{\"a\":" ENTRY("F32", "[1]", 0, 4) ",\"a\":" ENTRY("F32", "[1]", 4, 8) "}", -1, 8, TOMO_E_FORMAT},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", -1, 4, TOMO_E_HEADER},
        {"{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", -1, 4, TOMO_E_HEADER},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", -1, 4, TOMO_E_HEADER},
        {"{\"a\":7}", -1, 4, TOMO_E_HEADER},
        {"{\"a\":", -1, 4, TOMO_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tomo_error err = {0};
        tomo_status status = open_text(cases[i].header, cases[i].length, cases[i].data, &err);
        if (status != cases[i].status) fail_msg("case %zu: %s", i, err.message);
        if (status != TOMO_OK) assert_memory_equal(err.message, "t: ", 3);
    }
}

static void huge_counts_are_refused(void **state) {
    (void)state;
    size_t entries = TOMO_LIMIT_TENSORS + 1, capacity = entries * 64, at = 9;
    char *file = malloc(capacity);
    assert_non_null(file);
    file[8] = '{';
    for (size_t i = 0; i < entries; i++) {
        at += (size_t)snprintf(file + at, capacity - at, "%s\"%zu\":" ENTRY("F32", "[0]", 0, 0),
                               i == 0 ? "" : ",", i);
    }
    file[at++] = '}';
    for (int i = 0; i < 8; i++) file[i] = (char)((at - 8) >> (8 * i));
    tomo_checkpoint *c = NULL;
    assert_int_equal(tomo_checkpoint_open_memory("t", file, at, &c, NULL), TOMO_E_LIMIT);
    free(file);
}

static void unknown_type_is_refused_when_asked_for(void **state) {
    (void)state;
    unsigned char file[512];
    size_t size = build(file, "{\"a\":" ENTRY("F8_E4M3", "[2]", 0, 2) ",\"b\":" ENTRY("U8", "[2]", 2, 4) "}",
                        -1, "\1\2\3\4", 4);
    tomo_checkpoint *c = NULL;
    tomo_error err = {0};
    const tomo_stored *t = NULL;
    assert_int_equal(tomo_checkpoint_open_memory("t", file, size, &c, &err), TOMO_OK);
    assert_int_equal(tomo_checkpoint_count(c), 1);
    assert_int_equal(tomo_checkpoint_need(c, "b", &t, &err), TOMO_OK);
    assert_memory_equal(t->data, "\3\4", 2);
    assert_int_equal(tomo_checkpoint_need(c, "a", &t, &err), TOMO_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "F8_E4M3"));
    assert_int_equal(tomo_checkpoint_need(c, "none", &t, &err), TOMO_E_HEADER);
    assert_string_equal(err.message, "t: tensor \"none\" is missing");
    tomo_checkpoint_free(c);
}

static void misaligned_tensor_is_copied(void **state) {
    (void)state;
    _Alignas(8) unsigned char file[512];
    const float values[2] = {1.5f, -2.25f};
    unsigned char data[9] = {7};
    memcpy(data + 1, values, sizeof values);
    size_t size = build(file, "{\"a\":" ENTRY("U8", "[1]", 0, 1) ",\"b\":" ENTRY("F32", "[2]", 1, 9) "}  ",
                        -1, data, sizeof data);
    tomo_checkpoint *c = NULL;
    assert_int_equal(tomo_checkpoint_open_memory("t", file, size, &c, NULL), TOMO_OK);
    const tomo_stored *b = tomo_checkpoint_find(c, "b");
    assert_non_null(b);
    assert_int_equal((uintptr_t)b->data % 4, 0);
    assert_memory_equal(b->data, values, sizeof values);
    tomo_checkpoint_free(c);
}

static void writer_round_trip(void **state) {
    (void)state;
    char folder[] = "tomo-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    const float f[6] = {1, 2, 3, 4, 5, 6};
    const int64_t n[1] = {-7};
    const unsigned char flag[3] = {1, 0, 1};
    const tomo_stored tensors[] = {
        {.name = "flag \"q\" \\ \n", .dtype = TOMO_BOOL, .rank = 1, .shape = {3}, .count = 3, .data = flag},
        {.name = "weight", .dtype = TOMO_F32, .rank = 2, .shape = {2, 3}, .count = 6, .data = f},
        {.name = "empty", .dtype = TOMO_F16, .rank = 2, .shape = {0, 4}, .count = 0, .data = NULL},
        {.name = "scalar", .dtype = TOMO_I64, .rank = 0, .count = 1, .data = n},
    };
    const char *metadata[] = {"format", "pt", "note", "a \"b\"", NULL};
    assert_int_equal(tomo_safetensors_write(path, tensors, 4, metadata, NULL), TOMO_OK);
    tomo_checkpoint *c = NULL;
    assert_int_equal(tomo_checkpoint_open(folder, &c, NULL), TOMO_OK);
    assert_int_equal(tomo_checkpoint_count(c), 4);
    for (size_t i = 0; i < 4; i++) {
        const tomo_stored *t = tomo_checkpoint_find(c, tensors[i].name);
        assert_non_null(t);
        assert_int_equal(t->dtype, tensors[i].dtype);
        assert_int_equal(t->rank, tensors[i].rank);
        assert_int_equal(t->count, tensors[i].count);
        size_t width = tomo_dtype_size(t->dtype);
        if (t->count > 0) assert_memory_equal(t->data, tensors[i].data, (size_t)t->count * width);
        assert_int_equal((uintptr_t)t->data % width, 0);
    }
    tomo_checkpoint_free(c);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void released_tensor_reads_the_same(void **state) {
    (void)state;
    char folder[] = "tomo-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/model.safetensors", folder);
    const int64_t count = 50000;
    int32_t *numbers = calloc((size_t)count, sizeof *numbers);
    assert_non_null(numbers);
    for (int32_t i = 0; i < count; i++) numbers[i] = i * 7;
    const tomo_stored t = {
        .name = "n", .dtype = TOMO_I32, .rank = 1, .shape = {count}, .count = count, .data = numbers};
    assert_int_equal(tomo_safetensors_write(path, &t, 1, NULL, NULL), TOMO_OK);
    tomo_checkpoint *c = NULL;
    assert_int_equal(tomo_checkpoint_open(path, &c, NULL), TOMO_OK);
    tomo_checkpoint_release(c, tomo_checkpoint_at(c, 0));
    assert_memory_equal(tomo_checkpoint_at(c, 0)->data, numbers, (size_t)count * sizeof *numbers);
    tomo_checkpoint_free(c);
    free(numbers);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
}

static void writer_refuses_a_name_twice(void **state) {
    (void)state;
    const float f[1] = {1};
    const tomo_stored t = {.name = "a", .dtype = TOMO_F32, .rank = 0, .count = 1, .data = f};
    const tomo_stored two[2] = {t, t};
    assert_int_equal(tomo_safetensors_write("/dev/null", two, 2, NULL, NULL), TOMO_E_USAGE);
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static void shards_that_lie_are_refused(void **state) {
    (void)state;
    char folder[] = "tomo-test-XXXXXX", shard[64], index[64];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(shard, sizeof shard, "%s/one.safetensors", folder);
    (void)snprintf(index, sizeof index, "%s/model.safetensors.index.json", folder);
    const float f[2] = {1, 2};
    const tomo_stored tensors[] = {{.name = "a", .dtype = TOMO_F32, .count = 1, .data = f},
                                   {.name = "b", .dtype = TOMO_F32, .count = 1, .data = f + 1}};
    assert_int_equal(tomo_safetensors_write(shard, tensors, 2, NULL, NULL), TOMO_OK);
    static const struct {
        const char *map;
        tomo_status status;
    } cases[] = {
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"b\":\"one.safetensors\"}}", TOMO_OK},
        {"{\"weight_map\":{\"a\":\"one.safetensors\"}}", TOMO_OK},
        {"{\"weight_map\":{\"a\":\"one.safetensors\",\"c\":\"one.safetensors\"}}", TOMO_E_HEADER},
        {"{\"weight_map\":{\"a\":\"two.safetensors\"}}", TOMO_E_IO},
        {"{\"weight_map\":{\"a\":\"../one.safetensors\"}}", TOMO_E_HEADER},
        {"{\"weight_map\":{\"a\":\"..\"}}", TOMO_E_HEADER},
        {"{\"weight_map\":{\"a\":1}}", TOMO_E_HEADER},
        {"{\"weight_map\":{}}", TOMO_E_HEADER},
        {"{}", TOMO_E_HEADER},
        {"[", TOMO_E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tomo_error err = {0};
        tomo_checkpoint *c = NULL;
        write_text(index, cases[i].map);
        tomo_status status = tomo_checkpoint_open(folder, &c, &err);
        if (status != cases[i].status) fail_msg("case %zu: %s", i, err.message);
        if (i < 2) assert_int_equal(tomo_checkpoint_count(c), 2 - i);
        tomo_checkpoint_free(c);
    }
    assert_int_equal(truncate(shard, 100), 0);
    write_text(index, cases[0].map);
    tomo_checkpoint *c = NULL;
    assert_int_equal(tomo_checkpoint_open(folder, &c, NULL), TOMO_E_TRUNCATED);
    assert_int_equal(unlink(shard), 0);
    assert_int_equal(unlink(index), 0);
    assert_int_equal(tomo_checkpoint_open(folder, &c, NULL), TOMO_E_IO);
    assert_int_equal(rmdir(folder), 0);
}

static void what_is_no_checkpoint_is_named(void **state) {
    (void)state;
    tomo_checkpoint *c = NULL;
    tomo_error err = {0};
    const char *pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    assert_int_equal(tomo_checkpoint_open_memory("t", pointer, strlen(pointer), &c, &err), TOMO_E_FORMAT);
    assert_non_null(strstr(err.message, "Git LFS"));
    assert_int_equal(tomo_checkpoint_open_memory("t", "", 0, &c, &err), TOMO_E_TRUNCATED);
    assert_int_equal(tomo_checkpoint_open_memory("t", "GGUF....", 8, &c, &err), TOMO_E_UNSUPPORTED);
    assert_int_equal(tomo_checkpoint_open_memory("t", "hello, world", 12, &c, &err), TOMO_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(headers_that_lie_are_refused),
        cmocka_unit_test(huge_counts_are_refused),
        cmocka_unit_test(unknown_type_is_refused_when_asked_for),
        cmocka_unit_test(misaligned_tensor_is_copied),
        cmocka_unit_test(writer_round_trip),
        cmocka_unit_test(released_tensor_reads_the_same),
        cmocka_unit_test(writer_refuses_a_name_twice),
        cmocka_unit_test(shards_that_lie_are_refused),
        cmocka_unit_test(what_is_no_checkpoint_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
