/* options.c - parsing by table. A value that begins with a single dash is taken (--window -600,1500); one
 * that begins with two must be written --name=VALUE, so that a forgotten value is noticed. */
#include "options.h"

#include "help.h"
#include "terminal.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char notice[] = "For research, not for diagnosis.";

typedef struct parser {
    const command *command;
    const option_group *groups;
    size_t n_groups;
    int argc;
    char **argv;
    int at; /* the argument that is being parsed */
} parser;

int options_wrong(const command *self, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    terminal_error("%s: %s", self->name, text);
    return EXIT_USAGE;
}

/* ------------------------------------------------------------------------------ nearest name */

#define NAME_MOST 40

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* How many letters must be changed, added, left out or swapped with their neighbour. */
static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b);
    if (n > NAME_MOST || m > NAME_MOST) return SIZE_MAX;
    size_t d[NAME_MOST + 1][NAME_MOST + 1];
    for (size_t i = 0; i <= n; i++) d[i][0] = i;
    for (size_t j = 0; j <= m; j++) d[0][j] = j;
    for (size_t i = 1; i <= n; i++) {
        for (size_t j = 1; j <= m; j++) {
            size_t changed = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            d[i][j] = smaller(changed, smaller(d[i - 1][j], d[i][j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                d[i][j] = smaller(d[i][j], d[i - 2][j - 2] + 1);
            }
        }
    }
    return d[n][m];
}

const char *options_nearest(const char *name, const char *const *names, size_t n) {
    const char *nearest = NULL;
    size_t length = strlen(name), best = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        bool begins = length >= 2 && strncmp(name, names[i], length) == 0;
        size_t d = begins ? 1 : distance(name, names[i]);
        /* A third of the letters may be wrong, two of a short word that keeps one of its own. */
        if (d < best && (d <= length / 3 || (d <= 2 && d < strlen(names[i])))) {
            best = d;
            nearest = names[i];
        }
    }
    return nearest;
}

#define OPTIONS_MOST 64

static const char *nearest_option(const parser *p, const char *name) {
    const char *names[OPTIONS_MOST];
    size_t n = 0;
    for (size_t g = 0; g < p->n_groups; g++) {
        for (size_t i = 0; i < p->groups[g].count && n < OPTIONS_MOST; i++) {
            names[n++] = p->groups[g].options[i].name;
        }
    }
    return options_nearest(name, names, n);
}

/* ------------------------------------------------------------------------------ values */

static int wrong_value(const parser *p, const option *o, const char *value, const char *wanted) {
    return options_wrong(p->command, "--%s: \"%s\" is not possible; %s is wanted", o->name, value, wanted);
}

static int wrong_range(const parser *p, const option *o, const char *value, const char *what) {
    char wanted[96];
    (void)snprintf(wanted, sizeof wanted, "%s from %.15g to %.15g", what, o->least, o->most);
    return wrong_value(p, o, value, wanted);
}

static int set_integer(const parser *p, const option *o, const char *value, int64_t *place) {
    char *end;
    errno = 0;
    long long number = strtoll(value, &end, 10);
    bool good = end != value && *end == '\0' && errno == 0;
    if (!good || (double)number < o->least || (double)number > o->most) {
        return wrong_range(p, o, value, "a whole number");
    }
    *place = number;
    return OPTIONS_GO;
}

static int set_number(const parser *p, const option *o, const char *value, double *place) {
    char *end;
    double number = strtod(value, &end);
    bool good = end != value && *end == '\0' && isfinite(number);
    if (!good || number < o->least || number > o->most) return wrong_range(p, o, value, "a number");
    *place = number;
    return OPTIONS_GO;
}

static int set_seed(const parser *p, const option *o, const char *value, uint64_t *place) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(value, &end, 10);
    /* strtoull takes a minus sign and wraps around. */
    if (value[0] < '0' || value[0] > '9' || *end != '\0' || errno != 0) {
        return wrong_value(p, o, value, "a whole number from 0 to 18446744073709551615");
    }
    *place = number;
    return OPTIONS_GO;
}

static int set_word(const parser *p, const option *o, const char *value, int *place) {
    size_t length = strlen(value);
    int index = 0;
    for (const char *word = o->value; word != NULL; index++) {
        const char *bar = strchr(word, '|');
        size_t size = bar != NULL ? (size_t)(bar - word) : strlen(word);
        if (size == length && strncmp(word, value, length) == 0) {
            *place = index;
            return OPTIONS_GO;
        }
        word = bar != NULL ? bar + 1 : NULL;
    }
    char wanted[96];
    (void)snprintf(wanted, sizeof wanted, "one of %s", o->value);
    return wrong_value(p, o, value, wanted);
}

static int set_window(const parser *p, const option *o, const char *value, option_window *place) {
    char *comma, *end = NULL;
    double level = strtod(value, &comma), width = 0;
    if (comma != value && *comma == ',') width = strtod(comma + 1, &end);
    bool good = end != NULL && end != comma + 1 && *end == '\0' && isfinite(level) && isfinite(width);
    if (!good || width <= 0) return wrong_value(p, o, value, "LEVEL,WIDTH with a width above 0, as 40,400,");
    *place = (option_window){true, level, width};
    return OPTIONS_GO;
}

static int set_texts(const parser *p, const option *o, const char *value, option_texts *place) {
    if (place->count == OPTION_TEXTS_MOST) {
        return options_wrong(p->command, "--%s: more than %d; fewer are wanted", o->name, OPTION_TEXTS_MOST);
    }
    place->items[place->count++] = value;
    return OPTIONS_GO;
}

