#include "train/state.h"

#include "base/digest.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define TENSORS "state.safetensors"
#define POSITION "state.json"
#define SUMS "SHA256SUMS"

static const char *const hashed[] = {TENSORS, POSITION};

/* ---------------------------------------------------------------------------- writing */

static tomo_status write_position(const char *folder, const tomo_position *p, const tomo_optimizer *o,
                                  tomo_error *err) {
    cJSON *root = cJSON_CreateObject();
    char seed[24];
    (void)snprintf(seed, sizeof seed, "%llu", (unsigned long long)p->seed);
    cJSON_AddNumberToObject(root, "version", 1);
    cJSON_AddNumberToObject(root, "optimizer_steps", o == NULL ? 0 : (double)o->steps);
    cJSON_AddNumberToObject(root, "stage", (double)p->stage);
    cJSON_AddNumberToObject(root, "step", (double)p->step);
    cJSON_AddNumberToObject(root, "best_step", (double)p->best_step);
    cJSON_AddNumberToObject(root, "best", p->best);
    cJSON_AddNumberToObject(root, "stale", (double)p->stale);
    cJSON_AddBoolToObject(root, "evaluation_due", p->evaluation_due);
    cJSON_AddNumberToObject(root, "skipped", (double)p->skipped);
    cJSON_AddNumberToObject(root, "skipped_in_row", (double)p->skipped_in_row);
    cJSON_AddNumberToObject(root, "tokens", (double)p->tokens);
    cJSON_AddNumberToObject(root, "seconds", p->seconds);
    cJSON_AddStringToObject(root, "seed", seed);
    char *text = cJSON_Print(root);
    tomo_status status =
        text == NULL ? tomo_fail_memory(err, folder, 0) : tomo_folder_write(folder, POSITION, text, err);
    cJSON_free(text);
    cJSON_Delete(root);
    return status;
}

/* A name with "mean." or the like before it, freed with the others. */
static tomo_stored entry_of(const tomo_tensor *t, const char *prefix, const char *name, const void *data) {
    tomo_stored s = {.dtype = TOMO_F32, .rank = t->rank, .count = tomo_tensor_count(t), .data = data};
    for (int i = 0; i < t->rank; i++) s.shape[i] = t->shape[i];
    size_t length = strlen(prefix) + strlen(name) + 1;
    char *full = malloc(length);
    if (full != NULL) (void)snprintf(full, length, "%s%s", prefix, name);
    s.name = full;
    return s;
}

static tomo_status write_tensors(const char *folder, const tomo_trained *trained, tomo_error *err) {
    size_t most = 0, count = 0;
    for (int i = 0; i < trained->count; i++) most += trained->lists[i]->count;
    if (trained->optimizer != NULL) most += 2 * trained->optimizer->parameters->count;
    tomo_stored *list = calloc(most + 1, sizeof *list);
    char *path = tomo_path_join(folder, TENSORS);
    bool good = list != NULL && path != NULL;
    for (int i = 0; i < trained->count && good; i++) {
        for (size_t k = 0; k < trained->lists[i]->count; k++) {
            const struct tomo_parameter *p = &trained->lists[i]->list[k];
            list[count++] = entry_of(&p->tensor, "", p->name, p->tensor.data);
        }
    }
    const tomo_optimizer *o = trained->optimizer;
    for (size_t k = 0; good && o != NULL && k < o->parameters->count; k++) {
        const struct tomo_parameter *p = &o->parameters->list[k];
        list[count++] = entry_of(&p->tensor, "mean.", p->name, o->mean[k]);
        list[count++] = entry_of(&p->tensor, "square.", p->name, o->square[k]);
    }
    for (size_t i = 0; i < count; i++) good = good && list[i].name != NULL;
    tomo_status status = good ? tomo_safetensors_write(path, list, count, NULL, err)
                              : tomo_fail_memory(err, folder, most * sizeof *list);
    for (size_t i = 0; i < count; i++) free((char *)(uintptr_t)list[i].name);
    free(list);
    free(path);
    return status;
}

