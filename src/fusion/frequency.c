#include "fusion/frequency.h"

#include "base/size.h"
#include "tensor/gemm.h"
#include "tensor/tape.h"

#include <assert.h>
#include <math.h>
#include <stdatomic.h>

#define TWO_PI 6.283185307179586476925

/* Columns that the inter-slice transform takes at a time: few enough for a core's cache. */
#define COLUMNS_MOST 1024

/* The inter-slice transform there and back as real matrices, so that each way is one product a part. */
typedef struct slice_axis {
    float *there;             /* [2 F, K]: real parts, then imaginary ones */
    float *back_re, *back_im; /* [K, 2 F]: what they are multiplied with is stacked in the same way */
} slice_axis;

/* Spectra lie as [K, h, 2, w, d]: the real parts of a row of cells, then its imaginary ones. */
typedef struct filter_job {
    const tomo_kernels *kernels;
    int64_t K, h, w, d, S, F, bins;
    int64_t cells, chunks; /* of a row of cells: how many are filtered at once, and how often */
    const float *x;
    const float *real, *imag;
    float *down;   /* [2 h, h], rows (frequency, part): orthonormal DFT along h of real values */
    float *across; /* [2 w, 2 w], both (part, frequency or place): the same along w of complex ones */
    const slice_axis *axis;
    float *spectra;
    float *scratch; /* scratch_size a worker */
    int64_t scratch_size;
    float *out;
    bool accumulate; /* onto what out holds */
    atomic_bool failed;
} filter_job;

/* exp(-2 pi i a b / n) / sqrt(n), real or imaginary part; the angle is reduced in whole numbers, so it is
 * exact. */
static float dft(int64_t a, int64_t b, int64_t n, bool imaginary) {
    double angle = TWO_PI * (double)(a * b % n) / (double)n;
    return (float)((imaginary ? -sin(angle) : cos(angle)) / sqrt((double)n));
}

static void fill_in_plane(const filter_job *job) {
    int64_t h = job->h, w = job->w;
    for (int64_t a = 0; a < h; a++) {
        for (int64_t b = 0; b < h; b++) {
            job->down[2 * a * h + b] = dft(a, b, h, false);
            job->down[(2 * a + 1) * h + b] = dft(a, b, h, true);
        }
    }
    for (int64_t a = 0; a < w; a++) {
        for (int64_t b = 0; b < w; b++) {
            float re = dft(a, b, w, false), im = dft(a, b, w, true);
            job->across[a * 2 * w + b] = job->across[(w + a) * 2 * w + w + b] = re;
            job->across[(w + a) * 2 * w + b] = im;
            job->across[a * 2 * w + w + b] = -im;
        }
    }
}

/* A is the way there and B[k, f] = c_f conj(A[f, k]) / run_k the way back; of the adjoint, B^H is the way
 * there and A^H the way back. turn [S, 2]: cosine and sine of the S-th parts of a turn. */
static void fill_slice_axis(const filter_job *job, const int64_t *runs, const double *turn, bool adjoint,
                            slice_axis *axis) {
    int64_t K = job->K, F = job->F;
    double root = 1.0 / sqrt((double)job->S);
    for (int64_t f = 0; f < F; f++) {
        double c = f == 0 || 2 * f == job->S ? 1.0 : 2.0;
        for (int64_t k = 0, s = 0; k < K; k++) {
            double re = 0, im = 0, weight = c / (double)runs[k];
            for (int64_t end = s + runs[k]; s < end; s++) {
                const double *at = turn + f * s % job->S * 2;
                re += at[0] * root;
                im -= at[1] * root;
            }
            double there = adjoint ? weight : 1, back = adjoint ? 1 : weight;
            axis->there[f * K + k] = (float)(there * re);
            axis->there[(F + f) * K + k] = (float)(there * im);
            /* (re - i im) (y + i z) = re y + im z + i (re z - im y) */
            axis->back_re[k * 2 * F + f] = axis->back_im[k * 2 * F + F + f] = (float)(back * re);
            axis->back_re[k * 2 * F + F + f] = (float)(back * im);
            axis->back_im[k * 2 * F + f] = (float)(-back * im);
        }
    }
}

static int64_t row_size(const filter_job *job) {
    return 2 * job->w * job->d;
}

