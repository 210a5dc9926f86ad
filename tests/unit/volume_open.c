/* volume_open.c - reading scans: equivalent inputs give one volume, limits and cancelling end the reading,
 * nothing of the patient leaks. */
#include "base/file.h"
#include "base/folder.h"
#include "support/parity.h"
#include "volume/volume.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zip.h>
#include <zlib.h>

#include <cmocka.h>

#define SERIES TOMO_TEST_DIR "/reference/volume/dicom_shuffled/input/series"
#define COMPRESSED TOMO_TEST_DIR "/reference/volume/dicom_transfer_syntaxes/input/j2k"

/* A NIfTI-1 file of 3 x 4 x 5 int16 with the given sform, in `bytes` (352 + 120). */
#define NIFTI_BYTES (352 + 120)
static void make_nifti(const int16_t voxels[60], const float affine[12], unsigned char bytes[NIFTI_BYTES]) {
    const int32_t size = 348;
    const int16_t dim[8] = {3, 3, 4, 5, 1, 1, 1, 1}, type[2] = {4, 16}, code = 1;
    const float offset = 352, slope = 1;
    memset(bytes, 0, NIFTI_BYTES);
    memcpy(bytes, &size, 4);
    memcpy(bytes + 40, dim, sizeof dim);
    memcpy(bytes + 70, type, sizeof type);
    memcpy(bytes + 108, &offset, 4);
    memcpy(bytes + 112, &slope, 4);
    memcpy(bytes + 254, &code, 2);
    memcpy(bytes + 280, affine, 48);
    memcpy(bytes + 344, "n+1", 4);
    memcpy(bytes + 352, voxels, 120);
}

static tomo_volume *open_bytes(const unsigned char *bytes, size_t size) {
    tomo_volume *v = NULL;
    assert_int_equal(tomo_volume_open_memory("x.nii", bytes, size, NULL, &v, NULL), TOMO_OK);
    return v;
}

static void assert_same_volume(const tomo_volume *a, const tomo_volume *b) {
    assert_memory_equal(a->shape, b->shape, sizeof a->shape);
    assert_memory_equal(a->voxels, b->voxels,
                        (size_t)(a->shape[0] * a->shape[1] * a->shape[2]) * sizeof(float));
    for (int i = 0; i < 16; i++) {
        assert_float_equal(a->affine_ras.m[i / 4][i % 4], b->affine_ras.m[i / 4][i % 4], 1e-4);
    }
}

static void flipped_axis_gives_the_same_volume(void **state) {
    (void)state;
    unsigned char bytes[NIFTI_BYTES];
    int16_t plain[60], flipped[60];
    for (int i = 0; i < 60; i++) {
        plain[i] = (int16_t)(i * i - 100);
        flipped[i / 3 * 3 + 2 - i % 3] = plain[i];
    }
    make_nifti(plain, (const float[]){2, 0, 0, 10, 0, 3, 0, 20, 0, 0, 4, 30}, bytes);
    tomo_volume *a = open_bytes(bytes, sizeof bytes);
    make_nifti(flipped, (const float[]){-2, 0, 0, 14, 0, 3, 0, 20, 0, 0, 4, 30}, bytes);
    tomo_volume *b = open_bytes(bytes, sizeof bytes);
    assert_same_volume(a, b);
    assert_float_equal(a->spacing_mm[0], 4, 1e-6);
    assert_float_equal(a->spacing_mm[2], 2, 1e-6);
    assert_int_equal(a->intensity, TOMO_INTENSITY_ARBITRARY);
    tomo_volume_free(a);
    tomo_volume_free(b);
}

static void air_makes_a_file_without_modality_hu(void **state) {
    (void)state;
    unsigned char bytes[NIFTI_BYTES];
    int16_t voxels[60] = {-1000, 40};
    make_nifti(voxels, (const float[]){1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0}, bytes);
    tomo_volume *v = open_bytes(bytes, sizeof bytes);
    assert_int_equal(v->intensity, TOMO_INTENSITY_HU);
    tomo_volume_free(v);
}

/* ------------------------------------------------------------------ DICOM folders and zips */

/* Calls `use` for each file of SERIES, in the order of the folder. */
static int each_slice(void (*use)(void *user, int i, char *bytes, size_t size), void *user) {
    int n = 0;
    for (int i = 0; i < 1000; i++) {
        char path[4096];
        char *bytes = NULL;
        size_t size = 0;
        (void)snprintf(path, sizeof path, "%s/IM%04d.dcm", SERIES, i);
        if (!tomo_path_exists(path)) break;
        assert_int_equal(tomo_file_read(path, 1 << 24, &bytes, &size, NULL), TOMO_OK);
        use(user, i, bytes, size);
        n++;
    }
    return n;
}

/* Writes a slice under a name that says nothing, in one of two sub-folders. */
static void write_renamed(void *user, int i, char *bytes, size_t size) {
    char path[256];
    (void)snprintf(path, sizeof path, "%s/%s/z%d", (const char *)user, i % 2 ? "a" : "b", i * 7919 % 1000);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(bytes);
}