static int set_value(const parser *p, const option *o, void *target, const char *value) {
    void *place = (char *)target + o->offset;
    if (value != NULL && value[0] == '\0')
        return options_wrong(p->command, "--%s: its value is empty", o->name);
    switch (o->kind) {
    case OPTION_FLAG:
        *(bool *)place = true;
        return OPTIONS_GO;
    case OPTION_TEXT:
        *(const char **)place = value;
        return OPTIONS_GO;
    case OPTION_TEXTS:
        return set_texts(p, o, value, place);
    case OPTION_INTEGER:
        return set_integer(p, o, value, place);
    case OPTION_NUMBER:
        return set_number(p, o, value, place);
    case OPTION_SEED:
        return set_seed(p, o, value, place);
    case OPTION_WORD:
        return set_word(p, o, value, place);
    case OPTION_WINDOW:
        return set_window(p, o, value, place);
    }
    return OPTIONS_GO;
}

/* ------------------------------------------------------------------------------ options */

static const option *find_option(const parser *p, const char *name, size_t length, char letter,
                                 void **target) {
    for (size_t g = 0; g < p->n_groups; g++) {
        for (size_t i = 0; i < p->groups[g].count; i++) {
            const option *o = &p->groups[g].options[i];
            bool found = letter != 0 ? o->letter == letter
                                     : strlen(o->name) == length && strncmp(o->name, name, length) == 0;
            if (found) {
                *target = p->groups[g].target;
                return o;
            }
        }
    }
    return NULL;
}

static int unknown_option(const parser *p, const char *argument, size_t length) {
    char name[NAME_MOST + 1];
    (void)snprintf(name, sizeof name, "%.*s", (int)smaller(length, NAME_MOST), argument + 2);
    const char *nearest = argument[1] == '-' ? nearest_option(p, name) : NULL;
    if (nearest != NULL) {
        return options_wrong(p->command, "unknown option --%s; did you mean --%s?", name, nearest);
    }
    return options_wrong(p->command, "unknown option %.60s; tomo %s --help lists them all", argument,
                         p->command->name);
}

/* Parses the option at p->at and moves on to its value where that is the next argument. */
static int parse_option(parser *p) {
    const char *argument = p->argv[p->at], *name = argument + 2, *value = NULL;
    bool is_long = argument[1] == '-';
    char letter = is_long ? 0 : argument[1];
    size_t length = is_long ? strcspn(name, "=") : 0;
    if (is_long && name[length] == '=') value = name + length + 1;
    if (!is_long && argument[2] != '\0') value = argument + 2 + (argument[2] == '=');
    if (letter == 'h' || (length == 4 && strncmp(name, "help", 4) == 0)) {
        help_command(p->command, p->groups, p->n_groups);
        return EXIT_DONE;
    }
    void *target = NULL;
    const option *o = find_option(p, name, length, letter, &target);
    if (o == NULL) return unknown_option(p, argument, length);
    if (o->kind == OPTION_FLAG) {
        if (value != NULL) return options_wrong(p->command, "--%s takes no value", o->name);
        return set_value(p, o, target, NULL);
    }
    if (value == NULL) {
        const char *next = p->at + 1 < p->argc ? p->argv[p->at + 1] : NULL;
        if (next == NULL || (next[0] == '-' && next[1] == '-')) {
            return options_wrong(p->command, "--%s needs a value; write --%s=%s", o->name, o->name, o->value);
        }
        value = next;
        p->at++;
    }
    return set_value(p, o, target, value);
}

/* ------------------------------------------------------------------------------ operands */

/* The i-th word of "SCAN [QUESTION]" and whether it must be given; false when there is none. */
static bool nth_operand(const char *operands, size_t i, char *name, size_t size, bool *required) {
    const char *word = operands;
    for (; i > 0 && *word != '\0'; i--) {
        word += strcspn(word, " ");
        word += strspn(word, " ");
    }
    if (*word == '\0') return false;
    *required = *word != '[';
    (void)snprintf(name, size, "%.*s", (int)strcspn(word, " "), word);
    return true;
}

static int check_operands(const parser *p, size_t count) {
    char name[NAME_MOST];
    bool required = false;
    if (nth_operand(p->command->operands, count, name, sizeof name, &required) && required) {
        return options_wrong(p->command, "%s is missing; usage: tomo %s %s", name, p->command->name,
                             p->command->operands);
    }
    return OPTIONS_GO;
}

static int add_operand(const parser *p, const char *argument, size_t *count, const char **operands) {
    char name[NAME_MOST];
    bool required;
    if (*count >= OPTIONS_MOST_OPERANDS ||
        !nth_operand(p->command->operands, *count, name, sizeof name, &required)) {
        return options_wrong(p->command,
                             "\"%.60s\" is too much; usage: tomo %s %s (quote texts of several words)",
                             argument, p->command->name, p->command->operands);
    }
    if (argument[0] == '\0') return options_wrong(p->command, "%s is empty", name);
    operands[(*count)++] = argument;
    return OPTIONS_GO;
}

int options_parse(const command *self, const option_group *groups, size_t n_groups, int argc, char **argv,
                  const char **operands) {
    parser p = {self, groups, n_groups, argc, argv, 1};
    size_t count = 0;
    bool all_operands = false; /* after "--" */
    for (size_t i = 0; i < OPTIONS_MOST_OPERANDS; i++) operands[i] = NULL;
    for (; p.at < argc; p.at++) {
        const char *argument = argv[p.at];
        int code = OPTIONS_GO;
        if (all_operands || argument[0] != '-' || argument[1] == '\0') {
            code = add_operand(&p, argument, &count, operands);
        } else if (strcmp(argument, "--") == 0) {
            all_operands = true;
        } else {
            code = parse_option(&p);
        }
        if (code != OPTIONS_GO) return code;
    }
    return check_operands(&p, count);
}
