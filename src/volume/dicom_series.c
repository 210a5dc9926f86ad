#include "volume/dicom_series.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Groups of one input: a study has tens of series. */
#define GROUPS_MOST 4096
/* Slices closer than this are at one place. */
#define SAME_PLACE_MM 0.01

void tomo_dicom_study_close(tomo_dicom_study *study) {
    for (int64_t i = 0; i < study->n_images; i++) tomo_dicom_image_close(&study->images[i]);
    for (int64_t i = 0; i < study->n_groups; i++) free(study->groups[i].slices);
    free(study->images);
    free(study->groups);
    *study = (tomo_dicom_study){0};
}

/* ------------------------------------------------------------------ headers */

static tomo_status add_image(const tomo_reader *reader, tomo_dicom_study *study, const tomo_dicom_data *data,
                             int64_t file, tomo_error *err) {
    if (study->n_images == study->image_capacity) {
        int64_t capacity = study->image_capacity == 0 ? 64 : 2 * study->image_capacity;
        tomo_dicom_image *images = realloc(study->images, (size_t)capacity * sizeof *images);
        if (images == NULL) return tomo_fail_memory(err, reader->name, (size_t)capacity * sizeof *images);
        study->images = images;
        study->image_capacity = capacity;
    }
    tomo_dicom_image *image = &study->images[study->n_images++];
    tomo_status status = tomo_dicom_image_read(reader, data, image, err);
    image->file = file;
    study->n_frames += image->n_frames;
    if (status == TOMO_OK && study->n_frames > reader->options.limits.files) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %lld frames; name a smaller folder", reader->name,
                         (long long)reader->options.limits.files);
    }
    return status;
}

/* Repeats a failure with the file that it is about, where there are several. */
static tomo_status blame(tomo_dicom_files *files, int64_t i, const tomo_error *failure, tomo_error *err) {
    char file[512];
    tomo_dicom_files_describe(files, i, file, sizeof file);
    return file[0] == '\0' ? tomo_fail(err, failure->status, "%s", failure->message)
                           : tomo_fail(err, failure->status, "%.700s (%s)", failure->message, file);
}

static tomo_status read_file(const tomo_reader *reader, tomo_dicom_files *files, int64_t i,
                             tomo_dicom_study *study, tomo_error *err) {
    tomo_dicom_content content;
    tomo_dicom_data *data = NULL;
    tomo_error failure = {0};
    tomo_status status = tomo_dicom_content_open(files, i, &content, &failure);
    if (status != TOMO_OK) return blame(files, i, &failure, err);
    if (content.data == NULL) return TOMO_OK;
    status = tomo_dicom_parse(reader->name, content.data, content.size, reader->options.limits.expanded_bytes,
                              &data, &failure);
    if (status == TOMO_OK && tomo_dicom_pixels(data)->present)
        status = add_image(reader, study, data, i, &failure);
    if (status == TOMO_OK && !tomo_dicom_pixels(data)->present) study->n_others++;
    tomo_dicom_data_free(data);
    tomo_dicom_content_close(&content);
    return status == TOMO_OK ? TOMO_OK : blame(files, i, &failure, err);
}

/* ------------------------------------------------------------------ groups */

static bool same_direction(const double a[3], const double b[3]) {
    return fabs(a[0] - b[0]) < 1e-3 && fabs(a[1] - b[1]) < 1e-3 && fabs(a[2] - b[2]) < 1e-3;
}

static bool belongs(const tomo_dicom_study *study, const tomo_dicom_group *group,
                    const tomo_dicom_image *image, const tomo_dicom_frame *frame) {
    const tomo_dicom_image *first = &study->images[group->slices[0].image];
    if (strcmp(first->series_uid, image->series_uid) != 0) return false;
    if ((first->n_frames == 0) != (frame == NULL)) return false;
    if (frame == NULL) return true; /* unreadable images of one series */
    const tomo_dicom_frame *other = tomo_dicom_slice_frame(study, &group->slices[0]);
    return first->rows == image->rows && first->columns == image->columns && other->placed == frame->placed &&
           same_direction(other->along_row, frame->along_row) && same_direction(other->down, frame->down);
}

static tomo_status add_slice(const tomo_reader *reader, tomo_dicom_group *group, tomo_dicom_slice slice,
                             tomo_error *err) {
    if (group->n_slices == group->capacity) {
        int64_t capacity = group->capacity == 0 ? 16 : 2 * group->capacity;
        tomo_dicom_slice *slices = realloc(group->slices, (size_t)capacity * sizeof *slices);
        if (slices == NULL) return tomo_fail_memory(err, reader->name, (size_t)capacity * sizeof *slices);
        group->slices = slices;
        group->capacity = capacity;
    }
    group->slices[group->n_slices++] = slice;
    return TOMO_OK;
}

