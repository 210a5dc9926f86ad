/* train_features.c - the feature cache: the same features from disk, damage noticed, a limit kept, many
 * threads and processes at once */
#include "base/file.h"
#include "train/feature_cache.h"
#include "train/feature_store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/pipeline/ct-windows/model"
#define SCAN TOMO_TEST_DIR "/data/ts_ct/example_ct_sm.nii.gz"

typedef struct fixture {
    char folder[64];
    tomo_context *context;
    tomo_model *model;
    tomo_exec exec;
    tomo_feature_cache *cache;
} fixture;

static fixture open_all(int64_t limit) {
    fixture f = {.folder = "/tmp/tomo_features_XXXXXX"};
    tomo_context_options one = {.threads = 1};
    assert_non_null(mkdtemp(f.folder));
    assert_int_equal(tomo_context_create(&one, &f.context, NULL), TOMO_OK);
    assert_int_equal(tomo_model_open(f.context, MODEL, NULL, &f.model, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&f.exec, f.context->kernels, f.context->pool, NULL, 0, NULL), TOMO_OK);
    assert_int_equal(tomo_feature_cache_open(f.folder, limit, f.model, NULL, &f.cache, NULL), TOMO_OK);
    return f;
}

static void close_all(fixture *f) {
    char command[128];
    tomo_feature_cache_free(f->cache);
    tomo_exec_release(&f->exec);
    tomo_model_free(f->model);
    tomo_context_free(f->context);
    (void)snprintf(command, sizeof command, "rm -rf %s", f->folder);
    assert_int_equal(system(command), 0);
}

static tomo_features get(fixture *f, const tomo_augmentation *augmentation) {
    tomo_features features = {0};
    tomo_error err = {0};
    tomo_feature_cache *cache = augmentation == NULL ? f->cache : NULL;
    if (tomo_features_get(cache, f->model, &f->exec, SCAN, NULL, augmentation, &features, &err) != TOMO_OK) {
        fail_msg("%s", err.message);
    }
    return features;
}

static void assert_equal(const tomo_features *a, const tomo_features *b) {
    int64_t count = 0, other = 0;
    assert_true(tomo_features_count(a, &count) && tomo_features_count(b, &other));
    assert_int_equal(count, other);
    assert_int_equal(a->slices, b->slices);
    assert_true(a->slice_mm == b->slice_mm && a->slice_mm > 0);
    assert_memory_equal(a->kept, b->kept, (size_t)a->kept_count * sizeof *a->kept);
    assert_memory_equal(a->kept_z, b->kept_z, (size_t)a->kept_count * sizeof *a->kept_z);
    assert_memory_equal(a->values, b->values, (size_t)count * sizeof *a->values);
}

/* The path of the only entry; freed by free. */
static char *find_entry(const fixture *f) {
    char command[160], path[256] = "";
    (void)snprintf(command, sizeof command, "find %s -name '*.features'", f->folder);
    FILE *out = popen(command, "r");
    assert_non_null(out);
    assert_non_null(fgets(path, sizeof path, out));
    (void)pclose(out);
    path[strcspn(path, "\n")] = '\0';
    return strdup(path);
}

static void what_was_kept_equals_what_was_computed(void **state) {
    (void)state;
    fixture f = open_all(0);
    tomo_features computed = get(&f, NULL), kept = get(&f, NULL);
    tomo_feature_counts counts = tomo_feature_cache_counts(f.cache);
    assert_int_equal(counts.misses, 1);
    assert_int_equal(counts.hits, 1);
    assert_equal(&computed, &kept);
    assert_true(computed.kept_count <= computed.slices);
    /* Without a cache nothing is rounded: each value is within half a unit of bfloat16's 8 bits. */
    tomo_augmentation none = {0};
    tomo_features exact = get(&f, &none);
    int64_t count = 0;
    (void)tomo_features_count(&exact, &count);
    bool differs = false;
    for (int64_t i = 0; i < count; i++) {
        double distance = (double)kept.values[i] - (double)exact.values[i], size = (double)exact.values[i];
        assert_true(distance * distance <= size * size / 256 / 256);
        differs = differs || distance != 0;
    }
    assert_true(differs);
    tomo_features_free(&computed);
    tomo_features_free(&kept);
    tomo_features_free(&exact);
    close_all(&f);
}

static void an_augmentation_changes_features_and_keeps_none(void **state) {
    (void)state;
    fixture f = open_all(0);
    tomo_augmentation flip = {.flip = {false, false, true}}, none = {0};
    tomo_features plain = get(&f, &none), flipped = get(&f, &flip);
    assert_memory_not_equal(plain.values, flipped.values, 64 * sizeof(float));
    assert_int_equal(tomo_feature_cache_counts(f.cache).misses, 0);
    assert_int_equal(tomo_features_get(f.cache, f.model, &f.exec, SCAN, NULL, &flip, &plain, NULL),
                     TOMO_E_USAGE);
    tomo_features_free(&plain);
    tomo_features_free(&flipped);
    close_all(&f);
}

