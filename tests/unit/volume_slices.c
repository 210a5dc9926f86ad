/* volume_slices.c - settings, windows, crop, thinning, resampling, resizing, files written and read again. */
#include "base/file.h"
#include "volume/image.h"
#include "volume/resample.h"
#include "volume/write.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* [z][y][x] with a bright box in air; 1 x 1 x 5 mm. */
static tomo_volume *make_volume(int64_t z, int64_t y, int64_t x, tomo_intensity intensity) {
    const int64_t shape[3] = {z, y, x};
    tomo_affine affine = {{{-1, 0, 0, 7}, {0, -1, 0, 8}, {0, 0, 5, 9}, {0, 0, 0, 1}}};
    float *voxels = malloc((size_t)(z * y * x) * sizeof *voxels);
    assert_non_null(voxels);
    for (int64_t i = 0; i < z * y * x; i++) {
        int64_t at[3] = {i / (y * x), i / x % y, i % x};
        bool inside = at[0] >= 1 && at[1] >= 2 && at[1] < y - 1 && at[2] >= 3;
        voxels[i] = inside ? (float)(i % 97) : -1000;
    }
    tomo_volume *v = NULL;
    assert_int_equal(tomo_volume_create(voxels, shape, &affine, intensity, &v, NULL), TOMO_OK);
    return v;
}

static tomo_status parse(const char *json, tomo_slices_settings *settings, tomo_error *err) {
    cJSON *root = cJSON_Parse(json);
    assert_non_null(root);
    tomo_status status = tomo_slices_settings_parse(root, (tomo_json_at){"c.json", "volume."}, settings, err);
    cJSON_Delete(root);
    return status;
}

static void settings_that_make_no_sense_are_named(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{\"wimdows\": \"minmax\"}", "volume.wimdows"},
        {"{\"windows\": [{\"level\": 40, \"width\": 400}, {\"level\": 0, \"width\": 1}]}", "volume.windows"},
        {"{\"windows\": [{\"level\": 40, \"width\": 0}]}", "volume.windows.width"},
        {"{\"windows\": [{\"level\": 40, \"wide\": 0}]}", "volume.windows.wide"},
        {"{\"windows\": {\"percentile\": [99, 1]}}", "volume.windows.percentile"},
        {"{\"size\": [4, 8, 9]}", "volume.size"},
        {"{\"max_slices\": 0}", "volume.max_slices"},
        {"{\"spacing\": [1, 1]}", "volume.spacing"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        tomo_slices_settings s;
        tomo_error err;
        assert_int_equal(parse(bad[i][0], &s, &err), TOMO_E_HEADER);
        assert_non_null(strstr(err.message, bad[i][1]));
        assert_non_null(strstr(err.message, "c.json"));
    }
}

static void settings_are_read(void **state) {
    (void)state;
    tomo_slices_settings s;
    assert_int_equal(
        parse("{\"windows\": {\"percentile\": [1, 99]}, \"spacing\": [3, 2, 1], \"size\": null}", &s, NULL),
        TOMO_OK);
    assert_int_equal(s.kind, TOMO_WINDOW_PERCENTILE);
    assert_true(s.has_spacing && s.spacing_mm[0] == 3 && s.spacing_mm[2] == 1);
    assert_false(s.has_size);
}

static void hu_windows_are_refused_without_hu_unless_forced(void **state) {
    (void)state;
    tomo_volume *v = make_volume(4, 8, 8, TOMO_INTENSITY_ARBITRARY);
    tomo_slices_settings s = tomo_slices_defaults();
    tomo_slices *slices = NULL;
    s.kind = TOMO_WINDOW_HU;
    s.n_windows = 1;
    s.windows[0] = (tomo_window){40, 400};
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_E_UNSUPPORTED);
    assert_null(slices);
    s.force_windows = true;
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    assert_non_null(cJSON_GetObjectItem(slices->record, "windows_forced"));
    tomo_slices_free(slices);
    tomo_volume_free(v);
}

static void slices_are_cropped_thinned_and_padded(void **state) {
    (void)state;
    tomo_volume *v = make_volume(12, 10, 9, TOMO_INTENSITY_HU);
    tomo_slices_settings s = tomo_slices_defaults();
    tomo_slices *slices = NULL;
    s.crop_foreground = true;
    s.max_slices = 4;
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    /* The box is 11 x 7 x 6; slices 0, 3, 7, 10 of it (round half up), and one column of padding in all. */
    assert_int_equal(slices->slices, 4);
    assert_int_equal(slices->height, 7);
    assert_int_equal(slices->width, 7);
    const int64_t source[] = {1, 4, 8, 11};
    assert_memory_equal(slices->source_z, source, sizeof source);
    for (int64_t y = 0; y < 7; y++) assert_true(slices->values[y * 7 + 6] == 0);
    tomo_slices_free(slices);
    tomo_volume_free(v);
}

