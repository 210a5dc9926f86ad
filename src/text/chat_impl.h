/* chat_impl.h - what a chat format consists of. Private to src/text. */
#ifndef TOMO_TEXT_CHAT_IMPL_H
#define TOMO_TEXT_CHAT_IMPL_H

#include "text/chat.h"

/* All formats so far are ChatML: <|im_start|>ROLE\nTEXT<|im_end|>\n. */
struct tomo_chat_format {
    const char *name;
    const char *default_system; /* the system turn where the conversation has none of its own; or NULL */
    bool thinks;      /* Qwen3: thoughts of earlier answers are left out, of the last one set apart */
    bool no_thinking; /* the answer begins behind an empty thought */
    const char *const *control_texts; /* what the template writes, beside special tokens; ended by NULL */
    char *owned_system;               /* default_system, when it was taken from a template */
    bool owned;
};

/* Rewrites a Jinja template so that templates that differ only in how they are written become equal:
 *
 *   TOMO_JINJA_TEXT text TOMO_JINJA_END        text that is written, whether raw or as a quoted string
 *   TOMO_JINJA_VALUE expression TOMO_JINJA_END a value that is written
 *   TOMO_JINJA_BLOCK statement TOMO_JINJA_END
 *
 * White space is as trim_blocks and lstrip_blocks leave it; in statements and expressions it is dropped,
 * strings are in single quotes without escapes, x['y'] is x.y. False: not a template, or too long. */
#define TOMO_JINJA_TEXT "\x01"
#define TOMO_JINJA_VALUE "\x02"
#define TOMO_JINJA_BLOCK "\x03"
#define TOMO_JINJA_END "\x04"
bool tomo_jinja_normalise(const char *text, tomo_buffer *out);

#endif
