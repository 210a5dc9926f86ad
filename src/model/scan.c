#include "model/scan.h"

#include "volume/write.h"

#include <stdlib.h>
#include <string.h>

static tomo_volume_options volume_options(const tomo_context *c, const tomo_scan_options *o) {
    tomo_volume_options v = {.limits = c->limits, .hooks = &c->hooks};
    if (o != NULL) {
        v.series = o->series;
        v.log_phi = o->log_phi;
    }
    return v;
}

tomo_status tomo_scan_open(tomo_context *context, const char *path, const tomo_scan_options *options,
                           tomo_scan **scan, tomo_error *err) {
    *scan = NULL;
    tomo_scan *s = calloc(1, sizeof *s);
    if (s == NULL) return tomo_fail_memory(err, path, sizeof *s);
    s->context = context;
    s->path = strdup(path);
    tomo_volume_options v = volume_options(context, options);
    tomo_status status =
        s->path == NULL ? tomo_fail_memory(err, path, 0) : tomo_volume_open(path, &v, &s->volume, err);
    if (status != TOMO_OK) {
        tomo_scan_free(s);
        return status;
    }
    for (int i = 0; i < s->volume->n_warnings; i++) {
        const tomo_warning *w = &s->volume->warnings[i];
        tomo_log(&context->hooks, TOMO_LOG_WARNING, "%s: %s: %s", path, w->code, w->text);
    }
    *scan = s;
    return TOMO_OK;
}

void tomo_scan_free(tomo_scan *scan) {
    if (scan == NULL) return;
    tomo_volume_free(scan->volume);
    free(scan->path);
    free(scan);
}

tomo_status tomo_scan_list(tomo_context *context, const char *path, const tomo_scan_options *options,
                           char **json, tomo_error *err) {
    tomo_volume_options v = volume_options(context, options);
    cJSON *list = NULL;
    tomo_status status = tomo_volume_list_series(path, &v, &list, err);
    return status == TOMO_OK ? tomo_json_hand_out(list, json, err) : status;
}

void tomo_scan_get_info(const tomo_scan *scan, tomo_scan_info *info) {
    const tomo_volume *v = scan->volume;
    *info = (tomo_scan_info){.has_hu = v->intensity == TOMO_INTENSITY_HU,
                             .minimum = (double)v->minimum,
                             .maximum = (double)v->maximum,
                             .mean = v->mean,
                             .deviation = v->deviation};
    for (int i = 0; i < 3; i++) {
        info->shape[i] = v->shape[i];
        info->spacing_mm[i] = v->spacing_mm[i];
    }
    for (int i = 0; i < 16; i++) info->affine_ras[i] = v->affine_ras.m[i / 4][i % 4];
}

const float *tomo_scan_voxels(const tomo_scan *scan) {
    return scan->volume->voxels;
}

tomo_status tomo_scan_manifest(const tomo_scan *scan, char **json, tomo_error *err) {
    return tomo_json_hand_out(tomo_volume_manifest(scan->volume, NULL), json, err);
}

tomo_status tomo_scan_write(const tomo_scan *scan, const char *path, tomo_scan_format format,
                            const tomo_picture_options *picture, tomo_error *err) {
    const tomo_hooks *hooks = &scan->context->hooks;
    switch (format) {
    case TOMO_SCAN_NIFTI:
        return tomo_volume_write_nifti(scan->volume, path, hooks, err);
    case TOMO_SCAN_NPY:
        return tomo_volume_write_npy(scan->volume, path, err);
    case TOMO_SCAN_M3D:
        return tomo_volume_write_m3d(scan->volume, NULL, path, hooks, err);
    case TOMO_SCAN_PNG:
        return tomo_volume_write_png(scan->volume, path, picture, hooks, err);
    }
    return tomo_fail(err, TOMO_E_USAGE, "no such scan format: %d", (int)format);
}

tomo_status tomo_scan_write_sheet(const tomo_scan *scan, const char *path,
                                  const tomo_picture_options *picture, tomo_error *err) {
    return tomo_contact_sheet_write(scan->volume, path, picture, &scan->context->hooks, err);
}
