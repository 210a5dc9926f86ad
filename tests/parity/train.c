/* train.c - data sets of the M3D layout against what the benchmark's own classes yield (dataset_items.jsonl),
 * and augmentations against MONAI's. Texts, ids, masks, labels and volumes must be equal. Augmented values
 * agree to 1 unit in the last place: MONAI multiplies and adds in float32 as we do, so nothing else is
 * expected. */
#include "base/digest.h"
#include "base/file.h"
#include "support/columns.h"
#include "text/unicode.h"
#include "train/augment.h"
#include "train/dataset.h"
#include "train/render.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ULP_TOLERANCE 1

/* ------------------------------------------------------------------------------ the whitespace tokenizers */

static const char image_token[] = "<im_patch>";

typedef struct words {
    const cJSON *vocabulary;
    bool begin; /* "<s>" in front */
} words;

static int32_t id_of(const words *w, const char *text, size_t size) {
    char word[256];
    if (size >= sizeof word) return 1;
    memcpy(word, text, size);
    word[size] = '\0';
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(w->vocabulary, word);
    return id != NULL ? (int32_t)id->valuedouble
                      : (int32_t)tomo_json_get(w->vocabulary, "<unk>")->valuedouble;
}

/* How many bytes of white space stand at the front. */
static size_t space_at(const char *text) {
    uint32_t c = 0;
    size_t length = *text != '\0' ? tomo_utf8_next((const unsigned char *)text, strlen(text), &c, NULL) : 0;
    return length > 0 && tomo_unicode_is_space(c) ? length : 0;
}

static bool is_image(const char *text) {
    return strncmp(text, image_token, 10) == 0;
}

/* Words between white space; the image token is cut out wherever it stands. */
static tomo_status encode_words(void *user, int64_t image_tokens, const char *text, tomo_ids *ids,
                                tomo_error *err) {
    const words *w = user;
    (void)err;
    if (w->begin) (void)tomo_ids_add(ids, id_of(w, "<s>", 3));
    for (int64_t i = 0; i < image_tokens; i++) (void)tomo_ids_add(ids, id_of(w, image_token, 10));
    for (const char *begin = text; *begin != '\0';) {
        size_t space = space_at(begin), size = 0;
        if (space > 0) {
            begin += space;
            continue;
        }
        if (is_image(begin)) {
            size = 10;
        } else {
            while (begin[size] != '\0' && space_at(begin + size) == 0 && !is_image(begin + size)) size++;
        }
        (void)tomo_ids_add(ids, id_of(w, begin, size));
        begin += size;
    }
    return TOMO_OK;
}

/* ------------------------------------------------------------------------------ one item */

typedef struct item_columns {
    char tokenizer[64], set[64], mode[64];
    bool closed;
    column texts, ids, labels, volumes;
} item_columns;

static int count_of(const char *text) {
    int n = 0;
    for (; strncmp(text, image_token, 10) == 0; text += 10) n++;
    return n;
}

static bool is_text(const cJSON *row, const char *key, const char *got) {
    const char *want = cJSON_GetStringValue(tomo_json_get(row, key));
    return want != NULL && got != NULL && strcmp(want, got) == 0;
}

/* Padded to the length of the expected list. */
static bool is_list(const int32_t *got, size_t count, int32_t pad, const cJSON *want) {
    size_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) {
        if (item->valuedouble != (double)(i < count ? got[i] : pad)) return false;
        i++;
    }
    return i >= count;
}

static bool is_mask(size_t attended, const cJSON *want) {
    size_t i = 0;
    const cJSON *item;
    cJSON_ArrayForEach(item, want) {
        if (item->valuedouble != (i++ < attended ? 1.0 : 0.0)) return false;
    }
    return true;
}

