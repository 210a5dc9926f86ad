/* tensor_signals.c - signals that come while networks compute: handlers run on the threads and stacks of the
 * host program alone. oneDNN's products have the stack pointer in the heap, where a handler's frame would
 * destroy what lies before it. */
#include "tensor/gemm.h"
#include "tensor/loss.h"
#include "tensor/ops.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

/* Without signals held back nearly every one comes within a product. */
enum { WANTED_SIGNALS = 60, MOST_ROUNDS = 100000 };

static pthread_t host;
static char *stack;
static size_t stack_size;
static volatile sig_atomic_t seen, elsewhere;

static void on_alarm(int number) {
    (void)number;
    char *frame = __builtin_frame_address(0);
    seen++;
    if (!pthread_equal(pthread_self(), host) || frame < stack || frame >= stack + stack_size) elsewhere++;
}

/* An alarm every 0.1 ms, or none. */
static void set_alarm(bool on) {
    struct itimerval every = {{0, on ? 100 : 0}, {0, on ? 100 : 0}};
    assert_int_equal(setitimer(ITIMER_REAL, &every, NULL), 0);
}

static void find_stack(void) {
    pthread_attr_t attributes;
    void *begin;
    host = pthread_self();
    assert_int_equal(pthread_getattr_np(host, &attributes), 0);
    assert_int_equal(pthread_attr_getstack(&attributes, &begin, &stack_size), 0);
    stack = begin;
    (void)pthread_attr_destroy(&attributes);
}

typedef struct subject {
    tomo_exec exec;
    float *values; /* [most] */
} subject;

/* --------------------------------------------------------------------- what computes */

enum { ROWS = 600, WIDTH = 192, DEPTH = 512, PAIRS = 128, TOKENS = 192, HEADS = 3, HEAD = 64 };

static void products(subject *s) {
    float out[WIDTH * 8];
    tomo_arena_mark mark = tomo_arena_get_mark(s->exec.arena);
    float *y = tomo_exec_alloc(&s->exec, ROWS * WIDTH, sizeof *y);
    tomo_tensor w = tomo_tensor_over(s->values, TOMO_F32, 2, (int64_t[]){WIDTH, DEPTH});
    assert_non_null(y);
    tomo_gemm(&s->exec, y, WIDTH, s->values, DEPTH, ROWS, &w, false, (tomo_epilogue){0});
    tomo_gemm(&s->exec, out, WIDTH, s->values, DEPTH, 8, &w, false, (tomo_epilogue){0});
    tomo_arena_rewind(s->exec.arena, mark);
}

static void gradients(subject *s) {
    tomo_arena_mark mark = tomo_arena_get_mark(s->exec.arena);
    float *dx = tomo_exec_alloc(&s->exec, ROWS * DEPTH, sizeof *dx);
    float *dw = tomo_exec_alloc(&s->exec, WIDTH * DEPTH, sizeof *dw);
    tomo_tensor w = tomo_tensor_over(s->values, TOMO_F32, 2, (int64_t[]){WIDTH, DEPTH});
    assert_non_null(dw);
    memset(dx, 0, ROWS * DEPTH * sizeof *dx);
    memset(dw, 0, WIDTH * DEPTH * sizeof *dw);
    tomo_gemm_backward(&s->exec, dx, dw, NULL, s->values, s->values, ROWS, &w);
    tomo_arena_rewind(s->exec.arena, mark);
}

static void attention(subject *s) {
    tomo_arena_mark mark = tomo_arena_get_mark(s->exec.arena);
    tomo_tensor x = tomo_tensor_over(s->values, TOMO_F32, 4, (int64_t[]){1, TOKENS, HEADS, HEAD});
    assert_non_null(tomo_op_attention(&s->exec, &x, &x, &x, 0.125, false));
    tomo_arena_rewind(s->exec.arena, mark);
}

static void pairs(subject *s) {
    float one = 1;
    tomo_tensor x = tomo_tensor_over(s->values, TOMO_F32, 2, (int64_t[]){PAIRS, DEPTH});
    tomo_tensor scale = tomo_tensor_over(&one, TOMO_F32, 1, (int64_t[]){1});
    (void)tomo_loss_contrastive(&s->exec, &x, &x, &scale, 1);
}

/* ------------------------------------------------------------------------------ tests */

static void disturb(int threads, void (*compute)(subject *s)) {
    subject s = {.values = calloc(ROWS * DEPTH, sizeof(float))};
    const tomo_kernels *kernels;
    tomo_pool *pool;
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART}, before;
    assert_non_null(s.values);
    for (int64_t i = 0; i < ROWS * DEPTH; i++) s.values[i] = (float)(i % 17) / 17 - 0.4f;
    assert_int_equal(tomo_kernels_select(NULL, &kernels, NULL), TOMO_OK);
    find_stack();
    seen = elsewhere = 0;
    assert_int_equal(sigaction(SIGALRM, &action, &before), 0);
    assert_int_equal(tomo_pool_create(threads, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&s.exec, kernels, pool, NULL, 0, NULL), TOMO_OK);
    set_alarm(true);
    for (int i = 0; i < MOST_ROUNDS && seen < WANTED_SIGNALS && elsewhere == 0; i++) compute(&s);
    set_alarm(false);
    assert_int_equal(elsewhere, 0);
    assert_true(seen >= WANTED_SIGNALS);
    assert_int_equal(tomo_exec_status(&s.exec, NULL), TOMO_OK);
    tomo_exec_release(&s.exec);
    tomo_pool_free(pool);
    free(s.values);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
}

static void handlers_stay_on_the_hosts_stack(void **state) {
    (void)state;
    static void (*const all[])(subject * s) = {products, gradients, attention, pairs};
    for (int threads = 1; threads <= 3; threads += 2) {
        for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) disturb(threads, all[i]);
    }
}

static void signals_are_handled_again_afterwards(void **state) {
    (void)state;
    sigset_t before, after;
    subject s = {.values = calloc(ROWS * DEPTH, sizeof(float))};
    const tomo_kernels *kernels;
    tomo_pool *pool;
    assert_non_null(s.values);
    assert_int_equal(tomo_kernels_select(NULL, &kernels, NULL), TOMO_OK);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    assert_int_equal(tomo_pool_create(2, &pool, NULL), TOMO_OK);
    assert_int_equal(tomo_exec_init(&s.exec, kernels, pool, NULL, 0, NULL), TOMO_OK);
    products(&s);
    gradients(&s);
    pairs(&s);
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    for (int i = 1; i < NSIG; i++) assert_int_equal(sigismember(&after, i), sigismember(&before, i));
    tomo_exec_release(&s.exec);
    tomo_pool_free(pool);
    free(s.values);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(handlers_stay_on_the_hosts_stack),
        cmocka_unit_test(signals_are_handled_again_afterwards),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
