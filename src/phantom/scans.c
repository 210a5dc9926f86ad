/* scans.c - phantoms as scans with reports, questions and truth, in the layouts of own scans and of M3D. */
#include "base/csv.h"
#include "base/file.h"
#include "base/folder.h"
#include "phantom/dicom.h"
#include "phantom/draw.h"
#include "phantom/question.h"
#include "phantom/report.h"
#include "phantom/write_impl.h"
#include "volume/write.h"

#include <stdlib.h>
#include <string.h>

enum { SPLITS = TOMO_PHANTOM_SPLITS };

typedef struct maker {
    const tomo_phantom_order *order;
    tomo_balance balances[SPLITS];
    tomo_buffer lists[SPLITS];    /* M3D: the questions of each split; else lists[0] */
    tomo_buffer captions[SPLITS]; /* M3D: entries of M3D_Cap.json */
    int64_t scans[SPLITS], findings[TOMO_FINDING_KINDS], normal;
} maker;

/* One scan while it is written. */
typedef struct phantom {
    tomo_patient patient;
    tomo_slab slab; /* of the scan's slices */
    tomo_render render;
    tomo_truth truth;
    uint64_t seed;
    int split;
    tomo_plane plane;
    tomo_question questions[TOMO_PHANTOM_QUESTIONS_MOST];
    int question_count;
    tomo_buffer report;
    char name[16], image[80]; /* the scan's path below the folder */
} phantom;

/* ------------------------------------------------------------------ one scan */

static void draw_phantom(const maker *m, int64_t index, phantom *p) {
    p->slab = (tomo_slab){0, m->order->size[0]};
    if (m->order->slab > 0) {
        p->seed = tomo_phantom_draw_slab(m->order, index, &p->patient, &p->slab);
        tomo_patient_cover(&p->patient, m->order->size[0], p->slab.first, p->slab.count);
    } else {
        p->seed = tomo_phantom_seed(m->order, index, 0);
        tomo_patient_draw(p->seed, &p->patient);
    }
    tomo_random r = tomo_random_seed(p->seed ^ 0x5b117u);
    (void)tomo_draw_below(&r, 10); /* the split */
    int plane = tomo_draw_below(&r, 5);
    p->split = tomo_phantom_split(m->order, p->seed);
    /* Most scans of M3D are axial; every file that knows its orientation is read as axial. */
    bool turned = m->order->options->format == TOMO_PHANTOM_M3D && plane < 2;
    p->plane = turned ? (tomo_plane)(TOMO_PLANE_CORONAL + plane) : TOMO_PLANE_AXIAL;
    (void)snprintf(p->name, sizeof p->name, "%06lld", (long long)index);
}

/* Turned slices: more of z is needed than an axial scan of the size has. */
static tomo_status render_phantom(const maker *m, phantom *p, tomo_pool *pool, tomo_error *err) {
    int64_t shape[3] = {p->slab.count, m->order->size[1], m->order->size[2]};
    if (p->plane != TOMO_PLANE_AXIAL) {
        for (int i = 0; i < 3; i++)
            shape[i] = m->order->size[i == 0 ? 1 : i] / 2 < 8 ? 8 : m->order->size[i == 0 ? 1 : i] / 2;
    }
    tomo_status status = tomo_render_make(&p->patient, shape, pool, &p->render, err);
    if (status == TOMO_OK) tomo_truth_find(&p->patient, &p->render, &p->truth);
    return status;
}

