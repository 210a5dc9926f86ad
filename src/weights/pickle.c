/* The stack machine of Python's pickle format, reduced to data. Opcodes as in Lib/pickletools.py. */
#include "weights/pickle.h"

#include "base/size.h"

#include <stdlib.h>
#include <string.h>

/* A tensor takes about 40 opcodes, so this is twice what TOMO_LIMIT_TENSORS asks for. */
#define LIMIT_OPCODES ((size_t)80 * TOMO_LIMIT_TENSORS)

typedef tomo_pickle_value value;

typedef struct machine {
    const char *file;
    const unsigned char *at, *end;
    tomo_arena *arena;
    value **stack;
    size_t depth, stack_capacity;
    size_t *marks; /* stack depths */
    size_t mark_count, mark_capacity;
    value **memo;
    size_t memo_count, memo_capacity;
    const tomo_pickle_storage *storages;
    size_t storage_count;
    tomo_error *err;
} machine;

static tomo_status bad(const machine *m, const char *what) {
    return tomo_fail(m->err, TOMO_E_FORMAT, "%s: damaged pickle: %s", m->file, what);
}

static tomo_status truncated(const machine *m) {
    return tomo_fail(m->err, TOMO_E_TRUNCATED, "%s: the pickle ends early", m->file);
}

