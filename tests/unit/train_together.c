/* train_together.c - texts of one scan that share its visual prefix: the order that brings them together, and
 * losses and gradients as if each text had been alone. */
#include "base/file.h"
#include "base/folder.h"
#include "model/context.h"
#include "train/order.h"
#include "train/task.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MODELS TOMO_TEST_DIR "/reference/pipeline/"
#define SCANS TOMO_TEST_DIR "/data/ts_ct/"

/* ------------------------------------------------------------------------------- order */

#define SAMPLES 60
#define TOGETHER 4

/* Scans of 1, 2, ... 10 samples and more, mixed. */
static void number_scans(size_t *scan_of) {
    for (size_t i = 0, scan = 0; i < SAMPLES; i++) {
        scan_of[i * 7 % SAMPLES] = scan;
        if (i + 1 == (scan + 1) * (scan + 2) / 2) scan++;
    }
}

/* How many samples of one scan stand next to each other from `first` on. */
static size_t run_length(const tomo_order *o, size_t first) {
    size_t end = first + 1;
    while (end < o->count && o->scan_of[o->at[end]] == o->scan_of[o->at[first]]) end++;
    return end - first;
}

static void samples_of_a_scan_stand_together(void **state) {
    (void)state;
    size_t scan_of[SAMPLES], before[SAMPLES], groups = 0, runs = 0, sizes[SAMPLES] = {0};
    tomo_order o, alone;
    number_scans(scan_of);
    assert_int_equal(tomo_order_create(SAMPLES, TOGETHER, scan_of, &o, NULL), TOMO_OK);
    for (size_t i = 0; i < SAMPLES; i++) sizes[scan_of[i]]++;
    for (size_t s = 0; s < o.scans; s++) groups += (sizes[s] + TOGETHER - 1) / TOGETHER;
    for (uint64_t epoch = 0; epoch < 20; epoch++) {
        bool seen[SAMPLES] = {false};
        tomo_order_draw(&o, 5, epoch);
        for (size_t i = 0; i < SAMPLES; i++) {
            assert_false(seen[o.at[i]]);
            seen[o.at[i]] = true;
        }
        runs = 0;
        for (size_t i = 0; i < SAMPLES; i += run_length(&o, i)) runs++;
        assert_in_range(runs, o.scans, groups); /* groups of a scan may meet by chance */
        if (epoch > 0) assert_memory_not_equal(before, o.at, sizeof before);
        memcpy(before, o.at, sizeof before);
        tomo_order_draw(&o, 5, epoch);
        assert_memory_equal(before, o.at, sizeof before);
    }
    tomo_order_free(&o);
    assert_int_equal(tomo_order_create(SAMPLES, 1, scan_of, &alone, NULL), TOMO_OK);
    tomo_order_draw(&alone, 5, 3);
    tomo_dataset_shuffle(5, 3, SAMPLES, before);
    assert_memory_equal(before, alone.at, sizeof before);
    tomo_order_free(&alone);
}

/* No batch of many epochs has members of more groups than was said beforehand. */
static void the_most_groups_of_a_batch_are_known(void **state) {
    (void)state;
    size_t scan_of[SAMPLES];
    tomo_order o;
    number_scans(scan_of);
    assert_int_equal(tomo_order_create(SAMPLES, TOGETHER, scan_of, &o, NULL), TOMO_OK);
    for (size_t batch = 1; batch <= 2 * SAMPLES; batch += batch < 9 ? 1 : 13) {
        size_t most = tomo_order_most_groups(&o, batch);
        assert_in_range(most, 1, batch);
        for (uint64_t first = 0, count = 0, runs = 0, last = SAMPLES; first < 200 * SAMPLES; first++) {
            if (first % SAMPLES == 0) tomo_order_draw(&o, 9, first / SAMPLES);
            size_t scan = scan_of[o.at[first % SAMPLES]];
            runs += count == 0 || scan != last;
            last = scan;
            if (++count < batch) continue;
            assert_true(runs <= most);
            count = runs = 0;
        }
    }
    tomo_order_free(&o);
}

/* ------------------------------------------------------------------------------ passes */

