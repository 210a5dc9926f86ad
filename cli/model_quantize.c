/* model_quantize.c - tomo model quantize: a smaller, faster language model, and what it changes. */
#include "commands.h"
#include "input.h"
#include "json.h"
#include "render.h"
#include "run.h"
#include "terminal.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct quantize_options {
    const char *type, *check, *text;
} quantize_options;

#define AT(member) offsetof(quantize_options, member)
/* Far more than any context holds. */
#define MOST_TEXT ((size_t)16 << 20)
/* Tokens of the reports that are compared: about a hundred words. */
#define REPORT_TOKENS 128

static const option options[] = {
    {"type", 0, OPTION_TEXT, "q8_0|q4_1|q4_0",
     "write OUT with these weights in the language model; without it nothing is written, and --check and "
     "--text tell "
     "what --precision changes",
     AT(type), 0, 0},
    {"check", 0, OPTION_TEXT, "SCAN",
     "read this scan with both models and compare features, kept slices and report", AT(check), 0, 0},
    {"text", 0, OPTION_TEXT, "FILE", "compare the perplexity of this text", AT(text), 0, 0},
};

/* What one model makes of scan and text. */
typedef struct findings {
    float *slices; /* [count, width], freed by tomo_free */
    int64_t count, width;
    int64_t *kept;
    size_t kept_count;
    tomo_answer report;
    double log_probability; /* of the text */
    size_t tokens;
} findings;

static void release(findings *f) {
    tomo_free(f->slices);
    free(f->kept);
    tomo_answer_clear(&f->report);
    *f = (findings){0};
}

static int read_text(run *r, const char *text, findings *f) {
    tomo_error error = {0};
    tomo_status status =
        tomo_session_log_probability(r->session, NULL, text, &f->log_probability, &f->tokens, &error);
    return run_step(r, status, &error);
}

static int read_scan(run *r, const char *scan, findings *f) {
    tomo_error error = {0};
    int64_t shape[8];
    int rank;
    int code = run_open_scan(r, scan);
    if (code == EXIT_DONE) code = run_read_scan(r);
    if (code != EXIT_DONE) return code;
    tomo_status status = tomo_session_embed(r->session, TOMO_EMBED_SLICES, &f->slices, shape, &rank, &error);
    if (status == TOMO_OK) {
        f->count = shape[0];
        f->width = shape[1];
        const int64_t *kept = tomo_session_kept_slices(r->session, &f->kept_count);
        f->kept = calloc(f->kept_count + 1, sizeof *f->kept);
        if (f->kept == NULL) {
            terminal_error("out of memory");
            return EXIT_FAILED;
        }
        memcpy(f->kept, kept, f->kept_count * sizeof *kept);
        tomo_generate_options how = {.max_tokens = REPORT_TOKENS};
        status = tomo_session_report(r->session, &how, &f->report, &error);
    }
    return run_step(r, status, &error);
}

/* Opens the model at folder, as `common` says, and looks. The text goes first: a session with a scan would
 * take it for an answer. */
static int look(const run_options *common, const char *folder, const quantize_options *o, const char *text,
                findings *f) {
    run r = {.options = common};
    int code = run_open_model(&r, folder);
    if (code == EXIT_DONE && text != NULL) code = read_text(&r, text, f);
    if (code == EXIT_DONE && o->check != NULL) code = read_scan(&r, o->check, f);
    run_close(&r);
    return code;
}

/* ------------------------------------------------------------------------------ comparing */

static double cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return aa == 0 || bb == 0 ? aa == bb : ab / sqrt(aa * bb);
}

static bool add_features(cJSON *object, const findings *a, const findings *b) {
    double sum = 0, least = 1;
    for (int64_t s = 0; s < a->count; s++) {
        double c = cosine(a->slices + s * a->width, b->slices + s * a->width, a->width);
        sum += c;
        least = c < least ? c : least;
    }
    return json_add_number(object, "slices", (double)a->count) &&
           json_add_number(object, "cosine_mean", a->count == 0 ? 1 : sum / (double)a->count) &&
           json_add_number(object, "cosine_least", least);
}

/* How many slices both keep, of those that at least one keeps. */
static bool add_kept(cJSON *object, const findings *a, const findings *b) {
    size_t i = 0, k = 0, both = 0, either = 0;
    while (i < a->kept_count || k < b->kept_count) {
        bool take_a = k == b->kept_count || (i < a->kept_count && a->kept[i] <= b->kept[k]);
        bool take_b = i == a->kept_count || (k < b->kept_count && b->kept[k] <= a->kept[i]);
        both += take_a && take_b;
        either++;
        i += take_a;
        k += take_b;
    }
    return json_add_number(object, "kept", (double)a->kept_count) &&
           json_add_number(object, "kept_agreement", either == 0 ? 1 : (double)both / (double)either);
}

