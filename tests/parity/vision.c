/* vision.c - the 2D encoders against reference/vision: every hidden state, at the native and other image
 * sizes.
 *
 * Tolerance 2e-5 of a tensor's largest value: ten times the worst float32 error of PyTorch against float64, a
 * sixth of what the smallest mistake causes (reference/vision/README.md). */
#include "base/file.h"
#include "support/tensors.h"
#include "vision/encoder.h"

#include <stdlib.h>
#include <string.h>

static test_machine machine;

/* Runs inputsSUFFIX and compares with expectedSUFFIX; what is wrong goes to text ("" when nothing). */
static void run_inputs(const tomo_encoder *encoder, const char *folder, const char *suffix, char *text,
                       size_t size) {
    char name[128];
    tomo_error err = {0};
    text[0] = '\0';
    (void)snprintf(name, sizeof name, "inputs%s.safetensors", suffix);
    tomo_checkpoint *inputs = test_open_tensors(folder, name, &err);
    (void)snprintf(name, sizeof name, "expected%s.safetensors", suffix);
    tomo_checkpoint *expected = test_open_tensors(folder, name, &err);
    if (inputs == NULL || expected == NULL) {
        (void)snprintf(text, size, "%s", err.message);
    } else {
        test_compare compare = {.expected = expected, .measure = TEST_OF_LARGEST, .tolerance = 2e-5};
        tomo_trace trace = {test_compare_see, &compare};
        machine.exec.trace = &trace;
        tomo_tensor pixels = test_tensor(inputs, "pixel_values");
        (void)tomo_vit_forward(tomo_encoder_vit(encoder), &machine.exec, &pixels, NULL, 0, NULL);
        machine.exec.trace = NULL;
        int recorded = 0;
        for (size_t i = 0; i < tomo_checkpoint_count(expected); i++) {
            recorded += strncmp(tomo_checkpoint_at(expected, i)->name, "debug.", 6) != 0;
        }
        if (tomo_exec_status(&machine.exec, &err) != TOMO_OK) {
            (void)snprintf(text, size, "%s", err.message);
        } else if (compare.failure[0] != '\0') {
            (void)snprintf(text, size, "%s: %s", name, compare.failure);
        } else if (compare.compared != recorded) {
            (void)snprintf(text, size, "%s: %d of %d recorded tensors were computed", name, compare.compared,
                           recorded);
        }
        tomo_arena_reset(machine.exec.arena);
    }
    tomo_checkpoint_free(inputs);
    tomo_checkpoint_free(expected);
}

/* "", "_resized", "_resized2", ...: every inputsSUFFIX.safetensors of the case. */
static void run_sizes(parity *p, const char *label, const tomo_encoder *encoder, const char *folder) {
    char suffix[32] = "", name[160], text[640];
    for (int i = 0; i < 100; i++) {
        if (i == 1) (void)snprintf(suffix, sizeof suffix, "_resized");
        if (i > 1) (void)snprintf(suffix, sizeof suffix, "_resized%d", i);
        (void)snprintf(name, sizeof name, "inputs%s.safetensors", suffix);
        char *path = tomo_path_join(folder, name);
        bool there = path != NULL && tomo_path_exists(path);
        free(path);
        if (!there) {
            if (i > 1) break;
            continue;
        }
        (void)snprintf(name, sizeof name, "%s%s", label, suffix);
        run_inputs(encoder, folder, suffix, text, sizeof text);
        if (text[0] == '\0') {
            parity_pass(p, name);
        } else {
            parity_fail(p, name, "%s", text);
        }
    }
}

static void run_weights(parity *p, const char *label, const char *model, const char *weights,
                        const char *folder) {
    tomo_encoder *encoder = NULL;
    tomo_error err = {0};
    tomo_status status = tomo_encoder_open_weights(model, weights, &encoder, &err);
    if (status == TOMO_E_UNSUPPORTED) {
        parity_skip(p, label, "%s", err.message);
    } else if (status != TOMO_OK) {
        parity_fail(p, label, "%s", err.message);
    } else {
        run_sizes(p, label, encoder, folder);
    }
    tomo_encoder_free(encoder);
}

static const char *current_model, *current_folder, *current_case;

static void run_file(parity *p, const char *name, const char *path) {
    char label[160];
    (void)snprintf(label, sizeof label, "%s/%s", current_case, name);
    run_weights(p, label, current_model, path, current_folder);
}

/* A model's folder, every further weight file in it, and those beside it. */
static void run(parity *p, const char *name, const char *folder) {
    char *model = tomo_path_join(folder, "model"), inside[160];
    if (model != NULL && tomo_path_is_folder(model)) {
        current_model = model;
        current_folder = folder;
        current_case = name;
        run_weights(p, name, model, model, folder);
        (void)snprintf(inside, sizeof inside, "%s/model", name);
        parity_each_file(p, inside, ".bin", run_file);
        parity_each_file(p, name, ".bin", run_file);
    }
    free(model);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "vision");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
