/* results.h - the scores of one prediction file, row by row. Private to src/eval. */
#ifndef TOMO_EVAL_RESULTS_H
#define TOMO_EVAL_RESULTS_H

#include "base/csv.h"
#include "base/hooks.h"
#include "eval/bertscore.h"
#include "eval/wordnet.h"
#include "tensor/pool.h"

/* The benchmark's three files. */
typedef enum tomo_results_kind {
    TOMO_RESULTS_CAPTION,
    TOMO_RESULTS_OPEN,
    TOMO_RESULTS_CLOSED
} tomo_results_kind;
/* "caption", "vqa-open", "vqa-closed" */
extern const char *const tomo_results_kinds[3];

/* Question types 1 to 5; 0 is a question without one, or a caption. */
enum { TOMO_QUESTION_TYPES = 5, TOMO_METRICS_MOST = 8 };
/* "none", "Plane", "Phase", ... */
extern const char *const tomo_question_types[TOMO_QUESTION_TYPES + 1];

/* How the likelihoods of the choices of a closed question are compared: the sum over the tokens of "X. text",
 * the letter alone, the mean over the tokens. */
enum { TOMO_RANK_TEXT, TOMO_RANK_LETTER, TOMO_RANK_TOKEN, TOMO_RANKINGS };
/* The columns that tell the letter that came first. */
extern const char *const tomo_rank_columns[TOMO_RANKINGS];

typedef struct tomo_results {
    tomo_results_kind kind;
    tomo_csv *csv;
    size_t question, prediction, reference, choice, type; /* columns; TOMO_CSV_NONE where the kind has none */
    size_t ranked[TOMO_RANKINGS];
    size_t rows, metrics;
    const char *names[TOMO_METRICS_MOST]; /* [metrics]: "bleu", "rouge1", "accuracy", ... */
    double *values;                       /* [rows][metrics] */
    int *types;                           /* [rows] */
    size_t empty;                         /* rows whose prediction is white space alone: they score 0 */
    size_t undefined; /* rows without a token on either side, at which the benchmark's script ends */
} tomo_results;

/* What scores need beside the rows; NULL leaves a score out. */
typedef struct tomo_results_tools {
    tomo_pool *pool;
    const tomo_hooks *hooks;
    const tomo_wordnet *wordnet;
    tomo_bertscore *bertscore;
    bool idf; /* BERTScore's tokens are weighed by the file's references */
} tomo_results_tools;

/* Scores the rows of csv, which it takes over, also on failure. vqa: a file with a column "Answer Choice" is
 * TOMO_RESULTS_CLOSED, another TOMO_RESULTS_OPEN. */
tomo_status tomo_results_open(tomo_csv *csv, bool vqa, const tomo_results_tools *tools,
                              tomo_results **results, tomo_error *err);
void tomo_results_free(tomo_results *results);

/* Takes scores away that `other` does not have. */
void tomo_results_keep_common(tomo_results *results, const tomo_results *other);

/* The rows as CSV: the file's columns but scores that it has already, then the scores as the benchmark's
 * scripts write them: bleu, rouge1, meteor, bert_f1 (those that there are), or Correct. with_rankings: with
 * the columns of the likeliest choices, where there are. */
tomo_status tomo_results_write(const tomo_results *results, const char *path, bool with_rankings,
                               tomo_error *err);

/* ROUGE-1's precision and recall stand in `names` too, but in no column of the benchmark's; nor does
 * "strict". */
bool tomo_metric_is_column(const char *metric);

#endif
