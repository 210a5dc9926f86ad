/* clang-format off */
/* tomo.h - the one public header of libtomo.
 *
 * Tomoscribe reads a 3D CT or MR scan with a frozen 2D encoder and writes a report about it or answers
 * questions. It is for research, not for diagnosis.
 *
 *     tomo_context *context = NULL;
 *     tomo_scan *scan = NULL;
 *     tomo_model *model = NULL;
 *     tomo_session *session = NULL;
 *     tomo_error error;
 *     tomo_answer answer = {0};
 *     tomo_context_create(NULL, &context, &error);
 *     tomo_scan_open(context, "scan.nii.gz", NULL, &scan, &error);
 *     tomo_model_open(context, "models/demo", NULL, &model, &error);
 *     tomo_session_create(model, &session, &error);
 *     tomo_session_read_scan(session, scan, NULL, &error);
 *     tomo_session_report(session, NULL, &answer, &error);
 *     puts(answer.text);
 *
 * Every call that can fail returns a tomo_status; the example leaves the checks out. Contexts, scans and
 * models may be used by any number of threads at once; a session belongs to one thread at a time, and several
 * sessions may use one model. Free in the reverse order of creation. All paths and texts are UTF-8. */
/* clang-format on */
#ifndef TOMO_H
#define TOMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TOMO_API __attribute__((visibility("default")))
#else
#define TOMO_API
#endif

#define TOMO_VERSION_MAJOR 0
#define TOMO_VERSION_MINOR 1
#define TOMO_VERSION_PATCH 0

/* The version of the library that is loaded, "0.1.0"; compare it with the macros above after dlopen. */
TOMO_API const char *tomo_version(void);

/* ------------------------------------------------------------------ status and messages */

/* What a call ended with. Everything from TOMO_E_FORMAT to TOMO_E_NO_IMAGE means that the input was refused:
 * the same file will be refused again. */
typedef enum tomo_status {
    TOMO_OK = 0,
    TOMO_E_USAGE,       /* an argument makes no sense; a bug of the caller */
    TOMO_E_IO,          /* the operating system refused to open, read or write */
    TOMO_E_MEMORY,      /* out of memory */
    TOMO_E_CANCELLED,   /* a callback asked to stop */
    TOMO_E_INTERNAL,    /* a library below reported something that cannot happen */
    TOMO_E_FORMAT,      /* not such a file, or its structure is broken */
    TOMO_E_HEADER,      /* a field of the file makes no sense */
    TOMO_E_TRUNCATED,   /* the data end early */
    TOMO_E_LIMIT,       /* asks for more than a limit of src/base/limits.h allows */
    TOMO_E_UNSUPPORTED, /* valid, but not read by this version */
    TOMO_E_DECODE,      /* compressed data could not be decoded */
    TOMO_E_NO_IMAGE     /* no image in the file, folder or zip */
} tomo_status;

#define TOMO_MESSAGE_SIZE 512

/* Owned by the caller; filled when a call fails, untouched when it succeeds. The message is one line,
 * "FILE: what is wrong; what would be right". Every function that takes one accepts NULL. */
typedef struct tomo_error {
    tomo_status status;
    char message[TOMO_MESSAGE_SIZE];
} tomo_error;

/* "E_FORMAT" and so on; never NULL. */
TOMO_API const char *tomo_status_name(tomo_status status);

/* Frees a text or array that a function below handed out; accepts NULL. */
TOMO_API void tomo_free(void *memory);

/* ------------------------------------------------------------------ callbacks */

typedef enum tomo_log_level { TOMO_LOG_DEBUG, TOMO_LOG_INFO, TOMO_LOG_WARNING } tomo_log_level;

/* Gets one line of text without a line feed. */
typedef void (*tomo_log_fn)(void *user, tomo_log_level level, const char *text);

/* Gets how far a stage is (`total` 0: unknown) and returns whether to go on; false ends the call with
 * TOMO_E_CANCELLED, and nothing half-written is left. */
typedef bool (*tomo_progress_fn)(void *user, const char *stage, int64_t done, int64_t total);

/* Gets generated text as it is made, whole characters only, '\0'-terminated; returns whether to go on (false:
 * the answer ends there, as if it were finished). */
