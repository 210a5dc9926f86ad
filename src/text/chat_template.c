/* Which chat format a template is. Templates are compared in the form of tomo_jinja_normalise, part by part;
 * parts that only run for tools may be anything. The default system turn may have any text, which fine-tuned
 * models change. */
#include "text/chat_impl.h"

#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define T(text) TOMO_JINJA_TEXT text TOMO_JINJA_END
#define V(expression) TOMO_JINJA_VALUE expression TOMO_JINJA_END
#define B(statement) TOMO_JINJA_BLOCK statement TOMO_JINJA_END

/* Parts of a pattern that are no text. */
#define ANYTHING "*"
#define SYSTEM "?" /* the default system turn, up to what follows; no tag lies in it */

#define TURN T("<|im_start|>") V("message.role") T("\n") V("message.content") T("<|im_end|>\n")
#define GENERATE B("ifadd_generation_prompt") T("<|im_start|>assistant\n") B("endif")
#define OPEN_SYSTEM TOMO_JINJA_TEXT "<|im_start|>system\n"
#define CLOSE_SYSTEM "<|im_end|>\n" TOMO_JINJA_END
#define FIRST_SYSTEM T("<|im_start|>system\n") V("messages[0].content") T("<|im_end|>\n")

#define CHATML_HEAD B("formessageinmessages")
#define CHATML_TAIL TURN B("endfor") GENERATE

/* Qwen2-VL: raw text around the tags, and content in parts, which are not used here. */
#define QWEN2_VL_TAIL                                                                                       \
    B("endif") T("<|im_start|>") V("message.role") T("\n") B("ifmessage.contentisstring")                   \
    V("message.content") T("<|im_end|>\n") B("else") B("forcontentinmessage.content")
#define QWEN2_VL_END B("endif") B("endfor") T("<|im_end|>\n") B("endif") B("endfor") GENERATE

#define QWEN25_TAIL                                                                                         \
    B("endif") B("endif") B("formessageinmessages")                                                         \
    B("if(message.role=='user')or(message.role=='system'andnotloop.first)"                                  \
      "or(message.role=='assistant'andnotmessage.tool_calls)")                                              \
    TURN B("elifmessage.role=='assistant'")
#define QWEN25_END B("endif") B("endfor") GENERATE

#define QWEN3_HEAD                                                                                          \
    B("else") B("ifmessages[0].role=='system'") FIRST_SYSTEM B("endif") B("endif")                          \
    B("setns=namespace(multi_step_tool=true,last_query_index=messages|length-1)")                           \
    B("formessageinmessages[::-1]") B("setindex=(messages|length-1)-loop.index0")
#define QWEN3_NO_TOOL_RESPONSE                                                                              \
    "not(message.content.startswith('<tool_response>')andmessage.content.endswith('</tool_response>'))"
#define QWEN3_QUERY                                                                                         \
    B("setns.multi_step_tool=false") B("setns.last_query_index=index") B("endif") B("endfor")               \
    B("formessageinmessages")
#define QWEN3_ROLES B("if(message.role=='user')or(message.role=='system'andnotloop.first)")
#define QWEN3_SPLIT_CONTENT "content.split('</think>')[-1].lstrip('\n')"
#define QWEN3_SPLIT_THOUGHT "content.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n')"
#define QWEN3_PLAIN_ANSWER T("<|im_start|>") V("message.role") T("\n") V("content")
#define QWEN3_ANSWER                                                                                        \
    B("endif") B("endif") B("ifloop.index0>ns.last_query_index")                                            \
    B("ifloop.lastor(notloop.lastandreasoning_content)") T("<|im_start|>") V("message.role")                \
    T("\n<think>\n") V("reasoning_content.strip('\n')") T("\n</think>\n\n") V("content.lstrip('\n')")       \
    B("else") QWEN3_PLAIN_ANSWER B("endif") B("else") QWEN3_PLAIN_ANSWER B("endif")                         \
    B("ifmessage.tool_calls")
#define QWEN3_TAIL T("<|im_end|>\n") B("elifmessage.role=='tool'")
#define QWEN3_END                                                                                           \
    B("endif") B("endfor") B("ifadd_generation_prompt") T("<|im_start|>assistant\n")                        \
    B("ifenable_thinkingisdefinedandenable_thinkingisfalse") T("<think>\n\n</think>\n\n") B("endif")        \
    B("endif")