static double distance_of(const tomo_volume *v, const char *json) {
    tomo_slices_settings s;
    tomo_slices *slices = NULL;
    assert_int_equal(parse(json, &s, NULL), TOMO_OK);
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    double mm = slices->slice_mm;
    assert_true((cJSON_GetObjectItem(slices->record, "slice_mm") != NULL) == (mm > 0));
    tomo_slices_free(slices);
    return mm;
}

/* The volume has 12 slices 5 mm apart; its box of foreground has 11. */
static void the_distance_of_slices_is_known_after_every_step(void **state) {
    (void)state;
    tomo_volume *v = make_volume(12, 10, 9, TOMO_INTENSITY_HU);
    assert_true(distance_of(v, "{}") == 5);
    assert_true(fabs(distance_of(v, "{\"max_slices\": 4}") - 55.0 / 3) < 1e-12);
    assert_true(distance_of(v, "{\"max_slices\": 1}") == 5);
    assert_true(distance_of(v, "{\"size\": [6, 4, 4]}") == 10);
    assert_true(distance_of(v, "{\"size\": [22, 4, 4], \"crop_foreground\": true}") == 2.5);
    assert_true(fabs(distance_of(v, "{\"spacing\": 2.5}") - 2.5) < 1e-9);
    v->spacing_unknown = true;
    assert_true(distance_of(v, "{}") == 0);
    assert_true(distance_of(v, "{\"spacing\": 2.5}") == 0);
    tomo_volume_free(v);
}

static bool never(void *user, const char *stage, int64_t done, int64_t total) {
    (void)user;
    (void)stage;
    (void)total;
    return done < 2;
}

static void cancelling_ends_the_slicing(void **state) {
    (void)state;
    tomo_volume *v = make_volume(12, 10, 9, TOMO_INTENSITY_HU);
    tomo_hooks hooks = {.progress = never};
    for (int i = 0; i < 3; i++) {
        tomo_slices_settings s = tomo_slices_defaults();
        tomo_slices *slices = NULL;
        s.has_size = i == 1;
        memcpy(s.size, (const int64_t[]){8, 16, 16}, sizeof s.size);
        s.has_spacing = i == 2;
        for (int a = 0; a < 3; a++) s.spacing_mm[a] = 1;
        assert_int_equal(tomo_slices_make(v, &s, &hooks, &slices, NULL), TOMO_E_CANCELLED);
        assert_null(slices);
    }
    tomo_volume_free(v);
}

