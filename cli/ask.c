/* ask.c - tomo ask: an open question, or one with choices. */
#include "answer.h"
#include "commands.h"
#include "input.h"
#include "json.h"
#include "render.h"

#include <stdlib.h>
#include <string.h>

typedef struct ask_options {
    option_texts choices;
    tomo_generate_options generate;
} ask_options;

static const option options[] = {
    {"choice", 0, OPTION_TEXTS, "TEXT", "a possible answer; give 2 to 26 of them, each with its own --choice",
     offsetof(ask_options, choices), 0, 0},
};

static cJSON *result_object(const run *r, const char *question) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && json_add_text(object, "scan", r->scan_path) &&
                json_add_text(object, "question", question);
    return json_whole(object, good);
}

/* ------------------------------------------------------------------------------ open */

static int ask_open(run *r, const char *question, const ask_options *o) {
    answer_request request = {ANSWER_QUESTION, question, !r->options->json};
    tomo_answer answer = {0};
    int code = answer_generate(r, &request, &o->generate, &answer);
    if (code == EXIT_DONE && r->options->json) {
        cJSON *object = result_object(r, question);
        bool good = object != NULL && answer_add_json(&answer, "answer", object) &&
                    run_add_origin(r, &answer, object);
        code = json_write(NULL, json_whole(object, good));
    }
    tomo_answer_clear(&answer);
    return code;
}

/* ------------------------------------------------------------------------------ with choices */

static size_t find_best(const tomo_choice *results, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        if (results[i].probability > results[best].probability) best = i;
    }
    return best;
}

static void print_choices(const option_texts *choices, const tomo_choice *results) {
    size_t best = find_best(results, choices->count);
    int widest = 6;
    for (size_t i = 0; i < choices->count; i++) {
        int width = (int)strlen(choices->items[i]);
        if (width > widest && width <= 60) widest = width;
    }
    printf("      %-*s  probability  log-probability  per token\n", widest, "choice");
    for (size_t i = 0; i < choices->count; i++) {
        printf("  %c%c  ", i == best ? '*' : ' ', (char)('A' + i));
        render_text(stdout, choices->items[i]);
        int pad = widest - (int)strlen(choices->items[i]);
        printf("%*s  %11.4f  %15.3f  %9.3f\n", pad > 0 ? pad : 0, "", results[i].probability,
               results[i].log_probability, results[i].log_probability_per_token);
    }
    fputs("\n* the most probable letter; log-probabilities are those of the text \"X. choice\"\n", stdout);
}

static bool add_choice(cJSON *list, size_t i, const char *text, const tomo_choice *result) {
    cJSON *entry = cJSON_CreateObject();
    if (entry == NULL || !cJSON_AddItemToArray(list, entry)) {
        cJSON_Delete(entry);
        return false;
    }
    const char letter[2] = {(char)('A' + i), '\0'};
    return json_add_text(entry, "letter", letter) && json_add_text(entry, "choice", text) &&
           json_add_number(entry, "probability", result->probability) &&
           json_add_number(entry, "log_probability", result->log_probability) &&
           json_add_number(entry, "log_probability_per_token", result->log_probability_per_token);
}

static int write_choices(const run *r, const char *question, const option_texts *choices,
                         const tomo_choice *results) {
    cJSON *object = result_object(r, question);
    cJSON *list = object != NULL ? cJSON_AddArrayToObject(object, "choices") : NULL;
    bool good = list != NULL;
    for (size_t i = 0; good && i < choices->count; i++)
        good = add_choice(list, i, choices->items[i], &results[i]);
    const char best[2] = {(char)('A' + find_best(results, choices->count)), '\0'};
    good = good && json_add_text(object, "best", best) && run_add_origin(r, NULL, object);
    return json_write(NULL, json_whole(object, good));
}

static int ask_closed(run *r, const char *question, const option_texts *choices) {
    tomo_choice results[OPTION_TEXTS_MOST];
    tomo_error error = {0};
    tomo_status status =
        tomo_session_choose(r->session, question, choices->items, choices->count, results, &error);
    int code = run_step(r, status, &error);
    if (code != EXIT_DONE) return code;
    if (r->options->json) return write_choices(r, question, choices, results);
    print_choices(choices, results);
    return EXIT_DONE;
}

static int ask_run(const command *self, int argc, char **argv) {
    ask_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The question", options, COUNT_OF(options), &mine},
                                   answer_group(&mine.generate),
                                   run_scan_group(&common),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if (mine.choices.count == 1) return options_wrong(self, "one --choice is no choice; 2 to 26 are wanted");
    char *question = NULL;
    run r = {.options = &common};
    code = input_text(operands[1], &question);
    if (code == EXIT_DONE) code = run_prepare(&r, operands[0]);
    if (code == EXIT_DONE) {
        code =
            mine.choices.count > 0 ? ask_closed(&r, question, &mine.choices) : ask_open(&r, question, &mine);
    }
    if (code == EXIT_DONE) code = run_write_manifest(&r);
    run_close(&r);
    free(question);
    return code;
}

const command command_ask = {
    "ask",
    "SCAN QUESTION",
    "answers a question about a scan",
    "With choices it tells of each the probability of its letter among the letters offered, and the "
    "log-probability "
    "of the text \"X. choice\", whole and a token. QUESTION - is read from standard input.",
    "tomo ask scan.nii.gz \"Which organ is enlarged?\" --choice liver --choice spleen",
    ask_run,
};
