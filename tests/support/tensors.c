#include "support/tensors.h"

#include "base/file.h"

#include <stdlib.h>
#include <string.h>

bool test_machine_open(test_machine *m, tomo_error *err) {
    *m = (test_machine){0};
    const char *threads = getenv("TOMO_THREADS");
    int count = threads != NULL ? atoi(threads) : 2;
    return tomo_kernels_select(getenv("TOMO_KERNELS"), &m->kernels, err) == TOMO_OK &&
           tomo_pool_create(count, &m->pool, err) == TOMO_OK &&
           tomo_exec_init(&m->exec, m->kernels, m->pool, NULL, 0, err) == TOMO_OK;
}

void test_machine_close(test_machine *m) {
    tomo_exec_release(&m->exec);
    tomo_pool_free(m->pool);
}

tomo_checkpoint *test_open_tensors(const char *folder, const char *name, tomo_error *err) {
    tomo_checkpoint *checkpoint = NULL;
    char *path = tomo_path_join(folder, name);
    if (path != NULL) (void)tomo_checkpoint_open(path, &checkpoint, err);
    free(path);
    return checkpoint;
}

tomo_tensor test_tensor(const tomo_checkpoint *checkpoint, const char *name) {
    const tomo_stored *s = tomo_checkpoint_find(checkpoint, name);
    if (s == NULL || s->rank == 0) return (tomo_tensor){0};
    return tomo_tensor_over((void *)(uintptr_t)s->data, s->dtype, s->rank, s->shape);
}

static double distance(const test_compare *c, const float *got, const float *want, int64_t n) {
    if (c->measure == TEST_RELATIVE_L2) return parity_relative_l2(got, want, n);
    double d = parity_distance(got, want, n), largest = parity_largest(want, n);
    if (c->measure == TEST_ABSOLUTE) return d;
    if (c->measure == TEST_OF_LARGEST1 && largest < 1) largest = 1;
    return largest > 0 ? d / largest : d;
}

void test_compare_see(void *compare, const char *name, const tomo_tensor *value) {
    test_compare *c = compare;
    const tomo_stored *want = tomo_checkpoint_find(c->expected, name);
    if (want == NULL) return;
    c->compared++;
    int64_t n = tomo_tensor_count(value);
    if (want->count != n || want->dtype != TOMO_F32 || !tomo_tensor_is_contiguous(value)) {
        (void)snprintf(c->failure, sizeof c->failure, "%s has %lld values; %lld are recorded", name,
                       (long long)n, (long long)want->count);
        return;
    }
    double d = distance(c, tomo_tensor_f32(value), want->data, n);
    if (!(d <= c->worst)) c->worst = d;
    if (!(d <= c->tolerance) && c->failure[0] == '\0') {
        (void)snprintf(c->failure, sizeof c->failure, "%s is %.2e off; %.0e is allowed", name, d,
                       c->tolerance);
    }
}
