/* train_interrupt.c - a run that is interrupted in an evaluation keeps its steps, and makes up for it. */
#include "base/file.h"
#include "base/folder.h"
#include "model/context.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/pipeline/ct-windows/model"
#define SCAN TOMO_TEST_DIR "/data/ts_ct/example_ct_sm.nii.gz"
#define OTHER TOMO_TEST_DIR "/data/ts_ct/example_ct.nii.gz"

enum { EVALUATED = 4 }; /* step */

typedef struct watch {
    bool interrupts; /* while the validation split's scan is read */
    int64_t steps;   /* in this call */
    int64_t at;
} watch;

static bool on_step(void *user, const tomo_train_progress *progress) {
    watch *w = user;
    w->steps++;
    w->at = progress->step;
    return true;
}

/* Training scans are in memory by then. */
static bool on_progress(void *user, const char *stage, int64_t done, int64_t total) {
    const watch *w = user;
    (void)done;
    (void)total;
    return !(w->interrupts && w->at == EVALUATED && strcmp(stage, "encoding slices") == 0);
}

static void write_text(const char *folder, const char *name, const char *text) {
    assert_int_equal(tomo_folder_write(folder, name, text, NULL), TOMO_OK);
}

static tomo_status train(const char *folder, const char *recipe, bool resume, watch *w, tomo_error *err) {
    tomo_context *context = NULL;
    tomo_context_options o = {.threads = 2, .progress = on_progress, .user = w};
    char *path = tomo_path_join(folder, recipe);
    w->steps = w->at = 0;
    assert_int_equal(tomo_context_create(&o, &context, err), TOMO_OK);
    tomo_train_options options = {.resume = resume, .step = on_step, .user = w};
    tomo_status status = tomo_train(context, path, &options, err);
    tomo_context_free(context);
    free(path);
    return status;
}

static void write_recipe(const char *folder, const char *run) {
    char recipe[4096], name[64];
    (void)snprintf(recipe, sizeof recipe,
                   "{\"run\": \"%s\", \"model\": \"%s\", \"data\": {\"path\": \"data.csv\", \"cache\": "
                   "\"%s-features\"}, \"stages\": [{\"name\": \"all\", \"train\": [\"connector\"], "
                   "\"learning_rate\": 1e-3, \"steps\": 6, \"batch\": 1, \"evaluate_every\": %d, "
                   "\"checkpoint_every\": 100}]}",
                   run, MODEL, run, EVALUATED);
    (void)snprintf(name, sizeof name, "%s.json", run);
    write_text(folder, name, recipe);
}

/* Lines of a run's metrics, without times and rates. */
static void read_losses(const char *folder, const char *run, char *text, size_t size) {
    char name[96], *found = NULL;
    size_t length, used = 0;
    (void)snprintf(name, sizeof name, "%s/metrics.csv", run);
    char *path = tomo_path_join(folder, name);
    assert_int_equal(tomo_file_read(path, 1 << 20, &found, &length, NULL), TOMO_OK);
    char *rest = found;
    for (char *line; (line = strtok_r(rest, "\n", &rest)) != NULL;) {
        int commas = 0;
        for (char *c = line; *c != '\0' && used + 2 < size; c++) {
            commas += *c == ',';
            if (commas < 4) text[used++] = *c; /* stage, step, kind, loss */
        }
        text[used++] = '\n';
    }
    text[used] = '\0';
    free(found);
    free(path);
}

static void an_interrupted_evaluation_is_made_up_for(void **state) {
    (void)state;
    char folder[] = "/tmp/tomo-train-XXXXXX", csv[2048], whole[4096], stopped[4096];
    tomo_error err = {0};
    watch w = {0};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(
        csv, sizeof csv,
        "scan,report,split\n%s,A small mass.,train\n%s,Clear lungs.,train\n%s,No cyst.,validation\n", SCAN,
        SCAN, OTHER);
    write_text(folder, "data.csv", csv);
    write_recipe(folder, "whole");
    write_recipe(folder, "stopped");
    if (train(folder, "whole.json", false, &w, &err) != TOMO_OK) fail_msg("%s", err.message);
    w.interrupts = true;
    assert_int_equal(train(folder, "stopped.json", false, &w, &err), TOMO_E_CANCELLED);
    assert_int_equal(w.steps, EVALUATED);
    w.interrupts = false;
    if (train(folder, "stopped.json", true, &w, &err) != TOMO_OK) fail_msg("%s", err.message);
    assert_int_equal(w.steps, 2);
    read_losses(folder, "whole", whole, sizeof whole);
    read_losses(folder, "stopped", stopped, sizeof stopped);
    assert_non_null(strstr(whole, "validation"));
    assert_string_equal(whole, stopped);
    tomo_folder_remove(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(an_interrupted_evaluation_is_made_up_for)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
