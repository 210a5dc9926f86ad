/* text.c - tokenizers and chat formats against the recorded answers of tokenizers and transformers.
 *
 * One line for each list of each folder: ids and texts must be equal, there is no tolerance. Kinds of
 * tokenizers and chat formats that are not supported are skipped with the reason that the library itself
 * gives. */
#include "base/file.h"
#include "base/json.h"
#include "base/limits.h"
#include "support/parity.h"
#include "text/chat.h"
#include "text/tokenizer.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------ JSON with NUL in it */

/* cJSON ends a text at \u0000, which the cases contain; so in the file each becomes U+10FFFF, which they do
 * not, and is turned back when a text is taken. */
#define STAND_IN "\\ud9a8\\udfc9"

static cJSON *read_json(const char *path) {
    char *bytes = NULL;
    size_t size = 0;
    tomo_buffer b = {.maximum = SIZE_MAX};
    cJSON *root = NULL;
    if (tomo_file_read(path, TOMO_LIMIT_JSON_BYTES, &bytes, &size, NULL) != TOMO_OK) return NULL;
    for (size_t at = 0; at < size; at++) {
        if (bytes[at] != '\\') {
            (void)tomo_buffer_add(&b, bytes + at, 1);
        } else if (size - at >= 6 && memcmp(bytes + at, "\\u0000", 6) == 0) {
            (void)tomo_buffer_add_text(&b, STAND_IN);
            at += 5;
        } else {
            (void)tomo_buffer_add(&b, bytes + at, size - at > 1 ? 2 : 1);
            at++;
        }
    }
    if (!b.failed) (void)tomo_json_parse(path, b.data, b.size, &root, NULL);
    tomo_buffer_free(&b);
    free(bytes);
    return root;
}

typedef struct text {
    char *data;
    size_t size;
} text;

static text take_text(const cJSON *item) {
    const char *from = cJSON_IsString(item) ? item->valuestring : "";
    text t = {calloc(1, strlen(from) + 1), 0};
    while (t.data != NULL && *from != '\0') {
        if (strncmp(from, "\xf1\xba\x8f\x89", 4) == 0) {
            t.data[t.size++] = '\0';
            from += 4;
        } else {
            t.data[t.size++] = *from++;
        }
    }
    return t;
}

static bool text_equals(const cJSON *want, const tomo_buffer *got) {
    text t = take_text(want);
    bool same =
        !got->failed && t.size == got->size && (t.size == 0 || memcmp(t.data, got->data, t.size) == 0);
    free(t.data);
    return same;
}

static tomo_ids take_ids(const cJSON *list) {
    tomo_ids ids = {0};
    const cJSON *item;
    cJSON_ArrayForEach(item, list)(void) tomo_ids_add(&ids, (int32_t)item->valuedouble);
    return ids;
}

static bool ids_equal(const cJSON *want, const tomo_ids *got) {
    tomo_ids ids = take_ids(want);
    bool same =
        ids.count == got->count && (ids.count == 0 || memcmp(ids.data, got->data, ids.count * 4) == 0);
    tomo_ids_free(&ids);
    return same;
}

/* ------------------------------------------------------------------------------ one row of each list */

static bool encodes_to(const tomo_tokenizer *t, const cJSON *row, const char *key, bool special) {
    text input = take_text(tomo_json_get(row, "text"));
    tomo_ids ids = {0};
    bool same = tomo_tokenizer_encode(t, input.data, input.size,
                                      (tomo_encode_options){.add_special = special}, &ids, NULL) == TOMO_OK &&
                ids_equal(tomo_json_get(row, key), &ids);
    tomo_ids_free(&ids);
    free(input.data);
    return same;
}

static bool decodes_to(const tomo_tokenizer *t, const cJSON *list, const cJSON *want, bool skip) {
    tomo_ids ids = take_ids(list);
    tomo_buffer b = {.maximum = SIZE_MAX};
    bool same =
        tomo_tokenizer_decode(t, ids.data, ids.count, skip, &b, NULL) == TOMO_OK && text_equals(want, &b);
    tomo_buffer_free(&b);
    tomo_ids_free(&ids);
    return same;
}

static const char *case_row(const tomo_tokenizer *t, const cJSON *row) {
    const cJSON *special = tomo_json_get(row, "ids_special");
    const cJSON *plain = tomo_json_get(row, "decoded_ids");
    if (plain == NULL) plain = tomo_json_get(row, "decoded_skip_special");
    if (!encodes_to(t, row, "ids", false)) return "ids";
    if (!encodes_to(t, row, "ids_special", true)) return "ids_special";
    if (!decodes_to(t, special, tomo_json_get(row, "decoded"), false)) return "decoded";
    if (!decodes_to(t, special, tomo_json_get(row, "decoded_skip_special"), true))
        return "decoded_skip_special";
    if (!decodes_to(t, tomo_json_get(row, "ids"), plain, tomo_json_get(row, "decoded_ids") == NULL)) {
        return "decoded_ids";
    }
    return NULL;
}

