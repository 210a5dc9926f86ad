/* What the globals of a state dict mean. A global that is not in this table is refused, whatever it is. */
#include "weights/pickle.h"

#include "base/size.h"

#include <string.h>

typedef enum role { ROLE_ORDERED_DICT, ROLE_TENSOR, ROLE_PARAMETER, ROLE_SIZE, ROLE_STORAGE } role;

static const struct {
    const char *module, *name;
    role role;
    tomo_dtype dtype; /* of a ROLE_STORAGE */
} globals[] = {
    {"collections", "OrderedDict", ROLE_ORDERED_DICT, TOMO_DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR, TOMO_DTYPE_COUNT},
    {"torch._utils", "_rebuild_tensor", ROLE_TENSOR, TOMO_DTYPE_COUNT},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, TOMO_DTYPE_COUNT},
    {"torch", "Size", ROLE_SIZE, TOMO_DTYPE_COUNT},
    {"torch", "FloatStorage", ROLE_STORAGE, TOMO_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, TOMO_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, TOMO_BF16},
    {"torch", "DoubleStorage", ROLE_STORAGE, TOMO_F64},
    {"torch", "LongStorage", ROLE_STORAGE, TOMO_I64},
    {"torch", "IntStorage", ROLE_STORAGE, TOMO_I32},
    {"torch", "ShortStorage", ROLE_STORAGE, TOMO_I16},
    {"torch", "CharStorage", ROLE_STORAGE, TOMO_I8},
    {"torch", "ByteStorage", ROLE_STORAGE, TOMO_U8},
    {"torch", "BoolStorage", ROLE_STORAGE, TOMO_BOOL},
};
#define GLOBALS ((int)(sizeof globals / sizeof *globals))

static bool same(const char *text, const char *bytes, size_t size) {
    return strlen(text) == size && memcmp(text, bytes, size) == 0;
}

int tomo_pickle_global(const char *module, size_t module_size, const char *name, size_t name_size) {
    for (int i = 0; i < GLOBALS; i++) {
        if (same(globals[i].module, module, module_size) && same(globals[i].name, name, name_size)) return i;
    }
    return -1;
}

static tomo_status bad(const char *file, const char *what, tomo_error *err) {
    return tomo_fail(err, TOMO_E_FORMAT, "%s: damaged pickle: %s", file, what);
}

/* ("storage", type, key, location, elements), to which very old files add a view, None in all others. */
tomo_status tomo_pickle_make_storage(const char *file, const tomo_pickle_value *id, tomo_arena *arena,
                                     tomo_pickle_storage **out, tomo_error *err) {
    if (id->kind != TOMO_PICKLE_TUPLE || id->list.count < 5 || id->list.count > 6 ||
        !tomo_pickle_text_is(id->list.items[0], "storage")) {
        return bad(file, "a persistent id that is no storage", err);
    }
    tomo_pickle_value **part = id->list.items;
    if (part[1]->kind != TOMO_PICKLE_GLOBAL || globals[part[1]->global].role != ROLE_STORAGE) {
        return bad(file, "a storage without an element type", err);
    }
    if (part[2]->kind != TOMO_PICKLE_TEXT || part[4]->kind != TOMO_PICKLE_INT || part[4]->number < 0) {
        return bad(file, "a storage without key or size", err);
    }
    if (id->list.count == 6 && part[5]->kind != TOMO_PICKLE_NONE) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: storages that are views, as before PyTorch 0.4; save it with a newer version",
                         file);
    }
    tomo_pickle_storage *storage = tomo_arena_alloc(arena, sizeof *storage);
    if (storage == NULL) return tomo_fail_memory(err, file, sizeof *storage);
    *storage = (tomo_pickle_storage){.key = part[2]->text.bytes,
                                     .key_size = part[2]->text.size,
                                     .dtype = globals[part[1]->global].dtype,
                                     .count = part[4]->number};
    *out = storage;
    return TOMO_OK;
}

static bool read_numbers(const tomo_pickle_value *list, int64_t *numbers, int *count) {
    if (list->kind != TOMO_PICKLE_TUPLE && list->kind != TOMO_PICKLE_LIST) return false;
    if (list->list.count > TOMO_LIMIT_RANK) return false;
    for (size_t i = 0; i < list->list.count; i++) {
        const tomo_pickle_value *item = list->list.items[i];
        if (item->kind != TOMO_PICKLE_INT || item->number < 0) return false;
        numbers[i] = item->number;
    }
    *count = (int)list->list.count;
    return true;
}

/* The element farthest into the storage that the view reaches must lie in it. */
static bool lies_in_storage(const tomo_pickle_tensor *t) {
    int64_t last = t->offset, step;
    if (t->count == 0) return t->offset <= t->storage->count;
    for (int i = 0; i < t->rank; i++) {
        if (__builtin_mul_overflow(t->shape[i] - 1, t->stride[i], &step) ||
            __builtin_add_overflow(last, step, &last)) {
            return false;
        }
    }
    return last < t->storage->count;
}

