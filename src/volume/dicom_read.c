/* From an ordered group of slices to voxels: affine, gantry tilt, gaps, decoding, rescale. */
#include "volume/dicom_series.h"

#include "base/size.h"
#include "volume/dicom_decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Gaps that differ by more than this part of the smallest are resampled. */
#define GAP_TOLERANCE 0.01
/* Radians between the way from slice to slice and the normal that count as a tilted gantry; as W_OBLIQUE. */
#define TILT_TOLERANCE 0.01

/* The grid of a group. */
typedef struct grid {
    int64_t count[3];   /* columns, rows, slices of the volume */
    tomo_affine affine; /* stored (column, row, slice, 1) -> RAS mm */
    bool uneven;        /* slices are to be resampled to `gap` */
    double gap;         /* mm on the normal */
} grid;

static tomo_status refuse(const tomo_reader *reader, const tomo_dicom_image *image, tomo_error *err) {
    return tomo_fail(err, image->problem, "%s: %s", reader->name,
                     image->message == NULL ? "the image cannot be read" : image->message);
}

/* ------------------------------------------------------------------ geometry */

static double dot(const double a[3], const double b[3]) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static void normal_of(const tomo_dicom_frame *frame, double normal[3]) {
    for (int i = 0; i < 3; i++) {
        int j = (i + 1) % 3, k = (i + 2) % 3;
        normal[i] = frame->along_row[j] * frame->down[k] - frame->along_row[k] * frame->down[j];
    }
}

static void warn_tilt(tomo_volume *volume, const double step[3], const double normal[3]) {
    double along = fabs(dot(step, normal)) / sqrt(dot(normal, normal)), length = sqrt(dot(step, step));
    double angle = acos(fmin(along / length, 1.0));
    if (angle > TILT_TOLERANCE) {
        tomo_volume_warn(
            volume, "W_GANTRY_TILT",
            "the slices are tilted by %.1f degrees against the way of the table; the affine is sheared",
            angle * 180 / M_PI);
    }
}

/* Looks for gaps; the volume gets as many slices as the smallest gap asks for. */
static tomo_status check_gaps(tomo_reader *reader, const tomo_dicom_group *group, grid *g, tomo_error *err) {
    int64_t n = group->n_slices;
    double smallest = INFINITY, largest = 0, whole = group->slices[n - 1].along - group->slices[0].along;
    for (int64_t s = 1; s < n; s++) {
        double gap = group->slices[s].along - group->slices[s - 1].along;
        smallest = fmin(smallest, gap);
        largest = fmax(largest, gap);
    }
    g->gap = smallest;
    g->uneven = largest - smallest > GAP_TOLERANCE * smallest;
    if (!g->uneven) return TOMO_OK;
    double wanted = rint(whole / smallest) + 1;
    if (wanted > (double)reader->options.limits.slices) {
        return tomo_fail(err, TOMO_E_LIMIT,
                         "%s: gaps from %.4g to %.4g mm would need %.0f slices; at most %lld are made",
                         reader->name, smallest, largest, wanted, (long long)reader->options.limits.slices);
    }
    g->count[2] = (int64_t)wanted;
    tomo_volume_warn(reader->volume, "W_NONUNIFORM_SPACING",
                     "gaps from %.4g to %.4g mm: %lld slices were resampled to %lld with %.4g mm", smallest,
                     largest, (long long)n, (long long)g->count[2], smallest);
    return TOMO_OK;
}