static const char *decode_row(const tomo_tokenizer *t, const cJSON *row) {
    const cJSON *ids = tomo_json_get(row, "ids");
    if (!decodes_to(t, ids, tomo_json_get(row, "decoded"), false)) return "decoded";
    if (!decodes_to(t, ids, tomo_json_get(row, "decoded_skip_special"), true)) return "decoded_skip_special";
    return NULL;
}

static bool begins_with(const tomo_buffer *whole, const tomo_buffer *part) {
    return part->size == 0 || (whole->size >= part->size && memcmp(whole->data, part->data, part->size) == 0);
}

/* Ours may be ahead of DecodeStream, which holds back U+FFFD, but never behind; at the end it is the whole.
 * Where DecodeStream itself gives up ({"error": ...}), what is before counts. */
static bool streams_to(const tomo_tokenizer *t, const cJSON *list, const cJSON *pieces, const cJSON *full,
                       bool skip) {
    tomo_ids ids = take_ids(list);
    tomo_buffer got = {.maximum = SIZE_MAX}, want = {.maximum = SIZE_MAX};
    tomo_decode_stream *stream = NULL;
    bool same = tomo_decode_stream_create(t, skip, &stream, NULL) == TOMO_OK, compared = true;
    const cJSON *piece = pieces->child;
    for (size_t i = 0; i < ids.count && same; i++) {
        same = tomo_decode_stream_push(stream, ids.data[i], &got, NULL) == TOMO_OK;
        compared = compared && piece != NULL && !cJSON_IsObject(piece);
        if (!compared) continue;
        text add = take_text(piece);
        (void)tomo_buffer_add(&want, add.data, add.size);
        free(add.data);
        same = same && begins_with(&got, &want);
        piece = piece->next;
    }
    same = same && tomo_decode_stream_finish(stream, &got, NULL) == TOMO_OK && text_equals(full, &got);
    tomo_decode_stream_free(stream);
    tomo_buffer_free(&got);
    tomo_buffer_free(&want);
    tomo_ids_free(&ids);
    return same;
}

static const char *stream_row(const tomo_tokenizer *t, const cJSON *row) {
    const cJSON *ids = tomo_json_get(row, "ids");
    if (!streams_to(t, ids, tomo_json_get(row, "pieces"), tomo_json_get(row, "full"), false)) return "pieces";
    if (!streams_to(t, ids, tomo_json_get(row, "pieces_skip_special"),
                    tomo_json_get(row, "full_skip_special"), true)) {
        return "pieces_skip_special";
    }
    return NULL;
}

static const char *raw_bytes_row(const tomo_tokenizer *t, const cJSON *row) {
    const cJSON *ids = tomo_json_get(row, "ids"), *decoded = tomo_json_get(row, "decoded");
    if (!decodes_to(t, ids, decoded, false)) return "decoded";
    return streams_to(t, ids, tomo_json_get(row, "pieces"), decoded, false) ? NULL : "pieces";
}

/* ------------------------------------------------------------------------------ tokenizers */

static void run_list(parity *p, const char *folder, const tomo_tokenizer *t, const cJSON *cases,
                     const char *key, const char *(*run)(const tomo_tokenizer *, const cJSON *)) {
    const cJSON *list = tomo_json_get(cases, key), *row;
    char name[256], first[64] = "";
    int index = 0, wrong = 0, first_at = 0;
    if (list == NULL) return;
    (void)snprintf(name, sizeof name, "%s/%s", folder, key);
    cJSON_ArrayForEach(row, list) {
        const char *what = run(t, row);
        if (what != NULL && wrong++ == 0) {
            (void)snprintf(first, sizeof first, "%s", what);
            first_at = index;
        }
        index++;
    }
    if (wrong == 0) {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "%d of %d rows differ, first row %d in \"%s\"", wrong, index, first_at, first);
    }
}

static void tokenizer_folder(parity *p, const char *name, const char *path) {
    char file[4096];
    (void)snprintf(file, sizeof file, "%s/cases.json", path);
    if (!tomo_path_exists(file)) return;
    tomo_tokenizer *t = NULL;
    tomo_error err = {0};
    tomo_status status = tomo_tokenizer_open(path, &t, &err);
    if (status == TOMO_E_UNSUPPORTED) {
        parity_skip(p, name, "%s", err.message);
        return;
    }
    cJSON *cases = read_json(file);
    if (status != TOMO_OK || cases == NULL) {
        parity_fail(p, name, "%s", status != TOMO_OK ? err.message : "cases.json cannot be read");
    } else {
        run_list(p, name, t, cases, "cases", case_row);
        run_list(p, name, t, cases, "decode", decode_row);
        run_list(p, name, t, cases, "stream", stream_row);
        run_list(p, name, t, cases, "raw_bytes", raw_bytes_row);
    }
    cJSON_Delete(cases);
    tomo_tokenizer_free(t);
}

