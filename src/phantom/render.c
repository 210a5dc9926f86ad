#include "phantom/render.h"

#include "phantom/draw.h"
#include "phantom/scene.h"

#include <stdlib.h>
#include <string.h>

/* Partial volume: a voxel is the mean of FINE x FINE x DEEP points. */
enum { FINE = 2, DEEP = 3, FINE_POINTS = FINE * FINE * DEEP };
/* Points between two of the warp's own, which are joined by straight lines. */
enum { WARP_STEP = 8 };

/* What a thread needs to paint a slice. */
typedef struct desk {
    double *x, *y;        /* [rows][columns] fine points in the patient */
    uint8_t *tissue;      /* [rows][columns] */
    uint8_t *inside;      /* [columns] */
    double *hu, *texture; /* [height][width] sums over the fine points */
    double *noise;        /* [height + 2][width + 2] */
    double *warp;         /* [2][warp rows][warp columns] */
    void *memory;
} desk;

typedef struct renderer {
    const tomo_patient *patient;
    const tomo_scene *scene;
    tomo_render *out;
    tomo_tissue_look looks[TOMO_TISSUES];
    int64_t rows, columns, warp_rows, warp_columns;
    double pixel_mm, floor_mm; /* behind floor_mm lies the table, which does not move with the patient */
    double cosine, sine;
    int64_t first;    /* slice of the scan that is painted first */
    uint32_t *counts; /* [slices * DEEP][TOMO_TISSUES] fine points */
    tomo_spot *spots; /* [slices][TOMO_TISSUES], or NULL */
    desk *desks;      /* one a thread */
} renderer;

/* ------------------------------------------------------------------ where points lie */

static double fine_x(const renderer *r, int64_t column) {
    return ((double)column + 0.5 - (double)r->columns / 2) * r->pixel_mm / FINE;
}

static double fine_y(const renderer *r, int64_t row) {
    return ((double)row + 0.5 - (double)r->rows / 2) * r->pixel_mm / FINE + 12; /* room for the table */
}

static double fine_z(const renderer *r, int64_t slice, int deep) {
    double inside = ((double)deep + 0.5) / DEEP - 0.5;
    double place = (double)(r->first + slice) + 0.5 + inside * r->patient->slab;
    return r->patient->bottom_mm + place * r->out->spacing_mm[0];
}

/* The organs of no two people have the same outline: points are moved by a smooth field, across z alone, so
 * that heights stay exact. */
static void make_warp(const renderer *r, const desk *d, double z) {
    int64_t points = r->warp_rows * r->warp_columns;
    for (int64_t k = 0; k < 2 * points; k++) {
        int64_t i = k % points;
        double x = fine_x(r, i % r->warp_columns * WARP_STEP), y = fine_y(r, i / r->warp_columns * WARP_STEP);
        uint64_t seed = r->patient->seed + (uint64_t)(k / points);
        d->warp[k] = r->patient->warp_mm *
                     (tomo_draw_smooth(seed, 58, x, y, z) + 0.35 * tomo_draw_smooth(seed + 2, 21, x, y, z));
    }
}

/* Loops without branches, so that the compiler makes vectors of them; wider ones give the same bits, for each
 * operation is rounded as IEEE 754 has it. */
#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* A row of the patient's points: turned by the pose, and warped. Between two points of the warp's lattice it
 * is a straight line. */
ALWAYS_INLINE void place_row(const renderer *r, const desk *d, int64_t row, double z) {
    const tomo_patient *p = r->patient;
    const double *warp_x = d->warp + row / WARP_STEP * r->warp_columns;
    const double *warp_y = warp_x + r->warp_rows * r->warp_columns;
    const double v = (double)(row % WARP_STEP) / WARP_STEP, mirror = p->mirrored ? -1 : 1;
    const double lean_x = p->lean_x * z, lean_y = p->lean_y * z, cosine = r->cosine, sine = r->sine;
    const double shift_x = p->shift[0], floor_mm = r->floor_mm;
    const double b = fine_y(r, row) - p->shift[1] - lean_y, pixel = r->pixel_mm;
    const double middle = (double)r->columns / 2;
    for (int64_t first = 0; first < r->columns; first += WARP_STEP) {
        const double *n = warp_x + first / WARP_STEP, *f = n + r->warp_columns;
        const double *m = warp_y + first / WARP_STEP, *g = m + r->warp_columns;
        double *x = d->x + row * r->columns + first, *y = d->y + row * r->columns + first;
        const double n0 = n[0], n1 = n[1] - n[0], f0 = f[0], f1 = f[1] - f[0];
        const double m0 = m[0], m1 = m[1] - m[0], g0 = g[0], g1 = g[1] - g[0];
        int count = r->columns - first < WARP_STEP ? (int)(r->columns - first) : WARP_STEP;
        for (int i = 0; i < count; i++) {
            double u = (double)i / WARP_STEP, near = n0 + n1 * u, far = f0 + f1 * u;
            double close = m0 + m1 * u, wide = g0 + g1 * u;
            double a = ((double)((int)first + i) + 0.5 - middle) * pixel / FINE - shift_x - lean_x;
            double at_x = cosine * a + sine * b + (near + (far - near) * v);
            double at_y = cosine * b - sine * a + (close + (wide - close) * v);
            x[i] = mirror * at_x;
            y[i] = at_y > floor_mm ? floor_mm : at_y; /* what the roll turns towards the table is air */
        }
    }
}

