/* model.c - tomo model new and tomo model info, and the list of the others. */
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"
#include "terminal.h"

#include <stdio.h>
#include <string.h>

typedef struct new_options {
    const char *like, *encoder, *language, *config;
} new_options;

#define AT(member) offsetof(new_options, member)

static const option options[] = {
    {"like", 0, OPTION_TEXT, "ENCODER,LANGUAGE", "random weights of the shapes of public models", AT(like), 0,
     0},
    {"encoder", 0, OPTION_TEXT, "DIR", "a downloaded 2D encoder, copied into the model; with --language",
     AT(encoder), 0, 0},
    {"language", 0, OPTION_TEXT, "DIR|FILE",
     "a downloaded language model or GGUF file, copied into the model; with --encoder", AT(language), 0, 0},
    {"config", 0, OPTION_TEXT, "FILE",
     "JSON: its members replace those of the fresh config.json in encoder (layers), volume, prune, "
     "connector, "
     "prompt",
     AT(config), 0, 0},
};

static int make(run *r, const char *folder, const new_options *o) {
    tomo_model_new_options made = {o->like, o->encoder, o->language, r->options->seed, o->config};
    tomo_error error = {0};
    int code = run_open_context(r);
    if (code == EXIT_DONE) code = run_result(r, tomo_model_new(r->context, folder, &made, &error), &error);
    if (code != EXIT_DONE || !r->options->json) return code;
    cJSON *object = cJSON_CreateObject();
    return json_write(NULL, json_whole(object, object != NULL && json_add_text(object, "model", folder)));
}

static int new_run(const command *self, int argc, char **argv) {
    new_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The model", options, COUNT_OF(options), &mine},
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    bool joined = mine.encoder != NULL && mine.language != NULL;
    bool any = mine.encoder != NULL || mine.language != NULL;
    if (mine.like != NULL ? any : !joined) {
        return options_wrong(
            self, "either --like ENCODER,LANGUAGE, or --encoder DIR and --language DIR; --like knows %s",
            tomo_model_shapes());
    }
    run r = {.options = &common};
    code = make(&r, operands[0], &mine);
    run_close(&r);
    return code;
}

static const command command_new = {
    "model new",
    "OUT",
    "makes a model directory with a fresh connector",
    "OUT must not exist. --seed decides the random weights. tomo model --help lists the names that --like "
    "knows.",
    "tomo model new my-model --like biomedclip,qwen2.5-0.5b",
    new_run,
};

/* ------------------------------------------------------------------------------ info */

static int print_info(run *r) {
    char *json = NULL;
    tomo_error error = {0};
    int code = run_step(r, tomo_model_info(r->model, &json, &error), &error);
    if (code == EXIT_DONE && r->options->json) {
        code = json_write_text(NULL, json);
    } else if (code == EXIT_DONE) {
        cJSON *tree = json_parse(json);
        if (tree != NULL) {
            render_text(stdout, r->model_folder);
            putchar('\n');
            render_tree(stdout, tree, 2);
        }
        code = tree != NULL ? EXIT_DONE : EXIT_FAILED;
        cJSON_Delete(tree);
    }
    tomo_free(json);
    return code;
}

static int info_run(const command *self, int argc, char **argv) {
    run_options common = {0};
    const option_group groups[] = {run_model_group(&common), run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    run r = {.options = &common};
    code = run_open_model(&r, operands[0]);
    if (code == EXIT_DONE) code = print_info(&r);
    run_close(&r);
    return code;
}

static const command command_info = {
    "model info",
    "[DIR]",
    "tells a model's sizes, families and settings",
    "Without DIR it is the model that the other commands take: --model, TOMO_MODEL, or the demo model.",
    "tomo model info models/demo --json",
    info_run,
};

/* ------------------------------------------------------------------------------ */

static const command *const subcommands[] = {&command_new, &command_info, &command_model_quantize,
                                             &command_model_tune};

static void print_help(const command *self) {
    printf("tomo model: %s.\n\nusage: tomo model COMMAND ... [options]\n\n", self->purpose);
    for (size_t i = 0; i < COUNT_OF(subcommands); i++) {
        printf("  %-16s  %-6s  %s\n", subcommands[i]->name, subcommands[i]->operands,
               subcommands[i]->purpose);
    }
    printf("\n--like knows %s\n\nExample\n  %s\n\n%s\n", tomo_model_shapes(), self->example, notice);
}

static int model_run(const command *self, int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) return options_wrong(self, "a command is missing: new, info, quantize or tune-prune");
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        print_help(self);
        return EXIT_DONE;
    }
    for (size_t i = 0; i < COUNT_OF(subcommands); i++) {
        const char *second = strchr(subcommands[i]->name, ' ') + 1;
        if (strcmp(second, name) == 0) return subcommands[i]->run(subcommands[i], argc - 1, argv + 1);
    }
    return options_wrong(self, "\"%.60s\" is not possible; new, info, quantize or tune-prune is wanted",
                         name);
}

const command command_model = {
    "model",   "", "makes model directories and tells about them", NULL, "tomo model info models/demo",
    model_run,
};
