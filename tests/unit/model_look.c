/* model_look.c - dropping slices before they are encoded: the measure, the walk that skips, and the tuning.
 */
#include "base/random.h"
#include "fusion/prune.h"
#include "fusion/run_search.h"
#include "model/look.h"
#include "model/session.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/pipeline/ct-windows/model"
#define SCAN TOMO_TEST_DIR "/data/ts_ct/example_ct.nii.gz"

/* One patch of four by four brightens by 0.5 in all three channels; the others stay. */
static void a_difference_is_that_of_the_patches_that_change_most(void **state) {
    (void)state;
    tomo_look look, second;
    float pixels[3 * 8 * 8] = {0};
    const float std[3] = {0.5f, 0.25f, 1};
    assert_int_equal(tomo_look_init(&look, 8, 4, 1, std, NULL), TOMO_OK);
    assert_int_equal(tomo_look_init(&second, 8, 4, 2, std, NULL), TOMO_OK);
    tomo_look_keep(&look, pixels);
    tomo_look_keep(&second, pixels);
    for (int c = 0; c < 3; c++) {
        for (int y = 4; y < 8; y++) {
            for (int x = 0; x < 4; x++) pixels[(c * 8 + y) * 8 + x] = 0.5f / std[c];
        }
    }
    assert_true(fabsf(tomo_look_difference(&look, pixels) - 0.5f) < 1e-6f);
    assert_true(tomo_look_difference(&second, pixels) == 0);
    tomo_look_keep(&look, pixels);
    assert_true(tomo_look_difference(&look, pixels) == 0);
    tomo_look_free(&look);
    tomo_look_free(&second);
}

static void a_skipped_slice_counts_as_the_kept_one_before_it(void **state) {
    (void)state;
    tomo_prune_settings settings = {.threshold = 0.99, .min_slices = 3, .max_slices = 8};
    tomo_pruner *pruner = NULL;
    tomo_prune_result result = {0};
    const float a[2] = {1, 0}, b[2] = {0, 1}, almost_b[2] = {0.01f, 1};
    bool kept;
    assert_int_equal(tomo_pruner_create(&settings, 1, 2, &pruner, NULL), TOMO_OK);
    assert_int_equal(tomo_pruner_push(pruner, a, NULL, &kept, NULL), TOMO_OK);
    assert_int_equal(tomo_pruner_skip(pruner, TOMO_SLICE_EARLY, NULL), TOMO_OK);
    assert_int_equal(tomo_pruner_push(pruner, b, NULL, &kept, NULL), TOMO_OK);
    assert_true(kept);
    assert_int_equal(tomo_pruner_push(pruner, almost_b, NULL, &kept, NULL), TOMO_OK);
    assert_false(kept);
    assert_int_equal(tomo_pruner_finish(pruner, &result, NULL), TOMO_OK);
    /* Restored to three: the one that was looked at and differs a little, not the one that counts as equal.
     */
    assert_int_equal(result.count, 3);
    assert_int_equal(result.kept[2], 3);
    assert_int_equal(result.fate[1], TOMO_SLICE_EARLY);
    tomo_prune_free(&result);
    tomo_pruner_free(pruner);
}

