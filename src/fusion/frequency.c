#include "fusion/frequency.h"

#include "tensor/gemm.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>

#define TWO_PI 6.283185307179586476925

/* A complex matrix as two planes, row-major. */
typedef struct plane_pair {
    float *re, *im;
} plane_pair;

typedef struct filter_job {
    const tomo_kernels *kernels;
    int64_t K, h, w, d, S, F, bins;
    const float *x;
    const float *real, *imag;
    plane_pair across, down; /* orthonormal DFT matrices [w, w] and [h, h], forward */
    plane_pair rows;         /* A [F, K] */
    plane_pair back;         /* c_f conj(A[f, k]) / run_k, [K, F] */
    plane_pair u, v;         /* spectra [K, h, w, d] */
    float *scratch;          /* a worker: 4 x [F, d] */
    float *out;
    atomic_bool failed;
} filter_job;

static plane_pair new_planes(tomo_exec *exec, int64_t count) {
    plane_pair p;
    p.re = tomo_exec_alloc(exec, count, sizeof(float));
    p.im = tomo_exec_alloc(exec, count, sizeof(float));
    return p;
}

/* exp(-2 pi i a b / n) / sqrt(n); the angle is reduced in whole numbers, so it is exact. */
static void fill_dft(plane_pair m, int64_t n) {
    for (int64_t a = 0; a < n; a++) {
        for (int64_t b = 0; b < n; b++) {
            double angle = TWO_PI * (double)(a * b % n) / (double)n;
            m.re[a * n + b] = (float)(cos(angle) / sqrt((double)n));
            m.im[a * n + b] = (float)(-sin(angle) / sqrt((double)n));
        }
    }
}

static void fill_slice_axis(filter_job *job, const int64_t *runs) {
    double scale = 1.0 / sqrt((double)job->S);
    for (int64_t f = 0; f < job->F; f++) {
        double c = f == 0 || 2 * f == job->S ? 1.0 : 2.0;
        for (int64_t k = 0, s = 0; k < job->K; k++) {
            double re = 0, im = 0;
            for (int64_t end = s + runs[k]; s < end; s++) {
                double angle = TWO_PI * (double)(f * s % job->S) / (double)job->S;
                re += cos(angle) * scale;
                im -= sin(angle) * scale;
            }
            job->rows.re[f * job->K + k] = (float)re;
            job->rows.im[f * job->K + k] = (float)im;
            job->back.re[k * job->F + f] = (float)(c * re / (double)runs[k]);
            job->back.im[k * job->F + f] = (float)(-c * im / (double)runs[k]);
        }
    }
}

static bool gemm(int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t a_stride,
                 const float *b, int64_t b_stride, float beta, float *c, int64_t c_stride) {
    return tomo_sgemm(false, m, n, k, alpha, a, a_stride, b, b_stride, beta, c, c_stride);
}

/* out = a b for complex matrices; conjugated: a's imaginary part counts negative. */
static bool complex_gemm(int64_t m, int64_t n, int64_t k, plane_pair a, bool conjugated, plane_pair b,
                         int64_t b_stride, plane_pair out, int64_t out_stride) {
    float sign = conjugated ? -1.0f : 1.0f;
    return gemm(m, n, k, 1, a.re, k, b.re, b_stride, 0, out.re, out_stride) &&
           gemm(m, n, k, -sign, a.im, k, b.im, b_stride, 1, out.re, out_stride) &&
           gemm(m, n, k, 1, a.re, k, b.im, b_stride, 0, out.im, out_stride) &&
           gemm(m, n, k, sign, a.im, k, b.re, b_stride, 1, out.im, out_stride);
}

static plane_pair offset(plane_pair p, int64_t by) {
    return (plane_pair){p.re + by, p.im + by};
}

/* In-plane forward transform of one slice: x [h, w, d] real -> u -> v. */
static void slice_forward(void *argument, int64_t k, int worker) {
    (void)worker;
    filter_job *job = argument;
    int64_t row = job->w * job->d, slice = job->h * row;
    bool done = true;
    for (int64_t y = 0; y < job->h && done; y++) {
        const float *x = job->x + k * slice + y * row;
        plane_pair u = offset(job->u, k * slice + y * row);
        done = gemm(job->w, job->d, job->w, 1, job->across.re, job->w, x, job->d, 0, u.re, job->d) &&
               gemm(job->w, job->d, job->w, 1, job->across.im, job->w, x, job->d, 0, u.im, job->d);
    }
    done = done && complex_gemm(job->h, row, job->h, job->down, false, offset(job->u, k * slice), row,
                                offset(job->v, k * slice), row);
    if (!done) atomic_store(&job->failed, true);
}

