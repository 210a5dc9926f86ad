#include "fusion/frequency.h"

#include "tensor/gemm.h"
#include "tensor/tape.h"

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
    float *scratch;          /* a worker: planes of [F, d] */
    float *out;
    float *sum; /* [K, h, w, d]: out is added to it; or NULL */
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

/* turn [S, 2]: cosine and sine of the S-th parts of a turn. */
static void fill_slice_axis(filter_job *job, const int64_t *runs, double *turn) {
    double scale = 1.0 / sqrt((double)job->S);
    for (int64_t s = 0; s < job->S; s++) {
        turn[2 * s] = cos(TWO_PI * (double)s / (double)job->S);
        turn[2 * s + 1] = sin(TWO_PI * (double)s / (double)job->S);
    }
    for (int64_t f = 0; f < job->F; f++) {
        double c = f == 0 || 2 * f == job->S ? 1.0 : 2.0;
        for (int64_t k = 0, s = 0; k < job->K; k++) {
            double re = 0, im = 0;
            for (int64_t end = s + runs[k]; s < end; s++) {
                const double *at = turn + f * s % job->S * 2;
                re += at[0] * scale;
                im -= at[1] * scale;
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

/* Between which of the filter's bins frequency f of the scan lies, in float32 as PyTorch has it. */
typedef struct bin_place {
    int64_t low, high;
    float t;
} bin_place;

static bin_place place_in_bins(const filter_job *job, int64_t f) {
    float at = (float)f / (float)job->S / 0.5f * (float)(job->bins - 1);
    bin_place p = {.low = (int64_t)floorf(at)};
    if (p.low > job->bins - 1) p.low = job->bins - 1;
    p.high = p.low + 1 < job->bins ? p.low + 1 : job->bins - 1;
    p.t = at - (float)p.low;
    return p;
}

/* Multiplies the spectrum y [F, d] of one in-plane frequency by the filter [bins, d] there, interpolated. */
static void apply_filter(const filter_job *job, int64_t cell, plane_pair y) {
    const float *real = job->real + cell * job->bins * job->d, *imag = job->imag + cell * job->bins * job->d;
    for (int64_t f = 0; f < job->F; f++) {
        bin_place p = place_in_bins(job, f);
        float *re = y.re + f * job->d, *im = y.im + f * job->d;
        for (int64_t i = 0; i < job->d; i++) {
            float a = real[p.low * job->d + i] * (1 - p.t) + real[p.high * job->d + i] * p.t;
            float b = imag[p.low * job->d + i] * (1 - p.t) + imag[p.high * job->d + i] * p.t;
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
    if (job->sum != NULL)
        job->kernels->add(job->sum + k * slice, job->sum + k * slice, job->out + k * slice, slice);
}

static filter_job describe(const tomo_exec *exec, const tomo_tensor *x, const tomo_tensor *real,
                           const tomo_tensor *imag) {
    return (filter_job){.kernels = exec->kernels,
                        .K = x->shape[0],
                        .h = x->shape[1],
                        .w = x->shape[2],
                        .d = x->shape[3],
                        .bins = real->shape[2],
                        .x = tomo_tensor_f32(x),
                        .real = tomo_tensor_f32(real),
                        .imag = tomo_tensor_f32(imag)};
}

/* Matrices and buffers, with `scratch_planes` x [F, d] a worker; false after a failure. */
static bool prepare(tomo_exec *exec, filter_job *job, const int64_t *runs, int64_t scratch_planes) {
    for (int64_t k = 0; k < job->K; k++) job->S += runs[k];
    job->F = job->S / 2 + 1;
    int64_t count = job->K * job->h * job->w * job->d;
    job->across = new_planes(exec, job->w * job->w);
    job->down = new_planes(exec, job->h * job->h);
    job->rows = new_planes(exec, job->F * job->K);
    job->back = new_planes(exec, job->F * job->K);
    job->u = new_planes(exec, count);
    job->v = new_planes(exec, count);
    job->scratch = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * scratch_planes * job->F * job->d,
                                   sizeof(float));
    double *turn = tomo_exec_alloc(exec, 2 * job->S, sizeof *turn);
    if (job->scratch == NULL || turn == NULL) return false;
    fill_dft(job->across, job->w);
    fill_dft(job->down, job->h);
    fill_slice_axis(job, runs, turn);
    return true;
}

static void report(tomo_exec *exec, const filter_job *job) {
    if (!atomic_load(&job->failed)) return;
    (void)tomo_fail(&exec->error, TOMO_E_MEMORY, "out of memory: frequency filter of %lld slices",
                    (long long)job->K);
}

/* ------------------------------------------------------------------------- backward */

/* For a complex linear map w = M v the gradient goes back by M's conjugate transpose (gradients as (d/dRe) +
 * i (d/dIm)). With g the forward in-plane transform of the upstream gradient: g_y = B^H g,  d filter +=
 * conj(y) g_y,  g_v = A^H (conj(filter) g_y),  dx += Re(in-plane transform back of g_v), where y = A v is
 * computed again from x. */
typedef struct filter_gradient {
    filter_job job;       /* of the forward pass: u and v hold the spectra of x, then those of g */
    plane_pair rows_back; /* B^H [F, K] */
    plane_pair back_rows; /* A^H [K, F] */
    plane_pair g;         /* [K, h, w, d] */
    float *real_grad, *imag_grad;
} filter_gradient;

/* y [F, d] and its gradient g: the filter's gradient is added, and g becomes that of y before the filter. */
static void filter_backward(const filter_gradient *b, int64_t cell, plane_pair y, plane_pair g) {
    const filter_job *job = &b->job;
    int64_t d = job->d, start = cell * job->bins * d;
    for (int64_t f = 0; f < job->F; f++) {
        bin_place p = place_in_bins(job, f);
        for (int64_t i = 0; i < d; i++) {
            int64_t at = f * d + i, low = start + p.low * d + i, high = start + p.high * d + i;
            float dre = y.re[at] * g.re[at] + y.im[at] * g.im[at],
                  dim = y.re[at] * g.im[at] - y.im[at] * g.re[at];
            if (b->real_grad != NULL) {
                b->real_grad[low] += (1 - p.t) * dre;
                b->real_grad[high] += p.t * dre;
            }
            if (b->imag_grad != NULL) {
                b->imag_grad[low] += (1 - p.t) * dim;
                b->imag_grad[high] += p.t * dim;
            }
            float re = job->real[low] * (1 - p.t) + job->real[high] * p.t;
            float im = job->imag[low] * (1 - p.t) + job->imag[high] * p.t;
            float r = g.re[at] * re + g.im[at] * im;
            g.im[at] = g.im[at] * re - g.re[at] * im;
            g.re[at] = r;
        }
    }
}

static void cell_backward(void *argument, int64_t cell, int worker) {
    filter_gradient *b = argument;
    filter_job *job = &b->job;
    int64_t stride = job->h * job->w * job->d, size = job->F * job->d, at = cell * job->d;
    float *scratch = job->scratch + worker * 4 * size;
    plane_pair y = {scratch, scratch + size}, g = {scratch + 2 * size, scratch + 3 * size};
    bool done =
        complex_gemm(job->F, job->d, job->K, job->rows, false, offset(job->v, at), stride, y, job->d) &&
        complex_gemm(job->F, job->d, job->K, b->rows_back, false, offset(b->g, at), stride, g, job->d);
    if (done) {
        filter_backward(b, cell, y, g);
        done =
            complex_gemm(job->K, job->d, job->F, b->back_rows, false, g, job->d, offset(job->u, at), stride);
    }
    if (!done) atomic_store(&job->failed, true);
}

/* to [m, n] = conjugate transpose of from [n, m] */
static void conjugate_transpose(plane_pair from, int64_t n, int64_t m, plane_pair to) {
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < m; j++) {
            to.re[j * n + i] = from.re[i * m + j];
            to.im[j * n + i] = -from.im[i * m + j];
        }
    }
}

static void frequency_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0], *real = &node->inputs[1], *imag = &node->inputs[2];
    int64_t count = tomo_tensor_count(x);
    filter_gradient b = {.real_grad = real->grad, .imag_grad = imag->grad};
    filter_job *job = &b.job;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    *job = describe(exec, x, real, imag);
    bool ready = prepare(exec, job, *(const int64_t *const *)node->attributes, 4);
    b.rows_back = new_planes(exec, job->F * job->K);
    b.back_rows = new_planes(exec, job->F * job->K);
    b.g = new_planes(exec, count);
    job->out = tomo_exec_alloc(exec, count, sizeof(float));
    if (!ready || job->out == NULL) return;
    conjugate_transpose(job->back, job->K, job->F, b.rows_back);
    conjugate_transpose(job->rows, job->F, job->K, b.back_rows);
    plane_pair spectra = job->v;
    job->x = node->output.grad;
    job->v = b.g;
    tomo_gemm_run(exec->pool, job->K, slice_forward, job);
    job->x = tomo_tensor_f32(x);
    job->v = spectra;
    tomo_gemm_run(exec->pool, job->K, slice_forward, job);
    tomo_gemm_run(exec->pool, job->h * job->w, cell_backward, &b);
    job->sum = x->grad;
    tomo_gemm_run(exec->pool, job->K, slice_back, job);
    tomo_arena_rewind(exec->arena, mark);
    report(exec, job);
}

/* -------------------------------------------------------------------------- forward */

tomo_tensor *tomo_op_frequency_filter(tomo_exec *exec, const tomo_tensor *x, const int64_t *runs,
                                      const tomo_tensor *real, const tomo_tensor *imag) {
    if (x == NULL || exec->error.status != TOMO_OK) return NULL;
    assert(x->rank == 4 && tomo_tensor_is_contiguous(x) && real->shape[0] == x->shape[1]);
    tomo_tensor *out = tomo_exec_tensor(exec, 4, x->shape);
    if (out == NULL) return NULL;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    filter_job job = describe(exec, x, real, imag);
    job.out = tomo_tensor_f32(out);
    if (!prepare(exec, &job, runs, 2)) return NULL;
    tomo_gemm_run(exec->pool, job.K, slice_forward, &job);
    tomo_gemm_run(exec->pool, job.h * job.w, cell_filter, &job);
    tomo_gemm_run(exec->pool, job.K, slice_back, &job);
    tomo_arena_rewind(exec->arena, mark);
    report(exec, &job);
    const tomo_tensor *inputs[] = {x, real, imag};
    tomo_tape_record(exec, frequency_backward, out, inputs, 3, &runs, sizeof(const int64_t *));
    return exec->error.status == TOMO_OK ? out : NULL;
}
