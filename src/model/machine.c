#include "model/machine.h"

#include "base/clock.h"
#include "base/signals.h"
#include "base/size.h"

#include <dnnl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* OpenMP's standard call, of the runtime that oneDNN uses (see tensor/pool.c). */
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);

/* Bytes that one block of the read measurement covers. */
#define READ_BLOCK ((int64_t)1 << 20)

struct tomo_machine {
    tomo_pool *pool;
    float *a, *b, *c;
    uint64_t *memory; /* [memory_bytes / 8] */
    int64_t memory_bytes;
    uint64_t sums[256]; /* a worker: so that no read can be left out */
};

static float *new_matrix(int64_t count) {
    float *m = aligned_alloc(64, ((size_t)count * sizeof *m + 63) / 64 * 64);
    for (int64_t i = 0; m != NULL && i < count; i++) m[i] = (float)(i % 17) / 17.0f;
    return m;
}

static int64_t last_level_cache(void) {
    long size = sysconf(_SC_LEVEL3_CACHE_SIZE);
    if (size <= 0) size = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return size > 0 ? (int64_t)size : (int64_t)32 << 20;
}

tomo_status tomo_machine_create(tomo_pool *pool, const tomo_product *products, int count,
                                tomo_machine **machine, tomo_error *err) {
    *machine = NULL;
    tomo_machine *m = calloc(1, sizeof *m);
    if (m == NULL) return tomo_fail_memory(err, "bench", sizeof *m);
    int64_t a = 1, b = 1, c = 1;
    for (int i = 0; i < count; i++) {
        const tomo_product *p = &products[i];
        if (p->m * p->k > a) a = p->m * p->k;
        if (p->n * p->k > b) b = p->n * p->k;
        if (p->m * p->n > c) c = p->m * p->n;
    }
    m->pool = pool;
    m->a = new_matrix(a);
    m->b = new_matrix(b);
    m->c = new_matrix(c);
    int64_t bytes = 8 * last_level_cache();
    m->memory_bytes =
        ((bytes < (int64_t)256 << 20 ? (int64_t)256 << 20 : bytes) / READ_BLOCK + 1) * READ_BLOCK;
    m->memory = malloc((size_t)m->memory_bytes);
    if (m->a == NULL || m->b == NULL || m->c == NULL || m->memory == NULL) {
        size_t wanted = (size_t)m->memory_bytes;
        tomo_machine_free(m);
        return tomo_fail_memory(err, "bench", wanted);
    }
    memset(m->memory, 1, (size_t)m->memory_bytes); /* real pages, not the kernel's zero page */
    *machine = m;
    return TOMO_OK;
}

void tomo_machine_free(tomo_machine *m) {
    if (m == NULL) return;
    free(m->a);
    free(m->b);
    free(m->c);
    free(m->memory);
    free(m);
}

double tomo_machine_gemm_rate(tomo_machine *m, const tomo_product *products, int count) {
    double seconds = 0, operations = 0;
    int host = omp_get_max_threads();
    sigset_t before = tomo_signals_hold(); /* see tomo_gemm_run; OpenMP's new threads hold them too */
    omp_set_num_threads(tomo_pool_threads(m->pool));
    for (int i = 0; i < count; i++) {
        const tomo_product *p = &products[i];
        double start = tomo_seconds();
        (void)dnnl_sgemm('N', 'T', p->m, p->n, p->k, 1.0f, m->a, p->k, m->b, p->k, 0.0f, m->c, p->n);
        seconds += (tomo_seconds() - start) * (double)p->times;
        operations += 2.0 * (double)p->m * (double)p->n * (double)p->k * (double)p->times;
    }
    omp_set_num_threads(host);
    tomo_signals_release(&before);
    return operations / seconds;
}

static void read_block(void *argument, int64_t block, int worker) {
    tomo_machine *m = argument;
    const uint64_t *p = m->memory + block * (READ_BLOCK / 8);
    uint64_t s[16] = {0};
    for (int64_t i = 0; i < READ_BLOCK / 8; i += 16) {
        for (int j = 0; j < 16; j++) s[j] += p[i + j];
    }
    for (int j = 0; j < 16; j++) m->sums[worker] += s[j];
}

double tomo_machine_read_rate(tomo_machine *m) {
    double start = tomo_seconds();
    tomo_pool_run(m->pool, m->memory_bytes / READ_BLOCK, read_block, m);
    return (double)m->memory_bytes / (tomo_seconds() - start);
}

static void cpu_name(char *name, size_t size) {
    (void)snprintf(name, size, "unknown");
    FILE *file = fopen("/proc/cpuinfo", "re");
    char line[256];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *value = strstr(line, ": ");
        if (strncmp(line, "model name", 10) != 0 || value == NULL) continue;
        (void)snprintf(name, size, "%.*s", (int)strcspn(value + 2, "\n"), value + 2);
        break;
    }
    if (file != NULL) (void)fclose(file);
}

cJSON *tomo_machine_describe(const tomo_exec *exec) {
    cJSON *root = cJSON_CreateObject();
    tomo_cpu_features f = tomo_cpu_detect();
    char name[128];
    cpu_name(name, sizeof name);
    cJSON_AddStringToObject(root, "cpu", name);
    cJSON_AddNumberToObject(root, "threads", tomo_pool_threads(exec->pool));
    cJSON_AddStringToObject(root, "kernels", exec->kernels->name);
    cJSON_AddBoolToObject(root, "avx2", f.avx2);
    cJSON_AddBoolToObject(root, "avx512", f.avx512);
    cJSON_AddBoolToObject(root, "avx512_bf16", f.avx512_bf16);
    cJSON_AddBoolToObject(root, "avx512_vnni", f.avx512_vnni);
    cJSON_AddBoolToObject(root, "amx", f.amx);
    return root;
}

int64_t tomo_machine_peak_rss(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (int64_t)usage.ru_maxrss * 1024 : 0;
}
