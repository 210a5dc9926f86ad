/* model_tune.c - tomo model tune-prune: how early near-duplicate slices can be dropped. */
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
     "share of the kept slices that must be the same with and without early dropping; default 0.95",
     AT(agreement), 0.01, 1},
    {"batch", 0, OPTION_TEXT, "PATH", "instead of SCAN: a folder of scans, or a CSV file with a column scan",
     AT(batch), 0, 0},
    {"write", 0, OPTION_FLAG, NULL, "write the value found into the model's config.json", AT(write), 0, 0},
};

/* Opens every scan; scans is freed by close_scans. */
static int open_scans(run *r, char *const *paths, size_t count, tomo_scan ***scans) {
    int code = EXIT_DONE;
    *scans = calloc(count + 1, sizeof **scans);
    if (*scans == NULL) {
        terminal_error("out of memory");
        return EXIT_FAILED;
    }
    for (size_t i = 0; i < count && code == EXIT_DONE; i++) {
        code = run_open_scan(r, paths[i]);
        (*scans)[i] = r->scan;
        r->scan = NULL; /* taken over */
    }
    return code;
}

static void close_scans(tomo_scan **scans) {
    for (size_t i = 0; scans != NULL && scans[i] != NULL; i++) tomo_scan_free(scans[i]);
    free(scans);
}

static void print_result(const cJSON *tree) {
    static const render_column columns[] = {
        {"early", "early"}, {"agreement", "agreement"}, {"skipped", "not encoded"}};
    const cJSON *early = cJSON_GetObjectItemCaseSensitive(tree, "early");
    render_table(stdout, cJSON_GetObjectItemCaseSensitive(tree, "candidates"), columns, COUNT_OF(columns), 0);
    putchar('\n');
    if (early == NULL || early->valuedouble <= 0) {
        puts("No value agrees enough: every slice is encoded.");
        return;
    }
    printf("\"prune.early\": %.6g keeps %.1f %% of the same slices and encodes %.1f %% fewer.\n",
           early->valuedouble, cJSON_GetObjectItemCaseSensitive(tree, "agreement")->valuedouble * 100,
           cJSON_GetObjectItemCaseSensitive(tree, "skipped")->valuedouble * 100);
}

static int tune(run *r, char *const *paths, size_t count, const tune_options *o) {
    tomo_scan **scans = NULL;
    char *json = NULL;
    tomo_error error = {0};
    int code = run_open_model(r, NULL);
    if (code == EXIT_DONE) code = open_scans(r, paths, count, &scans);
    if (code == EXIT_DONE) {
        double agreement = o->agreement > 0 ? o->agreement : 0.95;
        tomo_status status = tomo_model_tune_prune(r->model, scans, count, agreement, &json, &error);
        code = run_step(r, status, &error);
    }
    cJSON *tree = code == EXIT_DONE ? json_parse(json) : NULL;
    if (code == EXIT_DONE && tree == NULL) code = EXIT_FAILED;
    if (code == EXIT_DONE && o->write) {
        double early = cJSON_GetObjectItemCaseSensitive(tree, "early")->valuedouble;
        code = run_result(r, tomo_model_set_early(r->model_folder, early, &error), &error);
    }
    if (code == EXIT_DONE && r->options->json) code = json_write_text(NULL, json);
    if (code == EXIT_DONE && !r->options->json) print_result(tree);
    cJSON_Delete(tree);
    tomo_free(json);
    close_scans(scans);
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
    "finds how early near-duplicate slices can be dropped",
    "Slices whose pixels hardly differ from the last kept slice's need not be encoded at all. For values of "
    "prune.early in config.json this tells how many slices are saved and whether the same ones are kept. "
    "Values "
    "found with a model of random weights say nothing about a trained one.",
    "tomo model tune-prune --batch scans/ --model my-model --write",
    tune_run,
};