static void remove_renamed(const char *folder) {
    for (int i = 0; i < 1000; i++) {
        char path[256];
        (void)snprintf(path, sizeof path, "%s/%s/z%d", folder, i % 2 ? "a" : "b", i * 7919 % 1000);
        (void)unlink(path);
    }
}

static void add_to_zip(void *user, int i, char *bytes, size_t size) {
    char name[64];
    (void)snprintf(name, sizeof name, "x/%d.dcm", 1000 - i);
    zip_source_t *source = zip_source_buffer(user, bytes, size, 1); /* frees the bytes */
    assert_true(zip_file_add(user, name, source, 0) >= 0);
}

static void folder_zip_and_other_names_give_the_same_volume(void **state) {
    (void)state;
    tomo_volume *plain = NULL, *renamed = NULL, *zipped = NULL;
    char folder[] = "tomo-test-XXXXXX", path[128];
    assert_int_equal(tomo_volume_open(SERIES, NULL, &plain, NULL), TOMO_OK);
    assert_non_null(mkdtemp(folder));
    const char *subs[] = {"a", "b"};
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, subs[i]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    assert_true(each_slice(write_renamed, folder) > 1);
    assert_int_equal(tomo_volume_open(folder, NULL, &renamed, NULL), TOMO_OK);
    assert_same_volume(plain, renamed);
    remove_renamed(folder);
    for (int i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, subs[i]);
        assert_int_equal(rmdir(path), 0);
    }
    (void)snprintf(path, sizeof path, "%s/scan.zip", folder);
    zip_t *zip = zip_open(path, ZIP_CREATE, NULL);
    assert_non_null(zip);
    (void)each_slice(add_to_zip, zip);
    assert_int_equal(zip_close(zip), 0);
    assert_int_equal(tomo_volume_open(path, NULL, &zipped, NULL), TOMO_OK);
    assert_same_volume(plain, zipped);
    tomo_volume_options tight = {.limits = {.expanded_bytes = 5000}};
    tomo_volume *none = NULL;
    tomo_error err;
    assert_int_equal(tomo_volume_open(path, &tight, &none, &err), TOMO_E_LIMIT);
    assert_non_null(strstr(err.message, "scan.zip"));
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rmdir(folder), 0);
    tomo_volume_free(plain);
    tomo_volume_free(renamed);
    tomo_volume_free(zipped);
}

static void limits_end_the_reading(void **state) {
    (void)state;
    const tomo_volume_options tight[] = {
        {.limits = {.files = 2}}, {.limits = {.slices = 3}}, {.limits = {.voxels = 100}}};
    for (size_t i = 0; i < sizeof tight / sizeof tight[0]; i++) {
        tomo_volume *v = NULL;
        tomo_error err;
        assert_int_equal(tomo_volume_open(SERIES, &tight[i], &v, &err), TOMO_E_LIMIT);
        assert_null(v);
        assert_non_null(strstr(err.message, SERIES));
    }
}

/* The same of formats without files in files: 5 slices of 3 x 4. */
static void limits_hold_for_every_format(void **state) {
    (void)state;
    unsigned char bytes[NIFTI_BYTES], packed[1024];
    const int16_t voxels[60] = {0};
    make_nifti(voxels, (const float[]){2, 0, 0, 10, 0, 3, 0, 20, 0, 0, 4, 30}, bytes);
    tomo_volume *v = NULL;
    tomo_error err;
    tomo_volume_options four = {.limits = {.slices = 4}}, five = {.limits = {.slices = 5}};
    assert_int_equal(tomo_volume_open_memory("x.nii", bytes, sizeof bytes, &four, &v, &err), TOMO_E_LIMIT);
    assert_non_null(strstr(err.message, "5 slices"));
    assert_int_equal(tomo_volume_open_memory("x.nii", bytes, sizeof bytes, &five, &v, NULL), TOMO_OK);
    tomo_volume_free(v);
    z_stream stream = {
        .next_in = bytes, .avail_in = sizeof bytes, .next_out = packed, .avail_out = sizeof packed};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&stream), Z_OK);
    tomo_volume_options small = {.limits = {.expanded_bytes = NIFTI_BYTES - 1}},
                        enough = {.limits = {.expanded_bytes = NIFTI_BYTES}};
    assert_int_equal(tomo_volume_open_memory("x.nii.gz", packed, stream.total_out, &small, &v, &err),
                     TOMO_E_LIMIT);
    assert_non_null(strstr(err.message, "471 bytes"));
    assert_int_equal(tomo_volume_open_memory("x.nii.gz", packed, stream.total_out, &enough, &v, NULL),
                     TOMO_OK);
    tomo_volume_free(v);
}

