/* fuzz_tokenizer.c - a hostile tokenizer.json, and hostile text: the first line feed that follows the JSON
 * value's last
 * '}' divides the input. Without one the input is the text of a chat for a small tokenizer of our own. */
#include "text/chat.h"
#include "text/tokenizer.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static const char small[] =
    "{\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
    ","
    "\"decoder\":{\"type\":\"ByteLevel\"},\"added_tokens\":["
    "{\"id\":10,\"content\":\"<|im_start|>\",\"special\":true,\"normalized\":false},"
    "{\"id\":11,\"content\":\"<|im_end|>\",\"special\":true,\"normalized\":false,\"lstrip\":true},"
    "{\"id\":12,\"content\":\"<\\u00e9>\",\"special\":false,\"normalized\":true,\"single_word\":true}],"
    "\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"aa\":1,\"aaa\":2,\"<\":3,\"\\u0120\":4,\"\\u0120a\":5,"
    "\"\\u00c3\":6,\"?\":7},\"merges\":[\"a a\",\"aa a\",\"\\u0120 "
    "a\"],\"unk_token\":\"?\",\"fuse_unk\":true}}";

static void use(const tomo_tokenizer *t, const char *text, size_t size) {
    tomo_ids ids = {0};
    tomo_buffer out = {.maximum = (size_t)64 << 20};
    (void)tomo_tokenizer_encode(t, text, size, (tomo_encode_options){.add_special = true}, &ids, NULL);
    (void)tomo_tokenizer_encode(t, text, size, (tomo_encode_options){.plain = true}, &ids, NULL);
    (void)tomo_tokenizer_decode(t, ids.data, ids.count, true, &out, NULL);
    tomo_ids_free(&ids);
    tomo_buffer_free(&out);
}

static void chat(const tomo_tokenizer *t, const char *text) {
    tomo_ids ids = {0};
    tomo_chat_format *format = NULL;
    const tomo_chat_message messages[] = {{"user", text, 0}, {"assistant", text, 0}};
    (void)tomo_chat_encode(tomo_chat_format_by_name("qwen3"), t, messages, 2, true, -1, &ids, NULL);
    if (tomo_chat_format_recognise("fuzz", text, &format, NULL) == TOMO_OK) tomo_chat_format_free(format);
    tomo_ids_free(&ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    const char *text = (const char *)bytes;
    size_t end = size;
    while (end > 1 && !(text[end - 2] == '}' && text[end - 1] == '\n')) end--;
    bool whole = end <= 1;
    static tomo_tokenizer *ours; /* opened once: a run that needs no new one takes microseconds */
    if (ours == NULL && tomo_tokenizer_open_memory("ours", small, sizeof small - 1, &ours, NULL) != TOMO_OK)
        abort();
    if (whole) {
        tomo_buffer copy = {.maximum = SIZE_MAX};
        use(ours, text, size);
        if (tomo_buffer_add(&copy, bytes, size)) chat(ours, copy.data);
        tomo_buffer_free(&copy);
        return 0;
    }
    tomo_tokenizer *t = NULL;
    if (tomo_tokenizer_open_memory("fuzz", text, end, &t, NULL) == TOMO_OK) use(t, text + end, size - end);
    tomo_tokenizer_free(t);
    return 0;
}
