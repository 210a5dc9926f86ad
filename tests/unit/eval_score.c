/* eval_score.c - closed answers by both rules, intervals and paired tests, files merged and compared, rows
 * that are not in training, and what is refused */
#include "base/json.h"
#include "eval/bootstrap.h"
#include "eval/closed.h"
#include "eval/leakage.h"
#include "eval/score.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static tomo_csv_field field(const char *text) {
    return (tomo_csv_field){text, strlen(text)};
}

static void the_strict_rule_wants_one_choice(void **state) {
    (void)state;
    static const struct {
        const char *answer;
        bool right, strict; /* for choice A */
    } cases[] = {
        {"A. Axial", true, true},
        {"(A)", false, true},
        {"A", false, true},
        {"MRA.", true, false},
        {"A. B. C. D.", true, false},
        {"The answer is A.", true, true},
        {"A lesion", false, false},
        {"B. or A. B.", true, false},
        {"a.", false, false},
        {"", false, false},
        {"A: axial, A. again", true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(tomo_closed_is_right(field("A"), field(cases[i].answer)), cases[i].right);
        assert_int_equal(tomo_closed_is_strictly_right(field("A"), field(cases[i].answer)), cases[i].strict);
    }
}

static tomo_context *open_context(int threads) {
    tomo_context *context = NULL;
    tomo_context_options o = {.threads = threads};
    assert_int_equal(tomo_context_create(&o, &context, NULL), TOMO_OK);
    return context;
}

static void intervals_hold_the_mean_and_repeat_for_any_number_of_threads(void **state) {
    (void)state;
    enum { ROWS = 400 };
    double values[ROWS];
    int groups[ROWS];
    for (int i = 0; i < ROWS; i++) {
        values[i] = (i * 7919 % 1000) / 1000.0; /* spread evenly: mean 0.5, deviation 0.289 */
        groups[i] = i % 4 == 0;
    }
    tomo_scored scored = {values, groups, ROWS, 1, 2};
    tomo_estimate first[4], again[4];
    assert_int_equal(tomo_scored_statistics(&scored), 4);
    for (int threads = 1; threads <= 4; threads++) {
        tomo_context *context = open_context(threads);
        assert_int_equal(
            tomo_bootstrap(context->pool, NULL, &scored, 2000, 9, threads == 1 ? first : again, NULL),
            TOMO_OK);
        if (threads > 1) assert_memory_equal(first, again, sizeof first);
        tomo_context_free(context);
    }
    const tomo_estimate *micro = &first[2];
    double half = (micro->high - micro->low) / 2, expected = 1.96 * 0.289 / sqrt(ROWS);
    assert_true(micro->low < micro->mean && micro->mean < micro->high);
    assert_true(fabs(half - expected) <
                0.1 * expected); /* 2000 draws: 2 % of noise, and the groups' strata */
    assert_true(fabs(first[3].mean - (first[0].mean + first[1].mean) / 2) < 1e-12);
}

/* ------------------------------------------------------------------------------ files */

/* The tests write in a folder of their own. */
static char folder[] = "/tmp/tomo_score_XXXXXX";

static int enter_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL || chdir(folder) != 0;
}

