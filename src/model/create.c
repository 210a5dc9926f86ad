/* create.c - new model directories: downloaded parts joined by a fresh connector, or random weights of public
 * shapes.
 *
 * Everything is made in a folder beside the target, which is renamed when it is whole. */
#include "base/arena.h"
#include "base/file.h"
#include "base/folder.h"
#include "base/random.h"
#include "base/size.h"
#include "base/text.h"
#include "model/fresh_config.h"
#include "model/model.h"
#include "model/shapes.h"
#include "model/words.h"
#include "weights/gguf.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_TENSORS 4096
/* Of timm's trunc_normal_ and of the ViT that it ports. */
#define VIT_SPREAD 0.02

typedef struct maker {
    tomo_context *context;
    const tomo_model_new_options *options;
    tomo_random random;
    tomo_arena *arena;
    tomo_stored tensors[MOST_TENSORS];
    size_t count;
    tomo_dtype dtype;   /* in which matrices are stored */
    const char *prefix; /* put before every name */
    bool is_connector;  /* initialised as connector.py does; otherwise as a stand-in */
    tomo_error error;
} maker;

/* ------------------------------------------------------------------------ random weights */

/* Whether it belongs to the 3D transformer itself (fusion/vit3d.c). */
static bool of_vit3d(const char *name) {
    return strncmp(name, "blocks.", 7) == 0 || strncmp(name, "patch.", 6) == 0 ||
           strcmp(name, "positions") == 0;
}

/* What Connector.initialise of connector.py does: what a fusion block or an injection adds starts at 0. A 3D
 * transformer starts as vision transformers do: matrices and positions normal with VIT_SPREAD, cut off at two
 * of it. */
static double connector_start(const char *name, int rank, bool *random) {
    bool is_norm = strstr(name, "norm") != NULL && tomo_ends_with(name, "weight");
    *random = of_vit3d(name) && rank > 1;
    if (*random) return 0;
    if (tomo_ends_with(name, ".real") || is_norm) return 1;
    if (rank == 1 || tomo_ends_with(name, ".imag") || tomo_ends_with(name, "fc2.weight")) return 0;
    if (strncmp(name, "fusion.", 7) == 0 && tomo_ends_with(name, ".out.weight")) return 0;
    *random = true;
    return 0;
}

/* Norms 1, biases 0, everything else random: activations keep their size through the layers. */
static double stand_in_start(const char *name, int rank, bool *random) {
    bool is_norm = strstr(name, "norm") != NULL && tomo_ends_with(name, "weight");
    *random = !(is_norm || rank == 1);
    return is_norm ? 1 : 0;
}

/* Normal, within `most` deviations. */
static double draw_normal(tomo_random *random, double most) {
    double x;
    do {
        x = tomo_random_normal(random);
    } while (fabs(x) > most);
    return x;
}

/* Fills n elements with a value or with random numbers of standard deviation `spread`. */
static void fill(maker *m, tomo_stored *t, double value, bool random, double spread) {
    double cut = m->is_connector && of_vit3d(t->name) ? 2 : INFINITY;
    for (int64_t i = 0; i < t->count; i++) {
        double x = value;
        if (random && m->is_connector) x = spread * draw_normal(&m->random, cut);
        if (random && !m->is_connector)
            x = spread * 3.4641016151377544 * (tomo_random_unit(&m->random) - 0.5);
        if (t->dtype == TOMO_BF16) {
            ((uint16_t *)(uintptr_t)t->data)[i] = tomo_float_to_bf16((float)x);
        } else {
            ((float *)(uintptr_t)t->data)[i] = (float)x;
        }
    }
}

static void add_tensor(void *user, const char *name, int rank, const int64_t *shape) {
    maker *m = user;
    if (m->error.status != TOMO_OK) return;
    tomo_stored *t = &m->tensors[m->count];
    *t = (tomo_stored){.dtype = m->dtype, .rank = rank};
    size_t bytes = 0, length = strlen(m->prefix) + strlen(name) + 1;
    char *full = tomo_arena_alloc(m->arena, length);
    bool fits = m->count < MOST_TENSORS && tomo_shape_count(shape, rank, &t->count) &&
                tomo_size_mul((size_t)t->count, tomo_dtype_size(t->dtype), &bytes);
    t->data = fits ? tomo_arena_alloc(m->arena, bytes) : NULL;
    if (full == NULL || t->data == NULL) {
        (void)tomo_fail_memory(&m->error, name, bytes);
        return;
    }
    (void)snprintf(full, length, "%s%s", m->prefix, name);
    t->name = full;
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    bool random;
    double value =
        m->is_connector ? connector_start(name, rank, &random) : stand_in_start(name, rank, &random);
    int64_t fan_in = rank > 1 && shape[0] > 0 ? t->count / shape[0] : 1;
    bool is_table = strstr(name, "embed_tokens") != NULL || strstr(name, "pos_embed") != NULL;
    double spread = is_table ? 0.5 : 1 / sqrt((double)fan_in);
    fill(m, t, value, random, m->is_connector && of_vit3d(name) ? VIT_SPREAD : spread);
    m->count++;
    if (tomo_progress(&m->context->hooks, "making weights", (int64_t)m->count, 0, &m->error) != TOMO_OK)
        return;
}

