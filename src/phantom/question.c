#include "phantom/question.h"

#include "phantom/draw.h"

#include <stdio.h>
#include <string.h>

enum { CANDIDATES_MOST = TOMO_ASKINGS };

typedef struct asker {
    const tomo_truth *truth;
    tomo_random random;
    tomo_question candidates[CANDIDATES_MOST];
    int count;
    int answers[TOMO_ASKINGS];
} asker;

/* ------------------------------------------------------------------ one question */

/* Puts the choices into a drawn order; choices[0] is the right one so far. */
static void shuffle(asker *a, tomo_question *q) {
    q->right = 0;
    for (int i = 3; i > 0; i--) {
        int k = tomo_draw_below(&a->random, i + 1);
        char room[sizeof q->choices[0]];
        memcpy(room, q->choices[i], sizeof room);
        memcpy(q->choices[i], q->choices[k], sizeof room);
        memcpy(q->choices[k], room, sizeof room);
        if (q->right == i) {
            q->right = k;
        } else if (q->right == k) {
            q->right = i;
        }
    }
}

/* `possible`: bits of the answers that may stand beside the right one. */
static void ask(asker *a, tomo_asking asking, int type, const char *const *phrases, int phrase_count,
                const char *const *answers, int answer_count, int answer, unsigned possible) {
    tomo_question *q = &a->candidates[a->count];
    *q = (tomo_question){.asking = asking, .answer = answer, .type = type};
    q->several = asking >= TOMO_ASK_HIGHER_KIDNEY && asking <= TOMO_ASK_CARINA;
    (void)snprintf(q->text, sizeof q->text, "%s", phrases[tomo_draw_below(&a->random, phrase_count)]);
    (void)snprintf(q->choices[0], sizeof q->choices[0], "%s", answers[answer]);
    possible &= ~(1u << answer);
    for (int n = 1; n < 4; n++) {
        int left = 0;
        for (int i = 0; i < answer_count; i++) left += (int)(possible >> i & 1);
        if (left == 0) return; /* fewer than four: not asked */
        int wanted = tomo_draw_below(&a->random, left), i = 0;
        while ((possible >> i & 1) == 0 || wanted-- > 0) i++;
        possible &= ~(1u << i);
        (void)snprintf(q->choices[n], sizeof q->choices[n], "%s", answers[i]);
    }
    shuffle(a, q);
    a->answers[asking] = answer_count;
    a->count++;
}

#define COUNT(list) (int)(sizeof(list) / sizeof(list)[0])
#define ASK(asking, type, phrases, answers, answer, possible)                                                \
    ask(a, asking, type, phrases, COUNT(phrases), answers, COUNT(answers), answer, possible)

/* ------------------------------------------------------------------ plane, phase, organ */

static void ask_plane(asker *a, tomo_plane plane) {
    static const char *const phrases[] = {"What is the plane of the slices?",
                                          "In which plane are the slices?", "Which plane does this CT show?"};
    static const char *const answers[] = {"Axial", "Coronal", "Sagittal", "Oblique"};
    ASK(TOMO_ASK_PLANE, 1, phrases, answers, (int)plane, 15);
    a->answers[TOMO_ASK_PLANE] = TOMO_PLANES; /* no scan is oblique */
}

static void ask_phase(asker *a) {
    static const char *const phrases[] = {"What is the contrast phase of this CT?",
                                          "In which phase was the scan taken?",
                                          "Which phase of contrast does the scan show?"};
    static const char *const answers[] = {"Non-contrast", "Arterial phase", "Portal venous phase",
                                          "Delayed phase"};
    ASK(TOMO_ASK_PHASE, 2, phrases, answers, (int)a->truth->phase, 15);
}

static void ask_organ(asker *a) {
    static const char *const phrases[] = {"Which organ is abnormal?", "In which organ is the abnormality?",
                                          "Which organ shows a pathological finding?"};
    static const char *const answers[] = {"Lung", "Liver", "Kidney", "Spleen", "Aorta", "Spine"};
    static const int organ_of[TOMO_FINDING_KINDS] = {0, -1, 1, 2, 2, 3, 4, 2, 5, -1};
    unsigned abnormal = 0;
    int choose = 0, seen = 0;
    for (int i = 0; i < a->truth->finding_count; i++) {
        int organ = organ_of[a->truth->findings[i].kind];
        if (organ < 0 || (abnormal >> organ & 1) != 0) continue;
        abnormal |= 1u << organ;
        if (tomo_draw_below(&a->random, ++seen) == 0) choose = organ;
    }
    if (seen > 0) ASK(TOMO_ASK_ORGAN, 3, phrases, answers, choose, ~abnormal & 63u);
}