/* Two scans with texts of several lengths, those of the first one on both sides of the other's. */
static const char *const rows[] = {
    "example_ct_sm.nii.gz,\"A nodule of 8 mm in the left lobe, and nothing else of note.\",,,",
    "example_ct_sm.nii.gz,,Is there free fluid?,no,yes|no",
    "example_ct_sm.nii.gz,,What is seen in the liver?,A cyst.,",
    "example_ct.nii.gz,No focal lesion.,,,",
    "example_ct.nii.gz,,Which organ is enlarged?,the spleen,the liver|the spleen",
    "example_ct_sm.nii.gz,,How large is the nodule?,8 mm,",
};
#define ROWS ((int64_t)(sizeof rows / sizeof rows[0]))

typedef struct trial {
    char folder[64];
    tomo_context *context;
    tomo_recipe recipe;
    tomo_trainee trainee;
    tomo_task *task;
    double sum;      /* of losses */
    int64_t learned; /* losses */
    int64_t rows;    /* of the language model */
} trial;

static void write_files(trial *t, const char *model, const char *parts, const char *precision, int together) {
    char csv[2048] = "scan,report,question,answer,choices\n", recipe[2048];
    for (int64_t i = 0; i < ROWS; i++) {
        size_t used = strlen(csv);
        (void)snprintf(csv + used, sizeof csv - used, SCANS "%s\n", rows[i]);
    }
    assert_int_equal(tomo_folder_write(t->folder, "data.csv", csv, NULL), TOMO_OK);
    (void)snprintf(recipe, sizeof recipe,
                   "{\"run\": \"run\", \"model\": \"" MODELS "%s/model\", \"precision\": \"%s\", \"data\": "
                   "{\"path\": \"data.csv\", \"together\": %d}, \"stages\": [{\"train\": [%s], "
                   "\"learning_rate\": 1, \"steps\": 1, \"batch\": %d}]}",
                   model, precision, together, parts, (int)ROWS);
    assert_int_equal(tomo_folder_write(t->folder, "recipe.json", recipe, NULL), TOMO_OK);
}

static trial open_trial(const char *model, const char *parts, const char *precision, int together,
                        int threads) {
    trial t = {.folder = "/tmp/tomo-together-XXXXXX"};
    tomo_error err = {0};
    assert_non_null(mkdtemp(t.folder));
    write_files(&t, model, parts, precision, together);
    char *path = tomo_path_join(t.folder, "recipe.json"), *start = tomo_path_join(t.folder, "start");
    tomo_status status = tomo_context_create(&(tomo_context_options){.threads = threads}, &t.context, &err);
    if (status == TOMO_OK) status = tomo_recipe_read(path, &t.recipe, &err);
    tomo_trainee_options o = {t.recipe.model, t.recipe.precision, NULL, start};
    if (status == TOMO_OK) status = tomo_trainee_open(t.context, &o, &t.trainee, &err);
    if (status == TOMO_OK) status = tomo_trainee_prepare(&t.trainee, &t.recipe.stages[0], 1, &err);
    if (status != TOMO_OK) fail_msg("%s", err.message);
    free(path);
    free(start);
    return t;
}

/* `batch` samples at a time, in the order of the file; gradients add up. */
static void learn(trial *t, int64_t batch) {
    tomo_error err = {0};
    tomo_task_options o = {.context = t->context,
                           .stage = &t->recipe.stages[0],
                           .trainee = &t->trainee,
                           .run = t->folder,
                           .slots = ROWS};
    tomo_status status = tomo_task_report(&o, &t->task, &err);
    if (status == TOMO_OK) status = t->task->kind->reserve(t->task, &err);
    if (status != TOMO_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < t->task->trained.count; i++) {
        const tomo_tensor *p = &t->task->trained.list[i].tensor;
        memset(p->grad, 0, (size_t)tomo_tensor_count(p) * sizeof *p->grad);
    }
    for (int64_t i = 0; i < ROWS; i += batch) {
        tomo_pick picks[ROWS];
        tomo_passed passed;
        for (int64_t k = 0; k < batch; k++) {
            int64_t weight;
            picks[k] = (tomo_pick){0, (size_t)(i + k)};
            status = t->task->kind->weigh(t->task, TOMO_SPLIT_TRAIN, picks[k], k, &weight, &err);
            if (status != TOMO_OK) fail_msg("%s", err.message);
        }
        tomo_pass pass = {TOMO_SPLIT_TRAIN, picks, batch, 0, 1};
        if (t->task->kind->pass(t->task, &pass, &passed, &err) != TOMO_OK) fail_msg("%s", err.message);
        t->sum += passed.sum;
        t->learned += passed.learned;
        t->rows += passed.rows;
    }
}

