/* The tokenizer of a GGUF file as a tokenizer.json says it. */
#include "language/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Numbers of tokenizer.ggml.token_type. */
#define TOKEN_CONTROL 3
#define TOKEN_USER_DEFINED 4
#define TOKEN_UNUSED 5

/* How words are cut, by the name in tokenizer.ggml.pre; patterns are those of the models' own tokenizer.json.
 */
#define QWEN2_PATTERN                                                                                        \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|"      \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LLAMA3_PATTERN                                                                                       \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" \
    "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

typedef struct cutting {
    const char *name;
    const char *pattern; /* NULL: that of GPT-2 */
    bool digits;         /* digits are cut off one by one first */
    bool nfc, ignore_merges;
} cutting;

static const cutting cuttings[] = {
    {"gpt-2", NULL, false, false, false},
    {"gpt2", NULL, false, false, false},
    {"smollm", NULL, true, false, false},
    {"qwen2", QWEN2_PATTERN, false, true, false},
    {"deepseek-r1-qwen", QWEN2_PATTERN, false, true, false},
    {"llama-bpe", LLAMA3_PATTERN, false, false, true},
    {"llama3", LLAMA3_PATTERN, false, false, true},
    {"llama-v3", LLAMA3_PATTERN, false, false, true},
};

static tomo_status find_cutting(const char *file, const cJSON *metadata, const cutting **found,
                                tomo_error *err) {
    const char *model = NULL, *name = NULL;
    tomo_json_at at = {file, ""};
    tomo_status status = tomo_json_text(metadata, "tokenizer.ggml.model", at, true, &model, err);
    if (status != TOMO_OK) return status;
    if (strcmp(model, "gpt2") != 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: tokenizer.ggml.model is \"%.40s\"; gpt2 (byte-level BPE) is wanted", file,
                         model);
    }
    status = tomo_json_text(metadata, "tokenizer.ggml.pre", at, true, &name, err);
    if (status != TOMO_OK) return status;
    for (size_t i = 0; i < sizeof cuttings / sizeof cuttings[0]; i++) {
        if (strcmp(cuttings[i].name, name) == 0) {
            *found = &cuttings[i];
            return TOMO_OK;
        }
    }
    return tomo_fail(err, TOMO_E_UNSUPPORTED,
                     "%s: tokenizer.ggml.pre is \"%.40s\"; gpt-2, smollm, qwen2 or llama-bpe is wanted", file,
                     name);
}

static cJSON *byte_level(bool regex) {
    cJSON *item = cJSON_CreateObject();
    cJSON_AddStringToObject(item, "type", "ByteLevel");
    cJSON_AddBoolToObject(item, "add_prefix_space", false);
    cJSON_AddBoolToObject(item, "use_regex", regex);
    return item;
}

static void add_pre_tokenizer(cJSON *root, const cutting *c) {
    cJSON *sequence = cJSON_AddObjectToObject(root, "pre_tokenizer");
    cJSON_AddStringToObject(sequence, "type", "Sequence");
    cJSON *list = cJSON_AddArrayToObject(sequence, "pretokenizers"), *item = NULL;
    if (c->digits || c->pattern != NULL) {
        item = cJSON_CreateObject();
        cJSON_AddItemToArray(list, item);
    }
    if (c->digits) {
        cJSON_AddStringToObject(item, "type", "Digits");
        cJSON_AddBoolToObject(item, "individual_digits", true);
    } else if (c->pattern != NULL) {
        cJSON_AddStringToObject(item, "type", "Split");
        cJSON_AddStringToObject(item, "behavior", "Isolated");
        cJSON_AddBoolToObject(item, "invert", false);
        cJSON_AddStringToObject(cJSON_AddObjectToObject(item, "pattern"), "Regex", c->pattern);
    }
    cJSON_AddItemToArray(list, byte_level(c->pattern == NULL));
}

/* Texts are lent, not copied: there are hundreds of thousands. */
static void lend_text(cJSON *list, const char *text) {
    cJSON_AddItemToArray(list, cJSON_CreateStringReference(text));
}

