/* text_chat.c - which templates are recognised, however they are written, and how conversations look in them.
 */
#include "text/chat.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS                                                                                                \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}"   \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
#define DEFAULT(text)                                                                                        \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"                   \
    "{{ '<|im_start|>system\\n" text "<|im_end|>\\n' }}{% endif %}" TURNS

static void templates_are_recognised_however_they_are_written(void **state) {
    (void)state;
    static const struct {
        const char *text, *name; /* NULL: not recognised */
    } cases[] = {
        {"{% for message in messages %}" TURNS, "chatml"},
        {"{%- for message in messages -%}\n    {{- \"<|im_start|>\" + message.role + \"\\n\" -}}\n"
         "{{- message.content + '<|im_end|>\n' -}}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n"
         "  {{- '<|im_start|>assistant\\n' -}}\n{%- endif -%}\n",
         "chatml"},
        {"{# a comment #}{% for message in messages %}\n<|im_start|>{{ message['role'] }}\n"
         "{{ message['content'] }}<|im_end|>\n\n{% endfor %}\n{% if add_generation_prompt %}\n"
         "<|im_start|>assistant\n\n{% endif %}",
         NULL}, /* one line feed more behind each turn */
        {DEFAULT("You are a helpful assistant."), "qwen2"},
        {DEFAULT("You are a helpful AI assistant named SmolLM, trained by Hugging Face"), "smollm2"},
        {DEFAULT("{{ secret }}"), "qwen2"}, /* inside a string it is text */
        {"{% for message in messages %}" TURNS " ", NULL},
        {"x{% for message in messages %}" TURNS, NULL},
        {"{% for message in messages %}", NULL},
        {"{% for message in messages", NULL},
        {"{{ 'open }}", NULL},
        {"{{}}", NULL},
        {"{{-", NULL},
        {"{%", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tomo_chat_format *f = NULL;
        tomo_error err = {0};
        tomo_status status = tomo_chat_format_recognise("t", cases[i].text, &f, &err);
        if (cases[i].name == NULL) {
            if (status != TOMO_E_UNSUPPORTED) fail_msg("case %zu is recognised", i);
        } else if (status != TOMO_OK || strcmp(tomo_chat_format_name(f), cases[i].name) != 0) {
            fail_msg("case %zu: %s", i, status == TOMO_OK ? tomo_chat_format_name(f) : err.message);
        }
        tomo_chat_format_free(f);
    }
}

static void default_system_turn_comes_from_the_template(void **state) {
    (void)state;
    tomo_chat_format *f = NULL;
    tomo_buffer b = {.maximum = 1000};
    assert_int_equal(tomo_chat_format_recognise("t", DEFAULT("Be brief."), &f, NULL), TOMO_OK);
    const tomo_chat_message question = {"user", "Why?", 2};
    assert_int_equal(tomo_chat_render(f, &question, 1, true, "<i>", &b, NULL), TOMO_OK);
    assert_string_equal(b.data,
                        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n<i><i>\nWhy?<|im_end|>\n"
                        "<|im_start|>assistant\n");
    tomo_buffer_free(&b);
    tomo_chat_format_free(f);
}

static void thoughts_of_earlier_answers_are_left_out(void **state) {
    (void)state;
    tomo_buffer b = {.maximum = 1000};
    const tomo_chat_message messages[] = {{"user", "a", 0},
                                          {"assistant", "<think>\nx\n</think>\n\nb", 0},
                                          {"user", "c", 0},
                                          {"assistant", "<think>y</think>d", 0}};
    const tomo_chat_format *f = tomo_chat_format_by_name("qwen3-no-think");
    assert_int_equal(tomo_chat_render(f, messages, 4, true, NULL, &b, NULL), TOMO_OK);
    assert_string_equal(
        b.data, "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n<|im_start|>user\nc"
                "<|im_end|>\n<|im_start|>assistant\n<think>\ny\n</think>\n\nd<|im_end|>\n"
                "<|im_start|>assistant\n<think>\n\n</think>\n\n");
    tomo_buffer_free(&b);
}

static void write_file(const char *folder, const char *name, const char *text) {
    char path[128];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void template_is_found_in_a_model_folder(void **state) {
    (void)state;
    char folder[] = "tomo-test-XXXXXX", path[128];
    assert_non_null(mkdtemp(folder));
    tomo_chat_format *f = NULL;
    tomo_error err = {0};
    assert_int_equal(tomo_chat_format_detect(folder, &f, &err), TOMO_E_UNSUPPORTED);
    write_file(folder, "tokenizer_config.json",
               "{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"x\"}, {\"name\": \"default\", "
               "\"template\": \"{% for message in messages %}{{'<|im_start|>' + message.role + '\\\\n' + "
               "message.content + '<|im_end|>\\\\n'}}{% endfor %}{% if add_generation_prompt %}"
               "{{'<|im_start|>assistant\\\\n'}}{% endif %}\"}]}");
    assert_int_equal(tomo_chat_format_detect(folder, &f, &err), TOMO_OK);
    assert_string_equal(tomo_chat_format_name(f), "chatml");
    tomo_chat_format_free(f);
    write_file(folder, "chat_template.jinja", "something else"); /* comes before tokenizer_config.json */
    assert_int_equal(tomo_chat_format_detect(folder, &f, &err), TOMO_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "chat_template.jinja"));
    static const char *const names[] = {"tokenizer_config.json", "chat_template.jinja"};
    for (size_t i = 0; i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        assert_int_equal(unlink(path), 0);
    }
    assert_int_equal(rmdir(folder), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_recognised_however_they_are_written),
        cmocka_unit_test(default_system_turn_comes_from_the_template),
        cmocka_unit_test(thoughts_of_earlier_answers_are_left_out),
        cmocka_unit_test(template_is_found_in_a_model_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
