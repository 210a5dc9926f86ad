/* A checkpoint split over several files: {"weight_map": {tensor: file}} beside them. */
#include "weights/store.h"

#include "base/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
    const char *tensor, *file;
} place;

static int by_file(const void *a, const void *b) {
    const place *x = a, *y = b;
    int order = strcmp(x->file, y->file);
    return order != 0 ? order : strcmp(x->tensor, y->tensor);
}

/* A shard lies beside its index: a path in the name could reach any file of the machine. */
static bool is_plain_name(const char *name) {
    return name[0] != '\0' && strchr(name, '/') == NULL && strcmp(name, "..") != 0 && strcmp(name, ".") != 0;
}

static tomo_status read_places(const cJSON *map, const char *index, place **places, size_t *count,
                               tomo_error *err) {
    int size = cJSON_GetArraySize(map);
    if (!cJSON_IsObject(map) || size == 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: no \"weight_map\" in it", index);
    }
    if (size > TOMO_LIMIT_TENSORS) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: names %d tensors; at most %d are read", index, size,
                         TOMO_LIMIT_TENSORS);
    }
    *places = calloc((size_t)size, sizeof **places);
    if (*places == NULL) return tomo_fail_memory(err, index, (size_t)size * sizeof **places);
    const cJSON *item;
    cJSON_ArrayForEach(item, map) {
        if (!cJSON_IsString(item) || !is_plain_name(item->valuestring)) {
            return tomo_fail(err, TOMO_E_HEADER,
                             "%s: \"weight_map.%.*s\" is no file name; a file beside the index is wanted",
                             index, TOMO_NAME_SHOWN, item->string);
        }
        (*places)[(*count)++] = (place){item->string, item->valuestring};
    }
    qsort(*places, *count, sizeof **places, by_file);
    return TOMO_OK;
}

static char *beside(const char *index, const char *name) {
    const char *slash = strrchr(index, '/');
    char *folder = slash == NULL ? strdup("") : strndup(index, (size_t)(slash - index) + 1);
    char *path = folder == NULL ? NULL : tomo_path_join(folder, name);
    free(folder);
    return path;
}

/* Of the tensors that one shard brought (from `first` on), keeps those that the map expects in it; each of
 * `places` must be among them. */
static tomo_status keep_expected(tomo_checkpoint *c, size_t first, size_t first_unread, const char *file,
                                 const place *places, size_t count, tomo_error *err) {
    size_t found = 0, kept = first, kept_unread = first_unread;
    bool *seen = calloc(count, sizeof *seen);
    if (seen == NULL) return tomo_fail_memory(err, file, count);
    for (size_t i = first; i < c->count; i++) {
        place key = {c->tensors[i].name, places->file};
        const place *at = bsearch(&key, places, count, sizeof *places, by_file);
        if (at == NULL) continue;
        found += !seen[at - places];
        seen[at - places] = true;
        c->tensors[kept++] = c->tensors[i];
    }
    for (size_t i = first_unread; i < c->unread_count; i++) {
        place key = {c->unread[i].name, places->file};
        const place *at = bsearch(&key, places, count, sizeof *places, by_file);
        if (at == NULL) continue;
        found += !seen[at - places];
        seen[at - places] = true;
        c->unread[kept_unread++] = c->unread[i];
    }
    c->count = kept;
    c->unread_count = kept_unread;
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < count && found < count && status == TOMO_OK; i++) {
        if (seen[i]) continue;
        status = tomo_fail(err, TOMO_E_HEADER,
                           "%s: tensor \"%.*s\" is missing; the index says that it is in this file", file,
                           TOMO_NAME_SHOWN, places[i].tensor);
    }
    free(seen);
    return status;
}

static tomo_status read_shard(tomo_checkpoint *c, const char *index, const place *places, size_t count,
                              tomo_error *err) {
    char *file = beside(index, places->file);
    if (file == NULL) return tomo_fail_memory(err, index, strlen(index));
    tomo_map map = {0};
    size_t first = c->count, first_unread = c->unread_count;
    tomo_status status = tomo_store_map(c, file, &map, err);
    if (status == TOMO_OK) status = tomo_store_read(c, file, map.data, map.size, err);
    if (status == TOMO_OK) status = keep_expected(c, first, first_unread, file, places, count, err);
    free(file);
    return status;
}

tomo_status tomo_shards_read(tomo_checkpoint *c, const char *index, tomo_error *err) {
    cJSON *root = NULL;
    place *places = NULL;
    size_t count = 0;
    tomo_status status = tomo_json_open(index, &root, err);
    if (status == TOMO_OK)
        status = read_places(tomo_json_get(root, "weight_map"), index, &places, &count, err);
    for (size_t i = 0, next; i < count && status == TOMO_OK; i = next) {
        for (next = i + 1; next < count && strcmp(places[next].file, places[i].file) == 0;) next++;
        status = read_shard(c, index, places + i, next - i, err);
    }
    if (status == TOMO_OK) status = tomo_store_finish(c, index, err);
    free(places);
    cJSON_Delete(root);
    return status;
}
