/* tensors.h - for tests that run networks: an exec on one line, recorded tensors, traced tensors compared. */
#ifndef TOMO_TESTS_TENSORS_H
#define TOMO_TESTS_TENSORS_H

#include "support/parity.h"
#include "tensor/exec.h"
#include "weights/checkpoint.h"

/* The kernels named by $TOMO_KERNELS (default: the best), $TOMO_THREADS threads (default 2). */
typedef struct test_machine {
    const tomo_kernels *kernels;
    tomo_pool *pool;
    tomo_exec exec;
} test_machine;
bool test_machine_open(test_machine *machine, tomo_error *err);
void test_machine_close(test_machine *machine);

/* FOLDER/NAME as a checkpoint; NULL when there is none or it cannot be read (err says why). */
tomo_checkpoint *test_open_tensors(const char *folder, const char *name, tomo_error *err);
/* A tensor over a recorded F32 tensor; data NULL when it is not there. */
tomo_tensor test_tensor(const tomo_checkpoint *checkpoint, const char *name);

/* How far a result may be from what was recorded. */
typedef enum test_measure {
    TEST_ABSOLUTE,    /* largest difference */
    TEST_OF_LARGEST,  /* divided by the largest recorded value */
    TEST_OF_LARGEST1, /* divided by the larger of 1 and the largest recorded value */
    TEST_RELATIVE_L2
} test_measure;

/* A trace that compares each shown tensor with the recorded one of the same name (others are ignored). */
typedef struct test_compare {
    const tomo_checkpoint *expected;
    test_measure measure;
    double tolerance;
    int compared;
    char failure[512]; /* the first that is too far off; "" when none */
    double worst;
} test_compare;
void test_compare_see(void *compare, const char *name, const tomo_tensor *value);

#endif
