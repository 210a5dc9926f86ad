/* volume.c - reading scans: every input of tests/reference/volume that has a canonical volume or must be
 * refused.
 *
 * Values are compared by digest where the entry's tolerance is 0, else within it (one float32 step where a
 * slope is applied; 2 for lossy JPEG, whose decoders differ). Affines: 1e-3 mm, spacing: 1e-4 mm, as the
 * README says. */
#include "volume/volume.h"

#include "base/file.h"
#include "base/json.h"
#include "support/parity.h"
#include "volume_sha256.h"

#include <dirent.h>
#include <ftw.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* One input of one case. */
typedef struct input {
    parity *p;
    char name[512];     /* CASE/PATH */
    const char *folder; /* of the case */
    const cJSON *entry;
    char path[4096];
} input;

static double number(const cJSON *object, const char *key, double otherwise) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : otherwise;
}

static const char *text(const cJSON *object, const char *key, const char *otherwise) {
    const cJSON *item = tomo_json_get(object, key);
    return cJSON_IsString(item) ? item->valuestring : otherwise;
}

/* ------------------------------------------------------------------ comparing */

static bool compare_shape(input *in, const cJSON *want, const tomo_volume *v) {
    const cJSON *shape = tomo_json_get(want, "shape_zyx");
    for (int i = 0; shape != NULL && i < 3; i++) {
        if ((double)v->shape[i] != cJSON_GetArrayItem(shape, i)->valuedouble) {
            parity_fail(in->p, in->name, "axis %d has %lld voxels, not %g", i, (long long)v->shape[i],
                        cJSON_GetArrayItem(shape, i)->valuedouble);
            return false;
        }
    }
    return true;
}

/* The spacing is held against the columns of the recorded affine: the recorded spacing_xyz is that of the
 * case's first input with the same voxels (make/volume.py keeps one summary for equal voxels). */
static bool compare_geometry(input *in, const cJSON *want, const tomo_volume *v) {
    double tolerance = number(tomo_json_get(in->entry, "tolerance"), "affine_abs", 1e-3);
    const cJSON *affine = tomo_json_get(want, "affine_ras");
    for (int c = 0; affine != NULL && c < 4; c++) {
        if (c < 3 && v->shape[2 - c] == 1) continue; /* libraries differ: README, tolerance */
        double squares = 0;
        for (int r = 0; r < 3; r++) {
            double w = cJSON_GetArrayItem(cJSON_GetArrayItem(affine, r), c)->valuedouble;
            squares += w * w;
            if (!(fabs(v->affine_ras.m[r][c] - w) <= tolerance)) {
                parity_fail(in->p, in->name, "affine[%d][%d] is %.6f, not %.6f", r, c, v->affine_ras.m[r][c],
                            w);
                return false;
            }
        }
        if (c < 3 &&
            !(fabs(v->spacing_mm[2 - c] - sqrt(squares)) <= fmax(1e-4, tolerance > 1e-3 ? tolerance : 0))) {
            parity_fail(in->p, in->name, "spacing %d is %.6f, not %.6f", c, v->spacing_mm[2 - c],
                        sqrt(squares));
            return false;
        }
    }
    return true;
}

static bool compare_golden(input *in, const char *file, const tomo_volume *v, double tolerance) {
    char path[8192];
    tomo_volume *golden = NULL;
    tomo_error err;
    (void)snprintf(path, sizeof path, "%s/%s", in->folder, file);
    if (tomo_volume_open(path, NULL, &golden, &err) != TOMO_OK) {
        parity_fail(in->p, in->name, "%s", err.message);
        return false;
    }
    int64_t n = v->shape[0] * v->shape[1] * v->shape[2];
    bool same = memcmp(v->shape, golden->shape, sizeof v->shape) == 0;
    double d = same ? parity_distance(v->voxels, golden->voxels, n) : INFINITY;
    if (!(d <= tolerance)) parity_fail(in->p, in->name, "%g away from %s, %g allowed", d, file, tolerance);
    tomo_volume_free(golden);
    return d <= tolerance;
}

static bool compare_slices(input *in, const cJSON *want, const tomo_volume *v, double tolerance) {
    int64_t pixels = v->shape[1] * v->shape[2];
    const cJSON *slice;
    cJSON_ArrayForEach(slice, tomo_json_get(want, "slices")) {
        const float *s = v->voxels + (int64_t)number(slice, "z", 0) * pixels;
        double sum = 0;
        for (int64_t i = 0; i < pixels; i++) sum += (double)s[i];
        double w = number(slice, "sum", NAN);
        if (!(fabs(sum - w) <= tolerance * (double)pixels + 1e-9 * fabs(w))) {
            parity_fail(in->p, in->name, "slice %g has the sum %.9g, not %.9g", number(slice, "z", 0), sum,
                        w);
            return false;
        }
    }
    return true;
}

