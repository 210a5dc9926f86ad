/* phantom_slices.c - slices alone are those of the whole scan, and their caption tells what their labels
 * show. */
#include "phantom/caption.h"
#include "phantom/scene.h"
#include "phantom/truth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const int64_t shape[3] = {24, 64, 64};

typedef struct looked {
    tomo_patient patient;
    tomo_spot spots[TOMO_TISSUES];
    tomo_view view;
    tomo_buffer caption;
    int64_t slice;
} looked;

static void look(uint64_t seed, bool of_finding, looked *l) {
    tomo_render render;
    tomo_random random = tomo_random_seed(seed);
    *l = (looked){.caption = {.maximum = 1 << 16}};
    tomo_patient_draw(seed, &l->patient);
    l->slice = tomo_view_choose(&l->patient, &random, shape[0], of_finding ? ~0u : 0);
    assert_in_range(l->slice, 0, shape[0] - 1);
    tomo_slab slab = {l->slice, 1};
    assert_int_equal(tomo_render_slices(&l->patient, shape, slab, &render, l->spots, NULL), TOMO_OK);
    tomo_render_free(&render);
    tomo_view_find(&l->patient, shape[0], slab, l->spots, &l->view);
    tomo_caption_write(&l->view, seed, false, &l->caption);
    assert_false(l->caption.failed);
}

/* Patient 312 is mirrored. */
static void a_slice_is_that_of_the_whole_scan(void **state) {
    static const uint64_t seeds[] = {3, 41, 312};
    (void)state;
    for (size_t i = 0; i < sizeof seeds / sizeof seeds[0]; i++) {
        tomo_patient patient;
        tomo_render whole, one;
        tomo_spot spots[TOMO_TISSUES];
        double area = 0;
        tomo_patient_draw(seeds[i], &patient);
        assert_int_equal(tomo_render_make(&patient, shape, NULL, &whole, NULL), TOMO_OK);
        for (int64_t slice = 0; slice < shape[0]; slice += 5) {
            tomo_slab slab = {slice, 1};
            assert_int_equal(tomo_render_slices(&patient, shape, slab, &one, spots, NULL), TOMO_OK);
            assert_int_equal(one.shape[0], 1);
            assert_memory_equal(one.hu, whole.hu + slice * shape[1] * shape[2],
                                (size_t)(shape[1] * shape[2]) * sizeof *one.hu);
            assert_memory_equal(one.spacing_mm, whole.spacing_mm, sizeof one.spacing_mm);
            double z = whole.affine_ras.m[2][3] + (double)slice * whole.spacing_mm[0];
            assert_true(one.affine_ras.m[2][3] - z < 1e-9 && z - one.affine_ras.m[2][3] < 1e-9);
            area = 0;
            for (int t = 0; t < TOMO_TISSUES; t++) area += spots[t].area_mm2;
            double picture = one.spacing_mm[1] * one.spacing_mm[2] * (double)(shape[1] * shape[2]);
            assert_true(area > picture * 0.9999 && area < picture * 1.0001);
            tomo_render_free(&one);
        }
        tomo_render_free(&whole);
    }
}

static bool says(const looked *l, const char *word) {
    return strstr(l->caption.data, word) != NULL;
}

static double area_of(const looked *l, tomo_finding_kind kind) {
    double area = 0;
    for (int i = 0; i < l->patient.finding_count; i++) {
        const tomo_finding *f = &l->patient.findings[i];
        if (f->kind == kind && f->lesion >= 0) area += l->spots[TOMO_TISSUE_LESION + f->lesion].area_mm2;
    }
    return area;
}

/* Words that stand in a caption exactly when the labels of the slice hold enough of the thing: none is told
 * without labels, and where there are many labels it is told. */
