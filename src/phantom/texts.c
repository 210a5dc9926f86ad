/* texts.c - phantoms as text alone, to train a language model: reports, and questions in the words in which
 * the model is asked later. Their scans are painted coarsely, for what is measured in them, and not kept. */
#include "base/folder.h"
#include "base/json.h"
#include "phantom/draw.h"
#include "phantom/question.h"
#include "phantom/report.h"
#include "phantom/write_impl.h"
#include "train/render.h"

#include <stdlib.h>
#include <string.h>

typedef struct maker {
    const tomo_phantom_order *order;
    tomo_buffer list; /* text.jsonl */
    tomo_balance balances[TOMO_PHANTOM_SPLITS];
    int64_t reports[TOMO_PHANTOM_SPLITS];
} maker;

typedef struct subject {
    uint64_t seed;
    int split;
    tomo_truth truth;
    tomo_buffer report;
} subject;

static tomo_status make_subject(const void *state, int64_t index, tomo_pool *pool, void *item,
                                tomo_error *err) {
    /* As many slices as scans have, since heights are measured in them; pixels matter less. */
    static const int64_t coarse[3] = {64, 48, 48};
    const maker *m = state;
    subject *s = item;
    tomo_patient patient;
    tomo_render render;
    s->seed = tomo_phantom_seed(m->order, index, 0);
    s->split = tomo_phantom_split(m->order, s->seed);
    s->report = (tomo_buffer){.maximum = TOMO_PHANTOM_TEXT_BYTES};
    tomo_patient_draw(s->seed, &patient);
    tomo_status status = tomo_render_make(&patient, coarse, pool, &render, err);
    if (status != TOMO_OK) return status;
    tomo_truth_find(&patient, &render, &s->truth);
    tomo_render_free(&render);
    tomo_report_write(&s->truth, s->seed, m->order->options->plain, &s->report);
    return s->report.failed ? tomo_fail_memory(err, "report", TOMO_PHANTOM_TEXT_BYTES) : TOMO_OK;
}

/* {"text", "split"} as a line. */
static bool add_document(maker *m, const char *text, int split) {
    cJSON *line = cJSON_CreateObject();
    bool good = line != NULL && cJSON_AddStringToObject(line, "text", text) != NULL &&
                cJSON_AddStringToObject(line, "split", tomo_phantom_split_names[split]) != NULL;
    char *printed = good ? cJSON_PrintUnformatted(line) : NULL;
    good = printed != NULL && tomo_buffer_format(&m->list, "%s\n", printed);
    cJSON_free(printed);
    cJSON_Delete(line);
    return good;
}

/* "QUESTION Choices: A. x B. y C. z D. w C. z", or "QUESTION z". */
static bool add_question(maker *m, const tomo_question *q, int split, bool closed) {
    const char letter[2] = {(char)('A' + q->right), '\0'};
    const char *choices[4];
    for (int i = 0; i < 4; i++) choices[i] = q->choices[i];
    const tomo_sample sample = {.kind = closed ? TOMO_SAMPLE_CLOSED : TOMO_SAMPLE_OPEN,
                                .question = q->text,
                                .answer = q->choices[q->right],
                                .choices = choices,
                                .choice_count = closed ? 4 : 0,
                                .letter = closed ? letter : NULL};
    char *question = tomo_sample_question(&sample, NULL),
         *answer = tomo_sample_answer(&sample, m->order->options->text_first);
    tomo_buffer text = {.maximum = TOMO_PHANTOM_TEXT_BYTES};
    bool good = question != NULL && answer != NULL && tomo_buffer_format(&text, "%s %s", question, answer) &&
                add_document(m, text.data, split);
    tomo_buffer_free(&text);
    free(question);
    free(answer);
    return good;
}

static tomo_status finish_subject(void *state, void *item, tomo_error *err) {
    maker *m = state;
    const subject *s = item;
    tomo_question questions[TOMO_PHANTOM_QUESTIONS_MOST];
    int count = tomo_questions_make(&s->truth, TOMO_PLANE_AXIAL, false, s->seed, m->order->questions,
                                    &m->balances[s->split], questions);
    bool good = add_document(m, s->report.data, s->split);
    for (int i = 0; good && i < 2 * count; i++) {
        good = add_question(m, &questions[i / 2], s->split, i % 2 == 1);
    }
    m->reports[s->split]++;
    return good ? TOMO_OK : tomo_fail_memory(err, m->order->folder, TOMO_PHANTOM_LIST_BYTES);
}

static void clear_subject(void *item) {
    tomo_buffer_free(&((subject *)item)->report);
}

static cJSON *summarise(const maker *m) {
    cJSON *root = cJSON_CreateObject(), *list = NULL;
    double questions = 0;
    bool good = root != NULL && (list = cJSON_AddObjectToObject(root, "reports")) != NULL;
    for (int i = 0; good && i < TOMO_PHANTOM_SPLITS; i++) {
        good = cJSON_AddNumberToObject(list, tomo_phantom_split_names[i], (double)m->reports[i]) != NULL;
        questions += m->balances[i].questions;
    }
    if (good && cJSON_AddNumberToObject(root, "questions", questions) != NULL) return root;
    cJSON_Delete(root);
    return NULL;
}

tomo_status tomo_phantom_texts(const tomo_phantom_order *order, cJSON **summary, tomo_error *err) {
    maker m = {.order = order, .list = {.maximum = TOMO_PHANTOM_LIST_BYTES}};
    const tomo_phantom_work work = {.stage = "texts",
                                    .item_size = sizeof(subject),
                                    .batch = 64,
                                    .state = &m,
                                    .make = make_subject,
                                    .finish = finish_subject,
                                    .clear = clear_subject};
    *summary = NULL;
    for (int i = 0; i < TOMO_PHANTOM_SPLITS; i++) m.balances[i].off = order->options->all;
    tomo_status status = tomo_make_folders(order->folder, err);
    if (status == TOMO_OK) status = tomo_phantom_run(order, &work, err);
    if (status == TOMO_OK) status = tomo_folder_write(order->folder, "text.jsonl", m.list.data, err);
    if (status == TOMO_OK && (*summary = summarise(&m)) == NULL)
        status = tomo_fail_memory(err, order->folder, 0);
    tomo_buffer_free(&m.list);
    return status;
}
