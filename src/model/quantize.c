/* quantize.c - a model directory with a quantised language model. */
#include "base/file.h"
#include "base/folder.h"
#include "language/quantise.h"
#include "model/config.h"
#include "model/context.h"
#include "tensor/quantise.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static tomo_status find_type(const char *name, tomo_dtype *dtype, tomo_error *err) {
    for (int i = 0; i < TOMO_DTYPE_COUNT; i++) {
        *dtype = (tomo_dtype)i;
        if (tomo_quantise_writes(*dtype) && strcasecmp(tomo_dtype_name(*dtype), name) == 0) return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_USAGE, "type \"%.40s\" is not written; q8_0, q4_0 or q4_1", name);
}

/* folder/part -> out/part, a folder of files. */
static tomo_status copy_part(const char *folder, const char *out, const char *part, const tomo_hooks *hooks,
                             tomo_error *err) {
    char *from = tomo_path_join(folder, part), *to = tomo_path_join(out, part);
    tomo_status status =
        from == NULL || to == NULL ? tomo_fail_memory(err, folder, 0) : tomo_make_folders(to, err);
    if (status == TOMO_OK) status = tomo_folder_copy(from, to, hooks, err);
    free(from);
    free(to);
    return status;
}

/* config.json with the other language model. */
static tomo_status write_config(const tomo_model_config *config, const char *out, tomo_error *err) {
    cJSON *root = cJSON_Duplicate(config->json, true);
    cJSON *language = cJSON_GetObjectItemCaseSensitive(root, "language");
    cJSON *path = cJSON_CreateString(TOMO_LANGUAGE_GGUF);
    tomo_status status = TOMO_OK;
    if (language == NULL || path == NULL || !cJSON_ReplaceItemInObjectCaseSensitive(language, "path", path))
        status = tomo_fail_memory(err, out, 0);
    if (status == TOMO_OK) status = tomo_json_write(root, out, "config.json", err);
    cJSON_Delete(root);
    return status;
}

static tomo_status copy_connector(const char *folder, const char *out, tomo_error *err) {
    char *from = tomo_path_join(folder, "connector.safetensors"),
         *to = tomo_path_join(out, "connector.safetensors");
    tomo_status status = from == NULL || to == NULL ? tomo_fail_memory(err, folder, 0) : TOMO_OK;
    if (status == TOMO_OK) status = tomo_file_copy(from, to, NULL, err);
    free(from);
    free(to);
    return status;
}

static tomo_status make_parts(const tomo_context *c, const char *folder, const char *out, tomo_dtype dtype,
                              tomo_error *err) {
    tomo_model_config config = {0};
    char *path = tomo_path_join(folder, "config.json"), *language = NULL,
         *file = tomo_path_join(out, TOMO_LANGUAGE_GGUF);
    tomo_status status = path == NULL || file == NULL ? tomo_fail_memory(err, folder, 0)
                                                      : tomo_model_config_read(path, &config, err);
    if (status == TOMO_OK) {
        language = tomo_path_join(folder, config.language_path);
        if (language == NULL) status = tomo_fail_memory(err, folder, 0);
    }
    if (status == TOMO_OK) status = tomo_language_quantise(language, file, dtype, c->kernels, &c->hooks, err);
    if (status == TOMO_OK) status = copy_part(folder, out, config.encoder_path, &c->hooks, err);
    if (status == TOMO_OK && config.adapter_path != NULL)
        status = copy_part(folder, out, config.adapter_path, &c->hooks, err);
    if (status == TOMO_OK) status = copy_connector(folder, out, err);
    if (status == TOMO_OK) status = write_config(&config, out, err);
    tomo_model_config_free(&config);
    free(language);
    free(file);
    free(path);
    return status;
}

/* Made beside the target, which is renamed when it is whole. */
static tomo_status make_directory(const tomo_context *c, const char *folder, const char *out,
                                  tomo_dtype dtype, tomo_error *err) {
    char *beside = NULL;
    if (asprintf(&beside, "%.*s.%ld.part", (int)tomo_path_length(out), out, (long)getpid()) < 0)
        return tomo_fail_memory(err, out, 0);
    tomo_status status = tomo_make_folders(beside, err);
    if (status == TOMO_OK) status = make_parts(c, folder, beside, dtype, err);
    if (status == TOMO_OK && rename(beside, out) != 0) status = tomo_fail_errno(err, out, "create");
    if (status != TOMO_OK) tomo_folder_remove(beside);
    free(beside);
    return status;
}

tomo_status tomo_model_quantize(tomo_context *context, const char *folder, const char *out, const char *type,
                                tomo_error *err) {
    tomo_dtype dtype;
    tomo_status status = find_type(type, &dtype, err);
    if (status != TOMO_OK) return status;
    if (tomo_path_exists(out))
        return tomo_fail(err, TOMO_E_IO, "%s: exists already; a new name is wanted", out);
    char *path = tomo_path_join(folder, "connector.safetensors");
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    status = tomo_path_exists(path)
                 ? make_directory(context, folder, out, dtype, err)
                 : tomo_language_quantise(folder, out, dtype, context->kernels, &context->hooks, err);
    free(path);
    return status;
}