ALWAYS_INLINE void place_rows(const renderer *r, const desk *d, double z) {
    for (int64_t row = 0; row < r->rows; row++) {
        if (fine_y(r, row) < r->floor_mm) {
            place_row(r, d, row, z);
            continue;
        }
        for (int64_t column = 0; column < r->columns; column++) {
            d->x[row * r->columns + column] = fine_x(r, column);
            d->y[row * r->columns + column] = fine_y(r, row);
        }
    }
}

#if defined(__x86_64__)
__attribute__((target("avx2"))) static void place_rows_avx2(const renderer *r, const desk *d, double z) {
    place_rows(r, d, z);
}
#endif

static void place_points(const renderer *r, const desk *d, double z) {
    make_warp(r, d, z);
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2")) {
        place_rows_avx2(r, d, z);
        return;
    }
#endif
    place_rows(r, d, z);
}

/* ------------------------------------------------------------------ painting */

typedef struct range {
    int64_t low[2], high[2]; /* x, y: fine points low .. high - 1 */
} range;

static int64_t clamp(double v, int64_t most) {
    return v < 0 ? 0 : v > (double)most ? most : (int64_t)v;
}

/* The points that a cut can reach: its box's corners as the pose turns them, and the warp. */
static range range_of(const renderer *r, const tomo_cut *cut, double z) {
    const tomo_patient *p = r->patient;
    double low[2] = {1e9, 1e9}, high[2] = {-1e9, -1e9}, more = 1.4 * p->warp_mm + 1;
    bool table = cut->shape->low[1] > r->floor_mm; /* neither posed nor warped */
    if (!table && cut->shape->high[1] > r->floor_mm) return (range){{0, 0}, {r->columns, r->rows}}; /* both */
    for (int i = 0; table && i < 2; i++) low[i] = cut->low[i], high[i] = cut->high[i];
    for (int corner = 0; corner < 4 && !table; corner++) {
        double x = (corner & 1) != 0 ? cut->high[0] : cut->low[0];
        double y = (corner & 2) != 0 ? cut->high[1] : cut->low[1];
        if (p->mirrored) x = -x;
        double at[2] = {r->cosine * x - r->sine * y + p->shift[0] + p->lean_x * z,
                        r->sine * x + r->cosine * y + p->shift[1] + p->lean_y * z};
        for (int i = 0; i < 2; i++) {
            low[i] = at[i] < low[i] ? at[i] : low[i];
            high[i] = at[i] > high[i] ? at[i] : high[i];
        }
    }
    double fine = r->pixel_mm / FINE;
    return (range){{clamp((low[0] - more - fine_x(r, 0)) / fine, r->columns),
                    clamp((low[1] - more - fine_y(r, 0)) / fine, r->rows)},
                   {clamp((high[0] + more - fine_x(r, 0)) / fine + 2, r->columns),
                    clamp((high[1] + more - fine_y(r, 0)) / fine + 2, r->rows)}};
}

static void paint_shape(const renderer *r, const desk *d, const tomo_shape *s, double z) {
    tomo_cut cut;
    if (!tomo_cut_make(s, z, &cut)) return;
    range a = range_of(r, &cut, z);
    int64_t count = a.high[0] - a.low[0];
    for (int64_t row = a.low[1]; row < a.high[1] && count > 0; row++) {
        int64_t at = row * r->columns + a.low[0];
        uint8_t *tissue = d->tissue + at;
        tomo_cut_holds(&cut, d->x + at, d->y + at, count, d->inside);
        for (int64_t i = 0; i < count; i++) {
            if ((s->over >> tissue[i] & d->inside[i]) != 0) tissue[i] = s->tissue;
        }
    }
}

