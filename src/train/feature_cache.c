#include "train/feature_cache.h"

#include "base/file.h"
#include "tensor/kernels.h"
#include "train/feature_store.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A scan's digest, valid as long as its file looks the same. */
typedef struct known_scan {
    char *path;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
    char hash[TOMO_DIGEST_TEXT];
} known_scan;

struct tomo_feature_cache {
    tomo_feature_store *store;
    const tomo_hooks *hooks;
    char *settings; /* what decides what the encoder sees and which slices are kept, as text */
    char encoder[TOMO_DIGEST_TEXT];
    pthread_mutex_t mutex; /* of what follows */
    void *known;           /* a tree of tsearch(3) */
    tomo_feature_counts counts;
    bool warned; /* of an entry that could not be written */
};

void tomo_features_free(tomo_features *f) {
    free(f->kept);
    free(f->kept_z);
    free(f->values);
    free(f->packed);
    *f = (tomo_features){0};
}

/* [count] of the values in bfloat16, freed by free; NULL and a recorded failure when there is no memory. */
static uint16_t *round_values(const tomo_features *f, tomo_error *err) {
    int64_t count = 0;
    (void)tomo_features_count(f, &count);
    uint16_t *rounded = malloc((size_t)count * sizeof *rounded);
    if (rounded == NULL) (void)tomo_fail_memory(err, "features", (size_t)count * sizeof *rounded);
    for (int64_t i = 0; rounded != NULL && i < count; i++) rounded[i] = tomo_float_to_bf16(f->values[i]);
    return rounded;
}

tomo_status tomo_features_pack(tomo_features *f, tomo_error *err) {
    f->packed = round_values(f, err);
    if (f->packed == NULL) return TOMO_E_MEMORY;
    free(f->values);
    f->values = NULL;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ opening */

static bool add_section(tomo_buffer *text, const cJSON *section) {
    char *printed = section != NULL ? cJSON_PrintUnformatted(section) : NULL;
    if (section != NULL && printed == NULL) return false;
    bool good =
        tomo_buffer_add_text(text, printed != NULL ? printed : "null") && tomo_buffer_add(text, "\n", 1);
    cJSON_free(printed);
    return good;
}

static tomo_status write_settings(tomo_feature_cache *c, const tomo_model *m, tomo_error *err) {
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    const cJSON *json = m->config.json;
    bool good = add_section(&text, tomo_json_get(json, "volume")) &&
                add_section(&text, tomo_json_get(json, "prune")) &&
                add_section(&text, tomo_json_get(tomo_json_get(json, "encoder"), "layers")) &&
                tomo_buffer_add_text(&text, m->precision);
    if (!good) {
        tomo_buffer_free(&text);
        return tomo_fail_memory(err, "settings", 0);
    }
    c->settings = text.data;
    return TOMO_OK;
}

static tomo_status hash_path(const char *path, char hash[TOMO_DIGEST_TEXT], tomo_error *err) {
    tomo_digest *digest = NULL;
    tomo_status status = tomo_digest_create(&digest, err);
    if (status == TOMO_OK) status = tomo_digest_add_path(digest, path, err);
    if (status == TOMO_OK) tomo_digest_text(digest, hash);
    tomo_digest_free(digest);
    return status;
}

static tomo_status hash_encoder(tomo_feature_cache *c, const tomo_model *m, tomo_error *err) {
    char *path = tomo_path_join(m->folder, m->config.encoder_path);
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, m->folder, 0) : hash_path(path, c->encoder, err);
    free(path);
    return status;
}

tomo_status tomo_feature_cache_open(const char *folder, int64_t limit_bytes, const tomo_model *model,
                                    const tomo_hooks *hooks, tomo_feature_cache **cache, tomo_error *err) {
    tomo_feature_cache *c = calloc(1, sizeof *c);
    *cache = NULL;
    if (c == NULL) return tomo_fail_memory(err, folder, sizeof *c);
    c->hooks = hooks;
    (void)pthread_mutex_init(&c->mutex, NULL);
    tomo_status status = tomo_feature_store_open(folder, limit_bytes, &c->store, err);
    if (status == TOMO_OK) status = write_settings(c, model, err);
    if (status == TOMO_OK) status = hash_encoder(c, model, err);
    if (status == TOMO_OK) {
        *cache = c;
    } else {
        tomo_feature_cache_free(c);
    }
    return status;
}

static void free_known(void *known) {
    free(((known_scan *)known)->path);
    free(known);
}

void tomo_feature_cache_free(tomo_feature_cache *cache) {
    if (cache == NULL) return;
    tomo_feature_store_free(cache->store);
    tdestroy(cache->known, free_known);
    (void)pthread_mutex_destroy(&cache->mutex);
    free(cache->settings);
    free(cache);
}