static tomo_status hash_file(const char *folder, const char *name, char text[TOMO_DIGEST_TEXT],
                             tomo_error *err) {
    char *path = tomo_path_join(folder, name);
    tomo_digest *digest = NULL;
    tomo_status status = path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_digest_create(&digest, err);
    if (status == TOMO_OK) status = tomo_digest_add_path(digest, path, err);
    if (status == TOMO_OK) tomo_digest_text(digest, text);
    tomo_digest_free(digest);
    free(path);
    return status;
}

/* The lines of SHA256SUMS. */
static tomo_status sums_of(const char *folder, char *text, size_t size, tomo_error *err) {
    size_t used = 0;
    for (size_t i = 0; i < sizeof hashed / sizeof hashed[0]; i++) {
        char hash[TOMO_DIGEST_TEXT];
        tomo_status status = hash_file(folder, hashed[i], hash, err);
        if (status != TOMO_OK) return status;
        used += (size_t)snprintf(text + used, size - used, "%s  %s\n", hash, hashed[i]);
    }
    return TOMO_OK;
}

tomo_status tomo_state_write(const char *folder, const tomo_position *position, const tomo_trained *trained,
                             tomo_error *err) {
    size_t length = strlen(folder) + 8;
    char *part = malloc(length), sums[512];
    if (part == NULL) return tomo_fail_memory(err, folder, length);
    (void)snprintf(part, length, "%s.part", folder);
    tomo_folder_remove(part);
    tomo_status status = mkdir(part, 0777) == 0 ? TOMO_OK : tomo_fail_errno(err, part, "create");
    if (status == TOMO_OK) status = write_tensors(part, trained, err);
    if (status == TOMO_OK) status = write_position(part, position, trained->optimizer, err);
    if (status == TOMO_OK) status = sums_of(part, sums, sizeof sums, err);
    if (status == TOMO_OK) status = tomo_folder_write(part, SUMS, sums, err);
    if (status == TOMO_OK) status = tomo_folder_replace(part, folder, err);
    if (status != TOMO_OK) tomo_folder_remove(part);
    free(part);
    return status;
}

/* ---------------------------------------------------------------------------- reading */

static tomo_status check_sums(const char *folder, tomo_error *err) {
    char *path = tomo_path_join(folder, SUMS), *found = NULL, wanted[512];
    size_t size;
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_file_read(path, 4096, &found, &size, err);
    if (status == TOMO_OK) status = sums_of(folder, wanted, sizeof wanted, err);
    if (status == TOMO_OK && strcmp(found, wanted) != 0) {
        status = tomo_fail(err, TOMO_E_FORMAT, "%s: damaged: its files are not as " SUMS " says", folder);
    }
    free(found);
    free(path);
    return status;
}

tomo_status tomo_state_peek(const char *folder, tomo_position *p, tomo_error *err) {
    const struct {
        const char *key;
        int64_t *value;
    } numbers[] = {{"stage", &p->stage},  {"step", &p->step},       {"best_step", &p->best_step},
                   {"stale", &p->stale},  {"skipped", &p->skipped}, {"skipped_in_row", &p->skipped_in_row},
                   {"tokens", &p->tokens}};
    *p = (tomo_position){0};
    tomo_status status = check_sums(folder, err);
    if (status != TOMO_OK) return status;
    char *path = tomo_path_join(folder, POSITION);
    cJSON *root = NULL;
    const char *seed = "0";
    status = path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_json_open(path, &root, err);
    tomo_json_at at = {path, ""};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == TOMO_OK; i++) {
        status = tomo_json_int(root, numbers[i].key, at, true, 0, INT64_C(1) << 53, numbers[i].value, err);
    }
    if (status == TOMO_OK) status = tomo_json_double(root, "best", at, true, -1e300, 1e300, &p->best, err);
    if (status == TOMO_OK) status = tomo_json_double(root, "seconds", at, true, 0, 1e300, &p->seconds, err);
    if (status == TOMO_OK)
        status = tomo_json_bool(root, "evaluation_due", at, false, &p->evaluation_due, err);
    if (status == TOMO_OK) status = tomo_json_text(root, "seed", at, true, &seed, err);
    if (status == TOMO_OK) p->seed = strtoull(seed, NULL, 10);
    cJSON_Delete(root);
    free(path);
    return status;
}

