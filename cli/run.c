#include "run.h"

#include "interrupt.h"
#include "json.h"
#include "terminal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifndef TOMO_DEFAULT_MODEL
#error "TOMO_DEFAULT_MODEL names the folder of the installed demo model"
#endif

/* Whole numbers that a double holds exactly; cJSON and the tables of options store doubles. */
#define MOST_EXACT 9007199254740992.0

#define AT(member) offsetof(run_options, member)

static const option common_options[] = {
    {"model", 0, OPTION_TEXT, "DIR", "model directory; default $TOMO_MODEL, else the demo model", AT(model),
     0, 0},
    {"json", 0, OPTION_FLAG, NULL, "print the result as one JSON value", AT(json), 0, 0},
    {"threads", 0, OPTION_INTEGER, "N", "threads; default one a CPU. Results do not depend on it",
     AT(threads), 1, 256},
    {"device", 0, OPTION_WORD, "cpu|cuda", "where to compute; this version: cpu", AT(device), 0, 0},
    {"kernels", 0, OPTION_WORD, "best|generic|avx2|avx512|amx",
     "which processor instructions to use; default best", AT(kernels), 0, 0},
    {"seed", 0, OPTION_SEED, "N", "of everything random; default 0", AT(seed), 0, 0},
    {"quiet", 0, OPTION_FLAG, NULL, "no warnings and no progress, errors only", AT(quiet), 0, 0},
    {"help", 'h', OPTION_FLAG, NULL, "print this help", AT(json), 0, 0},
};

static const option model_options[] = {
    {"chat-format", 0, OPTION_TEXT, "NAME",
     "use this chat format instead of recognising the model's template", AT(chat_format), 0, 0},
    {"merge-adapter", 0, OPTION_FLAG, NULL,
     "add the LoRA adapter to the weights, which costs memory, instead of applying it beside them",
     AT(merge_adapter), 0, 0},
    {"precision", 0, OPTION_WORD, "f32|bf16|int8|fast",
     "how products are computed; default f32, which equals the reference; fast: the best float type of this "
     "CPU, quantised weights as whole numbers; int8: whole numbers everywhere",
     AT(precision), 0, 0},
};

static const option scan_options[] = {
    {"series", 0, OPTION_TEXT, "UID|N",
     "the DICOM series: its UID or its number in tomo inspect; default the largest", AT(series), 0, 0},
    {"force-windows", 0, OPTION_FLAG, NULL, "apply Hounsfield windows to a scan without Hounsfield units",
     AT(force_windows), 0, 0},
    {"manifest", 0, OPTION_TEXT, "FILE", "write what was done to the scan, as JSON", AT(manifest), 0, 0},
    {"log-phi", 0, OPTION_FLAG, NULL,
     "let series UIDs, descriptions and the names of single DICOM files into messages and manifests",
     AT(log_phi), 0, 0},
    {"max-voxels", 0, OPTION_INTEGER, "N", "refuse larger scans; default 2^30", AT(max_voxels), 1,
     MOST_EXACT},
    {"max-slices", 0, OPTION_INTEGER, "N", "refuse longer scans; default 16384", AT(max_slices), 1,
     MOST_EXACT},
    {"max-expanded-bytes", 0, OPTION_INTEGER, "N", "of one zip or gzip file; default 3 x 2^30",
     AT(max_expanded_bytes), 1, MOST_EXACT},
    {"max-files", 0, OPTION_INTEGER, "N", "of one folder or zip file; default 100000", AT(max_files), 1,
     MOST_EXACT},
};

option_group run_common_group(run_options *options) {
    return (option_group){"Common options", common_options, COUNT_OF(common_options), options};
}

option_group run_model_group(run_options *options) {
    return (option_group){"The model", model_options, COUNT_OF(model_options), options};
}

option_group run_scan_group(run_options *options) {
    return (option_group){"The scan", scan_options, COUNT_OF(scan_options), options};
}

/* ------------------------------------------------------------------------------ results */