typedef bool (*tomo_text_fn)(void *user, const char *text, size_t size);

/* ------------------------------------------------------------------ context */

/* What all work shares: threads, kernels, callbacks, limits. Callbacks come from the thread that made a call.
 * Signal handlers of the host program never run on the context's threads; on a thread that made a call they
 * wait until the operation at work is done. */
typedef struct tomo_context tomo_context;

/* Zero or NULL in any field means the default. */
typedef struct tomo_context_options {
    int threads; /* 1 to 256; default: one a CPU that the process may use. Results do not depend on it. */
    const char *kernels; /* "generic", "avx2", "avx512" or "amx"; default: the best that this CPU runs */
    tomo_log_fn log;
    tomo_progress_fn progress;
    void *user;         /* handed to log and progress */
    int64_t max_voxels; /* limits that inputs may not pass; defaults in src/base/limits.h */
    int64_t max_slices;
    int64_t max_expanded_bytes; /* of one zip or gzip */
    int64_t max_files;          /* of one folder or zip */
} tomo_context_options;

/* options NULL: all defaults. */
TOMO_API tomo_status tomo_context_create(const tomo_context_options *options, tomo_context **context,
                                         tomo_error *err);
TOMO_API void tomo_context_free(tomo_context *context);

/* ------------------------------------------------------------------ scans */

/* A scan in the canonical orientation: float voxels [z][y][x], z towards Superior, y towards Posterior, x
 * towards the patient's Left, so that a slice printed row by row is the picture a radiologist expects. */
typedef struct tomo_scan tomo_scan;

typedef struct tomo_scan_options {
    const char *series; /* DICOM: the SeriesInstanceUID, or the number in tomo_scan_list; NULL: the largest */
    bool log_phi; /* series UIDs, descriptions and names of single DICOM files may appear in manifests and
                     messages; nothing else of them ever does */
} tomo_scan_options;

typedef struct tomo_scan_info {
    int64_t shape[3];      /* z, y, x */
    double spacing_mm[3];  /* z, y, x */
    double affine_ras[16]; /* row-major 4 x 4: voxel (x, y, z, 1) -> mm, x to Right, y to Anterior, z to
                              Superior */
    bool has_hu;           /* voxels are Hounsfield units */
    double minimum, maximum, mean, deviation;
} tomo_scan_info;

/* path: a DICOM file, a folder or zip of DICOM files, NIfTI-1/2 (.nii, .nii.gz, .hdr/.img), NRRD, NPY. */
TOMO_API tomo_status tomo_scan_open(tomo_context *context, const char *path, const tomo_scan_options *options,
                                    tomo_scan **scan, tomo_error *err);
TOMO_API void tomo_scan_free(tomo_scan *scan);

/* The DICOM image series that path holds, as a JSON list ({"series" ("#N"), "number", "modality", "slices",
 * "size" [columns, rows], "readable", "chosen", "why"; with log_phi "uid" and "description"}); empty for
 * other formats. *json is freed by tomo_free. */
TOMO_API tomo_status tomo_scan_list(tomo_context *context, const char *path, const tomo_scan_options *options,
                                    char **json, tomo_error *err);

TOMO_API void tomo_scan_get_info(const tomo_scan *scan, tomo_scan_info *info);
/* [z][y][x], owned by the scan. */
TOMO_API const float *tomo_scan_voxels(const tomo_scan *scan);
/* What was done to get here: series, order of slices, spacing, rescale, warnings. JSON, freed by tomo_free.
 */
TOMO_API tomo_status tomo_scan_manifest(const tomo_scan *scan, char **json, tomo_error *err);

typedef enum tomo_scan_format {
    TOMO_SCAN_NIFTI, /* float32, affine kept; gzip when the name ends in .gz */
    TOMO_SCAN_NPY,   /* float32 [z][y][x] */
    TOMO_SCAN_M3D,   /* float32 [1][z][y][x] in 0..1, as the M3D benchmark stores volumes */
    TOMO_SCAN_PNG    /* a folder of 8-bit slices, 0000.png ... */
} tomo_scan_format;

