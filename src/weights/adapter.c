/* PEFT's LoRA adapters, as save_pretrained of peft 0.6 and later writes them. */
#include "weights/adapter.h"

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <math.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

/* Steps that one pattern of rank_pattern may take to match one module: real ones take a few hundred. */
#define LIMIT_MATCH_STEPS 100000
/* A rank is at most the width of a layer; the widest public model has 53248. */
#define LIMIT_RANK 65536
/* Entries of rank_pattern or alpha_pattern; one for each linear layer of a large model would be 1000. */
#define LIMIT_PATTERNS 4096

/* One entry of rank_pattern or alpha_pattern. */
typedef struct pattern {
    pcre2_code *code;
    double value;
} pattern;

typedef struct patterns {
    pattern *items;
    size_t count;
} patterns;

struct tomo_adapter {
    char *config_path;
    cJSON *config;
    tomo_checkpoint *checkpoint;
    double rank, alpha;
    bool rslora;
    patterns ranks, alphas;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    tomo_adapter_target *targets;
    size_t count;
};

static void patterns_free(patterns *p) {
    for (size_t i = 0; i < p->count; i++) pcre2_code_free(p->items[i].code);
    free(p->items);
}

void tomo_adapter_free(tomo_adapter *a) {
    if (a == NULL) return;
    for (size_t i = 0; i < a->count; i++) free((char *)(uintptr_t)a->targets[i].module);
    free(a->targets);
    patterns_free(&a->ranks);
    patterns_free(&a->alphas);
    pcre2_match_data_free(a->match);
    pcre2_match_context_free(a->limits);
    tomo_checkpoint_free(a->checkpoint);
    cJSON_Delete(a->config);
    free(a->config_path);
    free(a);
}

/* ------------------------------------------------------------------------------ config */

/* Keys that are read, or that say nothing about the result once the adapter's tensors are known. Every other
 * key must be switched off, so that a kind of adapter that this version has not heard of is refused. */
static const char *const harmless[] = {
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "ensure_weight_tying",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "rank_pattern",
    "revision",
    "runtime_config",
    "target_modules",
    "task_type",
    "use_rslora",
};

static bool is_harmless(const char *key) {
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++) {
        if (strcmp(harmless[i], key) == 0) return true;
    }
    return false;
}

static bool is_off(const cJSON *value) {
    return cJSON_IsNull(value) || cJSON_IsFalse(value) ||
           ((cJSON_IsArray(value) || cJSON_IsObject(value)) && value->child == NULL);
}

static tomo_status refuse(const tomo_adapter *a, const char *key, const char *wanted, tomo_error *err) {
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: \"%.80s\" is set, which is not applied; %s",
                     a->config_path, key, wanted);
}

/* Some ways to start an adapter (PiSSA, OLoRA, LoftQ, CorDA) also change the base model's weights. */
static bool is_plain_start(const cJSON *value) {
    if (value == NULL || cJSON_IsBool(value)) return true;
    static const char *const names[] = {"gaussian", "orthogonal", "eva"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (cJSON_IsString(value) && strcmp(value->valuestring, names[i]) == 0) return true;
    }
    return false;
}

