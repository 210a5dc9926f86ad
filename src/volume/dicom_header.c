#include "volume/dicom_header.h"

#include "volume/number.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void tomo_dicom_image_refuse(tomo_dicom_image *image, tomo_status status, const char *format, ...) {
    if (image->problem != TOMO_OK) return;
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    image->problem = status;
    image->message = strdup(text); /* NULL is shown as no reason */
}

void tomo_dicom_image_close(tomo_dicom_image *image) {
    free(image->frames);
    free(image->message);
    image->frames = NULL;
    image->message = NULL;
}

/* ------------------------------------------------------------------ values */

static void get_text(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t element,
                     char *text, size_t size) {
    const char *bytes;
    size_t length;
    text[0] = '\0';
    if (!tomo_dicom_value(data, set, group, element, &bytes, &length)) return;
    if (length > size - 1) length = size - 1;
    memcpy(text, bytes, length);
    text[length] = '\0';
    for (size_t i = strlen(text); i > 0 && text[i - 1] == ' '; i--) text[i - 1] = '\0';
}

int tomo_dicom_decimals(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t element,
                        double *numbers, int most) {
    const char *bytes, *at;
    size_t length;
    char text[512];
    if (!tomo_dicom_value(data, set, group, element, &bytes, &length)) return 0;
    if (length > sizeof text - 1) length = sizeof text - 1;
    memcpy(text, bytes, length);
    text[length] = '\0';
    at = text + strspn(text, " ");
    if (*at == '\0') return 0;
    for (int n = 0; n < most;) {
        if (!tomo_number_parse(at, &at, &numbers[n]) || !isfinite(numbers[n])) return -1;
        n++;
        at += strspn(at, " ");
        if (*at == '\0') return n;
        if (*at++ != '\\') return -1;
    }
    return most;
}

static bool get_short(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t element,
                      int64_t *number) {
    const char *bytes;
    size_t length;
    uint16_t value;
    if (!tomo_dicom_value(data, set, group, element, &bytes, &length) || length < sizeof value) return false;
    memcpy(&value, bytes, sizeof value);
    *number = tomo_dicom_is_big_endian(data) ? __builtin_bswap16(value) : value;
    return true;
}

/* An integer string; anything else is `otherwise`. */
static int64_t get_integer(const tomo_dicom_data *data, tomo_dicom_set set, uint16_t group, uint16_t element,
                           int64_t otherwise) {
    double number;
    if (tomo_dicom_decimals(data, set, group, element, &number, 1) != 1 || fabs(number) > 9e15)
        return otherwise;
    return (int64_t)number;
}

/* ------------------------------------------------------------------ frames */

static bool is_direction(const double v[3]) {
    double length = sqrt(v[0] * v[0] + v[1] * v[1] + v[2] * v[2]);
    return length > 0.9 && length < 1.1; /* cosines; rounding in the file is far smaller */
}

/* Each reads one macro out of `set` (the data set itself, or a functional group's item) when it is there. */

static bool read_position(const tomo_dicom_data *data, tomo_dicom_set set, tomo_dicom_image *image,
                          tomo_dicom_frame *frame) {
    double values[3];
    int n = tomo_dicom_decimals(data, set, 0x0020, 0x0032, values, 3);
    if (n == 3) memcpy(frame->position, values, sizeof values);
    if (n != 0 && n != 3)
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "ImagePositionPatient is not three numbers");
    return n == 3;
}

static bool read_orientation(const tomo_dicom_data *data, tomo_dicom_set set, tomo_dicom_image *image,
                             tomo_dicom_frame *frame) {
    double v[6];
    int n = tomo_dicom_decimals(data, set, 0x0020, 0x0037, v, 6);
    if (n == 0) return false;
    double cosine = n == 6 ? v[0] * v[3] + v[1] * v[4] + v[2] * v[5] : 1;
    if (n != 6 || !is_direction(v) || !is_direction(v + 3) || fabs(cosine) > 0.1) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER,
                                "ImageOrientationPatient is not two directions at a right angle");
        return false;
    }
    memcpy(frame->along_row, v, 3 * sizeof v[0]);
    memcpy(frame->down, v + 3, 3 * sizeof v[0]);
    return true;
}

