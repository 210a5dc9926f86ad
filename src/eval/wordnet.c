#include "eval/wordnet.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* The longest lemma has 72 letters; longer words are not looked up. */
#define LONGEST 128
/* Forms of one word: itself, and 8 rules or the few that an exception names. */
#define FORMS 16

struct tomo_wordnet {
    tomo_map index[TOMO_WORDNET_POS_COUNT], data[TOMO_WORDNET_POS_COUNT], exceptions[TOMO_WORDNET_POS_COUNT];
};

/* A piece of a file. */
typedef struct piece {
    const char *at;
    size_t size;
} piece;

static piece whole(const tomo_map *map) {
    return (piece){(const char *)map->data, map->size};
}

/* ------------------------------------------------------------------------------ opening */

static const char *const names[TOMO_WORDNET_POS_COUNT] = {"noun", "verb", "adj", "adv"};

static tomo_status open_file(const char *folder, const char *format, int pos, tomo_map *map,
                             tomo_error *err) {
    char name[32];
    (void)snprintf(name, sizeof name, format, names[pos]);
    char *path = tomo_path_join(folder, name);
    if (path == NULL) return tomo_fail_memory(err, "path", strlen(folder) + sizeof name);
    tomo_error cause = {0};
    tomo_status status = tomo_map_open(path, map, &cause);
    if (status != TOMO_OK) {
        tomo_fail(err, status, "%s: WordNet 3.0 is not there; METEOR needs Debian's package wordnet-base",
                  path);
    }
    free(path);
    return status;
}

tomo_status tomo_wordnet_open(const char *folder, tomo_wordnet **wordnet, tomo_error *err) {
    tomo_status status = TOMO_OK;
    tomo_wordnet *w = calloc(1, sizeof *w);
    *wordnet = NULL;
    if (w == NULL) return tomo_fail_memory(err, "WordNet", sizeof *w);
    for (int pos = 0; pos < TOMO_WORDNET_POS_COUNT && status == TOMO_OK; pos++) {
        status = open_file(folder, "index.%s", pos, &w->index[pos], err);
        if (status == TOMO_OK) status = open_file(folder, "data.%s", pos, &w->data[pos], err);
        if (status == TOMO_OK) status = open_file(folder, "%s.exc", pos, &w->exceptions[pos], err);
    }
    if (status == TOMO_OK) {
        *wordnet = w;
    } else {
        tomo_wordnet_free(w);
    }
    return status;
}

void tomo_wordnet_free(tomo_wordnet *w) {
    if (w == NULL) return;
    for (int pos = 0; pos < TOMO_WORDNET_POS_COUNT; pos++) {
        tomo_map_close(&w->index[pos]);
        tomo_map_close(&w->data[pos]);
        tomo_map_close(&w->exceptions[pos]);
    }
    free(w);
}

/* ------------------------------------------------------------------------------ lines and fields */

/* The line that begins at `begin`. */
static piece line_at(piece file, size_t begin) {
    const char *end = memchr(file.at + begin, '\n', file.size - begin);
    return (piece){file.at + begin, end != NULL ? (size_t)(end - file.at) - begin : file.size - begin};
}

/* Cuts the next field off a line; empty at its end. */
static piece next_field(piece *line) {
    while (line->size > 0 && line->at[0] == ' ') {
        line->at++;
        line->size--;
    }
    const char *end = line->size > 0 ? memchr(line->at, ' ', line->size) : NULL;
    piece field = {line->at, end != NULL ? (size_t)(end - line->at) : line->size};
    line->at += field.size;
    line->size -= field.size;
    return field;
}

/* A number of at most 8 digits; -1 for anything else. */
static int64_t number_of(piece field, int base) {
    int64_t number = 0;
    if (field.size == 0 || field.size > 8) return -1;
    for (size_t i = 0; i < field.size; i++) {
        char c = field.at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
        if (digit >= base) return -1;
        number = number * base + digit;
    }
    return number;
}

