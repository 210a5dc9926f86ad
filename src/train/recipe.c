#include "train/recipe.h"

#include "base/file.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const part_names[TOMO_PARTS] = {"connector", "lora", "language"};

/* Where a value is, and where relative paths start. */
typedef struct reader {
    const tomo_recipe *recipe;
    const char *folder; /* of the recipe's file */
    tomo_json_at at;
    char section[96];
    tomo_error *err;
} reader;

static tomo_status refuse(const reader *r, const char *key, const char *wanted) {
    return tomo_fail(r->err, TOMO_E_HEADER, "%s: \"%s%s\" must be %s", r->at.file, r->at.section, key,
                     wanted);
}

/* A path of the recipe, freed with it; absent: stays. */
static tomo_status read_path(const reader *r, const cJSON *object, const char *key, bool required,
                             char **path) {
    const char *text = NULL;
    tomo_status status = tomo_json_text(object, key, r->at, required, &text, r->err);
    if (status != TOMO_OK || text == NULL) return status;
    free(*path);
    *path = tomo_path_join(r->folder, text);
    return *path == NULL ? tomo_fail_memory(r->err, text, 0) : TOMO_OK;
}

static int index_of(const char *name, const char *const *names, int count) {
    for (int i = 0; i < count; i++) {
        if (strcmp(name, names[i]) == 0) return i;
    }
    return -1;
}

/* A list of names as bits. */
static tomo_status read_bits(const reader *r, const cJSON *object, const char *key, const char *const *names,
                             int count, const char *wanted, unsigned *bits) {
    const cJSON *list = tomo_json_get(object, key), *item;
    if (list == NULL) return TOMO_OK;
    *bits = 0;
    bool good = cJSON_IsArray(list) && cJSON_GetArraySize(list) > 0;
    cJSON_ArrayForEach(item, list) {
        int index = cJSON_IsString(item) ? index_of(item->valuestring, names, count) : -1;
        good = good && index >= 0;
        if (index >= 0) *bits |= 1u << index;
    }
    return good ? TOMO_OK : refuse(r, key, wanted);
}

/* ------------------------------------------------------------------------------- data */

static tomo_status read_data(const reader *r, const cJSON *section, tomo_recipe_data *d) {
    static const char *const known[] = {"path",        "train",       "validation", "kinds",    "captions",
                                        "questions",   "limit",       "max_length", "cache",    "cache_gb",
                                        "instruction", "m3d_prompts", "memory_gb",  "together", NULL};
    static const char *const kinds[] = {"report", "open", "closed"};
    tomo_status status = tomo_json_only(section, r->at, known, r->err);
    const struct {
        const char *key;
        const char **value;
    } texts[] = {{"train", &d->train},
                 {"validation", &d->validation},
                 {"captions", &d->captions},
                 {"questions", &d->questions},
                 {"instruction", &d->instruction}};
    if (status == TOMO_OK) status = read_path(r, section, "path", false, &d->path);
    if (status == TOMO_OK) status = read_path(r, section, "cache", false, &d->cache);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0] && status == TOMO_OK; i++) {
        status = tomo_json_text(section, texts[i].key, r->at, false, texts[i].value, r->err);
    }
    if (status == TOMO_OK)
        status = tomo_json_int(section, "limit", r->at, false, 0, INT32_MAX, &d->limit, r->err);
    if (status == TOMO_OK) {
        status = tomo_json_int(section, "max_length", r->at, false, 0, INT32_MAX, &d->max_length, r->err);
    }
    if (status == TOMO_OK)
        status = tomo_json_int(section, "together", r->at, false, 1, 65536, &d->together, r->err);
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "cache_gb", r->at, false, 0, 1e9, &d->cache_gb, r->err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_bool(section, "m3d_prompts", r->at, false, &d->m3d_prompts, r->err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "memory_gb", r->at, false, 0, 1e6, &d->memory_gb, r->err);
    }
    if (status != TOMO_OK) return status;
    return read_bits(r, section, "kinds", kinds, 3, "a list of report, open, closed", &d->kinds);
}

