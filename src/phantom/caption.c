#include "phantom/caption.h"

#include "phantom/draw.h"
#include "phantom/phrase.h"
#include "phantom/truth.h"

#include <stdio.h>
#include <string.h>

typedef struct writer {
    const tomo_view *view;
    tomo_random random;
    tomo_buffer *text;
    bool plain;
} writer;

#define SAY(...) TOMO_SAY(w, __VA_ARGS__)

static bool shows(const tomo_view *v, tomo_view_organ organ) {
    return (v->organs >> organ & 1) != 0;
}

/* ------------------------------------------------------------------ where the slice lies */

/* Words of the height of one end: "carina", "dome of the liver". */
static const char *region(const tomo_view *v, int end) {
    static const struct {
        double above_mm;
        const char *word;
    } chest[] = {{205, "lung apices"}, {158, "upper chest"},       {140, "aortic arch"},
                 {112, "carina"},      {85, "pulmonary arteries"}, {26, "heart"}};
    for (size_t i = 0; i < sizeof chest / sizeof chest[0]; i++) {
        if (v->height_mm[end] > chest[i].above_mm) return chest[i].word;
    }
    if (v->height_mm[end] > -18) return "dome of the liver";
    if (v->height_mm[end] > -60) return "upper abdomen";
    bool kidneys = shows(v, TOMO_VIEW_KIDNEY_RIGHT) || shows(v, TOMO_VIEW_KIDNEY_LEFT);
    return kidneys ? "kidneys" : "middle of the abdomen";
}

static const char *const phases[TOMO_PHASES] = {"without contrast", "in the arterial phase",
                                                "in the portal venous phase", "in the delayed phase"};

static void say_level(writer *w) {
    const tomo_view *v = w->view;
    char level[8];
    tomo_truth_level(v->level[0], level);
    SAY(phases[v->phase], level, region(v, 0), "CT $1, axial slice at $2, level of the $3.",
        "Axial CT $1 through the $3 at $2.", "Axial slice at $2 ($3), CT $1.",
        "CT $1 at the level of $2, $3.");
}

/* From the top down, as reports go. */
static void say_levels(writer *w) {
    const tomo_view *v = w->view;
    char top[8], bottom[8], levels[32], regions[64];
    tomo_truth_level(v->level[1], top);
    tomo_truth_level(v->level[0], bottom);
    const char *above = region(v, 1), *below = region(v, 0);
    bool at_one = strcmp(top, bottom) == 0, of_one = strcmp(above, below) == 0;
    (void)snprintf(levels, sizeof levels, at_one ? "at %s" : "from %s to %s", top, bottom);
    (void)snprintf(regions, sizeof regions, of_one ? "%s" : "%s to %s", above, below);
    SAY(phases[v->phase], levels, regions, "CT $1, axial slices $2, level of the $3.",
        "Axial CT slices $1 $2: $3.", "Axial slices $2 ($3), CT $1.", "CT $1, slices $2, $3.");
}

/* ------------------------------------------------------------------ organs */

static const char *const organ_names[TOMO_VIEW_ORGANS] = {"right lung",   "left lung",   "heart",  "liver",
                                                          "gallbladder",  "stomach",     "spleen", "pancreas",
                                                          "right kidney", "left kidney", "bowel"};

/* Replaces two bits by one name. */
static bool take_pair(unsigned *left, tomo_view_organ a, tomo_view_organ b) {
    unsigned pair = 1u << a | 1u << b;
    if ((*left & pair) != pair) return false;
    *left &= ~pair;
    return true;
}

static void say_organs(writer *w) {
    const char *names[TOMO_VIEW_ORGANS];
    unsigned left = w->view->organs;
    int count = 0;
    if (take_pair(&left, TOMO_VIEW_LUNG_RIGHT, TOMO_VIEW_LUNG_LEFT)) names[count++] = "both lungs";
    bool kidneys = take_pair(&left, TOMO_VIEW_KIDNEY_RIGHT, TOMO_VIEW_KIDNEY_LEFT);
    for (int i = 0; i < TOMO_VIEW_ORGANS; i++) {
        if (i == TOMO_VIEW_KIDNEY_RIGHT && kidneys) names[count++] = "both kidneys";
        if ((left >> i & 1) != 0) names[count++] = organ_names[i];
    }
    if (count == 0) return;
    char list[192] = "";
    size_t used = 0;
    for (int i = 0; i < count && used < sizeof list; i++) {
        const char *between = i == 0 ? "" : i + 1 < count ? ", " : " and ";
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", between, names[i]);
    }
    if (w->view->slices == 1) {
        SAY(list, "", "", "It shows $1.", "In the slice: $1.", "The slice shows $1.");
    } else {
        SAY(list, "", "", "They show $1.", "In the slices: $1.", "The slices show $1.");
    }
}

/* ------------------------------------------------------------------ findings */

/* Where in the picture: front or back, and in the lung near to the wall or not. */
static const char *front_or_back(const double centre[2]) {
    return centre[1] < -15 ? "anterior" : centre[1] > 25 ? "posterior" : "midway between front and back";
}

static const char *lung_place(const double centre[2], char room[48]) {
    double x = centre[0] < 0 ? -centre[0] : centre[0];
    (void)snprintf(room, 48, "%s, %s",
                   centre[1] < -15  ? "anterior"
                   : centre[1] > 25 ? "posterior"
                                    : "mid",
                   x > 85 ? "peripheral" : "central");
    return room;
}

