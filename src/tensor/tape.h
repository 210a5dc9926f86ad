/* tape.h - gradients: operations note what they did, and the notes are gone through backwards.
 *
 * A tensor wants a gradient when its `grad` is set: results of operations have one while a tape runs,
 * parameters and inputs when their owner gives them one. Backward functions add to gradients, so a tensor
 * used twice gets both, and gradients of several passes accumulate until their owner clears them. */
#ifndef TOMO_TENSOR_TAPE_H
#define TOMO_TENSOR_TAPE_H

#include "tensor/exec.h"

#define TOMO_TAPE_INPUTS 8

typedef struct tomo_node tomo_node;

/* Adds to the gradients of the node's inputs what its result's gradient means for them. */
typedef void (*tomo_backward_fn)(tomo_exec *exec, const tomo_node *node);

struct tomo_node {
    tomo_node *before;
    tomo_backward_fn backward;
    tomo_tensor inputs[TOMO_TAPE_INPUTS];
    int input_count;
    tomo_tensor output;
    void *attributes; /* a copy in the arena */
};

struct tomo_tape {
    tomo_node *last;
};

/* Notes an operation (nothing without a tape). attributes[size] are copied. */
void tomo_tape_record(tomo_exec *exec, tomo_backward_fn backward, const tomo_tensor *output,
                      const tomo_tensor *const *inputs, int input_count, const void *attributes, size_t size);

/* From the last note to the first; the gradient of the final result was set by the caller. Notes are used up,
 * and live in the arena like everything else of the pass. */
void tomo_tape_backward(tomo_exec *exec);

#endif
