/* task.h - what a stage learns: samples, the loss of some of them with its gradients, and the parameters that
 * have them. task_report.c, task_language.c and task_contrastive.c are its kinds. */
#ifndef TOMO_TRAIN_TASK_H
#define TOMO_TRAIN_TASK_H

#include "tensor/tape.h"
#include "train/recipe.h"
#include "train/state.h"
#include "train/trainee.h"

typedef enum tomo_split { TOMO_SPLIT_TRAIN, TOMO_SPLIT_VALIDATION, TOMO_SPLITS } tomo_split;

/* One sample, and in which epoch it is seen (its augmentation and instruction are drawn from that). */
typedef struct tomo_pick {
    int64_t epoch;
    size_t index;
} tomo_pick;

/* Samples that go through the networks together. */
typedef struct tomo_pass {
    tomo_split split;
    const tomo_pick *picks;
    int64_t count, slot; /* slot: place of the first pick among those of the step */
    double scale;        /* gradients are those of scale times the sum of losses; 0: no gradients */
} tomo_pass;

/* What a pass gave: the sum of losses, and how many were summed (fewer than expected when a scan is gone). */
typedef struct tomo_passed {
    double sum;
    int64_t learned;
    int64_t rows; /* report: tokens that went through the language model */
} tomo_passed;

typedef struct tomo_task tomo_task;

typedef struct tomo_task_kind {
    /* How many losses a sample has: learned tokens, or 1. Prepares slot `slot` of the step for it. */
    tomo_status (*weigh)(tomo_task *task, tomo_split split, tomo_pick pick, int64_t slot, int64_t *weight,
                         tomo_error *err);
    tomo_status (*pass)(tomo_task *task, const tomo_pass *pass, tomo_passed *passed, tomo_error *err);
    /* Does the largest pass that can come, so that all memory is there. */
    tomo_status (*reserve)(tomo_task *task, tomo_error *err);
    /* Writes what was made as a folder (a model directory, an encoder, a language model). */
    tomo_status (*export)(const tomo_task *task, const char *folder, tomo_error *err);
    void (*free)(tomo_task *task);
    const char *product; /* name of that folder in the run's */
} tomo_task_kind;

struct tomo_task {
    const tomo_task_kind *kind;
    const tomo_stage *stage;
    tomo_context *context;
    uint64_t seed;
    size_t samples[TOMO_SPLITS];
    size_t *scan_of[TOMO_SPLITS]; /* [samples]: number of each sample's scan, or of what else may stand
                                     together; NULL: none */
    int64_t slots;                /* samples of one step in this process */
    tomo_exec exec;               /* of the passes */
    tomo_tape tape;
    tomo_parameters trained;                    /* what the optimiser moves */
    int *parts;                                 /* [trained]: of the learning rates */
    tomo_trained kept;                          /* everything that a state holds */
    double connector_seconds, language_seconds; /* report: of the last pass, forward */
};

/* How a stage is set up. */
typedef struct tomo_task_options {
    tomo_context *context;
    const tomo_stage *stage;
    tomo_trainee *trainee; /* report */
    const cJSON *config;   /* contrastive: the recipe's settings, or NULL */
    const char *run;       /* the run's folder */
    const char *start; /* path that weights which are drawn for the stage are put under, as START-language */
    const char *precision; /* of products with trained weights: "f32", "bf16", "fast"; NULL: f32 */
    uint64_t seed;
    int64_t slots;
    bool skip_broken;
} tomo_task_options;

/* Each reads its data and refuses what is broken. *task is freed by tomo_task_free. */
tomo_status tomo_task_report(const tomo_task_options *options, tomo_task **task, tomo_error *err);
tomo_status tomo_task_language(const tomo_task_options *options, tomo_task **task, tomo_error *err);
tomo_status tomo_task_contrastive(const tomo_task_options *options, tomo_task **task, tomo_error *err);
void tomo_task_free(tomo_task *task);

/* For the kinds: fills in what they share; the kind frees itself with tomo_task_free when this fails. */
tomo_status tomo_task_init(tomo_task *task, const tomo_task_kind *kind, const tomo_task_options *options,
                           tomo_error *err);
/* Lists parameters as trained, of learning rate `part`, and as kept. */
tomo_status tomo_task_train(tomo_task *task, const tomo_parameters *parameters, int part, tomo_error *err);
tomo_status tomo_task_keep(tomo_task *task, const tomo_parameters *parameters, tomo_error *err);
/* A network as a folder: the files of `from` (config.json, tokenizer) beside the parameters, in place of what
 * is there. */
tomo_status tomo_task_write(const char *from, const tomo_parameters *parameters, const char *folder,
                            tomo_error *err);

#endif
