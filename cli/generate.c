/* generate.c - tomo generate: the language model alone. */
#include "answer.h"
#include "commands.h"
#include "input.h"
#include "json.h"

#include <stdlib.h>

typedef struct generate_options {
    bool chat;
    tomo_generate_options generate;
} generate_options;

static const option options[] = {
    {"chat", 0, OPTION_FLAG, NULL, "PROMPT is a user's turn to answer; else it is continued as it stands",
     offsetof(generate_options, chat), 0, 0},
};

static bool add_ids(const tomo_answer *answer, cJSON *object) {
    int64_t *ids = calloc(answer->count + 1, sizeof *ids);
    for (size_t i = 0; ids != NULL && i < answer->count; i++) ids[i] = answer->ids[i];
    bool good = ids != NULL && json_add_integers(object, "ids", ids, answer->count);
    free(ids);
    return good;
}

static int write_json(const run *r, const char *prompt, const tomo_answer *answer) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && json_add_text(object, "prompt", prompt) &&
                answer_add_json(answer, "text", object) && add_ids(answer, object) &&
                run_add_origin(r, answer, object);
    return json_write(NULL, json_whole(object, good));
}

static int generate_run(const command *self, int argc, char **argv) {
    generate_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The prompt", options, COUNT_OF(options), &mine},
                                   answer_group(&mine.generate),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    char *prompt = NULL;
    tomo_answer answer = {0};
    run r = {.options = &common};
    code = input_text(operands[0], &prompt);
    if (code == EXIT_DONE) code = run_open_model(&r, NULL);
    if (code == EXIT_DONE) {
        answer_request request = {mine.chat ? ANSWER_CHAT : ANSWER_TEXT, prompt, !common.json};
        code = answer_generate(&r, &request, &mine.generate, &answer);
    }
    if (code == EXIT_DONE && common.json) code = write_json(&r, prompt, &answer);
    tomo_answer_clear(&answer);
    run_close(&r);
    free(prompt);
    return code;
}

const command command_generate = {
    "generate",
    "PROMPT",
    "lets the language model write, without a scan",
    "PROMPT - is read from standard input. --model may also name a language model's own directory or "
    "GGUF file. With --json the result is {prompt, text, tokens, ids, prompt_tokens, finish, seconds, model, "
    "version}.",
    "tomo generate \"What does a CT of the chest show?\" --chat --model models/demo",
    generate_run,
};