/* Coronal: slices from front to back; sagittal: from right to left; the head is up. */
static tomo_status turn_volume(const tomo_volume *v, tomo_plane plane, tomo_volume **turned,
                               tomo_error *err) {
    int64_t z = v->shape[0], y = v->shape[1], x = v->shape[2];
    bool coronal = plane == TOMO_PLANE_CORONAL;
    const int64_t shape[3] = {coronal ? y : x, z, coronal ? x : y};
    float *out = malloc((size_t)(z * y * x) * sizeof *out);
    if (out == NULL) return tomo_fail_memory(err, "phantom", (size_t)(z * y * x) * sizeof *out);
    for (int64_t i = 0; i < z * y * x; i++) {
        int64_t slice = i / (shape[1] * shape[2]), row = i / shape[2] % z, column = i % shape[2];
        int64_t at_y = coronal ? slice : column, at_x = coronal ? column : slice;
        out[i] = v->voxels[((z - 1 - row) * y + at_y) * x + at_x];
    }
    const double *s = v->spacing_mm;
    tomo_affine affine = {{{-(coronal ? s[2] : s[1]), 0, 0, 0},
                           {0, -s[0], 0, 0},
                           {0, 0, coronal ? s[1] : s[2], 0},
                           {0, 0, 0, 1}}};
    tomo_status status = tomo_volume_create(out, shape, &affine, TOMO_INTENSITY_HU, turned, err);
    if (status != TOMO_OK) free(out);
    return status;
}

static tomo_status write_voxels(const maker *m, const phantom *p, const tomo_volume *volume, const char *path,
                                tomo_error *err) {
    tomo_volume *turned = NULL;
    tomo_status status = TOMO_OK;
    switch (m->order->options->format) {
    case TOMO_PHANTOM_NIFTI:
    case TOMO_PHANTOM_NII:
        return tomo_volume_write_nifti_whole(volume, path, err);
    case TOMO_PHANTOM_NPY:
        return tomo_volume_write_npy(volume, path, err);
    case TOMO_PHANTOM_DICOM:
        status = tomo_make_folders(path, err);
        return status == TOMO_OK ? tomo_dicom_write(&p->render, p->seed, p->name, path, err) : status;
    case TOMO_PHANTOM_M3D:
        break;
    }
    if (p->plane == TOMO_PLANE_AXIAL) return tomo_volume_write_m3d(volume, m->order->size, path, NULL, err);
    status = turn_volume(volume, p->plane, &turned, err);
    if (status == TOMO_OK) status = tomo_volume_write_m3d(turned, m->order->size, path, NULL, err);
    tomo_volume_free(turned);
    return status;
}

static tomo_status write_scan(const maker *m, phantom *p, tomo_error *err) {
    static const char *const planes[TOMO_PLANES] = {"Axial", "Coronal", "Sagittal"};
    tomo_volume *volume = NULL;
    tomo_status status = tomo_render_volume(&p->render, &volume, err);
    if (status != TOMO_OK) return status;
    if (m->order->options->format == TOMO_PHANTOM_M3D) {
        char words[32];
        (void)snprintf(words, sizeof words, "%s", tomo_truth_phase(p->truth.phase));
        for (char *c = words; *c != '\0'; c++) *c = *c == ' ' ? '_' : *c;
        (void)snprintf(p->image, sizeof p->image, "M3D_Cap_npy/ct_case/%s/%s_%s.npy", p->name,
                       planes[p->plane], words);
    } else {
        static const char *const ends[] = {".nii.gz", ".npy", "", "", ".nii"};
        (void)snprintf(p->image, sizeof p->image, "scans/%s%s", p->name, ends[m->order->options->format]);
    }
    char *path = tomo_path_join(m->order->folder, p->image);
    char *slash = path != NULL ? strrchr(path, '/') : NULL;
    if (slash != NULL) {
        *slash = '\0';
        status = tomo_make_folders(path, err);
        *slash = '/';
        if (status == TOMO_OK) status = write_voxels(m, p, volume, path, err);
    } else {
        status = tomo_fail_memory(err, m->order->folder, 0);
    }
    free(path);
    tomo_volume_free(volume);
    return status;
}

/* ------------------------------------------------------------------ texts */

static void put(tomo_buffer *list, bool first, const char *text) {
    (void)tomo_csv_put(list, first, text, strlen(text));
}

static void put_type(tomo_buffer *list, int type) {
    const char digit[2] = {(char)('0' + type), '\0'};
    put(list, false, digit);
}