static void say_lesion(writer *w, int i) {
    const tomo_finding *f = &w->view->findings[i];
    const double *centre = w->view->centre[i];
    const char *side = tomo_truth_side(f->side);
    char size[16], where[64], room[48];
    bool cyst = f->type == TOMO_LESION_CYST;
    (void)tomo_size_text(w->view->size_mm[i], size);
    switch (f->kind) {
    case TOMO_FINDING_NODULE:
        (void)snprintf(where, sizeof where, "%s %s lobe", side, tomo_third(f->place));
        SAY(size, where, lung_place(centre, room), "Solid $1 nodule in the $2, $3.",
            "A nodule of $1 lies in the $2 ($3).", "$1 pulmonary nodule, $2, $3.");
        return;
    case TOMO_FINDING_LIVER_LESION:
        (void)snprintf(where, sizeof where, "%s lobe of the liver",
                       f->place == TOMO_PLACE_LEFT_LOBE ? "left" : "right");
        if (cyst) {
            SAY(size, where, front_or_back(centre), "A $1 cyst in the $2, $3.",
                "Fluid-filled lesion of $1 in the $2, $3.", "Simple cyst, $1, $3 in the $2.");
        } else {
            SAY(size, where, front_or_back(centre), "A solid hypodense lesion of $1 in the $2, $3.",
                "Solid $1 mass in the $2, $3.", "Hypodense solid mass, $1, $3 in the $2.");
        }
        return;
    default:
        (void)snprintf(where, sizeof where, "%s of the %s kidney", tomo_pole(f->place), side);
        if (f->kind == TOMO_FINDING_KIDNEY_STONE) {
            SAY(size, where, side, "A $1 stone in the $2.", "Calculus of $1 in the $2.",
                "$1 kidney stone on the $3, $2.");
        } else if (cyst) {
            SAY(size, where, side, "A $1 cyst of the $2.", "Simple cyst of $1 at the $2.",
                "Renal cyst on the $3, $1, $2.");
        } else {
            SAY(size, where, side, "A solid $1 mass of the $2.", "Solid mass of $1 at the $2.",
                "Renal mass on the $3, solid, $1, $2.");
        }
    }
}

static void say_rest(writer *w, int i) {
    const tomo_finding *f = &w->view->findings[i];
    const char *side = tomo_truth_side(f->side);
    char size[16], level[8];
    (void)tomo_size_text(w->view->size_mm[i], size);
    switch (f->kind) {
    case TOMO_FINDING_EFFUSION:
        SAY(tomo_amount(f->severity), side, "", "Pleural effusion on the $2, $1.",
            "A $1 $2 pleural effusion lies posteriorly.",
            "Posterior fluid in the $2 pleural space, $1 amount.");
        return;
    case TOMO_FINDING_ASCITES:
        SAY(tomo_amount(f->severity), "", "", "Free abdominal fluid, $1 amount.", "Ascites, $1.",
            "A $1 amount of ascites.");
        return;
    case TOMO_FINDING_LARGE_SPLEEN:
        SAY(tomo_degree(f->severity), size, "", "Enlarged spleen, $1, $2 across.",
            "Splenomegaly ($1), the spleen is $2 across here.");
        return;
    case TOMO_FINDING_ANEURYSM:
        SAY(size, f->place == TOMO_PLACE_THORACIC ? "descending thoracic" : "infrarenal abdominal", "",
            "Aneurysm of the $2 aorta, $1, with mural thrombus.",
            "The $2 aorta is dilated to $1 and partly thrombosed.");
        return;
    case TOMO_FINDING_ABSENT_KIDNEY:
        SAY(side, "", "", "The $1 kidney is absent.", "No $1 kidney at this level: it is absent.");
        return;
    default:
        tomo_truth_level(f->level, level);
        SAY(tomo_degree(f->severity), level, "", "Compression fracture of $2, $1.",
            "Fractured vertebral body of $2 ($1 compression).");
    }
}

static void say_findings(writer *w) {
    const tomo_view *v = w->view;
    for (int i = 0; i < v->finding_count; i++) {
        tomo_finding_kind kind = v->findings[i].kind;
        bool lesion = kind == TOMO_FINDING_NODULE || kind == TOMO_FINDING_LIVER_LESION ||
                      kind == TOMO_FINDING_KIDNEY_STONE || kind == TOMO_FINDING_KIDNEY_MASS;
        if (lesion) say_lesion(w, i);
        if (!lesion) say_rest(w, i);
    }
    if (v->mirrored) {
        SAY("", "", "", "Situs inversus: the organs lie as in a mirror.",
            "Mirrored organs (situs inversus).");
    }
    if (v->finding_count > 0 || v->mirrored) return;
    if (v->slices == 1) {
        SAY("", "", "", "No abnormality in this slice.", "Normal slice.", "Nothing abnormal at this level.");
    } else {
        SAY("", "", "", "No abnormality in these slices.", "Normal slices.",
            "Nothing abnormal at these levels.");
    }
}

void tomo_caption_write(const tomo_view *view, uint64_t seed, bool plain, tomo_buffer *text) {
    writer state = {view, tomo_random_seed(seed ^ 0xca9710u), text, plain}, *w = &state;
    bool findings_first = !plain && tomo_draw_chance(&w->random, 0.5);
    if (findings_first) say_findings(w);
    if (view->slices == 1) {
        say_level(w);
    } else {
        say_levels(w);
    }
    if (!findings_first) say_findings(w);
    say_organs(w);
    if (!text->failed && text->size > 0) text->data[--text->size] = '\0'; /* the last space */
}
