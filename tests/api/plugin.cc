/* plugin.cc - the library as a C++ program meets it at run time: loaded by dlopen, with nothing but tomo.h.
 */
#include <tomo.h>

#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <string>

template <typename Function> static Function *load(void *library, const char *name) {
    void *symbol = dlsym(library, name);
    if (symbol == nullptr) std::printf("%s: not found\n", name);
    return reinterpret_cast<Function *>(symbol);
}

/* Arguments: the library, a model directory, a scan. */
int main(int argc, char **argv) {
    if (argc != 4) return 2;
    void *library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::printf("%s\n", dlerror());
        return 1;
    }
    auto *version = load<decltype(tomo_version)>(library, "tomo_version");
    auto *context_create = load<decltype(tomo_context_create)>(library, "tomo_context_create");
    auto *context_free = load<decltype(tomo_context_free)>(library, "tomo_context_free");
    auto *scan_open = load<decltype(tomo_scan_open)>(library, "tomo_scan_open");
    auto *scan_free = load<decltype(tomo_scan_free)>(library, "tomo_scan_free");
    auto *model_open = load<decltype(tomo_model_open)>(library, "tomo_model_open");
    auto *model_free = load<decltype(tomo_model_free)>(library, "tomo_model_free");
    auto *session_create = load<decltype(tomo_session_create)>(library, "tomo_session_create");
    auto *session_free = load<decltype(tomo_session_free)>(library, "tomo_session_free");
    auto *read_scan = load<decltype(tomo_session_read_scan)>(library, "tomo_session_read_scan");
    auto *report = load<decltype(tomo_session_report)>(library, "tomo_session_report");
    auto *answer_clear = load<decltype(tomo_answer_clear)>(library, "tomo_answer_clear");
    if (version == nullptr || report == nullptr || answer_clear == nullptr) return 1;

    const std::string wanted = std::to_string(TOMO_VERSION_MAJOR) + "." + std::to_string(TOMO_VERSION_MINOR) +
                               "." + std::to_string(TOMO_VERSION_PATCH);
    if (wanted != version()) return 1;
    /* Nothing of the inside may show: a host may have symbols of the same names. */
    if (dlsym(library, "tomo_fail") != nullptr || dlsym(library, "tomo_gemm") != nullptr) return 1;

    tomo_context *context = nullptr;
    tomo_scan *scan = nullptr;
    tomo_model *model = nullptr;
    tomo_session *session = nullptr;
    tomo_error error = {};
    tomo_answer answer = {};
    tomo_generate_options options = {};
    options.max_tokens = 8;
    bool done = context_create(nullptr, &context, &error) == TOMO_OK &&
                scan_open(context, argv[3], nullptr, &scan, &error) == TOMO_OK &&
                model_open(context, argv[2], nullptr, &model, &error) == TOMO_OK &&
                session_create(model, &session, &error) == TOMO_OK &&
                read_scan(session, scan, nullptr, &error) == TOMO_OK &&
                report(session, &options, &answer, &error) == TOMO_OK && answer.count > 0;
    std::printf("%s\n", done ? "1 passed, 0 failed" : error.message);
    answer_clear(&answer);
    session_free(session);
    model_free(model);
    scan_free(scan);
    context_free(context);
    return done ? 0 : 1;
}