static void list_m3d_questions(maker *m, const phantom *p) {
    tomo_buffer *list = &m->lists[p->split];
    char text[64];
    (void)snprintf(text, sizeof text, "M3D_Cap_npy/ct_case/%s/text.txt", p->name);
    for (int i = 0; i < p->question_count; i++) {
        const tomo_question *q = &p->questions[i];
        const char letter[2] = {(char)('A' + q->right), '\0'};
        put(list, true, p->image);
        put(list, false, text);
        put_type(list, q->type);
        put(list, false, q->text);
        for (int k = 0; k < 4; k++) put(list, false, q->choices[k]);
        put(list, false, q->choices[q->right]);
        put(list, false, letter);
        (void)tomo_buffer_add_text(list, "\n");
    }
    tomo_buffer *captions = &m->captions[p->split];
    (void)tomo_buffer_format(captions, "%s\n    {\"image\": \"%s\", \"text\": \"%s\"}",
                             captions->size > 0 ? "," : "", p->image, text);
}

/* scan,report,question,answer,choices,split,type */
static void list_own(maker *m, const phantom *p) {
    tomo_buffer *list = &m->lists[0];
    const char *split = tomo_phantom_split_names[p->split];
    put(list, true, p->image);
    put(list, false, p->report.data);
    for (int i = 0; i < 3; i++) put(list, false, "");
    put(list, false, split);
    put(list, false, "");
    (void)tomo_buffer_add_text(list, "\n");
    for (int i = 0; i < 2 * p->question_count; i++) { /* each as an open and as a closed one */
        const tomo_question *q = &p->questions[i / 2];
        char choices[4 * sizeof q->choices[0]];
        (void)snprintf(choices, sizeof choices, "%s|%s|%s|%s", q->choices[0], q->choices[1], q->choices[2],
                       q->choices[3]);
        put(list, true, p->image);
        put(list, false, "");
        put(list, false, q->text);
        put(list, false, q->choices[q->right]);
        put(list, false, i % 2 == 0 ? "" : choices);
        put(list, false, split);
        put_type(list, q->type);
        (void)tomo_buffer_add_text(list, "\n");
    }
}

static cJSON *describe_question(const tomo_question *q) {
    cJSON *item = cJSON_CreateObject(), *choices = NULL;
    const char letter[2] = {(char)('A' + q->right), '\0'};
    bool good = item != NULL && cJSON_AddNumberToObject(item, "type", q->type) != NULL &&
                cJSON_AddBoolToObject(item, "several_slices", q->several) != NULL &&
                cJSON_AddStringToObject(item, "question", q->text) != NULL &&
                (choices = cJSON_AddArrayToObject(item, "choices")) != NULL;
    for (int i = 0; good && i < 4; i++) {
        cJSON *choice = cJSON_CreateString(q->choices[i]);
        good = choice != NULL && cJSON_AddItemToArray(choices, choice);
    }
    if (good && cJSON_AddStringToObject(item, "letter", letter) != NULL) return item;
    cJSON_Delete(item);
    return NULL;
}