static void check_rendering(const cJSON *row, int index, const cJSON *vocabulary, const char *question,
                            const char *answer, int64_t image_tokens, item_columns *c) {
    const cJSON *ids = tomo_json_get(row, "input_ids");
    words w = {vocabulary, strcmp(c->tokenizer, "bos") == 0};
    int32_t end = id_of(&w, "</s>", 4);
    int32_t pad = strcmp(c->tokenizer, "pad_is_eos") == 0 ? end : id_of(&w, "<pad>", 5);
    tomo_m3d_tokenizer t = {encode_words, &w, pad, end};
    tomo_rendered r = {0};
    bool good =
        tomo_m3d_render(&t, image_tokens, question, answer, cJSON_GetArraySize(ids), &r, NULL) == TOMO_OK;
    column_count(&c->ids, index,
                 good && is_list(r.ids, r.count, pad, ids) &&
                     is_mask(r.attended, tomo_json_get(row, "attention_mask")),
                 question);
    column_count(&c->labels, index,
                 good && is_list(r.labels, r.count, TOMO_LABEL_NONE, tomo_json_get(row, "label")), question);
    tomo_rendered_free(&r);
}

static void check_volume(const cJSON *row, int index, const tomo_sample *s, column *c) {
    tomo_volume *volume = NULL;
    tomo_digest *digest = NULL;
    char text[TOMO_DIGEST_TEXT] = "";
    if (tomo_json_get(row, "image_sha256") == NULL) return;
    if (tomo_volume_open(s->scan, NULL, &volume, NULL) == TOMO_OK &&
        tomo_digest_create(&digest, NULL) == TOMO_OK) {
        size_t count = (size_t)(volume->shape[0] * volume->shape[1] * volume->shape[2]);
        tomo_digest_add(digest, volume->voxels, count * sizeof(float));
        tomo_digest_text(digest, text);
    }
    column_count(c, index, is_text(row, "image_sha256", text), s->name);
    tomo_digest_free(digest);
    tomo_volume_free(volume);
}

static void check_item(const cJSON *row, const tomo_dataset *d, const cJSON *vocabulary, item_columns *c) {
    int index = (int)tomo_json_get(row, "index")->valuedouble;
    const char *want = tomo_json_get(row, "question")->valuestring;
    const cJSON *prompt = tomo_json_get(row, "prompt_index"), *type = tomo_json_get(row, "question_type");
    if (d == NULL || (size_t)index >= tomo_dataset_count(d)) {
        column_count(&c->texts, index, false, "no such sample");
        return;
    }
    const tomo_sample *s = tomo_dataset_at(d, (size_t)index);
    int n = count_of(want);
    char *question =
        tomo_sample_question(s, prompt == NULL ? "" : tomo_m3d_prompts[(int)prompt->valuedouble]);
    char *answer = tomo_sample_answer(s, false);
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_format(&text, "%s%s", s->kind == TOMO_SAMPLE_REPORT ? "" : " ", question);
    bool good = strcmp(text.data, want + 10 * n) == 0 && is_text(row, "answer", answer) &&
                is_text(row, "image", s->name) && s->wrong == NULL &&
                (type == NULL || type->valuedouble == (double)s->type) &&
                (s->kind != TOMO_SAMPLE_CLOSED || is_text(row, "answer_choice", s->letter));
    column_count(&c->texts, index, good, want);
    check_rendering(row, index, vocabulary, text.data, answer, n, c);
    check_volume(row, index, s, &c->volumes);
    free(question);
    free(answer);
    tomo_buffer_free(&text);
}

/* ------------------------------------------------------------------------------ dataset_items.jsonl */

static bool is_same_set(const cJSON *row, const item_columns *c) {
    return is_text(row, "tokenizer", c->tokenizer) && is_text(row, "set", c->set) &&
           is_text(row, "mode", c->mode) && cJSON_IsTrue(tomo_json_get(row, "close_ended")) == c->closed;
}