/* Qwen3 as first published. */
#define QWEN3_FIRST                                                                                         \
    QWEN3_HEAD B("ifns.multi_step_toolandmessage.role=='user'and" QWEN3_NO_TOOL_RESPONSE) QWEN3_QUERY       \
    QWEN3_ROLES TURN B("elifmessage.role=='assistant'") B("setcontent=message.content")                     \
    B("setreasoning_content=''")                                                                            \
    B("ifmessage.reasoning_contentisdefinedandmessage.reasoning_contentisnotnone")                          \
    B("setreasoning_content=message.reasoning_content") B("else") B("if'</think>'inmessage.content")        \
    B("setcontent=message." QWEN3_SPLIT_CONTENT) B("setreasoning_content=message." QWEN3_SPLIT_THOUGHT)     \
    QWEN3_ANSWER

/* Qwen3 as revised in 2025: content that is no text is left out. */
#define QWEN3_REVISED                                                                                       \
    QWEN3_HEAD                                                                                              \
    B("ifns.multi_step_toolandmessage.role=='user'andmessage.contentisstringand" QWEN3_NO_TOOL_RESPONSE)   \
    QWEN3_QUERY B("ifmessage.contentisstring") B("setcontent=message.content") B("else")                    \
    B("setcontent=''") B("endif") QWEN3_ROLES QWEN3_PLAIN_ANSWER T("<|im_end|>\n")                          \
    B("elifmessage.role=='assistant'") B("setreasoning_content=''")                                         \
    B("ifmessage.reasoning_contentisstring") B("setreasoning_content=message.reasoning_content")            \
    B("else") B("if'</think>'incontent") B("setreasoning_content=" QWEN3_SPLIT_THOUGHT)                     \
    B("setcontent=" QWEN3_SPLIT_CONTENT) QWEN3_ANSWER
/* clang-format on */

#define PARTS 10
static const struct {
    const char *format; /* whose name, thoughts and control texts are taken */
    const char *parts[PARTS];
} known[] = {
    {"chatml", {CHATML_HEAD CHATML_TAIL}},
    {"qwen2",
     {CHATML_HEAD B("ifloop.firstandmessages[0].role!='system'") OPEN_SYSTEM, SYSTEM,
      CLOSE_SYSTEM B("endif") CHATML_TAIL}},
    {"qwen2",
     {ANYTHING, CHATML_HEAD B("ifloop.firstandmessage.role!='system'") OPEN_SYSTEM, SYSTEM,
      CLOSE_SYSTEM QWEN2_VL_TAIL, ANYTHING, QWEN2_VL_END}},
    {"qwen2.5",
     {B("iftools"), ANYTHING, B("else") B("ifmessages[0].role=='system'") FIRST_SYSTEM B("else") OPEN_SYSTEM,
      SYSTEM, CLOSE_SYSTEM QWEN25_TAIL, ANYTHING, QWEN25_END}},
    {"qwen3", {B("iftools"), ANYTHING, QWEN3_FIRST, ANYTHING, QWEN3_TAIL, ANYTHING, QWEN3_END}},
    {"qwen3", {B("iftools"), ANYTHING, QWEN3_REVISED, ANYTHING, QWEN3_TAIL, ANYTHING, QWEN3_END}},
};

/* Matches from the front to the very end; *system is set to where SYSTEM lies. */
static bool matches(const char *const *parts, const char *text, const char **system, size_t *system_size) {
    bool open = false; /* the next part may begin anywhere further on */
    for (size_t i = 0; i < PARTS && parts[i] != NULL; i++) {
        if (strcmp(parts[i], ANYTHING) == 0) {
            open = true;
            continue;
        }
        if (strcmp(parts[i], SYSTEM) == 0) {
            *system = text;
            *system_size = strcspn(text, "\x01\x02\x03\x04<");
            text += *system_size;
            continue;
        }
        size_t length = strlen(parts[i]), left = strlen(text);
        bool last = i + 1 == PARTS || parts[i + 1] == NULL;
        if (open && last && left >= length) text += left - length;
        const char *found = open ? strstr(text, parts[i]) : text;
        if (found == NULL || strncmp(found, parts[i], length) != 0) return false;
        text = found + length;
        open = false;
    }
    return *text == '\0' || open;
}

