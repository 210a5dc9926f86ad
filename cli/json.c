#include "json.h"

#include "options.h"
#include "output.h"
#include "terminal.h"

#include <stdlib.h>
#include <string.h>

/* Bytes of the UTF-8 character at `text`: 0 when it is none (RFC 3629: shortest form, no surrogates). */
static size_t character_size(const unsigned char *text) {
    unsigned char first = text[0], second = first != '\0' ? text[1] : 0;
    if (first < 0x80) return 1;
    size_t size = first >= 0xc2 && first < 0xe0   ? 2
                  : first >= 0xe0 && first < 0xf0 ? 3
                  : first >= 0xf0 && first < 0xf5 ? 4
                                                  : 0;
    for (size_t i = 1; i < size; i++) {
        if ((text[i] & 0xc0) != 0x80) return 0; /* also stops at the '\0' */
    }
    bool overlong = (first == 0xe0 && second < 0xa0) || (first == 0xf0 && second < 0x90);
    bool beyond = (first == 0xed && second >= 0xa0) || (first == 0xf4 && second >= 0x90);
    return overlong || beyond ? 0 : size;
}

char *json_repair(const char *text) {
    static const char replacement[] = "\xef\xbf\xbd";
    size_t length = strlen(text);
    char *copy = malloc(length * 3 + 1);
    if (copy == NULL) return NULL;
    char *out = copy;
    while (*text != '\0') {
        size_t size = character_size((const unsigned char *)text);
        memcpy(out, size > 0 ? text : replacement, size > 0 ? size : 3);
        out += size > 0 ? size : 3;
        text += size > 0 ? size : 1;
    }
    *out = '\0';
    return copy;
}

bool json_add(cJSON *object, const char *name, cJSON *item) {
    if (item != NULL && cJSON_AddItemToObject(object, name, item)) return true;
    cJSON_Delete(item);
    return false;
}

bool json_add_text(cJSON *object, const char *name, const char *text) {
    if (text == NULL) return json_add(object, name, cJSON_CreateNull());
    char *valid = json_repair(text);
    bool good = valid != NULL && json_add(object, name, cJSON_CreateString(valid));
    free(valid);
    return good;
}

bool json_add_number(cJSON *object, const char *name, double number) {
    return json_add(object, name, cJSON_CreateNumber(number));
}

bool json_add_integers(cJSON *object, const char *name, const int64_t *numbers, size_t n) {
    cJSON *list = cJSON_CreateArray();
    bool good = list != NULL;
    for (size_t i = 0; good && i < n; i++) {
        cJSON *number = cJSON_CreateNumber((double)numbers[i]);
        good = number != NULL && cJSON_AddItemToArray(list, number);
    }
    if (good) return json_add(object, name, list);
    cJSON_Delete(list);
    return false;
}

cJSON *json_whole(cJSON *object, bool good) {
    if (good) return object;
    cJSON_Delete(object);
    return NULL;
}

static int out_of_memory(void) {
    terminal_error("out of memory while writing JSON");
    return EXIT_FAILED;
}

int json_write_text(const char *path, const char *text) {
    output out;
    if (!output_open(&out, path)) return EXIT_FAILED;
    size_t length = strlen(text);
    fputs(text, out.stream);
    if (length == 0 || text[length - 1] != '\n') fputc('\n', out.stream);
    return output_commit(&out) ? EXIT_DONE : EXIT_FAILED;
}

int json_write(const char *path, cJSON *value) {
    char *text = value != NULL ? cJSON_Print(value) : NULL;
    cJSON_Delete(value);
    int code = text != NULL ? json_write_text(path, text) : out_of_memory();
    cJSON_free(text);
    return code;
}

cJSON *json_parse(const char *text) {
    cJSON *value = cJSON_Parse(text);
    if (value == NULL) terminal_error("the library's JSON cannot be read; out of memory, or a fault of tomo");
    return value;
}