static void damage_anywhere_is_noticed_and_mended(void **state) {
    (void)state;
    fixture f = open_all(0);
    tomo_features first = get(&f, NULL);
    char *path = find_entry(&f);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    const off_t places[] = {0, 9, 60, info.st_size / 2, info.st_size - 1};
    size_t count = sizeof places / sizeof places[0];
    for (size_t i = 0; i <= count; i++) {
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        if (i < count) {
            assert_int_equal(fseek(file, places[i], SEEK_SET), 0);
            int byte = fgetc(file);
            assert_int_equal(fseek(file, places[i], SEEK_SET), 0);
            (void)fputc(byte ^ 0x10, file);
        } else {
            assert_int_equal(ftruncate(fileno(file), info.st_size - 100), 0);
        }
        assert_int_equal(fclose(file), 0);
        tomo_features again = get(&f, NULL);
        assert_equal(&first, &again);
        assert_int_equal(tomo_feature_cache_counts(f.cache).damaged, i + 1);
        tomo_features_free(&again);
    }
    tomo_features_free(&first);
    free(path);
    close_all(&f);
}

/* ------------------------------------------------------------------------------ the store alone */

enum { WIDTH = 1000, ENTRY = 8 + 7 * 8 + 2 * 8 + WIDTH * 2 + 32 };

static void put(tomo_feature_store *s, int number, int64_t *evicted) {
    int64_t kept = 0, kept_z = 5;
    uint16_t values[WIDTH];
    char key[TOMO_DIGEST_TEXT];
    tomo_features f = {1, 1, {1, 1}, WIDTH, 3, 2.5, &kept, &kept_z, NULL, NULL};
    for (int i = 0; i < WIDTH; i++) values[i] = (uint16_t)(number * 7 + i);
    (void)snprintf(key, sizeof key, "%064x", (unsigned)number);
    key[0] = (char)('a' + number % 6);
    assert_int_equal(tomo_feature_store_put(s, key, &f, values, evicted, NULL), TOMO_OK);
}

static tomo_lookup look(tomo_feature_store *s, int number) {
    char key[TOMO_DIGEST_TEXT];
    tomo_features f = {0};
    tomo_lookup found = TOMO_LOOKUP_MISS;
    (void)snprintf(key, sizeof key, "%064x", (unsigned)number);
    key[0] = (char)('a' + number % 6);
    assert_int_equal(tomo_feature_store_get(s, key, &f, &found, NULL), TOMO_OK);
    tomo_features_free(&f);
    return found;
}

static void pause_briefly(void) {
    (void)nanosleep(&(struct timespec){0, 20000000}, NULL); /* so that times of use differ */
}

static void the_least_recently_used_go_first(void **state) {
    (void)state;
    fixture f = open_all(0);
    tomo_feature_store *s = NULL;
    int64_t evicted = 0;
    assert_int_equal(tomo_feature_store_open(f.folder, 10 * ENTRY, &s, NULL), TOMO_OK);
    for (int i = 0; i < 10; i++, pause_briefly()) put(s, i, &evicted);
    assert_int_equal(evicted, 0);
    assert_int_equal(look(s, 0), TOMO_LOOKUP_HIT);
    pause_briefly();
    put(s, 10, &evicted); /* 11 entries: down to 9 */
    assert_int_equal(evicted, 2);
    assert_int_equal(look(s, 0), TOMO_LOOKUP_HIT);
    assert_int_equal(look(s, 1), TOMO_LOOKUP_MISS);
    assert_int_equal(look(s, 2), TOMO_LOOKUP_MISS);
    assert_int_equal(look(s, 3), TOMO_LOOKUP_HIT);
    tomo_feature_store_free(s);
    close_all(&f);
}

static void work_in_store(const char *folder, int which) {
    tomo_feature_store *s = NULL;
    int64_t evicted = 0;
    assert_int_equal(tomo_feature_store_open(folder, 20 * ENTRY, &s, NULL), TOMO_OK);
    for (int i = 0; i < 60; i++) {
        put(s, (i * 13 + which * 5) % 40, &evicted);
        assert_int_not_equal(look(s, (i * 7 + which) % 40), TOMO_LOOKUP_DAMAGED);
    }
    tomo_feature_store_free(s);
}

static void several_processes_share_a_folder(void **state) {
    (void)state;
    fixture f = open_all(0);
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            work_in_store(f.folder, i);
            _exit(0);
        }
    }
    for (int i = 0; i < 4; i++) {
        int status = -1;
        assert_int_equal(waitpid(children[i], &status, 0), children[i]);
        assert_int_equal(status, 0);
    }
    tomo_feature_store *s = NULL;
    assert_int_equal(tomo_feature_store_open(f.folder, 20 * ENTRY, &s, NULL), TOMO_OK);
    size_t hits = 0;
    for (int i = 0; i < 40; i++) hits += look(s, i) == TOMO_LOOKUP_HIT;
    assert_in_range(hits, 1, 20);
    tomo_feature_store_free(s);
    close_all(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_kept_equals_what_was_computed),
        cmocka_unit_test(an_augmentation_changes_features_and_keeps_none),
        cmocka_unit_test(damage_anywhere_is_noticed_and_mended),
        cmocka_unit_test(the_least_recently_used_go_first),
        cmocka_unit_test(several_processes_share_a_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