tomo_feature_counts tomo_feature_cache_counts(const tomo_feature_cache *cache) {
    tomo_feature_cache *c = (tomo_feature_cache *)cache; /* the mutex alone changes */
    (void)pthread_mutex_lock(&c->mutex);
    tomo_feature_counts counts = c->counts;
    (void)pthread_mutex_unlock(&c->mutex);
    return counts;
}

/* ------------------------------------------------------------------------------ keys */

static int by_path(const void *a, const void *b) {
    return strcmp(((const known_scan *)a)->path, ((const known_scan *)b)->path);
}

static bool looks_the_same(const known_scan *k, const struct stat *info) {
    return k->device == info->st_dev && k->inode == info->st_ino && k->size == info->st_size &&
           k->modified.tv_sec == info->st_mtim.tv_sec && k->modified.tv_nsec == info->st_mtim.tv_nsec;
}

static bool find_known(tomo_feature_cache *c, const char *path, const struct stat *info,
                       char hash[TOMO_DIGEST_TEXT]) {
    known_scan wanted = {.path = (char *)path};
    (void)pthread_mutex_lock(&c->mutex);
    known_scan *const *found = tfind(&wanted, &c->known, by_path);
    bool good = found != NULL && looks_the_same(*found, info);
    if (good) memcpy(hash, (*found)->hash, TOMO_DIGEST_TEXT);
    (void)pthread_mutex_unlock(&c->mutex);
    return good;
}

/* What cannot be remembered is hashed again next time. */
static void remember(tomo_feature_cache *c, const char *path, const struct stat *info, const char *hash) {
    known_scan *k = calloc(1, sizeof *k);
    if (k != NULL) k->path = strdup(path);
    if (k == NULL || k->path == NULL) {
        free(k);
        return;
    }
    k->device = info->st_dev;
    k->inode = info->st_ino;
    k->size = info->st_size;
    k->modified = info->st_mtim;
    memcpy(k->hash, hash, TOMO_DIGEST_TEXT);
    (void)pthread_mutex_lock(&c->mutex);
    known_scan **at = tsearch(k, &c->known, by_path);
    if (at == NULL) {
        free_known(k);
    } else if (*at != k) { /* an older one of that path */
        known_scan *old = *at;
        *at = k;
        free_known(old);
    }
    (void)pthread_mutex_unlock(&c->mutex);
}

static tomo_status hash_scan(tomo_feature_cache *c, const char *path, char hash[TOMO_DIGEST_TEXT],
                             tomo_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) return tomo_fail_errno(err, path, "open");
    if (find_known(c, path, &info, hash)) return TOMO_OK;
    tomo_status status = hash_path(path, hash, err);
    if (status == TOMO_OK) remember(c, path, &info, hash);
    return status;
}

