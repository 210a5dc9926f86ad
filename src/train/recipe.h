/* recipe.h - what a training run does, from one JSON file; docs/train.md explains every key. */
#ifndef TOMO_TRAIN_RECIPE_H
#define TOMO_TRAIN_RECIPE_H

#include "base/json.h"
#include "language/lora.h"
#include "train/dataset.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "vision/vit.h"

#define TOMO_RECIPE_STAGES 16

typedef enum tomo_stage_kind {
    TOMO_STAGE_REPORT,     /* scans and their texts */
    TOMO_STAGE_LANGUAGE,   /* next-token prediction on text alone */
    TOMO_STAGE_CONTRASTIVE /* a 2D encoder on slices and texts, as CLIP */
} tomo_stage_kind;

/* What a report stage trains, as bits. */
typedef enum tomo_part { TOMO_PART_CONNECTOR = 1, TOMO_PART_LORA = 2, TOMO_PART_LANGUAGE = 4 } tomo_part;
#define TOMO_PARTS 3

typedef enum tomo_normalisation {
    TOMO_TOKEN_MEAN,     /* the mean over the learned tokens of the whole step */
    TOMO_MICROBATCH_MEAN /* the mean of the micro-batches' means */
} tomo_normalisation;

/* Paths are absolute or relative to the working folder. Texts point into the recipe. */
typedef struct tomo_recipe_data {
    char *path;
    const char *train, *validation; /* splits; validation NULL: none */
    unsigned kinds;                 /* tomo_sample_kind */
    const char *captions, *questions, *instruction;
    int64_t limit, max_length;
    int64_t together;           /* samples of one scan that stand next to each other at most */
    char *cache;                /* NULL: the run's own */
    double cache_gb, memory_gb; /* features on disk (0: no limit), and in memory */
    bool m3d_prompts;           /* the instruction of each report is drawn from M3D's list */
} tomo_recipe_data;

typedef struct tomo_stage {
    const char *name;
    tomo_stage_kind kind;
    unsigned parts;           /* report */
    char *language, *encoder; /* folders to start from: language, contrastive */
    tomo_lora_settings lora;
    tomo_recipe_data data;
    tomo_adam adam;
    double rates[TOMO_PARTS]; /* highest learning rate of each part; of the others the first */
    tomo_schedule schedule;
    double warmup_ratio; /* instead of schedule.warmup where that is negative */
    int64_t steps;       /* 0: from epochs */
    double epochs;
    int64_t batch, accumulation;
    tomo_normalisation normalisation;
    double max_norm;
    int64_t evaluate_every, evaluate_samples, patience; /* 0: off, all, off */
    int64_t checkpoint_every, keep;
    int64_t nan_limit;
    bool augment;
    double feature_noise;      /* report: tomo_feature_noise; 0: none */
    bool keep_best;            /* go on with the best weights rather than the last */
    int64_t embedding, slices; /* contrastive: width of the common space, most pictures of a scan */
    tomo_pooling pooling;      /* contrastive: of a picture's tokens */
} tomo_stage;

typedef struct tomo_recipe {
    cJSON *json;
    char *path, *run, *model; /* model NULL: no stage needs one */
    const cJSON *config;      /* settings that replace the model's: sections volume, prune, prompt; or NULL */
    const char *precision;    /* of frozen weights: "f32", "bf16", "fast" */
    const char *trained_precision; /* of products with trained weights: the same */
    uint64_t seed;
    tomo_stage stages[TOMO_RECIPE_STAGES];
    int stage_count;
} tomo_recipe;

/* Unknown keys and impossible values are refused by name. Relative paths in it are taken from the recipe's
 * own folder. *recipe is freed by tomo_recipe_free, also after a failure. */
tomo_status tomo_recipe_read(const char *path, tomo_recipe *recipe, tomo_error *err);
/* The same of a document that was read from `path`, which it takes over. */
tomo_status tomo_recipe_take(const char *path, cJSON *root, tomo_recipe *recipe, tomo_error *err);
void tomo_recipe_free(tomo_recipe *recipe);

/* Refuses another recipe than the one that a run was begun with, naming the first key that differs. */
tomo_status tomo_recipe_same(const tomo_recipe *recipe, const cJSON *begun, tomo_error *err);

#endif