/* A copy with the default system turn of the template, or the static one when that is the same. */
static tomo_status make_format(const tomo_chat_format *like, const char *system, size_t size,
                               tomo_chat_format **format, tomo_error *err) {
    tomo_chat_format *f = malloc(sizeof *f);
    char *text = system == NULL ? NULL : strndup(system, size);
    if (f == NULL || (system != NULL && text == NULL)) {
        free(f);
        return tomo_fail_memory(err, "a chat format", sizeof *f + size);
    }
    *f = *like;
    f->default_system = f->owned_system = text;
    f->owned = true;
    *format = f;
    return TOMO_OK;
}

void tomo_chat_format_free(const tomo_chat_format *format) {
    if (format == NULL || !format->owned) return;
    free(format->owned_system);
    free((void *)(uintptr_t)format);
}

/* SmolLM2's template is Qwen2's with another default system turn; it is called by its own name. */
static const tomo_chat_format *named(const char *name, const char *system, size_t size) {
    const tomo_chat_format *other = tomo_chat_format_by_name("smollm2");
    if (system != NULL && strcmp(name, "qwen2") == 0 && strlen(other->default_system) == size &&
        memcmp(other->default_system, system, size) == 0) {
        return other;
    }
    return tomo_chat_format_by_name(name);
}

tomo_status tomo_chat_format_recognise(const char *file, const char *text, tomo_chat_format **format,
                                       tomo_error *err) {
    tomo_buffer b = {.maximum = (size_t)4 << 20};
    tomo_status status = TOMO_OK;
    bool found = false;
    *format = NULL;
    if (tomo_jinja_normalise(text, &b) && b.data != NULL) {
        for (size_t i = 0; i < sizeof known / sizeof *known && !found; i++) {
            const char *system = NULL;
            size_t size = 0;
            found = matches(known[i].parts, b.data, &system, &size);
            if (found) status = make_format(named(known[i].format, system, size), system, size, format, err);
        }
    }
    tomo_buffer_free(&b);
    if (found) return status;
    return tomo_fail(
        err, TOMO_E_UNSUPPORTED,
        "%s: a chat template that is not recognised; ChatML as of Qwen2, Qwen2.5, Qwen3 and SmolLM is "
        "known, and a format can be named",
        file);
}

/* ------------------------------------------------------------------------------ files */

/* "chat_template": a text, or [{"name": "default", "template": text}, ...]. */
static const char *template_of(const cJSON *config) {
    const cJSON *value = tomo_json_get(config, "chat_template"), *item;
    if (cJSON_IsString(value)) return value->valuestring;
    cJSON_ArrayForEach(item, value) {
        const cJSON *name = tomo_json_get(item, "name"), *text = tomo_json_get(item, "template");
        if (cJSON_IsString(name) && cJSON_IsString(text) && strcmp(name->valuestring, "default") == 0) {
            return text->valuestring;
        }
    }
    return NULL;
}

static tomo_status detect_in_config(const char *folder, const char *path, tomo_chat_format **format,
                                    tomo_error *err) {
    cJSON *config = NULL;
    tomo_status status = tomo_path_exists(path) ? tomo_json_open(path, &config, err) : TOMO_OK;
    const char *text = template_of(config);
    if (status == TOMO_OK && text == NULL) {
        status =
            tomo_fail(err, TOMO_E_UNSUPPORTED,
                      "%s: no chat template in it (chat_template.jinja, or tokenizer_config.json); a format "
                      "can be named",
                      folder);
    } else if (status == TOMO_OK) {
        status = tomo_chat_format_recognise(path, text, format, err);
    }
    cJSON_Delete(config);
    return status;
}

tomo_status tomo_chat_format_detect(const char *folder, tomo_chat_format **format, tomo_error *err) {
    char *jinja = tomo_path_join(folder, "chat_template.jinja");
    char *config = tomo_path_join(folder, "tokenizer_config.json");
    char *text = NULL;
    size_t size = 0;
    tomo_status status = TOMO_OK;
    *format = NULL;
    if (jinja == NULL || config == NULL) {
        status = tomo_fail_memory(err, folder, strlen(folder));
    } else if (tomo_path_exists(jinja)) {
        status = tomo_file_read(jinja, TOMO_LIMIT_JSON_BYTES, &text, &size, err);
        if (status == TOMO_OK) status = tomo_chat_format_recognise(jinja, text, format, err);
    } else {
        status = detect_in_config(folder, config, format, err);
    }
    free(text);
    free(jinja);
    free(config);
    return status;
}
