/* question.h - questions of the five types of M3D-VQA about a phantom, with four choices each.
 *
 * What a reader without the image could guess is held down: for each way of asking, the answers are used
 * equally often (tomo_balance), wrong choices are things that are right elsewhere, and the letter is drawn.
 */
#ifndef TOMO_PHANTOM_QUESTION_H
#define TOMO_PHANTOM_QUESTION_H

#include "phantom/truth.h"

/* Ways of asking; each has its own answers. */
typedef enum tomo_asking {
    TOMO_ASK_PLANE,
    TOMO_ASK_PHASE,
    TOMO_ASK_ORGAN,         /* which organ is abnormal */
    TOMO_ASK_HIGHER_KIDNEY, /* needs several slices, as all below it */
    TOMO_ASK_LIVER_COUNT,
    TOMO_ASK_NODULE_COUNT,
    TOMO_ASK_SAME_LESION, /* one tall lesion or several above each other */
    TOMO_ASK_SPLEEN_HEIGHT,
    TOMO_ASK_LESION_HEIGHT,
    TOMO_ASK_FRACTURE_LEVEL,
    TOMO_ASK_CARINA,   /* a nodule above or below it */
    TOMO_ASK_ABNORMAL, /* which finding there is; one slice is enough from here on */
    TOMO_ASK_EFFUSION_AMOUNT,
    TOMO_ASK_SPLEEN_DEGREE,
    TOMO_ASK_ASCITES_AMOUNT,
    TOMO_ASK_EFFUSION_SIDE,
    TOMO_ASK_NODULE_LOBE,
    TOMO_ASK_STONE_PLACE,
    TOMO_ASK_MASS_PLACE,
    TOMO_ASKINGS
} tomo_asking;

typedef enum tomo_plane { TOMO_PLANE_AXIAL, TOMO_PLANE_CORONAL, TOMO_PLANE_SAGITTAL, TOMO_PLANES } tomo_plane;

#define TOMO_ANSWERS_MOST 12

typedef struct tomo_question {
    tomo_asking asking;
    int answer;   /* which of the asking's answers, 0 .. TOMO_ANSWERS_MOST - 1 */
    int type;     /* 1 plane, 2 phase, 3 organ, 4 abnormality, 5 location */
    bool several; /* one slice alone does not tell */
    char text[160];
    char choices[4][48];
    int right; /* 0 .. 3: the letter A .. D */
} tomo_question;

/* How often each answer was used so far; all zero at first, one for each split. */
typedef struct tomo_balance {
    int used[TOMO_ASKINGS][TOMO_ANSWERS_MOST];
    int answers[TOMO_ASKINGS]; /* how many different answers an asking has */
    int questions, several;
    bool off; /* take whatever can be asked */
} tomo_balance;

/* At most `most` questions (room in `questions`) about a phantom; plane is asked only when `ask_plane`.
 * Returns how many. At least two of five questions of a balance need several slices. */
int tomo_questions_make(const tomo_truth *truth, tomo_plane plane, bool ask_plane, uint64_t seed, int most,
                        tomo_balance *balance, tomo_question *questions);

#endif