/* The paths of a copy are its own. */
static tomo_status copy_data(tomo_recipe_data *to, const tomo_recipe_data *from, tomo_error *err) {
    *to = *from;
    to->path = from->path == NULL ? NULL : strdup(from->path);
    to->cache = from->cache == NULL ? NULL : strdup(from->cache);
    bool good = (from->path == NULL || to->path != NULL) && (from->cache == NULL || to->cache != NULL);
    return good ? TOMO_OK : tomo_fail_memory(err, "recipe", 0);
}

/* ------------------------------------------------------------------------------ stages */

static tomo_status read_lora(const reader *r, const cJSON *section, tomo_lora_settings *l) {
    static const char *const known[] = {"rank", "alpha", "targets", "rslora", NULL};
    const char *names[TOMO_LORA_TARGETS];
    for (int i = 0; i < TOMO_LORA_TARGETS; i++) names[i] = tomo_lora_target_name(i);
    tomo_status status = tomo_json_only(section, r->at, known, r->err);
    if (status == TOMO_OK) status = tomo_json_int(section, "rank", r->at, false, 1, 4096, &l->rank, r->err);
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "alpha", r->at, false, 1e-6, 1e6, &l->alpha, r->err);
    }
    if (status == TOMO_OK) status = tomo_json_bool(section, "rslora", r->at, false, &l->rslora, r->err);
    if (status != TOMO_OK) return status;
    return read_bits(r, section, "targets", names, TOMO_LORA_TARGETS,
                     "a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj", &l->targets);
}

/* A number, or one for each part. */
static tomo_status read_rates(const reader *r, const cJSON *section, tomo_stage *s) {
    const cJSON *value = tomo_json_get(section, "learning_rate");
    if (cJSON_IsNumber(value) && value->valuedouble >= 0) {
        for (int i = 0; i < TOMO_PARTS; i++) s->rates[i] = value->valuedouble;
        return TOMO_OK;
    }
    bool good = cJSON_IsObject(value);
    for (const cJSON *item = good ? value->child : NULL; item != NULL; item = item->next) {
        int part = index_of(item->string, part_names, TOMO_PARTS);
        good = good && part >= 0 && cJSON_IsNumber(item) && item->valuedouble >= 0;
        if (good) s->rates[part] = item->valuedouble;
    }
    /* The others' weights learn by these rates. */
    unsigned learning = s->kind == TOMO_STAGE_REPORT ? s->parts
                        : s->kind == TOMO_STAGE_LANGUAGE
                            ? (unsigned)TOMO_PART_LANGUAGE
                            : (unsigned)(TOMO_PART_CONNECTOR | TOMO_PART_LANGUAGE);
    for (int i = 0; i < TOMO_PARTS && good; i++) good = !(learning >> i & 1) || !isnan(s->rates[i]);
    return good ? TOMO_OK
                : refuse(r, "learning_rate", "a number from 0, or an object with one for each part trained");
}

static tomo_status read_schedule(const reader *r, const cJSON *section, tomo_stage *s) {
    const char *name = "cosine";
    tomo_status status = tomo_json_text(section, "schedule", r->at, false, &name, r->err);
    s->schedule.warmup = -1;
    if (status == TOMO_OK) {
        status =
            tomo_json_int(section, "warmup_steps", r->at, false, 0, INT32_MAX, &s->schedule.warmup, r->err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "warmup_ratio", r->at, false, 0, 1, &s->warmup_ratio, r->err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "least_rate", r->at, false, 0, 1, &s->schedule.least, r->err);
    }
    if (status != TOMO_OK) return status;
    return tomo_schedule_named(name, &s->schedule.kind) ? TOMO_OK
                                                        : refuse(r, "schedule", "constant, linear or cosine");
}