/* ------------------------------------------------------------------------------ templates */

#define MESSAGES 32

/* False, with a reason, for what the library's messages cannot say. */
static bool take_messages(const cJSON *row, tomo_chat_message *messages, size_t *count, const char **reason) {
    const cJSON *item, *field;
    *count = 0;
    *reason = NULL;
    if (tomo_json_get(row, "error") != NULL) *reason = "the template refuses it";
    if (tomo_json_get(row, "tools") != NULL) *reason = "tools";
    cJSON_ArrayForEach(item, tomo_json_get(row, "messages")) {
        const cJSON *role = tomo_json_get(item, "role"), *content = tomo_json_get(item, "content");
        if (!cJSON_IsString(content)) *reason = "content in parts";
        cJSON_ArrayForEach(field, item) {
            if (strcmp(field->string, "role") != 0 && strcmp(field->string, "content") != 0) {
                *reason = "fields beside role and content";
            }
        }
        if (*reason != NULL || *count == MESSAGES) return false;
        messages[(*count)++] = (tomo_chat_message){role->valuestring, content->valuestring, 0};
    }
    return *reason == NULL;
}

/* The format that renders a row's keyword arguments; templates ignore those that they do not know. */
static const tomo_chat_format *format_for(const tomo_chat_format *format, const cJSON *row) {
    char name[128];
    if (!cJSON_IsFalse(tomo_json_get(tomo_json_get(row, "kwargs"), "enable_thinking"))) return format;
    (void)snprintf(name, sizeof name, "%s-no-think", tomo_chat_format_name(format));
    const tomo_chat_format *without = tomo_chat_format_by_name(name);
    return without != NULL ? without : format;
}

static bool has_control_token(const cJSON *family, const tomo_chat_message *messages, size_t count) {
    const cJSON *token;
    cJSON_ArrayForEach(token, tomo_json_get(family, "control_tokens")) {
        for (size_t i = 0; i < count; i++) {
            if (strstr(messages[i].text, token->valuestring) != NULL) return true;
        }
    }
    return false;
}