static tomo_status grow(const machine *m, void **items, size_t count, size_t *capacity, size_t item_size) {
    if (count < *capacity) return TOMO_OK;
    size_t wanted = *capacity == 0 ? 256 : *capacity * 2;
    void *grown = realloc(*items, wanted * item_size);
    if (grown == NULL) return tomo_fail_memory(m->err, m->file, wanted * item_size);
    *items = grown;
    *capacity = wanted;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ reading */

static tomo_status take(machine *m, size_t size, const unsigned char **bytes) {
    if (size > (size_t)(m->end - m->at)) return truncated(m);
    *bytes = m->at;
    m->at += size;
    return TOMO_OK;
}

/* A little-endian number of `size` (1 to 8) bytes. */
static tomo_status take_number(machine *m, size_t size, uint64_t *number) {
    const unsigned char *bytes = NULL;
    tomo_status status = take(m, size, &bytes);
    *number = 0;
    for (size_t i = size; status == TOMO_OK && i > 0; i--) *number = *number << 8 | bytes[i - 1];
    return status;
}

/* A text up to a line feed, which is not part of it. */
static tomo_status take_line(machine *m, const char **line, size_t *size) {
    const unsigned char *feed = memchr(m->at, '\n', (size_t)(m->end - m->at));
    if (feed == NULL) return truncated(m);
    *line = (const char *)m->at;
    *size = (size_t)(feed - m->at);
    m->at = feed + 1;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ stack */

static tomo_status push(machine *m, value *v) {
    void *items = m->stack;
    tomo_status status = grow(m, &items, m->depth, &m->stack_capacity, sizeof *m->stack);
    m->stack = items;
    if (status == TOMO_OK) m->stack[m->depth++] = v;
    return status;
}

static tomo_status push_new(machine *m, value made) {
    value *v = tomo_arena_alloc(m->arena, sizeof *v);
    if (v == NULL) return tomo_fail_memory(m->err, m->file, sizeof *v);
    *v = made;
    return push(m, v);
}

/* Values above the last mark belong to what is being collected; only they may be taken. */
static size_t floor_of(const machine *m) {
    return m->mark_count == 0 ? 0 : m->marks[m->mark_count - 1];
}

static tomo_status pop(machine *m, value **v) {
    if (m->depth <= floor_of(m)) return bad(m, "more is taken from its stack than was put there");
    *v = m->stack[--m->depth];
    return TOMO_OK;
}

static tomo_status top(const machine *m, value **v) {
    if (m->depth <= floor_of(m)) return bad(m, "its stack is empty");
    *v = m->stack[m->depth - 1];
    return TOMO_OK;
}

static tomo_status push_mark(machine *m) {
    void *items = m->marks;
    tomo_status status = grow(m, &items, m->mark_count, &m->mark_capacity, sizeof *m->marks);
    m->marks = items;
    if (status == TOMO_OK) m->marks[m->mark_count++] = m->depth;
    return status;
}

/* The values since the last mark; they stay in the stack's memory until the next push. */
static tomo_status pop_mark(machine *m, value ***items, size_t *count) {
    if (m->mark_count == 0) return bad(m, "a mark is missing");
    size_t from = m->marks[--m->mark_count];
    *items = m->stack == NULL ? NULL : m->stack + from;
    *count = m->depth - from;
    m->depth = from;
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ containers */

static tomo_status append(const machine *m, value *list, value *const *items, size_t count) {
    if (count == 0) return TOMO_OK;
    size_t needed = list->list.count + count;
    if (needed > list->list.capacity) {
        size_t capacity = list->list.capacity * 2 > needed ? list->list.capacity * 2 : needed;
        value **grown = tomo_arena_alloc(m->arena, capacity * sizeof(value *));
        if (grown == NULL) return tomo_fail_memory(m->err, m->file, capacity * sizeof(value *));
        if (list->list.count > 0) memcpy(grown, list->list.items, list->list.count * sizeof(value *));
        list->list.items = grown;
        list->list.capacity = capacity;
    }
    memcpy(list->list.items + list->list.count, items, count * sizeof(value *));
    list->list.count = needed;
    return TOMO_OK;
}

static tomo_status push_tuple(machine *m, value *const *items, size_t count) {
    value tuple = {.kind = TOMO_PICKLE_TUPLE};
    tomo_status status = append(m, &tuple, items, count);
    return status == TOMO_OK ? push_new(m, tuple) : status;
}

static tomo_status short_tuple(machine *m, size_t count) {
    if (m->depth - floor_of(m) < count) return bad(m, "more is taken from its stack than was put there");
    m->depth -= count;
    return push_tuple(m, m->stack + m->depth, count);
}

/* Adds `count` values to the list or (as keys and values) dict on top of the stack. */
static tomo_status add_to_top(machine *m, value *const *items, size_t count, tomo_pickle_kind kind) {
    value *target = NULL;
    tomo_status status = top(m, &target);
    if (status != TOMO_OK) return status;
    if (target->kind != kind) return bad(m, "values are added to what is no list or dict");
    if (kind == TOMO_PICKLE_DICT && count % 2 != 0) return bad(m, "a key without a value");
    return append(m, target, items, count);
}

static tomo_status add_marked(machine *m, tomo_pickle_kind kind) {
    value **items = NULL;
    size_t count = 0;
    tomo_status status = pop_mark(m, &items, &count);
    return status == TOMO_OK ? add_to_top(m, items, count, kind) : status;
}

static tomo_status add_last(machine *m, size_t count, tomo_pickle_kind kind) {
    if (m->depth - floor_of(m) < count) return bad(m, "more is taken from its stack than was put there");
    m->depth -= count;
    return add_to_top(m, m->stack + m->depth, count, kind);
}

/* ------------------------------------------------------------------------------ memo */

/* Python numbers memo entries as they come, so an index is at most the number of entries. */
static tomo_status memo_put(machine *m, size_t index) {
    value *v = NULL;
    tomo_status status = top(m, &v);
    if (status != TOMO_OK) return status;
    if (index > m->memo_count) return bad(m, "a memo index out of order");
    if (index == m->memo_count) {
        void *items = m->memo;
        status = grow(m, &items, m->memo_count, &m->memo_capacity, sizeof *m->memo);
        m->memo = items;
        if (status != TOMO_OK) return status;
        m->memo_count++;
    }
    m->memo[index] = v;
    return TOMO_OK;
}

static tomo_status memo_get(machine *m, size_t index) {
    if (index >= m->memo_count) return bad(m, "a memo index that was never set");
    return push(m, m->memo[index]);
}

/* ------------------------------------------------------------------------------ scalars and texts */

static tomo_status push_text(machine *m, size_t length_size, tomo_pickle_kind kind) {
    uint64_t size = 0;
    value v = {.kind = kind};
    tomo_status status = take_number(m, length_size, &size);
    if (status == TOMO_OK && size > (uint64_t)(m->end - m->at)) status = truncated(m);
    if (status == TOMO_OK) status = take(m, (size_t)size, &v.text.bytes);
    v.text.size = (size_t)size;
    return status == TOMO_OK ? push_new(m, v) : status;
}

static tomo_status push_unsigned(machine *m, size_t size) {
    uint64_t number = 0;
    tomo_status status = take_number(m, size, &number);
    if (status != TOMO_OK) return status;
    if (size == 4) number = (uint64_t)(int64_t)(int32_t)(uint32_t)number; /* BININT alone is signed */
    return push_new(m, (value){.kind = TOMO_PICKLE_INT, .number = (int64_t)number});
}

/* Two's complement, little endian; longer than int64 stays as bytes. */
static tomo_status push_long(machine *m, size_t length_size) {
    uint64_t size = 0, number = 0;
    const unsigned char *bytes = NULL;
    tomo_status status = take_number(m, length_size, &size);
    if (status == TOMO_OK) status = take(m, (size_t)size, &bytes);
    if (status != TOMO_OK) return status;
    if (size > 8) {
        return push_new(m, (value){.kind = TOMO_PICKLE_BYTES, .text = {bytes, (size_t)size}});
    }
    if (size > 0 && bytes[size - 1] >= 0x80) number = UINT64_MAX;
    for (size_t i = (size_t)size; i > 0; i--) number = number << 8 | bytes[i - 1];
    return push_new(m, (value){.kind = TOMO_PICKLE_INT, .number = (int64_t)number});
}

static tomo_status push_float(machine *m) {
    const unsigned char *bytes = NULL;
    tomo_status status = take(m, 8, &bytes);
    if (status != TOMO_OK) return status;
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++) bits = bits << 8 | bytes[i]; /* big endian */
    value v = {.kind = TOMO_PICKLE_FLOAT};
    memcpy(&v.real, &bits, sizeof v.real);
    return push_new(m, v);
}

/* ------------------------------------------------------------------------------ globals and calls */

static tomo_status push_global(machine *m, const char *module, size_t module_size, const char *name,
                               size_t name_size) {
    int global = tomo_pickle_global(module, module_size, name, name_size);
    if (global >= 0) return push_new(m, (value){.kind = TOMO_PICKLE_GLOBAL, .global = global});
    int shown_module = module_size > 60 ? 60 : (int)module_size;
    int shown_name = name_size > 60 ? 60 : (int)name_size;
    return tomo_fail(m->err, TOMO_E_UNSUPPORTED,
                     "%s: the pickle asks for \"%.*s.%.*s\"; only plain tensors in a state dict are read",
                     m->file, shown_module, module, shown_name, name);
}

static tomo_status global_from_lines(machine *m) {
    const char *module = NULL, *name = NULL;
    size_t module_size = 0, name_size = 0;
    tomo_status status = take_line(m, &module, &module_size);
    if (status == TOMO_OK) status = take_line(m, &name, &name_size);
    return status == TOMO_OK ? push_global(m, module, module_size, name, name_size) : status;
}

static tomo_status global_from_stack(machine *m) {
    value *module = NULL, *name = NULL;
    tomo_status status = pop(m, &name);
    if (status == TOMO_OK) status = pop(m, &module);
    if (status != TOMO_OK) return status;
    if (module->kind != TOMO_PICKLE_TEXT || name->kind != TOMO_PICKLE_TEXT) {
        return bad(m, "a global whose name is no text");
    }
    return push_global(m, (const char *)module->text.bytes, module->text.size, (const char *)name->text.bytes,
                       name->text.size);
}

static tomo_status reduce(machine *m) {
    value *arguments = NULL, *callee = NULL, *made = NULL;
    tomo_status status = pop(m, &arguments);
    if (status == TOMO_OK) status = pop(m, &callee);
    if (status != TOMO_OK) return status;
    if (callee->kind != TOMO_PICKLE_GLOBAL) return bad(m, "a call of what is no function");
    status = tomo_pickle_call(m->file, callee->global, arguments, m->arena, &made, m->err);
    return status == TOMO_OK ? push(m, made) : status;
}

/* The state of a state dict is its "_metadata" (versions of modules), which no tensor depends on. */
static tomo_status build(machine *m) {
    value *state = NULL, *target = NULL;
    tomo_status status = pop(m, &state);
    if (status == TOMO_OK) status = top(m, &target);
    if (status == TOMO_OK && target->kind != TOMO_PICKLE_DICT) return bad(m, "a state for what is no dict");
    return status;
}

static tomo_status push_storage(machine *m) {
    value *id = NULL;
    tomo_pickle_storage *storage = NULL;
    tomo_status status = pop(m, &id);
    if (status == TOMO_OK) status = tomo_pickle_make_storage(m->file, id, m->arena, &storage, m->err);
    if (status != TOMO_OK) return status;
    storage->next = m->storages;
    m->storages = storage;
    m->storage_count++;
    return push_new(m, (value){.kind = TOMO_PICKLE_STORAGE, .storage = storage});
}

/* ------------------------------------------------------------------------------ opcodes */

static tomo_status protocol(machine *m) {
    uint64_t version = 0;
    tomo_status status = take_number(m, 1, &version);
    if (status == TOMO_OK && (version < 2 || version > 5)) {
        return tomo_fail(m->err, TOMO_E_UNSUPPORTED, "%s: pickle protocol %d; 2 to 5 are read", m->file,
                         (int)version);
    }
    return status;
}

static tomo_status indexed(machine *m, size_t size, tomo_status (*act)(machine *, size_t)) {
    uint64_t index = 0;
    tomo_status status = take_number(m, size, &index);
    return status == TOMO_OK ? act(m, (size_t)index) : status;
}

static tomo_status stack_opcode(machine *m, unsigned char opcode) {
    value *v = NULL, **items = NULL;
    size_t count = 0;
    uint64_t skipped = 0;
    tomo_status status = TOMO_OK;
    switch (opcode) {
    case 0x80: /* PROTO */
        return protocol(m);
    case 0x95: /* FRAME: how many bytes a reader may fetch at once */
        return take_number(m, 8, &skipped);
    case '(': /* MARK */
        return push_mark(m);
    case '0': /* POP */
        return pop(m, &v);
    case '1': /* POP_MARK */
        return pop_mark(m, &items, &count);
    case '2': /* DUP */
        status = top(m, &v);
        return status == TOMO_OK ? push(m, v) : status;
    case 'q': /* BINPUT */
        return indexed(m, 1, memo_put);
    case 'r': /* LONG_BINPUT */
        return indexed(m, 4, memo_put);
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->memo_count);
    case 'h': /* BINGET */
        return indexed(m, 1, memo_get);
    case 'j': /* LONG_BINGET */
        return indexed(m, 4, memo_get);
    default:
        return tomo_fail(m->err, TOMO_E_UNSUPPORTED,
                         "%s: pickle opcode 0x%02x; only what a state dict needs is read", m->file, opcode);
    }
}

static tomo_status container_opcode(machine *m, unsigned char opcode) {
    value **items = NULL;
    size_t count = 0;
    tomo_status status = TOMO_OK;
    switch (opcode) {
    case ')': /* EMPTY_TUPLE */
        return push_tuple(m, NULL, 0);
    case 0x85: /* TUPLE1, TUPLE2, TUPLE3 */
    case 0x86:
    case 0x87:
        return short_tuple(m, (size_t)opcode - 0x84);
    case 't': /* TUPLE */
        status = pop_mark(m, &items, &count);
        return status == TOMO_OK ? push_tuple(m, items, count) : status;
    case ']': /* EMPTY_LIST */
        return push_new(m, (value){.kind = TOMO_PICKLE_LIST});
    case 'a': /* APPEND */
        return add_last(m, 1, TOMO_PICKLE_LIST);
    case 'e': /* APPENDS */
        return add_marked(m, TOMO_PICKLE_LIST);
    case '}': /* EMPTY_DICT */
        return push_new(m, (value){.kind = TOMO_PICKLE_DICT});
    case 's': /* SETITEM */
        return add_last(m, 2, TOMO_PICKLE_DICT);
    case 'u': /* SETITEMS */
        return add_marked(m, TOMO_PICKLE_DICT);
    case 'c': /* GLOBAL */
        return global_from_lines(m);
    case 0x93: /* STACK_GLOBAL */
        return global_from_stack(m);
    case 'R': /* REDUCE */
        return reduce(m);
    case 'b': /* BUILD */
        return build(m);
    case 'Q': /* BINPERSID */
        return push_storage(m);
    default:
        return stack_opcode(m, opcode);
    }
}

static tomo_status run_opcode(machine *m, unsigned char opcode) {
    switch (opcode) {
    case 'N': /* NONE */
        return push_new(m, (value){.kind = TOMO_PICKLE_NONE});
    case 0x88: /* NEWTRUE, NEWFALSE */
    case 0x89:
        return push_new(m, (value){.kind = TOMO_PICKLE_BOOL, .number = opcode == 0x88});
    case 'K': /* BININT1 */
        return push_unsigned(m, 1);
    case 'M': /* BININT2 */
        return push_unsigned(m, 2);
    case 'J': /* BININT */
        return push_unsigned(m, 4);
    case 0x8a: /* LONG1 */
        return push_long(m, 1);
    case 0x8b: /* LONG4 */
        return push_long(m, 4);
    case 'G': /* BINFLOAT */
        return push_float(m);
    case 0x8c: /* SHORT_BINUNICODE */
        return push_text(m, 1, TOMO_PICKLE_TEXT);
    case 'X': /* BINUNICODE */
        return push_text(m, 4, TOMO_PICKLE_TEXT);
    case 0x8d: /* BINUNICODE8 */
        return push_text(m, 8, TOMO_PICKLE_TEXT);
    case 'U': /* SHORT_BINSTRING, BINSTRING: texts of Python 2 */
        return push_text(m, 1, TOMO_PICKLE_TEXT);
    case 'T':
        return push_text(m, 4, TOMO_PICKLE_TEXT);
    case 'C': /* SHORT_BINBYTES */
        return push_text(m, 1, TOMO_PICKLE_BYTES);
    case 'B': /* BINBYTES */
        return push_text(m, 4, TOMO_PICKLE_BYTES);
    default:
        return container_opcode(m, opcode);
    }
}

static tomo_status run(machine *m, const value **result) {
    for (size_t opcodes = 0; opcodes < LIMIT_OPCODES; opcodes++) {
        const unsigned char *opcode = NULL;
        tomo_status status = take(m, 1, &opcode);
        if (status != TOMO_OK) return status;
        if (*opcode == '.') { /* STOP */
            value *v = NULL;
            status = pop(m, &v);
            *result = v;
            return status;
        }
        status = run_opcode(m, *opcode);
        if (status != TOMO_OK) return status;
    }
    return tomo_fail(m->err, TOMO_E_LIMIT, "%s: a pickle of more than %zu opcodes", m->file, LIMIT_OPCODES);
}

tomo_status tomo_pickle_read(const char *file, const unsigned char *bytes, size_t size, tomo_arena *arena,
                             tomo_pickle *pickle, tomo_error *err) {
    machine m = {
        .file = file, .at = bytes, .end = size == 0 ? bytes : bytes + size, .arena = arena, .err = err};
    *pickle = (tomo_pickle){0};
    if (size == 0) return truncated(&m); /* bytes may be NULL */
    tomo_status status = run(&m, &pickle->root);
    pickle->storages = m.storages;
    pickle->storage_count = m.storage_count;
    pickle->consumed = (size_t)(m.at - bytes);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    return status;
}

bool tomo_pickle_text_is(const value *v, const char *text) {
    return v->kind == TOMO_PICKLE_TEXT && v->text.size == strlen(text) &&
           memcmp(v->text.bytes, text, v->text.size) == 0;
}

const value *tomo_pickle_get(const value *dict, const char *key) {
    if (dict->kind != TOMO_PICKLE_DICT) return NULL;
    for (size_t i = dict->list.count; i >= 2; i -= 2) {
        if (tomo_pickle_text_is(dict->list.items[i - 2], key)) return dict->list.items[i - 1];
    }
    return NULL;
}