static void ask_higher_kidney(asker *a) {
    static const char *const phrases[] = {"Which kidney reaches higher?",
                                          "The upper pole of which kidney lies higher?",
                                          "Which kidney begins further up?"};
    static const char *const answers[] = {"The right kidney", "The left kidney", "Both reach equally high",
                                          "There is only one kidney"};
    const tomo_extent *e = a->truth->organs;
    double right = e[TOMO_ORGAN_KIDNEY_RIGHT].top_mm, left = e[TOMO_ORGAN_KIDNEY_LEFT].top_mm;
    double apart = right > left ? right - left : left - right;
    int answer = apart < 18 ? 2 : right > left ? 0 : 1;
    const bool *whole = a->truth->whole;
    if (a->truth->part && !(whole[TOMO_ORGAN_KIDNEY_RIGHT] && whole[TOMO_ORGAN_KIDNEY_LEFT])) return;
    if (tomo_truth_count(a->truth, TOMO_FINDING_ABSENT_KIDNEY, 0) > 0) {
        answer = 3;
    } else if (apart > 6 && apart < 18) {
        return; /* neither equal nor clearly different */
    }
    ASK(TOMO_ASK_HIGHER_KIDNEY, 3, phrases, answers, answer, 15);
}

/* ------------------------------------------------------------------ counts and heights */

static void ask_counts(asker *a) {
    static const char *const liver[] = {"How many focal lesions does the liver contain?",
                                        "How many lesions are there in the liver?",
                                        "Count the liver lesions."};
    static const char *const lungs[] = {"How many nodules do the lungs contain?",
                                        "How many pulmonary nodules are there?", "Count the lung nodules."};
    static const char *const same[] = {
        "Followed through the slices, do dark areas in the right lobe of the liver belong to one lesion or "
        "to several?",
        "Are dark areas at different heights of the right liver lobe one lesion or more?"};
    static const char *const liver_answers[] = {"One", "Two", "Three", "Four"};
    static const char *const lung_answers[] = {"Zero", "One", "Two", "Three"};
    static const char *const same_answers[] = {"There is no lesion", "One lesion", "Two separate lesions",
                                               "Three or more lesions"};
    const tomo_truth *t = a->truth;
    int lesions = tomo_truth_count(t, TOMO_FINDING_LIVER_LESION, 0), right = 0;
    for (int i = 0; i < t->finding_count; i++) {
        right +=
            t->findings[i].kind == TOMO_FINDING_LIVER_LESION && t->findings[i].place == TOMO_PLACE_RIGHT_LOBE;
    }
    if (lesions >= 1 && lesions <= 4) ASK(TOMO_ASK_LIVER_COUNT, 4, liver, liver_answers, lesions - 1, 15);
    int nodules = tomo_truth_count(t, TOMO_FINDING_NODULE, 0);
    if (nodules <= 3) ASK(TOMO_ASK_NODULE_COUNT, 4, lungs, lung_answers, nodules, 15);
    ASK(TOMO_ASK_SAME_LESION, 4, same, same_answers, right > 3 ? 3 : right, 15);
}

/* The range that holds a height, of four ranges between `edges`; none when it is so near to an edge that
 * slices of the usual 6 mm do not tell. Ranges rather than numbers around the true one: from those, the usual
 * height could be guessed. */
static int range_of(double mm, const double edges[3]) {
    int range = 0;
    for (int i = 0; i < 3; i++) {
        if (mm > edges[i] - 4 && mm < edges[i] + 4) return -1;
        range += mm > edges[i];
    }
    return range;
}

static void ask_heights(asker *a) {
    static const char *const spleen[] = {"What is the craniocaudal extent of the spleen?",
                                         "How far does the spleen reach from top to bottom?"};
    static const char *const spleen_ranges[] = {"Below 8 cm", "8 to 10 cm", "10 to 12 cm", "Above 12 cm"};
    static const double spleen_edges[3] = {80, 100, 120}, lesion_edges[3] = {20, 40, 60};
    static const char *const lesion[] = {"What is the craniocaudal extent of the liver lesion?",
                                         "How high is the liver lesion from top to bottom?"};
    static const char *const lesion_ranges[] = {"Below 2 cm", "2 to 4 cm", "4 to 6 cm", "Above 6 cm"};
    const tomo_truth *t = a->truth;
    const tomo_extent *e = &t->organs[TOMO_ORGAN_SPLEEN];
    int i = tomo_truth_first(t, TOMO_FINDING_LIVER_LESION);
    int range = t->whole[TOMO_ORGAN_SPLEEN] ? range_of(e->top_mm - e->bottom_mm, spleen_edges) : -1;
    if (range >= 0) ASK(TOMO_ASK_SPLEEN_HEIGHT, 4, spleen, spleen_ranges, range, 15);
    range = !t->part && tomo_truth_count(t, TOMO_FINDING_LIVER_LESION, 0) == 1
                ? range_of(t->height_mm[i], lesion_edges)
                : -1;
    if (range >= 0) ASK(TOMO_ASK_LESION_HEIGHT, 4, lesion, lesion_ranges, range, 15);
}

