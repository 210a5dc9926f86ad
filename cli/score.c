/* score.c - tomo score: anybody's predictions from the benchmark's CSV files. */
#include "commands.h"
#include "json.h"
#include "run.h"
#include "scores.h"

#include <string.h>

typedef struct score_options {
    const char *output, *compare, *train;
    option_texts merge;
    scores_options scores;
} score_options;

#define AT(member) offsetof(score_options, member)

static const option options[] = {
    {"output", 'o', OPTION_TEXT, "FILE", "write the rows with their scores there, in the benchmark's columns",
     AT(output), 0, 0},
    {"compare", 0, OPTION_TEXT, "FILE",
     "another prediction file over the same rows: its scores, the differences, and a paired test",
     AT(compare), 0, 0},
    {"merge", 0, OPTION_TEXTS, "FILE",
     "a file whose rows follow, such as the next shard of tomo eval; may be given several times", AT(merge),
     0, 0},
    {"train", 0, OPTION_TEXT, "PATH",
     "a data set: a second column for the rows whose text does not occur in its training split", AT(train), 0,
     0},
};

static int print_result(const run *r, const char *json) {
    if (r->options->json) return json_write_text(NULL, json);
    cJSON *scores = json_parse(json);
    if (scores == NULL) return EXIT_FAILED;
    scores_print(stdout, scores);
    cJSON_Delete(scores);
    return EXIT_DONE;
}

static int score_run(const command *self, int argc, char **argv) {
    score_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The files", options, COUNT_OF(options), &mine},
                                   scores_group(&mine.scores),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    bool caption = strcmp(operands[0], "caption") == 0;
    if (!caption && strcmp(operands[0], "vqa") != 0) {
        return options_wrong(self, "\"%.40s\" is not possible; caption or vqa is wanted", operands[0]);
    }
    code = run_check_file(self, "-o", mine.output);
    if (code != EXIT_DONE) return code;
    run r = {.options = &common};
    tomo_error error = {0};
    char *json = NULL;
    tomo_score_options o = {.compare = mine.compare,
                            .merge = mine.merge.items,
                            .merge_count = mine.merge.count,
                            .rows = mine.output,
                            .train = mine.train,
                            .wordnet = mine.scores.wordnet,
                            .bertscore_model = mine.scores.bertscore_model,
                            .bertscore_layer = mine.scores.bertscore_layer,
                            .bertscore_idf = mine.scores.bertscore_idf,
                            .bertscore_baseline = mine.scores.bertscore_baseline,
                            .draws = mine.scores.draws,
                            .seed = common.seed};
    code = run_open_context(&r);
    if (code == EXIT_DONE) {
        tomo_score_kind kind = caption ? TOMO_SCORE_CAPTION : TOMO_SCORE_VQA;
        code = run_step(&r, tomo_score_file(r.context, kind, operands[1], &o, &json, &error), &error);
    }
    if (code == EXIT_DONE) code = print_result(&r, json);
    tomo_free(json);
    run_close(&r);
    return code;
}

const command command_score = {
    "score",
    "caption|vqa FILE.csv",
    "scores predictions as the M3D benchmark's scripts do",
    "FILE.csv has the columns that those scripts write: \"Ground Truth\" and \"pred\" for captions; "
    "\"Question "
    "Type\", \"Answer\" and \"Pred\" for open questions, with \"Answer Choice\" too for closed ones. Prints "
    "BLEU-1, ROUGE-1 and METEOR, or the accuracy by the benchmark's rule and by the strict one (exactly one "
    "choice is named), for each question type, their mean (macro) and the mean of all rows (micro), with 95 "
    "% "
    "bootstrap intervals.",
    "tomo score vqa eval_close_vqa.csv --compare other_close_vqa.csv",
    score_run,
};
