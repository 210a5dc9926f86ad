/* write.c - tomo_phantom_write: phantoms as a data set, in a folder beside the target that is renamed when
 * whole.
 */
#include "base/file.h"
#include "base/folder.h"
#include "phantom/draw.h"
#include "phantom/view.h"
#include "phantom/write_impl.h"

#include <dirent.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPLITS = TOMO_PHANTOM_SPLITS, COUNT_MOST = 1000000 };
const char *const tomo_phantom_split_names[SPLITS] = {"train", "validation", "test"};

/* ------------------------------------------------------------------ one item after the other */

uint64_t tomo_phantom_seed(const tomo_phantom_order *order, int64_t index, int64_t attempt) {
    return tomo_draw_hash(order->options->seed, index, (int64_t)order->options->contents, attempt);
}

int tomo_phantom_split(const tomo_phantom_order *order, uint64_t seed) {
    tomo_random r = tomo_random_seed(seed ^ 0x5b117u);
    int split = tomo_draw_below(&r, 10);
    return order->split >= 0 ? order->split : split < 8 ? 0 : split - 7;
}

/* What is small in a picture. */
static const unsigned focal = 1u << TOMO_FINDING_NODULE | 1u << TOMO_FINDING_LIVER_LESION |
                              1u << TOMO_FINDING_KIDNEY_STONE | 1u << TOMO_FINDING_KIDNEY_MASS;

/* Draws patients until one has a finding of these kinds (bits); hardly ever more than a few. */
static uint64_t draw_patient(const tomo_phantom_order *order, int64_t index, unsigned kinds,
                             tomo_patient *patient) {
    uint64_t seed = 0;
    for (int64_t attempt = 0; attempt < 64; attempt++) {
        bool there = kinds == 0;
        seed = tomo_phantom_seed(order, index, attempt);
        tomo_patient_draw(seed, patient);
        for (int i = 0; i < patient->finding_count; i++)
            there |= (kinds >> patient->findings[i].kind & 1) != 0;
        if (there) break;
    }
    return seed;
}

uint64_t tomo_phantom_draw_slab(const tomo_phantom_order *order, int64_t index, tomo_patient *patient,
                                tomo_slab *slab) {
    unsigned kinds = index % 4 == 0 ? 0 : index % 4 == 1 ? ~0u : focal;
    uint64_t seed = draw_patient(order, index, kinds, patient);
    tomo_random slice = tomo_random_seed(seed ^ 0x511ceu), r = tomo_random_seed(seed ^ 0x51abu);
    int64_t wanted = tomo_view_choose(patient, &slice, order->size[0], kinds);
    int64_t count = 1 + tomo_draw_below(&r, (int)order->slab);
    int64_t first = wanted - tomo_draw_below(&r, (int)count), last = order->size[0] - count;
    *slab = (tomo_slab){first < 0 ? 0 : first > last ? last : first, count};
    return seed;
}

typedef struct batch {
    const tomo_phantom_order *order;
    const tomo_phantom_work *work;
    tomo_pool *pool; /* for within an item, or NULL */
    int64_t first;
    char *items;
    tomo_status *statuses;
    tomo_error *errors;
    atomic_bool stopped; /* by who was told of the progress; why stands in the next two */
    tomo_status stop;
    tomo_error why;
} batch;

static void *item_at(const batch *b, int64_t i) {
    return b->items + (size_t)i * b->work->item_size;
}

static void tell_progress(batch *b, int64_t done) {
    b->stop = tomo_progress(&b->order->context->hooks, b->work->stage, done, b->order->count, &b->why);
    if (b->stop != TOMO_OK) atomic_store(&b->stopped, true);
}

/* Worker 0 is the calling thread, the only one that may tell of progress. */
static void make_item(void *argument, int64_t i, int worker) {
    batch *b = argument;
    if (worker == 0 && !atomic_load(&b->stopped)) tell_progress(b, b->first + i);
    b->statuses[i] = atomic_load(&b->stopped)
                         ? TOMO_E_CANCELLED
                         : b->work->make(b->work->state, b->first + i, b->pool, item_at(b, i), &b->errors[i]);
}