static bool gemm(int64_t m, int64_t n, int64_t k, const float *a, const float *b, int64_t b_stride, float *c,
                 int64_t c_stride) {
    return tomo_sgemm(false, m, n, k, 1, a, k, b, b_stride, 0, c, c_stride);
}

/* In-plane transform of one slice: x [h, w, d] -> spectra [h, 2, w, d]. */
static void slice_forward(void *argument, int64_t k, int worker) {
    filter_job *job = argument;
    int64_t row = row_size(job), d = job->d;
    float *half = job->scratch + worker * job->scratch_size, *to = job->spectra + k * job->h * row;
    bool done =
        gemm(2 * job->h, row / 2, job->h, job->down, job->x + k * job->h * row / 2, row / 2, half, row / 2);
    for (int64_t y = 0; y < job->h && done; y++)
        done = gemm(2 * job->w, d, 2 * job->w, job->across, half + y * row, d, to + y * row, d);
    if (!done) atomic_store(&job->failed, true);
}

/* The way back of one slice, of which only the real part is wanted: spectra -> out [h, w, d]. The matrices
 * are orthogonal, so it is by their transposes. */
static void slice_back(void *argument, int64_t k, int worker) {
    filter_job *job = argument;
    int64_t row = row_size(job), d = job->d, w = 2 * job->w, h = 2 * job->h;
    float *half = job->scratch + worker * job->scratch_size, *from = job->spectra + k * job->h * row;
    bool done = true;
    for (int64_t y = 0; y < job->h && done; y++)
        done = tomo_sgemm_transposed(w, d, w, 1, job->across, w, from + y * row, d, 0, half + y * row, d);
    done = done && tomo_sgemm_transposed(job->h, row / 2, h, 1, job->down, job->h, half, row / 2,
                                         job->accumulate ? 1 : 0, job->out + k * job->h * row / 2, row / 2);
    if (!done) atomic_store(&job->failed, true);
}

/* Some neighbouring cells of a row, of all slices. */
typedef struct cell_block {
    int64_t first, count; /* cells, counted over the plane */
    int64_t columns;      /* count d */
    int64_t start;        /* of their real parts in a slice's spectra; the imaginary ones are w d behind */
} cell_block;

static cell_block find_block(const filter_job *job, int64_t block) {
    int64_t y = block / job->chunks, x = block % job->chunks * job->cells;
    cell_block b = {.first = y * job->w + x, .start = y * row_size(job) + x * job->d};
    b.count = x + job->cells < job->w ? job->cells : job->w - x;
    b.columns = b.count * job->d;
    return b;
}

/* Inter-slice transform of some cells of `spectra` -> y [2 F, columns]; y has room for twice that. */
static bool block_forward(const filter_job *job, const slice_axis *axis, const float *spectra, cell_block b,
                          float *y) {
    int64_t n = b.columns, F = job->F, stride = job->h * row_size(job), half = 2 * F * n;
    float *z = y + half; /* of the imaginary parts */
    if (!gemm(2 * F, n, job->K, axis->there, spectra + b.start, stride, y, n) ||
        !gemm(2 * F, n, job->K, axis->there, spectra + b.start + row_size(job) / 2, stride, z, n))
        return false;
    job->kernels->add_scaled(y, -1, z + F * n, F * n);
    job->kernels->add(y + F * n, y + F * n, z, F * n);
    return true;
}

