/* render.h - JSON as text for people. What a key is called decides nothing, so that new ones just appear. */
#ifndef TOMO_CLI_RENDER_H
#define TOMO_CLI_RENDER_H

#include <cjson/cJSON.h>
#include <stdio.h>

/* Prints text without its control characters (a file may hold any); line feeds and tabs stay. */
void render_text(FILE *out, const char *text);

/* Prints an object's members, "name: value", objects below indented. */
void render_tree(FILE *out, const cJSON *object, int indent);

/* One member of an object in the same way. */
void render_member(FILE *out, const cJSON *member, int indent);

typedef struct render_column {
    const char *key;
    const char *title;
} render_column;

/* Prints a list of objects as a table; columns that no row has are left out. */
void render_table(FILE *out, const cJSON *rows, const render_column *columns, size_t n, int indent);

#endif
