#include "base/folder.h"

#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Removes what lies in a folder, then the folder itself. */
void tomo_folder_remove(const char *path) {
    DIR *folder = opendir(path);
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL) {
        struct stat info;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        char *inside = tomo_path_join(path, entry->d_name);
        if (inside != NULL && lstat(inside, &info) == 0 && S_ISDIR(info.st_mode)) {
            tomo_folder_remove(inside);
        } else if (inside != NULL) {
            (void)unlink(inside);
        }
        free(inside);
    }
    if (folder != NULL) closedir(folder);
    (void)rmdir(path);
}

tomo_status tomo_folder_sync(const char *path, tomo_error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    tomo_status status = fd >= 0 && syncfs(fd) == 0 ? TOMO_OK : tomo_fail_errno(err, path, "sync");
    if (fd >= 0) close(fd);
    return status;
}

tomo_status tomo_folder_replace(const char *part, const char *folder, tomo_error *err) {
    size_t length = strlen(folder) + 8;
    char *old = malloc(length);
    if (old == NULL) return tomo_fail_memory(err, folder, length);
    (void)snprintf(old, length, "%s.old", folder);
    tomo_folder_remove(old);
    tomo_status status = TOMO_OK;
    if (tomo_path_exists(folder) && rename(folder, old) != 0)
        status = tomo_fail_errno(err, folder, "replace");
    if (status == TOMO_OK && rename(part, folder) != 0) {
        status = tomo_fail_errno(err, folder, "create");
        (void)rename(old, folder);
    }
    if (status == TOMO_OK) tomo_folder_remove(old);
    free(old);
    return status;
}

tomo_status tomo_folder_write(const char *folder, const char *name, const char *text, tomo_error *err) {
    char *path = tomo_path_join(folder, name);
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, folder, 0) : tomo_file_write(path, text, strlen(text), err);
    free(path);
    return status;
}

tomo_status tomo_json_write(const cJSON *root, const char *folder, const char *name, tomo_error *err) {
    char *text = cJSON_Print(root);
    tomo_status status =
        text == NULL ? tomo_fail_memory(err, folder, 0) : tomo_folder_write(folder, name, text, err);
    cJSON_free(text);
    return status;
}

tomo_status tomo_file_copy(const char *from, const char *to, const tomo_hooks *hooks, tomo_error *err) {
    tomo_map map;
    tomo_writer *writer = NULL;
    tomo_status status = tomo_map_open(from, &map, err);
    if (status != TOMO_OK) return status;
    status = tomo_writer_open(to, &writer, err);
    const size_t step = (size_t)64 << 20;
    for (size_t at = 0; at < map.size && status == TOMO_OK; at += step) {
        status = tomo_writer_write(writer, map.data + at, map.size - at < step ? map.size - at : step, err);
        if (status == TOMO_OK) status = tomo_progress(hooks, "copying", (int64_t)at, (int64_t)map.size, err);
    }
    tomo_map_close(&map);
    if (status == TOMO_OK) return tomo_writer_commit(writer, err);
    tomo_writer_abort(writer);
    return status;
}

static bool is_weights(const char *name) {
    return tomo_ends_with(name, ".safetensors") || tomo_ends_with(name, ".bin") ||
           tomo_ends_with(name, ".index.json");
}

/* A link to a link would depend on what lies elsewhere: the file behind it is linked. */
tomo_status tomo_file_link(const char *from, const char *to, tomo_error *err) {
    char *real = realpath(from, NULL);
    bool linked = real != NULL && link(real, to) == 0;
    free(real);
    return linked ? TOMO_OK : tomo_file_copy(from, to, NULL, err);
}

/* How tomo_folder_link and tomo_folder_copy differ. */
typedef struct transfer {
    bool link, weights;
    const tomo_hooks *hooks;
} transfer;

static tomo_status transfer_files(const char *from, const char *to, transfer how, tomo_error *err) {
    DIR *folder = opendir(from);
    if (folder == NULL) return tomo_fail_errno(err, from, "open");
    tomo_status status =
        mkdir(to, 0777) == 0 || errno == EEXIST ? TOMO_OK : tomo_fail_errno(err, to, "create");
    struct dirent *entry;
    while (status == TOMO_OK && (entry = readdir(folder)) != NULL) {
        struct stat info;
        if (!how.weights && is_weights(entry->d_name)) continue;
        char *source = tomo_path_join(from, entry->d_name), *target = tomo_path_join(to, entry->d_name);
        if (source == NULL || target == NULL) {
            status = tomo_fail_memory(err, from, 0);
        } else if (stat(source, &info) == 0 && S_ISREG(info.st_mode)) {
            status = how.link ? tomo_file_link(source, target, err)
                              : tomo_file_copy(source, target, how.hooks, err);
        }
        free(source);
        free(target);
    }
    closedir(folder);
    return status;
}

tomo_status tomo_folder_link(const char *from, const char *to, bool weights, tomo_error *err) {
    return transfer_files(from, to, (transfer){.link = true, .weights = weights}, err);
}

tomo_status tomo_folder_copy(const char *from, const char *to, const tomo_hooks *hooks, tomo_error *err) {
    return transfer_files(from, to, (transfer){.weights = true, .hooks = hooks}, err);
}

tomo_status tomo_make_folders(const char *path, tomo_error *err) {
    char *copy = strdup(path);
    if (copy == NULL) return tomo_fail_memory(err, path, 0);
    tomo_status status = TOMO_OK;
    for (char *at = copy + 1; status == TOMO_OK; at++) {
        if (*at != '/' && *at != '\0') continue;
        char end = *at;
        *at = '\0';
        if (mkdir(copy, 0777) != 0 && errno != EEXIST) status = tomo_fail_errno(err, copy, "create");
        *at = end;
        if (end == '\0') break;
    }
    free(copy);
    return status;
}
