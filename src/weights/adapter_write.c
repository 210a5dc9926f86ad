/* adapter_write.c - an adapter as PEFT reads it: adapter_config.json and adapter_model.safetensors. */
#include "base/file.h"
#include "base/folder.h"
#include "base/json.h"
#include "weights/adapter.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static cJSON *describe(const tomo_adapter_settings *s) {
    cJSON *root = cJSON_CreateObject();
    cJSON_AddStringToObject(root, "peft_type", "LORA");
    cJSON_AddStringToObject(root, "task_type", "CAUSAL_LM");
    cJSON_AddStringToObject(root, "base_model_name_or_path", s->base);
    cJSON_AddNumberToObject(root, "r", (double)s->rank);
    cJSON_AddNumberToObject(root, "lora_alpha", s->alpha);
    cJSON_AddNumberToObject(root, "lora_dropout", 0);
    cJSON_AddStringToObject(root, "bias", "none");
    cJSON_AddBoolToObject(root, "use_rslora", s->rslora);
    cJSON_AddBoolToObject(root, "use_dora", false);
    cJSON_AddBoolToObject(root, "fan_in_fan_out", false);
    cJSON_AddBoolToObject(root, "inference_mode", true);
    cJSON_AddBoolToObject(root, "init_lora_weights", true);
    cJSON_AddNullToObject(root, "modules_to_save");
    cJSON_AddItemToObject(root, "rank_pattern", cJSON_CreateObject());
    cJSON_AddItemToObject(root, "alpha_pattern", cJSON_CreateObject());
    cJSON *targets = cJSON_AddArrayToObject(root, "target_modules");
    for (int i = 0; i < s->target_count; i++) {
        cJSON_AddItemToArray(targets, cJSON_CreateString(s->targets[i]));
    }
    return root;
}

static tomo_status write_config(const char *folder, const tomo_adapter_settings *s, tomo_error *err) {
    cJSON *root = describe(s);
    tomo_status status = tomo_json_write(root, folder, "adapter_config.json", err);
    cJSON_Delete(root);
    return status;
}

tomo_status tomo_adapter_write(const char *folder, const tomo_adapter_settings *settings,
                               const tomo_stored *tensors, size_t count, tomo_error *err) {
    static const char *const metadata[] = {"format", "pt", NULL};
    if (mkdir(folder, 0777) != 0 && errno != EEXIST) return tomo_fail_errno(err, folder, "create");
    char *path = tomo_path_join(folder, "adapter_model.safetensors");
    tomo_status status = path == NULL ? tomo_fail_memory(err, folder, 0)
                                      : tomo_safetensors_write(path, tensors, count, metadata, err);
    if (status == TOMO_OK) status = write_config(folder, settings, err);
    free(path);
    return status;
}
