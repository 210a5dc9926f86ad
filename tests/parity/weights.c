/* weights.c - PyTorch files against the same tensors as safetensors, files that must be refused, and every
 * model folder of the reference opened.
 *
 * Folders are told by what they hold: expected.safetensors beside *.bin that are not refused; refuse_*.bin;
 * one folder with both open_clip_model.safetensors and open_clip_pytorch_model.bin. Values must be equal bit
 * by bit: reading converts nothing. */
#include "base/file.h"
#include "support/parity.h"
#include "weights/adapter.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

/* What differs, or NULL. */
static const char *difference(const tomo_checkpoint *got, const tomo_checkpoint *want, char *text,
                              size_t size) {
    for (size_t i = 0; i < tomo_checkpoint_count(want); i++) {
        const tomo_stored *w = tomo_checkpoint_at(want, i), *g = tomo_checkpoint_find(got, w->name);
        const char *what = NULL;
        if (g == NULL) {
            what = "missing";
        } else if (g->dtype != w->dtype) {
            what = "another type";
        } else if (g->rank != w->rank ||
                   memcmp(g->shape, w->shape, sizeof g->shape[0] * (size_t)g->rank) != 0) {
            what = "another shape";
        } else if (memcmp(g->data, w->data, (size_t)w->count * tomo_dtype_size(w->dtype)) != 0) {
            what = "other values";
        } else if ((uintptr_t)g->data % tomo_dtype_size(g->dtype) != 0) {
            what = "misaligned";
        }
        if (what != NULL) {
            (void)snprintf(text, size, "tensor %s: %s", w->name, what);
            return text;
        }
    }
    if (tomo_checkpoint_count(got) != tomo_checkpoint_count(want)) return "more tensors than expected";
    return NULL;
}

static void compare(parity *p, const char *name, const char *got_path, const char *want_path) {
    tomo_checkpoint *got = NULL, *want = NULL;
    tomo_error err = {0};
    char text[512];
    if (tomo_checkpoint_open(got_path, &got, &err) != TOMO_OK ||
        tomo_checkpoint_open(want_path, &want, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else {
        const char *what = difference(got, want, text, sizeof text);
        if (what == NULL) {
            parity_pass(p, name);
        } else {
            parity_fail(p, name, "%s", what);
        }
    }
    tomo_checkpoint_free(got);
    tomo_checkpoint_free(want);
}

static void refuse(parity *p, const char *name, const char *path) {
    tomo_checkpoint *c = NULL;
    tomo_error err = {0};
    tomo_status status = tomo_checkpoint_open(path, &c, &err);
    tomo_checkpoint_free(c);
    if (status < TOMO_E_FORMAT || strncmp(err.message, path, strlen(path)) != 0) {
        parity_fail(p, name, "not refused as it should be (%s): %s", tomo_status_name(status), err.message);
    } else {
        parity_pass(p, name);
    }
}

/* Runs the .bin files of one folder. Beside NAME.bin, expected_NAME.safetensors wins over
 * expected.safetensors. */
static void bin_file(parity *p, const char *case_name, const char *folder, const char *file) {
    char name[512], path[4096], want[4096];
    size_t stem = strlen(file) - strlen(".bin");
    (void)snprintf(name, sizeof name, "%s/%s", case_name, file);
    (void)snprintf(path, sizeof path, "%s/%s", folder, file);
    if (strncmp(file, "refuse_", 7) == 0) {
        refuse(p, name, path);
        return;
    }
    (void)snprintf(want, sizeof want, "%s/expected_%.*s.safetensors", folder, (int)stem, file);
    if (!tomo_path_exists(want)) (void)snprintf(want, sizeof want, "%s/expected.safetensors", folder);
    /* Beside the model folder of an encoder case lies the same checkpoint in another format. */
    char model[4096];
    (void)snprintf(model, sizeof model, "%s/model", folder);
    if (tomo_path_is_folder(model)) {
        compare(p, name, path, model);
    } else if (tomo_path_exists(want)) {
        compare(p, name, path, want);
    } else {
        parity_skip(p, name, "nothing beside it says what it holds");
    }
}

static void model_folder(parity *p, const char *case_name, const char *folder) {
    char name[512], one[4096], other[4096];
    (void)snprintf(one, sizeof one, "%s/open_clip_pytorch_model.bin", folder);
    (void)snprintf(other, sizeof other, "%s/open_clip_model.safetensors", folder);
    if (tomo_path_exists(one) && tomo_path_exists(other)) {
        (void)snprintf(name, sizeof name, "%s/bin-equals-safetensors", case_name);
        compare(p, name, one, other);
    }
    tomo_checkpoint *c = NULL;
    tomo_error err = {0};
    (void)snprintf(name, sizeof name, "%s/opens", case_name);
    if (tomo_checkpoint_open(folder, &c, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else if (tomo_checkpoint_count(c) == 0) {
        parity_fail(p, name, "no tensors");
    } else {
        parity_pass(p, name);
    }
    tomo_checkpoint_free(c);
}

static void folder_case(parity *p, const char *name, const char *path) {
    struct dirent **entries = NULL;
    char model[4096];
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        size_t length = strlen(entries[i]->d_name);
        if (length > 4 && strcmp(entries[i]->d_name + length - 4, ".bin") == 0) {
            bin_file(p, name, path, entries[i]->d_name);
        }
        free(entries[i]);
    }
    free(entries);
    (void)snprintf(model, sizeof model, "%s/model", path);
    if (tomo_path_is_folder(model)) model_folder(p, name, model);
}

/* ------------------------------------------------------------------------------ adapters */

static void open_adapter(parity *p, const char *name, const char *folder) {
    tomo_adapter *adapter = NULL;
    tomo_error err = {0};
    if (tomo_adapter_open(folder, &adapter, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else if (tomo_adapter_count(adapter) == 0 || !(tomo_adapter_at(adapter, 0)->scale > 0)) {
        parity_fail(p, name, "no targets, or no scale");
    } else {
        parity_pass(p, name);
    }
    tomo_adapter_free(adapter);
}

/* An adapter is a folder with adapter_config.json, in a case's folder or in the model folder of it. */
static void adapters_in(parity *p, const char *case_name, const char *path) {
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char name[512], folder[4096], config[8192];
        (void)snprintf(name, sizeof name, "%s/%s", case_name, entries[i]->d_name);
        (void)snprintf(folder, sizeof folder, "%s/%s", path, entries[i]->d_name);
        (void)snprintf(config, sizeof config, "%s/adapter_config.json", folder);
        if (entries[i]->d_name[0] != '.' && tomo_path_exists(config)) open_adapter(p, name, folder);
        if (strcmp(entries[i]->d_name, "model") == 0) adapters_in(p, name, folder);
        free(entries[i]);
    }
    free(entries);
}

static int walk(const char *family, void (*run)(parity *, const char *, const char *)) {
    parity p;
    parity_begin(&p, family);
    parity_each_folder(&p, "", run);
    return parity_end(&p);
}

int main(void) {
    const int ends[] = {walk("vision", folder_case), walk("language", folder_case),
                        walk("training", adapters_in), walk("pipeline", adapters_in)};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        if (ends[i] != EXIT_SUCCESS) return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