/* (storage, offset, shape, stride, ...): what follows (requires_grad, hooks) plays no part. */
static tomo_status make_tensor(const char *file, const tomo_pickle_value *arguments, tomo_arena *arena,
                               tomo_pickle_value *out, tomo_error *err) {
    tomo_pickle_value **part = arguments->list.items;
    tomo_pickle_tensor t = {0};
    int strides = 0;
    if (arguments->list.count < 4 || arguments->list.count > 7 || part[0]->kind != TOMO_PICKLE_STORAGE ||
        part[1]->kind != TOMO_PICKLE_INT || part[1]->number < 0 || !read_numbers(part[2], t.shape, &t.rank) ||
        !read_numbers(part[3], t.stride, &strides) || strides != t.rank) {
        return bad(file, "a tensor whose storage, offset, shape or stride makes no sense", err);
    }
    t.storage = part[0]->storage;
    t.offset = part[1]->number;
    if (!tomo_shape_count(t.shape, t.rank, &t.count)) {
        return bad(file, "a tensor whose shape has too large a product", err);
    }
    for (int i = 0; i < t.rank; i++) {
        if (t.shape[i] == 1) t.stride[i] = 0; /* never taken, so it may be any number: keep sums small */
    }
    if (!lies_in_storage(&t)) return bad(file, "a tensor that reaches past the end of its storage", err);
    tomo_pickle_tensor *kept = tomo_arena_alloc(arena, sizeof *kept);
    if (kept == NULL) return tomo_fail_memory(err, file, sizeof *kept);
    *kept = t;
    *out = (tomo_pickle_value){.kind = TOMO_PICKLE_TENSOR, .tensor = kept};
    return TOMO_OK;
}

/* OrderedDict() as Python 3 pickles it, or OrderedDict([[key, value], ...]) as Python 2 did. */
static tomo_status make_dict(const char *file, const tomo_pickle_value *arguments, tomo_arena *arena,
                             tomo_pickle_value *out, tomo_error *err) {
    *out = (tomo_pickle_value){.kind = TOMO_PICKLE_DICT};
    if (arguments->list.count == 0) return TOMO_OK;
    const tomo_pickle_value *pairs = arguments->list.items[0];
    size_t count = pairs->kind == TOMO_PICKLE_LIST ? pairs->list.count : 0;
    if (arguments->list.count != 1 || pairs->kind != TOMO_PICKLE_LIST) {
        return bad(file, "an OrderedDict of something else than pairs", err);
    }
    tomo_pickle_value **items = tomo_arena_alloc(arena, count * 2 * sizeof(tomo_pickle_value *));
    if (items == NULL) return tomo_fail_memory(err, file, count * 2 * sizeof *items);
    for (size_t i = 0; i < count; i++) {
        const tomo_pickle_value *pair = pairs->list.items[i];
        if ((pair->kind != TOMO_PICKLE_LIST && pair->kind != TOMO_PICKLE_TUPLE) || pair->list.count != 2) {
            return bad(file, "an OrderedDict of something else than pairs", err);
        }
        items[2 * i] = pair->list.items[0];
        items[2 * i + 1] = pair->list.items[1];
    }
    out->list.items = items;
    out->list.count = out->list.capacity = 2 * count;
    return TOMO_OK;
}

tomo_status tomo_pickle_call(const char *file, int global, tomo_pickle_value *arguments, tomo_arena *arena,
                             tomo_pickle_value **out, tomo_error *err) {
    if (arguments->kind != TOMO_PICKLE_TUPLE) return bad(file, "a call without a tuple of arguments", err);
    tomo_pickle_value made;
    tomo_status status = TOMO_OK;
    switch (globals[global].role) {
    case ROLE_ORDERED_DICT:
        status = make_dict(file, arguments, arena, &made, err);
        break;
    case ROLE_TENSOR:
        status = make_tensor(file, arguments, arena, &made, err);
        break;
    case ROLE_PARAMETER: /* (tensor, requires_grad, hooks) */
    case ROLE_SIZE:      /* (tuple) */
        if (arguments->list.count == 0) return bad(file, "a call without arguments", err);
        *out = arguments->list.items[0];
        return TOMO_OK;
    case ROLE_STORAGE:
        return bad(file, "a storage that is made by a call", err);
    }
    if (status != TOMO_OK) return status;
    *out = tomo_arena_alloc(arena, sizeof **out);
    if (*out == NULL) return tomo_fail_memory(err, file, sizeof **out);
    **out = made;
    return TOMO_OK;
}
