/* inspect.c - tomo inspect: what a scan holds, what was done to it, and which slices a model keeps. */
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"

#include <string.h>

typedef struct inspect_options {
    const char *png;
    option_window window;
} inspect_options;

#define AT(member) offsetof(inspect_options, member)

static const option options[] = {
    {"png", 0, OPTION_TEXT, "FILE",
     "write a contact sheet of all slices; those that the model keeps are framed", AT(png), 0, 0},
    {"window", 0, OPTION_WINDOW, "LEVEL,WIDTH",
     "its grey levels; default 40,400 for a scan in HU, else from the smallest voxel to the largest",
     AT(window), 0, 0},
};

/* What the library knows, gathered before anything is printed: a scan that is refused prints nothing. */
typedef struct findings {
    char *manifest, *series; /* freed by tomo_free */
    cJSON *manifest_tree, *series_tree;
    tomo_scan_info info;
} findings;

static int gather(run *r, findings *f) {
    tomo_scan_options scan_options = {.series = r->options->series, .log_phi = r->options->log_phi};
    tomo_error error = {0};
    tomo_scan_get_info(r->scan, &f->info);
    int code = run_get_manifest(r, &f->manifest);
    if (code != EXIT_DONE || r->options->json) return code;
    tomo_status status = tomo_scan_list(r->context, r->scan_path, &scan_options, &f->series, &error);
    code = run_step(r, status, &error);
    if (code != EXIT_DONE) return code;
    f->manifest_tree = json_parse(f->manifest);
    f->series_tree = json_parse(f->series);
    return f->manifest_tree != NULL && f->series_tree != NULL ? EXIT_DONE : EXIT_FAILED;
}

static void release(findings *f) {
    cJSON_Delete(f->manifest_tree);
    cJSON_Delete(f->series_tree);
    tomo_free(f->manifest);
    tomo_free(f->series);
}

/* ------------------------------------------------------------------------------ text */

static void print_geometry(const tomo_scan_info *info) {
    const int64_t *n = info->shape;
    const double *mm = info->spacing_mm;
    printf("  size         %lld slices of %lld x %lld voxels (rows x columns)\n", (long long)n[0],
           (long long)n[1], (long long)n[2]);
    printf("  spacing      %.4g mm between slices, %.4g x %.4g mm in them\n", mm[0], mm[1], mm[2]);
    printf("  extent       %.4g x %.4g x %.4g mm\n", (double)n[0] * mm[0], (double)n[1] * mm[1],
           (double)n[2] * mm[2]);
    printf("  intensities  %s from %.6g to %.6g, mean %.6g, standard deviation %.6g\n",
           info->has_hu ? "Hounsfield units" : "arbitrary units", info->minimum, info->maximum, info->mean,
           info->deviation);
}

static void print_series(const cJSON *series) {
    static const render_column columns[] = {
        {"series", "series"}, {"number", "number"}, {"modality", "modality"}, {"slices", "slices"},
        {"size", "size"},     {"rows", "rows"},     {"columns", "columns"},   {"description", "description"},
        {"chosen", "chosen"}, {"why", "why"},       {"uid", "uid"},
    };
    /* A file that is no DICOM is its own only series. */
    if (series->child == NULL || !cJSON_HasObjectItem(series->child, "modality")) return;
    puts("\nSeries");
    render_table(stdout, series, columns, COUNT_OF(columns), 2);
}

static void print_warnings(const cJSON *manifest) {
    const cJSON *warnings = cJSON_GetObjectItemCaseSensitive(manifest, "warnings"), *entry;
    if (warnings == NULL || warnings->child == NULL) return;
    puts("\nWarnings");
    cJSON_ArrayForEach(entry, warnings) {
        const char *code = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "code"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "text"));
        fputs("  ", stdout);
        render_text(stdout, code != NULL ? code : "");
        fputs(": ", stdout);
        render_text(stdout, text != NULL ? text : "");
        putchar('\n');
    }
}

/* The manifest but for what stands above already: series, warnings, intensities. */
static void print_steps(cJSON *manifest) {
    puts("\nWhat was done");
    cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(manifest, "input"), "series");
    const cJSON *member;
    cJSON_ArrayForEach(member, manifest) {
        bool shown = strcmp(member->string, "warnings") == 0 || strcmp(member->string, "intensities") == 0;
        if (!shown) render_member(stdout, member, 2);
    }
}

static void print_text(const run *r, const findings *f) {
    render_text(stdout, r->scan_path);
    putchar('\n');
    print_geometry(&f->info);
    print_series(f->series_tree);
    print_warnings(f->manifest_tree);
    print_steps(f->manifest_tree);
    printf("\n%s\n", notice);
}

/* ------------------------------------------------------------------------------ picture */

static int write_sheet(run *r, const inspect_options *o, const tomo_scan_info *info) {
    tomo_picture_options picture = {
        .use_window = o->window.given, .level = o->window.level, .width = o->window.width};
    if (!o->window.given && info->has_hu)
        picture = (tomo_picture_options){.use_window = true, .level = 40, .width = 400};
    if (r->has_read) {
        size_t count = 0;
        picture.kept = tomo_session_kept_slices(r->session, &count);
        picture.kept_count = (int64_t)count;
    }
    tomo_error error = {0};
    return run_result(r, tomo_scan_write_sheet(r->scan, o->png, &picture, &error), &error);
}

/* ------------------------------------------------------------------------------ */

static int inspect(run *r, const char *scan, const inspect_options *o) {
    findings f = {0};
    int code = run_open_scan(r, scan);
    const char *model = run_named_model(r->options);
    if (code == EXIT_DONE && model != NULL) {
        code = run_open_model(r, model);
        if (code == EXIT_DONE) code = run_read_scan(r);
    }
    if (code == EXIT_DONE) code = gather(r, &f);
    if (code == EXIT_DONE && o->png != NULL) code = write_sheet(r, o, &f.info);
    if (code == EXIT_DONE) code = run_write_manifest(r);
    if (code == EXIT_DONE) {
        if (r->options->json) {
            code = json_write_text(NULL, f.manifest);
        } else {
            print_text(r, &f);
        }
    }
    release(&f);
    return code;
}

static int inspect_run(const command *self, int argc, char **argv) {
    inspect_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The contact sheet", options, COUNT_OF(options), &mine},
                                   run_scan_group(&common),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    code = run_check_file(self, "--png", mine.png);
    if (code != EXIT_DONE) return code;
    /* The warnings are part of the result. */
    run r = {.options = &common, .mute_warnings = true};
    code = inspect(&r, operands[0], &mine);
    run_close(&r);
    return code;
}

const command command_inspect = {
    "inspect",
    "SCAN",
    "tells what a scan holds and what was done to it: series, geometry, intensities, warnings",
    "With --model or TOMO_MODEL also which slices the model keeps, and why. --json prints the manifest.",
    "tomo inspect study/ --model models/demo --png sheet.png",
    inspect_run,
};
