#include "support/columns.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT ((int64_t)256 << 20)

cJSON *columns_read_lines(const char *path) {
    char *bytes = NULL;
    size_t size = 0;
    cJSON *list = cJSON_CreateArray();
    if (tomo_file_read(path, FILE_LIMIT, &bytes, &size, NULL) != TOMO_OK) return list;
    for (char *at = bytes; at < bytes + size;) {
        char *end = memchr(at, '\n', (size_t)(bytes + size - at));
        if (end == NULL) end = bytes + size;
        cJSON *row = cJSON_ParseWithLength(at, (size_t)(end - at));
        if (row != NULL) cJSON_AddItemToArray(list, row);
        at = end + 1;
    }
    free(bytes);
    return list;
}

void column_count(column *c, int row, bool good, const char *what) {
    c->rows++;
    if (good) return;
    if (c->wrong++ == 0) {
        c->first = row;
        (void)snprintf(c->what, sizeof c->what, "%.190s", what);
    }
}

void column_end(parity *p, const char *file, const char *name, const column *c) {
    char label[256];
    (void)snprintf(label, sizeof label, "%s/%s", file, name);
    if (c->rows == 0) {
        parity_fail(p, label, "no row of this kind");
    } else if (c->wrong == 0) {
        parity_pass(p, label);
    } else {
        parity_fail(p, label, "%d of %d rows differ, first row %d: %s", c->wrong, c->rows, c->first, c->what);
    }
}
