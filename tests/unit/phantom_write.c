/* phantom_write.c - data sets of phantoms: the same bytes for any number of threads, balanced answers,
 * nothing half-written. */
#include "base/digest.h"
#include "base/file.h"
#include "base/folder.h"
#include "phantom/question.h"
#include "phantom/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char place[64];

static int make_place(void **state) {
    (void)state;
    (void)snprintf(place, sizeof place, "/tmp/tomo-phantom-XXXXXX");
    return mkdtemp(place) != NULL ? 0 : -1;
}

static int remove_place(void **state) {
    (void)state;
    tomo_folder_remove(place);
    return 0;
}

static tomo_status write_at(const char *name, int threads, tomo_progress_fn progress,
                            const tomo_phantom_options *o, tomo_error *err) {
    const tomo_context_options c = {.threads = threads, .progress = progress};
    tomo_context *context = NULL;
    char *json = NULL, *path = tomo_path_join(place, name);
    assert_non_null(path);
    assert_int_equal(tomo_context_create(&c, &context, err), TOMO_OK);
    tomo_status status = tomo_phantom_write(context, path, o, &json, err);
    assert_true((json != NULL) == (status == TOMO_OK));
    tomo_free(json);
    tomo_context_free(context);
    free(path);
    return status;
}

static void hash_of(const char *name, char text[TOMO_DIGEST_TEXT]) {
    tomo_digest *digest = NULL;
    char *path = tomo_path_join(place, name);
    assert_int_equal(tomo_digest_create(&digest, NULL), TOMO_OK);
    assert_int_equal(tomo_digest_add_path(digest, path, NULL), TOMO_OK);
    tomo_digest_text(digest, text);
    tomo_digest_free(digest);
    free(path);
}

static void a_folder_has_the_same_bytes_for_any_number_of_threads(void **state) {
    (void)state;
    for (int format = 0; format <= (int)TOMO_PHANTOM_NII; format++) {
        const tomo_phantom_options o = {
            .count = 4, .seed = 7, .format = (tomo_phantom_format)format, .size = {16, 32, 32}};
        char one[TOMO_DIGEST_TEXT], three[TOMO_DIGEST_TEXT], name[2][16];
        tomo_error err = {0};
        (void)snprintf(name[0], sizeof name[0], "one-%d", format);
        (void)snprintf(name[1], sizeof name[1], "three-%d", format);
        assert_int_equal(write_at(name[0], 1, NULL, &o, &err), TOMO_OK);
        assert_int_equal(write_at(name[1], 3, NULL, &o, &err), TOMO_OK);
        hash_of(name[0], one);
        hash_of(name[1], three);
        assert_string_equal(one, three);
    }
}

static void slices_and_texts_have_the_same_bytes_for_any_number_of_threads(void **state) {
    static const int counts[] = {1, 2, 4};
    (void)state;
    for (int contents = (int)TOMO_PHANTOM_SLICES; contents <= (int)TOMO_PHANTOM_TEXT; contents++) {
        const tomo_phantom_options o = {
            .count = 9, .seed = 7, .contents = (tomo_phantom_contents)contents, .size = {16, 32, 32}};
        char texts[3][TOMO_DIGEST_TEXT], name[32];
        for (int i = 0; i < 3; i++) {
            (void)snprintf(name, sizeof name, "contents-%d-%d", contents, i);
            assert_int_equal(write_at(name, counts[i], NULL, &o, NULL), TOMO_OK);
            hash_of(name, texts[i]);
            assert_string_equal(texts[i], texts[0]);
        }
    }
}

static void another_seed_is_another_patient(void **state) {
    tomo_phantom_options o = {.count = 1, .seed = 1, .size = {16, 32, 32}};
    char first[TOMO_DIGEST_TEXT], second[TOMO_DIGEST_TEXT];
    (void)state;
    assert_int_equal(write_at("seed-1", 1, NULL, &o, NULL), TOMO_OK);
    o.seed = 2;
    assert_int_equal(write_at("seed-2", 1, NULL, &o, NULL), TOMO_OK);
    hash_of("seed-1/scans", first);
    hash_of("seed-2/scans", second);
    assert_string_not_equal(first, second);
}