static void ask_levels(asker *a) {
    static const char *const fracture[] = {"Which vertebra is fractured?",
                                           "At which level is the compression fracture?"};
    static const char *const levels[] = {"T7", "T8", "T9", "T10", "T11", "T12", "L1", "L2", "L3"};
    static const char *const carina[] = {"Where is the lung nodule?",
                                         "Where does the nodule lie, seen from the carina?"};
    static const char *const places[] = {"Above the carina, right lung", "Above the carina, left lung",
                                         "Below the carina, right lung", "Below the carina, left lung"};
    const tomo_truth *t = a->truth;
    int i = tomo_truth_first(t, TOMO_FINDING_FRACTURE), n = tomo_truth_first(t, TOMO_FINDING_NODULE);
    if (i >= 0) ASK(TOMO_ASK_FRACTURE_LEVEL, 5, fracture, levels, t->findings[i].level - 7, 0x1ff);
    if (tomo_truth_count(t, TOMO_FINDING_NODULE, 0) == 1) {
        const tomo_finding *f = &t->findings[n];
        int answer = (f->centre[2] < t->carina_mm ? 2 : 0) + (f->side > 0);
        ASK(TOMO_ASK_CARINA, 5, carina, places, answer, 15);
    }
}

/* ------------------------------------------------------------------ findings and their places */

static void ask_abnormal(asker *a) {
    static const char *const phrases[] = {"Which abnormality does the scan show?",
                                          "What is the abnormal finding?",
                                          "Which of these findings is present?"};
    static const char *const answers[TOMO_FINDING_KINDS] = {
        "Lung nodule",     "Pleural effusion", "Liver lesion",  "Kidney stone",         "Kidney lesion",
        "Enlarged spleen", "Aortic aneurysm",  "Absent kidney", "Compression fracture", "Ascites"};
    unsigned present = 0;
    int choose = 0, seen = 0;
    for (int kind = 0; kind < TOMO_FINDING_KINDS; kind++) {
        if (tomo_truth_count(a->truth, (tomo_finding_kind)kind, 0) == 0) continue;
        present |= 1u << kind;
        if (tomo_draw_below(&a->random, ++seen) == 0) choose = kind;
    }
    if (seen > 0) ASK(TOMO_ASK_ABNORMAL, 4, phrases, answers, choose, ~present & 0x3ff);
}

static void ask_amounts(asker *a) {
    static const char *const effusion[] = {"How large is the pleural effusion?",
                                           "How much pleural fluid is there?"};
    static const char *const spleen[] = {"How large is the spleen?", "Is the spleen enlarged, and how much?"};
    static const char *const ascites[] = {"How much free fluid is there in the abdomen?",
                                          "How much ascites is there?"};
    static const char *const amounts[] = {"There is no fluid", "A small amount", "A moderate amount",
                                          "A large amount"};
    static const char *const degrees[] = {"Normal size", "Mildly enlarged", "Moderately enlarged",
                                          "Severely enlarged"};
    const tomo_truth *t = a->truth;
    int i = tomo_truth_first(t, TOMO_FINDING_EFFUSION), s = tomo_truth_first(t, TOMO_FINDING_LARGE_SPLEEN);
    int f = tomo_truth_first(t, TOMO_FINDING_ASCITES);
    /* Of two effusions the question would not say which. */
    if (tomo_truth_count(t, TOMO_FINDING_EFFUSION, 0) < 2) {
        ASK(TOMO_ASK_EFFUSION_AMOUNT, 4, effusion, amounts, i < 0 ? 0 : t->findings[i].severity + 1, 15);
    }
    if (!t->part || t->whole[TOMO_ORGAN_SPLEEN])
        ASK(TOMO_ASK_SPLEEN_DEGREE, 4, spleen, degrees, s < 0 ? 0 : t->findings[s].severity + 1, 15);
    ASK(TOMO_ASK_ASCITES_AMOUNT, 4, ascites, amounts, f < 0 ? 0 : t->findings[f].severity + 1, 15);
}