static void add_model(cJSON *root, const cutting *c, const cJSON *tokens, const cJSON *merges) {
    cJSON *model = cJSON_AddObjectToObject(root, "model"), *item;
    cJSON_AddStringToObject(model, "type", "BPE");
    cJSON_AddBoolToObject(model, "ignore_merges", c->ignore_merges);
    cJSON *vocabulary = cJSON_AddObjectToObject(model, "vocab"),
          *list = cJSON_AddArrayToObject(model, "merges");
    const cJSON *text;
    int64_t id = 0;
    cJSON_ArrayForEach(text, tokens) {
        item = cJSON_CreateNumber((double)id++);
        if (item != NULL && cJSON_IsString(text)) {
            cJSON_AddItemToObjectCS(vocabulary, text->valuestring, item);
        } else {
            cJSON_Delete(item);
        }
    }
    cJSON_ArrayForEach(text, merges) {
        if (cJSON_IsString(text)) lend_text(list, text->valuestring);
    }
}

/* Control tokens are special; words that users defined are cut out of the text too. */
static void add_added(cJSON *root, const cJSON *tokens, const cJSON *kinds) {
    cJSON *list = cJSON_AddArrayToObject(root, "added_tokens");
    const cJSON *text = tokens == NULL ? NULL : tokens->child, *kind = kinds == NULL ? NULL : kinds->child;
    for (int64_t id = 0; text != NULL && kind != NULL; id++, text = text->next, kind = kind->next) {
        bool control = kind->valuedouble == TOKEN_CONTROL;
        if ((!control && kind->valuedouble != TOKEN_USER_DEFINED) || !cJSON_IsString(text)) continue;
        cJSON *item = cJSON_CreateObject();
        cJSON_AddNumberToObject(item, "id", (double)id);
        cJSON_AddStringToObject(item, "content", text->valuestring);
        static const char *const no[] = {"single_word", "lstrip", "rstrip", "normalized"};
        for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) cJSON_AddBoolToObject(item, no[i], false);
        cJSON_AddBoolToObject(item, "special", control);
        cJSON_AddItemToArray(list, item);
    }
}

/* Begin of text in front of what is encoded "with special tokens". */
static void add_begin(cJSON *root, const cJSON *metadata, const cJSON *tokens) {
    int64_t id;
    const cJSON *wanted = tomo_json_get(metadata, "tokenizer.ggml.add_bos_token");
    if (!cJSON_IsTrue(wanted) || !tomo_json_whole(tomo_json_get(metadata, "tokenizer.ggml.bos_token_id"), 0,
                                                  cJSON_GetArraySize(tokens) - 1, &id)) {
        return;
    }
    cJSON *processor = cJSON_AddObjectToObject(root, "post_processor");
    cJSON_AddStringToObject(processor, "type", "TemplateProcessing");
    cJSON *single = cJSON_AddArrayToObject(processor, "single"), *item = cJSON_CreateObject();
    cJSON_AddStringToObject(cJSON_AddObjectToObject(item, "SpecialToken"), "id", "begin");
    cJSON_AddItemToArray(single, item);
    item = cJSON_CreateObject();
    cJSON_AddStringToObject(cJSON_AddObjectToObject(item, "Sequence"), "id", "A");
    cJSON_AddItemToArray(single, item);
    cJSON *begin = cJSON_AddObjectToObject(cJSON_AddObjectToObject(processor, "special_tokens"), "begin");
    cJSON_AddItemToArray(cJSON_AddArrayToObject(begin, "ids"), cJSON_CreateNumber((double)id));
}

tomo_status tomo_gguf_tokenizer(const char *file, const cJSON *metadata, cJSON **tokenizer, tomo_error *err) {
    const cutting *c = NULL;
    *tokenizer = NULL;
    const cJSON *whole = tomo_json_get(metadata, "tokenizer.huggingface.json");
    if (cJSON_IsString(whole))
        return tomo_json_parse(file, whole->valuestring, strlen(whole->valuestring), tokenizer, err);
    tomo_status status = find_cutting(file, metadata, &c, err);
    if (status != TOMO_OK) return status;
    const cJSON *tokens = tomo_json_get(metadata, "tokenizer.ggml.tokens");
    if (!cJSON_IsArray(tokens))
        return tomo_fail(err, TOMO_E_HEADER, "%s: no tokenizer.ggml.tokens in it", file);
    cJSON *root = cJSON_CreateObject();
    if (root == NULL) return tomo_fail_memory(err, file, sizeof *root);
    if (c->nfc) cJSON_AddStringToObject(cJSON_AddObjectToObject(root, "normalizer"), "type", "NFC");
    add_pre_tokenizer(root, c);
    cJSON_AddItemToObject(root, "decoder", byte_level(true));
    add_model(root, c, tokens, tomo_json_get(metadata, "tokenizer.ggml.merges"));
    add_added(root, tokens, tomo_json_get(metadata, "tokenizer.ggml.token_type"));
    add_begin(root, metadata, tokens);
    *tokenizer = root;
    return TOMO_OK;
}

