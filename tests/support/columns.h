/* columns.h - reference files whose lines are rows of JSON, and cases that are one column of such a file. */
#ifndef TOMO_TESTS_COLUMNS_H
#define TOMO_TESTS_COLUMNS_H

#include "base/json.h"
#include "support/parity.h"

/* The lines as a list, freed by cJSON_Delete; they end only at a line feed. A file that cannot be read gives
 * an empty list. */
cJSON *columns_read_lines(const char *path);

/* A case: how many rows it has, and the first that is wrong. */
typedef struct column {
    int rows, wrong, first;
    char what[200];
} column;

void column_count(column *c, int row, bool good, const char *what);
/* Ends the case "FILE/NAME"; one without rows fails. */
void column_end(parity *p, const char *file, const char *name, const column *c);

#endif
