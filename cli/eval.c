/* eval.c - tomo eval: a model over a data set, scored as the M3D benchmark does. */
#include "answer.h"
#include "commands.h"
#include "json.h"
#include "run.h"
#include "scores.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

typedef struct eval_options {
    const char *data, *output, *split, *captions, *questions, *shard, *cache;
    int64_t limit;
    scores_options scores;
    int protocol;
    bool force_windows;
    tomo_generate_options generate;
} eval_options;

#define AT(member) offsetof(eval_options, member)

static const option options[] = {
    {"data", 0, OPTION_TEXT, "PATH",
     "the data set: a folder in the layout of M3D, or a CSV file of own scans", AT(data), 0, 0},
    {"output", 'o', OPTION_TEXT, "DIR",
     "the folder of the results. Run again with the same one, the command goes on where it was stopped",
     AT(output), 0, 0},
    {"split", 0, OPTION_TEXT, "NAME", "of the data set; default test", AT(split), 0, 0},
    {"limit", 0, OPTION_INTEGER, "N", "the first N samples alone", AT(limit), 1, 1e9},
    {"protocol", 0, OPTION_WORD, "tomo|m3d|med3dvlm",
     "tomo, the default: the model's one instruction, the whole list; m3d and med3dvlm: an instruction drawn "
     "for each report, and med3dvlm the first 1000 reports",
     AT(protocol), 0, 0},
    {"shard", 0, OPTION_TEXT, "I/N", "the I-th of N parts, from 1; tomo score --merge joins the results",
     AT(shard), 0, 0},
    {"captions", 0, OPTION_TEXT, "FILE", "instead of M3D_Cap_npy/M3D_Cap.json, relative to the folder",
     AT(captions), 0, 0},
    {"questions", 0, OPTION_TEXT, "FILE", "instead of M3D-VQA/M3D_VQA_*.csv, relative to the folder",
     AT(questions), 0, 0},
    {"cache", 0, OPTION_TEXT, "DIR",
     "keep in this folder, in bfloat16, what the encoder makes of each scan, for other evaluations with "
     "the same encoder: connectors and language models compared. Scores may differ by the rounding",
     AT(cache), 0, 0},
    {"force-windows", 0, OPTION_FLAG, NULL, "apply Hounsfield windows to scans without Hounsfield units",
     AT(force_windows), 0, 0},
};

/* "3/8" */
static int read_shard(const command *self, const char *text, int64_t *shard, int64_t *count) {
    char *slash = NULL, *end = NULL;
    if (text == NULL) return EXIT_DONE;
    *shard = strtoll(text, &slash, 10);
    *count = *slash == '/' ? strtoll(slash + 1, &end, 10) : 0;
    if (end != NULL && *end == '\0' && *shard >= 1 && *count >= *shard && *count <= 100000) return EXIT_DONE;
    return options_wrong(self, "--shard: \"%.40s\" is not possible; I/N with I from 1 to N is wanted", text);
}

static int find_kind(const command *self, const char *name, tomo_eval_kind *kind) {
    static const char *const names[] = {"caption", "vqa-open", "vqa-closed"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (tomo_eval_kind)i;
            return EXIT_DONE;
        }
    }
    return options_wrong(self, "\"%.40s\" is not possible; caption, vqa-open or vqa-closed is wanted", name);
}

static int print_result(const run *r, const char *json) {
    if (r->options->json) return json_write_text(NULL, json);
    cJSON *summary = json_parse(json);
    if (summary == NULL) return EXIT_FAILED;
    const cJSON *protocol = cJSON_GetObjectItemCaseSensitive(summary, "protocol");
    const cJSON *prompt = cJSON_GetObjectItemCaseSensitive(summary, "prompt");
    const cJSON *data = cJSON_GetObjectItemCaseSensitive(summary, "data_sha256");
    printf("protocol %s; prompt: %s; data %.16s\n", cJSON_GetStringValue(protocol),
           cJSON_GetStringValue(prompt), cJSON_GetStringValue(data));
    scores_print(stdout, cJSON_GetObjectItemCaseSensitive(summary, "scores"));
    cJSON_Delete(summary);
    return EXIT_DONE;
}

/* Samples that failed score 0; that they did must not pass unseen. */
static int tell_failures(const char *json) {
    cJSON *summary = json_parse(json);
    const cJSON *failed = cJSON_GetObjectItemCaseSensitive(summary, "failed");
    double count = cJSON_IsNumber(failed) ? failed->valuedouble : 0;
    cJSON_Delete(summary);
    if (count == 0) return EXIT_DONE;
    terminal_error("%.0f samples failed and score 0; the lines of the journal say why", count);
    return EXIT_FAILED;
}

static int evaluate(run *r, tomo_eval_kind kind, const eval_options *mine, const tomo_eval_options *o) {
    tomo_error error = {0};
    char *json = NULL;
    int code = run_open_model(r, NULL);
    if (code == EXIT_DONE) {
        code =
            run_result(r, tomo_eval_run(r->model, kind, mine->data, mine->output, o, &json, &error), &error);
        if (code == EXIT_CANCELLED) terminal_note("%s: the same command goes on from there", mine->output);
    }
    if (code == EXIT_DONE) {
        terminal_clear();
        code = print_result(r, json);
    }
    if (code == EXIT_DONE) code = tell_failures(json);
    tomo_free(json);
    return code;
}

static int eval_run(const command *self, int argc, char **argv) {
    eval_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The evaluation", options, COUNT_OF(options), &mine},
                                   scores_group(&mine.scores),
                                   answer_group(&mine.generate),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    tomo_eval_kind kind = TOMO_EVAL_CAPTION;
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    tomo_eval_options o = {.protocol = (tomo_eval_protocol)mine.protocol,
                           .split = mine.split,
                           .captions = mine.captions,
                           .questions = mine.questions,
                           .limit = mine.limit,
                           .generate = &mine.generate,
                           .force_windows = mine.force_windows,
                           .cache = mine.cache,
                           .wordnet = mine.scores.wordnet,
                           .bertscore_model = mine.scores.bertscore_model,
                           .bertscore_layer = mine.scores.bertscore_layer,
                           .bertscore_idf = mine.scores.bertscore_idf,
                           .bertscore_baseline = mine.scores.bertscore_baseline,
                           .draws = mine.scores.draws,
                           .seed = common.seed};
    code = find_kind(self, operands[0], &kind);
    if (code == EXIT_DONE) code = read_shard(self, mine.shard, &o.shard, &o.shard_count);
    if (code == EXIT_DONE && mine.data == NULL) code = options_wrong(self, "--data PATH is missing");
    if (code == EXIT_DONE && mine.output == NULL) code = options_wrong(self, "-o DIR is missing");
    if (code != EXIT_DONE) return code;
    mine.generate.seed = common.seed;
    run r = {.options = &common,
             .stage = "evaluating"}; /* with the score so far, not the slices of one scan */
    code = evaluate(&r, kind, &mine, &o);
    run_close(&r);
    return code;
}

const command command_eval = {
    "eval",
    "caption|vqa-open|vqa-closed",
    "runs a model over a data set and scores it as the M3D benchmark does",
    "DIR then holds the benchmark's CSV file, a JSON summary, a page for people, and the journal of "
    "predictions, from which a run that was stopped goes on. --json prints the summary. With closed "
    "questions "
    "the choices are also ranked by their likelihood. The exit status is 1 when a sample failed.",
    "tomo eval vqa-closed --model models/demo --data M3D --protocol m3d -o results",
    eval_run,
};
