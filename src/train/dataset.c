#include "train/dataset_impl.h"

#include "base/file.h"
#include "base/random.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES ((size_t)1 << 18)

/* ------------------------------------------------------------------------------ memory */

static void *reserve(tomo_dataset *d, size_t size, size_t alignment) {
    tomo_text_block *b = d->blocks;
    size_t begin = b != NULL ? (b->used + alignment - 1) / alignment * alignment : 0;
    if (b == NULL || begin > b->size || size > b->size - begin) {
        size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
        b = malloc(sizeof *b + room);
        if (b == NULL) return NULL;
        *b = (tomo_text_block){.next = d->blocks, .size = room};
        d->blocks = b;
        begin = 0; /* the head is a multiple of a pointer's size */
    }
    b->used = begin + size;
    return b->bytes + begin;
}

char *tomo_dataset_keep(tomo_dataset *d, const char *text, size_t size) {
    char *copy = size < SIZE_MAX / 2 ? reserve(d, size + 1, 1) : NULL;
    if (copy == NULL) return NULL;
    if (size > 0) memcpy(copy, text, size);
    copy[size] = '\0';
    return copy;
}

const char **tomo_dataset_keep_choices(tomo_dataset *d, size_t count) {
    return reserve(d, count * sizeof(char *), sizeof(char *));
}

/* ------------------------------------------------------------------------------ adding */

bool tomo_dataset_wants(const tomo_dataset *d, const char *split, tomo_sample_kind kind) {
    if ((d->options.kinds & (unsigned)kind) == 0) return false;
    return d->options.split == NULL || strcmp(d->options.split, split) == 0;
}

static tomo_sample_tally *find_tally(tomo_dataset *d, const tomo_sample *s) {
    for (size_t i = 0; i < d->tally_count; i++) {
        tomo_sample_tally *t = &d->tallies[i];
        if (t->kind == s->kind && strcmp(t->split, s->split) == 0) return t;
    }
    tomo_sample_tally *tallies = realloc(d->tallies, (d->tally_count + 1) * sizeof *tallies);
    if (tallies == NULL) return NULL;
    d->tallies = tallies;
    tallies[d->tally_count] = (tomo_sample_tally){s->split, s->kind, 0};
    return &tallies[d->tally_count++];
}

tomo_status tomo_dataset_add(tomo_dataset *d, const tomo_sample *sample, tomo_error *err) {
    tomo_sample_tally *tally = find_tally(d, sample);
    if (tally == NULL) return tomo_fail_memory(err, sample->source, 0);
    if (d->options.limit > 0 && tally->count == d->options.limit) return TOMO_OK;
    if (d->count == d->capacity) {
        size_t capacity = d->capacity * 2 + 256;
        tomo_sample *samples = realloc(d->samples, capacity * sizeof *samples);
        if (samples == NULL) return tomo_fail_memory(err, sample->source, capacity * sizeof *samples);
        d->samples = samples;
        d->capacity = capacity;
    }
    d->samples[d->count++] = *sample;
    tally->count++;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ opening */

static void add_to_hash(tomo_digest *digest, const tomo_sample *s) {
    const char *texts[] = {s->name, s->split, s->question, s->answer, s->letter};
    unsigned char numbers[] = {(unsigned char)s->kind, (unsigned char)s->type,
                               (unsigned char)s->choice_count};
    tomo_digest_add(digest, numbers, sizeof numbers);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        tomo_digest_add_text(digest, texts[i] != NULL ? texts[i] : "");
    }
    for (size_t i = 0; i < s->choice_count; i++) tomo_digest_add_text(digest, s->choices[i]);
}

static tomo_status hash_samples(tomo_dataset *d, tomo_error *err) {
    tomo_digest *digest = NULL;
    tomo_status status = tomo_digest_create(&digest, err);
    if (status != TOMO_OK) return status;
    for (size_t i = 0; i < d->count; i++) add_to_hash(digest, &d->samples[i]);
    tomo_digest_text(digest, d->hash);
    tomo_digest_free(digest);
    return TOMO_OK;
}

static bool has(const char *folder, const char *name) {
    char *path = tomo_path_join(folder, name);
    bool found = path != NULL && tomo_path_exists(path);
    free(path);
    return found;
}