static bool read_measures(const tomo_dicom_data *data, tomo_dicom_set set, tomo_dicom_image *image,
                          tomo_dicom_frame *frame) {
    double v[2], thickness;
    int n = tomo_dicom_decimals(data, set, 0x0028, 0x0030, v, 2);
    if (n != 0 && (n != 2 || !(v[0] > 1e-6) || !(v[1] > 1e-6) || v[0] > 1e6 || v[1] > 1e6)) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "PixelSpacing is not two numbers above 0");
        return false;
    }
    if (n == 2) {
        frame->row_spacing = v[0];
        frame->column_spacing = v[1];
    }
    if (tomo_dicom_decimals(data, set, 0x0018, 0x0050, &thickness, 1) == 1 && thickness > 0) {
        image->thickness = thickness;
    } else if (tomo_dicom_decimals(data, set, 0x0018, 0x0088, &thickness, 1) == 1 && thickness != 0) {
        image->thickness = fabs(thickness);
    }
    return n == 2;
}

static bool read_rescale(const tomo_dicom_data *data, tomo_dicom_set set, tomo_dicom_image *image,
                         tomo_dicom_frame *frame) {
    double slope = 1, intercept = 0;
    int a = tomo_dicom_decimals(data, set, 0x0028, 0x1053, &slope, 1);
    int b = tomo_dicom_decimals(data, set, 0x0028, 0x1052, &intercept, 1);
    if (a < 0 || b < 0 || (a > 0 && slope == 0)) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER,
                                "RescaleSlope or RescaleIntercept is no number, or the slope is 0");
        return false;
    }
    if (a == 0 && b == 0) return false;
    frame->rescaled = true;
    frame->slope = slope;
    frame->intercept = intercept;
    return true;
}

/* Macros of an enhanced image. */
typedef bool (*macro_reader)(const tomo_dicom_data *, tomo_dicom_set, tomo_dicom_image *, tomo_dicom_frame *);
enum { MACRO_POSITION, MACRO_ORIENTATION, MACRO_MEASURES, MACRO_RESCALE, MACROS };
static const struct {
    uint16_t group, element;
    macro_reader read;
} macros[MACROS] = {{0x0020, 0x9113, read_position},
                    {0x0020, 0x9116, read_orientation},
                    {0x0028, 0x9110, read_measures},
                    {0x0028, 0x9145, read_rescale}};

static tomo_dicom_set macro_in(const tomo_dicom_data *data, tomo_dicom_set groups, int macro) {
    return groups == TOMO_DICOM_NONE
               ? TOMO_DICOM_NONE
               : tomo_dicom_first_item(data, groups, macros[macro].group, macros[macro].element);
}

/* What frames without a macro of their own share. Each is read once, when it is first asked for: its item may
 * be as long as the file. */
typedef struct shared_macros {
    tomo_dicom_set groups;
    bool known[MACROS], found[MACROS];
    tomo_dicom_frame frame;
} shared_macros;

static void copy_macro(int macro, const tomo_dicom_frame *from, tomo_dicom_frame *to) {
    switch (macro) {
    case MACRO_POSITION:
        memcpy(to->position, from->position, sizeof to->position);
        break;
    case MACRO_ORIENTATION:
        memcpy(to->along_row, from->along_row, sizeof to->along_row);
        memcpy(to->down, from->down, sizeof to->down);
        break;
    case MACRO_MEASURES:
        to->row_spacing = from->row_spacing;
        to->column_spacing = from->column_spacing;
        break;
    default:
        to->rescaled = from->rescaled;
        to->slope = from->slope;
        to->intercept = from->intercept;
    }
}

static bool take_shared(const tomo_dicom_data *data, tomo_dicom_image *image, shared_macros *s, int macro,
                        tomo_dicom_frame *frame) {
    if (!s->known[macro]) {
        tomo_dicom_set item = macro_in(data, s->groups, macro);
        s->known[macro] = true;
        s->found[macro] = item != TOMO_DICOM_NONE && macros[macro].read(data, item, image, &s->frame);
    }
    if (s->found[macro]) copy_macro(macro, &s->frame, frame);
    return s->found[macro];
}

