/* tokenizer.json of a byte-level BPE or WordPiece tokenizer. Anything that is not applied is refused by its
 * name. */
#include "text/tokenizer_impl.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

static const char *type_of(const cJSON *object) {
    const cJSON *type = tomo_json_get(object, "type");
    return cJSON_IsString(type) ? type->valuestring : "";
}

static bool type_is(const cJSON *object, const char *type) {
    return strcmp(type_of(object), type) == 0;
}

static tomo_status unsupported(const char *file, const char *part, const cJSON *object, const char *wanted,
                               tomo_error *err) {
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: %s of type \"%.40s\"; %s", file, part, type_of(object),
                     wanted);
}

/* ------------------------------------------------------------------------------ normaliser and decoder */

static tomo_status read_normalizer(tomo_tokenizer *t, const char *file, const cJSON *n, tomo_error *err) {
    if (n == NULL) return TOMO_OK;
    if (type_is(n, "NFC")) {
        t->nfc = true;
        return TOMO_OK;
    }
    if (!type_is(n, "Sequence")) return unsupported(file, "a normalizer", n, "NFC or none is read", err);
    const cJSON *item;
    cJSON_ArrayForEach(item, tomo_json_get(n, "normalizers")) {
        if (!type_is(item, "NFC")) return unsupported(file, "a normalizer", item, "NFC or none is read", err);
        t->nfc = true;
    }
    return TOMO_OK;
}

static tomo_status check_decoder(const char *file, const cJSON *decoder, tomo_error *err) {
    if (type_is(decoder, "Sequence")) {
        const cJSON *list = tomo_json_get(decoder, "decoders");
        if (cJSON_GetArraySize(list) == 1) decoder = list->child;
    }
    if (type_is(decoder, "ByteLevel")) return TOMO_OK;
    return unsupported(file, "a decoder", decoder, "ByteLevel is read", err);
}

/* ------------------------------------------------------------------------------ pre-tokenizers */

/* The words of GPT-2, which ByteLevel cuts by itself where use_regex is on. */
#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

static tomo_status add_step(tomo_tokenizer *t, const char *file, const char *pattern, bool literal,
                            tomo_step step, tomo_error *err) {
    if (t->step_count == TOMO_STEPS) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %d pre-tokenizers", file, TOMO_STEPS);
    }
    tomo_step *kept = &t->steps[t->step_count++];
    *kept = step;
    return pattern == NULL ? TOMO_OK : tomo_pattern_compile(file, pattern, literal, &kept->pattern, err);
}

static tomo_status read_split(tomo_tokenizer *t, const char *file, const cJSON *s, tomo_error *err) {
    tomo_json_at at = {file, "pre_tokenizer."};
    const cJSON *pattern = tomo_json_get(s, "pattern");
    const char *behavior = "", *regex = NULL, *text = NULL;
    bool invert = false;
    tomo_status status = tomo_json_text(s, "behavior", at, true, &behavior, err);
    if (status == TOMO_OK) status = tomo_json_bool(s, "invert", at, false, &invert, err);
    if (status == TOMO_OK) status = tomo_json_text(pattern, "Regex", at, false, &regex, err);
    if (status == TOMO_OK) status = tomo_json_text(pattern, "String", at, false, &text, err);
    if (status != TOMO_OK) return status;
    /* Isolated keeps matches and what lies between; Removed and inverted keeps matches alone. */
    bool matches_only = strcmp(behavior, "Removed") == 0 && invert;
    if (!matches_only && (strcmp(behavior, "Isolated") != 0 || invert)) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: a Split that is \"%.40s\"%s; Isolated is read", file,
                         behavior, invert ? " and inverted" : "");
    }
    if (regex == NULL && text == NULL) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: a Split without a pattern", file);
    }
    return add_step(t, file, regex != NULL ? regex : text, regex == NULL,
                    (tomo_step){.matches_only = matches_only}, err);
}

static tomo_status read_byte_level(tomo_tokenizer *t, const char *file, const cJSON *b, tomo_error *err) {
    tomo_json_at at = {file, "pre_tokenizer."};
    bool prefix = true, regex = true;
    tomo_status status = tomo_json_bool(b, "add_prefix_space", at, false, &prefix, err);
    if (status == TOMO_OK) status = tomo_json_bool(b, "use_regex", at, false, &regex, err);
    if (status != TOMO_OK || (!prefix && !regex)) return status;
    return add_step(t, file, regex ? GPT2_PATTERN : NULL, false, (tomo_step){.prefix_space = prefix}, err);
}

static tomo_status read_digits(tomo_tokenizer *t, const char *file, const cJSON *d, tomo_error *err) {
    bool single = false;
    tomo_status status =
        tomo_json_bool(d, "individual_digits", (tomo_json_at){file, "pre_tokenizer."}, false, &single, err);
    if (status != TOMO_OK) return status;
    return add_step(t, file, single ? "\\p{N}" : "\\p{N}+", false, (tomo_step){0}, err);
}