static bool add_reports(cJSON *object, const findings *a, const findings *b) {
    size_t same = 0, least = a->report.count < b->report.count ? a->report.count : b->report.count;
    while (same < least && a->report.ids[same] == b->report.ids[same]) same++;
    return json_add_number(object, "report_tokens", (double)a->report.count) &&
           json_add_number(object, "report_tokens_equal", (double)same) &&
           json_add_text(object, "report", a->report.text) &&
           json_add_text(object, "report_now", b->report.text);
}

static bool add_perplexity(cJSON *object, const findings *a, const findings *b) {
    return json_add_number(object, "text_tokens", (double)a->tokens) &&
           json_add_number(object, "perplexity", exp(-a->log_probability / (double)a->tokens)) &&
           json_add_number(object, "perplexity_now", exp(-b->log_probability / (double)b->tokens));
}

static cJSON *compare(const quantize_options *o, const findings *a, const findings *b) {
    cJSON *object = cJSON_CreateObject();
    bool good = object != NULL;
    if (good && o->check != NULL)
        good = a->count == b->count && add_features(object, a, b) && add_kept(object, a, b) &&
               add_reports(object, a, b);
    if (good && o->text != NULL) good = add_perplexity(object, a, b);
    return json_whole(object, good);
}

/* ------------------------------------------------------------------------------ the command */

static int check(const run_options *common, const quantize_options *o, const char *folder, const char *now) {
    run_options exact = *common;
    findings before = {0}, after = {0};
    char *text = NULL;
    size_t size;
    exact.precision = 0;
    int code = o->text != NULL ? input_file(o->text, MOST_TEXT, &text, &size) : EXIT_DONE;
    if (code == EXIT_DONE) code = look(&exact, folder, o, text, &before);
    if (code == EXIT_DONE) code = look(common, now, o, text, &after);
    cJSON *tree = code == EXIT_DONE ? compare(o, &before, &after) : NULL;
    if (code == EXIT_DONE && common->json) {
        code = json_write(NULL, tree);
    } else if (code == EXIT_DONE) {
        if (tree != NULL) render_tree(stdout, tree, 0);
        code = tree != NULL ? EXIT_DONE : EXIT_FAILED;
        cJSON_Delete(tree);
    }
    release(&before);
    release(&after);
    free(text);
    return code;
}

static int write_model(const run_options *common, const char *folder, const char *out, const char *type) {
    run r = {.options = common};
    tomo_error error = {0};
    int code = run_open_context(&r);
    if (code == EXIT_DONE)
        code = run_result(&r, tomo_model_quantize(r.context, folder, out, type, &error), &error);
    run_close(&r);
    return code;
}

static int quantize_run(const command *self, int argc, char **argv) {
    quantize_options mine = {0};
    run_options common = {0};
    const option_group groups[] = {{"The weights", options, COUNT_OF(options), &mine},
                                   run_model_group(&common),
                                   run_scan_group(&common),
                                   run_common_group(&common)};
    const char *operands[OPTIONS_MOST_OPERANDS];
    int code = options_parse(self, groups, COUNT_OF(groups), argc, argv, operands);
    if (code != OPTIONS_GO) return code;
    if ((operands[0] != NULL) != (mine.type != NULL))
        return options_wrong(self, "OUT and --type go together");
    if (mine.type == NULL && mine.check == NULL && mine.text == NULL)
        return options_wrong(self, "OUT and --type, --check or --text is wanted");
    if (common.manifest != NULL) return options_wrong(self, "there is no --manifest of a comparison");
    const char *folder = run_find_model(&common);
    if (folder == NULL) {
        terminal_error("no model; name its directory by --model DIR or in TOMO_MODEL");
        return EXIT_USAGE;
    }
    code = mine.type != NULL ? write_model(&common, folder, operands[0], mine.type) : EXIT_DONE;
    if (code == EXIT_DONE && (mine.check != NULL || mine.text != NULL))
        code = check(&common, &mine, folder, mine.type != NULL ? operands[0] : folder);
    return code;
}

const command command_model_quantize = {
    "model quantize",
    "[OUT]",
    "writes a model with a quantised language model, or tells what that or --precision changes",
    "OUT becomes a model directory whose language model is one GGUF file; where --model names a language "
    "model's own "
    "folder, OUT becomes that file. --check and --text compare with the model as it is, computed in f32: "
    "cosine of "
    "slice features, agreement of kept slices, tokens of the report that are equal from its start, "
    "perplexity.",
    "tomo model quantize small-model --type q8_0 --model my-model --check scan.nii.gz",
    quantize_run,
};