static cJSON *describe_phantom(const phantom *p) {
    static const char *const planes[TOMO_PLANES] = {"axial", "coronal", "sagittal"};
    cJSON *root = tomo_truth_json(&p->truth), *list = NULL;
    bool good = root != NULL && cJSON_AddStringToObject(root, "scan", p->image) != NULL &&
                cJSON_AddStringToObject(root, "split", tomo_phantom_split_names[p->split]) != NULL &&
                cJSON_AddStringToObject(root, "plane", planes[p->plane]) != NULL &&
                cJSON_AddStringToObject(root, "report", p->report.data) != NULL &&
                (list = cJSON_AddArrayToObject(root, "questions")) != NULL;
    for (int i = 0; good && i < p->question_count; i++) {
        cJSON *item = describe_question(&p->questions[i]);
        good = item != NULL && cJSON_AddItemToArray(list, item);
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}

static tomo_status write_truth(const maker *m, const phantom *p, tomo_error *err) {
    char name[40];
    cJSON *root = describe_phantom(p);
    if (root == NULL) return tomo_fail_memory(err, p->name, 0);
    (void)snprintf(name, sizeof name, "truth/%s.json", p->name);
    char *text = cJSON_Print(root);
    cJSON_Delete(root);
    tomo_status status =
        text == NULL ? tomo_fail_memory(err, p->name, 0) : tomo_phantom_put(m->order, name, text, err);
    cJSON_free(text);
    if (status != TOMO_OK || m->order->options->format != TOMO_PHANTOM_M3D) return status;
    (void)snprintf(name, sizeof name, "M3D_Cap_npy/ct_case/%s/text.txt", p->name);
    return tomo_phantom_put(m->order, name, p->report.data, err);
}

static void count_phantom(maker *m, const phantom *p) {
    m->scans[p->split]++;
    m->normal += p->truth.finding_count == 0 && !p->truth.mirrored;
    for (int kind = 0; kind < TOMO_FINDING_KINDS; kind++) {
        m->findings[kind] += tomo_truth_count(&p->truth, (tomo_finding_kind)kind, 0) > 0;
    }
}

/* All that needs no other phantom. */
static tomo_status make_phantom(const void *state, int64_t index, tomo_pool *pool, void *item,
                                tomo_error *err) {
    const maker *m = state;
    phantom *p = item;
    draw_phantom(m, index, p);
    p->report = (tomo_buffer){.maximum = TOMO_PHANTOM_TEXT_BYTES};
    tomo_status status = render_phantom(m, p, pool, err);
    if (status != TOMO_OK) return status;
    tomo_report_write(&p->truth, p->seed, m->order->options->plain, &p->report);
    status =
        p->report.failed ? tomo_fail_memory(err, p->name, TOMO_PHANTOM_TEXT_BYTES) : write_scan(m, p, err);
    tomo_render_free(&p->render);
    return status;
}

/* Questions depend on those asked before. */
static tomo_status finish_phantom(void *state, void *item, tomo_error *err) {
    maker *m = state;
    phantom *p = item;
    bool is_m3d = m->order->options->format == TOMO_PHANTOM_M3D;
    p->question_count = tomo_questions_make(&p->truth, p->plane, is_m3d, p->seed, m->order->questions,
                                            &m->balances[p->split], p->questions);
    tomo_status status = write_truth(m, p, err);
    if (status != TOMO_OK) return status;
    if (is_m3d) {
        list_m3d_questions(m, p);
    } else {
        list_own(m, p);
    }
    count_phantom(m, p);
    return TOMO_OK;
}

static void clear_phantom(void *item) {
    phantom *p = item;
    tomo_render_free(&p->render);
    tomo_buffer_free(&p->report);
}

/* ------------------------------------------------------------------ the folder */

static void begin_lists(maker *m) {
    for (int i = 0; i < SPLITS; i++) {
        m->lists[i] = (tomo_buffer){.maximum = TOMO_PHANTOM_LIST_BYTES};
        m->captions[i] = (tomo_buffer){.maximum = TOMO_PHANTOM_LIST_BYTES};
        (void)tomo_buffer_add_text(&m->lists[i],
                                   m->order->options->format == TOMO_PHANTOM_M3D
                                       ? "Image Path,Text,Question Type,Question,Choice A,Choice "
                                         "B,Choice C,Choice D,Answer,Answer Choice\n"
                                       : "scan,report,question,answer,choices,split,type\n");
    }
}

static tomo_status write_captions(maker *m, tomo_error *err) {
    tomo_buffer all = {.maximum = TOMO_PHANTOM_LIST_BYTES};
    bool any = false;
    (void)tomo_buffer_add_text(&all, "{");
    for (int i = 0; i < SPLITS; i++) {
        if (m->captions[i].size == 0) continue;
        (void)tomo_buffer_format(&all, "%s\n  \"%s\": [", any ? "," : "", tomo_phantom_split_names[i]);
        (void)tomo_buffer_add(&all, m->captions[i].data, m->captions[i].size);
        (void)tomo_buffer_add_text(&all, "\n  ]");
        any = true;
    }
    (void)tomo_buffer_add_text(&all, "\n}\n");
    tomo_status status = all.failed
                             ? tomo_fail_memory(err, "M3D_Cap.json", TOMO_PHANTOM_LIST_BYTES)
                             : tomo_folder_write(m->order->folder, "M3D_Cap_npy/M3D_Cap.json", all.data, err);
    tomo_buffer_free(&all);
    return status;
}

static tomo_status write_lists(maker *m, tomo_error *err) {
    static const char *const m3d[SPLITS] = {"M3D-VQA/M3D_VQA_train.csv", "M3D-VQA/M3D_VQA_val.csv",
                                            "M3D-VQA/M3D_VQA_test.csv"};
    bool is_m3d = m->order->options->format == TOMO_PHANTOM_M3D;
    for (int i = 0; i < SPLITS; i++) {
        if (m->lists[i].failed || m->captions[i].failed)
            return tomo_fail_memory(err, m->order->folder, TOMO_PHANTOM_LIST_BYTES);
    }
    if (!is_m3d) return tomo_folder_write(m->order->folder, "scans.csv", m->lists[0].data, err);
    tomo_status status = write_captions(m, err);
    for (int i = 0; i < SPLITS && status == TOMO_OK; i++) {
        if (m->balances[i].questions > 0)
            status = tomo_folder_write(m->order->folder, m3d[i], m->lists[i].data, err);
    }
    return status;
}

static tomo_status make_subfolders(const maker *m, tomo_error *err) {
    static const char *const own[] = {"truth", "scans"}, *const m3d[] = {"truth", "M3D_Cap_npy", "M3D-VQA"};
    bool is_m3d = m->order->options->format == TOMO_PHANTOM_M3D;
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < (is_m3d ? sizeof m3d : sizeof own) / sizeof own[0] && status == TOMO_OK; i++) {
        char *path = tomo_path_join(m->order->folder, is_m3d ? m3d[i] : own[i]);
        status = path == NULL ? tomo_fail_memory(err, m->order->folder, 0) : tomo_make_folders(path, err);
        free(path);
    }
    return status;
}