static tomo_status read_path(tomo_dataset *d, const char *path, tomo_error *err) {
    const tomo_dataset_options *o = &d->options;
    d->is_m3d = tomo_path_is_folder(path) && (o->captions != NULL || o->questions != NULL ||
                                              has(path, "M3D_Cap_npy") || has(path, "M3D-VQA"));
    tomo_status status =
        d->is_m3d ? tomo_dataset_read_m3d(d, path, err) : tomo_dataset_read_own(d, path, err);
    if (status == TOMO_OK && d->count == 0) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: no sample of the wanted kind%s%s", path,
                           o->split != NULL ? " in split " : "", o->split != NULL ? o->split : "");
    }
    return status == TOMO_OK ? hash_samples(d, err) : status;
}

tomo_status tomo_dataset_open(const char *path, const tomo_dataset_options *options, tomo_dataset **dataset,
                              tomo_error *err) {
    tomo_dataset *d = calloc(1, sizeof *d);
    *dataset = NULL;
    if (d == NULL) return tomo_fail_memory(err, path, sizeof *d);
    if (options != NULL) d->options = *options;
    if (d->options.kinds == 0) d->options.kinds = TOMO_SAMPLE_ALL;
    tomo_status status = read_path(d, path, err);
    d->options = (tomo_dataset_options){0};
    if (status == TOMO_OK) {
        *dataset = d;
    } else {
        tomo_dataset_free(d);
    }
    return status;
}

void tomo_dataset_free(tomo_dataset *dataset) {
    if (dataset == NULL) return;
    for (tomo_text_block *b = dataset->blocks, *next; b != NULL; b = next) {
        next = b->next;
        free(b);
    }
    free(dataset->samples);
    free(dataset->tallies);
    free(dataset);
}

size_t tomo_dataset_count(const tomo_dataset *dataset) {
    return dataset->count;
}

const tomo_sample *tomo_dataset_at(const tomo_dataset *dataset, size_t index) {
    return &dataset->samples[index];
}

bool tomo_dataset_is_m3d(const tomo_dataset *dataset) {
    return dataset->is_m3d;
}

const char *tomo_dataset_hash(const tomo_dataset *dataset) {
    return dataset->hash;
}

/* ------------------------------------------------------------------------------ verifying */

static int by_scan(const void *a, const void *b, void *samples) {
    size_t i = *(const size_t *)a, j = *(const size_t *)b;
    int order = strcmp(((tomo_sample *)samples)[i].scan, ((tomo_sample *)samples)[j].scan);
    return order != 0 ? order : (i > j) - (i < j);
}

/* next[i]: the next sample with the same scan, or i itself; first[i]: whether i is the first one of its scan.
 */
static tomo_status chain_scans(const tomo_dataset *d, size_t *next, bool *first, tomo_error *err) {
    size_t *order = calloc(d->count + 1, sizeof *order);
    if (order == NULL) return tomo_fail_memory(err, "scans", d->count * sizeof *order);
    for (size_t i = 0; i < d->count; i++) order[i] = i;
    qsort_r(order, d->count, sizeof *order, by_scan, d->samples);
    for (size_t i = 0; i < d->count; i++) {
        bool same = i > 0 && strcmp(d->samples[order[i]].scan, d->samples[order[i - 1]].scan) == 0;
        first[order[i]] = !same;
        next[order[i]] = order[i];
        if (same) next[order[i - 1]] = order[i];
    }
    free(order);
    return TOMO_OK;
}

tomo_status tomo_dataset_number_scans(const tomo_dataset *dataset, size_t *numbers, size_t *scans,
                                      tomo_error *err) {
    size_t *next = calloc(dataset->count + 1, sizeof *next);
    bool *first = calloc(dataset->count + 1, sizeof *first);
    tomo_status status = next == NULL || first == NULL ? tomo_fail_memory(err, "scans", dataset->count)
                                                       : chain_scans(dataset, next, first, err);
    *scans = 0;
    for (size_t i = 0; status == TOMO_OK && i < dataset->count; i++) {
        if (!first[i]) continue;
        for (size_t k = i;; k = next[k]) {
            numbers[k] = *scans;
            if (next[k] == k) break;
        }
        ++*scans;
    }
    free(next);
    free(first);
    return status;
}

typedef struct verifier {
    tomo_dataset *dataset;
    const tomo_volume_options *options;
    tomo_dataset_scan_fn seen;
    void *user;
    const size_t *next;
} verifier;

