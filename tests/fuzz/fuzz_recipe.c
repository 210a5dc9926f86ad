/* fuzz_recipe.c - hostile training recipes, and two of them compared. */
#include "train/recipe.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    cJSON *root = NULL,
          *other = cJSON_Parse("{\"run\": \"x\", \"stages\": [{\"train\": [\"lora\"], \"steps\": 1}]}");
    tomo_recipe recipe;
    tomo_error err;
    if (tomo_json_parse("recipe.json", (const char *)bytes, size, &root, NULL) == TOMO_OK) {
        (void)tomo_recipe_take("folder/recipe.json", root, &recipe, &err);
        (void)tomo_recipe_same(&recipe, other, &err);
        tomo_recipe_free(&recipe);
    }
    cJSON_Delete(other);
    return 0;
}