static void thick_slices_without_spacing_are_warned_about(void **state) {
    (void)state;
    tomo_volume *v = make_volume(6, 10, 9, TOMO_INTENSITY_HU);
    tomo_slices_settings s = tomo_slices_defaults();
    tomo_slices *slices = NULL;
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    assert_non_null(cJSON_GetObjectItem(slices->record, "warnings"));
    tomo_slices_free(slices);
    s.has_spacing = true;
    s.spacing_mm[0] = s.spacing_mm[1] = s.spacing_mm[2] = 1;
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    assert_null(cJSON_GetObjectItem(slices->record, "warnings"));
    assert_int_equal(slices->slices, 26); /* 25 mm from first to last */
    assert_int_equal(slices->source_z[12], 2);
    assert_int_equal(slices->source_z[25], 5);
    tomo_slices_free(slices);
    tomo_volume_free(v);
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void percentiles_equal_those_of_sorting(void **state) {
    (void)state;
    enum { N = 1001 };
    float values[N];
    uint32_t seed = 1;
    for (int i = 0; i < N; i++) {
        seed = seed * 1664525 + 1013904223;
        values[i] = ((float)(seed >> 8) - 8e6F) * (i % 3 == 0 ? 1e-6F : 1.0F);
    }
    const double asked[] = {0, 0.5, 33.35, 99.5, 100};
    double got[5];
    assert_int_equal(tomo_percentiles(values, N, asked, 5, got, NULL), TOMO_OK);
    qsort(values, N, sizeof *values, ascending);
    for (int i = 0; i < 5; i++) {
        double at = (N - 1) * asked[i] / 100;
        int low = (int)at, high = low < N - 1 ? low + 1 : low;
        double want = (double)values[low] + ((double)values[high] - (double)values[low]) * (at - low);
        assert_true(fabs(got[i] - want) <= 1e-9 * fabs(want));
    }
}

static void encoding_in_ranges_changes_nothing(void **state) {
    (void)state;
    tomo_volume *v = make_volume(5, 20, 20, TOMO_INTENSITY_HU);
    tomo_slices_settings s = tomo_slices_defaults();
    tomo_slices *slices = NULL;
    tomo_image_resizer *resizer = NULL;
    const float mean[3] = {0.4F, 0.5F, 0.6F}, std[3] = {0.2F, 0.3F, 0.4F};
    enum { SIZE = 14, ONE = 3 * SIZE * SIZE };
    assert_int_equal(tomo_slices_make(v, &s, NULL, &slices, NULL), TOMO_OK);
    assert_int_equal(tomo_image_resizer_create(20, 20, SIZE, SIZE, &resizer, NULL), TOMO_OK);
    float *work = malloc(tomo_image_encode_work(resizer, SIZE) * sizeof *work);
    float *whole = malloc(5 * ONE * sizeof *whole), *parts = malloc(5 * ONE * sizeof *parts);
    tomo_image_encode_slices(slices, resizer, 0, 5, SIZE, mean, std, work, whole);
    for (int64_t i = 4; i >= 0; i--) {
        tomo_image_encode_slices(slices, resizer, i, 1, SIZE, mean, std, work, parts + i * ONE);
    }
    assert_memory_equal(whole, parts, 5 * ONE * sizeof *whole);
    free(work);
    free(whole);
    free(parts);
    tomo_image_resizer_free(resizer);
    tomo_slices_free(slices);
    tomo_volume_free(v);
}

/* ------------------------------------------------------------------ files */

static void written_volume_reads_back(void **state) {
    (void)state;
    static const char *const names[] = {"v.nii", "v.nii.gz", "v.npy"};
    tomo_volume *v = make_volume(4, 6, 5, TOMO_INTENSITY_HU);
    char folder[] = "tomo-test-XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    for (int i = 0; i < 3; i++) {
        tomo_volume *back = NULL;
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        tomo_status status =
            i < 2 ? tomo_volume_write_nifti(v, path, NULL, NULL) : tomo_volume_write_npy(v, path, NULL);
        assert_int_equal(status, TOMO_OK);
        assert_int_equal(tomo_volume_open(path, NULL, &back, NULL), TOMO_OK);
        assert_memory_equal(back->shape, v->shape, sizeof v->shape);
        assert_memory_equal(back->voxels, v->voxels, 4 * 6 * 5 * sizeof(float));
        assert_int_equal(back->n_warnings, 0);
        for (int c = 0; i < 2 && c < 12; c++) {
            assert_float_equal(back->affine_ras.m[c / 4][c % 4], v->affine_ras.m[c / 4][c % 4], 1e-5);
        }
        tomo_volume_free(back);
        assert_int_equal(unlink(path), 0);
    }
    (void)snprintf(path, sizeof path, "%s/m3d.npy", folder);
    tomo_volume *m3d = NULL;
    assert_int_equal(tomo_volume_write_m3d(v, (const int64_t[]){8, 16, 16}, path, NULL, NULL), TOMO_OK);
    assert_int_equal(tomo_volume_open(path, NULL, &m3d, NULL), TOMO_OK);
    assert_int_equal(m3d->shape[0], 8);
    assert_true(m3d->minimum >= 0 && m3d->maximum <= 1);
    tomo_volume_free(m3d);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0); /* no temporary file was left */
    tomo_volume_free(v);
}

static void cancelled_pictures_leave_nothing(void **state) {
    (void)state;
    tomo_volume *v = make_volume(4, 6, 5, TOMO_INTENSITY_HU);
    tomo_hooks hooks = {.progress = never};
    char folder[] = "tomo-test-XXXXXX", path[64], inner[96];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/slices", folder);
    assert_int_equal(tomo_volume_write_png(v, path, NULL, &hooks, NULL), TOMO_E_CANCELLED);
    assert_false(tomo_path_exists(path));
    assert_int_equal(tomo_volume_write_png(v, path, NULL, NULL, NULL), TOMO_OK);
    assert_int_equal(tomo_volume_write_png(v, path, NULL, NULL, NULL), TOMO_E_IO); /* not empty any more */
    for (int z = 0; z < 4; z++) {
        (void)snprintf(inner, sizeof inner, "%s/%04d.png", path, z);
        assert_int_equal(unlink(inner), 0);
    }
    assert_int_equal(rmdir(path), 0);
    (void)snprintf(path, sizeof path, "%s/sheet.png", folder);
    const int64_t kept[] = {1, 3};
    tomo_picture_options picture = {.kept = kept, .kept_count = 2};
    assert_int_equal(tomo_contact_sheet_write(v, path, &picture, &hooks, NULL), TOMO_E_CANCELLED);
    assert_int_equal(tomo_contact_sheet_write(v, path, &picture, NULL, NULL), TOMO_OK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    tomo_volume_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_that_make_no_sense_are_named),
        cmocka_unit_test(settings_are_read),
        cmocka_unit_test(hu_windows_are_refused_without_hu_unless_forced),
        cmocka_unit_test(slices_are_cropped_thinned_and_padded),
        cmocka_unit_test(the_distance_of_slices_is_known_after_every_step),
        cmocka_unit_test(cancelling_ends_the_slicing),
        cmocka_unit_test(thick_slices_without_spacing_are_warned_about),
        cmocka_unit_test(percentiles_equal_those_of_sorting),
        cmocka_unit_test(encoding_in_ranges_changes_nothing),
        cmocka_unit_test(written_volume_reads_back),
        cmocka_unit_test(cancelled_pictures_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
