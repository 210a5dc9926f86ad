/* bench_scan.h - a whole report about a real scan, stage by stage. */
#ifndef TOMO_CLI_BENCH_SCAN_H
#define TOMO_CLI_BENCH_SCAN_H

#include "run.h"

/* Reads the scan with the model that is open, asks twice, and adds the times to results (a list as
 * tomo_model_bench makes it). Returns EXIT_DONE or the status to exit with. */
int bench_scan(run *r, const char *scan, int64_t max_tokens, cJSON *results);

#endif
