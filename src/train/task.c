#include "train/task.h"

#include "base/folder.h"
#include "model/context.h"
#include "tensor/packed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "bf16" asks for it on any CPU, "fast" where it has the instruction. */
static const struct tomo_packed_kernels *half_products(const tomo_task_options *o) {
    const tomo_kernels *kernels = o->context->kernels;
    if (o->precision == NULL || strcmp(o->precision, "f32") == 0) return NULL;
    bool any = strcmp(o->precision, "bf16") == 0;
    return any || tomo_packing_is_native(kernels, TOMO_PACK_BF16) ? tomo_half_products(kernels) : NULL;
}

tomo_status tomo_task_init(tomo_task *task, const tomo_task_kind *kind, const tomo_task_options *o,
                           tomo_error *err) {
    task->kind = kind;
    task->stage = o->stage;
    task->context = o->context;
    task->seed = o->seed;
    task->slots = o->slots;
    if (!tomo_tape_init(&task->tape)) return tomo_fail_memory(err, "training", 0);
    tomo_status status = tomo_exec_init(&task->exec, o->context->kernels, o->context->pool, NULL, 0, err);
    if (status == TOMO_OK) task->exec.half_tape = half_products(o);
    return status;
}

tomo_status tomo_task_keep(tomo_task *task, const tomo_parameters *parameters, tomo_error *err) {
    if (parameters->count == 0) return TOMO_OK;
    if (task->kept.count == 4) return tomo_fail(err, TOMO_E_INTERNAL, "too many lists of parameters");
    task->kept.lists[task->kept.count++] = parameters;
    return TOMO_OK;
}

tomo_status tomo_task_train(tomo_task *task, const tomo_parameters *parameters, int part, tomo_error *err) {
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < parameters->count && status == TOMO_OK; i++) {
        const struct tomo_parameter *p = &parameters->list[i];
        status = tomo_parameters_add(&task->trained, p->name, &p->tensor, err);
    }
    if (status != TOMO_OK) return status;
    int *parts = realloc(task->parts, (task->trained.count + 1) * sizeof *parts);
    if (parts == NULL) return tomo_fail_memory(err, "parameters", task->trained.count * sizeof *parts);
    task->parts = parts;
    for (size_t i = task->trained.count - parameters->count; i < task->trained.count; i++) parts[i] = part;
    return TOMO_OK;
}

void tomo_task_free(tomo_task *task) {
    if (task == NULL) return;
    tomo_exec_release(&task->exec);
    tomo_tape_release(&task->tape);
    tomo_parameters_free(&task->trained);
    free(task->parts);
    for (int s = 0; s < TOMO_SPLITS; s++) free(task->scan_of[s]);
    if (task->kind != NULL) {
        task->kind->free(task);
    } else {
        free(task);
    }
}

tomo_status tomo_task_write(const char *from, const tomo_parameters *parameters, const char *folder,
                            tomo_error *err) {
    char *part = NULL;
    if (asprintf(&part, "%s.part", folder) < 0) return tomo_fail_memory(err, folder, strlen(folder));
    tomo_folder_remove(part);
    tomo_status status = tomo_folder_link(from, part, false, err);
    if (status == TOMO_OK) status = tomo_parameters_write(parameters, part, "model.safetensors", err);
    if (status == TOMO_OK) status = tomo_folder_replace(part, folder, err);
    if (status != TOMO_OK) tomo_folder_remove(part);
    free(part);
    return status;
}
