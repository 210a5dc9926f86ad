/* parallel.h - several processes that train together (mpirun -n N tomo train): each learns its share of a
 * step's samples, and gradients are summed in the order of ranks, so that every process holds the same bits.
 *
 * Built without MPI, or started alone, there is one rank and nothing to do. */
#ifndef TOMO_TRAIN_PARALLEL_H
#define TOMO_TRAIN_PARALLEL_H

#include "weights/bind.h"

typedef struct tomo_parallel {
    int rank, ranks;
    float *room; /* of the sums */
} tomo_parallel;

/* Joins the processes that mpirun started, once a program. Ended by tomo_parallel_end. */
tomo_status tomo_parallel_begin(tomo_parallel *parallel, tomo_error *err);
void tomo_parallel_end(tomo_parallel *parallel);

/* values [count] become their sums over all ranks, everywhere. */
void tomo_parallel_sum(tomo_parallel *parallel, double *values, int count);
/* The same for every gradient. */
void tomo_parallel_sum_gradients(tomo_parallel *parallel, const tomo_parameters *parameters);
/* The largest of the statuses: a rank that failed ends the others' work too. */
tomo_status tomo_parallel_agree(tomo_parallel *parallel, tomo_status status, tomo_error *err);

#endif
