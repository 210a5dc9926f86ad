/* select.c - which kernel table this CPU runs. */
#include "tensor/cpu/packed_kernels.h"
#include "tensor/cpu/tables.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

#if defined(__x86_64__)
/* Bits that not every compiler's __builtin_cpu_supports knows by name (Intel SDM, CPUID). That the operating
 * system keeps the wide registers is covered by asking the builtin for AVX2 and AVX-512. */
static bool cpuid_bit(unsigned leaf, unsigned subleaf, int reg, int bit) {
    unsigned r[4] = {0};
    if (__get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]) == 0) return false;
    return (r[reg] >> bit & 1u) != 0;
}

/* Linux gives a process the registers of AMX when it asks for them (arch_prctl(2): ARCH_REQ_XCOMP_PERM,
 * feature 18); asking again changes nothing. oneDNN asks too. */
static bool may_use_tiles(void) {
#if defined(__linux__)
    return syscall(SYS_arch_prctl, 0x1023, 18) == 0;
#else
    return false;
#endif
}
#endif

tomo_cpu_features tomo_cpu_detect(void) {
    tomo_cpu_features f = {0};
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool f16c = cpuid_bit(1, 0, 2, 29);
    f.avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    f.avx512 = f.avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    f.avx512_vnni = f.avx512 && cpuid_bit(7, 0, 2, 11);
    f.avx512_bf16 = f.avx512 && cpuid_bit(7, 1, 0, 5);
    f.amx = f.avx512_bf16 && f.avx512_vnni && cpuid_bit(7, 0, 3, 22) && cpuid_bit(7, 0, 3, 24) &&
            cpuid_bit(7, 0, 3, 25) && may_use_tiles();
#endif
    return f;
}

static bool can_run(const tomo_kernels *table) {
#if defined(__x86_64__)
    tomo_cpu_features f = tomo_cpu_detect();
    if (table == &tomo_kernels_amx) return f.amx;
    if (table == &tomo_kernels_avx512) return f.avx512;
    if (table == &tomo_kernels_avx2 || table == &tomo_kernels_avx512_on_avx2) return f.avx2;
#endif
    return table == &tomo_kernels_generic;
}

/* From best to the reference; the last is for tests only. */
static const tomo_kernels *const tables[] = {
#if defined(__x86_64__)
    &tomo_kernels_amx,
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
    return tomo_fail(err, TOMO_E_USAGE,
                     "kernels \"%s\" do not exist; generic, avx2, avx512 or amx are wanted", name);
}

size_t tomo_kernels_runnable(const tomo_kernels **list, size_t room) {
    size_t count = 0;
    for (size_t i = 0; i < TABLES && count < room; i++) {
        if (can_run(tables[i])) list[count++] = tables[i];
    }
    return count;
}

/* -------------------------------------------------------------------- packed products */

const tomo_packed_kernels *tomo_packed_select(const tomo_kernels *kernels) {
#if defined(__x86_64__)
    tomo_cpu_features f = tomo_cpu_detect();
    if (kernels == &tomo_kernels_amx && f.amx) return &tomo_packed_amx;
    if (kernels == &tomo_kernels_avx512 && f.avx512_bf16 && f.avx512_vnni) return &tomo_packed_avx512;
    if (kernels != &tomo_kernels_generic && f.avx2) return &tomo_packed_avx2;
#else
    (void)kernels;
#endif
    return &tomo_packed_generic;
}

size_t tomo_packed_runnable(const tomo_packed_kernels **list, size_t room) {
    size_t count = 0;
    if (count < room) list[count++] = &tomo_packed_generic;
#if defined(__x86_64__)
    tomo_cpu_features f = tomo_cpu_detect();
    if (count < room && f.avx2) list[count++] = &tomo_packed_avx2;
    if (count < room && f.avx512_bf16 && f.avx512_vnni) list[count++] = &tomo_packed_avx512;
    if (count < room && f.amx) list[count++] = &tomo_packed_amx;
#endif
    return count;
}