/* Enhanced images keep all of it in functional groups (PS3.3, C.7.6.16). */
static void read_groups(const tomo_dicom_data *data, tomo_dicom_image *image) {
    shared_macros shared = {.groups = tomo_dicom_first_item(data, TOMO_DICOM_ROOT, 0x5200, 0x9229)};
    tomo_dicom_set own = tomo_dicom_first_item(data, TOMO_DICOM_ROOT, 0x5200, 0x9230);
    if (shared.groups == TOMO_DICOM_NONE && own == TOMO_DICOM_NONE) return;
    for (int64_t i = 0; i < image->n_frames && image->problem == TOMO_OK; i++) {
        tomo_dicom_frame *f = &image->frames[i];
        bool found[MACROS] = {false};
        for (int m = 0; m < MACROS; m++) { /* in the item of the frame, else in the shared one */
            tomo_dicom_set item = macro_in(data, own, m);
            found[m] = item != TOMO_DICOM_NONE ? macros[m].read(data, item, image, f)
                                               : take_shared(data, image, &shared, m, f);
        }
        f->placed = found[MACRO_POSITION] && found[MACRO_ORIENTATION];
        if (own != TOMO_DICOM_NONE) own = tomo_dicom_next_item(data, own);
    }
}

/* Frames of other multi-frame images follow each other along the normal, as far as is known. */
static void stack_frames(tomo_dicom_image *image) {
    const tomo_dicom_frame *first = &image->frames[0];
    double normal[3];
    for (int i = 0; i < 3; i++) {
        int j = (i + 1) % 3, k = (i + 2) % 3;
        normal[i] = first->along_row[j] * first->down[k] - first->along_row[k] * first->down[j];
    }
    for (int64_t f = 1; f < image->n_frames; f++) {
        image->frames[f] = *first;
        image->frames[f].index = f;
        for (int i = 0; i < 3; i++) image->frames[f].position[i] += (double)f * image->thickness * normal[i];
    }
}

static tomo_status read_frames(const tomo_reader *reader, const tomo_dicom_data *data,
                               tomo_dicom_image *image, tomo_error *err) {
    const tomo_dicom_set root = TOMO_DICOM_ROOT;
    image->frames = calloc((size_t)image->stored_frames, sizeof *image->frames);
    if (image->frames == NULL) return tomo_fail_memory(err, reader->name, (size_t)image->stored_frames);
    image->n_frames = image->stored_frames;
    tomo_dicom_frame *first = &image->frames[0];
    *first = (tomo_dicom_frame){.pitch = image->columns,
                                .along_row = {1, 0, 0},
                                .down = {0, 1, 0},
                                .row_spacing = 1,
                                .column_spacing = 1,
                                .slope = 1};
    bool position = read_position(data, root, image, first),
         orientation = read_orientation(data, root, image, first);
    (void)read_measures(data, root, image, first);
    (void)read_rescale(data, root, image, first);
    first->placed = position && orientation && image->n_frames == 1;
    stack_frames(image);
    read_groups(data, image);
    return TOMO_OK;
}

/* ------------------------------------------------------------------ pixels */

static bool syntax_is_in(const char *syntax, const char *const *list) {
    for (; *list != NULL; list++) {
        if (strcmp(syntax, *list) == 0) return true;
    }
    return false;
}