static void what_is_there_stays(void **state) {
    const tomo_phantom_options o = {.count = 1, .size = {8, 16, 16}};
    char before[TOMO_DIGEST_TEXT], after[TOMO_DIGEST_TEXT];
    tomo_error err = {0};
    (void)state;
    assert_int_equal(write_at("full", 1, NULL, &o, &err), TOMO_OK);
    hash_of("full", before);
    assert_int_equal(write_at("full", 1, NULL, &o, &err), TOMO_E_IO);
    assert_non_null(strstr(err.message, "a new or empty folder is wanted"));
    hash_of("full", after);
    assert_string_equal(before, after);
}

static bool stop_at_the_third(void *user, const char *stage, int64_t done, int64_t total) {
    (void)user, (void)total;
    return strcmp(stage, "phantoms") != 0 || done < 2;
}

static void a_cancelled_run_leaves_nothing(void **state) {
    const tomo_phantom_options o = {.count = 5, .size = {8, 16, 16}};
    char before[TOMO_DIGEST_TEXT], after[TOMO_DIGEST_TEXT];
    (void)state;
    hash_of(".", before);
    assert_int_equal(write_at("gone", 2, stop_at_the_third, &o, NULL), TOMO_E_CANCELLED);
    hash_of(".", after);
    assert_string_equal(before, after);
}

static void options_that_make_no_sense_are_refused(void **state) {
    tomo_error err = {0};
    (void)state;
    tomo_phantom_options o = {.count = -1};
    assert_int_equal(write_at("no", 1, NULL, &o, &err), TOMO_E_USAGE);
    o = (tomo_phantom_options){.questions = 17};
    assert_int_equal(write_at("no", 1, NULL, &o, &err), TOMO_E_USAGE);
    o = (tomo_phantom_options){.split = "dev"};
    assert_int_equal(write_at("no", 1, NULL, &o, &err), TOMO_E_USAGE);
    assert_non_null(strstr(err.message, "train, validation or test"));
    o = (tomo_phantom_options){.contents = TOMO_PHANTOM_SLICES, .format = TOMO_PHANTOM_M3D};
    assert_int_equal(write_at("no", 1, NULL, &o, &err), TOMO_E_USAGE);
}

/* ------------------------------------------------------------------ questions */

enum { PHANTOMS = 160, MOST = 8 };

typedef struct asked {
    tomo_question questions[PHANTOMS * MOST];
    int count, several;
    tomo_balance balance;
} asked;

static asked *ask_many(void) {
    const int64_t shape[3] = {32, 24, 24};
    asked *a = calloc(1, sizeof *a);
    tomo_pool *pool = NULL;
    assert_non_null(a);
    assert_int_equal(tomo_pool_create(0, &pool, NULL), TOMO_OK);
    for (uint64_t seed = 1000; seed < 1000 + PHANTOMS; seed++) {
        tomo_patient patient;
        tomo_render render;
        tomo_truth truth;
        tomo_patient_draw(seed, &patient);
        assert_int_equal(tomo_render_make(&patient, shape, pool, &render, NULL), TOMO_OK);
        tomo_truth_find(&patient, &render, &truth);
        a->count += tomo_questions_make(&truth, (tomo_plane)(seed % 3), true, seed, MOST, &a->balance,
                                        a->questions + a->count);
        tomo_render_free(&render);
    }
    tomo_pool_free(pool);
    for (int i = 0; i < a->count; i++) a->several += a->questions[i].several;
    return a;
}