static void start_set(const cJSON *row, item_columns *c) {
    *c = (item_columns){.closed = cJSON_IsTrue(tomo_json_get(row, "close_ended"))};
    (void)snprintf(c->tokenizer, sizeof c->tokenizer, "%s", tomo_json_get(row, "tokenizer")->valuestring);
    (void)snprintf(c->set, sizeof c->set, "%s", tomo_json_get(row, "set")->valuestring);
    (void)snprintf(c->mode, sizeof c->mode, "%s", tomo_json_get(row, "mode")->valuestring);
}

/* "cap" are reports, "vqa" questions, and "vqa_NAME" those of M3D_VQA_NAME.csv. */
static tomo_dataset *open_set(parity *p, const item_columns *c) {
    char tree[4200], questions[256];
    tomo_dataset_options o = {.split = c->mode};
    tomo_dataset *d = NULL;
    tomo_error error = {0};
    (void)snprintf(tree, sizeof tree, "%s/tree", p->root);
    (void)snprintf(questions, sizeof questions, "M3D-VQA/M3D_VQA_%s.csv",
                   c->set + (strlen(c->set) > 4 ? 4 : 0));
    o.kinds = strcmp(c->set, "cap") == 0 ? TOMO_SAMPLE_REPORT
              : c->closed                ? TOMO_SAMPLE_CLOSED
                                         : TOMO_SAMPLE_OPEN;
    if (strncmp(c->set, "vqa_", 4) == 0) o.questions = questions;
    if (tomo_dataset_open(tree, &o, &d, &error) != TOMO_OK) printf("%s\n", error.message);
    return d;
}

static void end_set(parity *p, const char *file, const item_columns *c) {
    char name[256];
    const struct {
        const char *what;
        const column *column;
    } all[] = {{"texts", &c->texts}, {"ids", &c->ids}, {"labels", &c->labels}, {"volumes", &c->volumes}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        /* Training volumes are augmented at random and not recorded. */
        if (all[i].column == &c->volumes && c->volumes.rows == 0) continue;
        (void)snprintf(name, sizeof name, "%s %s %s%s: %s", c->tokenizer, c->set, c->mode,
                       c->closed ? " closed" : "", all[i].what);
        column_end(p, file, name, all[i].column);
    }
}

static void run_items(parity *p, const char *name, const char *path) {
    char *vocabulary_path = tomo_path_join(p->root, "whitespace_vocab.json");
    cJSON *rows = columns_read_lines(path), *vocabulary = NULL;
    if (tomo_json_open(vocabulary_path, &vocabulary, NULL) != TOMO_OK) {
        parity_fail(p, name, "no whitespace_vocab.json");
    }
    for (const cJSON *row = rows->child; row != NULL && vocabulary != NULL;) {
        item_columns c;
        start_set(row, &c);
        tomo_dataset *d = open_set(p, &c);
        for (; row != NULL && is_same_set(row, &c); row = row->next) check_item(row, d, vocabulary, &c);
        end_set(p, name, &c);
        tomo_dataset_free(d);
    }
    cJSON_Delete(rows);
    cJSON_Delete(vocabulary);
    free(vocabulary_path);
}

/* ------------------------------------------------------------------------------ prompts */

static void run_prompts(parity *p, const char *name, const char *path) {
    cJSON *root = NULL;
    column c = {0};
    int i = 0;
    const cJSON *prompt;
    if (tomo_json_open(path, &root, NULL) != TOMO_OK) root = NULL;
    cJSON_ArrayForEach(prompt, tomo_json_get(root, "Caption_templates")) {
        column_count(&c, i, i < TOMO_M3D_PROMPTS && strcmp(tomo_m3d_prompts[i], prompt->valuestring) == 0,
                     prompt->valuestring);
        i++;
    }
    column_end(p, name, "prompts", &c);
    cJSON_Delete(root);
}

/* ------------------------------------------------------------------------------ prep/prep.json */

