/* answer.h - generated text: its options, streaming, and JSON. */
#ifndef TOMO_CLI_ANSWER_H
#define TOMO_CLI_ANSWER_H

#include "run.h"

typedef enum answer_kind { ANSWER_REPORT, ANSWER_QUESTION, ANSWER_TEXT, ANSWER_CHAT } answer_kind;

typedef struct answer_request {
    answer_kind kind;
    const char *text; /* the question or prompt; unused for a report */
    bool stream;      /* print the answer as it is made, and a line feed behind it */
} answer_request;

/* Sampling options, stored in `options`. */
option_group answer_group(tomo_generate_options *options);

/* Generates. `answer` is cleared by the caller whatever the outcome. */
int answer_generate(run *r, const answer_request *request, const tomo_generate_options *options,
                    tomo_answer *answer);

/* Adds the text under `name`, "tokens", "prompt_tokens" and "finish". */
bool answer_add_json(const tomo_answer *answer, const char *name, cJSON *object);

#endif
