#include "weights/bind.h"

#include "base/size.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256

static void full_name(const tomo_binder *binder, char *out, const char *format, va_list arguments) {
    int length = snprintf(out, NAME_SIZE, "%s", binder->prefix);
    if (length >= 0 && length < NAME_SIZE) {
        (void)vsnprintf(out + length, NAME_SIZE - (size_t)length, format, arguments);
    }
}

static void shape_text(char *out, size_t size, int rank, const int64_t *shape) {
    size_t used = 0;
    out[0] = '\0';
    for (int i = 0; i < rank && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s%lld", i == 0 ? "" : ", ", (long long)shape[i]);
    }
}

static tomo_tensor widened(tomo_binder *binder, const tomo_stored *stored, const char *name) {
    size_t bytes = 0;
    float *data = NULL;
    if (tomo_size_mul((size_t)stored->count, sizeof *data, &bytes))
        data = tomo_arena_alloc(binder->arena, bytes);
    if (data == NULL) {
        (void)tomo_fail_memory(&binder->error, name, bytes);
        return (tomo_tensor){0};
    }
    const tomo_kernels *reference = NULL;
    if (tomo_dtype_block(stored->dtype) > 1 && tomo_kernels_select("generic", &reference, NULL) == TOMO_OK) {
        reference->widen(data, stored->data, stored->dtype, stored->count);
        return tomo_tensor_over(data, TOMO_F32, stored->rank, stored->shape);
    }
    for (int64_t i = 0; i < stored->count; i++) {
        uint16_t half = ((const uint16_t *)stored->data)[i];
        data[i] = stored->dtype == TOMO_BF16 ? tomo_bf16_to_float(half) : tomo_f16_to_float(half);
    }
    return tomo_tensor_over(data, TOMO_F32, stored->rank, stored->shape);
}

void tomo_parameters_free(tomo_parameters *parameters) {
    free(parameters->list);
    *parameters = (tomo_parameters){0};
}

tomo_status tomo_parameters_add(tomo_parameters *p, const char *name, const tomo_tensor *tensor,
                                tomo_error *err) {
    if (p->count == p->room) {
        size_t room = p->room == 0 ? 64 : p->room * 2;
        struct tomo_parameter *list = realloc(p->list, room * sizeof *list);
        if (list == NULL) return tomo_fail_memory(err, name, room * sizeof *list);
        p->list = list;
        p->room = room;
    }
    p->list[p->count++] = (struct tomo_parameter){name, *tensor};
    return TOMO_OK;
}

/* A float copy with a gradient, listed among the parameters. */
static tomo_tensor trainable(tomo_binder *binder, const tomo_stored *stored, int rank, const int64_t *shape) {
    size_t bytes = (size_t)stored->count * sizeof(float);
    tomo_tensor t = {0};
    float *grad = tomo_arena_alloc(binder->arena, bytes);
    if (stored->dtype == TOMO_F32) {
        t.data = tomo_arena_alloc(binder->arena, bytes);
        if (t.data != NULL) memcpy(t.data, stored->data, bytes);
    } else {
        t = widened(binder, stored, stored->name);
    }
    if (t.data == NULL || grad == NULL) {
        if (binder->error.status == TOMO_OK) (void)tomo_fail_memory(&binder->error, stored->name, bytes);
        return (tomo_tensor){0};
    }
    t = tomo_tensor_over(t.data, TOMO_F32, rank, shape);
    t.grad = grad;
    memset(grad, 0, bytes);
    (void)tomo_parameters_add(binder->trainable, stored->name, &t, &binder->error);
    return t;
}

static tomo_tensor bind(tomo_binder *binder, bool as_float, int rank, const int64_t *shape,
                        const char *name) {
    tomo_tensor absent = {0};
    if (binder->error.status != TOMO_OK) return absent;
    if (binder->collect != NULL) {
        binder->collect(binder->collect_user, name, rank, shape);
        return absent;
    }
    const char *file = tomo_checkpoint_path(binder->checkpoint);
    const tomo_stored *stored = NULL;
    if (tomo_checkpoint_need(binder->checkpoint, name, &stored, &binder->error) != TOMO_OK) return absent;
    bool same = stored->rank == rank;
    for (int i = 0; i < rank && same; i++) same = stored->shape[i] == shape[i];
    if (!same) {
        char found[96], wanted[96];
        shape_text(found, sizeof found, stored->rank, stored->shape);
        shape_text(wanted, sizeof wanted, rank, shape);
        (void)tomo_fail(&binder->error, TOMO_E_HEADER, "%s: tensor \"%s\" is [%s]; [%s] is wanted", file,
                        name, found, wanted);
        return absent;
    }
    bool blocks = tomo_dtype_block(stored->dtype) > 1;
    if (stored->dtype != TOMO_F32 && stored->dtype != TOMO_BF16 && stored->dtype != TOMO_F16 && !blocks) {
        (void)tomo_fail(&binder->error, TOMO_E_UNSUPPORTED,
                        "%s: tensor \"%s\" is %s; F32, BF16 or F16 is wanted", file, name,
                        tomo_dtype_name(stored->dtype));
        return absent;
    }
    binder->bytes += (int64_t)tomo_dtype_bytes(stored->dtype, stored->count);
    binder->parameters += stored->count;
    if (binder->trainable != NULL) return trainable(binder, stored, rank, shape);
    if (as_float && stored->dtype != TOMO_F32) return widened(binder, stored, name);
    return tomo_tensor_over((void *)(uintptr_t)stored->data, stored->dtype, rank, shape);
}

tomo_tensor tomo_bind_weight(tomo_binder *binder, int rank, const int64_t *shape, const char *name, ...) {
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    full_name(binder, full, name, arguments);
    va_end(arguments);
    return bind(binder, false, rank, shape, full);
}

tomo_tensor tomo_bind_float(tomo_binder *binder, int rank, const int64_t *shape, const char *name, ...) {
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    full_name(binder, full, name, arguments);
    va_end(arguments);
    return bind(binder, true, rank, shape, full);
}

tomo_linear tomo_bind_linear(tomo_binder *binder, int64_t out, int64_t in, bool has_bias, const char *name,
                             ...) {
    char full[NAME_SIZE - 8], part[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    full_name(binder, part, name, arguments);
    va_end(arguments);
    (void)snprintf(full, sizeof full, "%.*s", (int)sizeof full - 1, part);
    tomo_linear layer = {0};
    (void)snprintf(part, sizeof part, "%s.weight", full);
    layer.weight = bind(binder, false, 2, (int64_t[]){out, in}, part);
    if (has_bias) {
        (void)snprintf(part, sizeof part, "%s.bias", full);
        layer.bias = bind(binder, true, 1, (int64_t[]){out}, part);
    }
    return layer;
}

bool tomo_bind_has(const tomo_binder *binder, const char *name, ...) {
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    full_name(binder, full, name, arguments);
    va_end(arguments);
    return binder->checkpoint != NULL && tomo_checkpoint_find(binder->checkpoint, full) != NULL;
}

const tomo_stored *tomo_bind_find(const tomo_binder *binder, const char *name, ...) {
    char full[NAME_SIZE];
    va_list arguments;
    va_start(arguments, name);
    full_name(binder, full, name, arguments);
    va_end(arguments);
    return binder->checkpoint == NULL ? NULL : tomo_checkpoint_find(binder->checkpoint, full);
}
