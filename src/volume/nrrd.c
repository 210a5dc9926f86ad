/* NRRD: a text header, then raw or gzip voxels, or the name of the file that holds them (.nhdr). Only scalar
 * volumes of three spatial axes are read. The data file of a detached header must lie beside it: a header
 * from outside must not make us read other files. */
#include "base/file.h"
#include "base/size.h"
#include "volume/number.h"
#include "volume/reader.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LINE_MOST 4096
#define LINES_MOST 1000

typedef enum space { SPACE_NONE, SPACE_LPS, SPACE_RAS, SPACE_LAS } space;

typedef struct header {
    tomo_voxel_format format;
    bool has_type, has_encoding, has_endian, gzip;
    int64_t dimension, sizes[3];
    int n_sizes, n_directions, n_spacings;
    space space;
    double directions[3][3], origin[3], spacings[3];
    bool vector;
    int64_t line_skip, byte_skip;
    char data_file[LINE_MOST];
} header;

static tomo_status bad_field(const tomo_reader *reader, const char *field, const char *value,
                             tomo_error *err) {
    return tomo_fail(err, TOMO_E_HEADER, "%s: the field \"%s\" is \"%.60s\", which makes no sense",
                     reader->name, field, value);
}

/* "(a,b,c)" -> 3 numbers; returns the text behind it, NULL when it is no such vector. */
static const char *parse_vector(const char *text, double vector[3]) {
    while (isspace((unsigned char)*text)) text++;
    if (*text++ != '(') return NULL;
    for (int i = 0; i < 3; i++) {
        const char *end;
        if (!tomo_number_parse(text, &end, &vector[i])) return NULL;
        while (isspace((unsigned char)*end)) end++;
        if (*end != (i < 2 ? ',' : ')')) return NULL;
        text = end + 1;
    }
    return text;
}

static bool parse_whole(const char *text, const char **rest, int64_t *number) {
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (end == text) return false;
    *number = errno == ERANGE ? (value < 0 ? INT64_MIN : INT64_MAX) : value;
    *rest = end;
    return true;
}

static bool at_end(const char *text) {
    while (isspace((unsigned char)*text)) text++;
    return *text == '\0';
}

static tomo_status parse_type(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    static const struct {
        const char *names; /* each name between commas */
        tomo_voxel_type type;
    } known[] = {
        {",uchar,unsigned char,uint8,uint8_t,", TOMO_VOXEL_U8},
        {",signed char,int8,int8_t,", TOMO_VOXEL_I8},
        {",ushort,unsigned short,unsigned short int,uint16,uint16_t,", TOMO_VOXEL_U16},
        {",short,short int,signed short,signed short int,int16,int16_t,", TOMO_VOXEL_I16},
        {",uint,unsigned int,uint32,uint32_t,", TOMO_VOXEL_U32},
        {",int,signed int,int32,int32_t,", TOMO_VOXEL_I32},
        {",ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t,", TOMO_VOXEL_U64},
        {",longlong,long long,long long int,signed long long,signed long long int,int64,int64_t,",
         TOMO_VOXEL_I64},
        {",float,", TOMO_VOXEL_F32},
        {",double,", TOMO_VOXEL_F64},
    };
    char wanted[64];
    (void)snprintf(wanted, sizeof wanted, ",%.60s,", value);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strstr(known[i].names, wanted) == NULL) continue;
        h->format.type = known[i].type;
        h->has_type = true;
        return TOMO_OK;
    }
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: type \"%.60s\" is not read; a scalar type is wanted",
                     reader->name, value);
}

static tomo_status parse_sizes(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    int64_t number;
    const char *text = value;
    for (h->n_sizes = 0; !at_end(text); h->n_sizes++) {
        if (!parse_whole(text, &text, &number)) return bad_field(reader, "sizes", value, err);
        if (h->n_sizes < 3) h->sizes[h->n_sizes] = number;
    }
    return TOMO_OK;
}

static tomo_status parse_space(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    static const struct {
        const char *name;
        space space;
    } known[] = {
        {"left-posterior-superior", SPACE_LPS},
        {"LPS", SPACE_LPS},
        {"right-anterior-superior", SPACE_RAS},
        {"RAS", SPACE_RAS},
        {"left-anterior-superior", SPACE_LAS},
        {"LAS", SPACE_LAS},
        {"scanner-xyz", SPACE_LPS},
        {"3D-right-handed", SPACE_LPS},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(value, known[i].name) == 0) {
            h->space = known[i].space;
            return TOMO_OK;
        }
    }
    return tomo_fail(
        err, TOMO_E_UNSUPPORTED,
        "%s: space \"%.60s\" is not read; left-posterior-superior or right-anterior-superior is wanted",
        reader->name, value);
}

