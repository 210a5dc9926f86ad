/* convert.c - tomo convert: the canonical scan as a file that other programs read. */
#include "commands.h"
#include "json.h"
#include "paths.h"
#include "run.h"

typedef struct convert_options {
    int format; /* a tomo_scan_format, in the order of the option's words; -1: from the name */
    option_window window;
} convert_options;

#define AT(member) offsetof(convert_options, member)

static const option options[] = {
    {"format", 0, OPTION_WORD, "nifti|npy|m3d|png",
     "nifti: float32 with affine, .gz packs it; npy: float32 [z][y][x]; m3d: float32 [1][z][y][x] in 0..1; "
     "png: a folder "
     "of 8-bit slices. Default: what OUT ends in",
     AT(format), 0, 0},
    {"window", 0, OPTION_WINDOW, "LEVEL,WIDTH",
     "grey levels of png; default 40,400 for a scan in HU, else from the smallest voxel to the largest",
     AT(window), 0, 0},
};

/* -1: the name does not tell. */
static int format_of(const char *path) {
    if (path_has_suffix(path, ".nii") || path_has_suffix(path, ".nii.gz")) return TOMO_SCAN_NIFTI;
    if (path_has_suffix(path, ".npy")) return TOMO_SCAN_NPY;
    if (path_has_suffix(path, "/")) return TOMO_SCAN_PNG;
    return -1;
}

static int write_scan(run *r, const char *path, const convert_options *o) {
    tomo_scan_info info;
    tomo_scan_get_info(r->scan, &info);
    tomo_picture_options picture = {o->window.given, o->window.level, o->window.width, 0, NULL, 0};
    if (!o->window.given && info.has_hu) picture = (tomo_picture_options){true, 40, 400, 0, NULL, 0};
    tomo_error error = {0};
    return run_result(r, tomo_scan_write(r->scan, path, (tomo_scan_format)o->format, &picture, &error),
                      &error);
}

static int write_json(const run *r, const char *path) {
    tomo_scan_info info;
    tomo_scan_get_info(r->scan, &info);
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && json_add_text(object, "scan", r->scan_path) &&
                json_add_text(object, "file", path) &&
                json_add_integers(object, "shape_zyx", info.shape, 3) && run_add_origin(r, NULL, object);
    return json_write(NULL, json_whole(object, good));
}

static int convert_run(const command *self, int argc, char **argv) {
    convert_options mine = {.format = -1};
    run_options common = {0};
    const option_group groups[] = {{"The result", options, COUNT_OF(options), &mine},
                                   run_scan_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    code = run_check_file(self, "OUT", operands[1]);
    if (code != EXIT_DONE) return code;
    if (mine.format < 0) mine.format = format_of(operands[1]);
    if (mine.format < 0) {
        return options_wrong(
            self, "%s: its name does not tell the format; --format nifti, npy, m3d or png (a folder) does",
            operands[1]);
    }
    run r = {.options = &common};
    code = run_open_scan(&r, operands[0]);
    if (code == EXIT_DONE) code = write_scan(&r, operands[1], &mine);
    if (code == EXIT_DONE) code = run_write_manifest(&r);
    if (code == EXIT_DONE && common.json) code = write_json(&r, operands[1]);
    run_close(&r);
    return code;
}

const command command_convert = {
    "convert",
    "SCAN OUT",
    "writes a scan in its canonical orientation as NIfTI, NPY, M3D volume or PNG slices",
    "Slices go from the feet to the head, rows from front to back, columns from the patient's right to the "
    "left.",
    "tomo convert study/ scan.nii.gz",
    convert_run,
};