/* How voxels become grey levels in pictures. */
typedef struct tomo_picture_options {
    bool use_window; /* false: from the smallest voxel to the largest */
    double level, width;
    int64_t columns;     /* contact sheet: slices a row; 0: chosen so that the sheet is about square */
    const int64_t *kept; /* contact sheet: slices to mark, ascending; or NULL */
    int64_t kept_count;
} tomo_picture_options;

/* Written whole or not at all. picture NULL: defaults; used by TOMO_SCAN_PNG only. */
TOMO_API tomo_status tomo_scan_write(const tomo_scan *scan, const char *path, tomo_scan_format format,
                                     const tomo_picture_options *picture, tomo_error *err);
/* A PNG with all slices, numbered from 0 at the feet, kept ones framed. */
TOMO_API tomo_status tomo_scan_write_sheet(const tomo_scan *scan, const char *path,
                                           const tomo_picture_options *picture, tomo_error *err);

/* ------------------------------------------------------------------ models */

/* A model directory (docs/formats.md), weights mapped. A language model's own directory may be opened too: it
 * completes and tokenizes text, and refuses scans. */
typedef struct tomo_model tomo_model;

typedef struct tomo_model_options {
    const char *chat_format; /* use this format instead of recognising the model's template */
    bool merge_adapter; /* add the LoRA adapter to the weights (costs memory) instead of applying it beside */
    /* How products are computed: "f32" (default) equals the reference libraries and leaves weights mapped.
     * The others pack weights at opening and are faster and less exact: "bf16" (CPUs with AVX512_BF16),
     * "fast": the best float type of the CPU, and quantised weights multiplied as whole numbers; "int8":
     * whole numbers everywhere. */
    const char *precision;
} tomo_model_options;

TOMO_API tomo_status tomo_model_open(tomo_context *context, const char *folder,
                                     const tomo_model_options *options, tomo_model **model, tomo_error *err);
TOMO_API void tomo_model_free(tomo_model *model);
/* Sizes, families, parameters, settings, tokens a scan. JSON, freed by tomo_free. */
TOMO_API tomo_status tomo_model_info(const tomo_model *model, char **json, tomo_error *err);

/* Token ids of text. special: with what the tokenizer adds at begin and end; parse_control: control tokens in
 * the text become control tokens (never do that with a user's words). *ids is freed by tomo_free. */
TOMO_API tomo_status tomo_model_tokenize(const tomo_model *model, const char *text, bool special,
                                         bool parse_control, int32_t **ids, size_t *count, tomo_error *err);
/* Text of token ids; *text is freed by tomo_free. */
TOMO_API tomo_status tomo_model_detokenize(const tomo_model *model, const int32_t *ids, size_t count,
                                           bool skip_special, char **text, tomo_error *err);

typedef struct tomo_model_new_options {
    const char
        *like; /* "ENCODER,LANGUAGE": random weights of public shapes (tomo_model_shapes); or NULL, and: */
    const char *encoder;  /* a downloaded 2D encoder's folder, copied into the model */
    const char *language; /* a downloaded language model's folder or GGUF file, copied into the model */
    uint64_t seed;        /* of the random weights */
    const char *config;   /* a JSON file whose members replace the fresh config.json's, section by section:
                             encoder.layers, volume, prune, connector, prompt; or NULL */
} tomo_model_new_options;

/* Makes a model directory with a fresh connector. folder must not exist. */
TOMO_API tomo_status tomo_model_new(tomo_context *context, const char *folder,
                                    const tomo_model_new_options *options, tomo_error *err);
/* The names that `like` takes, "biomedclip, ..., qwen2.5-0.5b, ..."; static. */
TOMO_API const char *tomo_model_shapes(void);

/* ------------------------------------------------------------------ sessions */

/* One scan and what is said about it. */
typedef struct tomo_session tomo_session;

TOMO_API tomo_status tomo_session_create(tomo_model *model, tomo_session **session, tomo_error *err);
TOMO_API void tomo_session_free(tomo_session *session);

typedef struct tomo_read_options {
    bool force_windows; /* apply HU windows to a scan that has no HU */
} tomo_read_options;