static int exit_status(tomo_status status) {
    switch (status) {
    case TOMO_OK:
        return EXIT_DONE;
    case TOMO_E_USAGE:
        return EXIT_USAGE;
    case TOMO_E_CANCELLED:
        return EXIT_CANCELLED;
    case TOMO_E_FORMAT:
    case TOMO_E_HEADER:
    case TOMO_E_TRUNCATED:
    case TOMO_E_LIMIT:
    case TOMO_E_UNSUPPORTED:
    case TOMO_E_DECODE:
    case TOMO_E_NO_IMAGE:
        return EXIT_REFUSED;
    case TOMO_E_IO:
    case TOMO_E_MEMORY:
    case TOMO_E_INTERNAL:
        return EXIT_FAILED;
    }
    return EXIT_FAILED;
}

int run_result(run *r, tomo_status status, const tomo_error *error) {
    int code = exit_status(status);
    if (code == EXIT_DONE) return code;
    r->error = *error;
    if (code != EXIT_CANCELLED) terminal_error("%s", error->message);
    return code;
}

int run_step(run *r, tomo_status status, const tomo_error *error) {
    int code = run_result(r, status, error);
    return code == EXIT_DONE && interrupt_requested() ? EXIT_CANCELLED : code;
}

/* ------------------------------------------------------------------------------ callbacks */

static void on_log(void *user, tomo_log_level level, const char *text) {
    const run *r = user;
    if (level == TOMO_LOG_WARNING && !r->mute_warnings) terminal_warning(text);
}

static bool on_progress(void *user, const char *stage, int64_t done, int64_t total) {
    const run *r = user;
    if (r->stage == NULL || strncmp(stage, r->stage, strlen(r->stage)) == 0)
        terminal_progress(stage, done, total);
    return !interrupt_requested();
}

/* ------------------------------------------------------------------------------ opening */

const char *run_named_model(const run_options *options) {
    if (options->model != NULL) return options->model;
    const char *named = getenv("TOMO_MODEL");
    return named != NULL && named[0] != '\0' ? named : NULL;
}

const char *run_find_model(const run_options *options) {
    const char *named = run_named_model(options);
    if (named != NULL) return named;
    if (access("models/demo/config.json", F_OK) == 0) return "models/demo";
    if (access(TOMO_DEFAULT_MODEL "/config.json", F_OK) == 0) return TOMO_DEFAULT_MODEL;
    return NULL;
}

int run_open_context(run *r) {
    if (r->context != NULL) return EXIT_DONE;
    const run_options *o = r->options;
    terminal_setup(o->quiet);
    if (o->device != 0) {
        terminal_error("--device cuda: this version computes on CPUs alone; --device cpu is wanted");
        return EXIT_USAGE;
    }
    static const char *const kernels[] = {NULL, "generic", "avx2", "avx512", "amx"};
    tomo_context_options options = {
        .kernels = kernels[o->kernels],
        .threads = (int)o->threads,
        .log = on_log,
        .progress = on_progress,
        .user = r,
        .max_voxels = o->max_voxels,
        .max_slices = o->max_slices,
        .max_expanded_bytes = o->max_expanded_bytes,
        .max_files = o->max_files,
    };
    tomo_error error = {0};
    return run_step(r, tomo_context_create(&options, &r->context, &error), &error);
}

int run_open_model(run *r, const char *folder) {
    int code = run_open_context(r);
    if (code != EXIT_DONE) return code;
    r->model_folder = folder != NULL ? folder : run_find_model(r->options);
    if (r->model_folder == NULL) {
        terminal_error("no model; name its directory by --model DIR or in TOMO_MODEL");
        return EXIT_USAGE;
    }
    static const char *const precisions[] = {NULL, "bf16", "int8", "fast"};
    tomo_model_options options = {.chat_format = r->options->chat_format,
                                  .merge_adapter = r->options->merge_adapter,
                                  .precision = precisions[r->options->precision]};
    double start = terminal_clock();
    tomo_error error = {0};
    code = run_step(r, tomo_model_open(r->context, r->model_folder, &options, &r->model, &error), &error);
    if (code == EXIT_DONE) code = run_step(r, tomo_session_create(r->model, &r->session, &error), &error);
    r->model_seconds = terminal_clock() - start;
    return code;
}

