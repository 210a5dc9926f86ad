/* model_tune.c - tomo model tune-prune: how near-duplicate slices can be dropped unseen. */
#include "batch.h"
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"
#include "terminal.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct tune_options {
    double agreement;
    const char *batch;
    bool write;
} tune_options;

#define AT(member) offsetof(tune_options, member)

static const option options[] = {
    {"agreement", 0, OPTION_NUMBER, "A",
     "share of the kept slices that must be the same as when all are encoded; default 0.95", AT(agreement),
     0.01, 1},
    {"batch", 0, OPTION_TEXT, "PATH", "instead of SCAN: a folder of scans, or a CSV file with a column scan",
     AT(batch), 0, 0},
    {"write", 0, OPTION_FLAG, NULL, "write what was found into the model's config.json", AT(write), 0, 0},
};

static double number(const cJSON *tree, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(tree, name);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* Below 0: not found. */
static double margin(const cJSON *tree) {
    return cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(tree, "search")) ? number(tree, "search") : -1;
}

static void print_values(const cJSON *tree, const char *list, const char *setting) {
    const render_column columns[] = {
        {setting, setting}, {"agreement", "agreement"}, {"skipped", "not encoded"}};
    render_table(stdout, cJSON_GetObjectItemCaseSensitive(tree, list), columns, COUNT_OF(columns), 0);
    putchar('\n');
}

static void print_result(const cJSON *tree) {
    print_values(tree, "candidates", "early");
    print_values(tree, "searched", "search");
    double early = number(tree, "early"), search = margin(tree);
    if (early <= 0 && search < 0) {
        puts("Nothing agrees enough: every slice is encoded.");
        return;
    }
    printf("\"prune.%s\": %.6g keeps %.1f %% of the same slices and encodes %.1f %% fewer.\n",
           early > 0 ? "early" : "search", early > 0 ? early : search, number(tree, "agreement") * 100,
           number(tree, "skipped") * 100);
}

static int tune(run *r, char *const *paths, size_t count, const tune_options *o) {
    char *json = NULL;
    tomo_error error = {0};
    int code = run_open_model(r, NULL);
    if (code == EXIT_DONE) {
        double agreement = o->agreement > 0 ? o->agreement : 0.95;
        tomo_scan_options opening = {.series = r->options->series, .log_phi = r->options->log_phi};
        tomo_read_options reading = {.force_windows = r->options->force_windows};
        tomo_status status = tomo_model_tune_prune(r->model, (const char *const *)paths, count, &opening,
                                                   &reading, agreement, &json, &error);
        code = run_step(r, status, &error);
    }
    cJSON *tree = code == EXIT_DONE ? json_parse(json) : NULL;
    if (code == EXIT_DONE && tree == NULL) code = EXIT_FAILED;
    if (code == EXIT_DONE && o->write) {
        tomo_status status =
            tomo_model_set_pruning(r->model_folder, number(tree, "early"), margin(tree), &error);
        code = run_result(r, status, &error);
    }
    if (code == EXIT_DONE && r->options->json) code = json_write_text(NULL, json);
    if (code == EXIT_DONE && !r->options->json) print_result(tree);
    cJSON_Delete(tree);
    tomo_free(json);
    return code;
}

static int tune_run(const command *self, int argc, char **argv) {
    tune_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The tuning", options, COUNT_OF(options), &mine},
                                   run_model_group(&common),
                                   run_scan_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if ((mine.batch != NULL) == (operands[0] != NULL))
        return options_wrong(self, "either SCAN or --batch PATH is wanted");
    if (common.manifest != NULL) return options_wrong(self, "there is no --manifest of a tuning");
    run r = {.options = &common};
    char **paths = NULL, *one[] = {(char *)(uintptr_t)operands[0], NULL};
    size_t count = 1;
    code = mine.batch != NULL ? batch_paths(mine.batch, &paths, &count) : EXIT_DONE;
    if (code == EXIT_DONE) code = tune(&r, mine.batch != NULL ? paths : one, count, &mine);
    run_close(&r);
    batch_free_paths(paths);
    return code;
}

const command command_model_tune = {
    "model tune-prune",
    "[SCAN]",
    "finds how near-duplicate slices can be dropped without encoding them",
    "Slices whose pixels hardly differ from the last kept slice's need not be encoded at all (prune.early in "
    "config.json), nor those between a kept slice and one that is like it (prune.search). For values of both "
    "this tells how many slices are saved and whether the same ones are kept. What is found with a model of "
    "random weights says nothing about a trained one.",
    "tomo model tune-prune --batch scans/ --model my-model --write",
    tune_run,
};
