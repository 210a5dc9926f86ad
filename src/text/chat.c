#include "text/chat_impl.h"

#include "text/tokenizer_impl.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of one conversation, images included. */
#define LIMIT_TEXT ((size_t)64 << 20)

static const char *const chatml_texts[] = {"<|im_start|>", "<|im_end|>", NULL};
static const char *const qwen25_texts[] = {"<|im_start|>",    "<|im_end|>",       "<tools>",
                                           "</tools>",        "<tool_call>",      "</tool_call>",
                                           "<tool_response>", "</tool_response>", NULL};
static const char *const qwen3_texts[] = {
    "<|im_start|>",    "<|im_end|>",       "<tools>", "</tools>", "<tool_call>", "</tool_call>",
    "<tool_response>", "</tool_response>", "<think>", "</think>", NULL};

static const tomo_chat_format formats[] = {
    {.name = "chatml", .control_texts = chatml_texts},
    {.name = "qwen2", .control_texts = chatml_texts, .default_system = "You are a helpful assistant."},
    {.name = "qwen2.5",
     .control_texts = qwen25_texts,
     .default_system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."},
    {.name = "qwen3", .control_texts = qwen3_texts, .thinks = true},
    {.name = "qwen3-no-think", .control_texts = qwen3_texts, .thinks = true, .no_thinking = true},
    {.name = "smollm2",
     .control_texts = chatml_texts,
     .default_system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"},
};

const tomo_chat_format *tomo_chat_format_by_name(const char *name) {
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (strcmp(formats[i].name, name) == 0) return &formats[i];
    }
    return NULL;
}

const char *tomo_chat_format_name(const tomo_chat_format *format) {
    return format->name;
}

/* ------------------------------------------------------------------------------ rendering */

/* A part of a text. */
typedef struct slice {
    const char *text;
    size_t size;
} slice;

static slice whole(const char *text) {
    return (slice){text, strlen(text)};
}

static slice strip_left(slice s) {
    while (s.size > 0 && s.text[0] == '\n') s = (slice){s.text + 1, s.size - 1};
    return s;
}

static slice strip_right(slice s) {
    while (s.size > 0 && s.text[s.size - 1] == '\n') s.size--;
    return s;
}

/* Where `what` stands first, or behind everything. */
static size_t find_first(slice s, const char *what) {
    size_t length = strlen(what);
    for (size_t i = 0; i + length <= s.size; i++) {
        if (memcmp(s.text + i, what, length) == 0) return i;
    }
    return s.size;
}

/* What follows the last `what`; all when there is none. */
static slice behind_last(slice s, const char *what) {
    size_t length = strlen(what);
    for (size_t i = s.size; i >= length; i--) {
        if (memcmp(s.text + i - length, what, length) == 0) return (slice){s.text + i, s.size - i};
    }
    return s;
}

static void add(tomo_buffer *b, slice s) {
    (void)tomo_buffer_add(b, s.text, s.size);
}

static void add_turn(tomo_buffer *b, const char *role, slice text) {
    (void)tomo_buffer_add_text(b, "<|im_start|>");
    (void)tomo_buffer_add_text(b, role);
    (void)tomo_buffer_add_text(b, "\n");
    add(b, text);
    (void)tomo_buffer_add_text(b, "<|im_end|>\n");
}

static bool is_role(const tomo_chat_message *m, const char *role) {
    return strcmp(m->role, role) == 0;
}

static bool is_tool_response(const char *text) {
    const char *open = "<tool_response>", *close = "</tool_response>";
    size_t size = strlen(text);
    return strncmp(text, open, strlen(open)) == 0 && size >= strlen(close) &&
           strcmp(text + size - strlen(close), close) == 0;
}

/* The last question of a user: thoughts are kept only behind it. */
static size_t last_query(const tomo_chat_message *messages, size_t count) {
    for (size_t i = count; i > 0; i--) {
        if (is_role(&messages[i - 1], "user") && !is_tool_response(messages[i - 1].text)) return i - 1;
    }
    return count == 0 ? 0 : count - 1;
}

/* An answer of Qwen3: <think>thought</think>content. */
static void add_answer(tomo_buffer *b, const tomo_chat_message *m, bool after_query, bool last) {
    slice content = whole(m->text), thought = {"", 0};
    size_t end = find_first(content, "</think>");
    if (end < content.size) {
        thought = strip_left(behind_last(strip_right((slice){content.text, end}), "<think>"));
        content = strip_left(behind_last(content, "</think>"));
    }
    (void)tomo_buffer_add_text(b, "<|im_start|>assistant\n");
    if (after_query && (last || thought.size > 0)) {
        (void)tomo_buffer_add_text(b, "<think>\n");
        add(b, strip_right(strip_left(thought)));
        (void)tomo_buffer_add_text(b, "\n</think>\n\n");
        content = strip_left(content);
    }
    add(b, content);
    (void)tomo_buffer_add_text(b, "<|im_end|>\n");
}

static tomo_status check_messages(const tomo_chat_message *messages, size_t count, const char *image_token,
                                  tomo_error *err) {
    for (size_t i = 0; i < count; i++) {
        const tomo_chat_message *m = &messages[i];
        if (!is_role(m, "system") && !is_role(m, "user") && !is_role(m, "assistant")) {
            return tomo_fail(err, TOMO_E_USAGE,
                             "a message of role \"%.40s\"; system, user or assistant is wanted", m->role);
        }
        if (m->image_tokens < 0 || (m->image_tokens > 0 && (image_token == NULL || !is_role(m, "user")))) {
            return tomo_fail(err, TOMO_E_USAGE, "images in a message need an image token and the role user");
        }
    }
    return TOMO_OK;
}

static void add_user(tomo_buffer *b, const tomo_chat_message *m, const char *image_token) {
    (void)tomo_buffer_add_text(b, "<|im_start|>user\n");
    for (int32_t i = 0; i < m->image_tokens && !b->failed; i++) (void)tomo_buffer_add_text(b, image_token);
    if (m->image_tokens > 0) (void)tomo_buffer_add_text(b, "\n");
    add(b, whole(m->text));
    (void)tomo_buffer_add_text(b, "<|im_end|>\n");
}

tomo_status tomo_chat_render(const tomo_chat_format *format, const tomo_chat_message *messages, size_t count,
                             bool generate, const char *image_token, tomo_buffer *text, tomo_error *err) {
    tomo_status status = check_messages(messages, count, image_token, err);
    if (status != TOMO_OK) return status;
    if (format->default_system != NULL && count > 0 && !is_role(&messages[0], "system")) {
        add_turn(text, "system", whole(format->default_system));
    }
    size_t query = last_query(messages, count);
    for (size_t i = 0; i < count; i++) {
        if (is_role(&messages[i], "user")) {
            add_user(text, &messages[i], image_token);
        } else if (format->thinks && is_role(&messages[i], "assistant")) {
            add_answer(text, &messages[i], i > query, i + 1 == count);
        } else {
            add_turn(text, messages[i].role, whole(messages[i].text));
        }
    }
    if (generate) (void)tomo_buffer_add_text(text, "<|im_start|>assistant\n");
    if (generate && format->no_thinking) (void)tomo_buffer_add_text(text, "<think>\n\n</think>\n\n");
    return text->failed ? tomo_fail(err, TOMO_E_LIMIT, "a conversation of more than %zu bytes", text->maximum)
                        : TOMO_OK;
}

/* ------------------------------------------------------------------------------ control tokens in messages
 */

/* transformers marks control tokens in messages with two private characters before it renders the template,
 * and so do we: a template that cuts a message apart cuts between the same characters. Markers that a user
 * types are dropped. */
#define MARK_BEGIN "\xf3\xb0\x80\x80" /* U+F0000 */
#define MARK_END "\xf3\xb0\x80\x81"   /* U+F0001 */
#define MARK_SIZE 4

static bool is_control(const tomo_added_token *t, const tomo_chat_format *format, int32_t image_id) {
    if (t->special || t->id == image_id) return true;
    for (size_t i = 0; format->control_texts[i] != NULL; i++) {
        if (strcmp(format->control_texts[i], t->text) == 0) return true;
    }
    return false;
}

/* The longest control token at the front of text, or NULL. */
static const tomo_added_token *control_at(const tomo_tokenizer *tokenizer, const tomo_chat_format *format,
                                          int32_t image_id, const char *text) {
    const tomo_added_token *found = NULL;
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        const tomo_added_token *t = &tokenizer->added.tokens[i];
        if (t->size == 0 || t->text[0] != text[0] || (found != NULL && t->size <= found->size)) continue;
        if (strncmp(text, t->text, t->size) == 0 && is_control(t, format, image_id)) found = t;
    }
    return found;
}

