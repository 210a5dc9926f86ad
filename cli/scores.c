#include "scores.h"

#include "render.h"

#include <stdbool.h>
#include <string.h>

#define AT(member) offsetof(scores_options, member)

static const option options[] = {
    {"wordnet", 0, OPTION_TEXT, "DIR",
     "WordNet 3.0 for METEOR; default /usr/share/wordnet (package wordnet-base)", AT(wordnet), 0, 0},
    {"bertscore-model", 0, OPTION_TEXT, "DIR", "a BERT's or RoBERTa's folder: BERTScore too",
     AT(bertscore_model), 0, 0},
    {"bertscore-layer", 0, OPTION_INTEGER, "N",
     "the encoder layer whose output is compared; default 17 of 24, 9 of 12, else the last",
     AT(bertscore_layer), 1, 64},
    {"bertscore-idf", 0, OPTION_FLAG, NULL, "tokens that are rare among the references weigh more",
     AT(bertscore_idf), 0, 0},
    {"bertscore-baseline", 0, OPTION_TEXT, "FILE",
     "\"LAYER,P,R,F\": BERTScore is rescaled by the layer's row", AT(bertscore_baseline), 0, 0},
    {"draws", 0, OPTION_INTEGER, "N", "of the bootstrap; default 1000", AT(draws), 1, 1000000},
};

option_group scores_group(scores_options *target) {
    return (option_group){"The scores", options, COUNT_OF(options), target};
}

static const cJSON *get(const cJSON *object, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(object, key);
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = get(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* "0.6756 (0.571 to 0.772)"; with p also "p 0.012". */
static void format_estimate(const cJSON *e, char *text, size_t size) {
    const cJSON *mean = get(e, "mean"), *p = get(e, "p");
    if (!cJSON_IsNumber(mean)) {
        (void)snprintf(text, size, "-");
        return;
    }
    int n =
        snprintf(text, size, "%.4f (%.3f to %.3f)", mean->valuedouble, number(e, "low"), number(e, "high"));
    if (cJSON_IsNumber(p) && n > 0 && (size_t)n < size) {
        (void)snprintf(text + n, size - (size_t)n, " p %.3f", p->valuedouble);
    }
}

/* ------------------------------------------------------------------------------ captions */

/* One line a score; unseen NULL: no second column. */
static void print_list(FILE *out, const cJSON *scores, const cJSON *unseen) {
    const cJSON *e;
    cJSON_ArrayForEach(e, scores) {
        char text[80];
        format_estimate(e, text, sizeof text);
        fprintf(out, "  %-16s  %-36s", e->string, text);
        if (unseen != NULL) {
            format_estimate(get(unseen, e->string), text, sizeof text);
            fprintf(out, "  %s", text);
        }
        fputc('\n', out);
    }
}

/* ------------------------------------------------------------------------------ questions */

/* ROUGE's two parts would make the table too wide; the JSON has them. */
static bool is_shown(const char *name) {
    return strncmp(name, "rouge1_", 7) != 0;
}

static void print_line(FILE *out, const char *name, double rows, const cJSON *scores, int width) {
    const cJSON *e;
    fprintf(out, "  %-12s  %6.0f", name, rows);
    cJSON_ArrayForEach(e, scores) {
        char text[80];
        if (!is_shown(e->string)) continue;
        format_estimate(e, text, sizeof text);
        fprintf(out, "  %-*s", width, text);
    }
    fputc('\n', out);
}

static void print_types(FILE *out, const cJSON *part, int width) {
    const cJSON *e, *type;
    fprintf(out, "  %-12s  %6s", "type", "rows");
    cJSON_ArrayForEach(e, get(part, "micro")) {
        if (is_shown(e->string)) fprintf(out, "  %-*s", width, e->string);
    }
    fputc('\n', out);
    cJSON_ArrayForEach(type, get(part, "types")) {
        print_line(out, cJSON_GetStringValue(get(type, "name")), number(type, "rows"), get(type, "scores"),
                   width);
    }
    print_line(out, "macro mean", number(part, "rows"), get(part, "macro"), width);
    print_line(out, "micro mean", number(part, "rows"), get(part, "micro"), width);
}

/* ------------------------------------------------------------------------------ together */

static void print_part(FILE *out, const cJSON *part, const cJSON *unseen, bool difference) {
    if (get(part, "scores") != NULL) {
        print_list(out, get(part, "scores"), unseen != NULL ? get(unseen, "scores") : NULL);
    } else {
        print_types(out, part, difference ? 33 : 25);
    }
}

static void print_head(FILE *out, const cJSON *part) {
    const char *file = cJSON_GetStringValue(get(part, "file")),
               *meteor = cJSON_GetStringValue(get(part, "meteor_left_out"));
    const char *kind = cJSON_GetStringValue(get(part, "kind"));
    render_text(out, file != NULL ? file : "");
    fprintf(out, ": %s, %.0f rows; mean (95 %% interval)\n", kind != NULL ? kind : "", number(part, "rows"));
    if (number(part, "empty_predictions") > 0) {
        fprintf(out, "  %.0f empty predictions score 0; the benchmark's script stops at them\n",
                number(part, "empty_predictions"));
    }
    if (meteor != NULL) fprintf(out, "  METEOR is left out: %s\n", meteor);
}

void scores_print(FILE *out, const cJSON *scores) {
    const cJSON *unseen = get(scores, "unseen"), *other = get(scores, "compare");
    const cJSON *difference = get(scores, "difference");
    bool captions = get(scores, "scores") != NULL;
    print_head(out, scores);
    if (unseen != NULL && captions) {
        fprintf(out, "  %-16s  %-36s  %.0f rows whose text is not in training\n", "", "all",
                number(unseen, "rows"));
    }
    print_part(out, scores, captions ? unseen : NULL, false);
    if (unseen != NULL && !captions) {
        fprintf(out, "\n%.0f rows whose text is not in training\n", number(unseen, "rows"));
        print_part(out, unseen, NULL, false);
    }
    if (other == NULL) return;
    fputc('\n', out);
    print_head(out, other);
    print_part(out, other, NULL, false);
    fputs("\ndifference, first minus second; p of the paired bootstrap test\n", out);
    print_part(out, difference, NULL, true);
}
