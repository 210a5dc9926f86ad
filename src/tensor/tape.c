#include "tensor/tape.h"

#include <assert.h>
#include <string.h>

void tomo_tape_record(tomo_exec *exec, tomo_backward_fn backward, const tomo_tensor *output,
                      const tomo_tensor *const *inputs, int input_count, const void *attributes,
                      size_t size) {
    if (exec->tape == NULL || output == NULL || exec->error.status != TOMO_OK) return;
    assert(input_count <= TOMO_TAPE_INPUTS);
    tomo_node *node = tomo_exec_alloc(exec, 1, sizeof *node);
    void *copy = size > 0 ? tomo_exec_alloc(exec, 1, size) : NULL;
    if (node == NULL || (size > 0 && copy == NULL)) return;
    if (size > 0) memcpy(copy, attributes, size);
    *node = (tomo_node){.before = exec->tape->last,
                        .backward = backward,
                        .input_count = input_count,
                        .output = *output,
                        .attributes = copy};
    for (int i = 0; i < input_count; i++) node->inputs[i] = *inputs[i];
    exec->tape->last = node;
}

void tomo_tape_backward(tomo_exec *exec) {
    tomo_tape *tape = exec->tape;
    exec->tape = NULL; /* what backward functions compute is not noted itself */
    for (const tomo_node *node = tape->last; node != NULL && exec->error.status == TOMO_OK;
         node = node->before) {
        node->backward(exec, node);
    }
    tape->last = NULL;
    exec->tape = tape;
}