/* Fills the affine's column of the slices: the way from one slice to the next. */
static tomo_status step_along(tomo_reader *reader, const tomo_dicom_study *study,
                              const tomo_dicom_group *group, grid *g, tomo_error *err) {
    int64_t n = group->n_slices;
    const tomo_dicom_frame *first = tomo_dicom_slice_frame(study, &group->slices[0]);
    const tomo_dicom_frame *last = tomo_dicom_slice_frame(study, &group->slices[n - 1]);
    double normal[3], step[3];
    normal_of(first, normal);
    if (n == 1 ||
        !first->placed) { /* SliceThickness is not trusted as a distance: it serves one slice alone */
        double length = n == 1 ? study->images[group->slices[0].image].thickness : 1;
        reader->volume->spacing_unknown = n > 1;
        for (int i = 0; i < 3; i++) step[i] = normal[i] * length;
    } else {
        tomo_status status = check_gaps(reader, group, g, err);
        if (status != TOMO_OK) return status;
        double mean = (group->slices[n - 1].along - group->slices[0].along) / (double)(n - 1);
        double shrink = g->uneven ? g->gap / mean : 1;
        for (int i = 0; i < 3; i++)
            step[i] = (last->position[i] - first->position[i]) / (double)(n - 1) * shrink;
        warn_tilt(reader->volume, step, normal);
    }
    for (int i = 0; i < 3; i++) g->affine.m[i][2] = step[i];
    return TOMO_OK;
}

static tomo_status make_grid(tomo_reader *reader, const tomo_dicom_study *study,
                             const tomo_dicom_group *group, grid *g, tomo_error *err) {
    const tomo_dicom_image *image = &study->images[group->slices[0].image];
    const tomo_dicom_frame *first = tomo_dicom_slice_frame(study, &group->slices[0]);
    *g = (grid){.count = {image->columns, image->rows, group->n_slices}, .affine = tomo_affine_identity()};
    if (group->n_slices > reader->options.limits.slices) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %lld slices; at most %lld are read", reader->name,
                         (long long)group->n_slices, (long long)reader->options.limits.slices);
    }
    for (int i = 0; i < 3; i++) {
        g->affine.m[i][0] = first->along_row[i] * first->column_spacing;
        g->affine.m[i][1] = first->down[i] * first->row_spacing;
        g->affine.m[i][3] = first->placed ? first->position[i] : 0;
    }
    if (!first->placed) {
        tomo_volume_warn(
            reader->volume, "W_NO_ORIENTATION",
            "the slices have no position and orientation; columns are taken as Left, rows as Posterior");
    }
    tomo_status status = step_along(reader, study, group, g, err);
    tomo_affine_flip_lps(&g->affine);
    return status;
}

/* ------------------------------------------------------------------ pixels */

/* Decoded or native pixels of all frames of one image. */
typedef struct pixels {
    tomo_dicom_content content;
    tomo_dicom_data *file;
    const unsigned char *data;
    size_t element; /* bytes of one pixel: 1, 2, 4 */
    bool swapped;
} pixels;

static void close_pixels(pixels *p) {
    tomo_dicom_data_free(p->file);
    tomo_dicom_content_close(&p->content);
    *p = (pixels){0};
}

static tomo_status decode(const tomo_reader *reader, tomo_dicom_decoder *decoder,
                          const tomo_dicom_image *image, size_t count, pixels *p, tomo_error *err) {
    tomo_dicom_decoded decoded;
    const tomo_dicom_pixel_data *data = tomo_dicom_pixels(p->file);
    const tomo_gdcm_image wanted = {image->syntax,
                                    (uint16_t)image->stored_columns,
                                    (uint16_t)image->stored_rows,
                                    (uint32_t)image->stored_frames,
                                    (uint16_t)image->bits_allocated,
                                    (uint16_t)image->bits_stored,
                                    image->is_signed};
    tomo_status status =
        tomo_dicom_decode(decoder, reader->name, &wanted, data->bytes, data->size, count, &decoded, err);
    p->data = decoded.bytes;
    p->element = decoded.element;
    return status;
}