/* Writes a slice as 0, 1, ... */
static void write_numbered(void *user, int i, char *bytes, size_t size) {
    char name[16];
    (void)snprintf(name, sizeof name, "%d", i);
    char *path = tomo_path_join(user, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
    free(path);
    free(bytes);
}

/* A slice that is left out would change the volume. The privileged, whom permissions do not bind, drop their
 * rights. */
static void a_file_that_cannot_be_read_is_told(void **state) {
    (void)state;
    char folder[] = "/tmp/tomo-test-XXXXXX";
    tomo_volume *v = NULL;
    tomo_error err;
    bool privileged = geteuid() == 0;
    assert_non_null(mkdtemp(folder));
    assert_int_equal(chmod(folder, 0755), 0);
    assert_true(each_slice(write_numbered, folder) > 2);
    char *path = tomo_path_join(folder, "1");
    assert_int_equal(chmod(path, 0), 0);
    if (privileged) assert_int_equal(seteuid(65534), 0);
    tomo_status status = tomo_volume_open(folder, NULL, &v, &err);
    tomo_volume_options open = {.log_phi = true};
    tomo_error named;
    (void)tomo_volume_open(folder, &open, &v, &named);
    if (privileged) assert_int_equal(seteuid(0), 0);
    assert_int_equal(status, TOMO_E_IO);
    assert_null(v);
    assert_non_null(strstr(err.message, "file 2 of the folder"));
    assert_non_null(strstr(named.message, path));
    free(path);
    tomo_folder_remove(folder);
}

static bool interrupt_all(void *user, const char *stage, int64_t done, int64_t total) {
    (void)stage;
    (void)done;
    (void)total;
    (*(int *)user)++;
    (void)kill(0, SIGINT);
    return true;
}

/* Ctrl-C reaches the process that decodes, too; whether to go on is for the hooks to say. */
static void an_interrupt_is_no_broken_file(void **state) {
    (void)state;
    int calls = 0;
    tomo_hooks hooks = {.progress = interrupt_all, .user = &calls};
    tomo_volume_options options = {.hooks = &hooks};
    tomo_volume *v = NULL;
    assert_true(setpgid(0, 0) == 0 || errno == EPERM); /* the leader of a session has a group of its own */
    void (*before)(int) = signal(SIGINT, SIG_IGN);
    assert_int_equal(tomo_volume_open(COMPRESSED, &options, &v, NULL), TOMO_OK);
    (void)signal(SIGINT, before);
    assert_true(calls > 3);
    tomo_volume_free(v);
}

static bool stop_at_fifth(void *user, const char *stage, int64_t done, int64_t total) {
    (void)stage;
    (void)done;
    (void)total;
    return ++*(int *)user < 5;
}

static void cancelling_ends_the_reading(void **state) {
    (void)state;
    int calls = 0;
    tomo_hooks hooks = {.progress = stop_at_fifth, .user = &calls};
    tomo_volume_options options = {.hooks = &hooks};
    tomo_volume *v = NULL;
    assert_int_equal(tomo_volume_open(SERIES, &options, &v, NULL), TOMO_E_CANCELLED);
    assert_null(v);
    assert_int_equal(calls, 5);
}

static void manifest_holds_no_patient_data(void **state) {
    (void)state;
    static const char *const phi[] = {"Phantom^Synthetic", "1.2.826.0.1.3680043", "20200101", "IM0000"};
    tomo_volume *v = NULL;
    assert_int_equal(tomo_volume_open(SERIES, NULL, &v, NULL), TOMO_OK);
    cJSON *manifest = tomo_volume_manifest(v, NULL);
    char *text = cJSON_Print(manifest);
    for (size_t i = 0; i < sizeof phi / sizeof phi[0]; i++) assert_null(strstr(text, phi[i]));
    assert_non_null(strstr(text, "ImagePositionPatient"));
    cJSON_free(text);
    cJSON_Delete(manifest);
    tomo_volume_free(v);
    tomo_volume_options open = {.log_phi = true};
    cJSON *list = NULL;
    assert_int_equal(tomo_volume_list_series(SERIES, &open, &list, NULL), TOMO_OK);
    assert_int_equal(cJSON_GetArraySize(list), 1);
    assert_non_null(cJSON_GetObjectItem(cJSON_GetArrayItem(list, 0), "uid"));
    cJSON_Delete(list);
}

static void series_that_is_not_there_is_refused(void **state) {
    (void)state;
    tomo_volume_options options = {.series = "1.2.3"};
    tomo_volume *v = NULL;
    assert_int_equal(tomo_volume_open(SERIES, &options, &v, NULL), TOMO_E_USAGE);
    options.series = "#1";
    assert_int_equal(tomo_volume_open(SERIES, &options, &v, NULL), TOMO_OK);
    tomo_volume_free(v);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flipped_axis_gives_the_same_volume),
        cmocka_unit_test(air_makes_a_file_without_modality_hu),
        cmocka_unit_test(folder_zip_and_other_names_give_the_same_volume),
        cmocka_unit_test(limits_end_the_reading),
        cmocka_unit_test(limits_hold_for_every_format),
        cmocka_unit_test(a_file_that_cannot_be_read_is_told),
        cmocka_unit_test(an_interrupt_is_no_broken_file),
        cmocka_unit_test(cancelling_ends_the_reading),
        cmocka_unit_test(manifest_holds_no_patient_data),
        cmocka_unit_test(series_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