static void ask_places(asker *a) {
    static const char *const effusion[] = {"On which side is the pleural effusion?",
                                           "Where is the pleural effusion?"};
    static const char *const sides[] = {"On the right", "On the left", "On both sides",
                                        "There is no effusion"};
    static const char *const nodule[] = {"In which lobe is the nodule?",
                                         "Which lobe contains the lung nodule?"};
    static const char *const lobes[] = {"Right upper lobe", "Right middle lobe", "Right lower lobe",
                                        "Left upper lobe", "Left lower lobe"};
    static const char *const stone[] = {"Where is the kidney stone?",
                                        "Which part of the kidneys contains the stone?"};
    static const char *const mass[] = {"Where is the kidney lesion?",
                                       "Where does the lesion of the kidney lie?"};
    static const char *const poles[] = {"Right kidney, upper pole",  "Right kidney, middle third",
                                        "Right kidney, lower pole",  "Left kidney, upper pole",
                                        "Left kidney, middle third", "Left kidney, lower pole"};
    const tomo_truth *t = a->truth;
    int right = tomo_truth_count(t, TOMO_FINDING_EFFUSION, -1),
        left = tomo_truth_count(t, TOMO_FINDING_EFFUSION, 1);
    ASK(TOMO_ASK_EFFUSION_SIDE, 5, effusion, sides, right > 0 ? (left > 0 ? 2 : 0) : left > 0 ? 1 : 3, 15);
    if (tomo_truth_count(t, TOMO_FINDING_NODULE, 0) == 1 &&
        !t->mirrored) { /* mirrored lungs exchange lobes too */
        const tomo_finding *f = &t->findings[tomo_truth_first(t, TOMO_FINDING_NODULE)];
        int third = (int)f->place - (int)TOMO_PLACE_UPPER;
        ASK(TOMO_ASK_NODULE_LOBE, 5, nodule, lobes, f->side < 0 ? third : third == 0 ? 3 : 4, 31);
    }
    for (int k = 0; k < 2; k++) {
        int i = tomo_truth_first(t, k == 0 ? TOMO_FINDING_KIDNEY_STONE : TOMO_FINDING_KIDNEY_MASS);
        if (i < 0) continue;
        int answer = (t->findings[i].side > 0 ? 3 : 0) + (int)t->findings[i].place - (int)TOMO_PLACE_UPPER;
        if (k == 0) ASK(TOMO_ASK_STONE_PLACE, 5, stone, poles, answer, 63);
        if (k == 1) ASK(TOMO_ASK_MASS_PLACE, 5, mass, poles, answer, 63);
    }
}

/* ------------------------------------------------------------------ choosing */

/* An answer may run ahead of the rarest one by so many. */
enum { AHEAD_MOST = 2 };

static bool is_balanced(const tomo_balance *b, const tomo_question *q) {
    const int *used = b->used[q->asking];
    int least = used[0];
    for (int i = 1; i < b->answers[q->asking]; i++) least = used[i] < least ? used[i] : least;
    return used[q->answer] < least + AHEAD_MOST;
}

/* Takes the question if its answer is not too common. One that needs a single slice also waits until two of
 * five needed several. */
static bool take(tomo_balance *b, const tomo_question *q) {
    if (!b->off && !is_balanced(b, q)) return false;
    if (!b->off && !q->several && 5 * b->several < 2 * b->questions) return false;
    b->used[q->asking][q->answer]++;
    b->questions++;
    b->several += q->several;
    return true;
}

int tomo_questions_make(const tomo_truth *truth, tomo_plane plane, bool with_plane, uint64_t seed, int most,
                        tomo_balance *balance, tomo_question *questions) {
    asker state = {.truth = truth, .random = tomo_random_seed(seed ^ 0x9e5710u)}, *a = &state;
    int order[CANDIDATES_MOST], count = 0;
    if (with_plane) ask_plane(a, plane);
    ask_phase(a);
    ask_organ(a);
    ask_higher_kidney(a);
    ask_counts(a);
    ask_heights(a);
    ask_levels(a);
    ask_abnormal(a);
    ask_amounts(a);
    ask_places(a);
    for (int i = 0; i < TOMO_ASKINGS; i++) {
        if (a->answers[i] > 0) balance->answers[i] = a->answers[i];
    }
    for (int i = 0; i < a->count; i++) { /* a drawn order */
        int k = tomo_draw_below(&a->random, i + 1);
        order[i] = order[k];
        order[k] = i;
    }
    /* Those of several slices first, for they open the way to the others. */
    for (int pass = 1; pass >= 0; pass--) {
        for (int i = 0; i < a->count && count < (pass == 1 && !balance->off ? (most + 1) / 2 : most); i++) {
            const tomo_question *q = &a->candidates[order[i]];
            if (q->several == (pass == 1) && take(balance, q)) questions[count++] = *q;
        }
    }
    return count;
}
