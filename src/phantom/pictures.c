/* pictures.c - phantoms as single slices, or a few neighbours, with captions, each of another patient: to
 * train a 2D encoder, and what reads it. */
#include "base/csv.h"
#include "base/file.h"
#include "base/folder.h"
#include "phantom/caption.h"
#include "phantom/truth.h"
#include "phantom/write_impl.h"
#include "volume/write.h"

#include <stdlib.h>
#include <string.h>

typedef struct maker {
    const tomo_phantom_order *order;
    tomo_buffer list; /* scans.csv */
    int64_t pictures[TOMO_PHANTOM_SPLITS], findings[TOMO_FINDING_KINDS], normal;
} maker;

typedef struct picture {
    char name[24]; /* the file below the folder */
    int split;
    tomo_view view;
    tomo_buffer caption;
} picture;

static tomo_status write_slices(const maker *m, const picture *p, const tomo_render *render,
                                tomo_error *err) {
    tomo_volume *volume = NULL;
    char *path = tomo_path_join(m->order->folder, p->name);
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, p->name, 0) : tomo_render_volume(render, &volume, err);
    if (status == TOMO_OK) status = tomo_volume_write_nifti_whole(volume, path, err);
    tomo_volume_free(volume);
    free(path);
    return status;
}

static tomo_status make_picture(const void *state, int64_t index, tomo_pool *pool, void *item,
                                tomo_error *err) {
    const maker *m = state;
    const int64_t *size = m->order->size;
    picture *p = item;
    tomo_patient patient;
    tomo_render render;
    (void)pool; /* a slice is painted by one thread */
    tomo_slab slab;
    uint64_t seed = tomo_phantom_draw_slab(m->order, index, &patient, &slab);
    (void)snprintf(p->name, sizeof p->name, "scans/%06lld.nii", (long long)index);
    p->split = tomo_phantom_split(m->order, seed);
    p->caption = (tomo_buffer){.maximum = TOMO_PHANTOM_TEXT_BYTES};
    tomo_spot *spots = malloc((size_t)slab.count * TOMO_TISSUES * sizeof *spots);
    if (spots == NULL) return tomo_fail_memory(err, p->name, 0);
    tomo_status status = tomo_render_slices(&patient, size, slab, &render, spots, err);
    if (status == TOMO_OK) {
        tomo_view_find(&patient, size[0], slab, spots, &p->view);
        tomo_caption_write(&p->view, seed, m->order->options->plain, &p->caption);
        status = p->caption.failed ? tomo_fail_memory(err, p->name, TOMO_PHANTOM_TEXT_BYTES)
                                   : write_slices(m, p, &render, err);
        tomo_render_free(&render);
    }
    free(spots);
    return status;
}

static tomo_status finish_picture(void *state, void *item, tomo_error *err) {
    maker *m = state;
    const picture *p = item;
    const tomo_view *v = &p->view;
    (void)tomo_csv_put(&m->list, true, p->name, strlen(p->name));
    (void)tomo_csv_put(&m->list, false, p->caption.data, p->caption.size);
    (void)tomo_buffer_format(&m->list, ",%s\n", tomo_phantom_split_names[p->split]);
    m->pictures[p->split]++;
    m->normal += v->finding_count == 0 && !v->mirrored;
    unsigned kinds = 0;
    for (int i = 0; i < v->finding_count; i++) kinds |= 1u << v->findings[i].kind;
    for (int i = 0; i < TOMO_FINDING_KINDS; i++) m->findings[i] += (int64_t)(kinds >> i & 1);
    return m->list.failed ? tomo_fail_memory(err, m->order->folder, TOMO_PHANTOM_LIST_BYTES) : TOMO_OK;
}

static void clear_picture(void *item) {
    tomo_buffer_free(&((picture *)item)->caption);
}

static cJSON *summarise(const maker *m) {
    cJSON *root = cJSON_CreateObject(), *list = NULL;
    bool good = root != NULL && (list = cJSON_AddObjectToObject(root, "slices")) != NULL;
    for (int i = 0; good && i < TOMO_PHANTOM_SPLITS; i++) {
        good = cJSON_AddNumberToObject(list, tomo_phantom_split_names[i], (double)m->pictures[i]) != NULL;
    }
    good = good && cJSON_AddNumberToObject(root, "normal_slices", (double)m->normal) != NULL &&
           (list = cJSON_AddObjectToObject(root, "slices_with")) != NULL;
    for (int i = 0; good && i < TOMO_FINDING_KINDS; i++) {
        const char *kind = tomo_truth_kind((tomo_finding_kind)i);
        good = cJSON_AddNumberToObject(list, kind, (double)m->findings[i]) != NULL;
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}

tomo_status tomo_phantom_slices(const tomo_phantom_order *order, cJSON **summary, tomo_error *err) {
    maker m = {.order = order, .list = {.maximum = TOMO_PHANTOM_LIST_BYTES}};
    const tomo_phantom_work work = {.stage = "slices",
                                    .item_size = sizeof(picture),
                                    .batch = 256,
                                    .state = &m,
                                    .make = make_picture,
                                    .finish = finish_picture,
                                    .clear = clear_picture};
    *summary = NULL;
    char *scans = tomo_path_join(order->folder, "scans");
    tomo_status status =
        scans == NULL ? tomo_fail_memory(err, order->folder, 0) : tomo_make_folders(scans, err);
    (void)tomo_buffer_add_text(&m.list, "scan,report,split\n");
    if (status == TOMO_OK) status = tomo_phantom_run(order, &work, err);
    if (status == TOMO_OK) status = tomo_folder_write(order->folder, "scans.csv", m.list.data, err);
    if (status == TOMO_OK && (*summary = summarise(&m)) == NULL)
        status = tomo_fail_memory(err, order->folder, 0);
    tomo_buffer_free(&m.list);
    free(scans);
    return status;
}