tomo_status tomo_pretokenizer_read(tomo_tokenizer *t, const char *file, const cJSON *root, tomo_error *err) {
    const cJSON *list = type_is(root, "Sequence") ? tomo_json_get(root, "pretokenizers") : NULL;
    const cJSON *item = list == NULL ? root : list->child;
    bool bytes = false; /* ByteLevel comes last: behind it, text would be in its alphabet */
    for (; item != NULL; item = list == NULL ? NULL : item->next) {
        tomo_status status;
        if (bytes) {
            return unsupported(file, "a pre_tokenizer behind ByteLevel", item, "ByteLevel is wanted last",
                               err);
        }
        if (type_is(item, "ByteLevel")) {
            bytes = true;
            status = read_byte_level(t, file, item, err);
        } else if (type_is(item, "Split")) {
            status = read_split(t, file, item, err);
        } else if (type_is(item, "Digits")) {
            status = read_digits(t, file, item, err);
        } else {
            return unsupported(file, "a pre_tokenizer", item, "ByteLevel, Split and Digits are read", err);
        }
        if (status != TOMO_OK) return status;
    }
    if (bytes) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: BPE that is not byte-level; only byte-level BPE is read",
                     file);
}

/* ------------------------------------------------------------------------------ post-processor */

static tomo_status add_affix(tomo_tokenizer *t, const char *file, bool before, int64_t id, tomo_error *err) {
    size_t *count = before ? &t->before_count : &t->behind_count;
    int32_t *ids = before ? t->before : t->behind;
    if (*count == TOMO_AFFIXES) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: a post_processor that adds more than %d tokens", file,
                         TOMO_AFFIXES);
    }
    ids[(*count)++] = (int32_t)id;
    return TOMO_OK;
}

/* "special_tokens": {"<s>": {"ids": [1]}} */
static tomo_status add_special(tomo_tokenizer *t, const char *file, const cJSON *specials, const cJSON *piece,
                               bool before, tomo_error *err) {
    const cJSON *name = tomo_json_get(piece, "id"), *id;
    const cJSON *ids =
        cJSON_IsString(name) ? tomo_json_get(tomo_json_get(specials, name->valuestring), "ids") : NULL;
    if (ids == NULL) return tomo_fail(err, TOMO_E_HEADER, "%s: a post_processor whose token has no id", file);
    cJSON_ArrayForEach(id, ids) {
        int64_t number = 0;
        if (!tomo_json_whole(id, 0, TOMO_LIMIT_TOKEN_IDS - 1, &number)) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: a post_processor whose token has no id", file);
        }
        tomo_status status = add_affix(t, file, before, number, err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

static tomo_status read_template(tomo_tokenizer *t, const char *file, const cJSON *p, tomo_error *err) {
    const cJSON *piece;
    bool before = true;
    if (t->before_count + t->behind_count > 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: two post_processors that add tokens; one is read",
                         file);
    }
    cJSON_ArrayForEach(piece, tomo_json_get(p, "single")) {
        const cJSON *special = tomo_json_get(piece, "SpecialToken"), *text = tomo_json_get(piece, "Sequence");
        tomo_status status = TOMO_OK;
        if (special != NULL) {
            status = add_special(t, file, tomo_json_get(p, "special_tokens"), special, before, err);
        } else if (text != NULL && before) {
            before = false;
        } else {
            status = tomo_fail(err, TOMO_E_HEADER, "%s: a post_processor that is not read", file);
        }
        if (status != TOMO_OK) return status;
    }
    return before ? tomo_fail(err, TOMO_E_HEADER, "%s: a post_processor without a text", file) : TOMO_OK;
}

/* "cls": ["[CLS]", 101] */
static tomo_status add_named(tomo_tokenizer *t, const char *file, const cJSON *pair, bool before,
                             tomo_error *err) {
    int64_t number = 0;
    if (cJSON_GetArraySize(pair) != 2 ||
        !tomo_json_whole(cJSON_GetArrayItem(pair, 1), 0, TOMO_LIMIT_TOKEN_IDS - 1, &number)) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: a post_processor whose token has no id", file);
    }
    return add_affix(t, file, before, number, err);
}