/* And back: y [2 F, columns] -> those cells of `spectra`. */
static bool block_back(const filter_job *job, const slice_axis *axis, const float *y, cell_block b,
                       float *spectra) {
    int64_t n = b.columns, stride = job->h * row_size(job);
    return gemm(job->K, n, 2 * job->F, axis->back_re, y, n, spectra + b.start, stride) &&
           gemm(job->K, n, 2 * job->F, axis->back_im, y, n, spectra + b.start + row_size(job) / 2, stride);
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

/* Multiplies the spectrum y [2 F, columns] of some cells by the filter [bins, d] of each, interpolated. */
static void apply_filter(const filter_job *job, cell_block b, float *y) {
    int64_t d = job->d, imaginary = job->F * b.columns;
    for (int64_t f = 0; f < job->F; f++) {
        bin_place p = place_in_bins(job, f);
        for (int64_t c = 0; c < b.count; c++) {
            const float *real = job->real + (b.first + c) * job->bins * d,
                        *imag = job->imag + (b.first + c) * job->bins * d;
            float *re = y + f * b.columns + c * d, *im = re + imaginary;
            for (int64_t i = 0; i < d; i++) {
                float u = real[p.low * d + i] * (1 - p.t) + real[p.high * d + i] * p.t;
                float v = imag[p.low * d + i] * (1 - p.t) + imag[p.high * d + i] * p.t;
                float r = re[i] * u - im[i] * v;
                im[i] = re[i] * v + im[i] * u;
                re[i] = r;
            }
        }
    }
}

/* Inter-slice transform, filter and transform back of some cells, in place. */
static void block_filter(void *argument, int64_t block, int worker) {
    filter_job *job = argument;
    cell_block b = find_block(job, block);
    float *y = job->scratch + worker * job->scratch_size;
    bool done = block_forward(job, job->axis, job->spectra, b, y);
    if (done) {
        apply_filter(job, b, y);
        done = block_back(job, job->axis, y, b, job->spectra);
    }
    if (!done) atomic_store(&job->failed, true);
}

static filter_job describe(const tomo_exec *exec, const tomo_tensor *x, const int64_t *runs,
                           const tomo_tensor *real, const tomo_tensor *imag) {
    filter_job job = {.kernels = exec->kernels,
                      .K = x->shape[0],
                      .h = x->shape[1],
                      .w = x->shape[2],
                      .d = x->shape[3],
                      .bins = real->shape[2],
                      .x = tomo_tensor_f32(x),
                      .real = tomo_tensor_f32(real),
                      .imag = tomo_tensor_f32(imag)};
    for (int64_t k = 0; k < job.K; k++) job.S += runs[k];
    job.F = job.S / 2 + 1;
    job.cells = COLUMNS_MOST / job.d;
    if (job.cells < 1) job.cells = 1;
    if (job.cells > job.w) job.cells = job.w;
    job.chunks = tomo_pieces(job.w, job.cells);
    return job;
}

/* An axis or NULL, after a failure. */
static slice_axis *make_axis(tomo_exec *exec, const filter_job *job, const int64_t *runs, bool adjoint) {
    slice_axis *axis = tomo_exec_alloc(exec, 1, sizeof *axis);
    double *turn = tomo_exec_alloc(exec, 2 * job->S, sizeof *turn);
    float *all = tomo_exec_alloc(exec, 6 * job->F * job->K, sizeof *all);
    if (axis == NULL || turn == NULL || all == NULL) return NULL;
    for (int64_t s = 0; s < job->S; s++) {
        turn[2 * s] = cos(TWO_PI * (double)s / (double)job->S);
        turn[2 * s + 1] = sin(TWO_PI * (double)s / (double)job->S);
    }
    *axis = (slice_axis){all, all + 2 * job->F * job->K, all + 4 * job->F * job->K};
    fill_slice_axis(job, runs, turn, adjoint, axis);
    return axis;
}

static float *new_spectra(tomo_exec *exec, const filter_job *job) {
    return tomo_exec_alloc(exec, job->K * job->h * row_size(job), sizeof(float));
}

/* Matrices and buffers, with room for `spectra` x [2 F, columns] a worker; false after a failure. */
static bool prepare(tomo_exec *exec, filter_job *job, const int64_t *runs, int64_t spectra) {
    int64_t slice = job->h * row_size(job), blocks = spectra * 2 * job->F * job->cells * job->d;
    job->down = tomo_exec_alloc(exec, 2 * job->h * job->h, sizeof(float));
    job->across = tomo_exec_alloc(exec, 4 * job->w * job->w, sizeof(float));
    job->axis = make_axis(exec, job, runs, false);
    job->spectra = new_spectra(exec, job);
    job->scratch_size = slice > blocks ? slice : blocks;
    job->scratch = tomo_exec_alloc(exec, tomo_pool_threads(exec->pool) * job->scratch_size, sizeof(float));
    if (job->down == NULL || job->across == NULL || job->scratch == NULL) return false;
    fill_in_plane(job);
    return exec->error.status == TOMO_OK;
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
    filter_job job; /* of the forward pass, with the spectra of x */
    const slice_axis *adjoint;
    float *spectra; /* of the gradient */
    float *real_grad, *imag_grad;
} filter_gradient;

/* One row of d channels, with the filter's bins `low` and `high` there: adds to the filter's gradient, and
 * makes g that of y before the filter. */
static void row_backward(const filter_gradient *b, bin_place p, int64_t start, const float *y_re,
                         const float *y_im, float *g_re, float *g_im) {
    const filter_job *job = &b->job;
    int64_t d = job->d, low = start + p.low * d, high = start + p.high * d;
    for (int64_t i = 0; i < d && b->real_grad != NULL; i++) {
        float dre = y_re[i] * g_re[i] + y_im[i] * g_im[i];
        b->real_grad[low + i] += (1 - p.t) * dre;
        b->real_grad[high + i] += p.t * dre;
    }
    for (int64_t i = 0; i < d && b->imag_grad != NULL; i++) {
        float dim = y_re[i] * g_im[i] - y_im[i] * g_re[i];
        b->imag_grad[low + i] += (1 - p.t) * dim;
        b->imag_grad[high + i] += p.t * dim;
    }
    for (int64_t i = 0; i < d; i++) {
        float re = job->real[low + i] * (1 - p.t) + job->real[high + i] * p.t;
        float im = job->imag[low + i] * (1 - p.t) + job->imag[high + i] * p.t;
        float r = g_re[i] * re + g_im[i] * im;
        g_im[i] = g_im[i] * re - g_re[i] * im;
        g_re[i] = r;
    }
}

static void block_backward(void *argument, int64_t block, int worker) {
    filter_gradient *g = argument;
    filter_job *job = &g->job;
    cell_block b = find_block(job, block);
    int64_t d = job->d, n = b.columns, imaginary = job->F * n;
    float *y = job->scratch + worker * job->scratch_size, *dy = y + 2 * imaginary;
    /* The second half of y's room is free again when dy's is filled. */
    bool done = block_forward(job, job->axis, job->spectra, b, y) &&
                block_forward(job, g->adjoint, g->spectra, b, dy);
    for (int64_t f = 0; f < job->F && done; f++) {
        bin_place p = place_in_bins(job, f);
        for (int64_t c = 0; c < b.count; c++) {
            int64_t at = f * n + c * d, start = (b.first + c) * job->bins * d;
            row_backward(g, p, start, y + at, y + imaginary + at, dy + at, dy + imaginary + at);
        }
    }
    done = done && block_back(job, g->adjoint, dy, b, g->spectra);
    if (!done) atomic_store(&job->failed, true);
}

static void frequency_backward(tomo_exec *exec, const tomo_node *node) {
    const tomo_tensor *x = &node->inputs[0], *real = &node->inputs[1], *imag = &node->inputs[2];
    const int64_t *runs = *(const int64_t *const *)node->attributes;
    filter_gradient g = {.real_grad = real->grad, .imag_grad = imag->grad};
    filter_job *job = &g.job;
    tomo_arena_mark mark = tomo_arena_get_mark(exec->arena);
    *job = describe(exec, x, runs, real, imag);
    bool ready = prepare(exec, job, runs, 3);
    g.adjoint = make_axis(exec, job, runs, true);
    g.spectra = new_spectra(exec, job);
    if (!ready || g.adjoint == NULL || g.spectra == NULL) return;
    tomo_gemm_run(exec->pool, job->K, slice_forward, job);
    float *spectra = job->spectra;
    job->x = node->output.grad;
    job->spectra = g.spectra;
    tomo_gemm_run(exec->pool, job->K, slice_forward, job);
    job->spectra = spectra;
    tomo_gemm_run(exec->pool, job->h * job->chunks, block_backward, &g);
    if (x->grad != NULL) {
        job->spectra = g.spectra;
        job->out = x->grad;
        job->accumulate = true;
        tomo_gemm_run(exec->pool, job->K, slice_back, job);
    }
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
    filter_job job = describe(exec, x, runs, real, imag);
    job.out = tomo_tensor_f32(out);
    if (!prepare(exec, &job, runs, 2)) return NULL;
    tomo_gemm_run(exec->pool, job.K, slice_forward, &job);
    tomo_gemm_run(exec->pool, job.h * job.chunks, block_filter, &job);
    tomo_gemm_run(exec->pool, job.K, slice_back, &job);
    tomo_arena_rewind(exec->arena, mark);
    report(exec, &job);
    const tomo_tensor *inputs[] = {x, real, imag};
    tomo_tape_record(exec, frequency_backward, out, inputs, 3, &runs, sizeof(const int64_t *));
    return exec->error.status == TOMO_OK ? out : NULL;
}