/* Writes what was added as FOLDER/NAME and forgets it. */
static tomo_status write_tensors(maker *m, const char *folder, const char *name, tomo_error *err) {
    static const char *const metadata[] = {"format", "pt", NULL}; /* transformers asks for it */
    char *path = tomo_path_join(folder, name);
    tomo_status status = m->error.status;
    if (status != TOMO_OK) {
        if (err != NULL) *err = m->error;
    } else {
        status = path == NULL ? tomo_fail_memory(err, folder, 0)
                              : tomo_safetensors_write(path, m->tensors, m->count, metadata, err);
    }
    free(path);
    m->count = 0;
    tomo_arena_reset(m->arena);
    return status;
}

/* --------------------------------------------------------------------------- small files */

/* root is deleted, whatever happens. */
static tomo_status write_json(const char *folder, const char *name, cJSON *root, tomo_error *err) {
    tomo_status status =
        root == NULL ? tomo_fail_memory(err, name, 0) : tomo_json_write(root, folder, name, err);
    cJSON_Delete(root);
    return status;
}

static tomo_status make_folder(const char *path, tomo_error *err) {
    return mkdir(path, 0777) == 0 ? TOMO_OK : tomo_fail_errno(err, path, "create");
}

/* ------------------------------------------------------------------------------ encoder */

static tomo_status make_encoder(maker *m, const tomo_encoder_shape *shape, const char *folder,
                                tomo_error *err) {
    tomo_vit sizes = {.width = shape->width,
                      .depth = shape->depth,
                      .heads = shape->heads,
                      .image_size = shape->image_size,
                      .patch_size = shape->patch_size};
    m->dtype = TOMO_F32;
    m->is_connector = false;
    m->prefix = "";
    tomo_open_clip_parameters(&sizes, add_tensor, m);
    tomo_status status = write_tensors(m, folder, "open_clip_model.safetensors", err);
    if (status != TOMO_OK) return status;
    cJSON *root = cJSON_CreateObject(), *model = cJSON_AddObjectToObject(root, "model_cfg");
    cJSON *vision = cJSON_AddObjectToObject(model, "vision_cfg");
    cJSON_AddNumberToObject(model, "embed_dim", 512);
    cJSON_AddStringToObject(vision, "timm_model_name", shape->timm_name);
    cJSON_AddBoolToObject(vision, "timm_model_pretrained", false);
    cJSON_AddStringToObject(vision, "timm_pool", "");
    cJSON_AddStringToObject(vision, "timm_proj", "linear");
    return write_json(folder, "open_clip_config.json", root, err);
}

/* ----------------------------------------------------------------------- language model */

static cJSON *language_config(const tomo_decoder_config *c) {
    cJSON *root = cJSON_CreateObject();
    cJSON *architectures = cJSON_AddArrayToObject(root, "architectures");
    cJSON_AddItemToArray(architectures, cJSON_CreateString("Qwen2ForCausalLM"));
    const struct {
        const char *key;
        int64_t value;
    } numbers[] = {
        {"hidden_size", c->hidden},
        {"num_hidden_layers", c->layers},
        {"num_attention_heads", c->heads},
        {"num_key_value_heads", c->kv_heads},
        {"intermediate_size", c->intermediate},
        {"vocab_size", c->vocabulary},
        {"max_position_embeddings", c->context},
        {"eos_token_id", tomo_words_end_id(c->vocabulary)},
    };
    cJSON_AddStringToObject(root, "model_type", c->family);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        cJSON_AddNumberToObject(root, numbers[i].key, (double)numbers[i].value);
    }
    cJSON_AddNumberToObject(root, "rms_norm_eps", c->norm_eps);
    cJSON_AddNumberToObject(root, "rope_theta", c->rope.theta);
    cJSON_AddStringToObject(root, "hidden_act", "silu");
    cJSON_AddStringToObject(root, "torch_dtype", "bfloat16");
    cJSON_AddBoolToObject(root, "tie_word_embeddings", c->tied);
    cJSON_AddBoolToObject(root, "use_sliding_window", false);
    return root;
}