static tomo_status read_adam(const reader *r, const cJSON *section, tomo_stage *s) {
    const cJSON *betas = tomo_json_get(section, "betas");
    double *values[] = {&s->adam.beta1, &s->adam.beta2};
    for (int i = 0; i < 2 && betas != NULL; i++) {
        const cJSON *beta = cJSON_GetArrayItem(betas, i);
        if (cJSON_GetArraySize(betas) != 2 || !cJSON_IsNumber(beta) || !(beta->valuedouble >= 0) ||
            !(beta->valuedouble < 1)) {
            return refuse(r, "betas", "two numbers from 0, below 1");
        }
        *values[i] = beta->valuedouble;
    }
    tomo_status status =
        tomo_json_double(section, "weight_decay", r->at, false, 0, 10, &s->adam.weight_decay, r->err);
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "eps", r->at, false, 1e-16, 1, &s->adam.eps, r->err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_double(section, "max_norm", r->at, false, 0, 1e9, &s->max_norm, r->err);
    }
    return status;
}

static tomo_status read_numbers(const reader *r, const cJSON *section, tomo_stage *s) {
    const struct {
        const char *key;
        int64_t low, high, *value;
    } numbers[] = {
        {"steps", 0, INT32_MAX, &s->steps},
        {"batch", 1, 65536, &s->batch},
        {"accumulation", 1, 65536, &s->accumulation},
        {"evaluate_every", 0, INT32_MAX, &s->evaluate_every},
        {"evaluate_samples", 0, INT32_MAX, &s->evaluate_samples},
        {"patience", 0, INT32_MAX, &s->patience},
        {"checkpoint_every", 1, INT32_MAX, &s->checkpoint_every},
        {"keep", 1, 1000, &s->keep},
        {"nan_limit", 1, 1000000, &s->nan_limit},
        {"embedding", 1, 65536, &s->embedding},
        {"slices", 1, 1024, &s->slices},
    };
    tomo_status status = TOMO_OK;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0] && status == TOMO_OK; i++) {
        status = tomo_json_int(section, numbers[i].key, r->at, false, numbers[i].low, numbers[i].high,
                               numbers[i].value, r->err);
    }
    if (status == TOMO_OK)
        status = tomo_json_double(section, "epochs", r->at, false, 0, 1e6, &s->epochs, r->err);
    if (status == TOMO_OK)
        status = tomo_json_double(section, "feature_noise", r->at, false, 0, 10, &s->feature_noise, r->err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "augment", r->at, false, &s->augment, r->err);
    if (status == TOMO_OK) status = tomo_json_bool(section, "keep_best", r->at, false, &s->keep_best, r->err);
    if (status == TOMO_OK && (s->steps > 0) == (s->epochs > 0)) {
        status = refuse(r, "steps", "given, or \"epochs\", and only one of them");
    }
    return status;
}