static int remove_folder(void **state) {
    (void)state;
    char command[64];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    (void)fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static double mean_of(const char *json, const char *part, const char *metric) {
    cJSON *root = cJSON_Parse(json);
    const cJSON *at = root;
    char path[64], *rest = NULL;
    (void)snprintf(path, sizeof path, "%s", part);
    for (char *key = strtok_r(path, ".", &rest); key != NULL; key = strtok_r(NULL, ".", &rest))
        at = tomo_json_get(at, key);
    const cJSON *mean = tomo_json_get(tomo_json_get(at, metric), "mean");
    double value = cJSON_IsNumber(mean) ? mean->valuedouble : NAN;
    cJSON_Delete(root);
    return value;
}

static char *score(tomo_score_kind kind, const char *path, const tomo_score_options *o) {
    tomo_context *context = open_context(2);
    tomo_error err = {0};
    char *json = NULL;
    if (tomo_score_file(context, kind, path, o, &json, &err) != TOMO_OK) fail_msg("%s", err.message);
    tomo_context_free(context);
    return json;
}

static void shards_merged_score_as_one_file(void **state) {
    (void)state;
    write_file("all.csv",
               "Question Type,Answer,Answer Choice,Pred\n1,A. x,A,A. x\n2,B. y,B,A. x\n2,B. y,B,B.\n");
    write_file("one.csv", "Question Type,Answer,Answer Choice,Pred\n1,A. x,A,A. x\n");
    write_file("two.csv", "Question Type,Answer,Answer Choice,Pred\r\n2,B. y,B,A. x\r\n2,B. y,B,B.\r\n");
    const char *more[] = {"two.csv"};
    tomo_score_options o = {.merge = more, .merge_count = 1};
    char *all = score(TOMO_SCORE_VQA, "all.csv", NULL), *merged = score(TOMO_SCORE_VQA, "one.csv", &o);
    assert_true(fabs(mean_of(all, "micro", "accuracy") - 2.0 / 3) < 1e-12);
    assert_true(fabs(mean_of(all, "macro", "accuracy") - 0.75) < 1e-12);
    assert_string_equal(strstr(all, "\"kind\""), strstr(merged, "\"kind\""));
    free(all);
    free(merged);
}

static void a_paired_test_sees_a_steady_difference(void **state) {
    (void)state;
    FILE *a = fopen("a.csv", "wb"), *b = fopen("b.csv", "wb");
    assert_true(a != NULL && b != NULL);
    fputs("Ground Truth,pred\n", a);
    fputs("Ground Truth,pred\n", b);
    for (int i = 0; i < 60; i++) {
        fprintf(a, "the liver is normal in size %d,the liver is normal in size %d\n", i, i);
        fprintf(b, "the liver is normal in size %d,the liver is %s\n", i,
                i % 3 == 0 ? "small" : "normal in size");
    }
    assert_int_equal(fclose(a) | fclose(b), 0);
    tomo_score_options o = {.compare = "b.csv", .draws = 500};
    char *json = score(TOMO_SCORE_CAPTION, "a.csv", &o);
    cJSON *root = cJSON_Parse(json);
    const cJSON *bleu = tomo_json_get(tomo_json_get(tomo_json_get(root, "difference"), "scores"), "bleu");
    assert_true(tomo_json_get(bleu, "mean")->valuedouble > 0);
    assert_true(tomo_json_get(bleu, "low")->valuedouble > 0);
    assert_true(tomo_json_get(bleu, "p")->valuedouble < 0.01);
    cJSON_Delete(root);
    free(json);
}

/* The benchmark's own files have no rankings. */
static void files_compare_by_the_scores_that_both_have(void **state) {
    (void)state;
    write_file("ranked.csv",
               "Question Type,Answer,Answer Choice,Pred,Ranked By Text,Ranked By Letter,Ranked By Token\n"
               "1,A. x,A,A. x,A,B,A\n2,B. y,B,A. x,B,B,B\n3,B. y,B,B. y,A,A,A\n");
    write_file("plain.csv",
               "Question Type,Answer,Answer Choice,Pred\n1,A. x,A,B. y\n2,B. y,B,A. x\n3,B. y,B,B. y\n");
    const char *files[] = {"ranked.csv", "plain.csv"};
    for (int i = 0; i < 2; i++) {
        tomo_score_options o = {.compare = files[1 - i], .draws = 100};
        char *json = score(TOMO_SCORE_VQA, files[i], &o);
        double sign = i == 0 ? 1 : -1;
        assert_true(fabs(mean_of(json, "difference.micro", "accuracy") - sign / 3) < 1e-12);
        assert_true(fabs(mean_of(json, "compare.micro", "accuracy") - (i == 0 ? 1.0 : 2.0) / 3) < 1e-12);
        assert_true(isnan(mean_of(json, "micro", "ranked_text")));
        free(json);
    }
}

static void rows_whose_text_is_in_training_are_left_out_of_the_second_column(void **state) {
    (void)state;
    write_file("train.csv", "scan,report,split\na.npy,The  LIVER is\tnormal.,train\nb.npy,Other.,test\n");
    write_file("c.csv", "Ground Truth,pred\nthe liver is normal.,x\nOther.,Other.\n");
    tomo_score_options o = {.train = "train.csv"};
    char *json = score(TOMO_SCORE_CAPTION, "c.csv", &o);
    assert_true(mean_of(json, "scores", "bleu") == 0.5);
    assert_true(mean_of(json, "unseen.scores", "bleu") == 1);
    free(json);
}

static void empty_predictions_are_counted(void **state) {
    (void)state;
    write_file("c.csv", "Ground Truth,pred\nthe liver,\nthe liver,\" \n\"\nthe liver,the liver\n");
    char *json = score(TOMO_SCORE_CAPTION, "c.csv", NULL);
    assert_non_null(strstr(json, "\"empty_predictions\":\t2"));
    assert_true(fabs(mean_of(json, "scores", "bleu") - 1.0 / 3) < 1e-12);
    free(json);
}

static void files_of_another_kind_are_refused(void **state) {
    (void)state;
    static const struct {
        tomo_score_kind kind;
        const char *text, *told;
    } cases[] = {
        {TOMO_SCORE_CAPTION, "a,b\n1,2\n", "no column \"Ground Truth\" (there are: a, b)"},
        {TOMO_SCORE_VQA, "Answer,Pred\n1,2\n", "no column \"Question Type\""},
        {TOMO_SCORE_VQA, "Question Type,Answer,Pred\n1,2,3\n7,2,3\n",
         "row 3, column 1 (Question Type): \"7\""},
        {TOMO_SCORE_CAPTION, "", "row 1, column 1"},
    };
    tomo_context *context = open_context(1);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tomo_error err = {0};
        char *json = NULL;
        write_file("c.csv", cases[i].text);
        tomo_status status = tomo_score_file(context, cases[i].kind, "c.csv", NULL, &json, &err);
        assert_true(status == TOMO_E_FORMAT || status == TOMO_E_HEADER);
        if (strstr(err.message, cases[i].told) == NULL) fail_msg("%s, not %s", err.message, cases[i].told);
    }
    tomo_error err = {0};
    char *json = NULL;
    tomo_score_options o = {.wordnet = "/nowhere"};
    write_file("c.csv", "Ground Truth,pred\na,b\n");
    assert_int_equal(tomo_score_file(context, TOMO_SCORE_CAPTION, "c.csv", &o, &json, &err), TOMO_E_IO);
    assert_non_null(strstr(err.message, "wordnet-base"));
    tomo_context_free(context);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_strict_rule_wants_one_choice),
        cmocka_unit_test(intervals_hold_the_mean_and_repeat_for_any_number_of_threads),
        cmocka_unit_test(shards_merged_score_as_one_file),
        cmocka_unit_test(a_paired_test_sees_a_steady_difference),
        cmocka_unit_test(files_compare_by_the_scores_that_both_have),
        cmocka_unit_test(rows_whose_text_is_in_training_are_left_out_of_the_second_column),
        cmocka_unit_test(empty_predictions_are_counted),
        cmocka_unit_test(files_of_another_kind_are_refused),
    };
    return cmocka_run_group_tests(tests, enter_folder, remove_folder);
}
