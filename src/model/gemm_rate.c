#include "model/gemm_rate.h"

#include "base/clock.h"
#include "base/signals.h"

#include <dnnl.h>
#include <stdlib.h>
#include <string.h>

/* OpenMP's standard calls, of the runtime that oneDNN uses (see tensor/pool.c). */
void omp_set_num_threads(int threads);
int omp_get_max_threads(void);

typedef struct matmul {
    tomo_product product;
    dnnl_primitive_t primitive;
    dnnl_memory_t x, w, y;
} matmul;

struct tomo_gemm_rate {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    int threads, count;
    char implementation[64];
    matmul *list;
};

static dnnl_memory_t new_memory(const tomo_gemm_rate *r, const dnnl_memory_desc_t *desc) {
    dnnl_memory_t memory = NULL;
    void *data = NULL;
    if (dnnl_memory_create(&memory, desc, r->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success) return NULL;
    /* Small numbers in either type: the time of a product does not depend on them, but denormals' would. */
    if (dnnl_memory_get_data_handle(memory, &data) == dnnl_success)
        memset(data, 0x3c, dnnl_memory_desc_get_size(desc));
    return memory;
}

static bool describe(const tomo_product *p, dnnl_matmul_desc_t *desc) {
    /* oneDNN's parameters are arrays of all dimensions it knows, of which it reads the first two. */
    dnnl_dims_t x_dims = {p->m, p->k}, w_dims = {p->k, p->n}, y_dims = {p->m, p->n};
    dnnl_memory_desc_t x, w, y;
    return dnnl_memory_desc_init_by_tag(&x, 2, x_dims, dnnl_bf16, dnnl_ab) == dnnl_success &&
           dnnl_memory_desc_init_by_tag(&w, 2, w_dims, dnnl_bf16, dnnl_format_tag_any) == dnnl_success &&
           dnnl_memory_desc_init_by_tag(&y, 2, y_dims, dnnl_f32, dnnl_ab) == dnnl_success &&
           dnnl_matmul_desc_init(desc, &x, &w, NULL, &y) == dnnl_success;
}

static bool build(tomo_gemm_rate *r, matmul *m) {
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd = NULL;
    const char *name = "";
    if (!describe(&m->product, &desc) ||
        dnnl_primitive_desc_create(&pd, &desc, NULL, r->engine, NULL) != dnnl_success) {
        return false;
    }
    (void)dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, (void *)&name);
    (void)strncpy(r->implementation, name, sizeof r->implementation - 1);
    bool built = strncmp(name, "ref", 3) != 0 && dnnl_primitive_create(&m->primitive, pd) == dnnl_success;
    if (built) {
        m->x = new_memory(r, dnnl_primitive_desc_query_md(pd, dnnl_query_src_md, 0));
        m->w = new_memory(r, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0));
        m->y = new_memory(r, dnnl_primitive_desc_query_md(pd, dnnl_query_dst_md, 0));
    }
    (void)dnnl_primitive_desc_destroy(pd);
    return built && m->x != NULL && m->w != NULL && m->y != NULL;
}

tomo_status tomo_gemm_rate_create(const tomo_product *products, int count, int threads, tomo_gemm_rate **rate,
                                  tomo_error *err) {
    *rate = NULL;
    tomo_gemm_rate *r = calloc(1, sizeof *r);
    if (r != NULL) r->list = calloc((size_t)count, sizeof *r->list);
    if (r == NULL || r->list == NULL) {
        free(r);
        return tomo_fail_memory(err, "bench", sizeof *r);
    }
    int host = omp_get_max_threads();
    r->threads = threads;
    omp_set_num_threads(threads); /* the thread count is built into a primitive */
    bool built = dnnl_engine_create(&r->engine, dnnl_cpu, 0) == dnnl_success &&
                 dnnl_stream_create(&r->stream, r->engine, dnnl_stream_default_flags) == dnnl_success;
    for (int i = 0; i < count && built; i++) {
        r->list[i].product = products[i];
        r->count++;
        built = build(r, &r->list[i]);
    }
    omp_set_num_threads(host);
    if (!built) {
        tomo_status status = tomo_fail(err, TOMO_E_UNSUPPORTED,
                                       "bench: oneDNN has no fast BF16 product here (%s)", r->implementation);
        tomo_gemm_rate_free(r);
        return status;
    }
    *rate = r;
    return TOMO_OK;
}

void tomo_gemm_rate_free(tomo_gemm_rate *r) {
    if (r == NULL) return;
    for (int i = 0; i < r->count; i++) {
        matmul *m = &r->list[i];
        if (m->primitive != NULL) (void)dnnl_primitive_destroy(m->primitive);
        if (m->x != NULL) (void)dnnl_memory_destroy(m->x);
        if (m->w != NULL) (void)dnnl_memory_destroy(m->w);
        if (m->y != NULL) (void)dnnl_memory_destroy(m->y);
    }
    if (r->stream != NULL) (void)dnnl_stream_destroy(r->stream);
    if (r->engine != NULL) (void)dnnl_engine_destroy(r->engine);
    free(r->list);
    free(r);
}

double tomo_gemm_rate_measure(tomo_gemm_rate *r) {
    double seconds = 0, operations = 0;
    int host = omp_get_max_threads();
    sigset_t before = tomo_signals_hold(); /* see tomo_gemm_run; OpenMP's new threads hold them too */
    omp_set_num_threads(r->threads);
    for (int i = 0; i < r->count; i++) {
        const matmul *m = &r->list[i];
        const tomo_product *p = &m->product;
        dnnl_exec_arg_t arguments[] = {{DNNL_ARG_SRC, m->x}, {DNNL_ARG_WEIGHTS, m->w}, {DNNL_ARG_DST, m->y}};
        double start = tomo_seconds();
        (void)dnnl_primitive_execute(m->primitive, r->stream, 3, arguments);
        (void)dnnl_stream_wait(r->stream);
        seconds += (tomo_seconds() - start) * (double)p->times;
        operations += 2.0 * (double)p->m * (double)p->n * (double)p->k * (double)p->times;
    }
    omp_set_num_threads(host);
    tomo_signals_release(&before);
    return operations / seconds;
}

const char *tomo_gemm_rate_implementation(const tomo_gemm_rate *r) {
    return r->implementation;
}
