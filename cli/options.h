/* options.h - command lines: one table of options gives parsing, messages and help. */
#ifndef TOMO_CLI_OPTIONS_H
#define TOMO_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a process ends with. */
enum {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,     /* files that cannot be opened or written, memory */
    EXIT_USAGE = 2,      /* the command line makes no sense */
    EXIT_REFUSED = 3,    /* a damaged or unsupported scan, model or list */
    EXIT_CANCELLED = 130 /* Ctrl-C, as shells tell it */
};

/* For research, not for diagnosis: stands in every help and every report. */
extern const char notice[];

typedef struct command {
    const char *name;     /* "report", "model new" */
    const char *operands; /* "SCAN QUESTION"; those in brackets may be left out */
    const char *purpose;  /* one line, without a full stop */
    const char *notes;    /* more for the help, or NULL */
    const char *example;
    int (*run)(const struct command *command, int argc, char **argv); /* argv[0] is the command's name */
} command;

/* What an option stores at its offset. */
typedef enum option_kind {
    OPTION_FLAG,    /* bool */
    OPTION_TEXT,    /* const char * */
    OPTION_TEXTS,   /* option_texts; may be given several times */
    OPTION_INTEGER, /* int64_t between least and most */
    OPTION_NUMBER,  /* double between least and most */
    OPTION_SEED,    /* uint64_t */
    OPTION_WORD,    /* int: which of the words of `value`, "npy|png" */
    OPTION_WINDOW   /* option_window: LEVEL,WIDTH */
} option_kind;

#define OPTION_TEXTS_MOST 26

typedef struct option_texts {
    const char *items[OPTION_TEXTS_MOST];
    size_t count;
} option_texts;

typedef struct option_window {
    bool given;
    double level, width;
} option_window;

typedef struct option {
    const char *name; /* without the dashes */
    char letter;      /* also -o; or 0 */
    option_kind kind;
    const char *value; /* how the help calls the value; NULL for flags */
    const char *help;
    size_t offset; /* where in the group's target the value goes */
    double least, most;
} option;

typedef struct option_group {
    const char *title;
    const option *options;
    size_t count;
    void *target;
} option_group;

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])
#define OPTIONS_MOST_OPERANDS 2
/* Returned by options_parse: the command line is fine, go on. */
#define OPTIONS_GO (-1)

/* Parses argv into the groups' targets and operands[OPTIONS_MOST_OPERANDS] (NULL where left out). Returns
 * OPTIONS_GO, or the status to exit with: EXIT_DONE after --help, EXIT_USAGE after telling what is wrong. The
 * texts stored point into argv. */
int options_parse(const command *self, const option_group *groups, size_t n_groups, int argc, char **argv,
                  const char **operands);

/* Tells "tomo: COMMAND: ..." and returns EXIT_USAGE. */
int options_wrong(const command *self, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The name among n that is nearest to `name`, at the same distance the first; NULL when none is near. */
const char *options_nearest(const char *name, const char *const *names, size_t n);

#endif
