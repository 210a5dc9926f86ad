#include "bench_scan.h"

#include "json.h"
#include "terminal.h"

/* {"name", "value", "unit", "limit", "fraction_of_limit"}; limit 0: none. */
static bool add(cJSON *results, const char *name, const char *unit, double value, double limit) {
    cJSON *item = cJSON_CreateObject();
    bool good = item != NULL && cJSON_AddItemToArray(results, item) && json_add_text(item, "name", name) &&
                json_add_number(item, "value", value) && json_add_text(item, "unit", unit);
    if (good && limit > 0) {
        return json_add_number(item, "limit", limit) &&
               json_add_number(item, "fraction_of_limit", value / limit);
    }
    return good && cJSON_AddNullToObject(item, "limit") != NULL &&
           cJSON_AddNullToObject(item, "fraction_of_limit") != NULL;
}

/* The first token's time is that of the prompt: it comes from the prompt's own logits. */
static int ask(run *r, const char *question, int64_t max_tokens, tomo_answer *answer) {
    tomo_generate_options options = {.max_tokens = max_tokens};
    tomo_error error = {0};
    tomo_status status = question == NULL ? tomo_session_report(r->session, &options, answer, &error)
                                          : tomo_session_ask(r->session, question, &options, answer, &error);
    return run_step(r, status, &error);
}

static bool add_report(const run *r, const tomo_answer *report, const tomo_answer *second, cJSON *results) {
    double slices, encoder, connector;
    tomo_session_read_seconds(r->session, &slices, &encoder, &connector);
    double first = r->scan_seconds + r->read_seconds + report->prefill_seconds;
    return add(results, "report_open", "s", r->scan_seconds, 0) &&
           add(results, "report_slices", "s", slices, 0) && add(results, "report_encoder", "s", encoder, 0) &&
           add(results, "report_connector", "s", connector, 0) &&
           add(results, "report_prefill", "s", report->prefill_seconds, 0) &&
           add(results, "report_decode", "s", report->decode_seconds, 0) &&
           add(results, "report_tokens", "tokens", (double)report->count, 0) &&
           add(results, "report", "s", first + report->decode_seconds, 0) &&
           /* to its first token, against the first question's, which counts from opening the scan */
           add(results, "second_question", "s", second->prefill_seconds, first);
}

int bench_scan(run *r, const char *scan, int64_t max_tokens, cJSON *results) {
    tomo_answer report = {0}, second = {0};
    int code = run_open_scan(r, scan);
    if (code == EXIT_DONE) code = run_read_scan(r);
    if (code == EXIT_DONE) code = ask(r, NULL, max_tokens, &report);
    if (code == EXIT_DONE) code = ask(r, "Is there a lesion in the liver?", 1, &second);
    if (code == EXIT_DONE && !add_report(r, &report, &second, results)) {
        terminal_error("out of memory");
        code = EXIT_FAILED;
    }
    tomo_answer_clear(&report);
    tomo_answer_clear(&second);
    return code;
}
