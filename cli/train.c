/* train.c - tomo train: runs a recipe. */
#include "commands.h"
#include "interrupt.h"
#include "json.h"
#include "run.h"
#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct train_options {
    bool resume, skip_broken;
    int64_t every;
} train_options;

#define AT(member) offsetof(train_options, member)

static const option options[] = {
    {"resume", 0, OPTION_FLAG, NULL,
     "go on from the newest checkpoint of the recipe's run, exactly as if it had not stopped", AT(resume), 0,
     0},
    {"skip-broken", 0, OPTION_FLAG, NULL, "leave out samples that cannot be used; without it nothing starts",
     AT(skip_broken), 0, 0},
    {"every", 0, OPTION_INTEGER, "N",
     "steps between two lines where standard error is no terminal; default 10", AT(every), 1, 1e9},
};

/* What the live line needs from one step to the next. */
typedef struct shown {
    int64_t every;
    bool quiet, live;
    double last;
    tomo_train_progress now; /* step 0: no step was done */
    char stage[64];          /* now.stage is the recipe's, which is gone when the run ends */
} shown;

static void format_time(char *text, size_t size, double seconds) {
    int64_t s = isfinite(seconds) && seconds > 0 ? (int64_t)seconds : 0;
    if (s >= 3600) {
        (void)snprintf(text, size, "%lld:%02lld:%02lld", (long long)(s / 3600), (long long)(s / 60 % 60),
                       (long long)(s % 60));
    } else {
        (void)snprintf(text, size, "%lld:%02lld", (long long)(s / 60), (long long)(s % 60));
    }
}

static void compose(char *line, size_t size, const tomo_train_progress *p) {
    char validation[48] = "", eta[32];
    if (isfinite(p->validation_loss))
        (void)snprintf(validation, sizeof validation, "  validation %.4f", p->validation_loss);
    format_time(eta, sizeof eta, p->eta_seconds);
    (void)snprintf(line, size, "%s %lld/%lld  loss %.4f%s  lr %.3g  grad %.3g  %.0f tokens/s  left %s",
                   p->stage, (long long)p->step, (long long)p->steps, p->loss, validation, p->learning_rate,
                   p->gradient_norm, p->tokens_per_second, eta);
}

static bool on_step(void *user, const tomo_train_progress *p) {
    shown *s = user;
    s->now = *p;
    (void)snprintf(s->stage, sizeof s->stage, "%s", p->stage);
    bool last = p->step == p->steps;
    double now = terminal_clock();
    char line[256];
    if (s->quiet) return !interrupt_requested();
    if (s->live && !last && now - s->last < 0.1) return !interrupt_requested();
    if (!s->live && !last && p->step % s->every != 0 && p->step != 1) return !interrupt_requested();
    s->last = now;
    compose(line, sizeof line, p);
    if (s->live && !last) {
        terminal_line(line);
    } else {
        terminal_note("%s", line);
    }
    return !interrupt_requested();
}

/* Where the run ended, as one JSON value. */
static int write_json(const shown *s) {
    cJSON *object = cJSON_CreateObject();
    const tomo_train_progress *p = &s->now;
    bool good = object != NULL && json_add_text(object, "stage", p->step > 0 ? s->stage : NULL) &&
                json_add_number(object, "step", (double)p->step) &&
                json_add_number(object, "loss", p->loss) &&
                json_add_number(object, "validation_loss", p->validation_loss);
    return json_write(NULL, json_whole(object, good));
}

static int train_run(const command *self, int argc, char **argv) {
    train_options mine = {.every = 10};
    run_options common = {0};
    const option_group groups[] = {{"The run", options, COUNT_OF(options), &mine}, run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    /* Under mpirun one process speaks for all. */
    const char *rank = getenv("OMPI_COMM_WORLD_RANK");
    if (rank != NULL && strcmp(rank, "0") != 0) common.quiet = true;
    run r = {.options = &common};
    shown s = {.every = mine.every, .quiet = common.quiet, .live = isatty(STDERR_FILENO) == 1};
    s.now.loss = s.now.validation_loss = NAN;
    tomo_train_options o = {mine.resume, mine.skip_broken, on_step, &s};
    tomo_error error = {0};
    code = run_open_context(&r);
    if (code == EXIT_DONE) {
        code = run_result(&r, tomo_train(r.context, operands[0], &o, &error), &error);
        if (code == EXIT_CANCELLED) terminal_note("%s", error.message);
    }
    run_close(&r);
    return code == EXIT_DONE && common.json ? write_json(&s) : code;
}

const command command_train = {
    "train",
    "RECIPE",
    "trains a model as a recipe says",
    "RECIPE is a JSON file (docs/train.md). What comes out is in its run folder: model/ opens with the other "
    "commands, metrics.jsonl, metrics.csv and curves.svg tell how it went. Ctrl-C writes a checkpoint. With "
    "several "
    "processes: mpirun -n 4 tomo train RECIPE.",
    "tomo train recipes/own-scans.json",
    train_run,
};
