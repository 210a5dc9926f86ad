/* embed.c - tomo embed: features of a scan as a NumPy array. */
#include "commands.h"
#include "json.h"
#include "output.h"
#include "run.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "arrays are written as they lie in memory");

typedef struct embed_options {
    const char *output;
    int what; /* a tomo_embedding, in the order of the option's words */
} embed_options;

#define AT(member) offsetof(embed_options, member)

static const option options[] = {
    {"output", 'o', OPTION_TEXT, "FILE", "the .npy file to write, - for standard output; must be given",
     AT(output), 0, 0},
    {"what", 0, OPTION_WORD, "slices|features|tokens|volume",
     "slices (default): [slices, width], each slice's mean; features: [layers, kept, h, w, width]; tokens: "
     "[tokens, "
     "language width]; volume: [width], the mean of the whole scan",
     AT(what), 0, 0},
};

typedef struct array {
    float *data; /* freed by tomo_free */
    int64_t shape[8];
    int rank;
} array;

/* NumPy's format 1.0: magic, version, the size of a Python dictionary padded to 64 bytes, float32. */
static int write_npy(const char *path, const array *a) {
    char text[256] = "{'descr': '<f4', 'fortran_order': False, 'shape': (";
    size_t used = strlen(text), count = 1;
    for (int i = 0; i < a->rank; i++) {
        int n =
            snprintf(text + used, sizeof text - used, i == 0 ? "%lld," : " %lld,", (long long)a->shape[i]);
        used += (size_t)n;
        count *= (size_t)a->shape[i];
    }
    if (a->rank > 1) used--; /* only a tuple of one keeps its comma */
    used += (size_t)snprintf(text + used, sizeof text - used, "), }");
    size_t length = (10 + used + 1 + 63) / 64 * 64 - 10;
    memset(text + used, ' ', length - used);
    text[length - 1] = '\n';
    const unsigned char magic[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)length, 0};
    output out;
    if (!output_open(&out, path)) return EXIT_FAILED;
    /* A failed write is remembered by the stream, and told when it is committed. */
    (void)fwrite(magic, 1, sizeof magic, out.stream);
    (void)fwrite(text, 1, length, out.stream);
    (void)fwrite(a->data, sizeof *a->data, count, out.stream);
    return output_commit(&out) ? EXIT_DONE : EXIT_FAILED;
}

static int write_json(const run *r, const embed_options *o, const array *a) {
    static const char *const names[] = {"slices", "features", "tokens", "volume"};
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL && json_add_text(object, "scan", r->scan_path) &&
                json_add_text(object, "file", o->output) && json_add_text(object, "what", names[o->what]) &&
                json_add_integers(object, "shape", a->shape, (size_t)a->rank) &&
                run_add_origin(r, NULL, object);
    return json_write(NULL, json_whole(object, good));
}

static int embed_run(const command *self, int argc, char **argv) {
    embed_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The features", options, COUNT_OF(options), &mine},
                                   run_scan_group(&common),
                                   run_model_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if (mine.output == NULL)
        return options_wrong(self, "-o FILE is missing; usage: tomo embed SCAN -o FILE.npy");
    if (common.json && strcmp(mine.output, "-") == 0)
        return options_wrong(self, "-o - and --json exclude each other");
    array a = {0};
    tomo_error error = {0};
    run r = {.options = &common};
    code = run_prepare(&r, operands[0]);
    if (code == EXIT_DONE) {
        tomo_embedding what = (tomo_embedding)mine.what;
        code = run_step(&r, tomo_session_embed(r.session, what, &a.data, a.shape, &a.rank, &error), &error);
    }
    if (code == EXIT_DONE) code = write_npy(mine.output, &a);
    if (code == EXIT_DONE) code = run_write_manifest(&r);
    if (code == EXIT_DONE && common.json) code = write_json(&r, &mine, &a);
    tomo_free(a.data);
    run_close(&r);
    return code;
}

const command command_embed = {
    "embed",
    "SCAN",
    "writes features of a scan as a NumPy array",
    NULL,
    "tomo embed scan.nii.gz --what volume -o scan.npy",
    embed_run,
};
