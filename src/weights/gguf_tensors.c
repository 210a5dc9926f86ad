/* The tensors of a GGUF file under the names and in the order of the model's downloaded form. */
#include "weights/gguf_impl.h"
#include "weights/gguf_write.h"

#include "base/size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_NAME 128

/* The format's numbers of tensor types. */
static const struct {
    uint32_t number;
    tomo_dtype dtype;
} types[] = {{0, TOMO_F32},  {1, TOMO_F16},  {30, TOMO_BF16}, {2, TOMO_Q4_0},  {3, TOMO_Q4_1}, {6, TOMO_Q5_0},
             {7, TOMO_Q5_1}, {8, TOMO_Q8_0}, {12, TOMO_Q4_K}, {13, TOMO_Q5_K}, {14, TOMO_Q6_K}};

static const struct {
    const char *gguf, *name;
} whole_names[] = {{"token_embd", "model.embed_tokens"},
                   {"output_norm", "model.norm"},
                   {"output", "lm_head"}},
  layer_names[] = {{"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
                   {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
                   {"attn_output", "self_attn.o_proj"}, {"attn_q_norm", "self_attn.q_norm"},
                   {"attn_k_norm", "self_attn.k_norm"}, {"ffn_norm", "post_attention_layernorm"},
                   {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
                   {"ffn_down", "mlp.down_proj"}};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* Query and key heads whose rows must be put back; 0: they lie as they should. */
typedef struct interleaved {
    int64_t query_heads, key_heads;
} interleaved;

/* "attn_q.weight" -> "self_attn.q_proj" and ".weight"; NULL for others. */
static const char *layer_name(const char *part, const char **ending) {
    *ending = strrchr(part, '.');
    if (*ending == NULL) return NULL;
    size_t length = (size_t)(*ending - part);
    for (size_t i = 0; i < COUNT_OF(layer_names); i++) {
        if (strlen(layer_names[i].gguf) == length && strncmp(part, layer_names[i].gguf, length) == 0)
            return layer_names[i].name;
    }
    return NULL;
}

/* The name in the downloaded form; others keep theirs. */
static void translate(const char *gguf, char out[MOST_NAME + 64]) {
    const char *ending;
    char *rest = NULL;
    if (strncmp(gguf, "blk.", 4) == 0) {
        long layer = strtol(gguf + 4, &rest, 10);
        const char *name = *rest == '.' ? layer_name(rest + 1, &ending) : NULL;
        if (name != NULL && layer >= 0) {
            (void)snprintf(out, MOST_NAME + 64, "model.layers.%ld.%s%s", layer, name, ending);
            return;
        }
    }
    for (size_t i = 0; i < COUNT_OF(whole_names); i++) {
        size_t length = strlen(whole_names[i].gguf);
        if (strncmp(gguf, whole_names[i].gguf, length) == 0 && gguf[length] == '.') {
            (void)snprintf(out, MOST_NAME + 64, "%s%s", whole_names[i].name, gguf + length);
            return;
        }
    }
    (void)snprintf(out, MOST_NAME + 64, "%s", gguf);
}

uint32_t gguf_type_number(tomo_dtype dtype) {
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].dtype == dtype) return types[i].number;
    }
    return UINT32_MAX; /* callers write types of this table alone */
}

bool tomo_gguf_tensor_name(const char *downloaded, char *name) {
    const char *ending = strrchr(downloaded, '.');
    if (ending == NULL) return false;
    size_t length = (size_t)(ending - downloaded);
    for (size_t i = 0; i < COUNT_OF(whole_names); i++) {
        if (strlen(whole_names[i].name) == length && strncmp(whole_names[i].name, downloaded, length) == 0)
            return snprintf(name, MOST_NAME, "%s%s", whole_names[i].gguf, ending) < MOST_NAME;
    }
    char *rest = NULL;
    if (strncmp(downloaded, "model.layers.", 13) != 0) return false;
    long layer = strtol(downloaded + 13, &rest, 10);
    for (size_t i = 0; i < COUNT_OF(layer_names) && *rest == '.'; i++) {
        size_t part = strlen(layer_names[i].name);
        if (strncmp(rest + 1, layer_names[i].name, part) == 0 && rest + 1 + part == ending)
            return snprintf(name, MOST_NAME, "blk.%ld.%s%s", layer, layer_names[i].gguf, ending) < MOST_NAME;
    }
    return false;
}

