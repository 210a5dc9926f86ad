/* parity.h - walking a directory of reference cases and counting what was seen.
 *
 * A parity test is a program: it walks one family's folder of the reference directory ($TOMO_REFERENCE, or
 * tests/reference), runs every case that it finds, and ends with parity_end(). No case name, shape or count
 * stands in a test. A case that is not run is listed with its reason and counted; STRICT=1 in the
 * environment makes it a failure. Finding no case at all in a family's folder is a failure. */
#ifndef TOMO_TESTS_PARITY_H
#define TOMO_TESTS_PARITY_H

#include "base/status.h"

typedef struct parity {
    char family[64];
    char root[4096]; /* the family's folder */
    int passed, failed, skipped;
    bool strict;
} parity;

void parity_begin(parity *p, const char *family);

/* Each ends one case. Lines go to stdout. */
void parity_pass(parity *p, const char *name);
void parity_fail(parity *p, const char *name, const char *format, ...) TOMO_PRINTF(3, 4);
void parity_skip(parity *p, const char *name, const char *format, ...) TOMO_PRINTF(3, 4);

/* "N passed, N failed, N skipped" on a line of its own; the exit status of the program. A family that another
 * reference folder ($TOMO_REFERENCE) does not hold at all counts as one skipped case. */
int parity_end(parity *p);

/* Calls `run` for each entry of `folder` (relative to the family's root; "" is the root) that is itself a
 * folder, in order of name. `path` is the entry's full path. */
void parity_each_folder(parity *p, const char *folder,
                        void (*run)(parity *p, const char *name, const char *path));
/* The same for each entry that is a file whose name ends with `suffix`. */
void parity_each_file(parity *p, const char *folder, const char *suffix,
                      void (*run)(parity *p, const char *name, const char *path));

/* Largest |got - want| over n values; infinity where one of them is not a number and the other is. */
double parity_distance(const float *got, const float *want, int64_t n);
/* Largest |value| over n values. */
double parity_largest(const float *values, int64_t n);
/* L2 norm of (got - want) over the L2 norm of want. */
double parity_relative_l2(const float *got, const float *want, int64_t n);

/* The folder of scans: $TOMO_DATA, or tests/data. */
const char *parity_data_folder(void);

#endif
