/* report.c - tomo report: a scan's report as it is generated, or the reports of many scans. */
#include "answer.h"
#include "batch.h"
#include "commands.h"
#include "json.h"
#include "output.h"

#include <string.h>

typedef struct report_options {
    const char *output, *batch;
    bool with_manifest;
    tomo_generate_options generate;
} report_options;

#define AT(member) offsetof(report_options, member)

static const option options[] = {
    {"output", 'o', OPTION_TEXT, "FILE", "write the result there instead of to standard output", AT(output),
     0, 0},
    {"batch", 0, OPTION_TEXT, "PATH",
     "many scans: a folder, each entry one scan, or a CSV file with a column \"scan\". Writes JSONL, one "
     "line a scan. Run "
     "again with the same -o FILE, it goes on after the last whole line",
     AT(batch), 0, 0},
    {"with-manifest", 0, OPTION_FLAG, NULL, "put what was done to the scan into the JSON", AT(with_manifest),
     0, 0},
};

/* The members of one result behind "scan". */
static int add_result(run *r, const report_options *o, const tomo_answer *answer, cJSON *object) {
    bool good = answer_add_json(answer, "report", object) && run_add_origin(r, answer, object);
    char *manifest = NULL;
    int code = EXIT_DONE;
    if (good && o->with_manifest) {
        code = run_get_manifest(r, &manifest);
        if (code == EXIT_DONE) good = json_add(object, "manifest", json_parse(manifest));
        tomo_free(manifest);
    }
    if (!good) {
        tomo_error error = {TOMO_E_MEMORY, "out of memory for the result"};
        code = run_result(r, error.status, &error);
    }
    return code;
}

static int report_line(run *r, const char *path, void *user, cJSON *line) {
    const report_options *o = user;
    tomo_answer answer = {0};
    int code = run_open_scan(r, path);
    if (code == EXIT_DONE) code = run_read_scan(r);
    if (code == EXIT_DONE) {
        code = answer_generate(r, &(answer_request){.kind = ANSWER_REPORT}, &o->generate, &answer);
    }
    if (code == EXIT_DONE) code = add_result(r, o, &answer, line);
    tomo_answer_clear(&answer);
    return code;
}

static int write_json(run *r, const report_options *o, const tomo_answer *answer) {
    cJSON *object = cJSON_CreateObject();
    object = json_whole(object, object != NULL && json_add_text(object, "scan", r->scan_path));
    int code = object != NULL ? add_result(r, o, answer, object) : EXIT_DONE;
    if (code == EXIT_DONE) return json_write(o->output, object);
    cJSON_Delete(object);
    return code;
}

/* The text, unless it was streamed, and the notice that every report carries. */
static int write_text(const report_options *o, const tomo_answer *answer, bool streamed) {
    output out;
    if (!output_open(&out, o->output)) return EXIT_FAILED;
    if (!streamed) fprintf(out.stream, "%s\n", answer->text);
    fprintf(out.stream, "\n%s\n", notice);
    return output_commit(&out) ? EXIT_DONE : EXIT_FAILED;
}

static int report_one(run *r, const char *path, const report_options *o) {
    bool to_stdout = o->output == NULL || strcmp(o->output, "-") == 0;
    answer_request request = {.kind = ANSWER_REPORT, .stream = to_stdout && !r->options->json};
    tomo_answer answer = {0};
    int code = run_prepare(r, path);
    if (code == EXIT_DONE) code = answer_generate(r, &request, &o->generate, &answer);
    if (code == EXIT_DONE)
        code = r->options->json ? write_json(r, o, &answer) : write_text(o, &answer, request.stream);
    if (code == EXIT_DONE) code = run_write_manifest(r);
    tomo_answer_clear(&answer);
    return code;
}

static int report_run(const command *self, int argc, char **argv) {
    report_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The report", options, COUNT_OF(options), &mine},
                                   answer_group(&mine.generate),
                                   run_scan_group(&common),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    const char *scan = operands[0], *list = mine.batch;
    if (list != NULL && scan != NULL) return options_wrong(self, "SCAN and --batch exclude each other");
    if (list == NULL && scan != NULL && batch_is_list(scan)) list = scan;
    if (list == NULL && scan == NULL) {
        return options_wrong(self,
                             "SCAN is missing; usage: tomo report SCAN, or tomo report --batch PATH -o FILE");
    }
    if (list != NULL && common.manifest != NULL) {
        return options_wrong(self, "--manifest is for one scan; --with-manifest puts it into every line");
    }
    run r = {.options = &common};
    code = list != NULL ? batch_run(&r, list, mine.output, report_line, &mine) : report_one(&r, scan, &mine);
    run_close(&r);
    return code;
}

const command command_report = {
    "report",
    "[SCAN]",
    "writes a report about a scan, as it is generated",
    "SCAN is one scan: a file, or a folder or zip of one DICOM study. A SCAN that ends in .csv is taken as "
    "--batch. "
    "With --json the result is {scan, report, tokens, prompt_tokens, finish, seconds, kept_slices, model, "
    "version, "
    "notice}; each line of a batch is the same, or {scan, error, status, version}.",
    "tomo report study/ --model models/demo --manifest manifest.json",
    report_run,
};