/* Adds one layer of fine points to the slice's sums, and counts its tissues. Neighbours are mostly alike, so
 * the points of a voxel have counters of their own: the next count need not wait for the last. */
static void add_layer(const renderer *r, const desk *d, uint32_t *counts) {
    uint32_t several[FINE * FINE][TOMO_TISSUES] = {{0}};
    int64_t width = r->columns / FINE, height = r->rows / FINE;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            double hu = d->hu[y * width + x], texture = d->texture[y * width + x];
            for (int k = 0; k < FINE * FINE; k++) {
                uint8_t t = d->tissue[(y * FINE + k / FINE) * r->columns + x * FINE + k % FINE];
                hu += r->looks[t].hu;
                texture += r->looks[t].texture_hu;
                several[k][t]++;
            }
            d->hu[y * width + x] = hu;
            d->texture[y * width + x] = texture;
        }
    }
    for (int t = 0; t < TOMO_TISSUES; t++) {
        for (int k = 0; k < FINE * FINE; k++) counts[t] += several[k][t];
    }
}

/* Adds one layer to the sums and bounds of each tissue's spot; finish_spots makes means and areas of them. */
static void add_spots(const renderer *r, const desk *d, tomo_spot *spots) {
    for (int64_t i = 0; i < r->rows * r->columns; i++) {
        tomo_spot *s = &spots[d->tissue[i]];
        const double at[2] = {d->x[i], d->y[i]};
        for (int k = 0; k < 2; k++) {
            if (s->area_mm2 == 0 || at[k] < s->low[k]) s->low[k] = at[k];
            if (s->area_mm2 == 0 || at[k] > s->high[k]) s->high[k] = at[k];
            s->centre[k] += at[k];
        }
        s->area_mm2++;
    }
}

static void finish_spots(const renderer *r) {
    double fine = r->pixel_mm / FINE;
    for (int64_t t = 0; t < r->out->shape[0] * TOMO_TISSUES; t++) {
        tomo_spot *s = &r->spots[t];
        if (s->area_mm2 == 0) continue;
        for (int k = 0; k < 2; k++) {
            s->centre[k] /= s->area_mm2;
            s->low[k] -= fine / 2;
            s->high[k] += fine / 2;
        }
        s->area_mm2 *= fine * fine / DEEP;
    }
}

/* ------------------------------------------------------------------ noise */

/* Near to normal, deviation 1: the sum of four uniform numbers. */
static double bell(uint64_t hash) {
    double sum = 0;
    for (int i = 0; i < 4; i++) sum += (double)(hash >> 16 * i & 0xffff);
    return (sum / 65536 - 2) * 1.7320508;
}

/* Noise of a CT is no salt: reconstruction joins neighbours. */
static void make_noise(const renderer *r, const desk *d, int64_t slice) {
    int64_t height = r->out->shape[1] + 2, width = r->out->shape[2] + 2;
    for (int64_t i = 0; i < height * width; i++) {
        d->noise[i] = bell(tomo_draw_hash(r->patient->seed ^ 0x401e5eu, i % width, i / width, slice));
    }
}

static double noise_at(const renderer *r, const desk *d, int64_t y, int64_t x) {
    int64_t width = r->out->shape[2] + 2;
    const double *p = d->noise + y * width + x;
    double sum = 0;
    for (int64_t row = 0; row < 3; row++) {
        sum += (row == 1 ? 2 : 1) * (p[row * width] + 2 * p[row * width + 1] + p[row * width + 2]);
    }
    return sum / 6; /* the square root of the squared weights' sum, so that the deviation is 1 again */
}

static int16_t round_hu(double v) {
    v = v < -1024 ? -1024 : v > 3071 ? 3071 : v;
    return (int16_t)((int)(v + 2048.5) - 2048);
}

static void finish_slice(const renderer *r, const desk *d, int64_t slice) {
    const tomo_patient *p = r->patient;
    int64_t height = r->out->shape[1], width = r->out->shape[2];
    double z = fine_z(r, slice, DEEP / 2);
    int16_t *out = r->out->hu + slice * height * width;
    make_noise(r, d, r->first + slice);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            int64_t i = y * width + x;
            double hu = d->hu[i] / FINE_POINTS, texture = d->texture[i] / FINE_POINTS;
            if (texture > 0.5) {
                double a = fine_x(r, x * FINE), b = fine_y(r, y * FINE);
                hu += texture * (0.6 * tomo_draw_smooth(p->seed + 11, 9, a, b, z) +
                                 0.7 * tomo_draw_smooth(p->seed + 12, 4, a, b, z));
            }
            double grain = p->noise_hu * (hu < -900 ? 0.55 : 1);
            out[i] = round_hu(hu + grain * noise_at(r, d, y, x));
        }
    }
}