static tomo_status read_names(const reader *r, const cJSON *section, tomo_stage *s) {
    static const char *const kinds[] = {"report", "language", "contrastive"};
    static const char *const means[] = {"token_mean", "microbatch_mean"};
    static const char *const poolings[] = {"class", "mean"};
    const char *kind = "report", *mean = "token_mean", *pooling = "class";
    tomo_status status = tomo_json_text(section, "name", r->at, false, &s->name, r->err);
    if (status == TOMO_OK) status = tomo_json_text(section, "kind", r->at, false, &kind, r->err);
    if (status == TOMO_OK) status = tomo_json_text(section, "normalisation", r->at, false, &mean, r->err);
    if (status == TOMO_OK) status = tomo_json_text(section, "pooling", r->at, false, &pooling, r->err);
    if (status != TOMO_OK) return status;
    int which = index_of(kind, kinds, 3), how = index_of(mean, means, 2);
    int pool = index_of(pooling, poolings, 2);
    for (const char *c = s->name; *c != '\0'; c++) { /* it stands in JSON, CSV and SVG */
        if ((unsigned char)*c < 0x20 || strchr("\"\\,<>&", *c) != NULL)
            return refuse(r, "name", "a name without quotes, backslashes, commas, <, > and &");
    }
    if (which < 0) return refuse(r, "kind", "report, language or contrastive");
    if (how < 0) return refuse(r, "normalisation", "token_mean or microbatch_mean");
    if (pool < 0) return refuse(r, "pooling", "class or mean");
    s->kind = (tomo_stage_kind)which;
    s->pooling = (tomo_pooling)pool;
    s->normalisation = (tomo_normalisation)how;
    status = read_bits(r, section, "train", part_names, TOMO_PARTS, "a list of connector, lora, language",
                       &s->parts);
    if (status == TOMO_OK && s->kind == TOMO_STAGE_REPORT && s->parts == 0) {
        return refuse(r, "train", "a list of connector, lora, language");
    }
    if (status == TOMO_OK && (s->parts & TOMO_PART_LORA) && (s->parts & TOMO_PART_LANGUAGE)) {
        return refuse(r, "train", "without lora where the whole language model is trained");
    }
    if (status == TOMO_OK)
        status = read_path(r, section, "language", s->kind != TOMO_STAGE_REPORT, &s->language);
    if (status == TOMO_OK) {
        status = read_path(r, section, "encoder", s->kind == TOMO_STAGE_CONTRASTIVE, &s->encoder);
    }
    return status;
}

static const tomo_stage standard_stage = {
    .name = "stage",
    .lora = {.rank = 16, .alpha = 32, .targets = (1u << TOMO_LORA_TARGETS) - 1},
    .adam = {0.9, 0.999, 1e-8, 0, false},
    .rates = {NAN, NAN, NAN},
    .warmup_ratio = 0.03,
    .batch = 1,
    .accumulation = 1,
    .max_norm = 1,
    .checkpoint_every = 100,
    .keep = 2,
    .nan_limit = 5,
    .keep_best = true,
    .embedding = 128,
    .slices = 32};

static tomo_status read_stage(reader *r, const cJSON *section, const tomo_recipe_data *data, tomo_stage *s) {
    static const char *const known[] = {"name",
                                        "kind",
                                        "train",
                                        "language",
                                        "encoder",
                                        "lora",
                                        "data",
                                        "learning_rate",
                                        "schedule",
                                        "warmup_steps",
                                        "warmup_ratio",
                                        "least_rate",
                                        "steps",
                                        "epochs",
                                        "batch",
                                        "accumulation",
                                        "weight_decay",
                                        "betas",
                                        "eps",
                                        "max_norm",
                                        "normalisation",
                                        "evaluate_every",
                                        "evaluate_samples",
                                        "patience",
                                        "checkpoint_every",
                                        "keep",
                                        "nan_limit",
                                        "augment",
                                        "feature_noise",
                                        "keep_best",
                                        "embedding",
                                        "slices",
                                        "pooling",
                                        NULL};
    *s = standard_stage;
    tomo_status status = copy_data(&s->data, data, r->err);
    if (status == TOMO_OK) status = tomo_json_only(section, r->at, known, r->err);
    if (status == TOMO_OK) status = read_names(r, section, s);
    if (status == TOMO_OK) status = read_rates(r, section, s);
    if (status == TOMO_OK) status = read_schedule(r, section, s);
    if (status == TOMO_OK) status = read_adam(r, section, s);
    if (status == TOMO_OK) status = read_numbers(r, section, s);
    size_t end = strlen(r->section);
    const cJSON *lora = tomo_json_get(section, "lora"), *own = tomo_json_get(section, "data");
    (void)snprintf(r->section + end, sizeof r->section - end, "lora.");
    if (status == TOMO_OK && lora != NULL) status = read_lora(r, lora, &s->lora);
    (void)snprintf(r->section + end, sizeof r->section - end, "data.");
    if (status == TOMO_OK && own != NULL) status = read_data(r, own, &s->data);
    if (status == TOMO_OK && s->data.path == NULL) status = refuse(r, "path", "given: where the data are");
    return status;
}

/* ---------------------------------------------------------------------------- together */

