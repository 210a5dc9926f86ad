/* manifest.c - what is known of a volume, as JSON. */
#include "volume/volume.h"

static bool add_numbers(cJSON *object, const char *key, const double *numbers, int n) {
    return cJSON_AddItemToObject(object, key, cJSON_CreateDoubleArray(numbers, n)) != 0;
}

static bool add_geometry(cJSON *root, const tomo_volume *v) {
    cJSON *geometry = cJSON_AddObjectToObject(root, "geometry");
    const double shape[3] = {(double)v->shape[0], (double)v->shape[1], (double)v->shape[2]};
    bool good = geometry != NULL && add_numbers(geometry, "shape_zyx", shape, 3) &&
                add_numbers(geometry, "spacing_mm_zyx", v->spacing_mm, 3) &&
                (!v->spacing_unknown || cJSON_AddBoolToObject(geometry, "spacing_unknown", true) != NULL) &&
                cJSON_AddStringToObject(geometry, "axes", "x to Left, y to Posterior, z to Superior") != NULL;
    cJSON *rows = good ? cJSON_AddArrayToObject(geometry, "affine_ras") : NULL;
    for (int r = 0; rows != NULL && r < 4; r++) {
        good = good && cJSON_AddItemToArray(rows, cJSON_CreateDoubleArray(v->affine_ras.m[r], 4)) != 0;
    }
    return good && rows != NULL;
}

static bool add_intensities(cJSON *root, const tomo_volume *v) {
    cJSON *i = cJSON_AddObjectToObject(root, "intensities");
    return i != NULL &&
           cJSON_AddStringToObject(i, "kind", v->intensity == TOMO_INTENSITY_HU ? "HU" : "arbitrary") &&
           cJSON_AddNumberToObject(i, "min", (double)v->minimum) != NULL &&
           cJSON_AddNumberToObject(i, "max", (double)v->maximum) != NULL &&
           cJSON_AddNumberToObject(i, "mean", v->mean) != NULL &&
           cJSON_AddNumberToObject(i, "std", v->deviation) != NULL;
}

static bool add_warnings(cJSON *root, const tomo_volume *v) {
    cJSON *list = cJSON_AddArrayToObject(root, "warnings");
    bool good = list != NULL;
    for (int w = 0; good && w < v->n_warnings; w++) {
        cJSON *entry = cJSON_CreateObject();
        good = cJSON_AddItemToArray(list, entry) &&
               cJSON_AddStringToObject(entry, "code", v->warnings[w].code) &&
               cJSON_AddStringToObject(entry, "text", v->warnings[w].text);
    }
    return good;
}

cJSON *tomo_volume_manifest(const tomo_volume *volume, const cJSON *slices) {
    cJSON *root = cJSON_CreateObject(), *input = cJSON_Duplicate(volume->record, true);
    bool good = root != NULL && cJSON_AddItemToObject(root, "input", input);
    if (!good) cJSON_Delete(input);
    good = good && add_geometry(root, volume) && add_intensities(root, volume) && add_warnings(root, volume);
    if (good && slices != NULL) {
        cJSON *copy = cJSON_Duplicate(slices, true);
        good = copy != NULL && cJSON_AddItemToObject(root, "slices", copy);
    }
    if (good) return root;
    cJSON_Delete(root);
    return NULL;
}
