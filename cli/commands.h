/* commands.h - one file a command: report.c holds command_report. */
#ifndef TOMO_CLI_COMMANDS_H
#define TOMO_CLI_COMMANDS_H

#include "options.h"

extern const command command_report;
extern const command command_ask;
extern const command command_inspect;
extern const command command_convert;
extern const command command_trace;
extern const command command_embed;
extern const command command_tokenize;
extern const command command_generate;
extern const command command_model; /* hands on to "model new" and "model info" */
extern const command command_data;
extern const command command_eval;
extern const command command_score;
extern const command command_bench;
extern const command command_model_quantize; /* of command_model, as the next */
extern const command command_model_tune;
extern const command command_train;
extern const command command_phantom;

#endif
