#include "batch.h"

#include "csv.h"
#include "interrupt.h"
#include "journal.h"
#include "json.h"
#include "paths.h"
#include "terminal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* One scan: how lines name it, and where it is. */
typedef struct batch_scan {
    char *name;
    char *path;
} batch_scan;

typedef struct batch {
    batch_scan *scans;
    size_t count;
} batch;

static void batch_free(batch *b) {
    for (size_t i = 0; i < b->count; i++) {
        free(b->scans[i].name);
        free(b->scans[i].path);
    }
    free(b->scans);
    *b = (batch){0};
}

bool batch_is_list(const char *path) {
    return path_has_suffix(path, ".csv");
}

static int out_of_memory(const char *path) {
    terminal_error("%s: out of memory", path);
    return EXIT_FAILED;
}

/* "FOLDER/NAME" */
static char *join(const char *folder, size_t length, const char *name) {
    while (length > 1 && folder[length - 1] == '/') length--;
    char *path = NULL;
    if (asprintf(&path, "%.*s/%s", (int)length, folder, name) < 0) return NULL;
    return path;
}

/* Takes over both texts. */
static bool add_scan(batch *b, char *name, char *path) {
    if (name == NULL || path == NULL) {
        free(name);
        free(path);
        return false;
    }
    b->scans[b->count++] = (batch_scan){name, path};
    return true;
}

/* ------------------------------------------------------------------------------ folders */

static int skip_hidden(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

/* By bytes, so that the order is the same everywhere; alphasort asks the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

/* The voxels of an .hdr file are no scan of their own. */
static bool is_second_part(const char *path) {
    if (!path_has_suffix(path, ".img")) return false;
    char *header = strdup(path);
    if (header == NULL) return false;
    memcpy(header + strlen(header) - 3, "hdr", 3);
    bool found = access(header, F_OK) == 0;
    free(header);
    return found;
}

static int list_folder(const char *folder, batch *b) {
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, skip_hidden, by_name);
    if (n < 0) {
        terminal_error("%s: cannot open: %s", folder, strerror(errno));
        return EXIT_FAILED;
    }
    int code = EXIT_DONE;
    b->scans = calloc((size_t)n + 1, sizeof *b->scans);
    if (b->scans == NULL) code = out_of_memory(folder);
    for (int i = 0; i < n; i++) {
        char *path = code == EXIT_DONE ? join(folder, strlen(folder), entries[i]->d_name) : NULL;
        if (path != NULL && is_second_part(path)) {
            free(path);
        } else if (code == EXIT_DONE && !add_scan(b, path != NULL ? json_repair(path) : NULL, path)) {
            code = out_of_memory(folder);
        }
        free(entries[i]);
    }
    free(entries);
    return code;
}

/* ------------------------------------------------------------------------------ CSV files */

/* A relative path starts at the list's folder, or, when nothing is there, at the current one. */
static char *locate(const char *list, const char *value) {
    const char *slash = strrchr(list, '/');
    if (value[0] == '/' || slash == NULL) return strdup(value);
    char *path = join(list, (size_t)(slash - list) + (slash == list), value);
    if (path != NULL && access(path, F_OK) != 0 && access(value, F_OK) == 0) {
        free(path);
        return strdup(value);
    }
    return path;
}

static int list_csv(const char *list, batch *b) {
    csv_column column;
    int code = csv_read(list, "scan", &column);
    if (code == EXIT_DONE) {
        b->scans = calloc(column.count + 1, sizeof *b->scans);
        if (b->scans == NULL) code = out_of_memory(list);
    }
    for (size_t i = 0; code == EXIT_DONE && i < column.count; i++) {
        if (!add_scan(b, json_repair(column.values[i]), locate(list, column.values[i])))
            code = out_of_memory(list);
    }
    csv_free(&column);
    return code;
}

static int list_scans(const char *source, batch *b) {
    struct stat info;
    if (stat(source, &info) == 0 && S_ISDIR(info.st_mode)) return list_folder(source, b);
    return list_csv(source, b);
}

