/* score.c - tomo score: anybody's predictions from the benchmark's CSV files. */
#include "commands.h"
#include "json.h"
#include "run.h"
#include "scores.h"

#include <string.h>

typedef struct score_options {
    const char *output, *compare, *train, *wordnet;
    option_texts merge;
    const char *bertscore_model, *bertscore_baseline;
    int64_t draws, bertscore_layer;
    bool bertscore_idf;
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
    {"wordnet", 0, OPTION_TEXT, "DIR",
     "WordNet 3.0 for METEOR; default /usr/share/wordnet (package wordnet-base)", AT(wordnet), 0, 0},
    {"bertscore-model", 0, OPTION_TEXT, "DIR", "a BERT's or RoBERTa's folder: BERTScore too",
     AT(bertscore_model), 0, 0},
    {"bertscore-layer", 0, OPTION_INTEGER, "N",
     "the encoder layer whose output is compared; default 17 of 24, 9 of 12, else the last",
     AT(bertscore_layer), 1, 64},
    {"bertscore-idf", 0, OPTION_FLAG, NULL, "tokens that are rare among the references weigh more",
     AT(bertscore_idf), 0, 0},
    {"bertscore-baseline", 0, OPTION_TEXT, "FILE",
     "\"LAYER,P,R,F\": BERTScore is rescaled by the layer's row", AT(bertscore_baseline), 0, 0},
    {"draws", 0, OPTION_INTEGER, "N", "of the bootstrap; default 1000", AT(draws), 1, 1000000},
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
    const option_group groups[] = {{"The scores", options, COUNT_OF(options), &mine},
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
                            .wordnet = mine.wordnet,
                            .bertscore_model = mine.bertscore_model,
                            .bertscore_layer = mine.bertscore_layer,
                            .bertscore_idf = mine.bertscore_idf,
                            .bertscore_baseline = mine.bertscore_baseline,
                            .draws = mine.draws,
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
