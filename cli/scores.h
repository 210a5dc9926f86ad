/* scores.h - what tomo score and tomo eval share: how scores are computed, and their JSON as tables for
 * people. */
#ifndef TOMO_CLI_SCORES_H
#define TOMO_CLI_SCORES_H

#include "options.h"

#include <cjson/cJSON.h>
#include <stdio.h>

/* Target of scores_group; zero or NULL in a field means the default. */
typedef struct scores_options {
    const char *wordnet, *bertscore_model, *bertscore_baseline;
    int64_t draws, bertscore_layer;
    bool bertscore_idf;
} scores_options;

option_group scores_group(scores_options *options);

/* The scores of one file, and beside them those of unseen texts, of another file, and the differences. */
void scores_print(FILE *out, const cJSON *scores);

#endif
