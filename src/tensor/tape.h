/* tape.h - gradients: operations note what they did, and the notes are gone through backwards.
 *
 * A tensor wants a gradient when its `grad` is set: results of operations have one while a tape runs,
 * parameters and inputs when their owner gives them one. An operation none of whose inputs wants one leaves
 * no note, and its result wants none either. Backward functions add to gradients, so a tensor used twice gets
 * both, and gradients of several passes accumulate until their owner clears them.
 *
 * Values of a pass are kept until its end, but the gradient of a value is of use only between the first of
 * its readers and the note that made it. In a stack of layers (tomo_tape_begin_layers) each layer reads the
 * layer before it alone, so gradients of layers take turns in two pieces of memory. */
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
    int64_t layer;    /* number of the layer that the note belongs to; 0: to none */
};

/* {0} is a tape whose gradients all live in the exec's arena until the end of the pass. */
struct tomo_tape {
    tomo_node *last;
    bool in_layers, layer_noted; /* layer_noted: the latest layer has notes */
    int64_t layer;               /* the latest, counted from 1 through all stacks of the pass */
    tomo_arena *gradients[2];    /* of odd and even layers; NULL: layers are not told apart */
};

/* A tape with memory for the gradients of layers; ended by tomo_tape_release. False: out of memory. */
bool tomo_tape_init(tomo_tape *tape);
void tomo_tape_release(tomo_tape *tape);
/* Forgets all notes, also those of a pass that failed. */
void tomo_tape_clear(tomo_tape *tape);

/* Around a stack of layers; tomo_tape_next_layer after each but the last. What a layer makes may be read by
 * itself, the next one, and, if it is the last, by what follows the stack. Nothing without a tape. */
void tomo_tape_begin_layers(tomo_exec *exec);
void tomo_tape_next_layer(tomo_exec *exec);
void tomo_tape_end_layers(tomo_exec *exec);

/* Notes an operation (nothing without a tape), or takes output's gradient away when no input has one.
 * attributes[size] are copied. */
void tomo_tape_record(tomo_exec *exec, tomo_backward_fn backward, tomo_tensor *output,
                      const tomo_tensor *const *inputs, int input_count, const void *attributes, size_t size);

/* From the last note to the first; the gradient of the final result was set by the caller. Notes are used up,
 * and live in the arena like everything else of the pass. */
void tomo_tape_backward(tomo_exec *exec);

/* Memory for the gradient of a new result, zeroed where that is not left to the backward pass; NULL after a
 * failure. For tomo_exec_tensor. */
float *tomo_tape_gradient(tomo_exec *exec, int64_t count);

#endif
