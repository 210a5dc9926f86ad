#include "model/words.h"

#include <stdio.h>

/* The last ids of a vocabulary. */
static const char *const control[] = {"<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|image_pad|>"};
#define CONTROL 4

int64_t tomo_words_end_id(int64_t vocabulary) {
    return vocabulary - CONTROL + 2;
}

/* Byte-level BPE writes each byte as a printable character: itself where it is one, else 256 and up in order.
 */
static int character_of_byte(int byte) {
    bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    if (printable) return byte;
    int shift = 0;
    for (int b = 0; b < byte; b++) {
        shift += !((b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae);
    }
    return 256 + shift;
}

static void write_utf8(int c, char out[4]) {
    if (c < 0x80) {
        (void)snprintf(out, 4, "%c", c);
    } else {
        (void)snprintf(out, 4, "%c%c", (char)(0xc0 | c >> 6), (char)(0x80 | (c & 0x3f)));
    }
}

/* Word n: a space and consonants and vowels in turn, as many as n needs. */
static void write_word(int64_t n, char *out, size_t size) {
    static const char consonants[] = "bdfgklmnprstvz", vowels[] = "aeiou";
    size_t used = (size_t)snprintf(out, size, "\xc4\xa0"); /* the character that stands for a space */
    for (bool vowel = false; (n > 0 || used < 4) && used + 2 < size; vowel = !vowel) {
        int64_t base = vowel ? 5 : 14;
        out[used++] = vowel ? vowels[n % base] : consonants[n % base];
        n /= base;
    }
    out[used] = '\0';
}

static cJSON *vocabulary_of(int64_t size) {
    cJSON *vocab = cJSON_CreateObject();
    char text[32];
    /* cJSON finds the end of an object's list at once, but a look-up walks it: items are added without one.
     */
    for (int64_t id = 0; id < size - CONTROL; id++) {
        if (id < 256) {
            write_utf8(character_of_byte((int)id), text);
        } else {
            write_word(id - 256, text, sizeof text);
        }
        cJSON_AddNumberToObject(vocab, text, (double)id);
    }
    return vocab;
}

cJSON *tomo_words_tokenizer(int64_t vocabulary) {
    cJSON *root = cJSON_CreateObject(), *added = cJSON_AddArrayToObject(root, "added_tokens");
    cJSON_AddStringToObject(root, "version", "1.0");
    for (int i = 0; i < CONTROL; i++) {
        cJSON *token = cJSON_CreateObject();
        cJSON_AddNumberToObject(token, "id", (double)(vocabulary - CONTROL + i));
        cJSON_AddStringToObject(token, "content", control[i]);
        static const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
        for (int k = 0; k < 4; k++) cJSON_AddBoolToObject(token, off[k], false);
        cJSON_AddBoolToObject(token, "special", true);
        cJSON_AddItemToArray(added, token);
    }
    static const char *const parts[] = {"pre_tokenizer", "decoder"};
    for (int i = 0; i < 2; i++) {
        cJSON *part = cJSON_AddObjectToObject(root, parts[i]);
        cJSON_AddStringToObject(part, "type", "ByteLevel");
        cJSON_AddBoolToObject(part, "add_prefix_space", false);
        cJSON_AddBoolToObject(part, "trim_offsets", false);
        cJSON_AddBoolToObject(part, "use_regex", true);
    }
    cJSON *model = cJSON_AddObjectToObject(root, "model");
    cJSON_AddStringToObject(model, "type", "BPE");
    cJSON_AddItemToObject(model, "vocab", vocabulary_of(vocabulary));
    cJSON_AddArrayToObject(model, "merges");
    return root;
}
