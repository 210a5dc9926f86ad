#include "train/checkpoints.h"

#include "base/file.h"
#include "base/folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

char *tomo_checkpoint_folder(const tomo_recipe *recipe, int64_t stage, int64_t step) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/checkpoints/%02lld-%08lld", recipe->run, (long long)stage, (long long)step) <
        0) {
        return NULL;
    }
    return folder;
}

char *tomo_checkpoint_best(const tomo_recipe *recipe, int64_t stage) {
    char *folder = NULL;
    if (asprintf(&folder, "%s/checkpoints/best-%02lld", recipe->run, (long long)stage) < 0) return NULL;
    return folder;
}

/* Names of checkpoints, which sort as they follow each other. */
static int is_checkpoint(const struct dirent *entry) {
    int stage, step, used = 0;
    return sscanf(entry->d_name, "%2d-%8d%n", &stage, &step, &used) == 2 && used == 11 &&
           entry->d_name[used] == '\0';
}

static void free_entries(struct dirent **entries, int count) {
    for (int i = 0; i < count; i++) free(entries[i]);
    free(entries);
}

static int list_checkpoints(const tomo_recipe *recipe, struct dirent ***entries, char **folder) {
    *entries = NULL;
    *folder = tomo_path_join(recipe->run, "checkpoints");
    return *folder == NULL ? 0 : scandir(*folder, entries, is_checkpoint, alphasort);
}

tomo_status tomo_checkpoint_newest(const tomo_recipe *recipe, const tomo_hooks *hooks, char **folder,
                                   tomo_position *position, tomo_error *err) {
    struct dirent **entries;
    char *all;
    int count = list_checkpoints(recipe, &entries, &all);
    tomo_status status = all == NULL ? tomo_fail_memory(err, recipe->run, 0) : TOMO_OK;
    *folder = NULL;
    for (int i = count - 1; i >= 0 && status == TOMO_OK && *folder == NULL; i--) {
        tomo_error failure = {0};
        char *path = tomo_path_join(all, entries[i]->d_name);
        if (path == NULL) {
            status = tomo_fail_memory(err, all, 0);
        } else if (tomo_state_peek(path, position, &failure) == TOMO_OK) {
            *folder = path;
            path = NULL;
        } else {
            tomo_log(hooks, TOMO_LOG_WARNING, "passed over: %s", failure.message);
        }
        free(path);
    }
    free_entries(entries, count);
    free(all);
    return status;
}

void tomo_checkpoint_prune(const tomo_recipe *recipe, int64_t keep) {
    struct dirent **entries;
    char *all;
    int count = list_checkpoints(recipe, &entries, &all);
    for (int i = 0; i < count - (int)keep; i++) {
        char *path = tomo_path_join(all, entries[i]->d_name);
        if (path != NULL) tomo_folder_remove(path);
        free(path);
    }
    free_entries(entries, count);
    free(all);
}
