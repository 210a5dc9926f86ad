/* data.c - tomo data check: what a data set holds, what is broken in it, what its splits share. */
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"

#include <stdio.h>
#include <string.h>

typedef struct data_options {
    const char *captions, *questions;
} data_options;

#define AT(member) offsetof(data_options, member)

static const option options[] = {
    {"captions", 0, OPTION_TEXT, "FILE", "instead of M3D_Cap_npy/M3D_Cap.json, relative to the folder",
     AT(captions), 0, 0},
    {"questions", 0, OPTION_TEXT, "FILE", "instead of M3D-VQA/M3D_VQA_*.csv, relative to the folder",
     AT(questions), 0, 0},
};

/* Lines of problems that people read; the JSON has all. */
#define PROBLEMS_SHOWN 20

static const cJSON *get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static void print_shared(const cJSON *root, const char *name, const char *title) {
    const cJSON *section = get(root, name), *pair, *example;
    printf("\n%s", title);
    if (cJSON_GetArraySize(get(section, "pairs")) == 0) {
        fputs(": none\n", stdout);
        return;
    }
    putchar('\n');
    cJSON_ArrayForEach(pair, get(section, "pairs")) {
        fputs("  ", stdout);
        render_text(stdout, cJSON_GetStringValue(get(pair, "split")));
        printf(": %.0f also in ", get(pair, "count")->valuedouble);
        render_text(stdout, cJSON_GetStringValue(get(pair, "also_in")));
        putchar('\n');
    }
    cJSON_ArrayForEach(example, get(section, "examples")) {
        fputs("    for example ", stdout);
        for (const cJSON *side = example->child; side != NULL; side = side->next) {
            if (cJSON_IsNumber(side)) {
                printf(" (%.2f)", side->valuedouble);
            } else {
                printf("%s%s ", side == example->child ? "" : " and ", side->string);
                render_text(stdout, side->valuestring);
            }
        }
        putchar('\n');
    }
}

static void print_problems(const cJSON *root) {
    const cJSON *list = get(root, "problems"), *problem;
    int count = cJSON_GetArraySize(list), shown = 0;
    printf("\nproblems: %d\n", count);
    cJSON_ArrayForEach(problem, list) {
        if (shown++ == PROBLEMS_SHOWN) {
            printf("  and %d more; --json has all\n", count - PROBLEMS_SHOWN);
            break;
        }
        fputs("  ", stdout);
        render_text(stdout, cJSON_GetStringValue(get(problem, "file")));
        printf(": row %.0f: ", get(problem, "row")->valuedouble);
        render_text(stdout, cJSON_GetStringValue(get(problem, "scan")));
        fputs(": ", stdout);
        render_text(stdout, cJSON_GetStringValue(get(problem, "wrong")));
        putchar('\n');
    }
}

static void print_check(const cJSON *root) {
    static const render_column columns[] = {{"split", "split"},
                                            {"reports", "reports"},
                                            {"words_a_report", "words a report"},
                                            {"open_questions", "open questions"},
                                            {"closed_questions", "closed questions"},
                                            {"wrong", "wrong"}};
    render_text(stdout, cJSON_GetStringValue(get(root, "data")));
    printf(": layout %s, SHA-256 %.16s\n\n", cJSON_GetStringValue(get(root, "layout")),
           cJSON_GetStringValue(get(root, "sha256")));
    render_table(stdout, get(root, "splits"), columns, COUNT_OF(columns), 2);
    fputs("\nscans\n", stdout);
    render_tree(stdout, get(root, "scans"), 2);
    printf("\ndifferent reports: %.0f\n", get(root, "different_reports")->valuedouble);
    print_shared(root, "identical_texts", "texts that stand in several splits");
    print_shared(root, "near_texts",
                 "texts with a near one in another split (word 5-grams, Jaccard 0.8 or more)");
    print_shared(root, "identical_volumes", "volumes that stand in several splits");
    print_problems(root);
}

static int check(run *r, const char *path, const data_options *mine) {
    tomo_data_options o = {.captions = mine->captions, .questions = mine->questions};
    tomo_error error = {0};
    char *json = NULL;
    int code = run_open_context(r);
    if (code == EXIT_DONE) code = run_step(r, tomo_data_check(r->context, path, &o, &json, &error), &error);
    cJSON *root = code == EXIT_DONE ? json_parse(json) : NULL;
    if (code == EXIT_DONE && root == NULL) code = EXIT_FAILED;
    if (code == EXIT_DONE && r->options->json) code = json_write_text(NULL, json);
    if (code == EXIT_DONE && !r->options->json) print_check(root);
    if (code == EXIT_DONE && cJSON_GetArraySize(get(root, "problems")) > 0) code = EXIT_REFUSED;
    cJSON_Delete(root);
    tomo_free(json);
    return code;
}

static int check_run(const command *self, int argc, char **argv) {
    data_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The data set", options, COUNT_OF(options), &mine},
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    run r = {.options = &common};
    code = check(&r, operands[0], &mine);
    run_close(&r);
    return code;
}

static const command command_check = {
    "data check",
    "PATH",
    "tells what a data set holds, what is broken, and what its splits share",
    "PATH is a folder in the layout of M3D, a CSV file of own scans, or a folder with one. Every scan is "
    "opened "
    "once. Ends with 3 when a sample is broken; texts and volumes that splits share are told and no error.",
    "tomo data check M3D",
    check_run,
};

/* ------------------------------------------------------------------------------ */

static int data_run(const command *self, int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) return options_wrong(self, "check is missing; usage: tomo data check PATH");
    if (strcmp(name, "check") == 0) return command_check.run(&command_check, argc - 1, argv + 1);
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        printf("tomo data: %s.\n\nusage: tomo data check PATH [options]\n\n  %-10s  %-5s  %s\n\nExample\n  "
               "%s\n\n%s\n",
               self->purpose, command_check.name, command_check.operands, command_check.purpose,
               self->example, notice);
        return EXIT_DONE;
    }
    return options_wrong(self, "\"%.60s\" is not possible; check is wanted", name);
}

const command command_data = {
    "data", "", "tells about data sets before they are used", NULL, "tomo data check M3D", data_run,
};
