/* main.c - finds the command and ends the process truthfully. */
#include "commands.h"
#include "help.h"
#include "interrupt.h"
#include "output.h"
#include "terminal.h"
#include "tomo.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

static const command *const commands[] = {
    &command_report, &command_ask,      &command_inspect,  &command_convert, &command_trace,
    &command_embed,  &command_tokenize, &command_generate, &command_train,   &command_eval,
    &command_score,  &command_data,     &command_phantom,  &command_model,   &command_bench,
};

static int unknown(const char *name) {
    const char *names[COUNT_OF(commands)];
    for (size_t i = 0; i < COUNT_OF(commands); i++) names[i] = commands[i]->name;
    const char *nearest = options_nearest(name, names, COUNT_OF(commands));
    if (nearest != NULL) {
        terminal_error("unknown command %.60s; did you mean tomo %s?", name, nearest);
    } else {
        terminal_error("unknown command %.60s; tomo --help lists them", name);
    }
    return EXIT_USAGE;
}

static int dispatch(int argc, char **argv) {
    const char *name = argc > 1 ? argv[1] : NULL;
    if (name == NULL) {
        terminal_error("a command is missing; tomo --help lists them");
        return EXIT_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        help_all(commands, COUNT_OF(commands));
        return EXIT_DONE;
    }
    if (strcmp(name, "--version") == 0) {
        printf("tomo %s\n", tomo_version());
        return EXIT_DONE;
    }
    for (size_t i = 0; i < COUNT_OF(commands); i++) {
        if (strcmp(commands[i]->name, name) == 0) return commands[i]->run(commands[i], argc - 1, argv + 1);
    }
    return unknown(name);
}

/* Where one of the three standard files is closed, the next file opened would take its place, and results
 * would be written into a model. What stands there instead refuses to be used. */
static void hold_standard_files(void) {
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) == -1) (void)open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
    }
}

int main(int argc, char **argv) {
    hold_standard_files();
    interrupt_install();
    int code = dispatch(argc, argv);
    if (code == EXIT_CANCELLED) terminal_error("cancelled");
    if (!output_flush() && code == EXIT_DONE) code = EXIT_FAILED;
    return code;
}