static void captions_tell_what_the_labels_show(void **state) {
    static const struct {
        tomo_finding_kind kind;
        const char *words[3];
        double surely_mm2;
    } lesions[] = {
        {TOMO_FINDING_NODULE, {"nodule", NULL, NULL}, 60},
        {TOMO_FINDING_LIVER_LESION, {"lobe of the liver", NULL, NULL}, 150},
        {TOMO_FINDING_KIDNEY_STONE, {"stone", "Calculus", NULL}, 25},
        {TOMO_FINDING_KIDNEY_MASS, {"cyst of the", "mass of the", "at the "}, 400},
        {TOMO_FINDING_ANEURYSM, {"aorta", NULL, NULL}, 150},
    };
    int told[sizeof lesions / sizeof lesions[0]] = {0};
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        looked l;
        look(seed, seed % 2 == 1, &l);
        for (size_t i = 0; i < sizeof lesions / sizeof lesions[0]; i++) {
            double area = area_of(&l, lesions[i].kind);
            bool there = false;
            for (int k = 0; k < l.view.finding_count; k++)
                there |= l.view.findings[k].kind == lesions[i].kind;
            assert_true(area > 0 || !there);
            if (area > lesions[i].surely_mm2) assert_true(there);
            if (i == 3) continue; /* whose words are those of others too */
            bool said = false;
            for (int k = 0; k < 3 && lesions[i].words[k] != NULL; k++) said |= says(&l, lesions[i].words[k]);
            assert_int_equal(said, there);
            told[i] += said;
        }
        bool fluid = l.spots[TOMO_TISSUE_ASCITES].area_mm2 > 200;
        assert_int_equal(says(&l, "scites") || says(&l, "abdominal fluid"), fluid);
        bool normal = says(&l, "No abnormality") || says(&l, "Normal slice") || says(&l, "Nothing abnormal");
        assert_int_equal(normal, l.view.finding_count == 0 && !l.view.mirrored);
        assert_null(strchr(l.caption.data, '$'));
        assert_null(strstr(l.caption.data, "  "));
        tomo_buffer_free(&l.caption);
    }
    for (size_t i = 0; i < sizeof lesions / sizeof lesions[0]; i++) assert_true(i == 3 || told[i] >= 5);
}

/* The side in the words is where the labels lie; a mirrored patient's as well. */
static void sides_and_sizes_are_measured(void **state) {
    int sided = 0, mirrored = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 400; seed++) {
        looked l;
        look(seed, true, &l);
        for (int i = 0; i < l.view.finding_count; i++) {
            const tomo_finding *f = &l.view.findings[i];
            if (f->kind == TOMO_FINDING_EFFUSION) { /* its tissue has the side of usual anatomy */
                int usual = l.patient.mirrored ? -f->side : f->side;
                int t = usual < 0 ? TOMO_TISSUE_EFFUSION_RIGHT : TOMO_TISSUE_EFFUSION_LEFT;
                assert_true(usual * l.spots[t].centre[0] > 0);
                assert_true(says(&l, tomo_truth_side(f->side)));
                mirrored += l.patient.mirrored;
            }
            if (f->lesion < 0) continue;
            double widest = f->radius[0] > f->radius[1] ? f->radius[0] : f->radius[1];
            assert_true(l.view.size_mm[i] > 0);
            /* The warp stretches a little; a voxel's points end half a point further out. */
            if (f->kind != TOMO_FINDING_ANEURYSM) assert_true(l.view.size_mm[i] < 2 * widest + 4);
            if (f->side == 0) continue;
            assert_true(f->side * l.view.centre[i][0] > 0);
            assert_true(says(&l, tomo_truth_side(f->side)));
            sided++;
        }
        tomo_buffer_free(&l.caption);
    }
    assert_true(sided > 60 && mirrored > 0);
}

/* Where a slice goes through a finding on purpose, it is mostly seen. */
static void chosen_findings_are_seen(void **state) {
    int chosen = 0, seen = 0;
    (void)state;
    for (uint64_t seed = 1000; seed < 1300; seed++) {
        looked l;
        look(seed, true, &l);
        if (l.patient.finding_count > 0) {
            chosen++;
            seen += l.view.finding_count > 0;
        }
        tomo_buffer_free(&l.caption);
    }
    assert_true(chosen > 150);
    assert_true(seen >= chosen * 85 / 100);
}

static bool has(const tomo_view *v, const tomo_finding *f) {
    for (int i = 0; i < v->finding_count; i++) {
        const tomo_finding *g = &v->findings[i];
        if (g->kind == f->kind && g->lesion == f->lesion && g->side == f->side && g->level == f->level)
            return true;
    }
    return false;
}

