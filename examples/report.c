/* report.c - prints a report: example_report SCAN MODEL. cc report.c $(pkg-config --cflags --libs tomo) */
#include <stdio.h>
#include <tomo.h>

int main(int argc, char **argv) {
    if (argc != 3) return fputs("usage: example_report SCAN MODEL\n", stderr), 2;
    tomo_context *context = NULL;
    tomo_scan *scan = NULL;
    tomo_model *model = NULL;
    tomo_session *session = NULL;
    tomo_answer answer = {0};
    tomo_error error;
    tomo_status status = tomo_context_create(NULL, &context, &error);
    if (status == TOMO_OK) status = tomo_scan_open(context, argv[1], NULL, &scan, &error);
    if (status == TOMO_OK) status = tomo_model_open(context, argv[2], NULL, &model, &error);
    if (status == TOMO_OK) status = tomo_session_create(model, &session, &error);
    if (status == TOMO_OK) status = tomo_session_read_scan(session, scan, NULL, &error);
    if (status == TOMO_OK) status = tomo_session_report(session, NULL, &answer, &error);
    if (status == TOMO_OK) printf("%s\n\nFor research, not for diagnosis.\n", answer.text);
    if (status != TOMO_OK) fprintf(stderr, "example_report: %s\n", error.message);
    tomo_answer_clear(&answer);
    tomo_session_free(session);
    tomo_model_free(model);
    tomo_scan_free(scan);
    tomo_context_free(context);
    return status == TOMO_OK ? 0 : 1;
}
