/* render.h - one sample as token ids and labels, in the words of inference (model/prompt.h).
 *
 * config.json's prompt.format decides: "chat", the turns of the language model's own chat format with labels
 * on the assistant's text and the token that ends its turn; "m3d", the benchmark's plain text, question,
 * space, answer, with its label masking (tests/reference/metrics/README.md, "Labels"). */
#ifndef TOMO_TRAIN_RENDER_H
#define TOMO_TRAIN_RENDER_H

#include "model/model.h"
#include "train/dataset.h"

/* A position that no loss is computed for. */
#define TOMO_LABEL_NONE (-100)

/* ids [count], labels [count]: labels[i] is ids[i] or TOMO_LABEL_NONE; the loss compares the logits behind
 * ids[i - 1] with labels[i]. No padding. Start with {0}; reused by the next call, freed by
 * tomo_rendered_free. */
typedef struct tomo_rendered {
    int32_t *ids, *labels;
    size_t count;
    size_t attended; /* positions whose attention mask is 1 in the benchmark: count, or count - 1 when the m3d
                        format put the end of text behind the text */
    size_t labelled; /* labels that are not TOMO_LABEL_NONE */
    size_t capacity;
} tomo_rendered;
void tomo_rendered_free(tomo_rendered *rendered);

typedef struct tomo_render_options {
    const char *instruction; /* what asks for a report; NULL: the model's own (config.json, prompt.report) */
    int64_t image_tokens;    /* placeholders; 0: as many as the model's connector makes */
    int64_t max_length;      /* longer texts lose their end; 0: the language model's context */
} tomo_render_options;

/* A text whose answer does not fit at all leaves no label (labelled 0). */
tomo_status tomo_sample_render(const tomo_model *model, const tomo_sample *sample,
                               const tomo_render_options *options, tomo_rendered *rendered, tomo_error *err);

/* What stands behind the placeholders: the question, for a closed one with " Choices: A. x B. y"; NULL fails
 * only for lack of memory. Of a report: `instruction`. Freed by free. */
char *tomo_sample_question(const tomo_sample *sample, const char *instruction);
/* What the model should say: a closed question's answer is "C. text", with text_first "text: C.". Freed by
 * free. */
char *tomo_sample_answer(const tomo_sample *sample, bool text_first);

/* M3D's instructions for a report, of which its scripts draw one a sample. */
#define TOMO_M3D_PROMPTS 42
extern const char *const tomo_m3d_prompts[TOMO_M3D_PROMPTS];
/* The draw for a sample: depends on seed, epoch and index alone. */
size_t tomo_m3d_prompt_draw(uint64_t seed, uint64_t epoch, uint64_t index);

/* ------------------------------------------------------------------ the m3d format with any tokenizer */

/* Appends the ids of `image_tokens` placeholders and the text behind them, with what the tokenizer puts in
 * front. */
typedef tomo_status (*tomo_m3d_encode_fn)(void *user, int64_t image_tokens, const char *text, tomo_ids *ids,
                                          tomo_error *err);
typedef struct tomo_m3d_tokenizer {
    tomo_m3d_encode_fn encode;
    void *user;
    int32_t pad_id, end_id; /* pad_id -1: none */
} tomo_m3d_tokenizer;

/* question: what stands behind the placeholders, with the space in front of it where there is one. */
tomo_status tomo_m3d_render(const tomo_m3d_tokenizer *tokenizer, int64_t image_tokens, const char *question,
                            const char *answer, int64_t max_length, tomo_rendered *rendered, tomo_error *err);

#endif