static void paint_slice(void *argument, int64_t slice, int worker) {
    const renderer *r = argument;
    const desk *d = &r->desks[worker];
    size_t voxels = (size_t)(r->out->shape[1] * r->out->shape[2]);
    memset(d->hu, 0, voxels * sizeof *d->hu);
    memset(d->texture, 0, voxels * sizeof *d->texture);
    for (int deep = 0; deep < DEEP; deep++) {
        double z = fine_z(r, slice, deep);
        memset(d->tissue, TOMO_TISSUE_AIR, (size_t)(r->rows * r->columns));
        place_points(r, d, z);
        for (int i = 0; i < r->scene->count; i++) paint_shape(r, d, &r->scene->shapes[i], z);
        add_layer(r, d, r->counts + (slice * DEEP + deep) * TOMO_TISSUES);
        if (r->spots != NULL) add_spots(r, d, r->spots + slice * TOMO_TISSUES);
    }
    finish_slice(r, d, slice);
}

/* ------------------------------------------------------------------ together */

static bool make_desk(const renderer *r, desk *d) {
    size_t fine = (size_t)(r->rows * r->columns), warp = (size_t)(2 * r->warp_rows * r->warp_columns);
    size_t voxels = (size_t)(r->out->shape[1] * r->out->shape[2]);
    size_t noise = (size_t)((r->out->shape[1] + 2) * (r->out->shape[2] + 2));
    double *p = malloc((2 * fine + 2 * voxels + noise + warp) * sizeof *p + fine + (size_t)r->columns);
    if (p == NULL) return false;
    d->memory = d->x = p;
    d->y = d->x + fine;
    d->hu = d->y + fine;
    d->texture = d->hu + voxels;
    d->noise = d->texture + voxels;
    d->warp = d->noise + noise;
    d->tissue = (uint8_t *)(d->warp + warp);
    d->inside = d->tissue + fine;
    return true;
}

static void measure(const renderer *r) {
    const double *s = r->out->spacing_mm;
    double point_ml = s[0] * s[1] * s[2] / FINE_POINTS / 1000, half = s[0] / DEEP / 2;
    for (int t = 0; t < TOMO_TISSUES; t++) {
        tomo_extent *e = &r->out->extents[t];
        for (int64_t k = 0; k < r->out->shape[0] * DEEP; k++) {
            uint32_t count = r->counts[k * TOMO_TISSUES + t];
            if (count == 0) continue;
            double z = fine_z(r, k / DEEP, (int)(k % DEEP));
            if (e->volume_ml == 0) e->bottom_mm = z - half;
            e->top_mm = z + half;
            e->volume_ml += point_ml * count;
        }
    }
}

/* slices: of the whole scan. */
static void set_geometry(renderer *r, int64_t slices) {
    const tomo_patient *p = r->patient;
    tomo_render *o = r->out;
    double body[2], turn = 1 + p->roll * p->roll;
    tomo_scene_body(p, body);
    r->pixel_mm = 2 * body[0] * p->margin / (double)o->shape[2];
    r->floor_mm = body[1] + 20;
    r->cosine = (1 - p->roll * p->roll) / turn;
    r->sine = 2 * p->roll / turn;
    r->rows = o->shape[1] * FINE;
    r->columns = o->shape[2] * FINE;
    r->warp_rows = r->rows / WARP_STEP + 2;
    r->warp_columns = r->columns / WARP_STEP + 2;
    o->spacing_mm[0] = (p->top_mm - p->bottom_mm) / (double)slices;
    o->spacing_mm[1] = o->spacing_mm[2] = r->pixel_mm;
    /* The first voxel's centre, from the patient's x and y (LPS) to RAS. */
    o->affine_ras = (tomo_affine){{{-r->pixel_mm, 0, 0, -(fine_x(r, 0) + fine_x(r, FINE - 1)) / 2},
                                   {0, -r->pixel_mm, 0, -(fine_y(r, 0) + fine_y(r, FINE - 1)) / 2},
                                   {0, 0, o->spacing_mm[0], fine_z(r, 0, DEEP / 2)},
                                   {0, 0, 0, 1}}};
}

static bool reserve(renderer *r, tomo_scene **scene, int threads) {
    const int64_t *n = r->out->shape;
    *scene = malloc(sizeof **scene);
    r->counts = calloc((size_t)(n[0] * DEEP * TOMO_TISSUES), sizeof *r->counts);
    r->out->hu = malloc((size_t)(n[0] * n[1] * n[2]) * sizeof *r->out->hu);
    r->desks = calloc((size_t)threads, sizeof *r->desks);
    bool good = *scene != NULL && r->counts != NULL && r->out->hu != NULL && r->desks != NULL;
    for (int i = 0; good && i < threads; i++) good = make_desk(r, &r->desks[i]);
    return good;
}

