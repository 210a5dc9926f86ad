#include "train/render.h"

#include "base/buffer.h"
#include "base/random.h"
#include "model/prompt.h"

#include <stdlib.h>
#include <string.h>

void tomo_rendered_free(tomo_rendered *rendered) {
    free(rendered->ids);
    free(rendered->labels);
    *rendered = (tomo_rendered){0};
}

static tomo_status reserve(tomo_rendered *r, size_t count, tomo_error *err) {
    if (count <= r->capacity) return TOMO_OK;
    int32_t *ids = realloc(r->ids, count * sizeof *ids);
    if (ids != NULL) r->ids = ids;
    int32_t *labels = realloc(r->labels, count * sizeof *labels);
    if (labels != NULL) r->labels = labels;
    if (ids == NULL || labels == NULL) return tomo_fail_memory(err, "a sample", count * sizeof *ids);
    r->capacity = count;
    return TOMO_OK;
}

static void count_labels(tomo_rendered *r) {
    r->labelled = 0;
    for (size_t i = 0; i < r->count; i++) r->labelled += r->labels[i] != TOMO_LABEL_NONE;
}

/* ------------------------------------------------------------------------------ texts */

static char *take(tomo_buffer *text) {
    if (!text->failed) return text->data;
    tomo_buffer_free(text);
    return NULL;
}

char *tomo_sample_question(const tomo_sample *sample, const char *instruction) {
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_add_text(&text, sample->question != NULL ? sample->question : instruction);
    if (sample->kind == TOMO_SAMPLE_CLOSED) {
        (void)tomo_prompt_offer(sample->choices, sample->choice_count, &text);
    }
    return take(&text);
}

char *tomo_sample_answer(const tomo_sample *sample, bool text_first) {
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    if (sample->kind == TOMO_SAMPLE_CLOSED && sample->letter != NULL) {
        (void)tomo_prompt_answer(text_first, sample->letter, sample->answer, &text);
    } else {
        (void)tomo_buffer_add_text(&text, sample->answer);
    }
    return take(&text);
}

size_t tomo_m3d_prompt_draw(uint64_t seed, uint64_t epoch, uint64_t index) {
    tomo_random r = tomo_random_seed(seed ^ epoch * 0x9e3779b97f4a7c15u ^ index * 0xa0761d6478bd642fu);
    return (size_t)tomo_random_below(&r, TOMO_M3D_PROMPTS);
}

/* ------------------------------------------------------------------------------ m3d */

static tomo_status mask_m3d(const tomo_m3d_tokenizer *t, const tomo_ids *all, size_t question_count,
                            size_t max_length, tomo_rendered *r, tomo_error *err) {
    size_t text = all->count < max_length ? all->count : max_length;
    bool ended = text < max_length;
    tomo_status status = reserve(r, text + 1, err);
    if (status != TOMO_OK) return status;
    r->attended = text;
    r->count = text + ended;
    memcpy(r->ids, all->data, text * sizeof *r->ids);
    if (ended) r->ids[text] = t->end_id;
    for (size_t i = 0; i < r->count; i++) {
        bool masked = i < question_count || r->ids[i] == t->pad_id;
        r->labels[i] = masked ? TOMO_LABEL_NONE : r->ids[i];
    }
    /* Where padding is the end of text, the one behind the text is learned all the same. */
    if (ended && t->pad_id == t->end_id) r->labels[text] = t->end_id;
    count_labels(r);
    return TOMO_OK;
}

tomo_status tomo_m3d_render(const tomo_m3d_tokenizer *tokenizer, int64_t image_tokens, const char *question,
                            const char *answer, int64_t max_length, tomo_rendered *rendered,
                            tomo_error *err) {
    tomo_ids all = {0}, head = {0};
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    tomo_status status = tomo_buffer_format(&text, "%s %s", question, answer)
                             ? TOMO_OK
                             : tomo_fail_memory(err, "a sample", text.size);
    if (status == TOMO_OK) status = tokenizer->encode(tokenizer->user, image_tokens, text.data, &all, err);
    /* The question alone: with byte pairs its last token may differ from the one in the whole text, and the
     * benchmark masks by this count all the same. */
    if (status == TOMO_OK) status = tokenizer->encode(tokenizer->user, image_tokens, question, &head, err);
    if (status == TOMO_OK) status = mask_m3d(tokenizer, &all, head.count, (size_t)max_length, rendered, err);
    tomo_ids_free(&all);
    tomo_ids_free(&head);
    tomo_buffer_free(&text);
    return status;
}

