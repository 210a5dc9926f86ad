/* help.h - what --help prints, on standard output. */
#ifndef TOMO_CLI_HELP_H
#define TOMO_CLI_HELP_H

#include "options.h"

void help_command(const command *command, const option_group *groups, size_t n_groups);
void help_all(const command *const *commands, size_t n);

#endif