static void check_syntax(const tomo_dicom_data *data, tomo_dicom_image *image) {
    static const char *const native[] = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2",
                                         "1.2.840.10008.1.2.1.99", NULL};
    static const char *const compressed[] = {"1.2.840.10008.1.2.4.50",
                                             "1.2.840.10008.1.2.4.51",
                                             "1.2.840.10008.1.2.4.57", /* JPEG */
                                             "1.2.840.10008.1.2.4.70",
                                             "1.2.840.10008.1.2.4.80",
                                             "1.2.840.10008.1.2.4.81", /* JPEG, JPEG-LS */
                                             "1.2.840.10008.1.2.4.90",
                                             "1.2.840.10008.1.2.4.91",
                                             "1.2.840.10008.1.2.5", /* JPEG 2000, RLE */
                                             NULL};
    bool is_native = syntax_is_in(image->syntax, native);
    if (!is_native && !syntax_is_in(image->syntax, compressed)) {
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED, "transfer syntax %s is not read", image->syntax);
    } else if (is_native == tomo_dicom_pixels(data)->encapsulated) {
        tomo_dicom_image_refuse(image, TOMO_E_FORMAT, "the pixel data do not fit transfer syntax %s",
                                image->syntax);
    }
}

/* The picture size that a code stream states itself, for JPEG, JPEG-LS (frame header) and JPEG 2000 (SIZ).
 * False: none found. GDCM decodes into a buffer of the data set's size, so both must agree. */
static bool stream_size(const unsigned char *p, size_t size, int64_t *rows, int64_t *columns) {
    if (size > 24 && p[0] == 0xFF && p[1] == 0x4F && p[2] == 0xFF && p[3] == 0x51) {
        uint32_t v[4]; /* Xsiz, Ysiz, XOsiz, YOsiz */
        for (int i = 0; i < 4; i++) {
            const unsigned char *q = p + 8 + 4 * i;
            v[i] = (uint32_t)q[0] << 24 | (uint32_t)q[1] << 16 | (uint32_t)q[2] << 8 | q[3];
        }
        *columns = (int64_t)v[0] - v[2];
        *rows = (int64_t)v[1] - v[3];
        return true;
    }
    for (size_t at = 2; size > 9 && at < size - 9 && p[at] == 0xFF;) {
        unsigned marker = p[at + 1];
        bool frame =
            (marker >= 0xC0 && marker <= 0xCF && marker != 0xC4 && marker != 0xC8 && marker != 0xCC) ||
            marker == 0xF7;
        if (frame) {
            *rows = p[at + 5] << 8 | p[at + 6];
            *columns = p[at + 7] << 8 | p[at + 8];
            return true;
        }
        at += marker == 0xFF ? 1 : 2 + (size_t)(p[at + 2] << 8 | p[at + 3]);
    }
    return false;
}

static void check_encapsulated(const tomo_dicom_pixel_data *o, tomo_dicom_image *image) {
    int64_t rows = 0, columns = 0;
    if (o->fragments < image->stored_frames) {
        tomo_dicom_image_refuse(image, TOMO_E_TRUNCATED, "%lld frames but %lld pieces of compressed data",
                                (long long)image->stored_frames, (long long)o->fragments);
    } else if (o->offset_table_size % 4 != 0) {
        tomo_dicom_image_refuse(image, TOMO_E_FORMAT, "an offset table of %zu bytes", o->offset_table_size);
    } else if (strcmp(image->syntax, "1.2.840.10008.1.2.5") == 0) {
        return; /* RLE states no size */
    } else if (o->fragment == NULL || !stream_size(o->fragment, o->fragment_size, &rows, &columns)) {
        tomo_dicom_image_refuse(image, TOMO_E_DECODE, "the compressed pixels have no header");
    } else if (rows != image->rows || columns != image->columns) {
        tomo_dicom_image_refuse(
            image, TOMO_E_HEADER, "Rows x Columns is %lld x %lld, in the compressed pixels %lld x %lld",
            (long long)image->rows, (long long)image->columns, (long long)rows, (long long)columns);
    }
}