static tomo_status parse_directions(const tomo_reader *reader, const char *value, header *h,
                                    tomo_error *err) {
    const char *text = value;
    for (h->n_directions = 0; !at_end(text); h->n_directions++) {
        while (isspace((unsigned char)*text)) text++;
        if (strncmp(text, "none", 4) == 0) { /* an axis that is not in space */
            h->vector = true;
            text += 4;
            continue;
        }
        double vector[3];
        text = parse_vector(text, vector);
        if (text == NULL) return bad_field(reader, "space directions", value, err);
        if (h->n_directions < 3) memcpy(h->directions[h->n_directions], vector, sizeof vector);
    }
    return TOMO_OK;
}

/* Every axis must be one of space; "domain", "space" and "???" say so or say nothing. */
static void parse_kinds(const char *value, header *h) {
    static const char *const spatial[] = {"domain", "space", "???", "none"};
    while (!at_end(value)) {
        while (isspace((unsigned char)*value)) value++;
        size_t length = strcspn(value, " \t");
        bool known = false;
        for (size_t i = 0; i < sizeof spatial / sizeof spatial[0]; i++) {
            known = known || (strlen(spatial[i]) == length && strncasecmp(value, spatial[i], length) == 0);
        }
        h->vector = h->vector || !known;
        value += length;
    }
}

static tomo_status parse_encoding(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    h->has_encoding = true;
    h->gzip = strcasecmp(value, "gzip") == 0 || strcasecmp(value, "gz") == 0;
    if (h->gzip || strcasecmp(value, "raw") == 0) return TOMO_OK;
    return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: encoding \"%.60s\" is not read; raw or gzip is wanted",
                     reader->name, value);
}

static tomo_status parse_data_file(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    if (strncmp(value, "LIST", 4) == 0 || strchr(value, '%') != NULL) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: voxels spread over several files are not read",
                         reader->name);
    }
    if (value[0] == '/' || strstr(value, "..") != NULL || value[0] == '\0') {
        return tomo_fail(
            err, TOMO_E_HEADER,
            "%s: the data file \"%.60s\" lies elsewhere; a name in the header's own folder is wanted",
            reader->name, value);
    }
    (void)snprintf(h->data_file, sizeof h->data_file, "%s", value);
    return TOMO_OK;
}

static tomo_status parse_skip(const tomo_reader *reader, const char *field, const char *value, int64_t low,
                              int64_t *number, tomo_error *err) {
    const char *rest;
    if (parse_whole(value, &rest, number) && at_end(rest) && *number >= low) return TOMO_OK;
    return bad_field(reader, field, value, err);
}

static tomo_status parse_numbers(const tomo_reader *reader, const char *value, header *h, tomo_error *err) {
    const char *text = value;
    for (h->n_spacings = 0; !at_end(text); h->n_spacings++) {
        double number;
        if (!tomo_number_parse(text, &text, &number)) return bad_field(reader, "spacings", value, err);
        if (h->n_spacings < 3) h->spacings[h->n_spacings] = number;
    }
    return TOMO_OK;
}

static tomo_status parse_field(const tomo_reader *reader, const char *field, const char *value, header *h,
                               tomo_error *err) {
    if (strcmp(field, "type") == 0) return parse_type(reader, value, h, err);
    if (strcmp(field, "sizes") == 0) return parse_sizes(reader, value, h, err);
    if (strcmp(field, "dimension") == 0) return parse_skip(reader, field, value, 1, &h->dimension, err);
    if (strcmp(field, "space") == 0) return parse_space(reader, value, h, err);
    if (strcmp(field, "space directions") == 0) return parse_directions(reader, value, h, err);
    if (strcmp(field, "spacings") == 0) return parse_numbers(reader, value, h, err);
    if (strcmp(field, "encoding") == 0) return parse_encoding(reader, value, h, err);
    if (strcmp(field, "line skip") == 0 || strcmp(field, "lineskip") == 0) {
        return parse_skip(reader, field, value, 0, &h->line_skip, err);
    }
    if (strcmp(field, "byte skip") == 0 || strcmp(field, "byteskip") == 0) {
        return parse_skip(reader, field, value, -1, &h->byte_skip, err);
    }
    if (strcmp(field, "data file") == 0 || strcmp(field, "datafile") == 0) {
        return parse_data_file(reader, value, h, err);
    }
    if (strcmp(field, "kinds") == 0) {
        parse_kinds(value, h);
    } else if (strcmp(field, "endian") == 0) {
        h->has_endian = true;
        h->format.big_endian = strcasecmp(value, "big") == 0;
        if (!h->format.big_endian && strcasecmp(value, "little") != 0)
            return bad_field(reader, field, value, err);
    } else if (strcmp(field, "space origin") == 0) {
        const char *rest = parse_vector(value, h->origin);
        if (rest == NULL || !at_end(rest)) return bad_field(reader, field, value, err);
    }
    return TOMO_OK; /* other fields do not change what is read */
}

