#include "tensor/cpu/tables.h"

#include <string.h>

tomo_cpu_features tomo_cpu_detect(void) {
    tomo_cpu_features f = {0};
#if defined(__x86_64__)
    __builtin_cpu_init();
    f.avx2 =
        __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    f.avx512_bf16 = f.avx512 && __builtin_cpu_supports("avx512bf16");
    f.avx512_vnni = f.avx512 && __builtin_cpu_supports("avx512vnni");
#endif
    return f;
}

static bool can_run(const tomo_kernels *table) {
#if defined(__x86_64__)
    tomo_cpu_features f = tomo_cpu_detect();
    if (table == &tomo_kernels_avx512) return f.avx512;
    if (table == &tomo_kernels_avx2 || table == &tomo_kernels_avx512_on_avx2) return f.avx2;
#endif
    return table == &tomo_kernels_generic;
}

/* From best to the reference; the last is for tests only. */
static const tomo_kernels *const tables[] = {
#if defined(__x86_64__)
    &tomo_kernels_avx512,
    &tomo_kernels_avx2,
#endif
    &tomo_kernels_generic,
#if defined(__x86_64__)
    &tomo_kernels_avx512_on_avx2,
#endif
};
#define TABLES (sizeof tables / sizeof tables[0])

tomo_status tomo_kernels_select(const char *name, const tomo_kernels **kernels, tomo_error *err) {
    bool any = name == NULL || name[0] == '\0';
    for (size_t i = 0; i < TABLES; i++) {
        bool wanted = any || strcmp(name, tables[i]->name) == 0;
        if (!wanted) continue;
        if (can_run(tables[i])) {
            *kernels = tables[i];
            return TOMO_OK;
        }
        if (!any) return tomo_fail(err, TOMO_E_USAGE, "kernels \"%s\": this CPU cannot run them", name);
    }
    return tomo_fail(err, TOMO_E_USAGE, "kernels \"%s\" do not exist; generic, avx2 or avx512 are wanted",
                     name);
}

size_t tomo_kernels_runnable(const tomo_kernels **list, size_t room) {
    size_t count = 0;
    for (size_t i = 0; i < TABLES && count < room; i++) {
        if (can_run(tables[i])) list[count++] = tables[i];
    }
    return count;
}
