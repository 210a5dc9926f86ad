#include "base/decimal.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Longer texts are no numbers that somebody typed. */
#define MOST_CHARACTERS 400

/* snprintf and strtod put the locale's mark where C has a point. */
static void swap_point(char *text, char from, char to) {
    char *at = strchr(text, from);
    if (at != NULL) *at = to;
}

/* What this thread's printf went by before; others are not touched. (locale_t)0: there is no memory for it,
 * and numbers stay the host's. */
static locale_t enter(locale_t *plain) {
    *plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    return *plain == (locale_t)0 ? (locale_t)0 : uselocale(*plain);
}

static void leave(locale_t plain, locale_t own) {
    if (plain == (locale_t)0) return;
    (void)uselocale(own);
    freelocale(plain);
}

int tomo_decimal_vformat(char *text, size_t size, const char *format, va_list arguments) {
    locale_t plain, own = enter(&plain);
    int length = vsnprintf(text, size, format, arguments);
    leave(plain, own);
    return length;
}

int tomo_decimal_print(FILE *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    locale_t plain, own = enter(&plain);
    int length = vfprintf(file, format, arguments);
    leave(plain, own);
    va_end(arguments);
    return length;
}

int tomo_decimal_format(char *text, size_t size, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    int length = tomo_decimal_vformat(text, size, format, arguments);
    va_end(arguments);
    return length;
}

static char locale_point(void) {
    const char *point = localeconv()->decimal_point;
    return point[0] != '\0' && point[1] == '\0' ? point[0] : '.';
}

static double read_copy(char *text, char **end) {
    char point = locale_point();
    if (point != '.') swap_point(text, '.', point);
    return strtod(text, end);
}

/* The digits of |value| without a point, and where the point would stand: 0.d1d2d3 x 10^exponent. */
static size_t shortest_digits(double value, char digits[20], int *exponent) {
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        (void)snprintf(text, sizeof text, "%.*e", precision, value);
        if (strtod(text, NULL) == value) break;
    }
    size_t count = 0;
    const char *at = text;
    for (; *at != 'e'; at++) {
        if (*at >= '0' && *at <= '9') digits[count++] = *at;
    }
    *exponent = atoi(at + 1) + 1;
    while (count > 1 && digits[count - 1] == '0') count--;
    return count;
}

void tomo_decimal_write(double value, char text[TOMO_DECIMAL_TEXT]) {
    char digits[20];
    int point = 0;
    if (!isfinite(value) || value == 0) {
        const char *names[] = {"nan", "inf", "-inf", "0.0", "-0.0"};
        int which = isnan(value) ? 0 : isinf(value) ? (value > 0 ? 1 : 2) : (signbit(value) ? 4 : 3);
        (void)snprintf(text, TOMO_DECIMAL_TEXT, "%s", names[which]);
        return;
    }
    int n = (int)shortest_digits(fabs(value), digits, &point);
    char *at = text;
    if (value < 0) *at++ = '-';
    size_t room = TOMO_DECIMAL_TEXT - (size_t)(at - text);
    if (point > 16 || point < -3) { /* where repr changes to exponents */
        (void)snprintf(at, room, n > 1 ? "%c.%.*se%c%02d" : "%c%.*se%c%02d", digits[0], n - 1, digits + 1,
                       point > 0 ? '+' : '-', abs(point - 1));
    } else if (point <= 0) {
        (void)snprintf(at, room, "0.%.*s%.*s", -point, "000", n, digits);
    } else if (n <= point) {
        (void)snprintf(at, room, "%.*s%.*s.0", n, digits, point - n, "0000000000000000");
    } else {
        (void)snprintf(at, room, "%.*s.%.*s", point, digits, n - point, digits + point);
    }
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* A copy without white space around it; false when it is no candidate for a number. */
static bool copy_number(const char *text, size_t size, char copy[MOST_CHARACTERS + 1]) {
    while (size > 0 && is_blank(text[0])) text++, size--;
    while (size > 0 && is_blank(text[size - 1])) size--;
    if (size == 0 || size > MOST_CHARACTERS || memchr(text, '\0', size) != NULL) return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    return true;
}

static bool is_special(const char *text) {
    if (*text == '+' || *text == '-') text++;
    return strcasecmp(text, "inf") == 0 || strcasecmp(text, "infinity") == 0;
}

bool tomo_decimal_read(const char *text, size_t size, bool special, double *value) {
    char copy[MOST_CHARACTERS + 1], *end = NULL;
    if (!copy_number(text, size, copy)) return false;
    if (is_special(copy)) {
        if (!special) return false;
    } else if (strspn(copy, "0123456789+-.eE") != strlen(copy)) {
        return false; /* strtod would also take hexadecimal */
    }
    *value = read_copy(copy, &end);
    return *end == '\0';
}

bool tomo_decimal_read_integer(const char *text, size_t size, int64_t *value) {
    char copy[MOST_CHARACTERS + 1], *end = NULL;
    if (!copy_number(text, size, copy)) return false;
    if (strspn(copy, "0123456789+-") != strlen(copy)) return false;
    errno = 0;
    *value = strtoll(copy, &end, 10);
    return *end == '\0' && end != copy && errno == 0;
}