static void shape_text(char *text, size_t size, int rank, const int64_t *shape) {
    size_t used = 0;
    text[0] = '\0';
    for (int i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i == 0 ? "" : ", ", (long long)shape[i]);
    }
}

static tomo_status read_tensor(const tomo_checkpoint *file, const char *folder, const char *prefix,
                               const char *name, const tomo_tensor *t, float *data, bool partly,
                               tomo_error *err) {
    char full[320], found[96], wanted[96];
    (void)snprintf(full, sizeof full, "%s%s", prefix, name);
    const tomo_stored *s = tomo_checkpoint_find(file, full);
    if (s == NULL && partly) return TOMO_OK;
    if (s == NULL) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: has no tensor \"%.200s\"; it is of another model or recipe",
                         folder, full);
    }
    bool same = s->rank == t->rank && s->dtype == TOMO_F32;
    for (int i = 0; i < t->rank && same; i++) same = s->shape[i] == t->shape[i];
    if (same) {
        memcpy(data, s->data, (size_t)s->count * sizeof *data);
        return TOMO_OK;
    }
    shape_text(found, sizeof found, s->rank, s->shape);
    shape_text(wanted, sizeof wanted, t->rank, t->shape);
    return tomo_fail(err, TOMO_E_HEADER,
                     "%s: tensor \"%.120s\" is [%s]; [%s] is wanted: it is of another model or recipe",
                     folder, full, found, wanted);
}

/* Steps of the optimiser, fewer than those of the run where some were skipped. */
static tomo_status read_steps(const char *folder, int64_t *steps, tomo_error *err) {
    char *path = tomo_path_join(folder, POSITION);
    cJSON *root = NULL;
    tomo_status status = path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_json_open(path, &root, err);
    if (status == TOMO_OK) {
        status = tomo_json_int(root, "optimizer_steps", (tomo_json_at){path, ""}, true, 0, INT64_C(1) << 53,
                               steps, err);
    }
    cJSON_Delete(root);
    free(path);
    return status;
}

/* A tensor of the state that nothing here has is a difference too. */
static tomo_status check_count(const tomo_checkpoint *file, const char *folder, const tomo_trained *trained,
                               tomo_error *err) {
    for (size_t i = 0; i < tomo_checkpoint_count(file); i++) {
        const char *name = tomo_checkpoint_at(file, i)->name;
        bool known = strncmp(name, "mean.", 5) == 0 || strncmp(name, "square.", 7) == 0;
        for (int l = 0; l < trained->count && !known; l++) {
            for (size_t k = 0; k < trained->lists[l]->count && !known; k++) {
                known = strcmp(trained->lists[l]->list[k].name, name) == 0;
            }
        }
        if (!known) {
            return tomo_fail(err, TOMO_E_HEADER,
                             "%s: tensor \"%.200s\" has no place here; it is of another model or recipe",
                             folder, name);
        }
    }
    return TOMO_OK;
}

tomo_status tomo_state_read(const char *folder, const tomo_trained *trained, bool partly, tomo_error *err) {
    char *path = tomo_path_join(folder, TENSORS);
    tomo_checkpoint *file = NULL;
    tomo_optimizer *o = trained->optimizer;
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_checkpoint_open(path, &file, err);
    for (int i = 0; i < trained->count && status == TOMO_OK; i++) {
        for (size_t k = 0; k < trained->lists[i]->count && status == TOMO_OK; k++) {
            const struct tomo_parameter *p = &trained->lists[i]->list[k];
            status = read_tensor(file, folder, "", p->name, &p->tensor, p->tensor.data, partly, err);
        }
    }
    if (status == TOMO_OK && !partly) status = check_count(file, folder, trained, err);
    for (size_t k = 0; status == TOMO_OK && o != NULL && k < o->parameters->count; k++) {
        const struct tomo_parameter *p = &o->parameters->list[k];
        status = read_tensor(file, folder, "mean.", p->name, &p->tensor, o->mean[k], false, err);
        if (status == TOMO_OK) {
            status = read_tensor(file, folder, "square.", p->name, &p->tensor, o->square[k], false, err);
        }
    }
    if (status == TOMO_OK && o != NULL) status = read_steps(folder, &o->steps, err);
    tomo_checkpoint_free(file);
    free(path);
    return status;
}