static void check_amount(const tomo_reader *reader, const tomo_dicom_pixel_data *o, tomo_dicom_image *image) {
    int64_t pixels = image->rows * image->columns, bytes = 0; /* each below 2^16 */
    if (image->stored_frames < 1) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "NumberOfFrames is %lld; at least 1 is wanted",
                                (long long)image->stored_frames);
    } else if (__builtin_mul_overflow(pixels, image->stored_frames, &pixels) ||
               pixels > reader->options.limits.voxels ||
               image->stored_frames > reader->options.limits.files) {
        tomo_dicom_image_refuse(image, TOMO_E_LIMIT,
                                "%lld frames of %lld x %lld pixels; at most %lld pixels are read",
                                (long long)image->stored_frames, (long long)image->rows,
                                (long long)image->columns, (long long)reader->options.limits.voxels);
    } else if (o->encapsulated) {
        check_encapsulated(o, image);
    } else if (__builtin_mul_overflow(pixels, (int64_t)image->bits_allocated / 8, &bytes) ||
               bytes > (int64_t)o->size) {
        tomo_dicom_image_refuse(image, TOMO_E_TRUNCATED, "%lld bytes of pixels; %lld are wanted",
                                (long long)o->size, (long long)bytes);
    }
}

static void read_format(const tomo_dicom_data *data, tomo_dicom_image *image) {
    const tomo_dicom_set root = TOMO_DICOM_ROOT;
    int64_t samples = 1, allocated = 0, stored = 0, sign = 0;
    (void)get_short(data, root, 0x0028, 0x0002, &samples);
    (void)get_short(data, root, 0x0028, 0x0010, &image->rows);
    (void)get_short(data, root, 0x0028, 0x0011, &image->columns);
    (void)get_short(data, root, 0x0028, 0x0100, &allocated);
    if (!get_short(data, root, 0x0028, 0x0101, &stored)) stored = allocated;
    (void)get_short(data, root, 0x0028, 0x0103, &sign);
    image->bits_allocated = (int)allocated;
    image->bits_stored = (int)stored;
    image->is_signed = sign == 1;
    image->stored_rows = image->rows;
    image->stored_columns = image->columns;
    image->stored_frames = get_integer(data, root, 0x0028, 0x0008, 1);
    if (image->rows < 1 || image->columns < 1) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "Rows x Columns is %lld x %lld", (long long)image->rows,
                                (long long)image->columns);
    } else if (samples != 1) {
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED, "a colour image (%lld samples per pixel)",
                                (long long)samples);
    } else if (allocated == 1) {
        tomo_dicom_image_refuse(image, TOMO_E_UNSUPPORTED, "one bit per pixel (a segmentation) is not read");
    } else if (allocated != 8 && allocated != 16 && allocated != 32) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "BitsAllocated is %lld; 8, 16 or 32 is wanted",
                                (long long)allocated);
    } else if (stored < 1 || stored > allocated) {
        tomo_dicom_image_refuse(image, TOMO_E_HEADER, "BitsStored is %lld of %lld", (long long)stored,
                                (long long)allocated);
    }
}

tomo_status tomo_dicom_image_read(const tomo_reader *reader, const tomo_dicom_data *data,
                                  tomo_dicom_image *image, tomo_error *err) {
    const tomo_dicom_set root = TOMO_DICOM_ROOT;
    char type[256];
    *image = (tomo_dicom_image){.thickness = 1};
    (void)snprintf(image->syntax, sizeof image->syntax, "%s", tomo_dicom_transfer_syntax(data));
    image->encapsulated = tomo_dicom_pixels(data)->encapsulated;
    get_text(data, root, 0x0020, 0x000E, image->series_uid, sizeof image->series_uid);
    get_text(data, root, 0x0008, 0x0060, image->modality, sizeof image->modality);
    get_text(data, root, 0x0008, 0x103E, image->description, sizeof image->description);
    image->series_number = get_integer(data, root, 0x0020, 0x0011, 0);
    image->instance_number = get_integer(data, root, 0x0020, 0x0013, INT64_MAX);
    get_text(data, root, 0x0008, 0x0008, type, sizeof type);
    image->is_mosaic = strstr(type, "MOSAIC") != NULL;
    check_syntax(data, image);
    read_format(data, image);
    if (image->problem == TOMO_OK) check_amount(reader, tomo_dicom_pixels(data), image);
    tomo_status status = TOMO_OK;
    if (image->problem == TOMO_OK) status = read_frames(reader, data, image, err);
    if (status == TOMO_OK && image->problem == TOMO_OK && image->is_mosaic)
        tomo_dicom_mosaic_split(data, image);
    return status;
}