static tomo_status open_pixels(const tomo_reader *reader, tomo_dicom_files *files,
                               tomo_dicom_decoder *decoder, const tomo_dicom_image *image, pixels *p,
                               tomo_error *err) {
    *p = (pixels){0};
    tomo_status status = tomo_dicom_content_open(files, image->file, &p->content, err);
    if (status != TOMO_OK) return status;
    size_t count =
        (size_t)(image->stored_rows * image->stored_columns * image->stored_frames); /* limited before */
    if (p->content.data != NULL) {
        status = tomo_dicom_parse(reader->name, p->content.data, p->content.size,
                                  reader->options.limits.expanded_bytes, &p->file, err);
        if (status != TOMO_OK) return status;
    }
    const tomo_dicom_pixel_data *data = p->file == NULL ? NULL : tomo_dicom_pixels(p->file);
    p->element = (size_t)image->bits_allocated / 8;
    bool same = data != NULL && data->present && data->encapsulated == image->encapsulated &&
                (data->encapsulated || data->size >= count * p->element);
    if (!same) return tomo_fail(err, TOMO_E_IO, "%s: a file changed while it was read", reader->name);
    if (data->encapsulated) return decode(reader, decoder, image, count, p, err);
    p->data = data->bytes;
    p->swapped = tomo_dicom_is_big_endian(p->file);
    return TOMO_OK;
}

/* Stored bits to a number: what lies above BitsStored is not part of it. */
static inline double stored_value(const pixels *p, size_t i, int bits, bool is_signed) {
    uint32_t word = p->data[i * p->element];
    if (p->element == 2) {
        uint16_t half;
        memcpy(&half, p->data + i * 2, sizeof half);
        word = p->swapped ? __builtin_bswap16(half) : half;
    } else if (p->element == 4) {
        memcpy(&word, p->data + i * 4, sizeof word);
        if (p->swapped) word = __builtin_bswap32(word);
    }
    uint32_t mask = bits == 32 ? UINT32_MAX : ((uint32_t)1 << bits) - 1;
    word &= mask;
    bool negative = is_signed && (word >> (bits - 1)) != 0;
    return negative ? (double)word - (double)mask - 1 : (double)word;
}

/* One slice to out[row * down + column * right]. */
static void convert_slice(const tomo_dicom_image *image, const tomo_dicom_frame *frame, const pixels *p,
                          float *out, ptrdiff_t right, ptrdiff_t down) {
    int bits = image->bits_stored < 8 * (int)p->element ? image->bits_stored : 8 * (int)p->element;
    size_t start = (size_t)(frame->index * image->stored_rows * image->stored_columns + frame->offset);
    for (int64_t r = 0; r < image->rows; r++) {
        for (int64_t c = 0; c < image->columns; c++) {
            double value = stored_value(p, start + (size_t)(r * frame->pitch + c), bits, image->is_signed);
            out[r * down + c * right] = (float)(value * frame->slope + frame->intercept);
        }
    }
}

/* ------------------------------------------------------------------ stacking */

/* Where the slices go as they are decoded: to their voxels, or to a stack that is resampled afterwards. */
typedef struct target {
    float *first;
    ptrdiff_t right, down, deeper;
} target;

static int by_image(const void *a, const void *b, void *context) {
    const tomo_dicom_slice *slices = context;
    int64_t p = *(const int64_t *)a, q = *(const int64_t *)b;
    if (slices[p].image != slices[q].image) return slices[p].image < slices[q].image ? -1 : 1;
    return (p > q) - (p < q);
}

static size_t most_pixels(const tomo_dicom_study *study, const tomo_dicom_group *group) {
    size_t most = 0;
    for (int64_t s = 0; s < group->n_slices; s++) {
        const tomo_dicom_image *i = &study->images[group->slices[s].image];
        size_t count = (size_t)(i->stored_rows * i->stored_columns * i->stored_frames); /* limited before */
        most = count > most ? count : most;
    }
    return most;
}

