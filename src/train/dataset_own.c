/* dataset_own.c - the plain layout: one CSV file. */
#include "train/dataset_impl.h"

#include "base/file.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { SCAN, REPORT, QUESTION, ANSWER, CHOICES, SPLIT, TYPE, COLUMNS };
static const char *const columns[COLUMNS] = {"scan",    "report", "question", "answer",
                                             "choices", "split",  "type"};

typedef struct list_file {
    tomo_csv *csv;
    size_t columns[COLUMNS]; /* TOMO_CSV_NONE: not there */
    const char *path, *folder;
} list_file;

static tomo_csv_field at(const list_file *f, size_t row, int column) {
    if (f->columns[column] == TOMO_CSV_NONE) return (tomo_csv_field){"", 0};
    return tomo_csv_at(f->csv, row, f->columns[column]);
}

static bool is_blank(tomo_csv_field f) {
    for (size_t i = 0; i < f.size; i++) {
        if (strchr(" \t\r\n", f.text[i]) == NULL || f.text[i] == '\0') return false;
    }
    return true;
}

static tomo_csv_field trim(tomo_csv_field f) {
    while (f.size > 0 && (f.text[0] == ' ' || f.text[0] == '\t')) f.text++, f.size--;
    while (f.size > 0 && (f.text[f.size - 1] == ' ' || f.text[f.size - 1] == '\t')) f.size--;
    return f;
}

static bool is_text(tomo_csv_field f, const char *text) {
    return f.size == strlen(text) && strncasecmp(f.text, text, f.size) == 0;
}

/* NULL: none that is known. */
static const char *find_split(tomo_csv_field f) {
    static const char *const names[][2] = {
        {"", "train"},         {"train", "train"},      {"training", "train"}, {"validation", "validation"},
        {"val", "validation"}, {"valid", "validation"}, {"dev", "validation"}, {"test", "test"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (is_text(trim(f), names[i][0])) return names[i][1];
    }
    return NULL;
}

/* ------------------------------------------------------------------------------ choices */

static size_t count_choices(tomo_csv_field f) {
    size_t count = 1;
    for (size_t i = 0; i < f.size; i++) count += f.text[i] == '|';
    return count;
}

static tomo_status cut_choices(tomo_dataset *d, const list_file *f, tomo_csv_field field, tomo_sample *s,
                               tomo_error *err) {
    size_t count = count_choices(field);
    if (count < 2 || count > TOMO_SAMPLE_CHOICES) {
        s->wrong = "column \"choices\" holds no 2 to 26 choices, \"liver|spleen\"";
        return TOMO_OK;
    }
    const char **choices = tomo_dataset_keep_choices(d, count);
    if (choices == NULL) return tomo_fail_memory(err, f->path, 0);
    for (size_t i = 0; i < count; i++) {
        const char *bar = memchr(field.text, '|', field.size);
        size_t size = bar != NULL ? (size_t)(bar - field.text) : field.size;
        tomo_csv_field choice = trim((tomo_csv_field){field.text, size});
        choices[i] = tomo_dataset_keep(d, choice.text, choice.size);
        if (choices[i] == NULL) return tomo_fail_memory(err, f->path, 0);
        if (bar != NULL) field = (tomo_csv_field){bar + 1, field.size - size - 1};
    }
    s->choices = choices;
    s->choice_count = count;
    return TOMO_OK;
}

/* The answer as a choice's text, or as its letter where no choice is called so. */
static tomo_status find_letter(tomo_dataset *d, tomo_sample *s, tomo_error *err) {
    size_t found = s->choice_count;
    for (size_t i = 0; i < s->choice_count && found == s->choice_count; i++) {
        if (strcmp(s->choices[i], s->answer) == 0) found = i;
    }
    if (found == s->choice_count && strlen(s->answer) == 1 && s->answer[0] >= 'A' &&
        (size_t)(s->answer[0] - 'A') < s->choice_count) {
        found = (size_t)(s->answer[0] - 'A');
        s->answer = s->choices[found];
    }
    if (found == s->choice_count) {
        s->wrong = "column \"answer\" is none of the choices";
        return TOMO_OK;
    }
    const char letter[2] = {(char)('A' + found), '\0'};
    s->letter = tomo_dataset_keep(d, letter, 1);
    return s->letter != NULL ? TOMO_OK : tomo_fail_memory(err, s->source, 0);
}

/* ------------------------------------------------------------------------------ rows */

static tomo_status add_report(tomo_dataset *d, const list_file *f, size_t row, tomo_sample s,
                              tomo_error *err) {
    tomo_csv_field text = at(f, row, REPORT);
    s.kind = TOMO_SAMPLE_REPORT;
    s.answer = tomo_dataset_keep(d, text.text, text.size);
    return s.answer != NULL ? tomo_dataset_add(d, &s, err) : tomo_fail_memory(err, f->path, 0);
}

static tomo_status add_question(tomo_dataset *d, const list_file *f, size_t row, tomo_sample s,
                                tomo_error *err) {
    tomo_csv_field question = at(f, row, QUESTION), answer = trim(at(f, row, ANSWER));
    tomo_csv_field choices = at(f, row, CHOICES), type = trim(at(f, row, TYPE));
    s.kind = is_blank(choices) ? TOMO_SAMPLE_OPEN : TOMO_SAMPLE_CLOSED;
    if (!tomo_dataset_wants(d, s.split, s.kind)) return TOMO_OK;
    s.question = tomo_dataset_keep(d, question.text, question.size);
    s.answer = tomo_dataset_keep(d, answer.text, answer.size);
    if (s.question == NULL || s.answer == NULL) return tomo_fail_memory(err, f->path, 0);
    if (type.size == 1 && type.text[0] >= '1' && type.text[0] <= '5') {
        s.type = type.text[0] - '0';
    } else if (type.size > 0) {
        s.wrong = "column \"type\" is no whole number from 1 to 5";
    }
    if (is_blank(answer)) s.wrong = "the question has no answer";
    tomo_status status = TOMO_OK;
    if (s.kind == TOMO_SAMPLE_CLOSED) status = cut_choices(d, f, choices, &s, err);
    if (status == TOMO_OK && s.choice_count > 0 && s.wrong == NULL) status = find_letter(d, &s, err);
    return status == TOMO_OK ? tomo_dataset_add(d, &s, err) : status;
}

/* A sample on which nothing is known but the row, so that it is told of. */
static tomo_status add_wrong(tomo_dataset *d, tomo_sample s, const char *what, tomo_error *err) {
    s.kind = TOMO_SAMPLE_REPORT;
    s.answer = "";
    s.wrong = what;
    return tomo_dataset_add(d, &s, err);
}

static tomo_status read_row(tomo_dataset *d, const list_file *f, size_t row, tomo_error *err) {
    tomo_csv_field scan = trim(at(f, row, SCAN));
    tomo_sample s = {
        .source = f->path, .row = tomo_csv_row_number(row), .split = find_split(at(f, row, SPLIT))};
    bool has_report = !is_blank(at(f, row, REPORT)), has_question = !is_blank(at(f, row, QUESTION));
    if (s.split == NULL) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: row %zu, column \"split\" is \"%.*s\"; train, validation or test is wanted",
                         f->path, s.row, (int)(at(f, row, SPLIT).size > 40 ? 40 : at(f, row, SPLIT).size),
                         at(f, row, SPLIT).text);
    }
    s.name = tomo_dataset_keep(d, scan.text, scan.size);
    char *path = s.name != NULL ? tomo_path_join(f->folder, s.name) : NULL;
    s.scan = path != NULL ? tomo_dataset_keep(d, path, strlen(path)) : NULL;
    free(path);
    if (s.scan == NULL) return tomo_fail_memory(err, f->path, 0);
    if (is_blank(scan)) s.wrong = "names no scan";
    tomo_status status = TOMO_OK;
    if (!has_report && !has_question && tomo_dataset_wants(d, s.split, TOMO_SAMPLE_REPORT)) {
        return add_wrong(d, s, "neither a report nor a question", err);
    }
    if (has_report && tomo_dataset_wants(d, s.split, TOMO_SAMPLE_REPORT))
        status = add_report(d, f, row, s, err);
    if (status == TOMO_OK && has_question) status = add_question(d, f, row, s, err);
    return status;
}