static bool compare_probes(input *in, const cJSON *want, const tomo_volume *v, double tolerance) {
    const cJSON *probe;
    cJSON_ArrayForEach(probe, tomo_json_get(want, "probes_zyx_value")) {
        int64_t at[3];
        for (int i = 0; i < 3; i++) at[i] = (int64_t)cJSON_GetArrayItem(probe, i)->valuedouble;
        double got = (double)v->voxels[(at[0] * v->shape[1] + at[1]) * v->shape[2] + at[2]];
        double w = cJSON_GetArrayItem(probe, 3)->valuedouble;
        if (!(fabs(got - w) <= tolerance)) {
            parity_fail(in->p, in->name, "voxel %lld %lld %lld is %.9g, not %.9g", (long long)at[0],
                        (long long)at[1], (long long)at[2], got, w);
            return false;
        }
    }
    return true;
}

static bool compare_values(input *in, const cJSON *want, const tomo_volume *v) {
    double tolerance = number(tomo_json_get(in->entry, "tolerance"), "abs", 0);
    const char *golden = text(want, "npy", NULL), *digest = text(want, "sha256_f32", NULL);
    if (tolerance == 0 && digest != NULL) {
        char got[65];
        sha256(v->voxels, (size_t)(v->shape[0] * v->shape[1] * v->shape[2]) * sizeof(float), got);
        if (strcmp(got, digest) != 0) {
            if (golden == NULL || compare_golden(in, golden, v, 0))
                parity_fail(in->p, in->name, "other voxels");
            return false;
        }
    }
    if (golden != NULL && !compare_golden(in, golden, v, tolerance)) return false;
    double spread = number(want, "std", v->deviation), mean = number(want, "mean", v->mean);
    if (!(fabs(v->mean - mean) <= tolerance + 1e-6 * (1 + fabs(mean))) ||
        !(fabs(v->deviation - spread) <= 2 * tolerance + 1e-6 * (1 + spread))) {
        parity_fail(in->p, in->name, "mean and deviation are %.9g %.9g, not %.9g %.9g", v->mean, v->deviation,
                    mean, spread);
        return false;
    }
    return compare_slices(in, want, v, tolerance) && compare_probes(in, want, v, tolerance);
}