/* Decodes each image once, whatever the order of its slices in the volume. */
static tomo_status decode_all(const tomo_reader *reader, tomo_dicom_files *files,
                              const tomo_dicom_study *study, const tomo_dicom_group *group, const target *t,
                              tomo_error *err) {
    int64_t n = group->n_slices, open = -1;
    int64_t *order = malloc((size_t)n * sizeof *order);
    if (order == NULL) return tomo_fail_memory(err, reader->name, (size_t)n * sizeof *order);
    for (int64_t s = 0; s < n; s++) order[s] = s;
    qsort_r(order, (size_t)n, sizeof *order, by_image, group->slices);
    pixels p = {0};
    tomo_dicom_decoder decoder = {.most_pixels = most_pixels(study, group)};
    tomo_status status = TOMO_OK;
    for (int64_t i = 0; i < n && status == TOMO_OK; i++) {
        const tomo_dicom_slice *slice = &group->slices[order[i]];
        status = tomo_progress(reader->options.hooks, "decoding slices", i, n, err);
        if (status == TOMO_OK && slice->image != open) {
            close_pixels(&p);
            open = slice->image;
            status = open_pixels(reader, files, &decoder, &study->images[open], &p, err);
        }
        if (status == TOMO_OK) {
            convert_slice(&study->images[open], tomo_dicom_slice_frame(study, slice), &p,
                          t->first + order[i] * t->deeper, t->right, t->down);
        }
    }
    close_pixels(&p);
    tomo_dicom_decoder_close(&decoder);
    free(order);
    return status;
}

/* Linear between the two slices around each new position. */
static void resample_slices(const tomo_dicom_group *group, const grid *g, const float *stack,
                            const target *t) {
    int64_t n = group->n_slices, pixels_per_slice = g->count[0] * g->count[1], below = 0;
    double first = group->slices[0].along, last = group->slices[n - 1].along - first;
    for (int64_t k = 0; k < g->count[2]; k++) {
        double at = fmin((double)k * g->gap, last);
        while (below < n - 2 && group->slices[below + 1].along - first <= at) below++;
        double low = group->slices[below].along - first, high = group->slices[below + 1].along - first;
        double weight = fmin(fmax((at - low) / (high - low), 0), 1);
        const float *a = stack + below * pixels_per_slice, *b = a + pixels_per_slice;
        for (int64_t r = 0; r < g->count[1]; r++) {
            for (int64_t c = 0; c < g->count[0]; c++) {
                double x = (double)a[r * g->count[0] + c], y = (double)b[r * g->count[0] + c];
                t->first[k * t->deeper + r * t->down + c * t->right] = (float)(x + weight * (y - x));
            }
        }
    }
}

static tomo_status fill(tomo_reader *reader, tomo_dicom_files *files, const tomo_dicom_study *study,
                        const tomo_dicom_group *group, const grid *g, const tomo_placement *place,
                        tomo_error *err) {
    target voxels = {reader->volume->voxels + place->base, place->stride[0], place->stride[1],
                     place->stride[2]};
    if (!g->uneven) return decode_all(reader, files, study, group, &voxels, err);
    size_t slice = (size_t)(g->count[0] * g->count[1]), bytes = 0;
    if (!tomo_size_mul(slice * sizeof(float), (size_t)group->n_slices, &bytes)) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: too many voxels", reader->name);
    }
    float *stack = malloc(bytes);
    if (stack == NULL) return tomo_fail_memory(err, reader->name, bytes);
    target flat = {stack, 1, (ptrdiff_t)g->count[0], (ptrdiff_t)slice};
    tomo_status status = decode_all(reader, files, study, group, &flat, err);
    if (status == TOMO_OK) resample_slices(group, g, stack, &voxels);
    free(stack);
    return status;
}

/* ------------------------------------------------------------------ record */

static bool one_rescale(const tomo_dicom_study *study, const tomo_dicom_group *group, bool *rescaled) {
    const tomo_dicom_frame *first = tomo_dicom_slice_frame(study, &group->slices[0]);
    bool same = true;
    *rescaled = true;
    for (int64_t s = 0; s < group->n_slices; s++) {
        const tomo_dicom_frame *frame = tomo_dicom_slice_frame(study, &group->slices[s]);
        *rescaled = *rescaled && frame->rescaled;
        same = same && frame->slope == first->slope && frame->intercept == first->intercept;
    }
    return same;
}

