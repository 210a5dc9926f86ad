/* evaluation.h - a model over a data set's samples: the state that the parts of tomo_eval_run share. Private
 * to src/eval. */
#ifndef TOMO_EVAL_EVALUATION_H
#define TOMO_EVAL_EVALUATION_H

#include "base/buffer.h"
#include "eval/journal.h"
#include "eval/results.h"
#include "model/context.h"
#include "model/model.h"
#include "train/dataset.h"
#include "train/feature_cache.h"

/* What the model made of one sample. */
typedef struct tomo_prediction {
    bool done;
    char *text;                 /* "" where it failed */
    char *failure;              /* why, or NULL */
    int prompt;                 /* which of M3D's instructions was drawn; -1: none was */
    char ranked[TOMO_RANKINGS]; /* '\0': no choices */
    int64_t slices;             /* of the scan as the encoder saw it */
    int64_t kept_count;
    int64_t *kept_z; /* [kept_count]: the scan's own slices */
    int64_t prompt_tokens, tokens;
} tomo_prediction;

typedef struct tomo_evaluation {
    tomo_context *context;
    tomo_model *model;
    tomo_eval_kind kind;
    const tomo_eval_options *options;
    const char *folder; /* of the results */
    const char *data;
    char name[64]; /* "eval_caption", with a shard's number */
    tomo_dataset *dataset;
    tomo_feature_cache *features; /* or NULL */
    size_t first, count;          /* this shard's samples */
    tomo_prediction *predictions; /* [count] */
    char model_hash[65];
    char *run; /* what the work depends on, one line of JSON */
    double seconds, scan_seconds, read_seconds, answer_seconds;
    size_t evaluated, failed; /* evaluated: by this process */
} tomo_evaluation;

/* A path in the results' folder, "FOLDER/NAME.suffix"; freed by free. */
char *tomo_evaluation_path(const tomo_evaluation *e, const char *suffix);
/* The first sample of the shard is 0. */
const tomo_sample *tomo_evaluation_sample(const tomo_evaluation *e, size_t index);
/* What asks for a report, or NULL: the model's own. */
const char *tomo_evaluation_instruction(const tomo_evaluation *e, size_t index);
/* Whether the protocol is one of the benchmarks': their columns, their drawn instructions. */
bool tomo_evaluation_is_benchmark(const tomo_evaluation *e);

/* predict.c: all samples that are not done yet, each written to the journal. */
tomo_status tomo_evaluation_predict(tomo_evaluation *e, tomo_journal *journal, tomo_error *err);
tomo_status tomo_prediction_read(void *evaluation, const cJSON *line, tomo_error *err);
void tomo_prediction_free(tomo_prediction *prediction);

/* html.c: the report as one self-contained page. scores: as in the summary. */
tomo_status tomo_evaluation_write_html(const tomo_evaluation *e, const tomo_results *results,
                                       const cJSON *summary, const char *path, tomo_error *err);

#endif
