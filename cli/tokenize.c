/* tokenize.c - tomo tokenize: text to token ids and back. */
#include "commands.h"
#include "input.h"
#include "json.h"
#include "run.h"
#include "terminal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct tokenize_options {
    bool special, parse_control, decode;
} tokenize_options;

#define AT(member) offsetof(tokenize_options, member)

static const option options[] = {
    {"special", 0, OPTION_FLAG, NULL, "with the tokens that the tokenizer adds at begin and end", AT(special),
     0, 0},
    {"parse-control", 0, OPTION_FLAG, NULL, "control tokens written in the text become control tokens",
     AT(parse_control), 0, 0},
    {"decode", 0, OPTION_FLAG, NULL, "TEXT is token ids, apart by spaces or commas; print their text",
     AT(decode), 0, 0},
};

typedef struct ids {
    int32_t *data; /* freed by the function that the owner names */
    size_t count;
} ids;

/* ------------------------------------------------------------------------------ to ids */

static void print_ids(const ids *list) {
    for (size_t i = 0; i < list->count; i++) printf(i == 0 ? "%d" : " %d", (int)list->data[i]);
    putchar('\n');
}

static bool add_ids(cJSON *object, const ids *list) {
    cJSON *numbers = cJSON_AddArrayToObject(object, "ids");
    bool good = numbers != NULL;
    for (size_t i = 0; good && i < list->count; i++) {
        cJSON *number = cJSON_CreateNumber(list->data[i]);
        good = number != NULL && cJSON_AddItemToArray(numbers, number);
    }
    return good;
}

/* Each token's own text; one that holds a part of a character shows U+FFFD. */
static int add_tokens(run *r, cJSON *object, const ids *list, bool *good) {
    cJSON *texts = cJSON_AddArrayToObject(object, "tokens");
    *good = texts != NULL;
    for (size_t i = 0; *good && i < list->count; i++) {
        char *text = NULL;
        tomo_error error = {0};
        int code =
            run_step(r, tomo_model_detokenize(r->model, &list->data[i], 1, false, &text, &error), &error);
        if (code != EXIT_DONE) return code;
        char *valid = json_repair(text);
        cJSON *item = valid != NULL ? cJSON_CreateString(valid) : NULL;
        *good = item != NULL && cJSON_AddItemToArray(texts, item);
        free(valid);
        tomo_free(text);
    }
    return EXIT_DONE;
}

static int write_ids_json(run *r, const ids *list) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && add_ids(object, list);
    int code = good ? add_tokens(r, object, list, &good) : EXIT_DONE;
    object = json_whole(object, good && code == EXIT_DONE);
    return code == EXIT_DONE ? json_write(NULL, object) : code;
}

static int encode(run *r, const char *text, const tokenize_options *o) {
    ids list = {0};
    tomo_error error = {0};
    tomo_status status =
        tomo_model_tokenize(r->model, text, o->special, o->parse_control, &list.data, &list.count, &error);
    int code = run_step(r, status, &error);
    if (code == EXIT_DONE) {
        if (r->options->json) {
            code = write_ids_json(r, &list);
        } else {
            print_ids(&list);
        }
    }
    tomo_free(list.data);
    return code;
}

/* ------------------------------------------------------------------------------ to text */

static int wrong_id(const char *at) {
    terminal_error("tokenize: \"%.*s\" is no token id; numbers apart by spaces or commas are wanted",
                   (int)strcspn(at, " ,\n"), at);
    return EXIT_USAGE;
}

/* "1, 2 3" or "[1, 2, 3]"; list->data is freed by free. */
static int parse_ids(const char *text, ids *list) {
    static const char between[] = " \t\r\n,[]";
    size_t room = strlen(text) / 2 + 1;
    list->data = malloc(room * sizeof *list->data);
    if (list->data == NULL) {
        terminal_error("tokenize: out of memory");
        return EXIT_FAILED;
    }
    for (text += strspn(text, between); *text != '\0'; text += strspn(text, between)) {
        char *end;
        errno = 0;
        long number = strtol(text, &end, 10);
        bool good = end != text && (*end == '\0' || strchr(between, *end) != NULL) && errno == 0;
        if (!good || number < 0 || number > INT32_MAX || list->count == room) return wrong_id(text);
        list->data[list->count++] = (int32_t)number;
        text = end;
    }
    return EXIT_DONE;
}

static int write_text(run *r, const char *text) {
    if (!r->options->json) {
        puts(text);
        return EXIT_DONE;
    }
    cJSON *object = cJSON_CreateObject();
    return json_write(NULL, json_whole(object, object != NULL && json_add_text(object, "text", text)));
}

static int decode(run *r, const char *text) {
    ids list = {0};
    char *decoded = NULL;
    tomo_error error = {0};
    int code = parse_ids(text, &list);
    if (code == EXIT_DONE) {
        code = run_step(r, tomo_model_detokenize(r->model, list.data, list.count, false, &decoded, &error),
                        &error);
    }
    if (code == EXIT_DONE) code = write_text(r, decoded);
    tomo_free(decoded);
    free(list.data);
    return code;
}

/* ------------------------------------------------------------------------------ */

static int tokenize_run(const command *self, int argc, char **argv) {
    tokenize_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The tokens", options, COUNT_OF(options), &mine},
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if (mine.decode && (mine.special || mine.parse_control)) {
        return options_wrong(self, "--decode excludes --special and --parse-control");
    }
    char *text = NULL;
    run r = {.options = &common};
    code = input_text(operands[0], &text);
    if (code == EXIT_DONE) code = run_open_model(&r, NULL);
    if (code == EXIT_DONE) code = mine.decode ? decode(&r, text) : encode(&r, text, &mine);
    run_close(&r);
    free(text);
    return code;
}

const command command_tokenize = {
    "tokenize",
    "TEXT",
    "prints the token ids of a text, or the text of token ids",
    "TEXT - is read from standard input, to its end and as it is. --model may also name a language model's "
    "own "
    "directory. --json gives {ids, tokens}, with --decode {text}.",
    "tomo tokenize \"Is the liver enlarged?\" --model models/demo",
    tokenize_run,
};
