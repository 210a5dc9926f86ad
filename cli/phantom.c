/* phantom.c - tomo phantom: a data set of CT-like scans with reports and questions, made from a seed. */
#include "commands.h"
#include "json.h"
#include "render.h"
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct phantom_options {
    int64_t count, questions, slab;
    const char *size;
    int contents, format; /* tomo_phantom_contents and _format, in the order of the options' words */
    int split;            /* 0: drawn */
    int wording;          /* 1: plain */
    bool all;
    int answer; /* 1: text first */
} phantom_options;

#define AT(member) offsetof(phantom_options, member)

static const option options[] = {
    {"count", 0, OPTION_INTEGER, "N", "how many scans, slices or reports; default 1", AT(count), 1, 1e6},
    {"contents", 0, OPTION_WORD, "scans|slices|text",
     "scans: with reports and questions (default); slices: single axial ones with captions, three of four "
     "through a finding, to train a 2D encoder; text: text.jsonl with reports and questions, to train a "
     "language "
     "model. "
     "Each has patients of its own",
     AT(contents), 0, 0},
    {"format", 0, OPTION_WORD, "nifti|npy|m3d|dicom|nii",
     "nifti: scans/*.nii.gz and scans.csv (default); npy: scans/*.npy in HU and scans.csv; m3d: folders and "
     "files of "
     "M3D-Cap and M3D-VQA; dicom: scans/*/, a CT series each, and scans.csv; nii: as nifti, not packed",
     AT(format), 0, 0},
    {"size", 0, OPTION_TEXT, "ZxYxX",
     "slices, rows and columns, 8 to 1024 each; default 64x128x128, for m3d 32x256x256; --contents slices "
     "takes "
     "YxX too",
     AT(size), 0, 0},
    {"slab", 0, OPTION_INTEGER, "N",
     "each scan has one to N neighbouring slices, as many as is drawn, mostly through a finding; "
     "default: all slices, of --contents slices one",
     AT(slab), 1, 1024},
    {"split", 0, OPTION_WORD, "drawn|train|validation|test",
     "which split the scans belong to; default drawn, 8 : 1 : 1", AT(split), 0, 0},
    {"questions", 0, OPTION_INTEGER, "N", "most questions a scan, 0 to 16; default 8", AT(questions), 0, 16},
    {"all-questions", 0, OPTION_FLAG, NULL,
     "ask all that can be asked, up to --questions, though some answers are then commoner: to train with, "
     "not "
     "to be scored on",
     AT(all), 0, 0},
    {"answer", 0, OPTION_WORD, "letter|text",
     "of closed questions in texts: \"C. lung\" (default) or \"lung: C.\", as prompt.answer of the model "
     "will be",
     AT(answer), 0, 0},
    {"wording", 0, OPTION_WORD, "varied|plain",
     "of reports and captions: sentences are drawn (default), or always the same", AT(wording), 0, 0},
};

/* "64x128x128", or "128x128" where slices may be left out; false when it is something else. */
static bool read_size(const char *text, bool slices_may_miss, int64_t size[3]) {
    const char *first = strchr(text, 'x');
    bool two = slices_may_miss && first != NULL && strchr(first + 1, 'x') == NULL;
    for (int i = two ? 1 : 0; i < 3; i++) {
        char *end = NULL;
        if (*text < '0' || *text > '9') return false;
        size[i] = strtol(text, &end, 10);
        if (size[i] < 8 || size[i] > 1024 || *end != (i < 2 ? 'x' : '\0')) return false;
        text = end + 1;
    }
    return true;
}

static int write_phantoms(run *r, const char *folder, const tomo_phantom_options *o) {
    tomo_error error = {0};
    char *json = NULL;
    int code = run_open_context(r);
    if (code == EXIT_DONE)
        code = run_result(r, tomo_phantom_write(r->context, folder, o, &json, &error), &error);
    cJSON *root = code == EXIT_DONE ? json_parse(json) : NULL;
    if (code == EXIT_DONE && root == NULL) code = EXIT_FAILED;
    if (code == EXIT_DONE && r->options->json) code = json_write_text(NULL, json);
    if (code == EXIT_DONE && !r->options->json) render_tree(stdout, root, 0);
    cJSON_Delete(root);
    tomo_free(json);
    return code;
}

static int phantom_run(const command *self, int argc, char **argv) {
    static const char *const splits[] = {NULL, "train", "validation", "test"};
    phantom_options mine = {.count = 1, .questions = 8};
    run_options common = {0};
    const option_group groups[] = {{"The data set", options, COUNT_OF(options), &mine},
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    code = run_check_file(self, "OUT", operands[0]);
    if (code != EXIT_DONE) return code;
    tomo_phantom_options o = {.count = mine.count,
                              .seed = common.seed,
                              .contents = (tomo_phantom_contents)mine.contents,
                              .format = (tomo_phantom_format)mine.format,
                              .split = splits[mine.split],
                              .questions = mine.questions == 0 ? -1 : mine.questions,
                              .slab = mine.slab,
                              .plain = mine.wording == 1,
                              .text_first = mine.answer == 1,
                              .all = mine.all};
    bool slices = o.contents == TOMO_PHANTOM_SLICES;
    if (mine.size != NULL && !read_size(mine.size, slices, o.size)) {
        return options_wrong(
            self, "--size is \"%.40s\"; 64x128x128 or the like is wanted, each number 8 to 1024", mine.size);
    }
    run r = {.options = &common};
    code = write_phantoms(&r, operands[0], &o);
    run_close(&r);
    return code;
}

const command command_phantom = {
    "phantom",
    "OUT",
    "makes CT-like scans of chests and abdomens with findings, reports and questions",
    "OUT, a new or empty folder, becomes a data set for tomo train and tomo eval. --seed names the patients: "
    "the "
    "same seed gives the same bytes on every machine. truth/ tells what is true of each scan.",
    "tomo phantom phantoms --count 200 --seed 1\n  "
    "tomo phantom pictures --contents slices --count 20000",
    phantom_run,
};