/* ----------------------------------------------------------------------- the other way */

/* The name of the rule by which words are cut; "default" where none of ours is it. */
static const char *cutting_name(const cJSON *pre) {
    const cJSON *list = tomo_json_get(pre, "pretokenizers"), *item;
    const char *regex = NULL;
    bool digits = false;
    cJSON_ArrayForEach(item, list) {
        const cJSON *type = tomo_json_get(item, "type");
        const cJSON *pattern = tomo_json_get(tomo_json_get(item, "pattern"), "Regex");
        if (cJSON_IsString(type) && strcmp(type->valuestring, "Digits") == 0) digits = true;
        if (cJSON_IsString(pattern)) regex = pattern->valuestring;
    }
    for (size_t i = 0; i < sizeof cuttings / sizeof cuttings[0]; i++) {
        const cutting *c = &cuttings[i];
        bool same = regex == NULL ? c->pattern == NULL : c->pattern != NULL && strcmp(c->pattern, regex) == 0;
        if (same && c->digits == digits) return c->name;
    }
    return "default";
}

/* A merge is "a b", or in newer files ["a", "b"]. */
static void add_merges(cJSON *metadata, const cJSON *merges) {
    cJSON *list = cJSON_AddArrayToObject(metadata, "tokenizer.ggml.merges");
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) {
        const cJSON *left = cJSON_IsArray(item) ? item->child : NULL,
                    *right = left == NULL ? NULL : left->next;
        if (cJSON_IsString(item)) cJSON_AddItemToArray(list, cJSON_CreateString(item->valuestring));
        if (!cJSON_IsString(left) || !cJSON_IsString(right)) continue;
        char text[1024];
        if (snprintf(text, sizeof text, "%s %s", left->valuestring, right->valuestring) < (int)sizeof text)
            cJSON_AddItemToArray(list, cJSON_CreateString(text));
    }
}

typedef struct token {
    const char *text;
    int kind;
} token;

static void collect_tokens(const cJSON *tokenizer, token *tokens, int64_t count) {
    const cJSON *item;
    int64_t id;
    cJSON_ArrayForEach(item, tomo_json_get(tomo_json_get(tokenizer, "model"), "vocab")) {
        if (tomo_json_whole(item, 0, count - 1, &id)) tokens[id] = (token){item->string, 1};
    }
    cJSON_ArrayForEach(item, tomo_json_get(tokenizer, "added_tokens")) {
        const cJSON *text = tomo_json_get(item, "content");
        bool special = cJSON_IsTrue(tomo_json_get(item, "special"));
        if (cJSON_IsString(text) && tomo_json_whole(tomo_json_get(item, "id"), 0, count - 1, &id))
            tokens[id] = (token){text->valuestring, special ? TOKEN_CONTROL : TOKEN_USER_DEFINED};
    }
}

void tomo_gguf_add_tokenizer(cJSON *metadata, const cJSON *tokenizer, const char *text, int64_t vocabulary) {
    token *tokens = calloc((size_t)vocabulary, sizeof *tokens);
    cJSON_AddStringToObject(metadata, "tokenizer.ggml.model", "gpt2");
    cJSON_AddStringToObject(metadata, "tokenizer.ggml.pre",
                            cutting_name(tomo_json_get(tokenizer, "pre_tokenizer")));
    cJSON_AddStringToObject(metadata, "tokenizer.huggingface.json", text);
    if (tokens != NULL) collect_tokens(tokenizer, tokens, vocabulary);
    cJSON *texts = cJSON_AddArrayToObject(metadata, "tokenizer.ggml.tokens");
    cJSON *kinds = cJSON_AddArrayToObject(metadata, "tokenizer.ggml.token_type");
    for (int64_t id = 0; tokens != NULL && id < vocabulary; id++) {
        char unused[32];
        (void)snprintf(unused, sizeof unused, "[PAD%lld]", (long long)id);
        cJSON_AddItemToArray(texts, cJSON_CreateString(tokens[id].text != NULL ? tokens[id].text : unused));
        cJSON_AddItemToArray(kinds,
                             cJSON_CreateNumber(tokens[id].text != NULL ? tokens[id].kind : TOKEN_UNUSED));
    }
    add_merges(metadata, tomo_json_get(tomo_json_get(tokenizer, "model"), "merges"));
    free(tokens);
}
