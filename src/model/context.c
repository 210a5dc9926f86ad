#include "model/context.h"

#include <stdlib.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

const char *tomo_version(void) {
    return TEXT(TOMO_VERSION_MAJOR) "." TEXT(TOMO_VERSION_MINOR) "." TEXT(TOMO_VERSION_PATCH);
}

void tomo_free(void *memory) {
    free(memory);
}

tomo_status tomo_json_hand_out(cJSON *value, char **text, tomo_error *err) {
    *text = value == NULL ? NULL : cJSON_Print(value);
    cJSON_Delete(value);
    return *text == NULL ? tomo_fail_memory(err, "JSON", 0) : TOMO_OK;
}

static tomo_status check_limits(const tomo_context_options *o, tomo_error *err) {
    if (o->max_voxels < 0 || o->max_slices < 0 || o->max_expanded_bytes < 0 || o->max_files < 0) {
        return tomo_fail(err, TOMO_E_USAGE, "a limit is negative; 0 means the default");
    }
    return TOMO_OK;
}

tomo_status tomo_context_create(const tomo_context_options *options, tomo_context **context,
                                tomo_error *err) {
    tomo_context_options none = {0};
    const tomo_context_options *o = options == NULL ? &none : options;
    *context = NULL;
    tomo_status status = check_limits(o, err);
    if (status != TOMO_OK) return status;
    tomo_context *c = calloc(1, sizeof *c);
    if (c == NULL) return tomo_fail_memory(err, "context", sizeof *c);
    c->hooks = (tomo_hooks){o->log, o->progress, o->user};
    c->limits = (tomo_volume_limits){.voxels = o->max_voxels,
                                     .slices = o->max_slices,
                                     .expanded_bytes = o->max_expanded_bytes,
                                     .files = o->max_files};
    status = tomo_kernels_select(o->kernels, &c->kernels, err);
    if (status == TOMO_OK) status = tomo_pool_create(o->threads, &c->pool, err);
    if (status != TOMO_OK) {
        tomo_context_free(c);
        return status;
    }
    *context = c;
    return TOMO_OK;
}

void tomo_context_free(tomo_context *context) {
    if (context == NULL) return;
    tomo_pool_free(context->pool);
    free(context);
}