static void close_trial(trial *t) {
    tomo_task_free(t->task);
    tomo_trainee_free(&t->trainee);
    tomo_recipe_free(&t->recipe);
    tomo_context_free(t->context);
    tomo_folder_remove(t->folder);
}

/* The largest difference of a parameter's gradients as a part of its largest value, over all parameters. */
static double worst_gradient(const trial *a, const trial *b) {
    double worst = 0;
    for (size_t i = 0; i < a->task->trained.count; i++) {
        const tomo_tensor *p = &a->task->trained.list[i].tensor, *q = &b->task->trained.list[i].tensor;
        double size = 0, off = 0;
        for (int64_t k = 0; k < tomo_tensor_count(p); k++) {
            size = fmax(size, fabs((double)p->grad[k]));
            off = fmax(off, fabs((double)p->grad[k] - (double)q->grad[k]));
        }
        if (size > 1e-6) worst = fmax(worst, off / size);
    }
    return worst;
}

/* allowed: of losses and gradients. */
static void compare(const char *model, const char *parts, const char *precision, double allowed) {
    trial alone = open_trial(model, parts, precision, 1, 2);
    trial shared = open_trial(model, parts, precision, 16, 2);
    learn(&alone, 1);
    learn(&shared, ROWS);
    double loss = fabs(shared.sum - alone.sum) / alone.sum, gradients = worst_gradient(&alone, &shared);
    print_message("%s, %s: losses %.1e, gradients %.1e off\n", model, precision, loss, gradients);
    assert_int_equal(alone.learned, shared.learned);
    /* three texts and two are families: three prefixes with their visual tokens are left out */
    int64_t saved = alone.rows - shared.rows;
    assert_true(saved % 3 == 0);
    assert_true(saved >= 3 * tomo_connector_token_count(&shared.trainee.model->config.connector));
    assert_true(alone.learned > 0 && loss <= allowed && gradients <= allowed);
    close_trial(&alone);
    close_trial(&shared);
}

/* The same products in another order of sums, a few hundred deep: relative 1e-4 of the largest gradient of a
 * parameter is far above what float32 loses over them and far below any row that was missed. */
static void a_shared_prefix_changes_no_loss_and_no_gradient(void **state) {
    (void)state;
    compare("ct-windows", "\"connector\", \"language\"", "f32", 1e-4);
    compare("ct-windows", "\"connector\", \"lora\"", "f32", 1e-4);
    compare("ct-m3d-biomedclip-adapter", "\"connector\", \"lora\"", "f32", 1e-4);
}

/* A float that moves in its last place may be rounded to the next BF16, 2^-8 away; a layer averages over
 * dozens of them. */
static void so_it_is_with_packed_weights(void **state) {
    (void)state;
    compare("ct-windows", "\"connector\", \"lora\"", "fast", 1e-2);
}

static void threads_give_the_same_bits(void **state) {
    (void)state;
    trial one = open_trial("ct-windows", "\"connector\", \"language\"", "f32", 16, 1);
    trial three = open_trial("ct-windows", "\"connector\", \"language\"", "f32", 16, 3);
    learn(&one, ROWS);
    learn(&three, ROWS);
    assert_true(one.sum == three.sum);
    assert_true(worst_gradient(&one, &three) == 0);
    close_trial(&one);
    close_trial(&three);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(samples_of_a_scan_stand_together),
        cmocka_unit_test(the_most_groups_of_a_batch_are_known),
        cmocka_unit_test(a_shared_prefix_changes_no_loss_and_no_gradient),
        cmocka_unit_test(so_it_is_with_packed_weights),
        cmocka_unit_test(threads_give_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