static tomo_status make_key(tomo_feature_cache *c, const tomo_exec *exec, const char *path,
                            const tomo_volume_options *options, char key[TOMO_DIGEST_TEXT], tomo_error *err) {
    tomo_digest *digest = NULL;
    char scan[TOMO_DIGEST_TEXT];
    tomo_status status = hash_scan(c, path, scan, err);
    if (status == TOMO_OK) status = tomo_digest_create(&digest, err);
    if (status != TOMO_OK) return status;
    tomo_digest_add_text(digest, "features 2"); /* grows with what an entry holds */
    tomo_digest_add_text(digest, scan);
    tomo_digest_add_text(digest, options != NULL && options->series != NULL ? options->series : "");
    tomo_digest_add_text(digest, c->settings);
    tomo_digest_add_text(digest, c->encoder);
    tomo_digest_add_text(digest, exec->kernels->name);
    tomo_digest_text(digest, key);
    tomo_digest_free(digest);
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ computing */

static tomo_status change_slices(void *user, tomo_slices *slices, tomo_error *err) {
    return tomo_augment_slices(user, slices, err);
}

/* Takes what is wanted out of a reading. */
static tomo_status take_reading(const tomo_model *m, tomo_reading *r, tomo_features *f, tomo_error *err) {
    const tomo_connector_config *c = &m->config.connector;
    *f = (tomo_features){.layers = m->config.layer_count,
                         .kept_count = r->prune.count,
                         .grid = {c->grid[0], c->grid[1]},
                         .width = c->encoder_width,
                         .slices = r->slices,
                         .slice_mm = r->slice_mm};
    f->kept = calloc((size_t)f->kept_count, sizeof *f->kept);
    if (f->kept == NULL) return tomo_fail_memory(err, "features", (size_t)f->kept_count * sizeof *f->kept);
    memcpy(f->kept, r->prune.kept, (size_t)f->kept_count * sizeof *f->kept);
    f->kept_z = r->kept_z;
    f->values = r->features;
    r->kept_z = NULL;
    r->features = NULL;
    return TOMO_OK;
}

static tomo_status compute(const tomo_model *m, tomo_exec *exec, const char *path,
                           const tomo_volume_options *options, const tomo_augmentation *augmentation,
                           tomo_features *f, tomo_error *err) {
    tomo_volume *volume = NULL;
    tomo_reading reading = {0};
    bool plain = augmentation == NULL || tomo_augmentation_is_none(augmentation);
    tomo_status status = tomo_volume_open(path, options, &volume, err);
    if (status == TOMO_OK) {
        status = tomo_reading_encode(m, exec, volume, NULL, plain ? NULL : change_slices,
                                     (void *)augmentation, &reading, err);
    }
    tomo_volume_free(volume);
    if (status == TOMO_OK) status = take_reading(m, &reading, f, err);
    tomo_reading_free(&reading);
    return status;
}

/* ------------------------------------------------------------------------------ together */

static void count(tomo_feature_cache *c, tomo_lookup found, int64_t evicted) {
    (void)pthread_mutex_lock(&c->mutex);
    c->counts.hits += found == TOMO_LOOKUP_HIT;
    c->counts.misses += found != TOMO_LOOKUP_HIT;
    c->counts.damaged += found == TOMO_LOOKUP_DAMAGED;
    c->counts.evicted += evicted;
    (void)pthread_mutex_unlock(&c->mutex);
}

/* Keeps what was computed. A full disk does not end a training run: it is told once. */
static tomo_status keep(tomo_feature_cache *c, const char *key, tomo_features *f, int64_t *evicted,
                        tomo_error *err) {
    tomo_error failure = {0};
    int64_t values = 0;
    uint16_t *rounded = round_values(f, err);
    if (rounded == NULL) return TOMO_E_MEMORY;
    (void)tomo_features_count(f, &values);
    for (int64_t i = 0; i < values; i++) f->values[i] = tomo_bf16_to_float(rounded[i]);
    tomo_status status = tomo_feature_store_put(c->store, key, f, rounded, evicted, &failure);
    free(rounded);
    if (status != TOMO_OK) {
        (void)pthread_mutex_lock(&c->mutex);
        bool first = !c->warned;
        c->warned = true;
        (void)pthread_mutex_unlock(&c->mutex);
        if (first) tomo_log(c->hooks, TOMO_LOG_WARNING, "features are not kept: %s", failure.message);
    }
    return TOMO_OK;
}

static tomo_status get_cached(tomo_feature_cache *c, const tomo_model *model, tomo_exec *exec,
                              const char *path, const tomo_volume_options *options, tomo_features *f,
                              tomo_error *err) {
    char key[TOMO_DIGEST_TEXT];
    tomo_lookup found = TOMO_LOOKUP_MISS;
    int64_t evicted = 0;
    tomo_status status = make_key(c, exec, path, options, key, err);
    if (status == TOMO_OK) status = tomo_feature_store_get(c->store, key, f, &found, err);
    if (status != TOMO_OK) return status;
    if (found == TOMO_LOOKUP_DAMAGED) {
        tomo_log(c->hooks, TOMO_LOG_WARNING, "features of %s were damaged and are computed again", path);
    }
    if (found != TOMO_LOOKUP_HIT) {
        status = compute(model, exec, path, options, NULL, f, err);
        if (status == TOMO_OK) status = keep(c, key, f, &evicted, err);
    }
    if (status == TOMO_OK) count(c, found, evicted);
    if (status == TOMO_OK) { /* a hit may come from a model that needs no distance */
        tomo_error failure = {0};
        status = tomo_reading_check_distance(model, f->slice_mm, &failure);
        if (status != TOMO_OK) (void)tomo_fail(err, status, "%s: %s", path, failure.message);
    }
    return status;
}

tomo_status tomo_features_get(tomo_feature_cache *cache, const tomo_model *model, tomo_exec *exec,
                              const char *path, const tomo_volume_options *options,
                              const tomo_augmentation *augmentation, tomo_features *features,
                              tomo_error *err) {
    tomo_features f = {0};
    bool plain = augmentation == NULL || tomo_augmentation_is_none(augmentation);
    if (cache != NULL && !plain) {
        return tomo_fail(err, TOMO_E_USAGE, "augmented features are not kept; no cache is wanted");
    }
    tomo_status status = cache != NULL ? get_cached(cache, model, exec, path, options, &f, err)
                                       : compute(model, exec, path, options, augmentation, &f, err);
    if (status != TOMO_OK) {
        tomo_features_free(&f);
        return status;
    }
    tomo_features_free(features);
    *features = f;
    return TOMO_OK;
}