int batch_paths(const char *source, char ***paths, size_t *count) {
    batch b = {0};
    int code = list_scans(source, &b);
    *paths = code == EXIT_DONE ? calloc(b.count + 1, sizeof **paths) : NULL;
    *count = b.count;
    if (code == EXIT_DONE && *paths == NULL) code = out_of_memory(source);
    for (size_t i = 0; code == EXIT_DONE && i < b.count; i++) {
        (*paths)[i] = b.scans[i].path;
        b.scans[i].path = NULL;
    }
    batch_free(&b);
    return code;
}

void batch_free_paths(char **paths) {
    for (size_t i = 0; paths != NULL && paths[i] != NULL; i++) free(paths[i]);
    free(paths);
}

/* ------------------------------------------------------------------------------ the work */

typedef struct progress {
    size_t done, failed; /* lines that are there, and those with an error */
} progress;

/* A line for a scan that failed: its name, what was wrong, and the class of the error. */
static cJSON *error_line(const run *r, const char *name) {
    cJSON *line = cJSON_CreateObject();
    bool good = line != NULL && json_add_text(line, "scan", name) &&
                json_add_text(line, "error", r->error.message) &&
                json_add_text(line, "status", tomo_status_name(r->error.status)) &&
                json_add_text(line, "version", tomo_version());
    return json_whole(line, good);
}

static int do_scan(run *r, const batch_scan *scan, journal *j, batch_work work, void *user, progress *p) {
    cJSON *line = cJSON_CreateObject();
    if (line == NULL || !json_add_text(line, "scan", scan->name)) {
        cJSON_Delete(line);
        return out_of_memory(scan->name);
    }
    r->error = (tomo_error){0};
    int code = work(r, scan->path, user, line);
    if (code == EXIT_CANCELLED) {
        cJSON_Delete(line);
        return code;
    }
    if (code != EXIT_DONE) {
        cJSON_Delete(line);
        line = error_line(r, scan->name);
        p->failed++;
    }
    code = journal_append(j, scan->name, line);
    if (code == EXIT_DONE) p->done++;
    return code;
}

static int do_scans(run *r, const batch *b, journal *j, batch_work work, void *user, progress *p) {
    int code = EXIT_DONE;
    for (size_t i = 0; code == EXIT_DONE && i < b->count; i++) {
        /* Done before, or named twice, or the results themselves. */
        if (journal_has(j, b->scans[i].name) || journal_is_file(j, b->scans[i].path)) continue;
        if (interrupt_requested()) return EXIT_CANCELLED;
        terminal_task((int64_t)i + 1, (int64_t)b->count);
        if (r->model == NULL) code = run_open_model(r, NULL);
        if (code == EXIT_DONE) code = do_scan(r, &b->scans[i], j, work, user, p);
    }
    return code;
}

int batch_run(run *r, const char *source, const char *out, batch_work work, void *user) {
    batch b = {0};
    journal *j = NULL;
    progress p = {0};
    int code = list_scans(source, &b);
    if (code == EXIT_DONE && b.count == 0) {
        terminal_error("%s: names no scan; a folder of scans or a CSV file with a column \"scan\" is wanted",
                       source);
        code = EXIT_REFUSED;
    }
    if (code == EXIT_DONE) code = journal_open(out, &j);
    if (code == EXIT_DONE) {
        p = (progress){journal_lines(j), journal_failures(j)};
        code = do_scans(r, &b, j, work, user, &p);
        if (code == EXIT_CANCELLED && out != NULL) {
            terminal_note("%s: %zu of %zu scans are done; the same command goes on from there", out, p.done,
                          b.count);
        }
    }
    int closed = journal_close(j);
    if (code == EXIT_DONE) code = closed;
    if (code == EXIT_DONE && p.failed > 0) {
        terminal_error("%s: %zu of %zu scans failed; their lines say why", source, p.failed, p.done);
        code = EXIT_FAILED;
    }
    batch_free(&b);
    return code;
}