/* False stops the walk, with *status set. */
static bool verify_scan(const verifier *v, size_t index, tomo_status *status, tomo_error *err) {
    tomo_dataset *d = v->dataset;
    tomo_volume *volume = NULL;
    tomo_error failure = {0};
    if (d->samples[index].name[0] == '\0') return true;
    *status = tomo_volume_open(d->samples[index].scan, v->options, &volume, &failure);
    if (*status == TOMO_E_MEMORY || *status == TOMO_E_CANCELLED) {
        if (err != NULL) *err = failure;
        return false;
    }
    const char *wrong =
        *status == TOMO_OK ? NULL : tomo_dataset_keep(d, failure.message, strlen(failure.message));
    bool go_on = v->seen == NULL || v->seen(v->user, &d->samples[index], volume, &failure);
    tomo_volume_free(volume);
    if (*status != TOMO_OK && wrong == NULL) {
        *status = tomo_fail_memory(err, "messages", 0);
        return false;
    }
    *status = go_on ? TOMO_OK : tomo_fail(err, TOMO_E_CANCELLED, "cancelled");
    for (size_t i = index; wrong != NULL; i = v->next[i]) {
        if (d->samples[i].wrong == NULL) d->samples[i].wrong = wrong;
        if (v->next[i] == i) break;
    }
    return go_on;
}

tomo_status tomo_dataset_verify(tomo_dataset *dataset, const tomo_volume_options *options,
                                tomo_dataset_scan_fn seen, void *user, tomo_error *err) {
    const tomo_hooks *hooks = options != NULL ? options->hooks : NULL;
    size_t *next = calloc(dataset->count + 1, sizeof *next), done = 0, total = 0;
    bool *first = calloc(dataset->count + 1, sizeof *first);
    tomo_volume_options quiet = options != NULL ? *options : (tomo_volume_options){0};
    quiet.hooks = NULL; /* the bar shows scans, not the slices of one */
    verifier v = {dataset, &quiet, seen, user, next};
    tomo_status status = next == NULL || first == NULL ? tomo_fail_memory(err, "scans", dataset->count)
                                                       : chain_scans(dataset, next, first, err);
    for (size_t i = 0; status == TOMO_OK && i < dataset->count; i++) total += first[i];
    for (size_t i = 0; status == TOMO_OK && i < dataset->count; i++) {
        if (!first[i]) continue;
        status = tomo_progress(hooks, "checking scans", (int64_t)done++, (int64_t)total, err);
        if (status == TOMO_OK && !verify_scan(&v, i, &status, err)) break;
    }
    free(next);
    free(first);
    return status;
}

size_t tomo_dataset_wrong_count(const tomo_dataset *dataset) {
    size_t count = 0;
    for (size_t i = 0; i < dataset->count; i++) count += dataset->samples[i].wrong != NULL;
    return count;
}

tomo_status tomo_dataset_wrong_table(const tomo_dataset *dataset, char **text, tomo_error *err) {
    tomo_buffer table = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_add_text(&table, "");
    for (size_t i = 0; i < dataset->count; i++) {
        const tomo_sample *s = &dataset->samples[i];
        if (s->wrong == NULL) continue;
        (void)tomo_buffer_format(&table, "%s: row %zu: %s: %s\n", s->source, s->row, s->name, s->wrong);
    }
    *text = NULL;
    if (table.failed) {
        tomo_buffer_free(&table);
        return tomo_fail_memory(err, "table", table.size);
    }
    *text = table.data;
    return TOMO_OK;
}

void tomo_dataset_drop_wrong(tomo_dataset *dataset) {
    size_t kept = 0;
    for (size_t i = 0; i < dataset->count; i++) {
        if (dataset->samples[i].wrong == NULL) dataset->samples[kept++] = dataset->samples[i];
    }
    dataset->count = kept;
}

void tomo_dataset_shuffle(uint64_t seed, uint64_t epoch, size_t count, size_t *order) {
    tomo_random random = tomo_random_seed(seed ^ (epoch + 1) * 0x9e3779b97f4a7c15u);
    for (size_t i = 0; i < count; i++) order[i] = i;
    for (size_t i = count; i > 1; i--) {
        size_t j = (size_t)tomo_random_below(&random, i), other = order[j];
        order[j] = order[i - 1];
        order[i - 1] = other;
    }
}