/* One line without its end; false: the input ended before. */
static tomo_status read_line(const tomo_reader *reader, tomo_source *source, char line[LINE_MOST],
                             bool *ended, tomo_error *err) {
    size_t length = 0, got = 0;
    for (;;) {
        char c;
        tomo_status status = tomo_source_read_some(source, &c, 1, &got, err);
        if (status != TOMO_OK) return status;
        *ended = got == 0;
        if (got == 0 || c == '\n') break;
        if (length + 1 == LINE_MOST) {
            return tomo_fail(err, TOMO_E_HEADER, "%s: a header line of over %d bytes", reader->name,
                             LINE_MOST - 1);
        }
        line[length++] = c;
    }
    if (length > 0 && line[length - 1] == '\r') length--;
    line[length] = '\0';
    return TOMO_OK;
}

static tomo_status parse_line(const tomo_reader *reader, char *line, header *h, tomo_error *err) {
    char *colon = strchr(line, ':');
    if (line[0] == '#' || colon == NULL || colon[1] == '=') return TOMO_OK; /* comments, key:=value pairs */
    *colon = '\0';
    for (char *c = line; *c != '\0'; c++) *c = (char)tolower((unsigned char)*c);
    char *value = colon + 1;
    while (isspace((unsigned char)*value)) value++;
    size_t length = strlen(value);
    while (length > 0 && isspace((unsigned char)value[length - 1])) value[--length] = '\0';
    return parse_field(reader, line, value, h, err);
}

/* The header up to the blank line, or for a detached one to the end of the file. */
static tomo_status read_header(const tomo_reader *reader, tomo_source *source, header *h, tomo_error *err) {
    char line[LINE_MOST];
    bool ended = false;
    tomo_status status = read_line(reader, source, line, &ended, err);
    if (status != TOMO_OK) return status;
    if (strncmp(line, "NRRD000", 7) != 0) {
        return tomo_fail(err, TOMO_E_FORMAT, "%s: not an NRRD file: it does not start with NRRD000",
                         reader->name);
    }
    for (int i = 0; i < LINES_MOST; i++) {
        status = read_line(reader, source, line, &ended, err);
        if (status != TOMO_OK) return status;
        if (line[0] == '\0' && !ended) return TOMO_OK;
        if (line[0] != '\0') status = parse_line(reader, line, h, err);
        if (status != TOMO_OK) return status;
        if (ended) {
            if (h->data_file[0] != '\0') return TOMO_OK;
            return tomo_fail(err, TOMO_E_TRUNCATED, "%s: the header does not end; a blank line is wanted",
                             reader->name);
        }
    }
    return tomo_fail(err, TOMO_E_HEADER, "%s: a header of over %d lines", reader->name, LINES_MOST);
}

static tomo_status check_header(const tomo_reader *reader, const header *h, tomo_error *err) {
    if (!h->has_type || !h->has_encoding || h->dimension == 0 || h->n_sizes == 0) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: type, dimension, sizes or encoding is missing",
                         reader->name);
    }
    if (h->n_sizes != h->dimension) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: dimension %lld with %d sizes", reader->name,
                         (long long)h->dimension, h->n_sizes);
    }
    if (h->dimension != 3 || h->vector) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED,
                         "%s: %lld axes, not all of them of space; three spatial axes are wanted",
                         reader->name, (long long)h->dimension);
    }
    if (h->n_directions != 0 && h->n_directions != 3) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: %d space directions; 3 are wanted", reader->name,
                         h->n_directions);
    }
    if (tomo_voxel_size(h->format.type) > 1 && !h->has_endian) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: endian is missing; little or big is wanted", reader->name);
    }
    if (h->byte_skip < 0 && h->gzip) {
        return tomo_fail(err, TOMO_E_HEADER, "%s: byte skip -1 goes with the encoding raw only",
                         reader->name);
    }
    return TOMO_OK;
}

