/* chat.h - the turns of a conversation as token ids.
 *
 * The format is recognised from the model's own chat template (tokenizer_config.json, chat_template.jinja);
 * no template is executed. A template that is not recognised is refused by name unless the caller names a
 * format. What users typed can forge neither a turn nor an image: control tokens in it are encoded as text.
 */
#ifndef TOMO_TEXT_CHAT_H
#define TOMO_TEXT_CHAT_H

#include "text/tokenizer.h"

/* Immutable. Formats of tomo_chat_format_by_name are static; tomo_chat_format_free accepts them and NULL. */
typedef struct tomo_chat_format tomo_chat_format;
void tomo_chat_format_free(const tomo_chat_format *format);

/* "chatml" (no system turn by default), "qwen2", "qwen2.5", "smollm2" (each with its own default system
 * turn), "qwen3" and "qwen3-no-think" (which makes the model answer without thinking); NULL for others. */
const tomo_chat_format *tomo_chat_format_by_name(const char *name);
const char *tomo_chat_format_name(const tomo_chat_format *format);
/* From the template of a model folder: chat_template.jinja, or "chat_template" of tokenizer_config.json (a
 * text, or a list with one named "default"). TOMO_E_UNSUPPORTED names the file and what is known when there
 * is none or it is not recognised. The caller frees *format. */
tomo_status tomo_chat_format_detect(const char *folder, tomo_chat_format **format, tomo_error *err);
/* From the text of a template; `file` is for messages. */
tomo_status tomo_chat_format_recognise(const char *file, const char *text, tomo_chat_format **format,
                                       tomo_error *err);

typedef struct tomo_chat_message {
    const char *role; /* "system", "user" or "assistant" */
    const char *text;
    int32_t image_tokens; /* this many times image_id, then "\n", before the text; 0: none */
} tomo_chat_message;

/* Appends the ids of the messages; with `generate`, followed by the head of the assistant's turn.
 * image_id: the added token that visual tokens replace (-1 where no message has image_tokens).
 *
 * Equal to apply_chat_template(sanitize_control_tokens=True) of transformers 5: each control token that
 * stands in a message's text (a special token, one that the template writes, or the image token) is cut out
 * and encoded without added tokens. */
tomo_status tomo_chat_encode(const tomo_chat_format *format, const tomo_tokenizer *tokenizer,
                             const tomo_chat_message *messages, size_t count, bool generate, int32_t image_id,
                             tomo_ids *ids, tomo_error *err);

/* Appends the same conversation as text, as the template renders it (image placeholders as image_token, which
 * may be NULL where no message has image_tokens). */
tomo_status tomo_chat_render(const tomo_chat_format *format, const tomo_chat_message *messages, size_t count,
                             bool generate, const char *image_token, tomo_buffer *text, tomo_error *err);

/* The id that ends an assistant's turn, or -1. */
int32_t tomo_chat_end_id(const tomo_chat_format *format, const tomo_tokenizer *tokenizer);

#endif
