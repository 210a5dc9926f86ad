/* prompt.h - what the language model reads before it answers. */
#ifndef TOMO_MODEL_PROMPT_H
#define TOMO_MODEL_PROMPT_H

#include "model/model.h"

/* Adds the answer to a closed question: "C. text", or with text_first "text: C.". A small language model
 * finds the letter of what it has just said more easily than that of what it has yet to say. */
bool tomo_prompt_answer(bool text_first, const char *letter, const char *text, tomo_buffer *answer);

/* Adds what a closed question offers, as the M3D benchmark puts it: " Choices: A. x B. y ...". */
bool tomo_prompt_offer(const char *const *choices, size_t count, tomo_buffer *question);
/* For text_first: where `answer` is "x: C." and x is one of the choices that the question ends with, the
 * letter becomes that choice's, whatever the model wrote. Where it is none of them, nothing changes. */
void tomo_prompt_correct_letter(const char *question, char *answer);
/* Whether a question offers choices as tomo_prompt_offer adds them. */
bool tomo_prompt_has_choices(const char *question);

/* Each appends the ids of a prompt with `image_tokens` placeholders in it. What the user typed is encoded as
 * plain text. */

tomo_status tomo_prompt_question(const tomo_model *model, const char *question, int64_t image_tokens,
                                 tomo_ids *ids, tomo_error *err);
/* instruction NULL: the model's own. The benchmark's plain text has no space in front of it. */
tomo_status tomo_prompt_report(const tomo_model *model, const char *instruction, int64_t image_tokens,
                               tomo_ids *ids, tomo_error *err);
/* The benchmark's plain text: what stands behind the placeholders as it is. */
tomo_status tomo_prompt_m3d(const tomo_model *model, const char *text, int64_t image_tokens, tomo_ids *ids,
                            tomo_error *err);
/* Text without a scan: a user's turn, or as it stands. */
tomo_status tomo_prompt_text(const tomo_model *model, const char *text, bool chat, tomo_ids *ids,
                             tomo_error *err);

/* The placeholders among ids, which stand in a row, as tokens of one position; {0} where the model gives each
 * its own. */
tomo_position_block tomo_prompt_positions(const tomo_model *model, const int32_t *ids, size_t count);

/* ids -> embeddings [count, H] in the exec's arena, placeholders replaced by tokens [T, H] in order (tokens
 * NULL: none are wanted). Ids that the language model does not have, or another number of placeholders than
 * T, are refused. */
tomo_tensor *tomo_prompt_embed(const tomo_model *model, tomo_exec *exec, const tomo_ids *ids,
                               const float *tokens, int64_t token_count);

#endif