static bool at_mark(const char *text) {
    return strncmp(text, MARK_BEGIN, MARK_SIZE) == 0 || strncmp(text, MARK_END, MARK_SIZE) == 0;
}

/* The text without markers of its own; then with each control token between markers. The caller frees it. */
static char *mark_text(const tomo_tokenizer *tokenizer, const tomo_chat_format *format, int32_t image_id,
                       const char *text) {
    tomo_buffer clean = {.maximum = LIMIT_TEXT}, marked = {.maximum = LIMIT_TEXT};
    (void)tomo_buffer_add_text(&clean, "");
    (void)tomo_buffer_add_text(&marked, "");
    while (*text != '\0') {
        if (at_mark(text)) {
            text += MARK_SIZE;
        } else {
            (void)tomo_buffer_add(&clean, text++, 1);
        }
    }
    for (const char *at = clean.data; at != NULL && *at != '\0';) {
        const tomo_added_token *t = control_at(tokenizer, format, image_id, at);
        if (t == NULL) {
            (void)tomo_buffer_add(&marked, at++, 1);
            continue;
        }
        (void)tomo_buffer_add_text(&marked, MARK_BEGIN);
        (void)tomo_buffer_add(&marked, at, t->size);
        (void)tomo_buffer_add_text(&marked, MARK_END);
        at += t->size;
    }
    if (clean.failed || marked.failed) tomo_buffer_free(&marked);
    tomo_buffer_free(&clean);
    return marked.data;
}