static cJSON *summarise(const maker *m) {
    cJSON *root = cJSON_CreateObject(), *list = NULL;
    double questions = 0, several = 0;
    bool good = root != NULL && (list = cJSON_AddObjectToObject(root, "scans")) != NULL;
    for (int i = 0; i < SPLITS; i++) {
        good =
            good && cJSON_AddNumberToObject(list, tomo_phantom_split_names[i], (double)m->scans[i]) != NULL;
        questions += m->balances[i].questions;
        several += m->balances[i].several;
    }
    good = good && cJSON_AddNumberToObject(root, "questions", questions) != NULL &&
           cJSON_AddNumberToObject(root, "questions_of_several_slices", several) != NULL &&
           cJSON_AddNumberToObject(root, "normal_scans", (double)m->normal) != NULL &&
           (list = cJSON_AddObjectToObject(root, "scans_with")) != NULL;
    for (int i = 0; good && i < TOMO_FINDING_KINDS; i++) {
        good = cJSON_AddNumberToObject(list, tomo_truth_kind((tomo_finding_kind)i), (double)m->findings[i]) !=
               NULL;
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}

tomo_status tomo_phantom_scans(const tomo_phantom_order *order, cJSON **summary, tomo_error *err) {
    maker m = {.order = order};
    const tomo_phantom_work work = {.stage = "phantoms",
                                    .item_size = sizeof(phantom),
                                    .batch = 16,
                                    .state = &m,
                                    .make = make_phantom,
                                    .finish = finish_phantom,
                                    .clear = clear_phantom};
    *summary = NULL;
    for (int i = 0; i < SPLITS; i++) m.balances[i].off = order->options->all;
    begin_lists(&m);
    tomo_status status = make_subfolders(&m, err);
    if (status == TOMO_OK) status = tomo_phantom_run(order, &work, err);
    if (status == TOMO_OK) status = write_lists(&m, err);
    if (status == TOMO_OK && (*summary = summarise(&m)) == NULL)
        status = tomo_fail_memory(err, order->folder, 0);
    for (int i = 0; i < SPLITS; i++) {
        tomo_buffer_free(&m.lists[i]);
        tomo_buffer_free(&m.captions[i]);
    }
    return status;
}
