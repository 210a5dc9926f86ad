/* scores.h - the JSON of scores as tables for people: what tomo score and tomo eval print. */
#ifndef TOMO_CLI_SCORES_H
#define TOMO_CLI_SCORES_H

#include <cjson/cJSON.h>
#include <stdio.h>

/* The scores of one file, and beside them those of unseen texts, of another file, and the differences. */
void scores_print(FILE *out, const cJSON *scores);

#endif