static tomo_status run_batch(batch *b, int64_t count, tomo_error *err) {
    tomo_pool *pool = b->order->context->pool;
    memset(b->items, 0, (size_t)count * b->work->item_size);
    /* Of few items each is shared out among the threads. */
    b->pool = count < tomo_pool_threads(pool) ? pool : NULL;
    if (b->pool == NULL) tomo_pool_run(pool, count, make_item, b);
    for (int64_t i = 0; b->pool != NULL && i < count; i++) make_item(b, i, 0);
    if (!atomic_load(&b->stopped)) tell_progress(b, b->first + count);
    tomo_status status = b->stop;
    if (status != TOMO_OK && err != NULL) *err = b->why;
    for (int64_t i = 0; i < count && status == TOMO_OK; i++) {
        status = b->statuses[i];
        if (status != TOMO_OK && err != NULL) *err = b->errors[i];
        if (status == TOMO_OK) status = b->work->finish(b->work->state, item_at(b, i), err);
    }
    for (int64_t i = 0; i < count; i++) b->work->clear(item_at(b, i));
    return status;
}

tomo_status tomo_phantom_run(const tomo_phantom_order *order, const tomo_phantom_work *work,
                             tomo_error *err) {
    size_t most = (size_t)work->batch * (size_t)tomo_pool_threads(order->context->pool);
    if ((int64_t)most > order->count) most = (size_t)order->count;
    batch b = {.order = order,
               .work = work,
               .items = malloc(most * work->item_size),
               .statuses = malloc(most * sizeof *b.statuses),
               .errors = calloc(most, sizeof *b.errors)};
    tomo_status status = b.items == NULL || b.statuses == NULL || b.errors == NULL
                             ? tomo_fail_memory(err, "phantom", most * work->item_size)
                             : TOMO_OK;
    for (; b.first < order->count && status == TOMO_OK; b.first += (int64_t)most) {
        int64_t left = order->count - b.first;
        status = run_batch(&b, left < (int64_t)most ? left : (int64_t)most, err);
    }
    free(b.items);
    free(b.statuses);
    free(b.errors);
    return status;
}

tomo_status tomo_phantom_put(const tomo_phantom_order *order, const char *name, const char *text,
                             tomo_error *err) {
    char *path = tomo_path_join(order->folder, name);
    tomo_writer *writer = NULL;
    tomo_status status = path == NULL ? tomo_fail_memory(err, name, 0) : tomo_writer_open(path, &writer, err);
    free(path);
    if (status != TOMO_OK) return status;
    tomo_writer_skip_sync(writer);
    status = tomo_writer_write(writer, text, strlen(text), err);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}

/* ------------------------------------------------------------------ together */

