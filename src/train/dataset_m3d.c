/* dataset_m3d.c - the layout of M3D-Cap and M3D-VQA. */
#include "train/dataset_impl.h"

#include "base/file.h"
#include "base/json.h"
#include "train/frame.h"

#include <stdlib.h>
#include <string.h>

/* A report; the longest of M3D-Cap has a few kilobytes. */
#define LIMIT_REPORT_BYTES ((int64_t)4 << 20)

/* ------------------------------------------------------------------------------ reports */

/* As Python reads a text file: "\r\n" and "\r" are line feeds. */
static size_t make_line_feeds(char *text, size_t size) {
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '\r') {
            text[used++] = '\n';
            i += i + 1 < size && text[i + 1] == '\n';
        } else {
            text[used++] = text[i];
        }
    }
    return used;
}

/* All series of a case share a text; entries of a case follow each other. */
typedef struct report_file {
    const char *path, *text, *wrong;
} report_file;

static tomo_status keep_wrong(tomo_dataset *d, const char *message, report_file *report, tomo_error *err) {
    report->text = "";
    report->wrong = tomo_dataset_keep(d, message, strlen(message));
    return report->wrong != NULL ? TOMO_OK : tomo_fail_memory(err, report->path, 0);
}

static tomo_status read_report(tomo_dataset *d, const char *path, report_file *report, tomo_error *err) {
    char *bytes = NULL;
    size_t size = 0;
    tomo_error failure = {0};
    if (report->path != NULL && strcmp(report->path, path) == 0) return TOMO_OK;
    *report = (report_file){.path = path};
    tomo_status status = tomo_file_read(path, LIMIT_REPORT_BYTES, &bytes, &size, &failure);
    if (status == TOMO_E_MEMORY) return tomo_fail_memory(err, path, 0);
    if (status != TOMO_OK) return keep_wrong(d, failure.message, report, err);
    size = make_line_feeds(bytes, size);
    if (memchr(bytes, '\0', size) != NULL || !tomo_csv_is_utf8(bytes, size)) {
        status = keep_wrong(d, "the report is not UTF-8 text", report, err);
    } else {
        report->text = tomo_dataset_keep(d, bytes, size);
        if (report->text == NULL) status = tomo_fail_memory(err, path, size);
        if (strspn(bytes, " \t\n\v\f") >= size) report->wrong = "the report is empty";
    }
    free(bytes);
    return status;
}

/* ------------------------------------------------------------------------------ M3D_Cap.json */

static tomo_status read_entry(tomo_dataset *d, const char *folder, const char *file, const char *split,
                              const cJSON *entry, size_t number, report_file *report, tomo_error *err) {
    const char *image = cJSON_GetStringValue(tomo_json_get(entry, "image"));
    const char *text = cJSON_GetStringValue(tomo_json_get(entry, "text"));
    if (image == NULL || text == NULL) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: entry %zu of \"%.40s\": \"image\" and \"text\", two paths, are wanted", file,
                         number, split);
    }
    tomo_sample s = {.kind = TOMO_SAMPLE_REPORT, .split = split, .source = file, .row = number};
    char *scan = tomo_path_join(folder, image), *path = tomo_path_join(folder, text);
    s.name = tomo_dataset_keep(d, image, strlen(image));
    s.scan = scan != NULL ? tomo_dataset_keep(d, scan, strlen(scan)) : NULL;
    const char *kept = path != NULL ? tomo_dataset_keep(d, path, strlen(path)) : NULL;
    free(scan);
    free(path);
    if (s.name == NULL || s.scan == NULL || kept == NULL) return tomo_fail_memory(err, file, 0);
    tomo_status status = read_report(d, kept, report, err);
    if (status != TOMO_OK) return status;
    s.answer = report->text;
    s.wrong = report->wrong;
    return tomo_dataset_add(d, &s, err);
}

