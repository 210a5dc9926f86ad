/* fusion.c - the connector against reference/connector: every stage's output, and the kept slices of pruning.
 *
 * Tolerance 2e-5 absolute on outputs: PyTorch's own float32 is up to 6e-6 from float64 (reference/connector/
 * README.md). Kept slices must be equal. */
#include "base/file.h"
#include "fusion/connector.h"
#include "fusion/prune.h"
#include "support/tensors.h"

#include <stdlib.h>
#include <string.h>

static test_machine machine;

/* Reads config.json: the connector's settings, `slices` and `kept`, which the caller frees. */
static tomo_status read_case(const char *folder, tomo_connector_config *config, int64_t *slices,
                             int64_t **kept, int64_t *count, tomo_error *err) {
    char *path = tomo_path_join(folder, "config.json");
    cJSON *root = NULL;
    tomo_status status = tomo_json_open(path, &root, err);
    if (status == TOMO_OK) {
        status = tomo_connector_parse(tomo_json_get(root, "connector"), (tomo_json_at){path, "connector."},
                                      config, err);
    }
    if (status == TOMO_OK) {
        status = tomo_json_int(root, "slices", (tomo_json_at){path, ""}, true, 1, 100000, slices, err);
    }
    const cJSON *list = tomo_json_get(root, "kept"), *item;
    *kept = calloc((size_t)cJSON_GetArraySize(list) + 1, sizeof **kept);
    *count = 0;
    cJSON_ArrayForEach(item, list)(*kept)[(*count)++] = (int64_t)item->valuedouble;
    cJSON_Delete(root);
    free(path);
    return status;
}

static void run_connector(parity *p, const char *name, const char *folder) {
    tomo_error err = {0};
    tomo_connector_config config;
    tomo_connector *connector = NULL;
    int64_t slices = 0, count = 0, *kept = NULL;
    tomo_checkpoint *weights = test_open_tensors(folder, "connector.safetensors", &err);
    tomo_checkpoint *inputs = test_open_tensors(folder, "inputs.safetensors", &err);
    tomo_checkpoint *expected = test_open_tensors(folder, "expected.safetensors", &err);
    if (weights == NULL || inputs == NULL || expected == NULL ||
        read_case(folder, &config, &slices, &kept, &count, &err) != TOMO_OK ||
        tomo_connector_create(&config, weights, &connector, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
        goto done;
    }
    test_compare compare = {.expected = expected, .measure = TEST_ABSOLUTE, .tolerance = 2e-5};
    tomo_trace trace = {test_compare_see, &compare};
    machine.exec.trace = &trace;
    tomo_tensor features = test_tensor(inputs, "features");
    tomo_tensor *tokens = tomo_connector_forward(connector, &machine.exec, &features, kept, slices, 0);
    tomo_exec_show(&machine.exec, tokens, "tokens");
    machine.exec.trace = NULL;
    if (tomo_exec_status(&machine.exec, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else if (compare.failure[0] != '\0') {
        parity_fail(p, name, "%s", compare.failure);
    } else if (compare.compared != (int)tomo_checkpoint_count(expected)) {
        parity_fail(p, name, "%d of %zu recorded tensors were computed", compare.compared,
                    tomo_checkpoint_count(expected));
    } else {
        parity_pass(p, name);
    }
    tomo_arena_reset(machine.exec.arena);
done:
    tomo_connector_free(connector);
    tomo_checkpoint_free(weights);
    tomo_checkpoint_free(inputs);
    tomo_checkpoint_free(expected);
    free(kept);
}

/* One entry of prune/cases.json; NULL when it is right, else what is wrong. */
static const char *run_prune_case(const cJSON *entry, const tomo_checkpoint *scans, char *text, size_t size) {
    tomo_error err = {0};
    tomo_prune_settings settings;
    cJSON *section = cJSON_Duplicate(entry, true);
    cJSON_DeleteItemFromObject(section, "scan");
    cJSON_DeleteItemFromObject(section, "kept");
    tomo_status status = tomo_prune_parse(section, (tomo_json_at){"cases.json", "prune."}, &settings, &err);
    cJSON_Delete(section);
    if (status != TOMO_OK) {
        (void)snprintf(text, size, "%s", err.message);
        return text;
    }
    tomo_tensor patches = test_tensor(scans, tomo_json_get(entry, "scan")->valuestring);
    int64_t S = patches.shape[0], P = patches.shape[1], C = patches.shape[2];
    float *descriptors = malloc((size_t)(S * C) * sizeof *descriptors);
    tomo_describe_slices(tomo_tensor_f32(&patches), S, P, C, descriptors);
    tomo_prune_result result = {0};
    tomo_pruner *pruner = NULL;
    bool keep;
    status = tomo_pruner_create(&settings, P, C, &pruner, &err);
    for (int64_t i = 0; i < S && status == TOMO_OK; i++) {
        status =
            tomo_pruner_push(pruner, descriptors + i * C, tomo_tensor_f32(&patches) + i * P * C, &keep, &err);
    }
    if (status == TOMO_OK) status = tomo_pruner_finish(pruner, &result, &err);
    tomo_pruner_free(pruner);
    free(descriptors);
    if (status != TOMO_OK) {
        (void)snprintf(text, size, "%s", err.message);
        return text;
    }
    const cJSON *kept = tomo_json_get(entry, "kept");
    bool same = cJSON_GetArraySize(kept) == (int)result.count;
    for (int i = 0; i < (int)result.count && same; i++) {
        same = (int64_t)cJSON_GetArrayItem(kept, i)->valuedouble == result.kept[i];
    }
    (void)snprintf(text, size, "threshold %g, %lld to %lld slices%s: %lld kept; %d are recorded, or others",
                   settings.threshold, (long long)settings.min_slices, (long long)settings.max_slices,
                   settings.guard ? ", guard" : "", (long long)result.count, cJSON_GetArraySize(kept));
    tomo_prune_free(&result);
    return same ? NULL : text;
}

static void run_prune(parity *p, const char *name, const char *folder) {
    tomo_error err = {0};
    char *path = tomo_path_join(folder, "cases.json"), label[128], text[256];
    cJSON *cases = NULL;
    tomo_checkpoint *scans = test_open_tensors(folder, "patches.safetensors", &err);
    if (scans == NULL || tomo_json_open(path, &cases, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    }
    const cJSON *entry;
    int index = 0;
    cJSON_ArrayForEach(entry, cases) {
        (void)snprintf(label, sizeof label, "%s/%d", name, index++);
        const char *wrong = run_prune_case(entry, scans, text, sizeof text);
        if (wrong == NULL) {
            parity_pass(p, label);
        } else {
            parity_fail(p, label, "%s", wrong);
        }
    }
    cJSON_Delete(cases);
    tomo_checkpoint_free(scans);
    free(path);
}

static void run(parity *p, const char *name, const char *folder) {
    char *path = tomo_path_join(folder, "cases.json");
    if (tomo_path_exists(path)) {
        run_prune(p, name, folder);
    } else {
        run_connector(p, name, folder);
    }
    free(path);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "connector");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