/* The length of the added token that stands at text and is followed by the end marker, or 0. */
static size_t marked_length(const tomo_tokenizer *tokenizer, const char *text) {
    size_t longest = 0;
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        const tomo_added_token *t = &tokenizer->added.tokens[i];
        if (t->size > longest && strncmp(text, t->text, t->size) == 0 &&
            strncmp(text + t->size, MARK_END, MARK_SIZE) == 0) {
            longest = t->size;
        }
    }
    return longest;
}

/* ------------------------------------------------------------------------------ encoding */

typedef struct encoding {
    const tomo_tokenizer *tokenizer;
    tomo_ids *ids;
    tomo_ids line_feed; /* what "\n" alone encodes to */
    bool first;         /* nothing has been encoded yet */
} encoding;

static tomo_status encode_into(const encoding *e, const char *text, size_t size, bool plain, tomo_ids *ids,
                               tomo_error *err) {
    return tomo_tokenizer_encode(e->tokenizer, text, size, (tomo_encode_options){.plain = plain}, ids, err);
}

static bool append(tomo_ids *ids, const tomo_ids *more, size_t from) {
    for (size_t i = from; i < more->count; i++) {
        if (!tomo_ids_add(ids, more->data[i])) return false;
    }
    return true;
}

/* A piece in the middle of a chat is encoded behind a line feed, whose ids are then taken away, so that no
 * tokenizer treats it as the beginning of a text; where that changes the first ids, it is encoded alone. */
static tomo_status encode_piece(const encoding *e, const char *text, size_t size, bool plain, tomo_ids *out,
                                tomo_error *err) {
    tomo_buffer behind = {.maximum = SIZE_MAX};
    (void)tomo_buffer_add_text(&behind, "\n");
    tomo_status status = tomo_buffer_add(&behind, text, size)
                             ? encode_into(e, behind.data, behind.size, plain, out, err)
                             : tomo_fail_memory(err, "a conversation", size);
    size_t lead = e->line_feed.count;
    bool led = status == TOMO_OK && out->count >= lead &&
               (lead == 0 || memcmp(out->data, e->line_feed.data, lead * sizeof *out->data) == 0);
    if (led) {
        memmove(out->data, out->data + lead, (out->count - lead) * sizeof *out->data);
        out->count -= lead;
    } else if (status == TOMO_OK) {
        out->count = 0;
        status = encode_into(e, text, size, plain, out, err);
    }
    tomo_buffer_free(&behind);
    return status;
}