/* Without directions or space the axes are taken as x to Left, y to Posterior, z to Superior, as ITK does. */
static tomo_affine make_affine(tomo_reader *reader, const header *h) {
    tomo_affine a = tomo_affine_identity();
    for (int c = 0; c < 3; c++) {
        for (int r = 0; r < 3; r++) {
            if (h->n_directions == 3) a.m[r][c] = h->directions[c][r];
        }
        if (h->n_directions == 0 && h->n_spacings == 3 && isfinite(h->spacings[c])) {
            a.m[c][c] = fabs(h->spacings[c]);
        } else if (h->n_directions == 0) {
            reader->volume->spacing_unknown = true;
        }
        a.m[c][3] = h->origin[c];
    }
    if (h->n_directions == 0 || h->space == SPACE_NONE) {
        tomo_volume_warn(reader->volume, "W_NO_ORIENTATION",
                         "the file has no orientation; x is taken as Left, y as Posterior, z as Superior");
    }
    if (h->space == SPACE_NONE || h->space == SPACE_LPS) tomo_affine_flip_lps(&a);
    if (h->space == SPACE_LAS) {
        for (int c = 0; c < 4; c++) a.m[0][c] = -a.m[0][c];
    }
    return a;
}

static tomo_status read_voxels(tomo_reader *reader, const header *h, const unsigned char *bytes, size_t size,
                               tomo_error *err) {
    tomo_source *source = NULL;
    tomo_placement placement;
    tomo_affine affine = make_affine(reader, h);
    size_t element = tomo_voxel_size(h->format.type);
    int64_t voxels = 0;
    for (int64_t i = 0; i < h->line_skip; i++) { /* lines are skipped before decoding, bytes after */
        const unsigned char *end = size == 0 ? NULL : memchr(bytes, '\n', size);
        if (end == NULL)
            return tomo_fail(err, TOMO_E_TRUNCATED, "%s: line skip is past the end", reader->name);
        size -= (size_t)(end + 1 - bytes);
        bytes = end + 1;
    }
    tomo_status status = tomo_source_open(reader->name, bytes, size, h->gzip,
                                          reader->options.limits.expanded_bytes, &source, err);
    if (status == TOMO_OK)
        status = tomo_reader_check_size(reader, h->sizes, element, tomo_source_most(source), err);
    if (status == TOMO_OK) status = tomo_reader_place(reader, h->sizes, &affine, &placement, err);
    if (status == TOMO_OK) {
        (void)tomo_shape_count(h->sizes, 3,
                               &voxels); /* checked above; so is that this many bytes are there */
        int64_t skip = h->byte_skip >= 0 ? h->byte_skip : (int64_t)size - voxels * (int64_t)element;
        status = tomo_source_skip(source, skip, err);
    }
    if (status == TOMO_OK) status = tomo_reader_fill(reader, &placement, &h->format, source, err);
    if (status == TOMO_OK) status = tomo_reader_finish(reader, source, err);
    tomo_source_free(source);
    return status;
}

static tomo_status read_detached(tomo_reader *reader, const header *h, tomo_error *err) {
    if (reader->path == NULL) {
        return tomo_fail(err, TOMO_E_UNSUPPORTED, "%s: a header whose voxels are in another file",
                         reader->name);
    }
    const char *slash = strrchr(reader->path, '/');
    char *folder = slash == NULL ? strdup(".") : strndup(reader->path, (size_t)(slash - reader->path) + 1);
    char *path = folder == NULL ? NULL : tomo_path_join(folder, h->data_file);
    tomo_map map = {0};
    tomo_status status =
        path == NULL ? tomo_fail_memory(err, reader->name, LINE_MOST) : tomo_map_open(path, &map, err);
    if (status == TOMO_OK) status = read_voxels(reader, h, map.data, map.size, err);
    tomo_map_close(&map);
    free(path);
    free(folder);
    return status;
}

tomo_status tomo_nrrd_read(tomo_reader *reader, const unsigned char *bytes, size_t size, tomo_error *err) {
    tomo_source *source = NULL;
    header h = {0};
    tomo_status status = tomo_source_open(reader->name, bytes, size, false, 0, &source, err);
    if (status == TOMO_OK) status = read_header(reader, source, &h, err);
    if (status == TOMO_OK) status = check_header(reader, &h, err);
    if (status == TOMO_OK) {
        tomo_reader_note(reader, "kind", "NRRD");
        tomo_reader_note(reader, "stored_type", tomo_voxel_type_name(h.format.type));
        tomo_reader_note(reader, "encoding", h.gzip ? "gzip" : "raw");
        size_t header_bytes = size - (size_t)tomo_source_most(source);
        status = h.data_file[0] != '\0'
                     ? read_detached(reader, &h, err)
                     : read_voxels(reader, &h, bytes + header_bytes, size - header_bytes, err);
    }
    tomo_source_free(source);
    return status;
}