/* A head's rows (or bias elements) lie as 0, half, 1, half + 1, ...; in order they are 0, 1, .... */
static tomo_status put_rows_back(tomo_checkpoint *c, tomo_stored *t, int64_t heads, gguf_cursor *at) {
    int64_t rows = t->shape[0];
    if (heads < 1 || rows < 1 || rows % (2 * heads) != 0) {
        return gguf_fail(at, TOMO_E_HEADER,
                         "tensor \"%s\" has %lld rows, which %lld heads do not divide evenly", t->name,
                         (long long)rows, (long long)heads);
    }
    size_t bytes = tomo_dtype_bytes(t->dtype, t->count), row = bytes / (size_t)rows;
    unsigned char *copy = NULL;
    tomo_status status = tomo_store_reserve(c, bytes, &copy, &at->error);
    if (status != TOMO_OK) return status;
    int64_t half = rows / heads / 2;
    for (int64_t r = 0; r < rows; r++) {
        int64_t head = r / (2 * half), which = r % (2 * half) / half, i = r % half;
        int64_t from = head * 2 * half + 2 * i + which;
        memcpy(copy + (size_t)r * row, (const unsigned char *)t->data + (size_t)from * row, row);
    }
    t->data = copy;
    return TOMO_OK;
}

/* What the header says of one tensor; its data are found when all are known. */
typedef struct entry {
    char name[MOST_NAME];
    tomo_stored stored; /* dtype TOMO_DTYPE_COUNT: a type that is not read */
    uint32_t type;
    uint64_t offset;
} entry;

static void take_entry(gguf_cursor *c, entry *e) {
    size_t size;
    const char *text = gguf_take_text(c, &size);
    if (text == NULL || size >= MOST_NAME) {
        (void)gguf_fail(c, TOMO_E_LIMIT, "a tensor's name of %zu bytes; fewer than %d are read", size,
                        MOST_NAME);
        return;
    }
    memcpy(e->name, text, size);
    e->name[size] = '\0';
    uint32_t rank = gguf_take_u32(c);
    if (rank < 1 || rank > 4) {
        (void)gguf_fail(c, TOMO_E_HEADER, "tensor \"%s\" has %u axes; 1 to 4 are known", e->name,
                        (unsigned)rank);
        return;
    }
    e->stored = (tomo_stored){.rank = (int)rank, .dtype = TOMO_DTYPE_COUNT};
    for (uint32_t i = 0; i < rank; i++) { /* the fastest axis first */
        uint64_t length = gguf_take_u64(c);
        e->stored.shape[rank - 1 - i] = length > INT64_MAX ? -1 : (int64_t)length;
    }
    e->type = gguf_take_u32(c);
    e->offset = gguf_take_u64(c);
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].number == e->type) e->stored.dtype = types[i].dtype;
    }
    if (c->error.status == TOMO_OK && !tomo_shape_count(e->stored.shape, e->stored.rank, &e->stored.count))
        (void)gguf_fail(c, TOMO_E_HEADER, "tensor \"%s\" is too large", e->name);
}

static tomo_status add_tensor(tomo_checkpoint *c, gguf_cursor *at, const unsigned char *data, entry *e,
                              interleaved heads) {
    char name[MOST_NAME + 64], type[24];
    translate(e->name, name);
    tomo_stored *t = &e->stored;
    t->name = name;
    if (t->dtype == TOMO_DTYPE_COUNT) {
        (void)snprintf(type, sizeof type, "GGUF %u", (unsigned)e->type);
        return tomo_store_add_unread(c, name, type, &at->error);
    }
    int64_t block = tomo_dtype_block(t->dtype), width = t->shape[t->rank - 1];
    if (width % block != 0) {
        return gguf_fail(at, TOMO_E_HEADER, "tensor \"%s\" has rows of %lld in blocks of %lld", e->name,
                         (long long)width, (long long)block);
    }
    /* count < 2^63 and at least half a byte each: the bytes fit a size. */
    size_t bytes = tomo_dtype_bytes(t->dtype, t->count), left = (size_t)(at->end - data);
    if (t->count / block > INT64_MAX / 256 || e->offset > left || bytes > left - e->offset) {
        return gguf_fail(at, TOMO_E_TRUNCATED, "tensor \"%s\" lies beyond the end of the file", e->name);
    }
    const unsigned char *place = data + e->offset;
    size_t alignment = block > 1 ? 1 : tomo_dtype_size(t->dtype);
    tomo_status status = tomo_store_align(c, &place, bytes, alignment, &at->error);
    t->data = place;
    const char *end = strrchr(name, '.');
    size_t length = end == NULL ? 0 : (size_t)(end - name);
    bool query = length > 6 && strncmp(name + length - 6, "q_proj", 6) == 0;
    bool key = length > 6 && strncmp(name + length - 6, "k_proj", 6) == 0;
    if (status == TOMO_OK && query && heads.query_heads > 0)
        status = put_rows_back(c, t, heads.query_heads, at);
    if (status == TOMO_OK && key && heads.key_heads > 0) status = put_rows_back(c, t, heads.key_heads, at);
    return status == TOMO_OK ? tomo_store_add(c, t, &at->error) : status;
}

