/* bench.c - tomo bench: the stages of a model beside the limits of the machine. */
#include "bench_scan.h"
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"
#include "terminal.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bench_options {
    const char *like, *scan;
    bool profile;
    int64_t slices, prompt_tokens, decode_tokens, repeats;
} bench_options;

/* About a hundred words. */
#define REPORT_TOKENS 128

#define AT(member) offsetof(bench_options, member)

static const option options[] = {
    {"like", 0, OPTION_TEXT, "ENCODER,LANGUAGE",
     "instead of --model: random weights of the shapes of public models, made for the measurement and "
     "removed",
     AT(like), 0, 0},
    {"scan", 0, OPTION_TEXT, "SCAN",
     "also a whole report of 128 tokens about this scan, stage by stage, and a second question", AT(scan), 0,
     0},
    {"profile", 0, OPTION_FLAG, NULL,
     "also the time of each stage by operation, and oneDNN's rate at each shape", AT(profile), 0, 0},
    {"slices", 0, OPTION_INTEGER, "N", "slices that the encoder reads; default 32", AT(slices), 1, 1e6},
    {"prompt-tokens", 0, OPTION_INTEGER, "N", "tokens of the prompt; default 320", AT(prompt_tokens), 1, 1e6},
    {"decode-tokens", 0, OPTION_INTEGER, "N", "tokens to generate; default 32", AT(decode_tokens), 1, 1e6},
    {"repeats", 0, OPTION_INTEGER, "N", "pairs of work and limit, of which the median is told; default 9",
     AT(repeats), 1, 10000},
};

/* ------------------------------------------------------------------------------ the folder of --like */

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place) {
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

static void remove_folder(const char *path) {
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        terminal_error("%s: cannot remove: %s", path, strerror(errno));
    }
}

static int make_folder(char **folder) {
    const char *temporary = getenv("TMPDIR");
    if (temporary == NULL || temporary[0] == '\0') temporary = "/tmp";
    if (asprintf(folder, "%s/tomo-bench-XXXXXX", temporary) < 0) {
        *folder = NULL;
        terminal_error("out of memory");
        return EXIT_FAILED;
    }
    if (mkdtemp(*folder) != NULL) return EXIT_DONE;
    terminal_error("%s: cannot create: %s", *folder, strerror(errno));
    free(*folder);
    *folder = NULL;
    return EXIT_FAILED;
}

/* Makes the model in `folder`; *model is its path, freed by free. */
static int make_model(run *r, const char *like, const char *folder, char **model) {
    if (asprintf(model, "%s/model", folder) < 0) {
        *model = NULL;
        terminal_error("out of memory");
        return EXIT_FAILED;
    }
    tomo_model_new_options made = {.like = like, .seed = r->options->seed};
    tomo_error error = {0};
    int code = run_open_context(r);
    if (code == EXIT_DONE) code = run_step(r, tomo_model_new(r->context, *model, &made, &error), &error);
    return code;
}

/* ------------------------------------------------------------------------------ results */

/* Percent read better than fractions; with the quartiles of the repeats, "61.6 % (60.1 to 62.9)". */
static void format_percent(const cJSON *row, double fraction, char *text, size_t size) {
    const cJSON *quartiles = cJSON_GetObjectItemCaseSensitive(row, "fraction_quartiles");
    const cJSON *low = cJSON_GetArrayItem(quartiles, 0), *high = cJSON_GetArrayItem(quartiles, 2);
    if (cJSON_IsNumber(low) && cJSON_IsNumber(high)) {
        (void)snprintf(text, size, "%.1f %% (%.1f to %.1f)", fraction * 100, low->valuedouble * 100,
                       high->valuedouble * 100);
    } else {
        (void)snprintf(text, size, "%.1f %%", fraction * 100);
    }
}

static void turn_to_percent(const cJSON *results) {
    cJSON *row;
    cJSON_ArrayForEach(row, results) {
        const cJSON *fraction = cJSON_GetObjectItemCaseSensitive(row, "fraction_of_limit");
        if (!cJSON_IsNumber(fraction)) continue;
        char text[96];
        format_percent(row, fraction->valuedouble, text, sizeof text);
        cJSON *percent = cJSON_CreateString(text);
        if (percent != NULL) cJSON_ReplaceItemInObjectCaseSensitive(row, "fraction_of_limit", percent);
    }
}

