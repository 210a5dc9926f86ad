#include "train/fresh.h"

#include "base/file.h"
#include "base/folder.h"
#include "base/random.h"
#include "base/size.h"
#include "base/text.h"
#include "language/decoder.h"
#include "train/trainee.h"
#include "vision/vit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Collects what a network's loader asks for. */
typedef struct maker {
    tomo_arena *arena;
    tomo_random random;
    tomo_parameters list;
    tomo_error error;
} maker;

static void add_tensor(void *user, const char *name, int rank, const int64_t *shape) {
    maker *m = user;
    int64_t count;
    if (m->error.status != TOMO_OK) return;
    char *copy = tomo_arena_alloc(m->arena, strlen(name) + 1);
    float *data = tomo_shape_count(shape, rank, &count)
                      ? tomo_arena_alloc(m->arena, (size_t)count * sizeof *data)
                      : NULL;
    if (copy == NULL || data == NULL) {
        (void)tomo_fail_memory(&m->error, name, 0);
        return;
    }
    memcpy(copy, name, strlen(name) + 1);
    bool norm = strstr(name, "norm") != NULL && tomo_ends_with(name, "weight");
    bool zero = tomo_ends_with(name, "bias");
    /* Tables of tokens and positions small; matrices so that a layer keeps the size of what it is given. */
    bool table = rank == 1 || (rank == 2 && strstr(name, "embed") != NULL);
    int64_t fan = rank > 1 && shape[0] > 0 ? count / shape[0] : 1;
    double deviation = table ? 0.02 : 1 / sqrt((double)fan);
    for (int64_t i = 0; i < count; i++) {
        data[i] = norm ? 1 : zero ? 0 : (float)(tomo_random_normal(&m->random) * deviation);
    }
    tomo_tensor t = tomo_tensor_over(data, TOMO_F32, rank, shape);
    (void)tomo_parameters_add(&m->list, copy, &t, &m->error);
}

static bool has_weights(const char *folder) {
    static const char *const names[] = {"model.safetensors",           "model.safetensors.index.json",
                                        "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
                                        "pytorch_model.bin",           "pytorch_model.bin.index.json"};
    bool found = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0] && !found; i++) {
        char *path = tomo_path_join(folder, names[i]);
        found = path != NULL && tomo_path_exists(path);
        free(path);
    }
    return found;
}

static tomo_status list_language(const char *folder, maker *m, tomo_error *err) {
    tomo_decoder_config config;
    tomo_status status = tomo_decoder_config_read(folder, &config, err);
    return status == TOMO_OK ? tomo_decoder_parameters(&config, add_tensor, m, err) : status;
}

static tomo_status list_encoder(const char *folder, maker *m, tomo_error *err) {
    char *path = tomo_path_join(folder, "config.json");
    cJSON *root = NULL;
    tomo_vit *vit = calloc(1, sizeof *vit);
    tomo_binder binder = {.prefix = "", .collect = add_tensor, .collect_user = m};
    tomo_status status = path == NULL || vit == NULL ? tomo_fail_memory(err, folder, sizeof *vit)
                                                     : tomo_json_open(path, &root, err);
    if (status == TOMO_OK) status = tomo_clip_load(path, root, folder, &binder, vit, err);
    cJSON_Delete(root);
    free(vit);
    free(path);
    return status;
}

static tomo_status make(const char *folder, const char *to, uint64_t seed,
                        tomo_status (*list)(const char *, maker *, tomo_error *), const char **used,
                        tomo_error *err) {
    *used = folder;
    if (has_weights(folder)) return TOMO_OK;
    *used = to;
    if (tomo_path_exists(to)) return TOMO_OK;
    size_t length = strlen(to) + 8;
    char *part = malloc(length);
    maker m = {.random = tomo_random_seed(seed), .arena = tomo_arena_create(0)};
    tomo_status status = part == NULL || m.arena == NULL ? tomo_fail_memory(err, to, length) : TOMO_OK;
    if (status == TOMO_OK) {
        (void)snprintf(part, length, "%s.part", to);
        tomo_folder_remove(part);
        status = list(folder, &m, err);
    }
    if (status == TOMO_OK && m.error.status != TOMO_OK) {
        if (err != NULL) *err = m.error;
        status = m.error.status;
    }
    if (status == TOMO_OK) status = tomo_folder_link(folder, part, true, err);
    if (status == TOMO_OK) status = tomo_parameters_write(&m.list, part, "model.safetensors", err);
    if (status == TOMO_OK) status = tomo_folder_replace(part, to, err);
    tomo_parameters_free(&m.list);
    tomo_arena_free(m.arena);
    free(part);
    return status;
}

tomo_status tomo_fresh_language(const char *folder, const char *to, uint64_t seed, const char **used,
                                tomo_error *err) {
    return make(folder, to, seed, list_language, used, err);
}

tomo_status tomo_fresh_encoder(const char *folder, const char *to, uint64_t seed, const char **used,
                               tomo_error *err) {
    return make(folder, to, seed, list_encoder, used, err);
}
