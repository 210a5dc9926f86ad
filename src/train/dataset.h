/* dataset.h - scans with texts, to learn from or to be scored on.
 *
 * Two layouts are read, and which one a path holds is found out:
 *
 *   M3D: a folder with M3D_Cap_npy/M3D_Cap.json, {split: [{"image", "text"}]} with paths relative to the
 * folder and a text file for each report, and M3D-VQA/M3D_VQA_{train,val,test}.csv, read as pandas reads them
 * (empty fields, NA, None, null and so on print as "nan"; a column that is numeric throughout is
 * rewritten: 3.50 becomes 3.5). Either may be missing. Volumes are .npy or NIfTI.
 *
 *   Own scans: a CSV file, or a folder with exactly one, with the columns scan, report and/or question,
 * answer, choices ("liver|spleen|kidney"), split, type (1 to 5, a question's type); others are ignored. Paths
 * are relative to the CSV file; a scan is anything that tomo_volume_open reads. A row gives a report sample,
 * a question sample, or both. A question with choices is closed; its answer is one of the choices, or a
 *   choice's letter. split: train (also when empty or without the column), validation (or val, valid, dev),
 * test.
 *
 * A file that makes no sense as a whole (a missing column, bad JSON) is refused when it is opened. What is
 * wrong with a single sample (a report that is not there, an answer that is no choice, a scan that cannot be
 * read) is noted at the sample; tomo_dataset_verify opens every scan once, so that all of it is known before
 * training starts. Rules: tests/reference/metrics/README.md, "Data format". */
#ifndef TOMO_TRAIN_DATASET_H
#define TOMO_TRAIN_DATASET_H

#include "base/hooks.h"
#include "volume/volume.h"

/* Bits, so that options can ask for several. */
typedef enum tomo_sample_kind {
    TOMO_SAMPLE_REPORT = 1,
    TOMO_SAMPLE_OPEN = 2,  /* a question that is answered in free words */
    TOMO_SAMPLE_CLOSED = 4 /* a question with choices; each row of an M3D-VQA file is an open one too */
} tomo_sample_kind;
#define TOMO_SAMPLE_ALL (TOMO_SAMPLE_REPORT | TOMO_SAMPLE_OPEN | TOMO_SAMPLE_CLOSED)

#define TOMO_SAMPLE_CHOICES 26

/* Texts are '\0'-terminated UTF-8 that the dataset owns. */
typedef struct tomo_sample {
    tomo_sample_kind kind;
    const char *scan;     /* a path that can be opened */
    const char *name;     /* the scan as the dataset's file calls it */
    const char *split;    /* "train", "validation", "test", or another key of M3D_Cap.json */
    const char *question; /* NULL: a report is asked for */
    const char *answer;   /* the report or the answer, without a choice's letter; "" where it is missing */
    const char *const *choices; /* [choice_count]; letter 'A' + i */
    size_t choice_count;
    const char *letter; /* of the right choice, "C"; closed questions only */
    int type;           /* 1 to 5 as in M3D-VQA; 0: none */
    const char *source; /* the file that names the sample */
    size_t row;         /* in it, as an editor counts: the names of a CSV are row 1; entries of JSON from 1 */
    const char *wrong;  /* NULL, or why the sample cannot be used */
} tomo_sample;

typedef struct tomo_dataset tomo_dataset;

/* Zero or NULL in any field means the default. */
typedef struct tomo_dataset_options {
    const char *split;     /* this one alone; NULL: all */
    unsigned kinds;        /* tomo_sample_kind; default: all */
    const char *captions;  /* M3D: another file than M3D_Cap_npy/M3D_Cap.json, relative to the folder */
    const char *questions; /* M3D: this CSV file, whose samples count as `split` (or "test"), instead of the
                              three files of M3D-VQA */
    int64_t limit;         /* at most so many samples of each kind and split, the first ones */
} tomo_dataset_options;

/* Reads the lists and the texts, opens no scan. *dataset is freed by tomo_dataset_free. */
tomo_status tomo_dataset_open(const char *path, const tomo_dataset_options *options, tomo_dataset **dataset,
                              tomo_error *err);
void tomo_dataset_free(tomo_dataset *dataset);

/* In the order of the files: reports, then each CSV row's open and closed sample. */
size_t tomo_dataset_count(const tomo_dataset *dataset);
const tomo_sample *tomo_dataset_at(const tomo_dataset *dataset, size_t index);
/* Whether the path had the M3D layout. */
bool tomo_dataset_is_m3d(const tomo_dataset *dataset);
/* SHA-256 of the lists and texts as 64 hexadecimal digits: which data a figure stands for. */
const char *tomo_dataset_hash(const tomo_dataset *dataset);

/* Gets each scan once, in order of first use. volume is NULL when it could not be read (error says why).
 * Returns whether to go on. */
typedef bool (*tomo_dataset_scan_fn)(void *user, const tomo_sample *first, const tomo_volume *volume,
                                     const tomo_error *error);

/* Opens every scan once and notes at each sample what is wrong with it. `seen` may be NULL. */
tomo_status tomo_dataset_verify(tomo_dataset *dataset, const tomo_volume_options *options,
                                tomo_dataset_scan_fn seen, void *user, tomo_error *err);
/* How many samples are noted as wrong. */
size_t tomo_dataset_wrong_count(const tomo_dataset *dataset);
/* A line for each of them, "FILE: row N: SCAN: what is wrong"; *text is freed by tomo_free. */
tomo_status tomo_dataset_wrong_table(const tomo_dataset *dataset, char **text, tomo_error *err);
/* Leaves them out from now on. */
void tomo_dataset_drop_wrong(tomo_dataset *dataset);

/* numbers [count]: that of each sample's scan, from 0 in order of first use; *scans: how many there are. */
tomo_status tomo_dataset_number_scans(const tomo_dataset *dataset, size_t *numbers, size_t *scans,
                                      tomo_error *err);

/* A permutation of 0 .. count - 1 that depends on seed and epoch alone. */
void tomo_dataset_shuffle(uint64_t seed, uint64_t epoch, size_t count, size_t *order);

#endif