static tomo_status make_language(maker *m, const tomo_language_shape *shape, const char *folder,
                                 tomo_error *err) {
    m->dtype = shape->dtype;
    m->is_connector = false;
    m->prefix = "";
    tomo_status status = tomo_decoder_parameters(&shape->config, add_tensor, m, err);
    if (status == TOMO_OK) status = write_tensors(m, folder, "model.safetensors", err);
    if (status == TOMO_OK) status = write_json(folder, "config.json", language_config(&shape->config), err);
    if (status == TOMO_OK) {
        status = write_json(folder, "tokenizer.json", tomo_words_tokenizer(shape->config.vocabulary), err);
    }
    if (status == TOMO_OK)
        status = tomo_folder_write(folder, "chat_template.jinja", TOMO_WORDS_TEMPLATE, err);
    return status;
}

/* ---------------------------------------------------------------------------- connector */

/* config.json and connector.safetensors for the parts that lie in the folder already. */
static tomo_status make_connector(maker *m, const char *folder, const char *encoder_path,
                                  const char *language_path, tomo_error *err) {
    tomo_model_config config = {0};
    tomo_status status = tomo_fresh_config(encoder_path, language_path, m->options->config, &config, err);
    if (status == TOMO_OK) {
        m->dtype = TOMO_F32;
        m->is_connector = true;
        m->prefix = "";
        status = tomo_connector_parameters(&config.connector, add_tensor, m, err);
        if (status == TOMO_OK) status = write_tensors(m, folder, "connector.safetensors", err);
    }
    if (status == TOMO_OK) status = tomo_json_write(config.json, folder, "config.json", err);
    tomo_model_config_free(&config);
    return status;
}

/* ----------------------------------------------------------------------------- together */

static tomo_status make_parts(maker *m, const char *folder, tomo_error *err) {
    const tomo_encoder_shape *encoder = NULL;
    const tomo_language_shape *language = NULL;
    const tomo_model_new_options *o = m->options;
    tomo_status status = TOMO_OK;
    if (o->like != NULL) status = tomo_shapes_find(o->like, &encoder, &language, err);
    if (status == TOMO_OK &&
        ((encoder != NULL) == (o->encoder != NULL) || (language != NULL) == (o->language != NULL))) {
        status = tomo_fail(err, TOMO_E_USAGE,
                           "an encoder and a language model are wanted, each by name (like) or by folder; %s",
                           tomo_model_shapes());
    }
    bool gguf = o->language != NULL && tomo_gguf_is(o->language);
    char *encoder_path = tomo_path_join(folder, "encoder"),
         *language_path = tomo_path_join(folder, gguf ? TOMO_LANGUAGE_GGUF : "language");
    if (encoder_path == NULL || language_path == NULL) status = tomo_fail_memory(err, folder, 0);
    if (status == TOMO_OK) status = make_folder(encoder_path, err);
    if (status == TOMO_OK && !gguf) status = make_folder(language_path, err);
    if (status == TOMO_OK) {
        status = encoder != NULL ? make_encoder(m, encoder, encoder_path, err)
                                 : tomo_folder_copy(o->encoder, encoder_path, &m->context->hooks, err);
    }
    if (status == TOMO_OK && gguf) {
        status = tomo_file_copy(o->language, language_path, &m->context->hooks, err);
    } else if (status == TOMO_OK) {
        status = language != NULL ? make_language(m, language, language_path, err)
                                  : tomo_folder_copy(o->language, language_path, &m->context->hooks, err);
    }
    if (status == TOMO_OK) status = make_connector(m, folder, encoder_path, language_path, err);
    free(encoder_path);
    free(language_path);
    return status;
}

tomo_status tomo_model_new(tomo_context *context, const char *folder, const tomo_model_new_options *options,
                           tomo_error *err) {
    if (options == NULL) return tomo_fail(err, TOMO_E_USAGE, "%s: what to make is not said", folder);
    if (tomo_path_exists(folder)) {
        return tomo_fail(err, TOMO_E_IO, "%s: exists already; a new folder is wanted", folder);
    }
    size_t named = tomo_path_length(folder), length = named + 32;
    char *beside = malloc(length);
    maker *m = calloc(1, sizeof *m);
    tomo_status status = TOMO_OK;
    if (beside == NULL || m == NULL || (m->arena = tomo_arena_create(0)) == NULL) {
        status = tomo_fail_memory(err, folder, sizeof *m);
    } else {
        m->context = context;
        m->options = options;
        m->random = tomo_random_seed(options->seed);
        (void)snprintf(beside, length, "%.*s.%ld.part", (int)named, folder, (long)getpid());
        status = tomo_make_folders(beside, err);
    }
    if (status == TOMO_OK) {
        status = make_parts(m, beside, err);
        if (status == TOMO_OK && rename(beside, folder) != 0) status = tomo_fail_errno(err, folder, "create");
        if (status != TOMO_OK) tomo_folder_remove(beside);
    }
    if (m != NULL) tomo_arena_free(m->arena);
    free(m);
    free(beside);
    return status;
}
