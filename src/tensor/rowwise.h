/* rowwise.h - running a function over the rows of a matrix on the threads of an exec. */
#ifndef TOMO_TENSOR_ROWWISE_H
#define TOMO_TENSOR_ROWWISE_H

#include "tensor/exec.h"

/* Handles rows first .. end - 1. */
typedef void (*tomo_rows_fn)(const void *argument, const tomo_kernels *kernels, int64_t first, int64_t end);

void tomo_rows_run(tomo_exec *exec, int64_t rows, int64_t width, tomo_rows_fn run, const void *argument);

#endif