static tomo_status check_shape(const tomo_patient *patient, const int64_t shape[3], tomo_error *err) {
    for (int i = 0; i < 3; i++) {
        int64_t least = i == 0 && patient->part ? 1 : 8;
        if (shape[i] >= least && shape[i] <= 1024) continue;
        return tomo_fail(err, TOMO_E_USAGE, "a phantom of %lld x %lld x %lld; 8 to 1024 each are possible",
                         (long long)shape[0], (long long)shape[1], (long long)shape[2]);
    }
    return TOMO_OK;
}

/* Paints r->out->shape[0] slices, of which the scan has `slices`. pool NULL: this thread alone. */
static tomo_status make_slices(renderer *r, int64_t slices, tomo_pool *pool, tomo_error *err) {
    tomo_scene *scene = NULL;
    const int64_t *shape = r->out->shape;
    int threads = pool == NULL ? 1 : tomo_pool_threads(pool);
    set_geometry(r, slices);
    tomo_tissue_looks(r->patient, r->looks);
    bool good = reserve(r, &scene, threads);
    if (good) {
        tomo_scene_build(r->patient, scene);
        r->scene = scene;
        if (pool != NULL) tomo_pool_run(pool, shape[0], paint_slice, r);
        for (int64_t i = 0; pool == NULL && i < shape[0]; i++) paint_slice(r, i, 0);
        measure(r);
        if (r->spots != NULL) finish_spots(r);
    }
    for (int i = 0; r->desks != NULL && i < threads; i++) free(r->desks[i].memory);
    free(r->desks);
    free(r->counts);
    free(scene);
    if (good) return TOMO_OK;
    tomo_render_free(r->out);
    return tomo_fail_memory(err, "phantom", (size_t)(shape[0] * shape[1] * shape[2]) * sizeof *r->out->hu);
}

tomo_status tomo_render_make(const tomo_patient *patient, const int64_t shape[3], tomo_pool *pool,
                             tomo_render *render, tomo_error *err) {
    *render = (tomo_render){.shape = {shape[0], shape[1], shape[2]}};
    renderer r = {.patient = patient, .out = render};
    tomo_status status = check_shape(patient, shape, err);
    return status == TOMO_OK ? make_slices(&r, shape[0], pool, err) : status;
}

tomo_status tomo_render_slices(const tomo_patient *patient, const int64_t shape[3], tomo_slab slices,
                               tomo_render *render, tomo_spot *spots, tomo_error *err) {
    *render = (tomo_render){.shape = {slices.count, shape[1], shape[2]}};
    memset(spots, 0, (size_t)slices.count * TOMO_TISSUES * sizeof *spots);
    renderer r = {.patient = patient, .out = render, .first = slices.first, .spots = spots};
    tomo_status status = check_shape(patient, shape, err);
    return status == TOMO_OK ? make_slices(&r, shape[0], NULL, err) : status;
}

void tomo_render_free(tomo_render *render) {
    free(render->hu);
    render->hu = NULL;
}

tomo_extent tomo_render_extent(const tomo_render *render, uint64_t tissues) {
    tomo_extent all = {0};
    for (int t = 0; t < TOMO_TISSUES; t++) {
        const tomo_extent *e = &render->extents[t];
        if ((tissues >> t & 1) == 0 || e->volume_ml == 0) continue;
        if (all.volume_ml == 0 || e->bottom_mm < all.bottom_mm) all.bottom_mm = e->bottom_mm;
        if (all.volume_ml == 0 || e->top_mm > all.top_mm) all.top_mm = e->top_mm;
        all.volume_ml += e->volume_ml;
    }
    return all;
}

tomo_status tomo_render_volume(const tomo_render *render, tomo_volume **volume, tomo_error *err) {
    size_t count = (size_t)(render->shape[0] * render->shape[1] * render->shape[2]);
    float *voxels = malloc(count * sizeof *voxels);
    *volume = NULL;
    if (voxels == NULL) return tomo_fail_memory(err, "phantom", count * sizeof *voxels);
    for (size_t i = 0; i < count; i++) voxels[i] = render->hu[i];
    tomo_status status =
        tomo_volume_create(voxels, render->shape, &render->affine_ras, TOMO_INTENSITY_HU, volume, err);
    if (status != TOMO_OK) free(voxels);
    return status;
}