/* Puts a slice (frame NULL: an unreadable image) into its group, which is made when there is none. */
static tomo_status sort_in(const tomo_reader *reader, tomo_dicom_study *study, int64_t image, int64_t index,
                           tomo_error *err) {
    const tomo_dicom_image *i = &study->images[image];
    const tomo_dicom_frame *frame = i->n_frames > 0 ? &i->frames[index] : NULL;
    int64_t g = study->n_groups - 1; /* neighbours mostly belong together */
    while (g >= 0 && !belongs(study, &study->groups[g], i, frame)) g--;
    if (g < 0) {
        if (study->n_groups == GROUPS_MOST) {
            return tomo_fail(err, TOMO_E_LIMIT,
                             "%s: more than %d series, sizes or orientations; name a smaller folder",
                             reader->name, GROUPS_MOST);
        }
        if (study->groups == NULL) study->groups = calloc(GROUPS_MOST, sizeof *study->groups);
        if (study->groups == NULL)
            return tomo_fail_memory(err, reader->name, GROUPS_MOST * sizeof *study->groups);
        g = study->n_groups++;
        study->groups[g].readable = true;
    }
    study->groups[g].readable = study->groups[g].readable && i->problem == TOMO_OK;
    return add_slice(reader, &study->groups[g], (tomo_dicom_slice){image, index, 0}, err);
}

static int compare_numbers(int64_t a, int64_t b) {
    return (a > b) - (a < b);
}

/* qsort_r: the study comes with each call. */
static int by_series(const void *a, const void *b, void *context) {
    const tomo_dicom_study *study = context;
    const tomo_dicom_group *p = a, *q = b;
    const tomo_dicom_image *x = &study->images[p->slices[0].image], *y = &study->images[q->slices[0].image];
    int order = compare_numbers(x->series_number, y->series_number);
    if (order == 0) order = strcmp(x->series_uid, y->series_uid);
    if (order == 0) order = compare_numbers(q->n_slices, p->n_slices);
    if (order == 0) order = compare_numbers(y->rows * y->columns, x->rows * x->columns);
    return order != 0 ? order : compare_numbers(p->slices[0].image, q->slices[0].image);
}

static tomo_status no_image(const tomo_reader *reader, const tomo_dicom_files *files,
                            const tomo_dicom_study *study, tomo_error *err) {
    if (strcmp(tomo_dicom_files_kind(files), "file") == 0) {
        return tomo_fail(err, TOMO_E_NO_IMAGE, "%s: a DICOM file without an image (a report or a plan)",
                         reader->name);
    }
    return tomo_fail(err, TOMO_E_NO_IMAGE,
                     "%s: no DICOM image among %lld files (%lld DICOM files without one)", reader->name,
                     (long long)tomo_dicom_files_count(files), (long long)study->n_others);
}

tomo_status tomo_dicom_study_read(const tomo_reader *reader, tomo_dicom_files *files, tomo_dicom_study *study,
                                  tomo_error *err) {
    *study = (tomo_dicom_study){0};
    int64_t n = tomo_dicom_files_count(files);
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < n && status == TOMO_OK; i++) {
        status = tomo_progress(reader->options.hooks, "reading headers", i, n, err);
        if (status == TOMO_OK) status = read_file(reader, files, i, study, err);
    }
    for (int64_t i = 0; i < study->n_images && status == TOMO_OK; i++) {
        int64_t frames = study->images[i].n_frames > 0 ? study->images[i].n_frames : 1;
        for (int64_t f = 0; f < frames && status == TOMO_OK; f++) status = sort_in(reader, study, i, f, err);
    }
    if (status != TOMO_OK) return status;
    if (study->n_groups == 0) return no_image(reader, files, study, err);
    qsort_r(study->groups, (size_t)study->n_groups, sizeof *study->groups, by_series, study);
    return TOMO_OK;
}

/* ------------------------------------------------------------------ choice */

static bool is_asked_for(const tomo_dicom_study *study, int64_t g, const char *series) {
    const tomo_dicom_image *image = &study->images[study->groups[g].slices[0].image];
    char number[32];
    if (series[0] == '#') {
        (void)snprintf(number, sizeof number, "#%lld", (long long)g + 1);
    } else {
        (void)snprintf(number, sizeof number, "%lld", (long long)image->series_number);
    }
    return strcmp(series, number) == 0 || (series[0] != '\0' && strcmp(series, image->series_uid) == 0);
}

tomo_status tomo_dicom_study_choose(const tomo_reader *reader, const tomo_dicom_study *study, int64_t *group,
                                    const char **why, tomo_error *err) {
    const char *series = reader->options.series;
    int64_t best = -1;
    for (int64_t g = 0; g < study->n_groups; g++) {
        const tomo_dicom_group *a = &study->groups[g], *b = best < 0 ? NULL : &study->groups[best];
        if (series != NULL && !is_asked_for(study, g, series)) continue;
        bool better = b == NULL || (a->readable != b->readable ? a->readable : a->n_slices > b->n_slices);
        if (better) best = g;
    }
    if (best < 0) {
        return tomo_fail(err, TOMO_E_USAGE,
                         "%s: the series that was asked for is not there; there are %lld, #1 to #%lld",
                         reader->name, (long long)study->n_groups, (long long)study->n_groups);
    }
    *group = best;
    *why = study->n_groups == 1 ? "the only series" : series != NULL ? "asked for" : "most slices";
    return TOMO_OK;
}

