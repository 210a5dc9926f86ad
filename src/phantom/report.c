#include "phantom/report.h"

#include "phantom/phrase.h"

#include <stdio.h>

typedef struct writer {
    const tomo_truth *truth;
    tomo_random random;
    tomo_buffer *text;
    bool plain;
} writer;

#define SAY(...) TOMO_SAY(w, __VA_ARGS__)

static const char *number_word(int n) {
    static const char *const words[] = {"no", "one", "two", "three", "four", "five"};
    return words[n];
}

/* ------------------------------------------------------------------ regions */

static void say_technique(writer *w) {
    const char *phase = tomo_truth_phase(w->truth->phase);
    if (w->truth->phase == TOMO_PHASE_NONE) {
        SAY("", "", "", "Technique: CT of the chest and abdomen without intravenous contrast.",
            "Non-contrast CT of the chest and abdomen.", "Unenhanced CT of the chest and upper abdomen.");
        return;
    }
    SAY(phase, "", "", "Technique: CT of the chest and abdomen with intravenous contrast, $1 phase.",
        "Contrast-enhanced CT of the chest and abdomen in the $1 phase.",
        "CT of the chest and upper abdomen after intravenous contrast in the $1 phase.");
}

static void say_nodules(writer *w) {
    const tomo_truth *t = w->truth;
    int count = tomo_truth_count(t, TOMO_FINDING_NODULE, 0);
    if (count == 0) {
        SAY("", "", "", "The lungs are clear.", "No pulmonary nodule.", "No focal lesion in either lung.",
            "Both lungs are free of nodules and consolidation.");
    }
    if (count > 1) {
        SAY(number_word(count), "", "", "There are $1 pulmonary nodules.",
            "In total $1 nodules are seen in the lungs.");
    }
    for (int i = 0; i < t->finding_count; i++) {
        const tomo_finding *f = &t->findings[i];
        char size[16], lobe[32];
        if (f->kind != TOMO_FINDING_NODULE) continue;
        (void)snprintf(lobe, sizeof lobe, "%s %s lobe", tomo_truth_side(f->side), tomo_third(f->place));
        SAY(tomo_size_text(t->diameter_mm[i], size), lobe, "", "A solid nodule of $1 lies in the $2.",
            "A $1 nodule is seen in the $2.", "There is a round nodule in the $2 measuring $1.",
            "The $2 contains a nodule with a diameter of $1.");
    }
}

static void say_effusion(writer *w) {
    const tomo_truth *t = w->truth;
    if (tomo_truth_count(t, TOMO_FINDING_EFFUSION, 0) == 0) {
        SAY("", "", "", "No pleural effusion.", "The pleural spaces are free of fluid.",
            "There is no effusion.");
    }
    for (int i = 0; i < t->finding_count; i++) {
        const tomo_finding *f = &t->findings[i];
        if (f->kind != TOMO_FINDING_EFFUSION) continue;
        SAY(tomo_amount(f->severity), tomo_truth_side(f->side), "",
            "There is a $1 pleural effusion on the $2.", "A $1 amount of fluid lies in the $2 pleural space.",
            "The $2 pleural space holds a $1 effusion.", "Pleural effusion on the $2, $1.");
    }
}

static void say_aorta(writer *w) {
    const tomo_truth *t = w->truth;
    int i = tomo_truth_first(t, TOMO_FINDING_ANEURYSM);
    char size[16], length[16];
    if (i < 0) {
        SAY("", "", "", "The aorta is of normal calibre.", "No aortic aneurysm.",
            "Heart and aorta are unremarkable.");
        return;
    }
    const char *place =
        t->findings[i].place == TOMO_PLACE_THORACIC ? "descending thoracic" : "infrarenal abdominal";
    SAY(tomo_size_text(t->diameter_mm[i], size), place, tomo_size_text(t->height_mm[i], length),
        "Aneurysm of the $2 aorta with a diameter of $1 over a length of $3, with mural thrombus.",
        "The $2 aorta is dilated to $1 over $3; a thrombus lines its wall.",
        "There is an aneurysm of the $2 aorta, $1 wide and $3 long, partly thrombosed.");
}

static void say_liver(writer *w) {
    const tomo_truth *t = w->truth;
    int count = tomo_truth_count(t, TOMO_FINDING_LIVER_LESION, 0);
    if (count == 0) {
        SAY("", "", "", "The liver shows no focal lesion.", "Normal liver.",
            "The liver is homogeneous without focal lesion.");
    }
    if (count > 1)
        SAY(number_word(count), "", "", "The liver contains $1 focal lesions.",
            "There are $1 lesions in the liver.");
    for (int i = 0; i < t->finding_count; i++) {
        const tomo_finding *f = &t->findings[i];
        char size[16], height[16];
        if (f->kind != TOMO_FINDING_LIVER_LESION) continue;
        const char *lobe = f->place == TOMO_PLACE_LEFT_LOBE ? "left" : "right";
        const char *d = tomo_size_text(t->diameter_mm[i], size), *h = tomo_size_text(t->height_mm[i], height);
        if (f->type == TOMO_LESION_CYST) {
            SAY(d, lobe, h, "A simple cyst of $1 lies in the $2 lobe, with a height of $3.",
                "There is a cyst in the $2 lobe of the liver, $1 wide and $3 high.",
                "A fluid-filled lesion in the $2 lobe measures $1 by $3 (craniocaudal).");
        } else {
            SAY(d, lobe, h, "A solid hypodense lesion of $1 lies in the $2 lobe, with a height of $3.",
                "There is a solid mass in the $2 lobe of the liver, $1 wide and $3 high.",
                "A hypodense mass in the $2 lobe measures $1 by $3 (craniocaudal).");
        }
    }
}