static tomo_status find_heads(gguf_cursor *c, const cJSON *metadata, interleaved *heads) {
    const cJSON *name = tomo_json_get(metadata, "general.architecture");
    *heads = (interleaved){0, 0};
    if (!cJSON_IsString(name)) return gguf_fail(c, TOMO_E_HEADER, "no general.architecture in it");
    const char *architecture = name->valuestring;
    if (strcmp(architecture, "qwen2") == 0 || strcmp(architecture, "qwen3") == 0) return TOMO_OK;
    if (strcmp(architecture, "llama") != 0) {
        return gguf_fail(c, TOMO_E_UNSUPPORTED, "architecture \"%.40s\"; llama, qwen2 or qwen3 is wanted",
                         architecture);
    }
    const cJSON *kv = tomo_json_get(metadata, "llama.attention.head_count_kv");
    if (!tomo_json_whole(tomo_json_get(metadata, "llama.attention.head_count"), 1, 4096, &heads->query_heads))
        return gguf_fail(c, TOMO_E_HEADER, "llama.attention.head_count must be 1 to 4096");
    heads->key_heads = heads->query_heads;
    if (kv != NULL && !tomo_json_whole(kv, 1, 4096, &heads->key_heads))
        return gguf_fail(c, TOMO_E_HEADER, "llama.attention.head_count_kv must be 1 to 4096");
    return TOMO_OK;
}

static tomo_status read_entries(tomo_checkpoint *c, gguf_cursor *at, uint64_t count, uint64_t alignment,
                                interleaved heads) {
    /* The smallest entry: a name of no bytes, one axis, type and offset. */
    if (count > (uint64_t)(at->end - at->at) / 32)
        return gguf_fail(at, TOMO_E_TRUNCATED, "%llu tensors in a file that is too short",
                         (unsigned long long)count);
    entry *entries = calloc((size_t)count + 1, sizeof *entries);
    if (entries == NULL) return tomo_fail_memory(&at->error, at->file, (size_t)count * sizeof *entries);
    for (uint64_t i = 0; i < count && at->error.status == TOMO_OK; i++) take_entry(at, &entries[i]);
    uint64_t header = (uint64_t)(at->at - at->begin), size = (uint64_t)(at->end - at->begin);
    uint64_t start = (header + alignment - 1) / alignment * alignment;
    const unsigned char *data = at->begin + (start < size ? start : size);
    for (uint64_t i = 0; i < count && at->error.status == TOMO_OK; i++)
        (void)add_tensor(c, at, data, &entries[i], heads);
    free(entries);
    return at->error.status;
}

tomo_status tomo_gguf_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                           tomo_error *err) {
    gguf_cursor at;
    uint64_t tensors, keys;
    int64_t alignment = 32;
    interleaved heads;
    cJSON *metadata = NULL;
    if (gguf_begin(file, bytes, size, &at, &tensors, &keys) == TOMO_OK)
        metadata = gguf_take_metadata(&at, keys);
    if (metadata != NULL) {
        const cJSON *given = tomo_json_get(metadata, "general.alignment");
        if (given != NULL && !tomo_json_whole(given, 1, 1 << 20, &alignment))
            (void)gguf_fail(&at, TOMO_E_HEADER, "general.alignment must be 1 to 1048576");
        if (at.error.status == TOMO_OK && find_heads(&at, metadata, &heads) == TOMO_OK)
            (void)read_entries(c, &at, tensors, (uint64_t)alignment, heads);
    }
    cJSON_Delete(metadata);
    if (at.error.status != TOMO_OK && err != NULL) *err = at.error;
    return at.error.status;
}
