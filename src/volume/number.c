#include "volume/number.h"

#include <locale.h>
#include <stdlib.h>

bool tomo_number_parse(const char *text, const char **rest, double *number) {
    /* The program may have set a locale with a decimal comma; "C" is built into the C library. */
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain == (locale_t)0) return false;
    char *end;
    *number = strtod_l(text, &end, plain);
    freelocale(plain);
    *rest = end;
    return end != text;
}
