#include "support/parity.h"

#include "base/file.h"

#include <dirent.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void parity_begin(parity *p, const char *family) {
    *p = (parity){0};
    const char *root = getenv("TOMO_REFERENCE");
    const char *strict = getenv("STRICT");
    if (root == NULL || root[0] == '\0') root = TOMO_TEST_DIR "/reference";
    (void)snprintf(p->family, sizeof p->family, "%s", family);
    (void)snprintf(p->root, sizeof p->root, "%s/%s", root, family);
    p->strict = strict != NULL && strcmp(strict, "1") == 0;
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
}

void parity_pass(parity *p, const char *name) {
    p->passed++;
    (void)printf("ok   %s/%s\n", p->family, name);
}

static void tell(const char *kind, const parity *p, const char *name, const char *format, va_list arguments) {
    char text[1024];
    (void)vsnprintf(text, sizeof text, format, arguments);
    (void)printf("%s %s/%s: %s\n", kind, p->family, name, text);
}

void parity_fail(parity *p, const char *name, const char *format, ...) {
    p->failed++;
    va_list arguments;
    va_start(arguments, format);
    tell("FAIL", p, name, format, arguments);
    va_end(arguments);
}

void parity_skip(parity *p, const char *name, const char *format, ...) {
    p->skipped++;
    va_list arguments;
    va_start(arguments, format);
    tell("skip", p, name, format, arguments);
    va_end(arguments);
}

int parity_end(parity *p) {
    const char *elsewhere = getenv("TOMO_REFERENCE");
    if (p->passed + p->failed + p->skipped == 0 && elsewhere != NULL && !tomo_path_exists(p->root)) {
        parity_skip(p, "(family)", "%s does not exist: this reference folder does not hold the family",
                    p->root);
    }
    if (p->passed + p->failed + p->skipped == 0) (void)printf("FAIL %s: no case found in it\n", p->root);
    (void)printf("%d passed, %d failed, %d skipped\n", p->passed, p->failed, p->skipped);
    if (p->passed + p->skipped == 0 || p->failed > 0) return EXIT_FAILURE;
    return p->strict && p->skipped > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void each(parity *p, const char *folder, const char *suffix,
                 void (*run)(parity *, const char *, const char *)) {
    char path[8192];
    (void)snprintf(path, sizeof path, "%s%s%s", p->root, folder[0] == '\0' ? "" : "/", folder);
    struct dirent **entries = NULL;
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name;
        char *full = name[0] == '.' ? NULL : tomo_path_join(path, name);
        if (full != NULL) {
            size_t length = strlen(name), tail = suffix == NULL ? 0 : strlen(suffix);
            bool is_folder = tomo_path_is_folder(full);
            bool wanted = suffix == NULL
                              ? is_folder
                              : !is_folder && length > tail && strcmp(name + length - tail, suffix) == 0;
            if (wanted) run(p, name, full);
        }
        free(full);
        free(entries[i]);
    }
    free(entries);
}

void parity_each_folder(parity *p, const char *folder, void (*run)(parity *, const char *, const char *)) {
    each(p, folder, NULL, run);
}

void parity_each_file(parity *p, const char *folder, const char *suffix,
                      void (*run)(parity *, const char *, const char *)) {
    each(p, folder, suffix, run);
}

double parity_distance(const float *got, const float *want, int64_t n) {
    double worst = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)got[i] - (double)want[i]);
        if (isnan(d)) d = isnan(got[i]) && isnan(want[i]) ? 0 : got[i] == want[i] ? 0 : INFINITY;
        if (d > worst) worst = d;
    }
    return worst;
}

double parity_largest(const float *values, int64_t n) {
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        if (fabs((double)values[i]) > largest) largest = fabs((double)values[i]);
    }
    return largest;
}

double parity_relative_l2(const float *got, const float *want, int64_t n) {
    double difference = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)got[i] - (double)want[i];
        difference += d * d;
        norm += (double)want[i] * (double)want[i];
    }
    if (isnan(difference)) return INFINITY;
    return norm > 0 ? sqrt(difference / norm) : sqrt(difference);
}

const char *parity_data_folder(void) {
    const char *folder = getenv("TOMO_DATA");
    return folder != NULL && folder[0] != '\0' ? folder : TOMO_TEST_DIR "/data";
}
