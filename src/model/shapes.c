#include "model/shapes.h"

#include <stdio.h>
#include <string.h>

static const tomo_encoder_shape encoders[] = {
    {"biomedclip", "vit_base_patch16_224", 768, 12, 12, 224, 16}, /* microsoft/BiomedCLIP-PubMedBERT_256 */
    {"vit-small", "vit_small_patch16_224", 384, 12, 6, 224, 16},
    {"vit-tiny", "vit_tiny_patch16_224", 192, 12, 3, 224, 16},
};

#define QWEN2(HIDDEN, LAYERS, HEADS, KV, WIDE, WORDS)                                                        \
    {                                                                                                        \
        .family = "qwen2", .hidden = HIDDEN, .layers = LAYERS, .heads = HEADS, .kv_heads = KV,               \
        .head_dim = (HIDDEN) / (HEADS), .intermediate = WIDE, .vocabulary = WORDS, .context = 32768,         \
        .norm_eps = 1e-6, .tied = true, .qkv_bias = true, .rope = {                                          \
            .theta = 1000000.0                                                                               \
        }                                                                                                    \
    }

static const tomo_language_shape languages[] = {
    {"qwen2.5-0.5b", QWEN2(896, 24, 14, 2, 4864, 151936), TOMO_BF16},  /* Qwen/Qwen2.5-0.5B-Instruct */
    {"qwen2.5-1.5b", QWEN2(1536, 28, 12, 2, 8960, 151936), TOMO_BF16}, /* Qwen/Qwen2.5-1.5B-Instruct */
    {"qwen2-tiny", QWEN2(128, 4, 4, 2, 352, 2048), TOMO_BF16},         /* for quick runs */
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

const char *tomo_model_shapes(void) {
    return "encoders: biomedclip, vit-small, vit-tiny; language models: qwen2.5-0.5b, qwen2.5-1.5b, "
           "qwen2-tiny";
}

static tomo_status find_one(const char *name, const tomo_encoder_shape **encoder,
                            const tomo_language_shape **language, tomo_error *err) {
    for (size_t i = 0; i < COUNT(encoders); i++) {
        if (strcmp(encoders[i].name, name) == 0) {
            *encoder = &encoders[i];
            return TOMO_OK;
        }
    }
    for (size_t i = 0; i < COUNT(languages); i++) {
        if (strcmp(languages[i].name, name) == 0) {
            *language = &languages[i];
            return TOMO_OK;
        }
    }
    return tomo_fail(err, TOMO_E_USAGE, "no public shape is called \"%.40s\"; %s", name, tomo_model_shapes());
}

tomo_status tomo_shapes_find(const char *names, const tomo_encoder_shape **encoder,
                             const tomo_language_shape **language, tomo_error *err) {
    *encoder = NULL;
    *language = NULL;
    tomo_status status = TOMO_OK;
    while (status == TOMO_OK) {
        char name[64];
        size_t length = strcspn(names, ",");
        (void)snprintf(name, sizeof name, "%.*s", (int)(length < 63 ? length : 63), names);
        status = find_one(name, encoder, language, err);
        if (names[length] == '\0') break;
        names += length + 1;
    }
    return status;
}