static void copy(const char *from, const char *to) {
    char command[1024];
    (void)snprintf(command, sizeof command, "cp -r '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

/* Slices whose likeness to a kept one is a whole number of steps: at `limit` they differ, below it they are
 * nearly alike from `limit - doubt` on. */
static tomo_likeness likeness(int64_t difference, int64_t limit, int64_t doubt) {
    if (difference >= limit) return TOMO_LIKENESS_DIFFERS;
    return difference >= limit - doubt ? TOMO_LIKENESS_NEARLY : TOMO_LIKENESS_ALIKE;
}

/* Slices stand at places along a line; the first of each run that is `limit` away from the kept one ends it.
 * Returns how many were looked at. */
static int64_t search_all(const int64_t *places, int64_t slices, int64_t limit, int64_t doubt) {
    bool *looked = calloc((size_t)slices, sizeof *looked);
    tomo_run_search search = tomo_run_search_start(slices);
    int64_t looks = 0;
    assert_non_null(looked);
    do {
        int64_t kept = search.kept, end = kept + 1;
        while (end < slices && places[end] - places[kept] < limit) end++;
        for (int64_t s = kept + 1; s < slices; s++) {
            if (looked[s]) tomo_run_search_tell(&search, s, likeness(places[s] - places[kept], limit, doubt));
        }
        for (int64_t s; (s = tomo_run_search_next(&search)) >= 0;) {
            assert_true(s > kept && s < slices);
            looks += !looked[s];
            looked[s] = true;
            tomo_run_search_tell(&search, s, likeness(places[s] - places[kept], limit, doubt));
        }
        assert_int_equal(search.differs, end);
    } while (tomo_run_search_next_run(&search));
    free(looked);
    return looks;
}

/* Where slices differ the more, the further they are apart, each run ends where it would for one who looks at
 * every slice, with fewer looks when runs are long. With a margin more slices are looked at. */
static void a_search_finds_the_end_of_every_run(void **state) {
    (void)state;
    enum { SLICES = 400 };
    tomo_random random = tomo_random_seed(5);
    for (int64_t limit = 1; limit <= 200; limit += limit < 20 ? 1 : 20) {
        int64_t places[SLICES] = {0}, looks[3];
        for (int i = 1; i < SLICES; i++) places[i] = places[i - 1] + (int64_t)tomo_random_below(&random, 11);
        for (int i = 0; i < 3; i++) looks[i] = search_all(places, SLICES, limit, limit * i / 4);
        assert_true(looks[0] < SLICES);
        if (limit >= 100) assert_true(looks[0] < SLICES / 2 && looks[0] < looks[1] && looks[1] < looks[2]);
    }
}

/* A slice that nearly differs does not vouch for those before it. */
static void a_search_looks_before_a_slice_that_nearly_differs(void **state) {
    (void)state;
    tomo_run_search search = tomo_run_search_start(9);
    assert_int_equal(tomo_run_search_next(&search), 4);
    tomo_run_search_tell(&search, 4, TOMO_LIKENESS_NEARLY);
    assert_int_equal(tomo_run_search_next(&search), 2);
    tomo_run_search_tell(&search, 2, TOMO_LIKENESS_ALIKE);
    assert_int_equal(tomo_run_search_next(&search), 3);
    tomo_run_search_tell(&search, 3, TOMO_LIKENESS_DIFFERS);
    assert_int_equal(tomo_run_search_next(&search), -1);
    assert_int_equal(search.differs, 3);
}

static void read_with(const char *folder, tomo_slice_fate fate, size_t *kept, int64_t *early) {
    tomo_context *context = NULL;
    tomo_scan *scan = NULL;
    tomo_model *model = NULL;
    tomo_session *session = NULL;
    assert_int_equal(tomo_context_create(NULL, &context, NULL), TOMO_OK);
    assert_int_equal(tomo_scan_open(context, SCAN, NULL, &scan, NULL), TOMO_OK);
    assert_int_equal(tomo_model_open(context, folder, NULL, &model, NULL), TOMO_OK);
    assert_int_equal(tomo_session_create(model, &session, NULL), TOMO_OK);
    assert_int_equal(tomo_session_read_scan(session, scan, NULL, NULL), TOMO_OK);
    (void)tomo_session_kept_slices(session, kept);
    *early = 0;
    const tomo_prune_result *p = &session->reading.prune;
    for (int64_t s = 0; s < p->slices; s++) *early += p->fate[s] == fate;
    tomo_session_free(session);
    tomo_model_free(model);
    tomo_scan_free(scan);
    tomo_context_free(context);
}

/* Makes a model drop more slices, so that there are runs to search. */
static void loosen(const char *folder) {
    char command[512];
    (void)snprintf(command, sizeof command,
                   "sed -i -E 's/(\"threshold\":)[[:space:]]*[0-9.]+/\\1 0.9/; "
                   "s/(\"patches\":)[[:space:]]*[0-9]+/\\1 1000/' "
                   "'%s/config.json'",
                   folder);
    assert_int_equal(system(command), 0);
}

static tomo_status open_status(const char *folder) {
    tomo_context *context = NULL;
    tomo_model *model = NULL;
    assert_int_equal(tomo_context_create(NULL, &context, NULL), TOMO_OK);
    tomo_status status = tomo_model_open(context, folder, NULL, &model, NULL);
    tomo_model_free(model);
    tomo_context_free(context);
    return status;
}

/* The value is written into a copy of the model; a value beyond every difference keeps the first slice and
 * what is restored, and encodes nothing else. */
static void the_setting_is_obeyed_and_can_be_taken_back(void **state) {
    (void)state;
    char folder[] = "/tmp/tomo-look-XXXXXX", model[64];
    size_t kept, full;
    int64_t early;
    assert_non_null(mkdtemp(folder));
    (void)snprintf(model, sizeof model, "%s/model", folder);
    copy(MODEL, model);
    read_with(model, TOMO_SLICE_EARLY, &full, &early);
    assert_int_equal(early, 0);
    assert_int_equal(tomo_model_set_pruning(model, 1, -1, NULL), TOMO_OK);
    read_with(model, TOMO_SLICE_EARLY, &kept, &early);
    assert_true(early > 0 && kept <= full);
    assert_int_equal(tomo_model_set_pruning(model, 0, -1, NULL), TOMO_OK);
    read_with(model, TOMO_SLICE_EARLY, &kept, &early);
    assert_int_equal(early, 0);
    assert_int_equal(kept, full);
    assert_int_equal(tomo_model_set_pruning(model, 0, 0, NULL), TOMO_OK);
    loosen(model);
    read_with(model, TOMO_SLICE_BETWEEN, &kept, &early);
    assert_true(early > 0);
    assert_int_equal(tomo_model_set_pruning(model, 0.1, 0, NULL), TOMO_OK);
    assert_int_equal(open_status(model), TOMO_E_HEADER);
    char command[128];
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

static void tuning_tells_what_each_value_would_do(void **state) {
    (void)state;
    tomo_context *context = NULL;
    tomo_model *model = NULL;
    const char *path = SCAN;
    char *json = NULL;
    assert_int_equal(tomo_context_create(NULL, &context, NULL), TOMO_OK);
    assert_int_equal(tomo_model_open(context, MODEL, NULL, &model, NULL), TOMO_OK);
    assert_int_equal(tomo_model_tune_prune(model, &path, 1, NULL, NULL, 0.95, &json, NULL), TOMO_OK);
    cJSON *tree = cJSON_Parse(json), *item;
    double skipped = 0;
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(tree, "candidates")) {
        double share = cJSON_GetObjectItem(item, "skipped")->valuedouble;
        double agreement = cJSON_GetObjectItem(item, "agreement")->valuedouble;
        assert_true(share >= 0 && share <= 1 && agreement >= 0 && agreement <= 1);
        if (share == 0) assert_true(agreement == 1);
        skipped = share;
    }
    assert_true(skipped > 0.5); /* the largest value lets hardly any slice through */
    assert_true(cJSON_GetObjectItem(tree, "agreement")->valuedouble >= 0.95);
    cJSON_ArrayForEach(item, cJSON_GetObjectItem(tree, "searched")) {
        double share = cJSON_GetObjectItem(item, "skipped")->valuedouble;
        double agreement = cJSON_GetObjectItem(item, "agreement")->valuedouble;
        assert_true(share >= 0 && share < 1 && agreement >= 0 && agreement <= 1);
    }
    cJSON_Delete(tree);
    tomo_free(json);
    assert_int_equal(tomo_model_tune_prune(model, &path, 1, NULL, NULL, 2, &json, NULL), TOMO_E_USAGE);
    assert_null(json);
    tomo_model_free(model);
    tomo_context_free(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_difference_is_that_of_the_patches_that_change_most),
        cmocka_unit_test(a_skipped_slice_counts_as_the_kept_one_before_it),
        cmocka_unit_test(a_search_finds_the_end_of_every_run),
        cmocka_unit_test(a_search_looks_before_a_slice_that_nearly_differs),
        cmocka_unit_test(the_setting_is_obeyed_and_can_be_taken_back),
        cmocka_unit_test(tuning_tells_what_each_value_would_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