/* Slices -> encoder -> pruning -> connector; replaces the scan read before. The scan may be freed afterwards.
 */
TOMO_API tomo_status tomo_session_read_scan(tomo_session *session, const tomo_scan *scan,
                                            const tomo_read_options *options, tomo_error *err);
/* The scan's manifest and what the model did with it: windows, crop, resize, which slices were kept and by
 * which rule. JSON, freed by tomo_free. */
TOMO_API tomo_status tomo_session_manifest(const tomo_session *session, char **json, tomo_error *err);
/* How long the stages of the last tomo_session_read_scan took: slices from voxels, encoder with pruning, and
 * connector. */
TOMO_API void tomo_session_read_seconds(const tomo_session *session, double *slices, double *encoder,
                                        double *connector);
/* Indices, ascending, of the scan's own slices (z of tomo_scan_voxels) that stand behind the kept ones; owned
 * by the session until the next scan. */
TOMO_API const int64_t *tomo_session_kept_slices(const tomo_session *session, size_t *count);

/* Zero or NULL in any field means the default. */
typedef struct tomo_generate_options {
    int64_t max_tokens;        /* default 512; the model's context may end an answer earlier */
    double temperature;        /* default 0: greedy */
    int64_t top_k;             /* default: off */
    double top_p;              /* default: off */
    double min_p;              /* default: off */
    double repetition_penalty; /* default: off */
    uint64_t seed;
    tomo_text_fn text; /* streams the answer */
    void *user;        /* handed to text */
    const char
        *instruction; /* of tomo_session_report; default: the model's own (config.json, prompt.report) */
} tomo_generate_options;

typedef struct tomo_answer {
    char *text;   /* freed by tomo_answer_clear */
    int32_t *ids; /* the generated tokens, without the one that ended the turn */
    size_t count;
    size_t prompt_tokens;
    const char
        *finish; /* "stop": the model ended its turn; "length": max_tokens or the context; "callback" */
    double prefill_seconds, decode_seconds;
} tomo_answer;
/* Frees what an answer holds and zeroes it; accepts one that is all zero. */
TOMO_API void tomo_answer_clear(tomo_answer *answer);

/* The model's own instruction for a report (config.json, prompt.report). */
TOMO_API tomo_status tomo_session_report(tomo_session *session, const tomo_generate_options *options,
                                         tomo_answer *answer, tomo_error *err);
TOMO_API tomo_status tomo_session_ask(tomo_session *session, const char *question,
                                      const tomo_generate_options *options, tomo_answer *answer,
                                      tomo_error *err);
/* Text alone: with `chat`, prompt is a user's turn; without, it is continued as it stands. Needs no scan. */
TOMO_API tomo_status tomo_session_complete(tomo_session *session, const char *prompt, bool chat,
                                           const tomo_generate_options *options, tomo_answer *answer,
                                           tomo_error *err);

typedef struct tomo_choice {
    double probability;     /* soft-max over the choices of the next-token logit of the letter */
    double log_probability; /* natural, of the text "X. choice" after the prompt, summed over its tokens */
    double log_probability_per_token;
} tomo_choice;

/* A closed question: choices[i] is offered as letter 'A' + i (2 to 26 choices); results [count] is the
 * caller's. */
TOMO_API tomo_status tomo_session_choose(tomo_session *session, const char *question,
                                         const char *const *choices, size_t count, tomo_choice *results,
                                         tomo_error *err);

/* Natural log-probability of text as the answer to question (NULL: as the report) about the scan that was
 * read, summed over its tokens, whose number is told. Without a scan: of the text alone, from its second
 * token on. */
TOMO_API tomo_status tomo_session_log_probability(tomo_session *session, const char *question,
                                                  const char *text, double *log_probability, size_t *tokens,
                                                  tomo_error *err);

/* From now on keeps every stage's output of the next tomo_session_read_scan and question. */
TOMO_API tomo_status tomo_session_trace_start(tomo_session *session, tomo_error *err);
/* Writes what was kept as a safetensors file (docs/formats.md lists the names). */
TOMO_API tomo_status tomo_session_trace_write(tomo_session *session, const char *path, tomo_error *err);