static void every_question_has_four_different_choices(void **state) {
    const asked *a = *state;
    int letters[4] = {0};
    assert_true(a->count > PHANTOMS * 5 / 2);
    for (int i = 0; i < a->count; i++) {
        const tomo_question *q = &a->questions[i];
        assert_in_range(q->type, 1, 5);
        assert_in_range(q->right, 0, 3);
        letters[q->right]++;
        for (int k = 0; k < 4; k++) {
            assert_true(q->choices[k][0] != '\0' && strchr(q->choices[k], '|') == NULL);
            for (int n = 0; n < k; n++) assert_string_not_equal(q->choices[k], q->choices[n]);
        }
    }
    for (int k = 0; k < 4; k++) assert_in_range(letters[k], a->count / 5, a->count * 3 / 10);
}

static void a_third_of_the_questions_needs_several_slices(void **state) {
    const asked *a = *state;
    assert_true(10 * a->several >= 3 * a->count);
}

/* For each question type and text of a choice: how often it is right, where it stands. A reader who knows
 * these figures and sees no image answers with the likeliest choice. */
static double rate_of(const asked *a, int asking, const char *choice) {
    double right = 0, seen = 0;
    for (int i = 0; i < a->count; i++) {
        const tomo_question *q = &a->questions[i];
        if ((int)q->asking != asking) continue;
        for (int k = 0; k < 4; k++) {
            if (strcmp(q->choices[k], choice) != 0) continue;
            seen++;
            right += k == q->right;
        }
    }
    return right / seen;
}

static void a_reader_who_sees_no_image_is_near_chance(void **state) {
    const asked *a = *state;
    int right = 0, questions = 0;
    for (int i = 0; i < a->count; i++) {
        const tomo_question *q = &a->questions[i];
        int best = 0;
        for (int k = 1; k < 4; k++) {
            if (rate_of(a, (int)q->asking, q->choices[k]) > rate_of(a, (int)q->asking, q->choices[best]))
                best = k;
        }
        right += best == q->right;
        questions++;
    }
    /* It knows these very questions' rates, so it is a little better than on new ones. */
    assert_in_range(100 * right / questions, 20, 36);
}

static int free_asked(void **state) {
    free(*state);
    return remove_place(state);
}

static int begin(void **state) {
    *state = ask_many();
    return make_place(state);
}

static void reports_tell_every_finding(void **state) {
    tomo_truth truth = {.phase = TOMO_PHASE_PORTAL, .finding_count = 2};
    tomo_buffer text = {.maximum = 1 << 16};
    (void)state;
    truth.findings[0] = (tomo_finding){.kind = TOMO_FINDING_EFFUSION, .side = 1, .severity = 2, .lesion = -1};
    truth.findings[1] = (tomo_finding){.kind = TOMO_FINDING_FRACTURE, .level = 13, .lesion = -1};
    for (uint64_t seed = 0; seed < 20; seed++) {
        tomo_buffer_clear(&text);
        tomo_report_write(&truth, seed, false, &text);
        assert_false(text.failed);
        assert_non_null(strstr(text.data, "portal venous"));
        assert_non_null(strstr(text.data, "L1"));
        assert_non_null(strstr(text.data, "large"));
        assert_non_null(strstr(text.data, "Pleural effusion on the left."));
        assert_null(strchr(text.data, '$'));
        assert_null(strstr(text.data, "  "));
    }
    tomo_buffer_free(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_folder_has_the_same_bytes_for_any_number_of_threads),
        cmocka_unit_test(slices_and_texts_have_the_same_bytes_for_any_number_of_threads),
        cmocka_unit_test(another_seed_is_another_patient),
        cmocka_unit_test(what_is_there_stays),
        cmocka_unit_test(a_cancelled_run_leaves_nothing),
        cmocka_unit_test(options_that_make_no_sense_are_refused),
        cmocka_unit_test(every_question_has_four_different_choices),
        cmocka_unit_test(a_third_of_the_questions_needs_several_slices),
        cmocka_unit_test(a_reader_who_sees_no_image_is_near_chance),
        cmocka_unit_test(reports_tell_every_finding),
    };
    return cmocka_run_group_tests(tests, begin, free_asked);
}
