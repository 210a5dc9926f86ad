/* chat.h - the turns of a conversation as token ids.
 *
 * The format is recognised from the model's own chat template (tokenizer_config.json, chat_template.jinja);
 * no template is executed. A template that is not recognised is refused by name unless the caller names a
 * format. What users typed is encoded as plain text, so no question can forge a turn or an image. */
#ifndef TOMO_TEXT_CHAT_H
#define TOMO_TEXT_CHAT_H

#include "text/tokenizer.h"

typedef struct tomo_chat_format tomo_chat_format; /* immutable; static storage, never freed */

/* By name ("chatml", "qwen2.5", "qwen3", ...), or NULL. */
const tomo_chat_format *tomo_chat_format_by_name(const char *name);
const char *tomo_chat_format_name(const tomo_chat_format *format);
/* From the template of a model folder; TOMO_E_UNSUPPORTED names the file and what is known when it is not
 * recognised, TOMO_E_NO_IMAGE never occurs. */
tomo_status tomo_chat_format_detect(const char *folder, const tomo_chat_format **format, tomo_error *err);

typedef struct tomo_chat_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *text;
    int32_t image_tokens; /* this many times image_id, then "\n", before the text; 0: none */
} tomo_chat_message;

/* Appends the ids of the messages; with `generate`, followed by the head of the assistant's turn.
 * image_id: the placeholder that visual tokens replace (ignored where no message has image_tokens). */
tomo_status tomo_chat_encode(const tomo_chat_format *format, const tomo_tokenizer *tokenizer,
                             const tomo_chat_message *messages, size_t count, bool generate, int32_t image_id,
                             tomo_ids *ids, tomo_error *err);

/* Appends the same conversation as text, as the template renders it (image placeholders as image_token). */
tomo_status tomo_chat_render(const tomo_chat_format *format, const tomo_chat_message *messages, size_t count,
                             bool generate, const char *image_token, tomo_buffer *text, tomo_error *err);

/* The id that ends an assistant's turn, or -1. */
int32_t tomo_chat_end_id(const tomo_chat_format *format, const tomo_tokenizer *tokenizer);

#endif