static tomo_status read_precision(reader *r, const cJSON *root, const char *key, const char **precision) {
    *precision = "f32";
    tomo_status status = tomo_json_text(root, key, r->at, false, precision, r->err);
    if (status != TOMO_OK || strcmp(*precision, "f32") == 0 || strcmp(*precision, "bf16") == 0 ||
        strcmp(*precision, "fast") == 0) {
        return status;
    }
    return refuse(r, key, "f32, bf16 or fast");
}

/* Checkpoints of a stage on text or slices hold its own weights alone, so none may stand between two on
 * scans. */
static tomo_status check_turn(const reader *r, const tomo_recipe *recipe) {
    const tomo_stage *last = &recipe->stages[recipe->stage_count - 1];
    bool other = false;
    for (const tomo_stage *s = last; s >= recipe->stages; s--) {
        if (s->kind == TOMO_STAGE_REPORT && other && last->kind == TOMO_STAGE_REPORT) {
            return tomo_fail(
                r->err, TOMO_E_HEADER,
                "%s: a stage of another kind stands between %s and %s, which are on scans; a recipe of "
                "its own is wanted for it",
                r->at.file, s->name, last->name);
        }
        other |= s->kind != TOMO_STAGE_REPORT;
    }
    return TOMO_OK;
}

static tomo_status read_all(reader *r, tomo_recipe *recipe, tomo_recipe_data *data) {
    static const char *const known[] = {"run",  "model", "config", "precision", "trained_precision",
                                        "seed", "data",  "stages", "comment",   NULL};
    const cJSON *root = recipe->json, *stages = tomo_json_get(root, "stages"), *item;
    int64_t seed = 0;
    tomo_status status = tomo_json_only(root, r->at, known, r->err);
    if (status == TOMO_OK) status = read_path(r, root, "run", true, &recipe->run);
    if (status == TOMO_OK) status = read_path(r, root, "model", false, &recipe->model);
    if (status == TOMO_OK)
        status = tomo_json_int(root, "seed", r->at, false, 0, INT64_C(1) << 53, &seed, r->err);
    recipe->seed = (uint64_t)seed;
    if (status == TOMO_OK) status = read_precision(r, root, "precision", &recipe->precision);
    if (status == TOMO_OK) status = read_precision(r, root, "trained_precision", &recipe->trained_precision);
    if (status == TOMO_OK && (recipe->config = tomo_json_get(root, "config")) != NULL) {
        /* Of the connector what has no weights: which visual tokens there are. */
        static const char *const sections[] = {"volume", "prune", "prompt", "connector", NULL};
        static const char *const of_connector[] = {"tokens", "summary", NULL};
        const cJSON *connector = tomo_json_get(recipe->config, "connector");
        status = tomo_json_only(recipe->config, (tomo_json_at){r->at.file, "config."}, sections, r->err);
        if (status == TOMO_OK && connector != NULL) {
            status = tomo_json_only(connector, (tomo_json_at){r->at.file, "config.connector."}, of_connector,
                                    r->err);
        }
    }
    r->at.section = r->section;
    (void)snprintf(r->section, sizeof r->section, "data.");
    if (status == TOMO_OK && tomo_json_get(root, "data") != NULL) {
        status = read_data(r, tomo_json_get(root, "data"), data);
    }
    int count = cJSON_GetArraySize(stages);
    if (status == TOMO_OK && (!cJSON_IsArray(stages) || count < 1 || count > TOMO_RECIPE_STAGES)) {
        return tomo_fail(r->err, TOMO_E_HEADER, "%s: \"stages\" must be a list of 1 to %d stages", r->at.file,
                         TOMO_RECIPE_STAGES);
    }
    cJSON_ArrayForEach(item, stages) {
        if (status != TOMO_OK) break;
        (void)snprintf(r->section, sizeof r->section, "stages[%d].", recipe->stage_count);
        tomo_stage *s = &recipe->stages[recipe->stage_count++];
        status = read_stage(r, item, data, s);
        if (status == TOMO_OK) status = check_turn(r, recipe);
        if (status == TOMO_OK && s->kind == TOMO_STAGE_REPORT && recipe->model == NULL) {
            status = tomo_fail(r->err, TOMO_E_HEADER,
                               "%s: \"model\" is missing; the stage %s starts from one", r->at.file, s->name);
        }
    }
    return status;
}