static int print_table(const char *json) {
    static const render_column columns[] = {
        {"name", "stage"},
        {"value", "value"},
        {"unit", "unit"},
        {"limit", "limit"},
        {"fraction_of_limit", "of the limit"},
    };
    cJSON *tree = json_parse(json);
    if (tree == NULL) return EXIT_FAILED;
    cJSON *machine = cJSON_GetObjectItemCaseSensitive(tree, "machine");
    cJSON *results = cJSON_GetObjectItemCaseSensitive(tree, "results");
    render_tree(stdout, machine, 0);
    putchar('\n');
    turn_to_percent(results);
    render_table(stdout, results, columns, COUNT_OF(columns), 0);
    cJSON_Delete(tree);
    return EXIT_DONE;
}

/* The report's own stages, behind the others in *json. */
static int add_scan(run *r, const char *scan, char **json) {
    cJSON *tree = json_parse(*json);
    if (tree == NULL) return EXIT_FAILED;
    int code = bench_scan(r, scan, REPORT_TOKENS, cJSON_GetObjectItemCaseSensitive(tree, "results"));
    char *text = code == EXIT_DONE ? cJSON_Print(tree) : NULL;
    if (text != NULL) {
        tomo_free(*json);
        *json = text;
    }
    cJSON_Delete(tree);
    return code;
}

static int measure(run *r, const char *model, const bench_options *o, char **json) {
    tomo_bench_options wanted = {.slices = o->slices,
                                 .prompt_tokens = o->prompt_tokens,
                                 .decode_tokens = o->decode_tokens,
                                 .repeats = (int)o->repeats,
                                 .profile = o->profile};
    tomo_error error = {0};
    int code = run_open_model(r, model);
    if (code == EXIT_DONE) code = run_step(r, tomo_model_bench(r->model, &wanted, json, &error), &error);
    if (code == EXIT_DONE && o->scan != NULL) code = add_scan(r, o->scan, json);
    return code;
}

/* tomo bench train RECIPE. */
static int bench_train_run(const command *self, int argc, char **argv) {
    struct {
        int64_t repeats;
    } mine = {0};
    run_options common = {0};
    static const option repeats[] = {
        {"repeats", 0, OPTION_INTEGER, "N", "steps, of which the median is told; default 9", 0, 1, 99}};
    const option_group groups[] = {{"The measurement", repeats, COUNT_OF(repeats), &mine},
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    run r = {.options = &common};
    char *json = NULL;
    tomo_error error = {0};
    code = run_open_context(&r);
    if (code == EXIT_DONE) {
        code =
            run_step(&r, tomo_train_bench(r.context, operands[0], (int)mine.repeats, &json, &error), &error);
    }
    run_close(&r);
    if (code == EXIT_DONE) code = common.json ? json_write_text(NULL, json) : print_table(json);
    tomo_free(json);
    return code;
}

static const command command_bench_train = {
    "bench train",
    "RECIPE",
    "measures a training step beside the forward passes that it is made of",
    "The step is one micro-batch of the recipe's last stage on scans, with features from the cache. Its time "
    "over twice "
    "the language model's forward and three times the connector's is what a step costs at best.",
    "tomo bench train recipes/m3d-two-stage.json",
    bench_train_run,
};

static int bench_run(const command *self, int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "train") == 0)
        return command_bench_train.run(&command_bench_train, argc - 1, argv + 1);
    bench_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The measurement", options, COUNT_OF(options), &mine},
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if (mine.like != NULL && common.model != NULL)
        return options_wrong(self, "--model and --like exclude each other");
    char *folder = NULL, *model = NULL, *json = NULL;
    run r = {.options = &common};
    code = EXIT_DONE;
    if (mine.like != NULL) code = make_folder(&folder);
    if (code == EXIT_DONE && mine.like != NULL) code = make_model(&r, mine.like, folder, &model);
    if (code == EXIT_DONE) code = measure(&r, model, &mine, &json);
    run_close(&r);
    /* Before anything is printed, so that a reader who goes away leaves nothing behind. */
    if (folder != NULL) remove_folder(folder);
    if (code == EXIT_DONE) code = common.json ? json_write_text(NULL, json) : print_table(json);
    tomo_free(json);
    free(model);
    free(folder);
    return code;
}

const command command_bench = {
    "bench",
    "",
    "measures the stages of a model beside the limits of this machine",
    "The limits are measured in the same run: the rate of matrix products for encoder and prompt, the read "
    "bandwidth "
    "for generation, the bytes of weights for memory.",
    "tomo bench --like biomedclip,qwen2.5-0.5b",
    bench_run,
};
