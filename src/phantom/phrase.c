#include "phantom/phrase.h"

#include "phantom/draw.h"

#include <stdio.h>
#include <string.h>

void tomo_say(tomo_random *random, tomo_buffer *text, const char *const *phrases, int count,
              const char *const values[3]) {
    const char *at = phrases[tomo_draw_below(random, count)];
    while (*at != '\0') {
        size_t plain = strcspn(at, "$");
        (void)tomo_buffer_add(text, at, plain);
        at += plain;
        if (*at == '$') {
            (void)tomo_buffer_add_text(text, values[at[1] - '1']);
            at += 2;
        }
    }
    (void)tomo_buffer_add_text(text, " ");
}

const char *tomo_size_text(double mm, char room[16]) {
    if (mm < 20) {
        (void)snprintf(room, 16, "%d mm", (int)(mm + 0.5));
    } else {
        int tenths = (int)(mm + 0.5);
        (void)snprintf(room, 16, "%d.%d cm", tenths / 10 % 100, tenths % 10);
    }
    return room;
}

const char *tomo_amount(int severity) {
    static const char *const words[] = {"small", "moderate", "large"};
    return words[severity];
}

const char *tomo_degree(int severity) {
    static const char *const words[] = {"mild", "moderate", "severe"};
    return words[severity];
}

const char *tomo_third(tomo_finding_place place) {
    return place == TOMO_PLACE_UPPER ? "upper" : place == TOMO_PLACE_MIDDLE ? "middle" : "lower";
}

const char *tomo_pole(tomo_finding_place place) {
    return place == TOMO_PLACE_UPPER    ? "upper pole"
           : place == TOMO_PLACE_MIDDLE ? "middle third"
                                        : "lower pole";
}