static tomo_status add_piece(encoding *e, const char *text, size_t size, bool plain, tomo_error *err) {
    tomo_ids piece = {0};
    tomo_status status = TOMO_OK;
    bool first = e->first;
    e->first = false;
    if (size == 0) return TOMO_OK;
    if (first) return encode_into(e, text, size, plain, e->ids, err);
    status = encode_piece(e, text, size, plain, &piece, err);
    if (status == TOMO_OK && plain) {
        char *name = strndup(text, size);
        int32_t forged = name == NULL ? -1 : tomo_tokenizer_id(e->tokenizer, name);
        for (size_t i = 0; i < piece.count && status == TOMO_OK; i++) {
            if (name != NULL && piece.data[i] != forged) continue;
            status =
                tomo_fail(err, TOMO_E_UNSUPPORTED,
                          "\"%.60s\" in a message cannot be told from the control token of that name", text);
        }
        free(name);
    }
    if (status == TOMO_OK && !append(e->ids, &piece, 0))
        status = tomo_fail_memory(err, "tokens", piece.count);
    tomo_ids_free(&piece);
    return status;
}

/* Cuts the rendered conversation at the markers. A marker that lost its partner only cuts. */
static tomo_status encode_marked(encoding *e, const char *text, size_t size, tomo_error *err) {
    const char *end = text + size, *from = text;
    tomo_status status = TOMO_OK;
    for (const char *at = text; at < end && status == TOMO_OK;) {
        if (!at_mark(at)) {
            at++;
            continue;
        }
        status = add_piece(e, from, (size_t)(at - from), false, err);
        size_t length =
            strncmp(at, MARK_BEGIN, MARK_SIZE) == 0 ? marked_length(e->tokenizer, at + MARK_SIZE) : 0;
        if (status == TOMO_OK && length > 0) status = add_piece(e, at + MARK_SIZE, length, true, err);
        at += length > 0 ? 2 * MARK_SIZE + length : MARK_SIZE;
        from = at;
    }
    return status == TOMO_OK ? add_piece(e, from, (size_t)(end - from), false, err) : status;
}

static tomo_status check_tokenizer(const tomo_tokenizer *tokenizer, tomo_error *err) {
    for (size_t i = 0; chatml_texts[i] != NULL; i++) {
        if (tomo_added_find(&tokenizer->added, chatml_texts[i]) == NULL) {
            return tomo_fail(err, TOMO_E_UNSUPPORTED,
                             "the tokenizer has no added token \"%s\", which ChatML needs", chatml_texts[i]);
        }
    }
    return TOMO_OK;
}

static tomo_status encode_messages(const tomo_chat_format *format, const tomo_tokenizer *tokenizer,
                                   const tomo_chat_message *messages, size_t count, bool generate,
                                   const char *image_token, tomo_ids *ids, tomo_error *err) {
    tomo_buffer text = {.maximum = LIMIT_TEXT};
    encoding e = {.tokenizer = tokenizer, .ids = ids, .first = true};
    tomo_status status = tomo_chat_render(format, messages, count, generate, image_token, &text, err);
    if (status == TOMO_OK) status = encode_into(&e, "\n", 1, false, &e.line_feed, err);
    if (status == TOMO_OK && text.size > 0) status = encode_marked(&e, text.data, text.size, err);
    tomo_ids_free(&e.line_feed);
    tomo_buffer_free(&text);
    return status;
}

tomo_status tomo_chat_encode(const tomo_chat_format *format, const tomo_tokenizer *tokenizer,
                             const tomo_chat_message *messages, size_t count, bool generate, int32_t image_id,
                             tomo_ids *ids, tomo_error *err) {
    const tomo_added_token *image = tomo_added_at(&tokenizer->added, image_id);
    tomo_status status = check_tokenizer(tokenizer, err);
    if (status != TOMO_OK) return status;
    tomo_chat_message *marked = calloc(count + 1, sizeof *marked);
    if (marked == NULL) return tomo_fail_memory(err, "a conversation", count * sizeof *marked);
    for (size_t i = 0; i < count && status == TOMO_OK; i++) {
        marked[i] = messages[i];
        marked[i].text = mark_text(tokenizer, format, image_id, messages[i].text);
        if (marked[i].text == NULL) status = tomo_fail_memory(err, "a message", strlen(messages[i].text));
    }
    if (status == TOMO_OK) {
        status = encode_messages(format, tokenizer, marked, count, generate,
                                 image == NULL ? NULL : image->text, ids, err);
    }
    for (size_t i = 0; i < count; i++) free((char *)(uintptr_t)marked[i].text);
    free(marked);
    return status;
}

int32_t tomo_chat_end_id(const tomo_chat_format *format, const tomo_tokenizer *tokenizer) {
    (void)format; /* all formats so far end a turn alike */
    return tomo_tokenizer_id(tokenizer, "<|im_end|>");
}