/* Multiplies the spectrum y [F, d] of one in-plane frequency by the filter [bins, d] there, interpolated. */
static void apply_filter(const filter_job *job, int64_t cell, plane_pair y) {
    const float *real = job->real + cell * job->bins * job->d, *imag = job->imag + cell * job->bins * job->d;
    for (int64_t f = 0; f < job->F; f++) {
        float at = (float)f / (float)job->S / 0.5f * (float)(job->bins - 1);
        int64_t low = (int64_t)floorf(at);
        if (low > job->bins - 1) low = job->bins - 1;
        int64_t high = low + 1 < job->bins ? low + 1 : job->bins - 1;
        float t = at - (float)low;
        float *re = y.re + f * job->d, *im = y.im + f * job->d;
        for (int64_t i = 0; i < job->d; i++) {
            float a = real[low * job->d + i] * (1 - t) + real[high * job->d + i] * t;
            float b = imag[low * job->d + i] * (1 - t) + imag[high * job->d + i] * t;
            float r = re[i] * a - im[i] * b;
            im[i] = re[i] * b + im[i] * a;
            re[i] = r;
        }
    }
}

/* Inter-slice transform, filter and transform back of one in-plane frequency: v [K, d] -> u [K, d]. */
static void cell_filter(void *argument, int64_t cell, int worker) {
    filter_job *job = argument;
    int64_t stride = job->h * job->w * job->d, size = job->F * job->d;
    float *scratch = job->scratch + worker * 2 * size;
    plane_pair y = {scratch, scratch + size};
    bool done = complex_gemm(job->F, job->d, job->K, job->rows, false, offset(job->v, cell * job->d), stride,
                             y, job->d);
    if (done) {
        apply_filter(job, cell, y);
        done = complex_gemm(job->K, job->d, job->F, job->back, false, y, job->d,
                            offset(job->u, cell * job->d), stride);
    }
    if (!done) atomic_store(&job->failed, true);
}

/* In-plane transform back of one slice, of which only the real part is wanted: u -> v -> out [h, w, d]. */
static void slice_back(void *argument, int64_t k, int worker) {
    (void)worker;
    filter_job *job = argument;
    int64_t row = job->w * job->d, slice = job->h * row;
    bool done = complex_gemm(job->h, row, job->h, job->down, true, offset(job->u, k * slice), row,
                             offset(job->v, k * slice), row);
    for (int64_t y = 0; y < job->h && done; y++) {
        plane_pair v = offset(job->v, k * slice + y * row);
        float *out = job->out + k * slice + y * row;
        done = gemm(job->w, job->d, job->w, 1, job->across.re, job->w, v.re, job->d, 0, out, job->d) &&
               gemm(job->w, job->d, job->w, 1, job->across.im, job->w, v.im, job->d, 1, out, job->d);
    }
    if (!done) atomic_store(&job->failed, true);
}

tomo_tensor *tomo_op_frequency_filter(tomo_exec *exec, const tomo_tensor *x, const int64_t *runs,
                                      const tomo_tensor *real, const tomo_tensor *imag) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(x->rank == 4 && tomo_tensor_is_contiguous(x) && real->shape[0] == x->shape[1]);
    tomo_tensor *out = tomo_exec_tensor(exec, 4, x->shape);
    if (out == NULL) return NULL;
    filter_job job = {.kernels = exec->kernels,
                      .K = x->shape[0],
                      .h = x->shape[1],
                      .w = x->shape[2],
                      .d = x->shape[3],
                      .bins = real->shape[2],
                      .x = tomo_tensor_f32(x),
                      .real = tomo_tensor_f32(real),
                      .imag = tomo_tensor_f32(imag),
                      .out = tomo_tensor_f32(out)};
    for (int64_t k = 0; k < job.K; k++) job.S += runs[k];
    job.F = job.S / 2 + 1;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    int64_t count = tomo_tensor_count(x);
    job.across = new_planes(exec, job.w * job.w);
    job.down = new_planes(exec, job.h * job.h);
    job.rows = new_planes(exec, job.F * job.K);
    job.back = new_planes(exec, job.F * job.K);
    job.u = new_planes(exec, count);
    job.v = new_planes(exec, count);
    job.scratch = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * 2 * job.F * job.d, sizeof(float));
    if (job.scratch == NULL) return NULL;
    fill_dft(job.across, job.w);
    fill_dft(job.down, job.h);
    fill_slice_axis(&job, runs);
    tomo_pool_run(exec->pool, job.K, slice_forward, &job);
    tomo_pool_run(exec->pool, job.h * job.w, cell_filter, &job);
    tomo_pool_run(exec->pool, job.K, slice_back, &job);
    tomo_arena_rewind(exec->arena, mark);
    if (atomic_load(&job.failed)) {
        (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: frequency filter of %lld slices",
                        (long long)job.K);
        return NULL;
    }
    return out;
}