static int compare(piece a, piece b) {
    size_t n = a.size < b.size ? a.size : b.size;
    int order = n > 0 ? memcmp(a.at, b.at, n) : 0;
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

/* The line whose first field is `key`, without that field; false when there is none. The files are sorted by
 * bytes. Where a key stands twice (in the exceptions) the last line counts, as in nltk. */
static bool find_line(piece file, piece key, piece *rest) {
    bool found = false;
    for (size_t low = 0, high = file.size; low < high;) {
        size_t begin = low + (high - low) / 2;
        while (begin > low && file.at[begin - 1] != '\n') begin--;
        piece line = line_at(file, begin), left = line;
        /* The licence in front of the index begins its lines with spaces: before every word. */
        piece field = line.size > 0 && line.at[0] == ' ' ? (piece){line.at, 0} : next_field(&left);
        int order = compare(field, key);
        if (order == 0) *rest = left;
        found = found || order == 0;
        if (order <= 0) {
            low = begin + line.size + 1;
        } else {
            high = begin;
        }
    }
    return found;
}

/* ------------------------------------------------------------------------------ base forms */

typedef struct ending {
    const char *old, *new;
} ending;

/* nltk's rules, which are not quite those of WordNet's own morphy. */
static const ending noun_endings[] = {{"s", ""},    {"ses", "s"},   {"ves", "f"},   {"xes", "x"},
                                      {"zes", "z"}, {"ches", "ch"}, {"shes", "sh"}, {"men", "man"},
                                      {"ies", "y"}, {NULL, NULL}};
static const ending verb_endings[] = {{"s", ""},  {"ies", "y"}, {"es", "e"}, {"es", ""},  {"ed", "e"},
                                      {"ed", ""}, {"ing", "e"}, {"ing", ""}, {NULL, NULL}};
static const ending adjective_endings[] = {{"er", ""}, {"est", ""}, {"er", "e"}, {"est", "e"}, {NULL, NULL}};
static const ending adverb_endings[] = {{NULL, NULL}};
static const ending *const endings[TOMO_WORDNET_POS_COUNT] = {noun_endings, verb_endings, adjective_endings,
                                                              adverb_endings};

typedef struct forms {
    char texts[FORMS][LONGEST + 8];
    piece items[FORMS];
    piece lines[FORMS]; /* of the index, behind the word */
    size_t count;
} forms;

/* Keeps a form that the index has, once. */
static void add_form(const tomo_wordnet *w, int pos, piece form, forms *found) {
    piece line;
    if (form.size == 0 || form.size > LONGEST || found->count == FORMS) return;
    for (size_t i = 0; i < found->count; i++) {
        if (compare(found->items[i], form) == 0) return;
    }
    if (!find_line(whole(&w->index[pos]), form, &line)) return;
    char *text = found->texts[found->count];
    memcpy(text, form.at, form.size);
    found->items[found->count] = (piece){text, form.size};
    found->lines[found->count++] = line;
}

static void add_ending(const tomo_wordnet *w, int pos, piece word, const ending *e, forms *found) {
    char text[LONGEST + 8];
    size_t old = strlen(e->old), added = strlen(e->new);
    if (word.size < old || memcmp(word.at + word.size - old, e->old, old) != 0) return;
    size_t stem = word.size - old;
    memcpy(text, word.at, stem);
    memcpy(text + stem, e->new, added);
    add_form(w, pos, (piece){text, stem + added}, found);
}

/* _morphy */
static void find_forms(const tomo_wordnet *w, int pos, piece word, forms *found) {
    piece line;
    found->count = 0;
    if (word.size == 0 || word.size > LONGEST) return;
    add_form(w, pos, word, found);
    if (find_line(whole(&w->exceptions[pos]), word, &line)) {
        for (piece f = next_field(&line); f.size > 0; f = next_field(&line)) add_form(w, pos, f, found);
        return;
    }
    for (const ending *e = endings[pos]; e->old != NULL; e++) add_ending(w, pos, word, e, found);
}

void tomo_wordnet_forms(const tomo_wordnet *wordnet, int pos, const char *word, size_t size,
                        tomo_wordnet_fn form, void *user) {
    forms found;
    find_forms(wordnet, pos, (piece){word, size}, &found);
    for (size_t i = 0; i < found.count; i++) form(user, found.items[i].at, found.items[i].size);
}

/* ------------------------------------------------------------------------------ synsets */

/* A lemma's name without the marker of adjectives, "galore(ip)". */
static piece without_marker(piece name) {
    const char *open = memchr(name.at, '(', name.size);
    if (open != NULL && name.at[name.size - 1] == ')') name.size = (size_t)(open - name.at);
    return name;
}

/* "00012345 03 n 02 name 0 name 0 ..." at byte 12345. */
static void read_synset(piece data, int64_t offset, tomo_wordnet_fn name, void *user) {
    if (offset < 0 || (uint64_t)offset >= data.size) return;
    piece line = line_at(data, (size_t)offset);
    if (number_of(next_field(&line), 10) != offset) return;
    (void)next_field(&line);
    (void)next_field(&line);
    int64_t count = number_of(next_field(&line), 16);
    for (int64_t i = 0; i < count && line.size > 0; i++) {
        piece lemma = next_field(&line);
        (void)next_field(&line);
        if (lemma.size == 0) return;
        lemma = without_marker(lemma);
        if (memchr(lemma.at, '_', lemma.size) == NULL) name(user, lemma.at, lemma.size);
    }
}

/* "n 3 2 @ ~ 3 1 offset offset offset": the part of speech, the number of synsets, that of pointers, these,
 * two numbers, and where the synsets begin. */
static void read_index_line(piece line, piece data, tomo_wordnet_fn name, void *user) {
    (void)next_field(&line);
    int64_t synsets = number_of(next_field(&line), 10), pointers = number_of(next_field(&line), 10);
    for (int64_t i = 0; i < pointers + 2 && line.size > 0; i++) (void)next_field(&line);
    for (int64_t i = 0; i < synsets && line.size > 0; i++) {
        read_synset(data, number_of(next_field(&line), 10), name, user);
    }
}

void tomo_wordnet_synonyms(const tomo_wordnet *wordnet, const char *word, size_t size, tomo_wordnet_fn name,
                           void *user) {
    for (int pos = 0; pos < TOMO_WORDNET_POS_COUNT; pos++) {
        forms found;
        find_forms(wordnet, pos, (piece){word, size}, &found);
        for (size_t i = 0; i < found.count; i++) {
            read_index_line(found.lines[i], whole(&wordnet->data[pos]), name, user);
        }
    }
}
