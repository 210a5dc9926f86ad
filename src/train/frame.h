/* frame.h - a CSV file as pandas.read_csv has it: each column is as a whole of integers, of floats, of truth
 * values or of texts, and what stands for a missing value is NaN. M3D's scripts print such values into their
 * questions, so "3.50" becomes "3.5" and "None" becomes "nan". Private to src/train. */
#ifndef TOMO_TRAIN_FRAME_H
#define TOMO_TRAIN_FRAME_H

#include "base/csv.h"
#include "base/decimal.h"

typedef enum tomo_column_type {
    TOMO_COLUMN_INTEGER,
    TOMO_COLUMN_LONG, /* integers, some beyond 64 bits with a sign */
    TOMO_COLUMN_FLOAT,
    TOMO_COLUMN_BOOLEAN,
    TOMO_COLUMN_TEXT
} tomo_column_type;

typedef struct tomo_frame {
    tomo_csv *csv;
    tomo_column_type *types; /* [columns] */
    bool *missing;           /* [columns]: has a missing value */
    bool *as_written;        /* [columns]: every field is its own text, what stands for a missing value too */
} tomo_frame;

tomo_status tomo_frame_open(const char *path, tomo_frame *frame, tomo_error *err);
void tomo_frame_free(tomo_frame *frame);

/* str() of a value; `room` holds it where the field's own text is not it. */
tomo_csv_field tomo_frame_text(const tomo_frame *frame, size_t row, size_t column,
                               char room[TOMO_DECIMAL_TEXT]);

#endif