static void template_row(parity *p, const char *name, const tomo_chat_format *format, const tomo_tokenizer *t,
                         const cJSON *family, const cJSON *row) {
    tomo_chat_message messages[MESSAGES];
    size_t count = 0;
    const char *reason = NULL;
    if (!take_messages(row, messages, &count, &reason)) {
        parity_skip(p, name, "not supported: %s", reason);
        return;
    }
    const tomo_chat_format *with = format_for(format, row);
    bool generate = cJSON_IsTrue(tomo_json_get(row, "add_generation_prompt"));
    tomo_buffer b = {.maximum = SIZE_MAX};
    tomo_ids ids = {0}, naive = {0};
    tomo_error err = {0};
    tomo_status status = tomo_chat_render(with, messages, count, generate, NULL, &b, &err);
    if (status == TOMO_OK) status = tomo_chat_encode(with, t, messages, count, generate, -1, &ids, &err);
    if (status == TOMO_OK) {
        status = tomo_tokenizer_encode(t, b.data, b.size, (tomo_encode_options){0}, &naive, &err);
    }
    if (status != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else if (!text_equals(tomo_json_get(row, "text"), &b)) {
        parity_fail(p, name, "text");
    } else if (!ids_equal(tomo_json_get(row, "ids_naive"), &naive)) {
        parity_fail(p, name, "ids_naive");
    } else if (!ids_equal(tomo_json_get(row, "ids_safe"), &ids)) {
        parity_fail(p, name, "ids_safe");
    } else if (!has_control_token(family, messages, count) &&
               !ids_equal(tomo_json_get(row, "ids_naive"), &ids)) {
        parity_fail(p, name, "ids_safe is not ids_naive without control tokens");
    } else {
        parity_pass(p, name);
    }
    tomo_buffer_free(&b);
    tomo_ids_free(&ids);
    tomo_ids_free(&naive);
}

static void template_family(parity *p, const cJSON *family) {
    char name[256], folder[4096 + 256];
    tomo_error err = {0};
    tomo_chat_format *format = NULL;
    tomo_tokenizer *t = NULL;
    (void)snprintf(name, sizeof name, "templates/%s", family->string);
    const cJSON *source = tomo_json_get(family, "template"), *row;
    tomo_status status =
        tomo_chat_format_recognise(name, cJSON_IsString(source) ? source->valuestring : "", &format, &err);
    if (status != TOMO_OK) {
        parity_skip(p, name, "%s", err.message);
        return;
    }
    (void)snprintf(folder, sizeof folder, "%s/%s", p->root, tomo_json_get(family, "tokenizer")->valuestring);
    if (tomo_tokenizer_open(folder, &t, &err) != TOMO_OK) {
        parity_fail(p, name, "%s", err.message);
    } else {
        cJSON_ArrayForEach(row, tomo_json_get(family, "rows")) {
            (void)snprintf(name, sizeof name, "templates/%s/%s", family->string,
                           tomo_json_get(row, "name")->valuestring);
            template_row(p, name, format, t, family, row);
        }
    }
    tomo_tokenizer_free(t);
    tomo_chat_format_free(format);
}

static void templates_file(parity *p, const char *name, const char *path) {
    cJSON *root = read_json(path);
    const cJSON *families = tomo_json_get(root, "families"), *family;
    if (families == NULL) parity_fail(p, name, "no families in it");
    cJSON_ArrayForEach(family, families) template_family(p, family);
    cJSON_Delete(root);
}

/* ------------------------------------------------------------------------------ pipeline prompts */

/* Splits a prompt's first user turn: how many image tokens it begins with. */
static int32_t count_images(const char *prompt, const char *image) {
    int32_t count = 0;
    for (const char *at = strstr(prompt, image); at != NULL && strncmp(at, image, strlen(image)) == 0;
         at += strlen(image)) {
        count++;
    }
    return count;
}

static const char *prompt_difference(const char *folder, const cJSON *config, const cJSON *answer) {
    const cJSON *prompt = tomo_json_get(config, "prompt"), *system = tomo_json_get(prompt, "system");
    const cJSON *image = tomo_json_get(prompt, "image_token");
    const char *want = tomo_json_get(answer, "prompt")->valuestring, *difference = NULL;
    tomo_chat_message messages[2];
    size_t count = 0;
    if (system != NULL) messages[count++] = (tomo_chat_message){"system", system->valuestring, 0};
    messages[count++] = (tomo_chat_message){"user", tomo_json_get(answer, "question")->valuestring,
                                            count_images(want, image->valuestring)};
    tomo_tokenizer *t = NULL;
    tomo_chat_format *format = NULL;
    tomo_buffer b = {.maximum = SIZE_MAX};
    tomo_ids ids = {0};
    if (tomo_tokenizer_open(folder, &t, NULL) != TOMO_OK ||
        tomo_chat_format_detect(folder, &format, NULL) != TOMO_OK) {
        difference = "tokenizer or template";
    } else if (tomo_chat_render(format, messages, count, true, image->valuestring, &b, NULL) != TOMO_OK ||
               !text_equals(tomo_json_get(answer, "prompt"), &b)) {
        difference = "prompt";
    } else if (tomo_chat_encode(format, t, messages, count, true, tomo_tokenizer_id(t, image->valuestring),
                                &ids, NULL) != TOMO_OK ||
               !ids_equal(tomo_json_get(answer, "prompt_ids"), &ids)) {
        difference = "prompt_ids";
    }
    tomo_ids_free(&ids);
    tomo_buffer_free(&b);
    tomo_chat_format_free(format);
    tomo_tokenizer_free(t);
    return difference;
}

static void pipeline_folder(parity *p, const char *name, const char *path) {
    char file[4096], folder[4096];
    (void)snprintf(file, sizeof file, "%s/expected.json", path);
    cJSON *expected = read_json(file);
    (void)snprintf(file, sizeof file, "%s/model/config.json", path);
    cJSON *config = read_json(file);
    (void)snprintf(folder, sizeof folder, "%s/model/language", path);
    const char *difference = expected == NULL || config == NULL ? "expected.json or config.json" : NULL;
    const cJSON *answer;
    cJSON_ArrayForEach(answer, tomo_json_get(expected, "answers")) {
        if (difference == NULL) difference = prompt_difference(folder, config, answer);
    }
    if (difference == NULL) {
        parity_pass(p, name);
    } else {
        parity_fail(p, name, "%s", difference);
    }
    cJSON_Delete(expected);
    cJSON_Delete(config);
}

int main(void) {
    parity tokenizers, pipeline;
    parity_begin(&tokenizers, "tokenizer");
    parity_each_folder(&tokenizers, "", tokenizer_folder);
    parity_each_file(&tokenizers, "templates", ".json", templates_file);
    int end = parity_end(&tokenizers);
    parity_begin(&pipeline, "pipeline");
    if (!tomo_path_is_folder(pipeline.root)) return end;
    parity_each_folder(&pipeline, "", pipeline_folder);
    int other = parity_end(&pipeline);
    return end != EXIT_SUCCESS ? end : other;
}
