#include "answer.h"

#include "interrupt.h"
#include "json.h"
#include "output.h"
#include "render.h"
#include "terminal.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define AT(member) offsetof(tomo_generate_options, member)

static const option sampling_options[] = {
    {"max-tokens", 0, OPTION_INTEGER, "N", "stop after so many tokens; default 512", AT(max_tokens), 1, 1e9},
    {"temperature", 0, OPTION_NUMBER, "T", "0, the default, takes the likeliest token always",
     AT(temperature), 0, 100},
    {"top-k", 0, OPTION_INTEGER, "K", "draw from the K likeliest tokens; default 0: off", AT(top_k), 0, 1e9},
    {"top-p", 0, OPTION_NUMBER, "P", "draw from the likeliest that sum to P; default 0: off", AT(top_p), 0,
     1},
    {"min-p", 0, OPTION_NUMBER, "P",
     "leave out what is less likely than P times the likeliest; default 0: off", AT(min_p), 0, 1},
    {"repetition-penalty", 0, OPTION_NUMBER, "R", "above 1 makes repetition less likely; default 0: off",
     AT(repetition_penalty), 0, 100},
};

option_group answer_group(tomo_generate_options *options) {
    return (option_group){"The answer", sampling_options, COUNT_OF(sampling_options), options};
}

/* What the text callback keeps between pieces. */
typedef struct stream {
    bool print, terminal, failed;
    char last; /* the last byte that was printed */
} stream;

/* A piece at a time, so that a reader sees it at once. A terminal gets no control characters: a model may
 * have learnt, or been made, to write escape sequences. */
static bool on_text(void *user, const char *text, size_t size) {
    stream *s = user;
    if (s->print && size > 0) {
        if (s->terminal) {
            terminal_end_bar();
            render_text(stdout, text);
        } else {
            (void)fwrite(text, 1, size, stdout);
        }
        s->last = text[size - 1];
        s->failed = !output_flush();
    }
    return !s->failed && !interrupt_requested();
}

static tomo_status generate(run *r, const answer_request *request, const tomo_generate_options *options,
                            tomo_answer *answer, tomo_error *error) {
    switch (request->kind) {
    case ANSWER_REPORT:
        return tomo_session_report(r->session, options, answer, error);
    case ANSWER_QUESTION:
        return tomo_session_ask(r->session, request->text, options, answer, error);
    case ANSWER_TEXT:
    case ANSWER_CHAT:
        break;
    }
    bool chat = request->kind == ANSWER_CHAT;
    return tomo_session_complete(r->session, request->text, chat, options, answer, error);
}

int answer_generate(run *r, const answer_request *request, const tomo_generate_options *options,
                    tomo_answer *answer) {
    stream s = {.print = request->stream, .terminal = isatty(STDOUT_FILENO) != 0};
    tomo_generate_options mine = *options;
    mine.seed = r->options->seed;
    mine.text = on_text;
    mine.user = &s;
    tomo_error error = {0};
    tomo_status status = generate(r, request, &mine, answer, &error);
    terminal_clear();
    /* Also behind a half answer, so that a message or the shell's prompt begins a line. */
    if (s.print && !s.failed && s.last != '\n' && (status == TOMO_OK || s.last != '\0')) putchar('\n');
    if (s.print && !output_flush()) return EXIT_FAILED;
    return run_step(r, status, &error);
}

bool answer_add_json(const tomo_answer *answer, const char *name, cJSON *object) {
    return json_add_text(object, name, answer->text) &&
           json_add_number(object, "tokens", (double)answer->count) &&
           json_add_number(object, "prompt_tokens", (double)answer->prompt_tokens) &&
           json_add_text(object, "finish", answer->finish);
}
