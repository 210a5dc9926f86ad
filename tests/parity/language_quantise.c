/* language_quantise.c - language-model cases written as quantised GGUF files and read back: every tensor as
 * near as its blocks allow, and logits of a full pass.
 *
 * Tolerance of a tensor: half a step of its block, which for Q8_0 is 1/254 and for Q4_1 1/30 of a block's
 * range, with the scale's own rounding to half floats. F32 tensors are equal. Logits of the tiny random
 * models move by a few hundredths (Q8_0: relative L2 0.05); a wrong order of rows or a wrong scale costs 1
 * and more (README of the cases). */
#include "base/file.h"
#include "base/folder.h"
#include "language/decoder.h"
#include "language/quantise.h"
#include "support/tensors.h"
#include "support/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static test_machine machine;

/* What a block may be off by, for values of at most `largest` in magnitude. */
static double step_of(tomo_dtype dtype, double largest) {
    if (dtype == TOMO_Q8_0) return largest * (0.5 / 127 + 1e-3);
    if (dtype == TOMO_Q4_0) return largest * (1.0 / 8 + 1e-3); /* the end that is cut off is one step away */
    if (dtype == TOMO_Q4_1) return largest * (1.0 / 15 + 2e-3);
    return 0;
}

static const char *compare_tensor(const tomo_stored *want, const tomo_stored *got) {
    static char message[256];
    float *a = calloc((size_t)want->count, sizeof *a), *b = calloc((size_t)want->count, sizeof *b);
    double largest = 0, off = 0;
    machine.kernels->widen(a, want->data, want->dtype, want->count);
    machine.kernels->widen(b, got->data, got->dtype, got->count);
    for (int64_t i = 0; i < want->count; i++) {
        largest = fmax(largest, fabs((double)a[i]));
        off = fmax(off, fabs((double)a[i] - (double)b[i]));
    }
    free(a);
    free(b);
    if (off <= step_of(got->dtype, largest)) return NULL;
    (void)snprintf(message, sizeof message, "%s (%s) is %.3g off of at most %.3g", want->name,
                   tomo_dtype_name(got->dtype), off, largest);
    return message;
}

static const char *compare_tensors(const char *folder, const char *file) {
    tomo_checkpoint *want = NULL, *got = NULL;
    static char message[256];
    tomo_error err = {0};
    const char *wrong = NULL;
    if (tomo_checkpoint_open(folder, &want, &err) != TOMO_OK ||
        tomo_checkpoint_open(file, &got, &err) != TOMO_OK) {
        (void)snprintf(message, sizeof message, "%s", err.message);
        wrong = message;
    }
    for (size_t i = 0; wrong == NULL && i < tomo_checkpoint_count(got); i++) {
        const tomo_stored *t = tomo_checkpoint_at(got, i), *from = tomo_checkpoint_find(want, t->name);
        if (strcmp(t->name, "rope_freqs.weight") == 0) continue;
        if (from == NULL || from->count != t->count) {
            wrong = "a tensor that the model does not have";
        } else {
            wrong = compare_tensor(from, t);
        }
    }
    tomo_checkpoint_free(want);
    tomo_checkpoint_free(got);
    return wrong;
}

static const char *compare_logits(const char *folder, const char *file) {
    static char message[512];
    tomo_error err = {0};
    tomo_decoder *decoder = NULL;
    tomo_kv_cache *cache = NULL;
    const char *wrong = NULL;
    tomo_checkpoint *inputs = test_open_tensors(folder, "inputs.safetensors", &err);
    tomo_checkpoint *expected = test_open_tensors(folder, "expected.safetensors", &err);
    if (inputs == NULL || expected == NULL ||
        tomo_decoder_open(file, NULL, false, &decoder, &err) != TOMO_OK ||
        tomo_kv_cache_create(decoder, 512, &cache, &err) != TOMO_OK) {
        (void)snprintf(message, sizeof message, "%s", err.message);
        wrong = message;
    } else {
        tomo_tensor ids = test_tensor(inputs, "input_ids"), want = test_tensor(expected, "logits");
        int32_t tokens[512];
        int64_t count = tomo_tensor_width(&ids) < 512 ? tomo_tensor_width(&ids) : 512;
        for (int64_t i = 0; i < count; i++) tokens[i] = (int32_t)((const int64_t *)ids.data)[i];
        tomo_tensor *x = tomo_decoder_embed(decoder, &machine.exec, tokens, count);
        x = tomo_decoder_logits(decoder, &machine.exec,
                                tomo_decoder_forward(decoder, &machine.exec, cache, x));
        double off =
            x == NULL ? INFINITY
                      : parity_relative_l2(tomo_tensor_f32(x), tomo_tensor_f32(&want), tomo_tensor_count(x));
        (void)snprintf(message, sizeof message, "logits have a relative L2 error of %.3g; 0.05 is allowed",
                       off);
        if (!(off <= 0.05)) wrong = message;
        tomo_arena_reset(machine.exec.arena);
    }
    tomo_kv_cache_free(cache);
    tomo_decoder_free(decoder);
    tomo_checkpoint_free(inputs);
    tomo_checkpoint_free(expected);
    return wrong;
}

/* The model with a tokenizer, which the file must hold. */
static bool lend_tokenizer(const char *folder, const char *model) {
    return tomo_folder_copy(model, folder, NULL, NULL) == TOMO_OK &&
           tomo_folder_write(folder, "tokenizer.json", TEST_TOKENIZER, NULL) == TOMO_OK;
}

/* False: the family is not read, and no other type need be tried. */
static bool run_type(parity *p, const char *name, const char *folder, const char *model, tomo_dtype dtype) {
    char label[160], *file = tomo_path_join(model, "out.gguf");
    tomo_error err = {0};
    (void)snprintf(label, sizeof label, "%s as %s", name, tomo_dtype_name(dtype));
    tomo_status status = tomo_language_quantise(model, file, dtype, machine.kernels, NULL, &err);
    const char *wrong = status != TOMO_OK ? err.message : compare_tensors(model, file);
    if (wrong == NULL && dtype == TOMO_Q8_0) wrong = compare_logits(folder, file);
    if (status == TOMO_E_UNSUPPORTED) {
        parity_skip(p, label, "%s", err.message);
    } else if (wrong != NULL) {
        parity_fail(p, label, "%s", wrong);
    } else {
        parity_pass(p, label);
    }
    (void)unlink(file);
    free(file);
    return status != TOMO_E_UNSUPPORTED;
}

static void run(parity *p, const char *name, const char *folder) {
    char *model = tomo_path_join(folder, "model"), place[] = "/tmp/tomo-quantise-XXXXXX", command[64];
    static const tomo_dtype types[] = {TOMO_Q8_0, TOMO_Q4_0, TOMO_Q4_1};
    if (model != NULL && tomo_path_is_folder(model) && mkdtemp(place) != NULL) {
        if (lend_tokenizer(place, model)) {
            for (size_t i = 0; i < 3 && run_type(p, name, folder, place, types[i]); i++) continue;
        } else {
            parity_fail(p, name, "%s: cannot copy", model);
        }
        (void)snprintf(command, sizeof command, "rm -r '%s'", place);
        if (system(command) != 0) parity_fail(p, name, "%s: cannot remove", place);
    }
    free(model);
}

int main(void) {
    parity p;
    tomo_error err = {0};
    parity_begin(&p, "language");
    if (!test_machine_open(&machine, &err)) {
        parity_fail(&p, "machine", "%s", err.message);
    } else {
        parity_each_folder(&p, "", run);
    }
    test_machine_close(&machine);
    return parity_end(&p);
}