int run_open_scan(run *r, const char *path) {
    int code = run_open_context(r);
    if (code != EXIT_DONE) return code;
    tomo_scan_free(r->scan);
    r->scan = NULL;
    r->has_read = false;
    r->scan_path = path;
    tomo_scan_options options = {.series = r->options->series, .log_phi = r->options->log_phi};
    double start = terminal_clock();
    tomo_error error = {0};
    code = run_step(r, tomo_scan_open(r->context, path, &options, &r->scan, &error), &error);
    r->scan_seconds = terminal_clock() - start;
    return code;
}

int run_read_scan(run *r) {
    tomo_read_options options = {.force_windows = r->options->force_windows};
    double start = terminal_clock();
    tomo_error error = {0};
    int code = run_step(r, tomo_session_read_scan(r->session, r->scan, &options, &error), &error);
    r->read_seconds = terminal_clock() - start;
    r->has_read = code == EXIT_DONE;
    return code;
}

int run_prepare(run *r, const char *path) {
    int code = run_open_model(r, NULL);
    if (code == EXIT_DONE) code = run_open_scan(r, path);
    if (code == EXIT_DONE) code = run_read_scan(r);
    return code;
}

void run_close(run *r) {
    terminal_clear();
    tomo_session_free(r->session);
    tomo_model_free(r->model);
    tomo_scan_free(r->scan);
    tomo_context_free(r->context);
    *r = (run){.options = r->options};
}

/* ------------------------------------------------------------------------------ manifest */

int run_get_manifest(run *r, char **json) {
    tomo_error error = {0};
    tomo_status status = r->has_read ? tomo_session_manifest(r->session, json, &error)
                                     : tomo_scan_manifest(r->scan, json, &error);
    return run_result(r, status, &error);
}

int run_write_manifest(run *r) {
    if (r->options->manifest == NULL) return EXIT_DONE;
    char *json = NULL;
    int code = run_get_manifest(r, &json);
    if (code == EXIT_DONE) code = json_write_text(r->options->manifest, json);
    tomo_free(json);
    return code;
}

int run_check_file(const command *self, const char *name, const char *path) {
    if (path == NULL || strcmp(path, "-") != 0) return EXIT_DONE;
    return options_wrong(self, "%s cannot be standard output; a file name is wanted", name);
}

/* ------------------------------------------------------------------------------ JSON */

/* Microseconds; more digits are noise. */
static bool add_time(cJSON *object, const char *name, double seconds) {
    return json_add_number(object, name, round(seconds * 1e6) / 1e6);
}

static bool add_seconds(const run *r, const tomo_answer *answer, cJSON *object) {
    cJSON *seconds = cJSON_AddObjectToObject(object, "seconds");
    bool good = seconds != NULL;
    if (r->model != NULL) good = good && add_time(seconds, "model", r->model_seconds);
    if (r->scan != NULL) good = good && add_time(seconds, "scan", r->scan_seconds);
    if (r->has_read) good = good && add_time(seconds, "read", r->read_seconds);
    if (answer != NULL) {
        good = good && add_time(seconds, "prefill", answer->prefill_seconds) &&
               add_time(seconds, "decode", answer->decode_seconds);
    }
    return good;
}

bool run_add_origin(const run *r, const tomo_answer *answer, cJSON *object) {
    bool good = add_seconds(r, answer, object);
    if (r->has_read) {
        size_t count = 0;
        const int64_t *kept = tomo_session_kept_slices(r->session, &count);
        good = good && json_add_integers(object, "kept_slices", kept, count);
    }
    if (r->model_folder != NULL) good = good && json_add_text(object, "model", r->model_folder);
    return good && json_add_text(object, "version", tomo_version()) &&
           json_add_text(object, "notice", notice);
}
