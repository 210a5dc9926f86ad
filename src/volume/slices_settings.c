/* slices_settings.c - the section "volume" of a config.json as settings of tomo_slices_make. */
#include "volume/slices.h"

#include "base/limits.h"

#include <stdio.h>
#include <string.h>

tomo_slices_settings tomo_slices_defaults(void) {
    return (tomo_slices_settings){.kind = TOMO_WINDOW_MINMAX, .percentile = {0.5, 99.5}, .max_slices = 256};
}

/* One {level, width}. */
static tomo_status parse_window(const cJSON *item, tomo_json_at at, tomo_window *window, tomo_error *err) {
    static const char *const known[] = {"level", "width", NULL};
    if (!cJSON_IsObject(item)) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"%swindows\" holds something that is no {\"level\", \"width\"}", at.file,
                         at.section);
    }
    char section[128];
    (void)snprintf(section, sizeof section, "%swindows.", at.section);
    tomo_json_at inner = {at.file, section};
    tomo_status status = tomo_json_only(item, inner, known, err);
    if (status == TOMO_OK)
        status = tomo_json_double(item, "level", inner, true, -1e6, 1e6, &window->level, err);
    if (status == TOMO_OK)
        status = tomo_json_double(item, "width", inner, true, 1e-3, 1e6, &window->width, err);
    return status;
}

static tomo_status parse_percentile(const cJSON *windows, tomo_json_at at, tomo_slices_settings *s,
                                    tomo_error *err) {
    static const char *const known[] = {"percentile", NULL};
    char section[128];
    (void)snprintf(section, sizeof section, "%swindows.", at.section);
    tomo_status status = tomo_json_only(windows, (tomo_json_at){at.file, section}, known, err);
    if (status != TOMO_OK) return status;
    const cJSON *pair = tomo_json_get(windows, "percentile");
    const cJSON *low = cJSON_GetArrayItem(pair, 0), *high = cJSON_GetArrayItem(pair, 1);
    if (cJSON_GetArraySize(pair) != 2 || !cJSON_IsNumber(low) || !cJSON_IsNumber(high) ||
        !(low->valuedouble >= 0) || !(low->valuedouble < high->valuedouble) || !(high->valuedouble <= 100)) {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: \"%swindows.percentile\" makes no sense; [low, high] with 0 <= low < high <= 100 is wanted",
            at.file, at.section);
    }
    s->kind = TOMO_WINDOW_PERCENTILE;
    s->percentile[0] = low->valuedouble;
    s->percentile[1] = high->valuedouble;
    return TOMO_OK;
}

static tomo_status parse_windows(const cJSON *section, tomo_json_at at, tomo_slices_settings *s,
                                 tomo_error *err) {
    const cJSON *windows = tomo_json_get(section, "windows");
    if (windows == NULL) return TOMO_OK;
    if (cJSON_IsObject(windows)) return parse_percentile(windows, at, s, err);
    if (cJSON_IsString(windows) && strcmp(windows->valuestring, "minmax") == 0) {
        s->kind = TOMO_WINDOW_MINMAX;
        return TOMO_OK;
    }
    int n = cJSON_GetArraySize(windows);
    if (!cJSON_IsArray(windows) || (n != 1 && n != 3)) {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: \"%swindows\" makes no sense; one or three {\"level\", \"width\"}, \"minmax\" or "
            "{\"percentile\": [low, high]} is wanted",
            at.file, at.section);
    }
    s->kind = TOMO_WINDOW_HU;
    s->n_windows = n;
    for (int i = 0; i < n; i++) {
        tomo_status status = parse_window(cJSON_GetArrayItem(windows, i), at, &s->windows[i], err);
        if (status != TOMO_OK) return status;
    }
    return TOMO_OK;
}

static tomo_status parse_size(const cJSON *section, tomo_json_at at, tomo_slices_settings *s,
                              tomo_error *err) {
    const cJSON *size = tomo_json_get(section, "size");
    if (size == NULL) return TOMO_OK;
    bool good = cJSON_IsArray(size) && cJSON_GetArraySize(size) == 3;
    for (int i = 0; good && i < 3; i++) {
        good = tomo_json_whole(cJSON_GetArrayItem(size, i), 1, TOMO_LIMIT_SLICES, &s->size[i]);
    }
    if (!good || s->size[1] != s->size[2]) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"%ssize\" makes no sense; [slices, side, side] of 1 to %d is wanted", at.file,
                         at.section, TOMO_LIMIT_SLICES);
    }
    s->has_size = true;
    return TOMO_OK;
}

static tomo_status parse_spacing(const cJSON *section, tomo_json_at at, tomo_slices_settings *s,
                                 tomo_error *err) {
    const cJSON *spacing = tomo_json_get(section, "spacing");
    if (spacing == NULL) return TOMO_OK;
    bool list = cJSON_IsArray(spacing) && cJSON_GetArraySize(spacing) == 3,
         good = list || cJSON_IsNumber(spacing);
    for (int i = 0; good && i < 3; i++) {
        const cJSON *item = list ? cJSON_GetArrayItem(spacing, i) : spacing;
        good = cJSON_IsNumber(item) && item->valuedouble >= 1e-3 && item->valuedouble <= 1e3;
        if (good) s->spacing_mm[i] = item->valuedouble;
    }
    if (!good) {
        return tomo_fail(err, TOMO_E_HEADER,
                         "%s: \"%sspacing\" makes no sense; millimetres from 0.001 to 1000, one number or "
                         "[z, y, x], are wanted",
                         at.file, at.section);
    }
    s->has_spacing = true;
    return TOMO_OK;
}

tomo_status tomo_slices_settings_parse(const cJSON *section, tomo_json_at at, tomo_slices_settings *settings,
                                       tomo_error *err) {
    static const char *const known[] = {"windows", "crop_foreground", "size", "max_slices",
                                        "spacing", "force_windows",   NULL};
    *settings = tomo_slices_defaults();
    tomo_status status = tomo_json_only(section, at, known, err);
    if (status == TOMO_OK) status = parse_windows(section, at, settings, err);
    if (status == TOMO_OK) {
        status = tomo_json_bool(section, "crop_foreground", at, false, &settings->crop_foreground, err);
    }
    if (status == TOMO_OK) status = parse_size(section, at, settings, err);
    if (status == TOMO_OK) {
        status =
            tomo_json_int(section, "max_slices", at, false, 1, TOMO_LIMIT_SLICES, &settings->max_slices, err);
    }
    if (status == TOMO_OK) status = parse_spacing(section, at, settings, err);
    if (status == TOMO_OK) {
        status = tomo_json_bool(section, "force_windows", at, false, &settings->force_windows, err);
    }
    return status;
}