typedef enum tomo_embedding {
    TOMO_EMBED_SLICES,   /* [slices, encoder width]: mean of each slice's deep patch tokens, before pruning */
    TOMO_EMBED_FEATURES, /* [layers, kept, h, w, encoder width] of the kept slices */
    TOMO_EMBED_TOKENS,   /* [tokens, language width]: the visual tokens */
    TOMO_EMBED_VOLUME /* [encoder width]: mean of the kept slices' descriptors, each weighted with its run */
} tomo_embedding;

/* Of the scan that was read: *data is freed by tomo_free, its shape written to shape[8] and *rank. */
TOMO_API tomo_status tomo_session_embed(const tomo_session *session, tomo_embedding what, float **data,
                                        int64_t *shape, int *rank, tomo_error *err);

/* ------------------------------------------------------------------ training */

/* Where a training run is, after each step. Numbers that there are none of yet are NaN. */
typedef struct tomo_train_progress {
    const char *stage;
    int stage_number, stage_count; /* from 1 */
    int64_t step, steps;
    double epoch;
    double loss, validation_loss, learning_rate, gradient_norm;
    double tokens_per_second, eta_seconds; /* of the stage */
} tomo_train_progress;

/* Returns whether to go on; false ends the run with TOMO_E_CANCELLED after a checkpoint. */
typedef bool (*tomo_train_fn)(void *user, const tomo_train_progress *progress);

typedef struct tomo_train_options {
    bool resume;      /* go on from the newest checkpoint of the recipe's run */
    bool skip_broken; /* leave out samples that cannot be used instead of refusing to start */
    tomo_train_fn step;
    void *user; /* handed to step */
} tomo_train_options;

/* Runs a training recipe (docs/train.md) and leaves what it made in the recipe's run folder. Under mpirun
 * every process calls it. */
TOMO_API tomo_status tomo_train(tomo_context *context, const char *recipe, const tomo_train_options *options,
                                tomo_error *err);

/* ------------------------------------------------------------------ tuning */

/* Writes a model directory `out`, which must not exist, whose language model is one GGUF file with weights of
 * `type`: "q8_0" (8.5 bits a weight), "q4_0" (4.5) or "q4_1" (5). folder: a model directory, or a language
 * model's own, of which `out` becomes the file alone. */
TOMO_API tomo_status tomo_model_quantize(tomo_context *context, const char *folder, const char *out,
                                         const char *type, tomo_error *err);

/* Finds how near-duplicate slices can be dropped without encoding them, by either of two settings of "prune"
 * in config.json: "early", how much a slice's pixels may differ from the last kept slice's, or "search", with
 * what margin a slice that is like the kept one vouches for those in between. A value is good enough when at
 * least `agreement` (0..1) of the slices kept with and without it are the same, over all scans. JSON:
 * {"early", "search", "agreement", "skipped" (share of slices that are not encoded)}: the value that saves
 * most, 0 and null: none is good enough; "candidates" and "searched": what each value of either does;
 * "slices", "scans". Freed by tomo_free. The scans at paths[count] are opened one after the other; options of
 * either kind may be NULL. */
TOMO_API tomo_status tomo_model_tune_prune(tomo_model *model, const char *const *paths, size_t count,
                                           const tomo_scan_options *scan_options,
                                           const tomo_read_options *read_options, double agreement,
                                           char **json, tomo_error *err);

/* Writes "prune.early" (0: takes it out) and "prune.search" (below 0: takes it out) into folder/config.json,
 * whole or not at all; models that are open keep theirs. Not both can be set. */
TOMO_API tomo_status tomo_model_set_pruning(const char *folder, double early, double search, tomo_error *err);

/* ------------------------------------------------------------------ measuring */

typedef struct tomo_bench_options {
    int64_t slices;        /* default 32: synthetic slices for the encoder */
    int64_t prompt_tokens; /* default 320 */
    int64_t decode_tokens; /* default 32 */
    int repeats;  /* default 9: interleaved pairs of work and limit; medians and quartiles are told */
    bool profile; /* also the time of each stage by operation */
} tomo_bench_options;