/* The model's tokenizer: what the texts hold can forge no placeholder. */
static tomo_status encode_m3d(void *user, int64_t image_tokens, const char *text, tomo_ids *ids,
                              tomo_error *err) {
    return tomo_prompt_m3d(user, text, image_tokens, ids, err);
}

static tomo_status render_m3d(const tomo_model *m, const tomo_sample *s, const char *question,
                              const char *answer, int64_t image_tokens, int64_t max_length, tomo_rendered *r,
                              tomo_error *err) {
    tomo_m3d_tokenizer t = {encode_m3d, (void *)m, -1, m->end_id};
    tomo_buffer text = {.maximum = SIZE_MAX / 2};
    (void)tomo_buffer_format(&text, "%s%s", s->kind == TOMO_SAMPLE_REPORT ? "" : " ", question);
    tomo_status status = text.failed
                             ? tomo_fail_memory(err, "a sample", text.size)
                             : tomo_m3d_render(&t, image_tokens, text.data, answer, max_length, r, err);
    tomo_buffer_free(&text);
    return status;
}

/* ------------------------------------------------------------------------------ chat */

static tomo_status encode_plain(const tomo_model *m, const char *text, tomo_ids *ids, tomo_error *err) {
    return tomo_tokenizer_encode(m->tokenizer, text, strlen(text), (tomo_encode_options){.plain = true}, ids,
                                 err);
}

static tomo_status render_chat(const tomo_model *m, const char *question, const char *answer,
                               int64_t image_tokens, int64_t max_length, tomo_rendered *r, tomo_error *err) {
    tomo_ids ids = {0};
    tomo_status status = tomo_prompt_question(m, question, image_tokens, &ids, err);
    size_t head = ids.count;
    if (status == TOMO_OK) status = encode_plain(m, answer, &ids, err);
    if (status == TOMO_OK && !tomo_ids_add(&ids, m->end_id)) status = tomo_fail_memory(err, "a sample", 0);
    size_t count = ids.count < (size_t)max_length ? ids.count : (size_t)max_length;
    if (status == TOMO_OK) status = reserve(r, count + 1, err);
    if (status == TOMO_OK) {
        r->count = r->attended = count;
        for (size_t i = 0; i < count; i++) {
            r->ids[i] = ids.data[i];
            r->labels[i] = i < head ? TOMO_LABEL_NONE : ids.data[i];
        }
        count_labels(r);
    }
    tomo_ids_free(&ids);
    return status;
}

/* ------------------------------------------------------------------------------ together */

tomo_status tomo_sample_render(const tomo_model *model, const tomo_sample *sample,
                               const tomo_render_options *options, tomo_rendered *rendered, tomo_error *err) {
    const tomo_render_options none = {0}, *o = options != NULL ? options : &none;
    int64_t image_tokens =
        o->image_tokens > 0 ? o->image_tokens : tomo_model_config_image_tokens(&model->config);
    int64_t max_length = o->max_length > 0 ? o->max_length : tomo_decoder_get_config(model->decoder)->context;
    if (model->end_id < 0) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: no token is known that ends an answer", model->folder);
    }
    char *question =
        tomo_sample_question(sample, o->instruction != NULL ? o->instruction : model->config.report);
    char *answer = tomo_sample_answer(sample, model->config.text_first);
    tomo_status status;
    if (question == NULL || answer == NULL) {
        status = tomo_fail_memory(err, "a sample", 0);
    } else if (model->config.prompt_format == TOMO_PROMPT_M3D) {
        status = render_m3d(model, sample, question, answer, image_tokens, max_length, rendered, err);
    } else {
        status = render_chat(model, question, answer, image_tokens, max_length, rendered, err);
    }
    free(question);
    free(answer);
    if (status != TOMO_OK) return status;
    return tomo_ids_check(rendered->ids, rendered->count, tomo_decoder_get_config(model->decoder)->vocabulary,
                          model->folder, err);
}
