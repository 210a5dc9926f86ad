#include "tensor/tape.h"

#include "base/size.h"

#include <assert.h>
#include <string.h>

bool tomo_tape_init(tomo_tape *tape) {
    *tape = (tomo_tape){0};
    for (int i = 0; i < 2; i++) tape->gradients[i] = tomo_arena_create(0);
    if (tape->gradients[0] != NULL && tape->gradients[1] != NULL) return true;
    tomo_tape_release(tape);
    return false;
}

void tomo_tape_release(tomo_tape *tape) {
    tomo_arena_free(tape->gradients[0]);
    tomo_arena_free(tape->gradients[1]);
    *tape = (tomo_tape){0};
}

void tomo_tape_clear(tomo_tape *tape) {
    tape->last = NULL;
    tape->in_layers = tape->layer_noted = false;
    tape->layer = 0;
}

/* ---------------------------------------------------------------------------- layers */

void tomo_tape_begin_layers(tomo_exec *exec) {
    tomo_tape *tape = exec->tape;
    if (tape == NULL || tape->gradients[0] == NULL) return;
    tape->in_layers = true;
    tomo_tape_next_layer(exec);
}

void tomo_tape_next_layer(tomo_exec *exec) {
    tomo_tape *tape = exec->tape;
    if (tape == NULL || !tape->in_layers) return;
    /* Layers are counted without gaps, which the backward pass would take for layers that it is through with:
     * between two stacks it would clear the last layer of the first one after it had been written to. */
    tape->layer += tape->layer_noted || tape->layer == 0;
    tape->layer_noted = false;
    /* The layer two before has the same memory; the backward pass is through with it by then. */
    tomo_arena_rewind(tape->gradients[tape->layer % 2], (tomo_arena_mark){NULL, 0, 0});
}

void tomo_tape_end_layers(tomo_exec *exec) {
    if (exec->tape != NULL) exec->tape->in_layers = false;
}

/* Floats that one block clears: worth a hand-over. */
#define CLEAR_BLOCK 65536

typedef struct clear_floats {
    float *data;
    int64_t count;
} clear_floats;

static void clear_floats_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const clear_floats *job = argument;
    int64_t first = block * CLEAR_BLOCK, count = job->count - first;
    memset(job->data + first, 0, (size_t)(count < CLEAR_BLOCK ? count : CLEAR_BLOCK) * sizeof *job->data);
}

float *tomo_tape_gradient(tomo_exec *exec, int64_t count) {
    tomo_tape *tape = exec->tape;
    size_t bytes = (size_t)count * sizeof(float);
    if (!tape->in_layers) {
        float *grad = tomo_exec_alloc(exec, count, sizeof *grad);
        clear_floats job = {grad, count};
        if (grad != NULL)
            tomo_pool_run(exec->pool, tomo_pieces(count, CLEAR_BLOCK), clear_floats_block, &job);
        return grad;
    }
    float *grad = tomo_arena_alloc(tape->gradients[tape->layer % 2], bytes);
    if (grad == NULL) (void)tomo_fail_memory(&exec->error, "gradients", bytes);
    return grad;
}

/* Results of one layer, whose gradients are cleared in one run of the threads. */
typedef struct clear_job {
    const tomo_node **nodes; /* [count] */
    int64_t *ends;           /* [count]: of each one's blocks */
    int64_t count;
} clear_job;

static void clear_block(void *argument, int64_t block, int worker) {
    (void)worker;
    const clear_job *job = argument;
    int64_t i = 0;
    while (job->ends[i] <= block) i++;
    const tomo_tensor *t = &job->nodes[i]->output;
    int64_t first = (block - (i > 0 ? job->ends[i - 1] : 0)) * CLEAR_BLOCK;
    int64_t count = tomo_tensor_count(t) - first;
    memset(t->grad + first, 0, (size_t)(count < CLEAR_BLOCK ? count : CLEAR_BLOCK) * sizeof *t->grad);
}

/* Clears the gradients of the results of `layer`, whose notes lie at `node` or before it. */
static void clear_layer(tomo_exec *exec, const tomo_node *node, int64_t layer) {
    clear_job job = {0};
    if (layer < 1) return;
    for (const tomo_node *n = node; n != NULL && (n->layer == 0 || n->layer >= layer); n = n->before)
        job.count += n->layer == layer;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    job.nodes = tomo_exec_alloc(exec, job.count + 1, sizeof *job.nodes);
    job.ends = tomo_exec_alloc(exec, job.count + 1, sizeof *job.ends);
    if (job.nodes == NULL || job.ends == NULL) return;
    int64_t i = 0, blocks = 0;
    for (; node != NULL && (node->layer == 0 || node->layer >= layer); node = node->before) {
        if (node->layer != layer) continue;
        blocks += tomo_pieces(tomo_tensor_count(&node->output), CLEAR_BLOCK);
        job.nodes[i] = node;
        job.ends[i++] = blocks;
    }
    tomo_pool_run(exec->pool, blocks, clear_block, &job);
    tomo_arena_rewind(exec->arena, mark);
}

/* ----------------------------------------------------------------------------- notes */

void tomo_tape_record(tomo_exec *exec, tomo_backward_fn backward, tomo_tensor *output,
                      const tomo_tensor *const *inputs, int input_count, const void *attributes,
                      size_t size) {
    if (exec->tape == NULL || output == NULL || exec->error.status != TOMO_OK) return;
    assert(input_count <= TOMO_TAPE_INPUTS);
    bool wanted = false;
    for (int i = 0; i < input_count; i++) wanted = wanted || inputs[i]->grad != NULL;
    if (!wanted) {
        output->grad = NULL;
        return;
    }
    tomo_node *node = tomo_exec_alloc(exec, 1, sizeof *node);
    void *copy = size > 0 ? tomo_exec_alloc(exec, 1, size) : NULL;
    if (node == NULL || (size > 0 && copy == NULL)) return;
    if (size > 0) memcpy(copy, attributes, size);
    *node = (tomo_node){.before = exec->tape->last,
                        .backward = backward,
                        .input_count = input_count,
                        .output = *output,
                        .attributes = copy,
                        .layer = exec->tape->in_layers ? exec->tape->layer : 0};
    for (int i = 0; i < input_count; i++) node->inputs[i] = *inputs[i];
    exec->tape->layer_noted = exec->tape->layer_noted || exec->tape->in_layers;
    exec->tape->last = node;
}

void tomo_tape_backward(tomo_exec *exec) {
    tomo_tape *tape = exec->tape;
    exec->tape = NULL; /* what backward functions compute is not noted itself */
    int64_t layer = tape->layer;
    clear_layer(exec, tape->last, layer);
    clear_layer(exec, tape->last, layer - 1);
    for (const tomo_node *node = tape->last; node != NULL && exec->error.status == TOMO_OK;
         node = node->before) {
        /* The layer before is about to be written to by this one; its memory was that of the layer behind. */
        for (; node->layer != 0 && node->layer < layer; layer--) clear_layer(exec, node, layer - 2);
        node->backward(exec, node);
    }
    tomo_tape_clear(tape);
    exec->tape = tape;
}