static tomo_status check_options(tomo_phantom_order *m, tomo_error *err) {
    static const int64_t usual[3] = {64, 128, 128}, m3d[3] = {32, 256, 256};
    const tomo_phantom_options *o = m->options;
    if (o->count < 0 || o->count > COUNT_MOST) {
        return tomo_fail(err, TOMO_E_USAGE, "%lld phantoms; 1 to %d are possible", (long long)o->count,
                         (int)COUNT_MOST);
    }
    if (o->questions < -1 || o->questions > TOMO_PHANTOM_QUESTIONS_MOST) {
        return tomo_fail(err, TOMO_E_USAGE, "%lld questions a scan; at most %d are possible",
                         (long long)o->questions, (int)TOMO_PHANTOM_QUESTIONS_MOST);
    }
    if (o->contents != TOMO_PHANTOM_SCANS && o->format != TOMO_PHANTOM_NIFTI) {
        return tomo_fail(err, TOMO_E_USAGE, "slices and texts have one format; leave the format out");
    }
    if (o->slab < 0 || (o->slab > 0 && (o->contents == TOMO_PHANTOM_TEXT || o->format == TOMO_PHANTOM_M3D))) {
        return tomo_fail(
            err, TOMO_E_USAGE,
            "a slab of %lld; 1 or more are wanted, and neither with text nor with the layout of M3D",
            (long long)o->slab);
    }
    m->count = o->count > 0 ? o->count : 1;
    m->slab = o->slab > 0 || o->contents != TOMO_PHANTOM_SLICES ? o->slab : 1;
    m->questions = o->questions == 0 ? 8 : o->questions < 0 ? 0 : (int)o->questions;
    for (int i = 0; i < 3; i++) {
        m->size[i] = o->size[i] != 0 ? o->size[i] : o->format == TOMO_PHANTOM_M3D ? m3d[i] : usual[i];
    }
    if (m->slab > m->size[0]) {
        return tomo_fail(err, TOMO_E_USAGE, "a slab of %lld; the scan has %lld slices", (long long)m->slab,
                         (long long)m->size[0]);
    }
    m->split = -1;
    for (int i = 0; i < SPLITS && o->split != NULL; i++) {
        if (strcmp(o->split, tomo_phantom_split_names[i]) == 0) m->split = i;
    }
    if (o->split != NULL && m->split < 0) {
        return tomo_fail(err, TOMO_E_USAGE, "split \"%.40s\"; train, validation or test is wanted", o->split);
    }
    return TOMO_OK;
}

static tomo_status occupied(const char *folder, tomo_error *err) {
    return tomo_fail(err, TOMO_E_IO, "%s: there already; a new or empty folder is wanted", folder);
}

/* Before anything is made: what comes between is for put_in_place. */
static tomo_status check_place(const char *folder, tomo_error *err) {
    if (!tomo_path_exists(folder)) return TOMO_OK;
    DIR *stream = opendir(folder);
    if (stream == NULL)
        return errno == ENOTDIR ? occupied(folder, err) : tomo_fail_errno(err, folder, "read the folder");
    int entries = 0;
    while (entries < 3 && readdir(stream) != NULL) entries++; /* . and .. */
    (void)closedir(stream);
    return entries > 2 ? occupied(folder, err) : TOMO_OK;
}

static tomo_status put_in_place(const char *part, const char *folder, tomo_error *err) {
    if (rename(part, folder) == 0) return TOMO_OK;
    return errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR
               ? occupied(folder, err)
               : tomo_fail_errno(err, folder, "rename the finished folder");
}

tomo_status tomo_phantom_write(tomo_context *context, const char *folder, const tomo_phantom_options *options,
                               char **json, tomo_error *err) {
    static tomo_status (*const writers[])(const tomo_phantom_order *, cJSON **, tomo_error *) = {
        tomo_phantom_scans, tomo_phantom_slices, tomo_phantom_texts};
    const tomo_phantom_options none = {0};
    tomo_phantom_order order = {.context = context, .options = options != NULL ? options : &none};
    cJSON *summary = NULL;
    *json = NULL;
    tomo_status status = check_options(&order, err);
    if (status != TOMO_OK) return status;
    status = check_place(folder, err);
    if (status != TOMO_OK) return status;
    size_t length = tomo_path_length(folder), room = length + 32;
    char *part = malloc(room);
    if (part == NULL) return tomo_fail_memory(err, folder, room);
    (void)snprintf(part, room, "%.*s.%ld.part", (int)length, folder, (long)getpid());
    order.folder = part;
    status = writers[order.options->contents](&order, &summary, err);
    if (status == TOMO_OK) status = tomo_json_hand_out(summary, json, err);
    if (status == TOMO_OK) status = tomo_folder_sync(part, err);
    if (status == TOMO_OK) status = put_in_place(part, folder, err);
    if (status != TOMO_OK) {
        tomo_folder_remove(part);
        free(*json);
        *json = NULL;
    }
    free(part);
    return status;
}