/* Neighbours together show what each of them shows, and nothing else. */
static void a_slab_shows_what_its_slices_show(void **state) {
    enum { SLICES = 5 };
    int joined = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 120; seed++) {
        looked l;
        tomo_view slab, one;
        tomo_render render;
        tomo_spot spots[SLICES][TOMO_TISSUES];
        look(seed, true, &l);
        tomo_buffer_free(&l.caption);
        int64_t first = l.slice < SLICES ? 0 : l.slice - SLICES + 1;
        assert_int_equal(
            tomo_render_slices(&l.patient, shape, (tomo_slab){first, SLICES}, &render, spots[0], NULL),
            TOMO_OK);
        assert_int_equal(render.shape[0], SLICES);
        tomo_render_free(&render);
        tomo_view_find(&l.patient, shape[0], (tomo_slab){first, SLICES}, spots[0], &slab);
        unsigned organs = 0;
        int seen = 0, most = 0;
        for (int64_t k = 0; k < SLICES; k++) {
            tomo_view_find(&l.patient, shape[0], (tomo_slab){first + k, 1}, spots[k], &one);
            organs |= one.organs;
            most = one.finding_count > most ? one.finding_count : most;
            for (int i = 0; i < one.finding_count; i++) {
                assert_true(has(&slab, &one.findings[i]));
                for (int n = 0; n < slab.finding_count; n++) {
                    if (slab.findings[n].lesion >= 0 && slab.findings[n].lesion == one.findings[i].lesion)
                        assert_true(slab.size_mm[n] >= one.size_mm[i]);
                }
            }
            for (int i = 0; i < slab.finding_count; i++) seen |= (int)has(&one, &slab.findings[i]) << i;
            if (k == 0) assert_int_equal(one.level[0], slab.level[0]);
            if (k == SLICES - 1) assert_int_equal(one.level[0], slab.level[1]);
        }
        assert_int_equal(slab.organs, organs);
        assert_int_equal(seen, (1 << slab.finding_count) - 1);
        joined += slab.finding_count > most;
    }
    assert_true(joined > 0); /* what no slice shows alone */
}

static void captions_of_a_slab_speak_of_several_slices(void **state) {
    tomo_buffer text = {.maximum = 1 << 16};
    const tomo_view two = {
        .slices = 2, .height_mm = {0, 30}, .level = {11, 10}, .organs = 1u << TOMO_VIEW_HEART};
    (void)state;
    tomo_caption_write(&two, 1, true, &text);
    assert_string_equal(text.data,
                        "CT without contrast, axial slices from T10 to T11, level of the heart to dome of "
                        "the liver. No abnormality in these slices. They show heart.");
    tomo_buffer_free(&text);
}

/* A scan that is cut short tells what lies in it: the finding that it goes through, none that lies outside,
 * and of organs that it cuts no height. */
static void a_scan_cut_short_tells_what_it_covers(void **state) {
    int through = 0, told = 0, outside = 0;
    (void)state;
    for (uint64_t seed = 0; seed < 200; seed++) {
        tomo_patient patient, part;
        tomo_random random = tomo_random_seed(seed);
        tomo_render r;
        tomo_truth whole, cut;
        tomo_patient_draw(seed, &patient);
        int64_t slice = tomo_view_choose(&patient, &random, shape[0], ~0u), first = slice < 2 ? 0 : slice - 2;
        const int64_t count = first + 5 > shape[0] ? shape[0] - first : 5, size[3] = {count, 64, 64};
        part = patient;
        tomo_patient_cover(&part, shape[0], first, count);
        assert_int_equal(tomo_render_make(&patient, shape, NULL, &r, NULL), TOMO_OK);
        tomo_truth_find(&patient, &r, &whole);
        tomo_render_free(&r);
        assert_int_equal(tomo_render_make(&part, size, NULL, &r, NULL), TOMO_OK);
        tomo_truth_find(&part, &r, &cut);
        tomo_render_free(&r);
        for (int i = 0; i < cut.finding_count; i++) {
            double low, high;
            tomo_scene_finding_heights(&patient, &cut.findings[i], &low, &high);
            if (cut.findings[i].lesion >= 0) assert_true(low < part.top_mm && high > part.bottom_mm);
        }
        for (int i = 0; i < whole.finding_count; i++) {
            double low, high;
            tomo_scene_finding_heights(&patient, &whole.findings[i], &low, &high);
            outside += whole.findings[i].lesion >= 0 && (low > part.top_mm || high < part.bottom_mm);
        }
        for (int i = 0; i < TOMO_ORGANS; i++) assert_true(!cut.whole[i] || whole.whole[i]);
        through += patient.finding_count > 0;
        told += patient.finding_count > 0 && cut.finding_count > 0;
    }
    assert_true(outside > 20);
    assert_true(told >= through * 85 / 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_that_of_the_whole_scan),
        cmocka_unit_test(captions_tell_what_the_labels_show),
        cmocka_unit_test(sides_and_sizes_are_measured),
        cmocka_unit_test(chosen_findings_are_seen),
        cmocka_unit_test(a_slab_shows_what_its_slices_show),
        cmocka_unit_test(captions_of_a_slab_speak_of_several_slices),
        cmocka_unit_test(a_scan_cut_short_tells_what_it_covers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