static cJSON *describe(const tomo_reader *reader, const tomo_dicom_study *study, int64_t g) {
    const tomo_dicom_group *group = &study->groups[g];
    const tomo_dicom_image *image = &study->images[group->slices[0].image];
    char name[32];
    (void)snprintf(name, sizeof name, "#%lld", (long long)g + 1);
    cJSON *entry = cJSON_CreateObject();
    if (entry == NULL) return NULL;
    (void)cJSON_AddStringToObject(entry, "series", name);
    (void)cJSON_AddNumberToObject(entry, "number", (double)image->series_number);
    (void)cJSON_AddStringToObject(entry, "modality", image->modality);
    (void)cJSON_AddNumberToObject(entry, "slices", (double)group->n_slices);
    cJSON *size = cJSON_AddArrayToObject(entry, "size");
    (void)cJSON_AddItemToArray(size, cJSON_CreateNumber((double)image->columns));
    (void)cJSON_AddItemToArray(size, cJSON_CreateNumber((double)image->rows));
    (void)cJSON_AddBoolToObject(entry, "readable", group->readable);
    if (reader->options.log_phi) {
        (void)cJSON_AddStringToObject(entry, "uid", image->series_uid);
        (void)cJSON_AddStringToObject(entry, "description", image->description);
    }
    return entry;
}

cJSON *tomo_dicom_study_list(const tomo_reader *reader, const tomo_dicom_study *study, int64_t chosen,
                             const char *why) {
    cJSON *list = cJSON_CreateArray();
    for (int64_t g = 0; list != NULL && g < study->n_groups; g++) {
        cJSON *entry = describe(reader, study, g);
        (void)cJSON_AddBoolToObject(entry, "chosen", g == chosen);
        if (g == chosen) (void)cJSON_AddStringToObject(entry, "why", why);
        if (!cJSON_AddItemToArray(list, entry)) {
            cJSON_Delete(entry);
            cJSON_Delete(list);
            return NULL;
        }
    }
    return list;
}

/* ------------------------------------------------------------------ order */

static int by_place(const void *a, const void *b, void *context) {
    const tomo_dicom_study *study = context;
    const tomo_dicom_slice *p = a, *q = b;
    const tomo_dicom_image *x = &study->images[p->image], *y = &study->images[q->image];
    if (p->along != q->along) return p->along < q->along ? -1 : 1;
    int order = compare_numbers(x->instance_number, y->instance_number);
    if (order == 0) order = compare_numbers(p->image, q->image);
    return order != 0 ? order : compare_numbers(p->frame, q->frame);
}

static void project(const tomo_dicom_study *study, tomo_dicom_group *group) {
    const tomo_dicom_frame *first = tomo_dicom_slice_frame(study, &group->slices[0]);
    double normal[3];
    for (int i = 0; i < 3; i++) {
        int j = (i + 1) % 3, k = (i + 2) % 3;
        normal[i] = first->along_row[j] * first->down[k] - first->along_row[k] * first->down[j];
    }
    for (int64_t s = 0; s < group->n_slices; s++) {
        const tomo_dicom_frame *frame = tomo_dicom_slice_frame(study, &group->slices[s]);
        group->slices[s].along = 0;
        for (int i = 0; i < 3; i++) group->slices[s].along += frame->position[i] * normal[i];
    }
}

void tomo_dicom_group_order(tomo_volume *volume, const tomo_dicom_study *study, tomo_dicom_group *group) {
    bool placed = tomo_dicom_slice_frame(study, &group->slices[0])->placed;
    if (placed) project(study, group);
    qsort_r(group->slices, (size_t)group->n_slices, sizeof *group->slices, by_place,
            (void *)(uintptr_t)study);
    if (!placed) return;
    int64_t kept = 0;
    double place = 0; /* of the first of those at one place */
    for (int64_t s = 0; s < group->n_slices; s++) {
        const tomo_dicom_slice *slice = &group->slices[s];
        if (kept > 0 && slice->along - place <= SAME_PLACE_MM) {
            tomo_dicom_slice *other = &group->slices[kept - 1];
            if (study->images[slice->image].instance_number < study->images[other->image].instance_number) {
                *other = *slice;
            }
            continue;
        }
        place = slice->along;
        group->slices[kept++] = *slice;
    }
    if (kept < group->n_slices) {
        tomo_volume_warn(volume, "W_DUPLICATE_SLICES",
                         "%lld of %lld slices lie at the place of another; the lowest InstanceNumber is kept",
                         (long long)(group->n_slices - kept), (long long)group->n_slices);
    }
    group->n_slices = kept;
}