static tomo_augmentation read_augmentation(const cJSON *row) {
    tomo_augmentation a = {0};
    const cJSON *k = tomo_json_get(row, "k"), *axis = tomo_json_get(row, "spatial_axis"), *flip;
    const cJSON *factor = tomo_json_get(row, "factor"), *offset = tomo_json_get(row, "offset");
    if (k != NULL) a.quarter_turns = (int)k->valuedouble;
    if (axis != NULL) a.flip[(int)axis->valuedouble] = true;
    cJSON_ArrayForEach(flip, tomo_json_get(row, "flips")) a.flip[(int)flip->valuedouble] = true;
    if (factor != NULL) a.scale = factor->valuedouble;
    if (offset != NULL) a.offset = offset->valuedouble;
    return a;
}

static double ulps(float got, float want) {
    return got == want
               ? 0
               : fabs((double)got - (double)want) / (double)(nextafterf(fabsf(want), INFINITY) - fabsf(want));
}

static bool augmented_equal(const tomo_volume *in, const tomo_augmentation *a, const tomo_volume *want) {
    int64_t shape[3] = {in->shape[0], in->shape[1], in->shape[2]};
    size_t count = (size_t)(shape[0] * shape[1] * shape[2]);
    float *values = malloc(count * sizeof *values), *scratch = malloc(count * sizeof *scratch);
    bool good = values != NULL && scratch != NULL;
    if (good) {
        memcpy(values, in->voxels, count * sizeof *values);
        tomo_augment(a, 1, shape, values, scratch);
        good = memcmp(shape, want->shape, sizeof shape) == 0;
    }
    for (size_t i = 0; good && i < count; i++) good = ulps(values[i], want->voxels[i]) <= ULP_TOLERANCE;
    free(values);
    free(scratch);
    return good;
}

static void check_augmentation(parity *p, const cJSON *row, const tomo_volume *in) {
    char path[4400], label[256];
    tomo_volume *want = NULL;
    tomo_augmentation a = read_augmentation(row);
    (void)snprintf(path, sizeof path, "%s/prep/%s", p->root, tomo_json_get(row, "out")->valuestring);
    (void)snprintf(label, sizeof label, "prep/%s %s", tomo_json_get(row, "out")->valuestring,
                   tomo_json_get(row, "op")->valuestring);
    if (tomo_volume_open(path, NULL, &want, NULL) != TOMO_OK || !augmented_equal(in, &a, want)) {
        parity_fail(p, label, "other values than MONAI's");
    } else {
        parity_pass(p, label);
    }
    tomo_volume_free(want);
}

static void run_augmentations(parity *p, const char *name, const char *path) {
    cJSON *root = NULL;
    tomo_volume *in = NULL;
    char from[4400];
    const cJSON *row;
    if (tomo_json_open(path, &root, NULL) != TOMO_OK) root = NULL;
    const char *file = cJSON_GetStringValue(tomo_json_get(root, "augment_in"));
    (void)snprintf(from, sizeof from, "%s/prep/%s", p->root, file != NULL ? file : "");
    if (tomo_volume_open(from, NULL, &in, NULL) != TOMO_OK) {
        parity_fail(p, name, "no augment_in");
    } else {
        cJSON_ArrayForEach(row, tomo_json_get(root, "augment")) check_augmentation(p, row, in);
    }
    tomo_volume_free(in);
    cJSON_Delete(root);
}

/* ------------------------------------------------------------------------------ the walk */

static void run_file(parity *p, const char *name, const char *path) {
    if (strcmp(name, "dataset_items.jsonl") == 0) run_items(p, name, path);
    if (strcmp(name, "caption_prompts.json") == 0) run_prompts(p, name, path);
    if (strcmp(name, "prep.json") == 0) run_augmentations(p, name, path);
}

int main(void) {
    parity p;
    parity_begin(&p, "metrics");
    parity_each_file(&p, "", ".jsonl", run_file);
    parity_each_file(&p, "", ".json", run_file);
    parity_each_file(&p, "prep", ".json", run_file);
    return parity_end(&p);
}