static tomo_status read_captions(tomo_dataset *d, const char *folder, const char *file, tomo_error *err) {
    cJSON *root = NULL;
    const cJSON *list, *entry;
    report_file report = {0};
    tomo_status status = tomo_json_open(file, &root, err);
    if (status == TOMO_OK && !cJSON_IsObject(root)) {
        status =
            tomo_fail(err, TOMO_E_HEADER, "%s: no object; {split: [{\"image\", \"text\"}]} is wanted", file);
    }
    for (list = root != NULL ? root->child : NULL; status == TOMO_OK && list != NULL; list = list->next) {
        if (!cJSON_IsArray(list)) {
            status = tomo_fail(err, TOMO_E_HEADER, "%s: \"%.40s\" is no list", file, list->string);
            break;
        }
        if (!tomo_dataset_wants(d, list->string, TOMO_SAMPLE_REPORT)) continue;
        const char *split = tomo_dataset_keep(d, list->string, strlen(list->string));
        if (split == NULL) status = tomo_fail_memory(err, file, 0);
        size_t number = 0;
        cJSON_ArrayForEach(entry, list) {
            if (status != TOMO_OK) break;
            status = read_entry(d, folder, file, split, entry, ++number, &report, err);
        }
    }
    cJSON_Delete(root);
    return status;
}

/* ------------------------------------------------------------------------------ M3D-VQA */

enum { IMAGE, TYPE, QUESTION, CHOICE_A, ANSWER = CHOICE_A + 4, LETTER, COLUMNS };
static const char *const columns[COLUMNS] = {"Image Path", "Question Type", "Question",
                                             "Choice A",   "Choice B",      "Choice C",
                                             "Choice D",   "Answer",        "Answer Choice"};

typedef struct question_file {
    tomo_frame frame;
    size_t columns[COLUMNS];
    const char *folder, *path, *split;
} question_file;

static const char *keep_value(tomo_dataset *d, const question_file *f, size_t row, int column) {
    char room[TOMO_DECIMAL_TEXT];
    tomo_csv_field value = tomo_frame_text(&f->frame, row, f->columns[column], room);
    return tomo_dataset_keep(d, value.text, value.size);
}

static tomo_status read_choices(tomo_dataset *d, const question_file *f, size_t row, tomo_sample *s,
                                tomo_error *err) {
    const char **choices = tomo_dataset_keep_choices(d, 4);
    if (choices == NULL) return tomo_fail_memory(err, f->path, 0);
    for (int i = 0; i < 4; i++) {
        choices[i] = keep_value(d, f, row, CHOICE_A + i);
        if (choices[i] == NULL) return tomo_fail_memory(err, f->path, 0);
    }
    s->letter = keep_value(d, f, row, LETTER);
    if (s->letter == NULL) return tomo_fail_memory(err, f->path, 0);
    s->choices = choices;
    s->choice_count = 4;
    if (strlen(s->letter) != 1 || s->letter[0] < 'A' || s->letter[0] > 'D') {
        s->wrong = "column \"Answer Choice\" is no letter from A to D";
    }
    return TOMO_OK;
}

static tomo_status read_question(tomo_dataset *d, const question_file *f, size_t row, tomo_error *err) {
    tomo_sample s = {.kind = TOMO_SAMPLE_OPEN, .split = f->split, .source = f->path};
    s.row = tomo_csv_row_number(row);
    s.name = keep_value(d, f, row, IMAGE);
    s.question = keep_value(d, f, row, QUESTION);
    s.answer = keep_value(d, f, row, ANSWER);
    char *scan = s.name != NULL ? tomo_path_join(f->folder, s.name) : NULL;
    s.scan = scan != NULL ? tomo_dataset_keep(d, scan, strlen(scan)) : NULL;
    free(scan);
    if (s.scan == NULL || s.question == NULL || s.answer == NULL) return tomo_fail_memory(err, f->path, 0);
    char room[TOMO_DECIMAL_TEXT];
    tomo_csv_field type = tomo_frame_text(&f->frame, row, f->columns[TYPE], room);
    if (type.size == 1 && type.text[0] >= '1' && type.text[0] <= '5') {
        s.type = type.text[0] - '0';
    } else {
        s.wrong = "column \"Question Type\" is no whole number from 1 to 5";
    }
    tomo_status status = TOMO_OK;
    if (tomo_dataset_wants(d, s.split, TOMO_SAMPLE_OPEN)) status = tomo_dataset_add(d, &s, err);
    if (status != TOMO_OK || !tomo_dataset_wants(d, s.split, TOMO_SAMPLE_CLOSED)) return status;
    s.kind = TOMO_SAMPLE_CLOSED;
    status = read_choices(d, f, row, &s, err);
    return status == TOMO_OK ? tomo_dataset_add(d, &s, err) : status;
}