static tomo_status find_columns(list_file *f, tomo_error *err) {
    for (int i = 0; i < COLUMNS; i++) f->columns[i] = tomo_csv_find(f->csv, columns[i]);
    tomo_status status = tomo_csv_need(f->csv, columns[SCAN], &f->columns[SCAN], err);
    if (status != TOMO_OK) return status;
    if (f->columns[REPORT] == TOMO_CSV_NONE && f->columns[QUESTION] == TOMO_CSV_NONE) {
        return tomo_csv_need(f->csv, columns[REPORT], &f->columns[REPORT], err);
    }
    return f->columns[QUESTION] == TOMO_CSV_NONE
               ? TOMO_OK
               : tomo_csv_need(f->csv, columns[ANSWER], &f->columns[ANSWER], err);
}

/* ------------------------------------------------------------------------------ the file */

static bool is_csv(const char *name) {
    size_t length = strlen(name);
    return name[0] != '.' && length > 4 && strcasecmp(name + length - 4, ".csv") == 0;
}

/* The only CSV file of a folder. */
static tomo_status find_list(const char *folder, char **path, tomo_error *err) {
    DIR *stream = opendir(folder);
    size_t found = 0;
    *path = NULL;
    if (stream == NULL) return tomo_fail_errno(err, folder, "open");
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        if (!is_csv(entry->d_name)) continue;
        if (found++ == 0) *path = tomo_path_join(folder, entry->d_name);
    }
    (void)closedir(stream);
    if (found == 1) return *path != NULL ? TOMO_OK : tomo_fail_memory(err, folder, 0);
    free(*path);
    *path = NULL;
    return tomo_fail(err, TOMO_E_FORMAT,
                     "%s: no data set: %s; M3D_Cap_npy/M3D_Cap.json, M3D-VQA/, or one CSV file with a column "
                     "\"scan\" is wanted",
                     folder, found == 0 ? "no CSV file" : "several CSV files");
}

static tomo_status read_list(tomo_dataset *d, const char *path, tomo_error *err) {
    list_file f = {0};
    const char *slash = strrchr(path, '/');
    f.path = tomo_dataset_keep(d, path, strlen(path));
    f.folder = slash == NULL ? "" : tomo_dataset_keep(d, path, (size_t)(slash - path) + (slash == path));
    if (f.path == NULL || f.folder == NULL) return tomo_fail_memory(err, path, 0);
    tomo_status status = tomo_csv_open(path, &f.csv, err);
    if (status == TOMO_OK) status = find_columns(&f, err);
    size_t rows = status == TOMO_OK ? tomo_csv_row_count(f.csv) : 0;
    for (size_t row = 0; row < rows && status == TOMO_OK; row++) status = read_row(d, &f, row, err);
    tomo_csv_free(f.csv);
    return status;
}

tomo_status tomo_dataset_read_own(tomo_dataset *d, const char *path, tomo_error *err) {
    if (!tomo_path_is_folder(path)) return read_list(d, path, err);
    char *list = NULL;
    tomo_status status = find_list(path, &list, err);
    if (status == TOMO_OK) status = read_list(d, list, err);
    free(list);
    return status;
}
