/* metrics.h - what a run was like, step by step: metrics.jsonl, metrics.csv, and a picture of the curves
 * (curves.svg, curves.png). */
#ifndef TOMO_TRAIN_METRICS_H
#define TOMO_TRAIN_METRICS_H

#include "base/status.h"

/* One step, or one evaluation (validation: its loss is `loss`, the rest of the line is of the step). */
typedef struct tomo_metric {
    const char *stage;
    int64_t stage_index, step;
    bool validation, skipped; /* skipped: the loss or the gradient was no number, and nothing was learned */
    double loss, rate, norm;
    int64_t tokens; /* learned in this step */
    double tokens_per_second, seconds;
} tomo_metric;

typedef struct tomo_metrics tomo_metrics;

/* folder exists. Lines behind step `step` of stage `stage` (of a run that was cut off there) are taken away,
 * and its own validation where that is due; stage -1: all of them. */
tomo_status tomo_metrics_open(const char *folder, int64_t stage, int64_t step, bool evaluation_due,
                              tomo_metrics **metrics, tomo_error *err);
void tomo_metrics_close(tomo_metrics *metrics);
/* Appends a line to both files; nothing is allocated. */
tomo_status tomo_metrics_add(tomo_metrics *metrics, const tomo_metric *metric, tomo_error *err);
/* Draws what the files hold. */
tomo_status tomo_metrics_draw(tomo_metrics *metrics, tomo_error *err);

#endif