/* Stage times of a model beside the same run's limits: oneDNN's GEMM rate for encoder and prefill, read
 * bandwidth for decoding, bytes of weights for memory. JSON as docs/formats.md says, freed by tomo_free. */
TOMO_API tomo_status tomo_model_bench(tomo_model *model, const tomo_bench_options *options, char **json,
                                      tomo_error *err);
/* A training step of the recipe's last stage on scans, features cached, beside the forward passes of language
 * model and connector in the same run; repeats 0: 9. The run's folder may be there or not. JSON as above. */
TOMO_API tomo_status tomo_train_bench(tomo_context *context, const char *recipe, int repeats, char **json,
                                      tomo_error *err);

/* ------------------------------------------------------------------ scores */

/* The CSV files that the scripts of the M3D benchmark write (docs/evaluation.md). */
typedef enum tomo_score_kind {
    TOMO_SCORE_CAPTION, /* columns "Ground Truth" and "pred" */
    TOMO_SCORE_VQA /* "Question Type", "Answer", "Pred"; with "Answer Choice" closed questions, else open */
} tomo_score_kind;

/* Zero or NULL in any field means the default. */
typedef struct tomo_score_options {
    const char *compare;      /* another file over the same rows: differences and a paired test are told */
    const char *const *merge; /* [merge_count]: files whose rows follow, such as the other shards */
    size_t merge_count;
    const char *rows;    /* write the rows with their scores there, in the benchmark's columns */
    const char *train;   /* a data set: scores of the rows whose text is not in its training split, beside */
    const char *wordnet; /* the folder of WordNet 3.0; default /usr/share/wordnet, and without it no METEOR */
    const char *bertscore_model;    /* a BERT's or RoBERTa's folder: BERTScore too */
    int64_t bertscore_layer;        /* whose output is compared; default: 17 of 24, 9 of 12, else the last */
    bool bertscore_idf;             /* rare tokens weigh more */
    const char *bertscore_baseline; /* a file "LAYER,P,R,F" by which scores are rescaled */
    int64_t draws;                  /* of the bootstrap; default 1000 */
    uint64_t seed;                  /* of the bootstrap */
} tomo_score_options;

/* BLEU-1, ROUGE-1 and METEOR, or the accuracy of closed questions, with bootstrap intervals. JSON as
 * docs/evaluation.md says, freed by tomo_free. */
TOMO_API tomo_status tomo_score_file(tomo_context *context, tomo_score_kind kind, const char *path,
                                     const tomo_score_options *options, char **json, tomo_error *err);

typedef enum tomo_eval_kind {
    TOMO_EVAL_CAPTION,
    TOMO_EVAL_VQA_OPEN,
    TOMO_EVAL_VQA_CLOSED /* generated answers, and the choices ranked by their likelihood beside */
} tomo_eval_kind;

/* What a figure means depends on it (docs/evaluation.md). */
typedef enum tomo_eval_protocol {
    TOMO_PROTOCOL_TOMO,    /* the model's one instruction, the whole list */
    TOMO_PROTOCOL_M3D,     /* an instruction drawn for each report, the whole list */
    TOMO_PROTOCOL_MED3DVLM /* the same, the first 1000 reports */
} tomo_eval_protocol;

/* Zero or NULL in any field means the default. */
typedef struct tomo_eval_options {
    tomo_eval_protocol protocol;
    const char *split;                     /* default "test" */
    const char *captions, *questions;      /* other files of an M3D tree than the usual ones */
    int64_t limit;                         /* the first so many samples */
    int64_t shard, shard_count;            /* the shard-th of so many parts, from 1 */
    const tomo_generate_options *generate; /* its text callback is not used */
    bool force_windows;
    /* A folder for what the encoder makes of scans, rounded to bfloat16 as in training: the next evaluation
     * with the same encoder, volume and pruning begins there. Not with force_windows. */
    const char *cache;
    const char *wordnet; /* as in tomo_score_options, like those that follow */
    const char *bertscore_model;
    int64_t bertscore_layer;
    bool bertscore_idf;
    const char *bertscore_baseline;
    int64_t draws;
    uint64_t seed; /* of the drawn instructions */
} tomo_eval_options;

