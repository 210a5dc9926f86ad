/* run.h - what the commands share: the common options, and one context, model, session and scan, opened and
 * freed in the right order. Functions return EXIT_DONE or the status to exit with, having told why. */
#ifndef TOMO_CLI_RUN_H
#define TOMO_CLI_RUN_H

#include "options.h"
#include "tomo.h"

#include <cjson/cJSON.h>

/* Targets of run_common_group, run_model_group and run_scan_group. */
typedef struct run_options {
    const char *model, *chat_format;
    bool merge_adapter;
    int precision; /* 0: f32 */
    int kernels;   /* 0: the best */
    bool json, quiet;
    int64_t threads;
    int device; /* 0 cpu, 1 cuda */
    uint64_t seed;
    const char *series, *manifest;
    bool log_phi, force_windows;
    int64_t max_voxels, max_slices, max_expanded_bytes, max_files;
} run_options;

/* All zero but for `options` before the first call. */
typedef struct run {
    const run_options *options;
    bool mute_warnings; /* the command shows them itself */
    const char *stage;  /* the bar shows stages that begin so alone; NULL: all */
    tomo_context *context;
    tomo_model *model;
    tomo_session *session;
    tomo_scan *scan;
    const char *model_folder;
    const char *scan_path;
    bool has_read; /* the session has read the scan */
    double model_seconds, scan_seconds, read_seconds;
    tomo_error error; /* of the call that failed last */
} run;

option_group run_common_group(run_options *options);
option_group run_model_group(run_options *options);
option_group run_scan_group(run_options *options);

/* --model, else $TOMO_MODEL, else the demo model where it is found; NULL when there is none. */
const char *run_find_model(const run_options *options);
/* --model or $TOMO_MODEL alone. */
const char *run_named_model(const run_options *options);

int run_open_context(run *r);
/* Model and session; the context too where it is not open. folder NULL: run_find_model. */
int run_open_model(run *r, const char *folder);
/* The scan, in place of the one before; the context too where it is not open. `path` must outlive the run. */
int run_open_scan(run *r, const char *path);
/* Lets the session read the scan. */
int run_read_scan(run *r);
/* Model, scan, and the session's reading of it. */
int run_prepare(run *r, const char *path);
void run_close(run *r);

/* What a library call means for the process; tells the message of a failure. */
int run_result(run *r, tomo_status status, const tomo_error *error);
/* The same for a call after which there is more to do: EXIT_CANCELLED when the user asked to stop meanwhile.
 */
int run_step(run *r, tomo_status status, const tomo_error *error);

/* The manifest, of the session where it has read the scan, else of the scan; freed by tomo_free. */
int run_get_manifest(run *r, char **json);
/* Writes --manifest FILE where it was given. The last thing that a command does, so that Ctrl-C leaves either
 * every output or none. */
int run_write_manifest(run *r);
/* Refuses "-" for files that the library writes by name. */
int run_check_file(const command *self, const char *name, const char *path);

/* Adds "seconds", "kept_slices", "model", "version" and "notice", whichever there are; `answer` may be NULL.
 */
bool run_add_origin(const run *r, const tomo_answer *answer, cJSON *object);

#endif
