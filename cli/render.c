#include "render.h"

#include "terminal.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#define CELL_SIZE 96
/* Ascending lists longer than this are slice indices, which read better as ranges. */
#define RANGES_FROM 8

void render_text(FILE *out, const char *text) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        bool control = terminal_control(text) && c != '\n' && c != '\t';
        fputc(control ? '?' : c, out);
        if (control && c == 0xc2) text++;
    }
}

static bool is_whole(double number) {
    return fabs(number) < 1e15 && number == floor(number);
}

/* A number, truth value or text as the cell of a table or the end of a line. */
static void format_scalar(const cJSON *value, char *text, size_t size) {
    if (cJSON_IsBool(value)) {
        (void)snprintf(text, size, "%s", cJSON_IsTrue(value) ? "yes" : "no");
    } else if (cJSON_IsNumber(value)) {
        (void)snprintf(text, size, is_whole(value->valuedouble) ? "%.0f" : "%.6g", value->valuedouble);
    } else if (cJSON_IsString(value)) {
        (void)snprintf(text, size, "%s", value->valuestring);
    } else {
        (void)snprintf(text, size, "%s", "-");
    }
}

static void print_scalar(FILE *out, const cJSON *value) {
    if (cJSON_IsString(value)) { /* of any length */
        render_text(out, value->valuestring);
        return;
    }
    char text[CELL_SIZE];
    format_scalar(value, text, sizeof text);
    fputs(text, out);
}

static bool holds_scalars(const cJSON *list) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (cJSON_IsObject(item) || cJSON_IsArray(item)) return false;
    }
    return true;
}

static bool is_ascending(const cJSON *list) {
    double last = -INFINITY;
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item) || !is_whole(item->valuedouble) || item->valuedouble <= last) return false;
        last = item->valuedouble;
    }
    return true;
}

/* "0-5, 11, 13-15" */
static void print_ranges(FILE *out, const cJSON *list) {
    const cJSON *item = list->child;
    while (item != NULL) {
        double begin = item->valuedouble, end = begin;
        for (item = item->next; item != NULL && item->valuedouble == end + 1; item = item->next) end++;
        fprintf(out, "%.0f", begin);
        if (end > begin) fprintf(out, "-%.0f", end);
        if (item != NULL) fputs(", ", out);
    }
}

static void print_list(FILE *out, const cJSON *list) {
    if (cJSON_GetArraySize(list) > RANGES_FROM && is_ascending(list)) {
        print_ranges(out, list);
        return;
    }
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        print_scalar(out, item);
        if (item->next != NULL) fputs(", ", out);
    }
}

static void print_name(FILE *out, const char *name) {
    for (; *name != '\0'; name++) fputc(*name == '_' ? ' ' : *name, out);
}

static void print_items(FILE *out, const cJSON *list, int indent);

/* The value behind "name:", with the line feed. */
static void print_value(FILE *out, const cJSON *value, int indent) {
    bool container = cJSON_IsObject(value) || cJSON_IsArray(value);
    if (container && value->child == NULL) {
        fputs(" none\n", out);
    } else if (cJSON_IsObject(value)) {
        fputc('\n', out);
        render_tree(out, value, indent + 2);
    } else if (cJSON_IsArray(value) && !holds_scalars(value)) {
        fputc('\n', out);
        print_items(out, value, indent + 2);
    } else {
        fputc(' ', out);
        if (cJSON_IsArray(value)) {
            print_list(out, value);
        } else {
            print_scalar(out, value);
        }
        fputc('\n', out);
    }
}

/* "level: 40, width: 400" */
static void print_record(FILE *out, const cJSON *object) {
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        print_name(out, member->string);
        fputs(": ", out);
        print_scalar(out, member);
        if (member->next != NULL) fputs(", ", out);
    }
    fputc('\n', out);
}

/* Objects of scalars take one line each. */
static void print_items(FILE *out, const cJSON *list, int indent) {
    const cJSON *item;
    cJSON_ArrayForEach(item, list) {
        fprintf(out, "%*s-", indent, "");
        if (cJSON_IsObject(item) && item->child != NULL && holds_scalars(item)) {
            fputc(' ', out);
            print_record(out, item);
        } else {
            print_value(out, item, indent);
        }
    }
}

void render_member(FILE *out, const cJSON *member, int indent) {
    fprintf(out, "%*s", indent, "");
    print_name(out, member->string != NULL ? member->string : "");
    fputc(':', out);
    print_value(out, member, indent);
}

void render_tree(FILE *out, const cJSON *object, int indent) {
    const cJSON *member;
    cJSON_ArrayForEach(member, object) {
        render_member(out, member, indent);
    }
}

/* ------------------------------------------------------------------------------ tables */

/* Lists of few numbers, as a size, become "512 x 512". */
static void format_cell(const cJSON *row, const char *key, char *text) {
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(row, key);
    format_scalar(value, text, CELL_SIZE);
    if (cJSON_IsArray(value)) {
        size_t used = 0;
        const cJSON *item;
        cJSON_ArrayForEach(item, value) {
            char piece[CELL_SIZE];
            format_scalar(item, piece, sizeof piece);
            int n = snprintf(text + used, CELL_SIZE - used, "%s%s", used > 0 ? " x " : "", piece);
            if (n < 0 || (used += (size_t)n) >= CELL_SIZE) break;
        }
    }
    for (char *c = text; *c != '\0'; c++) {
        if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
    }
}

/* Characters, not bytes. */
static int width_of(const char *text) {
    int width = 0;
    for (; *text != '\0'; text++) width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

/* The widest cell of a column; 0 when no row has it. */
static int column_width(const cJSON *rows, const render_column *column) {
    int width = 0;
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        if (!cJSON_HasObjectItem(row, column->key)) continue;
        char text[CELL_SIZE];
        format_cell(row, column->key, text);
        int cell = width_of(text) > width_of(column->title) ? width_of(text) : width_of(column->title);
        if (cell > width) width = cell;
    }
    return width;
}

/* One line; row NULL: the titles. Numbers stand right. */
static void print_row(FILE *out, const cJSON *rows, const cJSON *row, const render_column *columns, size_t n,
                      int indent) {
    int gap = indent;
    for (size_t i = 0; i < n; i++) {
        int width = column_width(rows, &columns[i]);
        if (width == 0) continue;
        char text[CELL_SIZE];
        (void)snprintf(text, sizeof text, "%s", columns[i].title);
        if (row != NULL) format_cell(row, columns[i].key, text);
        bool right = cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(rows->child, columns[i].key));
        int pad = width - width_of(text);
        fprintf(out, "%*s%s", gap + (right ? pad : 0), "", text);
        gap = 2 + (right ? 0 : pad);
    }
    fputc('\n', out);
}

void render_table(FILE *out, const cJSON *rows, const render_column *columns, size_t n, int indent) {
    if (rows == NULL || rows->child == NULL) return;
    print_row(out, rows, NULL, columns, n, indent);
    const cJSON *row;
    cJSON_ArrayForEach(row, rows) {
        print_row(out, rows, row, columns, n, indent);
    }
}