static tomo_status read_questions(tomo_dataset *d, const char *folder, const char *path, const char *split,
                                  tomo_error *err) {
    question_file f = {.folder = folder};
    if (!tomo_dataset_wants(d, split, TOMO_SAMPLE_OPEN) &&
        !tomo_dataset_wants(d, split, TOMO_SAMPLE_CLOSED)) {
        return TOMO_OK;
    }
    f.path = tomo_dataset_keep(d, path, strlen(path));
    f.split = tomo_dataset_keep(d, split, strlen(split));
    if (f.path == NULL || f.split == NULL) return tomo_fail_memory(err, path, 0);
    tomo_status status = tomo_frame_open(path, &f.frame, err);
    for (int i = 0; status == TOMO_OK && i < COLUMNS; i++) {
        status = tomo_csv_need(f.frame.csv, columns[i], &f.columns[i], err);
    }
    size_t rows = status == TOMO_OK ? tomo_csv_row_count(f.frame.csv) : 0;
    for (size_t row = 0; row < rows && status == TOMO_OK; row++) status = read_question(d, &f, row, err);
    tomo_frame_free(&f.frame);
    return status;
}

/* ------------------------------------------------------------------------------ the folder */

/* Reads FOLDER/name by `read`; a file that is not there is passed over unless it was asked for by name. */
static tomo_status read_named(tomo_dataset *d, const char *folder, const char *name, const char *split,
                              bool wanted, tomo_error *err) {
    char *path = tomo_path_join(folder, name);
    tomo_status status = TOMO_OK;
    if (path == NULL) return tomo_fail_memory(err, folder, 0);
    if (wanted || tomo_path_exists(path)) {
        const char *kept = tomo_dataset_keep(d, path, strlen(path));
        status = kept == NULL    ? tomo_fail_memory(err, folder, 0)
                 : split == NULL ? read_captions(d, folder, kept, err)
                                 : read_questions(d, folder, kept, split, err);
    }
    free(path);
    return status;
}

tomo_status tomo_dataset_read_m3d(tomo_dataset *d, const char *folder, tomo_error *err) {
    static const struct {
        const char *name, *split;
    } files[] = {{"M3D-VQA/M3D_VQA_train.csv", "train"},
                 {"M3D-VQA/M3D_VQA_val.csv", "validation"},
                 {"M3D-VQA/M3D_VQA_test.csv", "test"}};
    const tomo_dataset_options *o = &d->options;
    tomo_status status = TOMO_OK;
    if ((o->kinds & TOMO_SAMPLE_REPORT) != 0) {
        const char *name = o->captions != NULL ? o->captions : "M3D_Cap_npy/M3D_Cap.json";
        status = read_named(d, folder, name, NULL, o->captions != NULL, err);
    }
    if (o->questions != NULL) {
        const char *split = o->split != NULL ? o->split : "test";
        return status == TOMO_OK ? read_named(d, folder, o->questions, split, true, err) : status;
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == TOMO_OK; i++) {
        status = read_named(d, folder, files[i].name, files[i].split, false, err);
    }
    return status;
}
