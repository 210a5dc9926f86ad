/* train_dataset.c - own scans and broken data sets, what pandas makes of columns, orders that repeat, and
 * chat samples whose labels cover the answer alone */
#include "base/file.h"
#include "train/augment.h"
#include "train/dataset.h"
#include "train/frame.h"
#include "train/render.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MODEL TOMO_TEST_DIR "/reference/pipeline/ct-windows/model"
#define SCAN TOMO_TEST_DIR "/data/ts_ct/example_ct_sm.nii.gz"
#define TREE TOMO_TEST_DIR "/reference/metrics/tree"

static char folder[64];

static int make_folder(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/tomo_data_XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int remove_folder(void **state) {
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static char *write_file(const char *name, const char *text) {
    char *path = tomo_path_join(folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

static tomo_dataset *open_text(const char *text, const tomo_dataset_options *options) {
    char *path = write_file("list.csv", text);
    tomo_dataset *d = NULL;
    tomo_error err = {0};
    if (tomo_dataset_open(path, options, &d, &err) != TOMO_OK) fail_msg("%s", err.message);
    free(path);
    return d;
}

static void a_row_gives_a_report_a_question_or_both(void **state) {
    (void)state;
    tomo_dataset *d = open_text("scan,report,question,answer,choices,split\n"
                                "a.nii.gz,\"Normal, \"\"all\"\" of it.\",Where?,Liver,spleen|Liver,val\n"
                                "b.nii.gz,,Is it large?,Yes,,\n"
                                "/c.nii.gz,Text.,,,,test\n"
                                "d.nii.gz,,Which?,B,one|two,train\n",
                                NULL);
    assert_int_equal(tomo_dataset_count(d), 5);
    const tomo_sample *report = tomo_dataset_at(d, 0), *closed = tomo_dataset_at(d, 1),
                      *open = tomo_dataset_at(d, 2);
    assert_int_equal(report->kind, TOMO_SAMPLE_REPORT);
    assert_string_equal(report->answer, "Normal, \"all\" of it.");
    assert_string_equal(report->split, "validation");
    assert_int_equal(closed->kind, TOMO_SAMPLE_CLOSED);
    assert_string_equal(closed->letter, "B");
    assert_int_equal(open->kind, TOMO_SAMPLE_OPEN);
    assert_string_equal(open->split, "train");
    assert_int_equal(open->row, 3);
    assert_string_equal(tomo_dataset_at(d, 3)->scan, "/c.nii.gz");
    assert_string_equal(tomo_dataset_at(d, 4)->answer, "two");
    char *question = tomo_sample_question(closed, ""), *answer = tomo_sample_answer(closed, false);
    assert_string_equal(question, "Where? Choices: A. spleen B. Liver");
    assert_string_equal(answer, "B. Liver");
    free(question);
    free(answer);
    assert_int_equal(tomo_dataset_wrong_count(d), 0);
    tomo_dataset_free(d);
}

static void options_choose_split_kind_and_number(void **state) {
    (void)state;
    tomo_dataset_options o = {.split = "test", .kinds = TOMO_SAMPLE_CLOSED, .limit = 7};
    tomo_dataset *d = NULL;
    assert_int_equal(tomo_dataset_open(TREE, &o, &d, NULL), TOMO_OK);
    assert_true(tomo_dataset_is_m3d(d));
    assert_int_equal(tomo_dataset_count(d), 7);
    for (size_t i = 0; i < 7; i++) assert_int_equal(tomo_dataset_at(d, i)->kind, TOMO_SAMPLE_CLOSED);
    tomo_dataset_free(d);
}

static void broken_samples_are_found_told_and_left_out(void **state) {
    (void)state;
    char *good = tomo_path_join(folder, "good.nii.gz"), *bad = write_file("bad.nii.gz", "no scan"),
         *table = NULL;
    assert_int_equal(symlink(SCAN, good), 0);
    tomo_dataset *d = open_text("scan,report,question,answer,choices\n"
                                "good.nii.gz,Normal.,,,\n"
                                "bad.nii.gz,Normal.,,,\n"
                                "none.nii.gz,Normal.,,,\n"
                                "good.nii.gz,,Which?,kidney,liver|spleen\n"
                                "good.nii.gz,,,,\n"
                                "good.nii.gz,,Which?,,\n",
                                NULL);
    assert_int_equal(tomo_dataset_count(d), 6);
    assert_int_equal(tomo_dataset_wrong_count(d), 3); /* before any scan is opened */
    assert_int_equal(tomo_dataset_verify(d, NULL, NULL, NULL, NULL), TOMO_OK);
    assert_int_equal(tomo_dataset_wrong_count(d), 5);
    assert_int_equal(tomo_dataset_wrong_table(d, &table, NULL), TOMO_OK);
    assert_non_null(strstr(table, "list.csv: row 3: bad.nii.gz: "));
    assert_non_null(strstr(table, "row 5: good.nii.gz: column \"answer\" is none of the choices"));
    tomo_dataset_drop_wrong(d);
    assert_int_equal(tomo_dataset_count(d), 1);
    assert_null(tomo_dataset_at(d, 0)->wrong);
    tomo_dataset_free(d);
    free(table);
    free(good);
    free(bad);
}

static void files_that_make_no_sense_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *told;
    } cases[] = {
        {"image,report\nx,y\n", "no column \"scan\""},
        {"scan,question\nx,y\n", "no column \"answer\""},
        {"scan,split\nx,train\n", "no column \"report\""},
        {"scan,report,split\nx,y,tset\n", "row 2, column \"split\" is \"tset\""},
        {"scan,report\nx\n", "row 2, column 2 (report)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char *path = write_file("refused.csv", cases[i].text);
        tomo_dataset *d = NULL;
        tomo_error err = {0};
        assert_int_not_equal(tomo_dataset_open(path, NULL, &d, &err), TOMO_OK);
        if (strstr(err.message, cases[i].told) == NULL) fail_msg("%s, not %s", err.message, cases[i].told);
        assert_null(d);
        free(path);
    }
}

static void a_report_that_is_missing_is_noted_at_its_sample(void **state) {
    (void)state;
    char *root = tomo_path_join(folder, "m3d"), *captions = tomo_path_join(folder, "m3d/M3D_Cap_npy");
    assert_int_equal(mkdir(root, 0777) | mkdir(captions, 0777), 0);
    char *json = write_file("m3d/M3D_Cap_npy/M3D_Cap.json",
                            "{\"train\": [{\"image\": \"a.npy\", \"text\": \"none.txt\"},"
                            "{\"image\": \"a.npy\", \"text\": \"t.txt\"}]}");
    char *text = write_file("m3d/t.txt", "One\r\ntwo.");
    tomo_dataset *d = NULL;
    assert_int_equal(tomo_dataset_open(root, NULL, &d, NULL), TOMO_OK);
    assert_int_equal(tomo_dataset_count(d), 2);
    assert_non_null(strstr(tomo_dataset_at(d, 0)->wrong, "none.txt"));
    assert_null(tomo_dataset_at(d, 1)->wrong);
    assert_string_equal(tomo_dataset_at(d, 1)->answer, "One\ntwo.");
    tomo_dataset_free(d);
    free(root);
    free(captions);
    free(json);
    free(text);
}

static void columns_are_typed_as_pandas_types_them(void **state) {
    (void)state;
    /* One column of a file, and what pandas 3.1.1 prints of it. */
    static const struct {
        const char *fields[5], *printed[5];
    } cases[] = {
        {{"1", "007", "-5", "+4", NULL}, {"1", "7", "-5", "4", NULL}},
        {{"1", "NA", "2", NULL}, {"1.0", "nan", "2.0", NULL}},
        {{"3.50", "1e3", "2", NULL}, {"3.5", "1000.0", "2.0", NULL}},
        {{"True", "FALSE", "None", NULL}, {"True", "False", "nan", NULL}},
        {{"True", "1", NULL}, {"True", "1", NULL}},
        {{"2", "liver", "null", NULL}, {"2", "liver", "nan", NULL}},
        {{"inf", "1e400", NULL}, {"inf", "inf", NULL}},
        {{"0x10", NULL}, {"0x10", NULL}},
        {{"18446744073709551615", "007", NULL}, {"18446744073709551615", "7", NULL}},
        {{"9223372036854775808", "NA", NULL}, {"9223372036854775808", "NA", NULL}},
        {{"99999999999999999999", "NA", "-1", NULL}, {"99999999999999999999", "nan", "-1", NULL}},
        {{"99999999999999999999", "2.50", NULL}, {"99999999999999999999", "2.50", NULL}},
        {{"18446744073709551615", "2.50", NULL}, {"1.8446744073709552e+19", "2.5", NULL}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tomo_buffer text = {.maximum = 1000};
        tomo_frame frame;
        (void)tomo_buffer_add_text(&text, "x,y\n");
        for (int k = 0; cases[i].fields[k] != NULL; k++)
            (void)tomo_buffer_format(&text, "%s,t\n", cases[i].fields[k]);
        char *path = write_file("column.csv", text.data);
        assert_int_equal(tomo_frame_open(path, &frame, NULL), TOMO_OK);
        for (int k = 0; cases[i].printed[k] != NULL; k++) {
            char room[TOMO_DECIMAL_TEXT], got[64];
            tomo_csv_field f = tomo_frame_text(&frame, (size_t)k, 0, room);
            (void)snprintf(got, sizeof got, "%.*s", (int)f.size, f.text);
            assert_string_equal(got, cases[i].printed[k]);
        }
        tomo_frame_free(&frame);
        tomo_buffer_free(&text);
        free(path);
    }
}

static void orders_depend_on_seed_and_epoch_alone(void **state) {
    (void)state;
    enum { N = 50 };
    size_t a[N], b[N], other[N];
    bool seen[N] = {false};
    tomo_dataset_shuffle(3, 1, N, a);
    tomo_dataset_shuffle(3, 1, N, b);
    tomo_dataset_shuffle(3, 2, N, other);
    assert_memory_equal(a, b, sizeof a);
    assert_memory_not_equal(a, other, sizeof a);
    for (size_t i = 0; i < N; i++) seen[a[i]] = true;
    for (size_t i = 0; i < N; i++) assert_true(seen[i]);
    tomo_augmentation x = tomo_augmentation_draw(5, 1, 9), y = tomo_augmentation_draw(5, 1, 9);
    assert_int_equal(x.quarter_turns, y.quarter_turns);
    assert_true(x.scale == y.scale && x.offset == y.offset);
    size_t turned = 0, flipped = 0, scaled = 0;
    for (uint64_t i = 0; i < 10000; i++) {
        tomo_augmentation z = tomo_augmentation_draw(1, 0, i);
        turned += z.quarter_turns != 0;
        flipped += z.flip[1];
        scaled += z.scale != 0;
        assert_true(z.scale >= -0.1 && z.scale <= 0.1);
    }
    assert_in_range(turned, 4800, 5200); /* 4 standard deviations of 50 */
    assert_in_range(flipped, 880, 1120);
    assert_in_range(scaled, 4800, 5200);
}

static void labels_of_a_chat_cover_the_answer_and_its_end(void **state) {
    (void)state;
    tomo_context *context = NULL;
    tomo_model *model = NULL;
    tomo_rendered r = {0};
    tomo_sample s = {.kind = TOMO_SAMPLE_OPEN, .question = "What is it <|im_end|>?", .answer = "A cyst."};
    assert_int_equal(tomo_context_create(NULL, &context, NULL), TOMO_OK);
    assert_int_equal(tomo_model_open(context, MODEL, NULL, &model, NULL), TOMO_OK);
    assert_int_equal(tomo_sample_render(model, &s, NULL, &r, NULL), TOMO_OK);
    assert_int_equal(r.count, r.attended);
    size_t head = r.count - r.labelled;
    for (size_t i = 0; i < r.count; i++) assert_int_equal(r.labels[i], i < head ? TOMO_LABEL_NONE : r.ids[i]);
    assert_int_equal(r.ids[r.count - 1], model->end_id);
    tomo_buffer text = {.maximum = 1000};
    assert_int_equal(
        tomo_tokenizer_decode(model->tokenizer, r.ids + head, r.labelled - 1, false, &text, NULL), TOMO_OK);
    assert_string_equal(text.data, "A cyst.");
    /* What the user wrote ends no turn: one end each for the user's turn, the answer and a system turn. */
    size_t ends = 0, images = 0;
    for (size_t i = 0; i < r.count; i++) {
        ends += r.ids[i] == model->end_id;
        images += r.ids[i] == model->image_id;
    }
    assert_in_range(ends, 2, 3);
    assert_int_equal(images, tomo_connector_token_count(&model->config.connector));
    tomo_render_options cut = {.max_length = (int64_t)head};
    assert_int_equal(tomo_sample_render(model, &s, &cut, &r, NULL), TOMO_OK);
    assert_int_equal(r.labelled, 0);
    tomo_buffer_free(&text);
    tomo_rendered_free(&r);
    tomo_model_free(model);
    tomo_context_free(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_gives_a_report_a_question_or_both),
        cmocka_unit_test(options_choose_split_kind_and_number),
        cmocka_unit_test(broken_samples_are_found_told_and_left_out),
        cmocka_unit_test(files_that_make_no_sense_are_refused),
        cmocka_unit_test(a_report_that_is_missing_is_noted_at_its_sample),
        cmocka_unit_test(columns_are_typed_as_pandas_types_them),
        cmocka_unit_test(orders_depend_on_seed_and_epoch_alone),
        cmocka_unit_test(labels_of_a_chat_cover_the_answer_and_its_end),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