static bool compare_warnings(input *in, const tomo_volume *v) {
    const cJSON *code;
    cJSON_ArrayForEach(code, tomo_json_get(in->entry, "warnings")) {
        bool found = false;
        for (int i = 0; i < v->n_warnings; i++)
            found = found || strcmp(v->warnings[i].code, code->valuestring) == 0;
        if (!found) {
            parity_fail(in->p, in->name, "no warning %s", code->valuestring);
            return false;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ refusals */

/* A refusal must be one line that names the file; its class is advice and only told. */
static void check_refusal(input *in, const tomo_error *err) {
    const char *base = strrchr(in->path, '/');
    const char *want = text(in->entry, "error", "");
    const char *also = text(tomo_json_get(in->entry, "accept_instead"), "error", "");
    const char *got = tomo_status_name(err->status);
    if (strstr(err->message, base == NULL ? in->path : base + 1) == NULL ||
        strchr(err->message, '\n') != NULL || strstr(err->message, ": ") == NULL) {
        parity_fail(in->p, in->name, "the message is no line that names the file: %s", err->message);
        return;
    }
    if (strcmp(got, want) != 0 && strcmp(got, also) != 0) {
        (void)printf("note %s/%s: %s, the reference says %s: %s\n", in->p->family, in->name, got, want,
                     err->message);
    }
    parity_pass(in->p, in->name);
}

static bool expects_refusal(const input *in) {
    return strcmp(text(in->entry, "status", "ok"), "error") == 0;
}

static bool accepts_instead(const input *in, const char *status) {
    return strcmp(text(tomo_json_get(in->entry, "accept_instead"), "status", ""), status) == 0;
}

/* Time and memory that the entry allows. Sanitizers multiply both, so they are checked without only. */
static bool check_limits(input *in, double seconds) {
    const cJSON *limits = tomo_json_get(in->entry, "limits");
#ifdef TOMO_SANITIZED
    (void)limits;
    (void)seconds;
#else
    struct rusage usage;
    if (limits != NULL && seconds > number(limits, "seconds", INFINITY)) {
        parity_fail(in->p, in->name, "took %.1f s", seconds);
        return false;
    }
    if (limits != NULL && getrusage(RUSAGE_SELF, &usage) == 0 &&
        (double)usage.ru_maxrss / 1024 > number(limits, "peak_rss_mb", INFINITY)) {
        parity_fail(in->p, in->name, "needed %.0f MB", (double)usage.ru_maxrss / 1024);
        return false;
    }
#endif
    return true;
}

static double clock_seconds(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void read_input(input *in) {
    tomo_volume *v = NULL;
    tomo_error err = {0};
    tomo_volume_options options = {.series = text(in->entry, "series_uid", NULL),
                                   .index = (int64_t)number(in->entry, "volume_index", 0)};
    if (options.series != NULL && options.series[0] == '\0')
        options.series = NULL; /* the files have no UID */
    double start = clock_seconds();
    tomo_status status = tomo_volume_open(in->path, &options, &v, &err);
    bool in_limits = check_limits(in, clock_seconds() - start);
    if (!in_limits) {
        /* told already */
    } else if (status != TOMO_OK && (expects_refusal(in) || accepts_instead(in, "error"))) {
        check_refusal(in, &err);
    } else if (status != TOMO_OK) {
        parity_fail(in->p, in->name, "%s %s", tomo_status_name(status), err.message);
    } else if (expects_refusal(in)) {
        if (accepts_instead(in, "ok")) {
            parity_pass(in->p, in->name);
        } else {
            parity_fail(in->p, in->name, "was read, should be refused: %s", text(in->entry, "why", ""));
        }
    } else {
        const cJSON *want = tomo_json_get(in->entry, "canonical");
        if (compare_shape(in, want, v) && compare_geometry(in, want, v) && compare_values(in, want, v) &&
            compare_warnings(in, v)) {
            parity_pass(in->p, in->name);
        }
    }
    tomo_volume_free(v);
}

/* ------------------------------------------------------------------ links */

static bool copy_folder(const char *from, const char *to) {
    DIR *folder = opendir(from);
    bool good = folder != NULL && (mkdir(to, 0777) == 0 || tomo_path_is_folder(to));
    for (struct dirent *entry; good && (entry = readdir(folder)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char *source = tomo_path_join(from, entry->d_name), *target = tomo_path_join(to, entry->d_name);
        char *bytes = NULL;
        size_t size = 0;
        FILE *out = NULL;
        if (tomo_path_is_folder(source)) {
            good = copy_folder(source, target);
        } else {
            good = tomo_file_read(source, INT64_MAX, &bytes, &size, NULL) == TOMO_OK &&
                   (out = fopen(target, "wb")) != NULL && fwrite(bytes, 1, size, out) == size;
            if (out != NULL) (void)fclose(out);
        }
        free(bytes);
        free(source);
        free(target);
    }
    if (folder != NULL) (void)closedir(folder);
    return good;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where) {
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static void read_with_links(input *in, const cJSON *links) {
    char folder[] = "tomo-links-XXXXXX";
    const char *base = strrchr(in->path, '/');
    bool good = mkdtemp(folder) != NULL;
    char *copy = tomo_path_join(folder, base == NULL ? in->path : base + 1);
    good = good && copy_folder(in->path, copy);
    const cJSON *link;
    cJSON_ArrayForEach(link, links) {
        char *path = tomo_path_join(copy, cJSON_GetArrayItem(link, 0)->valuestring);
        char *slash = strrchr(path, '/');
        *slash = '\0';
        (void)mkdir(path, 0777);
        *slash = '/';
        good = good && symlink(cJSON_GetArrayItem(link, 1)->valuestring, path) == 0;
        free(path);
    }
    (void)snprintf(in->path, sizeof in->path, "%s", copy);
    if (good) {
        read_input(in);
    } else {
        parity_fail(in->p, in->name, "cannot make the links");
    }
    free(copy);
    (void)nftw(folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ------------------------------------------------------------------ walking */

static void run_input(parity *p, const char *case_name, const char *folder, const cJSON *entry) {
    input in = {.p = p, .folder = folder, .entry = entry};
    const char *path = text(entry, "path", "");
    const char *index = tomo_json_get(entry, "series_uid") != NULL ? " (second series)" : "";
    (void)snprintf(in.name, sizeof in.name, "%s/%s%s%s", case_name, path, index,
                   tomo_json_get(entry, "volume_index") != NULL ? " (later volume)" : "");
    if (strncmp(path, "data:", 5) == 0) {
        (void)snprintf(in.path, sizeof in.path, "%s/%s", parity_data_folder(), path + 5);
        if (!tomo_path_exists(in.path)) {
            parity_skip(p, in.name, "the scan is not in %s (its licence may not allow it)",
                        parity_data_folder());
            return;
        }
    } else {
        (void)snprintf(in.path, sizeof in.path, "%s/%s", folder, path);
    }
    const cJSON *links = tomo_json_get(entry, "make_links");
    if (links != NULL) {
        read_with_links(&in, links);
    } else {
        read_input(&in);
    }
}

static void run_case(parity *p, const char *name, const char *path) {
    char file[8192];
    cJSON *root = NULL;
    tomo_error err;
    (void)snprintf(file, sizeof file, "%s/expected.json", path);
    if (tomo_json_open(file, &root, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
        return;
    }
    const cJSON *entry;
    cJSON_ArrayForEach(entry, tomo_json_get(root, "inputs")) {
        bool reading = tomo_json_get(entry, "canonical") != NULL || tomo_json_get(entry, "error") != NULL;
        if (reading) run_input(p, name, path, entry);
    }
    cJSON_Delete(root);
}

int main(void) {
    parity p;
    parity_begin(&p, "volume");
    parity_each_folder(&p, "", run_case);
    return parity_end(&p);
}