static tomo_status read_processor(tomo_tokenizer *t, const char *file, const cJSON *p, tomo_error *err) {
    if (p == NULL || type_is(p, "ByteLevel")) return TOMO_OK; /* ByteLevel changes offsets alone */
    if (type_is(p, "TemplateProcessing")) return read_template(t, file, p, err);
    if (type_is(p, "BertProcessing") || type_is(p, "RobertaProcessing")) {
        tomo_status status = add_named(t, file, tomo_json_get(p, "cls"), true, err);
        return status == TOMO_OK ? add_named(t, file, tomo_json_get(p, "sep"), false, err) : status;
    }
    if (!type_is(p, "Sequence")) {
        return unsupported(file, "a post_processor", p, "ByteLevel and TemplateProcessing are read", err);
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, tomo_json_get(p, "processors")) {
        tomo_status status = type_is(item, "Sequence")
                                 ? unsupported(file, "a post_processor", item, "one Sequence is read", err)
                                 : read_processor(t, file, item, err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ the whole */

static tomo_status read_bpe(tomo_tokenizer *t, const char *file, const cJSON *root, tomo_error *err) {
    tomo_status status = tomo_bpe_read(&t->bpe, file, tomo_json_get(root, "model"), err);
    if (status == TOMO_OK) status = read_normalizer(t, file, tomo_json_get(root, "normalizer"), err);
    if (status == TOMO_OK) {
        status = tomo_pretokenizer_read(t, file, tomo_json_get(root, "pre_tokenizer"), err);
    }
    return status == TOMO_OK ? check_decoder(file, tomo_json_get(root, "decoder"), err) : status;
}

/* "truncation" and "padding" are left alone, as transformers does: they belong to a use, not to a model. */
tomo_status tomo_tokenizer_read(tomo_tokenizer *t, const char *file, const cJSON *root, tomo_error *err) {
    const cJSON *model = tomo_json_get(root, "model");
    if (model == NULL) return tomo_fail(err, TOMO_E_HEADER, "%s: no \"model\" in it", file);
    /* Files from before tokenizers 0.9 name no type; byte-level BPE has merges. */
    bool bpe = type_is(model, "BPE") || (type_of(model)[0] == '\0' && tomo_json_get(model, "merges") != NULL);
    t->has_wordpiece = type_is(model, "WordPiece");
    if (!bpe && !t->has_wordpiece) {
        return unsupported(file, "a model", model, "byte-level BPE and WordPiece are read", err);
    }
    tomo_status status = bpe ? read_bpe(t, file, root, err)
                             : tomo_wordpiece_read(&t->wordpiece, &t->bpe.vocabulary, file, root, err);
    if (status == TOMO_OK) status = read_processor(t, file, tomo_json_get(root, "post_processor"), err);
    if (status == TOMO_OK) {
        status =
            tomo_added_read(&t->added, file, tomo_json_get(root, "added_tokens"), &t->bpe.vocabulary, t, err);
    }
    return status;
}

tomo_status tomo_tokenizer_open_document(const char *name, const cJSON *root, tomo_tokenizer **tokenizer,
                                         tomo_error *err) {
    *tokenizer = NULL;
    tomo_tokenizer *t = calloc(1, sizeof *t);
    if (t == NULL) return tomo_fail_memory(err, name, sizeof *t);
    tomo_status status = tomo_tokenizer_read(t, name, root, err);
    if (status != TOMO_OK) {
        tomo_tokenizer_free(t);
        return status;
    }
    *tokenizer = t;
    return TOMO_OK;
}

tomo_status tomo_tokenizer_open_memory(const char *name, const void *bytes, size_t size,
                                       tomo_tokenizer **tokenizer, tomo_error *err) {
    cJSON *root = NULL;
    *tokenizer = NULL;
    tomo_status status = tomo_json_parse(name, bytes, size, &root, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open_document(name, root, tokenizer, err);
    cJSON_Delete(root);
    return status;
}

/* A folder without tokenizer.json: says what kind of tokenizer lies there instead. */
static tomo_status no_file(const char *folder, tomo_error *err) {
    static const struct {
        const char *file, *kind;
    } others[] = {
        {"tokenizer.model", "a SentencePiece model"},
        {"spiece.model", "a SentencePiece model"},
        {"vocab.txt", "a WordPiece vocabulary"},
        {"merges.txt", "BPE merges"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *path = tomo_path_join(folder, others[i].file);
        if (path == NULL) return tomo_fail_memory(err, folder, strlen(folder));
        tomo_status status = TOMO_OK;
        if (tomo_path_exists(path)) {
            status =
                tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: %s without tokenizer.json, which is wanted beside it",
                          path, others[i].kind);
        }
        free(path);
        if (status != TOMO_OK) return status;
    }
    return tomo_fail(err, TOMO_E_IO, "%s: no tokenizer.json in this folder", folder);
}

tomo_status tomo_tokenizer_open(const char *folder, tomo_tokenizer **tokenizer, tomo_error *err) {
    cJSON *root = NULL;
    *tokenizer = NULL;
    char *path = tomo_path_join(folder, "tokenizer.json");
    if (path == NULL) return tomo_fail_memory(err, folder, strlen(folder));
    tomo_status status = tomo_path_exists(path) ? tomo_json_open(path, &root, err) : no_file(folder, err);
    if (status == TOMO_OK) status = tomo_tokenizer_open_document(path, root, tokenizer, err);
    cJSON_Delete(root);
    free(path);
    return status;
}

void tomo_tokenizer_free(tomo_tokenizer *t) {
    if (t == NULL) return;
    tomo_bpe_free(&t->bpe);
    tomo_added_free(&t->added);
    for (size_t i = 0; i < t->step_count; i++) tomo_pattern_free(t->steps[i].pattern);
    free(t);
}
