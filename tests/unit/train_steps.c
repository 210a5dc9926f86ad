/* train_steps.c - a training step allocates nothing once the first ones are done. */
#include "base/file.h"
#include "base/folder.h"
#include "model/context.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/pipeline/ct-windows/model"
#define SCAN TOMO_TEST_DIR "/data/ts_ct/example_ct_sm.nii.gz"
#define OTHER TOMO_TEST_DIR "/data/ts_ct/example_ct.nii.gz"

/* Counts calls of malloc and its kin while `counting`. oneDNN packs its operands in memory of its own within
 * a product; what it asks for is not ours to plan. */
static atomic_bool counting;
static atomic_int allocations;

/* A sanitizer has a malloc of its own. */
#ifndef TOMO_SANITIZED
#define HOOKED 1
static void count(const void *caller) {
    Dl_info info;
    if (!atomic_load(&counting)) return;
    if (dladdr(caller, &info) != 0 && info.dli_fname != NULL && strstr(info.dli_fname, "libdnnl") != NULL)
        return;
    atomic_fetch_add(&allocations, 1);
}
void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *malloc(size_t size) {
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}
void *calloc(size_t number, size_t size) {
    count(__builtin_return_address(0));
    return __libc_calloc(number, size);
}
void *realloc(void *memory, size_t size) {
    count(__builtin_return_address(0));
    return __libc_realloc(memory, size);
}
#else
#define HOOKED 0
#endif

static int64_t steps;

/* From the end of the third step to the end of the tenth; the callback itself is left out. */
static bool on_step(void *user, const tomo_train_progress *progress) {
    (void)user;
    steps = progress->step;
    atomic_store(&counting, HOOKED && steps >= 3 && steps < 10);
    return true;
}

static void write_text(const char *folder, const char *name, const char *text) {
    assert_int_equal(tomo_folder_write(folder, name, text, NULL), TOMO_OK);
}

static void check_steps(int batch, int together) {
    char folder[] = "/tmp/tomo-train-XXXXXX", csv[2048], recipe[4096], *path;
    tomo_context *context = NULL;
    tomo_error err = {0};
    tomo_train_options options = {.step = on_step};
    assert_non_null(mkdtemp(folder));
    (void)snprintf(csv, sizeof csv,
                   "scan,report\n%s,A small mass.\n%s,\"Nothing of note, but the text is longer.\"\n%s,Clear "
                   "lungs.\n%s,Nothing.\n%s,A cyst of the left kidney.\n",
                   SCAN, SCAN, SCAN, OTHER, SCAN);
    write_text(folder, "data.csv", csv);
    (void)snprintf(recipe, sizeof recipe,
                   "{\"run\": \"run\", \"model\": \"%s\", \"data\": {\"path\": \"data.csv\", \"together\": "
                   "%d}, \"stages\": [{\"name\": "
                   "\"all\", \"train\": [\"connector\", \"lora\"], \"learning_rate\": 1e-3, \"steps\": 12, "
                   "\"batch\": %d, \"accumulation\": 2, \"checkpoint_every\": 100}]}",
                   MODEL, together, batch);
    write_text(folder, "recipe.json", recipe);
    path = tomo_path_join(folder, "recipe.json");
    assert_int_equal(tomo_context_create(&(tomo_context_options){.threads = 2}, &context, &err), TOMO_OK);
    tomo_status status = tomo_train(context, path, &options, &err);
    atomic_store(&counting, false);
    if (status != TOMO_OK) fail_msg("%s", err.message);
    assert_int_equal(steps, 12);
    assert_int_equal(atomic_load(&allocations), 0);
    tomo_context_free(context);
    free(path);
    tomo_folder_remove(folder);
}

static void a_step_allocates_nothing(void **state) {
    (void)state;
    check_steps(1, 1);
}

static void nor_does_one_of_texts_that_go_together(void **state) {
    (void)state;
    check_steps(2, 3);
    check_steps(4, 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_allocates_nothing),
                                       cmocka_unit_test(nor_does_one_of_texts_that_go_together)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