tomo_status tomo_recipe_take(const char *path, cJSON *root, tomo_recipe *recipe, tomo_error *err) {
    *recipe = (tomo_recipe){.json = root};
    recipe->path = strdup(path);
    char *folder = strdup(path);
    tomo_recipe_data data = {.train = "train",
                             .validation = "validation",
                             .kinds = TOMO_SAMPLE_ALL,
                             .together = 1,
                             .memory_gb = 1};
    tomo_status status = folder == NULL || recipe->path == NULL ? tomo_fail_memory(err, path, 0) : TOMO_OK;
    if (status == TOMO_OK) {
        char *slash = strrchr(folder, '/');
        if (slash == NULL) {
            folder[0] = '\0';
        } else {
            slash[slash == folder] = '\0';
        }
        reader r = {.recipe = recipe, .folder = folder, .at = {recipe->path, ""}, .err = err};
        status = read_all(&r, recipe, &data);
    }
    free(data.path);
    free(data.cache);
    free(folder);
    return status;
}

tomo_status tomo_recipe_read(const char *path, tomo_recipe *recipe, tomo_error *err) {
    cJSON *root = NULL;
    *recipe = (tomo_recipe){0};
    tomo_status status = tomo_json_open(path, &root, err);
    return status == TOMO_OK ? tomo_recipe_take(path, root, recipe, err) : status;
}

void tomo_recipe_free(tomo_recipe *recipe) {
    for (int i = 0; i < recipe->stage_count; i++) {
        free(recipe->stages[i].data.path);
        free(recipe->stages[i].data.cache);
        free(recipe->stages[i].language);
        free(recipe->stages[i].encoder);
    }
    free(recipe->run);
    free(recipe->model);
    free(recipe->path);
    cJSON_Delete(recipe->json);
    *recipe = (tomo_recipe){0};
}

/* The path of the first place where the two differ is written to where[size]; false: none. */
static bool differ(const cJSON *a, const cJSON *b, char *where, size_t size) {
    if (a == NULL || b == NULL || !cJSON_Compare(a, b, true)) {
        for (const cJSON *item = a != NULL && b != NULL ? a->child : NULL; item != NULL; item = item->next) {
            size_t used = strlen(where);
            const cJSON *other = NULL;
            if (cJSON_IsObject(a) && cJSON_IsObject(b)) {
                (void)snprintf(where + used, size - used, "%s%s", used > 0 ? "." : "", item->string);
                other = cJSON_GetObjectItemCaseSensitive(b, item->string);
            } else if (cJSON_IsArray(a) && cJSON_IsArray(b)) {
                int index = 0;
                for (const cJSON *before = a->child; before != item; before = before->next) index++;
                (void)snprintf(where + used, size - used, "[%d]", index);
                other = cJSON_GetArrayItem(b, index);
            }
            if (differ(item, other, where, size)) return true;
            where[used] = '\0';
        }
        return true;
    }
    return false;
}

tomo_status tomo_recipe_same(const tomo_recipe *recipe, const cJSON *begun, tomo_error *err) {
    char where[160] = "", other[160] = "";
    if (!differ(recipe->json, begun, where, sizeof where)) return TOMO_OK;
    if (where[0] == '\0') (void)differ(begun, recipe->json, other, sizeof other); /* a key that is gone */
    return tomo_fail(
        err, TOMO_E_HEADER,
        "%s: \"%s\" is not as the run was begun with (%s/recipe.json); the same recipe is wanted to "
        "resume",
        recipe->path, where[0] != '\0' ? where : other, recipe->run);
}