static void note_series(tomo_reader *reader, tomo_dicom_files *files, const tomo_dicom_study *study,
                        int64_t chosen, const char *why) {
    const tomo_dicom_group *group = &study->groups[chosen];
    const tomo_dicom_image *image = &study->images[group->slices[0].image];
    const tomo_dicom_frame *first = tomo_dicom_slice_frame(study, &group->slices[0]);
    bool rescaled, same = one_rescale(study, group, &rescaled);
    tomo_reader_note(reader, "kind", "DICOM");
    tomo_reader_note(reader, "container", tomo_dicom_files_kind(files));
    tomo_reader_note(reader, "modality", image->modality);
    tomo_reader_note(reader, "transfer_syntax", image->syntax);
    tomo_reader_note(reader, "ordered_by",
                     first->placed ? "ImagePositionPatient on the slice normal" : "InstanceNumber and frame");
    tomo_reader_note_number(reader, "bits_stored", image->bits_stored);
    (void)cJSON_AddBoolToObject(reader->volume->record, "mosaic", image->is_mosaic);
    if (rescaled && same) {
        tomo_reader_note_number(reader, "rescale_slope", first->slope);
        tomo_reader_note_number(reader, "rescale_intercept", first->intercept);
    } else if (!same) {
        tomo_reader_note(reader, "rescale", "differs from slice to slice");
    }
    (void)cJSON_AddItemToObject(reader->volume->record, "series",
                                tomo_dicom_study_list(reader, study, chosen, why));
    if (rescaled && strcmp(image->modality, "CT") == 0) reader->volume->intensity = TOMO_INTENSITY_HU;
}

/* ------------------------------------------------------------------ entry points */

static tomo_status read_group(tomo_reader *reader, tomo_dicom_files *files, tomo_dicom_study *study,
                              int64_t chosen, const char *why, tomo_error *err) {
    tomo_dicom_group *group = &study->groups[chosen];
    for (int64_t s = 0; s < group->n_slices; s++) {
        const tomo_dicom_image *image = &study->images[group->slices[s].image];
        if (image->problem != TOMO_OK) return refuse(reader, image, err);
    }
    if (study->n_groups > 1 && reader->options.series == NULL) {
        tomo_volume_warn(
            reader->volume, "W_OTHER_SERIES",
            "%lld other series, sizes or orientations were left out; the one with most slices is read",
            (long long)study->n_groups - 1);
    }
    note_series(reader, files, study, chosen, why);
    tomo_dicom_group_order(reader->volume, study, group);
    grid g;
    tomo_placement place;
    tomo_status status = make_grid(reader, study, group, &g, err);
    if (status == TOMO_OK) status = tomo_reader_check_size(reader, g.count, 1, INT64_MAX, err);
    if (status == TOMO_OK) status = tomo_reader_place(reader, g.count, &g.affine, &place, err);
    return status == TOMO_OK ? fill(reader, files, study, group, &g, &place, err) : status;
}

tomo_status tomo_dicom_read(tomo_reader *reader, tomo_dicom_files *files, tomo_error *err) {
    tomo_dicom_study study;
    int64_t chosen = 0;
    const char *why = "";
    tomo_status status = tomo_dicom_study_read(reader, files, &study, err);
    if (status == TOMO_OK) status = tomo_dicom_study_choose(reader, &study, &chosen, &why, err);
    if (status == TOMO_OK) status = read_group(reader, files, &study, chosen, why, err);
    tomo_dicom_study_close(&study);
    return status;
}

tomo_status tomo_dicom_list(tomo_reader *reader, tomo_dicom_files *files, cJSON **list, tomo_error *err) {
    tomo_dicom_study study;
    int64_t chosen = 0;
    const char *why = "";
    tomo_status status = tomo_dicom_study_read(reader, files, &study, err);
    if (status == TOMO_OK) status = tomo_dicom_study_choose(reader, &study, &chosen, &why, err);
    if (status == TOMO_OK) {
        *list = tomo_dicom_study_list(reader, &study, chosen, why);
        if (*list == NULL) status = tomo_fail_memory(err, reader->name, 4096);
    }
    tomo_dicom_study_close(&study);
    return status;
}
