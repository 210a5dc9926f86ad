/* trace.c - tomo trace: the output of every stage, for comparison with other programs. */
#include "answer.h"
#include "commands.h"
#include "input.h"
#include "json.h"

#include <stdlib.h>

typedef struct trace_options {
    const char *output;
    tomo_generate_options generate;
} trace_options;

static const option options[] = {
    {"output", 'o', OPTION_TEXT, "FILE", "the .safetensors file to write; must be given",
     offsetof(trace_options, output), 0, 0},
};

static int record(run *r, const char *scan, const char *question, const trace_options *o,
                  tomo_answer *answer) {
    tomo_error error = {0};
    int code = run_open_model(r, NULL);
    if (code == EXIT_DONE) code = run_open_scan(r, scan);
    if (code == EXIT_DONE) code = run_step(r, tomo_session_trace_start(r->session, &error), &error);
    if (code == EXIT_DONE) code = run_read_scan(r);
    if (code == EXIT_DONE) {
        code = answer_generate(r, &(answer_request){ANSWER_QUESTION, question, false}, &o->generate, answer);
    }
    if (code == EXIT_DONE)
        code = run_result(r, tomo_session_trace_write(r->session, o->output, &error), &error);
    return code;
}

static int write_json(const run *r, const char *question, const char *file, const tomo_answer *answer) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && json_add_text(object, "scan", r->scan_path) &&
                json_add_text(object, "question", question) && json_add_text(object, "file", file) &&
                answer_add_json(answer, "answer", object) && run_add_origin(r, answer, object);
    return json_write(NULL, json_whole(object, good));
}

static int trace_run(const command *self, int argc, char **argv) {
    trace_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The trace", options, COUNT_OF(options), &mine},
                                   answer_group(&mine.generate),
                                   run_scan_group(&common),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if (mine.output == NULL)
        return options_wrong(self, "-o FILE is missing; usage: tomo trace SCAN QUESTION -o FILE");
    code = run_check_file(self, "-o", mine.output);
    if (code != EXIT_DONE) return code;
    char *question = NULL;
    tomo_answer answer = {0};
    run r = {.options = &common};
    code = input_text(operands[1], &question);
    if (code == EXIT_DONE) code = record(&r, operands[0], question, &mine, &answer);
    if (code == EXIT_DONE) code = run_write_manifest(&r);
    if (code == EXIT_DONE && common.json) code = write_json(&r, question, mine.output, &answer);
    tomo_answer_clear(&answer);
    run_close(&r);
    free(question);
    return code;
}

const command command_trace = {
    "trace",
    "SCAN QUESTION",
    "writes the output of every stage, from the voxels to the answer's tokens",
    "Tensors: volume, pixel_values, descriptors, kept, features, compressed, tokens, prompt_ids, logits "
    "(after the "
    "prompt), ids.",
    "tomo trace scan.nii.gz \"Is the liver enlarged?\" -o trace.safetensors --max-tokens 24",
    trace_run,
};