/* Runs the model over a data set (docs/evaluation.md) and writes into `folder`, which is made where it is
 * missing: the predictions as they are made (a run that was killed goes on from there), and in the end the
 * benchmark's CSV file, a summary, and a page. json: the summary, freed by tomo_free. */
TOMO_API tomo_status tomo_eval_run(tomo_model *model, tomo_eval_kind kind, const char *data,
                                   const char *folder, const tomo_eval_options *options, char **json,
                                   tomo_error *err);

/* ------------------------------------------------------------------ data sets */

/* Zero or NULL in any field means the default. */
typedef struct tomo_data_options {
    const char *captions, *questions; /* as in tomo_eval_options */
} tomo_data_options;

/* What a data set holds (docs/evaluation.md): counts, what is wrong where (every scan is opened once), ranges
 * of values, and what its splits share. JSON, freed by tomo_free; a data set with broken samples is no
 * failure. */
TOMO_API tomo_status tomo_data_check(tomo_context *context, const char *path,
                                     const tomo_data_options *options, char **json, tomo_error *err);

/* ------------------------------------------------------------------ phantoms */

typedef enum tomo_phantom_format {
    TOMO_PHANTOM_NIFTI, /* scans/N.nii.gz and scans.csv, own scans (docs/train.md) */
    TOMO_PHANTOM_NPY,   /* scans/N.npy: float32 [z][y][x] in HU, and scans.csv */
    TOMO_PHANTOM_M3D,   /* the folders and files of M3D-Cap and M3D-VQA */
    TOMO_PHANTOM_DICOM, /* scans/N/: a CT series, and scans.csv */
    TOMO_PHANTOM_NII    /* as NIFTI, not packed: scans/N.nii */
} tomo_phantom_format;

/* What a data set of phantoms is for. Each has patients of its own: the same seed gives others. */
typedef enum tomo_phantom_contents {
    TOMO_PHANTOM_SCANS,  /* scans with reports and questions */
    TOMO_PHANTOM_SLICES, /* to train a 2D encoder: scans/N.nii, one axial slice a patient, three of four of
                            them through a finding; scans.csv has a caption of what the slice shows as its
                            report
                          */
    TOMO_PHANTOM_TEXT /* to train a language model: text.jsonl, {"text", "split"}: reports, and questions with
                         choices and answer, each a text of its own */
} tomo_phantom_contents;

/* Zero or NULL in any field means the default. */
typedef struct tomo_phantom_options {
    int64_t count; /* of scans, slices or reports; default 1 */
    uint64_t seed; /* of everything: same seed, same bytes; other seeds are other patients */
    tomo_phantom_format format;
    int64_t size[3]; /* slices, rows, columns, 8 to 1024 each; default 32 x 256 x 256 for M3D, else 64 x 128 x
                        128 */
    const char *split; /* "train", "validation" or "test" for all; default: 8 : 1 : 1, drawn for each scan */
    int64_t questions; /* most questions a scan, 0 to 16; default 8; -1: none */
    tomo_phantom_contents contents; /* format must be NIFTI for others than SCANS; their size[0] is of the
                                       scan that a slice is taken from, and TEXT needs no size */
    int64_t slab; /* an item has 1 to this many neighbouring slices, drawn; default: SLICES 1, SCANS all. Not
                     with TEXT and M3D */
    bool plain;   /* reports and captions in one wording, which says what is seen and nothing of style */
    bool text_first; /* text: closed questions are answered "lung: C.", not "C. lung" (prompt.answer of a
                        model) */
    bool all; /* scans, text: ask all that can be asked, up to `questions`, though some answers are then
                 commoner than others: to train with, not to be scored on */
} tomo_phantom_options;

/* Makes CT-like scans of chests and abdomens with findings, and writes them with reports, questions and what
 * is true of them (docs/phantom.md) into the folder, which must be new or empty and appears when it is whole.
 * json: a summary, freed by tomo_free. */
TOMO_API tomo_status tomo_phantom_write(tomo_context *context, const char *folder,
                                        const tomo_phantom_options *options, char **json, tomo_error *err);

#ifdef __cplusplus
}
#endif

#endif