static void say_spleen(writer *w) {
    const tomo_truth *t = w->truth;
    int i = tomo_truth_first(t, TOMO_FINDING_LARGE_SPLEEN);
    char height[16];
    const tomo_extent *e = &t->organs[TOMO_ORGAN_SPLEEN];
    if (i < 0) {
        SAY("", "", "", "The spleen is of normal size.", "Normal spleen.", "The spleen is not enlarged.");
        return;
    }
    SAY(tomo_degree(t->findings[i].severity), tomo_size_text(e->top_mm - e->bottom_mm, height), "",
        "There is $1 splenomegaly with a craniocaudal extent of $2.",
        "The spleen is enlarged ($1), $2 in height.",
        "Enlarged spleen, $1, measuring $2 from top to bottom.");
}

static void say_kidneys(writer *w) {
    const tomo_truth *t = w->truth;
    int seen = 0;
    for (int i = 0; i < t->finding_count; i++) {
        const tomo_finding *f = &t->findings[i];
        char size[16], place[48];
        const char *side = tomo_truth_side(f->side), *d = tomo_size_text(t->diameter_mm[i], size);
        (void)snprintf(place, sizeof place, "%s of the %s kidney", tomo_pole(f->place), side);
        if (f->kind == TOMO_FINDING_ABSENT_KIDNEY) {
            SAY(side, "", "", "The $1 kidney is absent.", "No $1 kidney is seen; the other one is enlarged.",
                "Absent $1 kidney.");
        } else if (f->kind == TOMO_FINDING_KIDNEY_STONE) {
            SAY(d, place, "", "A stone of $1 lies in the $2.", "There is a $1 calculus in the $2.",
                "The $2 contains a $1 stone.");
        } else if (f->kind == TOMO_FINDING_KIDNEY_MASS && f->type == TOMO_LESION_CYST) {
            SAY(d, place, "", "A simple cyst of $1 arises from the $2.", "There is a $1 cyst at the $2.");
        } else if (f->kind == TOMO_FINDING_KIDNEY_MASS) {
            SAY(d, place, "", "A solid mass of $1 arises from the $2.",
                "There is a $1 solid mass at the $2.");
        } else {
            continue;
        }
        seen++;
    }
    if (seen == 0) {
        SAY("", "", "", "Both kidneys are normal.", "The kidneys show no stone and no mass.",
            "Normal kidneys on both sides without stones.");
    }
}

static void say_rest(writer *w) {
    const tomo_truth *t = w->truth;
    int ascites = tomo_truth_first(t, TOMO_FINDING_ASCITES), i = tomo_truth_first(t, TOMO_FINDING_FRACTURE);
    char level[8];
    if (ascites < 0) {
        SAY("", "", "", "No free fluid in the abdomen.", "No ascites.", "There is no free abdominal fluid.");
    } else {
        SAY(tomo_amount(t->findings[ascites].severity), "", "", "There is a $1 amount of ascites.",
            "Free abdominal fluid, $1 in amount.");
    }
    if (i < 0) {
        SAY("", "", "", "The spine is intact.", "No vertebral fracture.",
            "The vertebral bodies have normal height.");
    } else {
        tomo_truth_level(t->findings[i].level, level);
        SAY(tomo_degree(t->findings[i].severity), level, "", "There is a $1 compression fracture of $2.",
            "The vertebral body of $2 has lost height ($1 compression fracture).",
            "Compression fracture of $2, $1.");
    }
    if (t->mirrored) {
        SAY("", "", "", "The organs lie as in a mirror (situs inversus).",
            "Situs inversus with the liver on the left.");
    }
}

/* ------------------------------------------------------------------ impression */

static void say_impression(writer *w) {
    static const char *const names[TOMO_FINDING_KINDS] = {
        "Pulmonary nodule", "Pleural effusion", "Liver lesion",  "Kidney stone",         "Kidney lesion",
        "Splenomegaly",     "Aortic aneurysm",  "Absent kidney", "Compression fracture", "Ascites"};
    const tomo_truth *t = w->truth;
    bool any = t->mirrored;
    (void)tomo_buffer_add_text(w->text, "Impression: ");
    for (int kind = 0; kind < TOMO_FINDING_KINDS; kind++) {
        int count = tomo_truth_count(t, (tomo_finding_kind)kind, 0);
        int left = tomo_truth_count(t, (tomo_finding_kind)kind, 1);
        int right = tomo_truth_count(t, (tomo_finding_kind)kind, -1);
        if (count == 0) continue;
        any = true;
        (void)tomo_buffer_add_text(w->text, names[kind]);
        if (left > 0 && right > 0) (void)tomo_buffer_add_text(w->text, " on both sides");
        if (left > 0 && right == 0) (void)tomo_buffer_add_text(w->text, " on the left");
        if (left == 0 && right > 0) (void)tomo_buffer_add_text(w->text, " on the right");
        (void)tomo_buffer_add_text(w->text, ". ");
    }
    if (t->mirrored) (void)tomo_buffer_add_text(w->text, "Situs inversus. ");
    if (!any) {
        SAY("", "", "", "Normal CT of the chest and abdomen.", "No abnormality.",
            "Unremarkable examination.");
    }
}

void tomo_report_write(const tomo_truth *truth, uint64_t seed, bool plain, tomo_buffer *text) {
    writer state = {truth, tomo_random_seed(seed ^ 0x4e904u), text, plain}, *w = &state;
    say_technique(w);
    (void)tomo_buffer_add_text(text, "Findings: ");
    say_nodules(w);
    say_effusion(w);
    say_aorta(w);
    say_liver(w);
    say_spleen(w);
    say_kidneys(w);
    say_rest(w);
    say_impression(w);
    if (!text->failed && text->size > 0) text->data[--text->size] = '\0'; /* the last space */
}
