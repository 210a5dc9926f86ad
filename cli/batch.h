/* batch.h - one command on many scans: a folder or a CSV file in, JSONL out. */
#ifndef TOMO_CLI_BATCH_H
#define TOMO_CLI_BATCH_H

#include "run.h"

/* Does the work for the scan at `path` and adds to `line`, which holds "scan" already. What it returns other
 * than EXIT_DONE has been told, with the message in r->error. */
typedef int (*batch_work)(run *r, const char *path, void *user, cJSON *line);

/* Whether `path` is a list of scans rather than a scan: its name ends in .csv. */
bool batch_is_list(const char *path);

/* The paths of all scans of a folder or CSV file, in the order in which batch_run takes them; a list ended by
 * NULL, freed by batch_free_paths. EXIT_DONE, or the status to exit with, having told why. */
int batch_paths(const char *source, char ***paths, size_t *count);
void batch_free_paths(char **paths);

/* Every entry of the folder `source` in the order of their names, or every scan of the column "scan" of a CSV
 * file. Scans that have a line in `out` already are skipped; one that fails gets a line with "error". Returns
 * EXIT_FAILED when any line has one. The model is opened only when there is work. */
int batch_run(run *r, const char *source, const char *out, batch_work work, void *user);

#endif