static tomo_status check_config(const tomo_adapter *a, tomo_error *err) {
    const char *type = "", *bias = "none";
    tomo_json_at at = {a->config_path, ""};
    tomo_status status = tomo_json_text(a->config, "peft_type", at, true, &type, err);
    if (status == TOMO_OK) status = tomo_json_text(a->config, "bias", at, false, &bias, err);
    if (status != TOMO_OK) return status;
    if (strcmp(type, "LORA") != 0) return refuse(a, "peft_type", "\"LORA\" is wanted", err);
    if (strcmp(bias, "none") != 0) return refuse(a, "bias", "\"none\" is wanted", err);
    if (!is_plain_start(tomo_json_get(a->config, "init_lora_weights"))) {
        return refuse(a, "init_lora_weights", "a start that leaves the base model as it is is wanted", err);
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, a->config) {
        if (!is_harmless(item->string) && !is_off(item)) {
            return refuse(a, item->string, "a plain LoRA adapter is wanted", err);
        }
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ patterns */

/* PEFT matches a module path with re.match(r"(.*\.)?(KEY)$"). */
static tomo_status compile(const tomo_adapter *a, const char *key, pcre2_code **code, tomo_error *err) {
    size_t size = strlen(key) + 32;
    char *text = malloc(size);
    if (text == NULL) return tomo_fail_memory(err, a->config_path, size);
    (void)snprintf(text, size, "(.*\\.)?(%s)$", key);
    int error = 0;
    PCRE2_SIZE where = 0;
    *code = pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, PCRE2_ANCHORED | PCRE2_UTF, &error, &where,
                          NULL);
    free(text);
    if (*code != NULL) return TOMO_OK;
    return tomo_fail(err, TOMO_E_HEADER, "%s: \"%.80s\" is no regular expression", a->config_path, key);
}

static tomo_status read_patterns(tomo_adapter *a, const char *name, double low, double high, patterns *out,
                                 tomo_error *err) {
    const cJSON *object = tomo_json_get(a->config, name), *item;
    tomo_json_at at = {a->config_path, name};
    if (object == NULL) return TOMO_OK;
    if (cJSON_GetArraySize(object) > LIMIT_PATTERNS) return refuse(a, name, "fewer entries are wanted", err);
    out->items = calloc((size_t)cJSON_GetArraySize(object) + 1, sizeof *out->items);
    if (out->items == NULL) return tomo_fail_memory(err, a->config_path, sizeof *out->items);
    cJSON_ArrayForEach(item, object) {
        if (item->string == NULL) return refuse(a, name, "names and numbers are wanted", err);
        pattern *p = &out->items[out->count];
        tomo_status status = tomo_json_double(object, item->string, at, true, low, high, &p->value, err);
        if (status == TOMO_OK) status = compile(a, item->string, &p->code, err);
        if (status != TOMO_OK) return status;
        out->count++;
    }
    return TOMO_OK;
}

/* The value of the first pattern that matches, or *value as it is. */
static tomo_status look_up(const tomo_adapter *a, const patterns *p, const char *module, double *value,
                           tomo_error *err) {
    for (size_t i = 0; i < p->count; i++) {
        int found =
            pcre2_match(p->items[i].code, (PCRE2_SPTR)module, strlen(module), 0, 0, a->match, a->limits);
        if (found >= 0) {
            *value = p->items[i].value;
            return TOMO_OK;
        }
        if (found != PCRE2_ERROR_NOMATCH) {
            return tomo_fail(err, TOMO_E_LIMIT, "%s: a pattern takes too long to match \"%.100s\"",
                             a->config_path, module);
        }
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ tensors */

#define PREFIX "base_model.model."
#define TAIL_A ".lora_A.weight"
#define TAIL_B ".lora_B.weight"

static tomo_status wrong_tensor(const tomo_adapter *a, const char *name, const char *what, tomo_error *err) {
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: tensor \"%.120s\": %s",
                     tomo_checkpoint_path(a->checkpoint), name, what);
}

static const tomo_stored *find_partner(const tomo_adapter *a, const char *name) {
    char *other = strdup(name);
    if (other == NULL) return NULL;
    other[strlen(name) - strlen("A.weight")] = 'B';
    const tomo_stored *found = tomo_checkpoint_find(a->checkpoint, other);
    free(other);
    return found;
}

static tomo_status find_scale(const tomo_adapter *a, tomo_adapter_target *t, tomo_error *err) {
    double rank = a->rank, alpha = a->alpha;
    tomo_status status = look_up(a, &a->ranks, t->module, &rank, err);
    if (status == TOMO_OK) status = look_up(a, &a->alphas, t->module, &alpha, err);
    if (status != TOMO_OK) return status;
    if (rank != (double)t->a->shape[0]) {
        return wrong_tensor(a, t->a->name, "its rank is not the one that the config gives", err);
    }
    t->scale = a->rslora ? alpha / sqrt(rank) : alpha / rank;
    return TOMO_OK;
}

static tomo_status add_target(tomo_adapter *a, const tomo_stored *lora_a, tomo_error *err) {
    const tomo_stored *lora_b = find_partner(a, lora_a->name);
    if (strncmp(lora_a->name, PREFIX, strlen(PREFIX)) != 0) {
        return wrong_tensor(a, lora_a->name, "its name does not begin with \"" PREFIX "\"", err);
    }
    if (lora_b == NULL) return wrong_tensor(a, lora_a->name, "has no lora_B", err);
    if (lora_a->rank != 2 || lora_b->rank != 2 || lora_a->shape[0] != lora_b->shape[1] ||
        lora_a->count == 0 || lora_b->count == 0) {
        return wrong_tensor(a, lora_a->name, "no [rank, in] with a lora_B [out, rank]", err);
    }
    tomo_adapter_target *t = &a->targets[a->count];
    *t = (tomo_adapter_target){.a = lora_a, .b = lora_b};
    const char *from = lora_a->name + strlen(PREFIX);
    if (strlen(from) <= strlen(TAIL_A)) return wrong_tensor(a, lora_a->name, "names no module", err);
    t->module = strndup(from, strlen(from) - strlen(TAIL_A));
    if (t->module == NULL) return tomo_fail_memory(err, a->config_path, strlen(from));
    a->count++;
    return find_scale(a, t, err);
}

static tomo_status read_targets(tomo_adapter *a, tomo_error *err) {
    size_t count = tomo_checkpoint_count(a->checkpoint), partners = 0;
    a->targets = calloc(count + 1, sizeof *a->targets);
    if (a->targets == NULL) return tomo_fail_memory(err, a->config_path, count * sizeof *a->targets);
    for (size_t i = 0; i < count; i++) {
        const tomo_stored *t = tomo_checkpoint_at(a->checkpoint, i);
        tomo_status status = TOMO_OK;
        if (tomo_ends_with(t->name, TAIL_A)) {
            status = add_target(a, t, err);
        } else if (tomo_ends_with(t->name, TAIL_B)) {
            partners++;
        } else {
            status = wrong_tensor(a, t->name, "neither lora_A.weight nor lora_B.weight; not applied", err);
        }
        if (status != TOMO_OK) return status;
    }
    if (partners != a->count || a->count == 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: %zu lora_A and %zu lora_B; as many of both are wanted",
                         tomo_checkpoint_path(a->checkpoint), a->count, partners);
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ opening */

static tomo_status read_config(tomo_adapter *a, const char *folder, tomo_error *err) {
    a->config_path = tomo_path_join(folder, "adapter_config.json");
    a->limits = pcre2_match_context_create(NULL);
    a->match = pcre2_match_data_create(4, NULL);
    if (a->config_path == NULL || a->limits == NULL || a->match == NULL) {
        return tomo_fail_memory(err, folder, strlen(folder));
    }
    (void)pcre2_set_match_limit(a->limits, LIMIT_MATCH_STEPS);
    tomo_json_at at = {a->config_path, ""};
    tomo_status status = tomo_json_open(a->config_path, &a->config, err);
    if (status == TOMO_OK) status = check_config(a, err);
    if (status == TOMO_OK) status = tomo_json_double(a->config, "r", at, true, 1, LIMIT_RANK, &a->rank, err);
    if (status == TOMO_OK) {
        status = tomo_json_double(a->config, "lora_alpha", at, true, -1e6, 1e6, &a->alpha, err);
    }
    if (status == TOMO_OK) status = tomo_json_bool(a->config, "use_rslora", at, false, &a->rslora, err);
    if (status == TOMO_OK) status = read_patterns(a, "rank_pattern", 1, LIMIT_RANK, &a->ranks, err);
    if (status == TOMO_OK) status = read_patterns(a, "alpha_pattern", -1e6, 1e6, &a->alphas, err);
    return status;
}

static tomo_status read_weights(tomo_adapter *a, const char *folder, tomo_error *err) {
    char *path = tomo_path_join(folder, "adapter_model.safetensors");
    if (path != NULL && !tomo_path_exists(path)) {
        free(path);
        path = tomo_path_join(folder, "adapter_model.bin");
    }
    if (path == NULL) return tomo_fail_memory(err, folder, strlen(folder));
    tomo_status status = tomo_checkpoint_open(path, &a->checkpoint, err);
    free(path);
    return status == TOMO_OK ? read_targets(a, err) : status;
}

tomo_status tomo_adapter_open(const char *folder, tomo_adapter **adapter, tomo_error *err) {
    *adapter = NULL;
    tomo_adapter *a = calloc(1, sizeof *a);
    if (a == NULL) return tomo_fail_memory(err, folder, sizeof *a);
    tomo_status status = read_config(a, folder, err);
    if (status == TOMO_OK) status = read_weights(a, folder, err);
    if (status != TOMO_OK) {
        tomo_adapter_free(a);
        return status;
    }
    *adapter = a;
    return TOMO_OK;
}

size_t tomo_adapter_count(const tomo_adapter *a) {
    return a->count;
}

const tomo_adapter_target *tomo_adapter_at(const tomo_adapter *a, size_t index) {
    return index < a->count ? &a->targets[index] : NULL;
}
