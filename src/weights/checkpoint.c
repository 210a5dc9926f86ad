/* Which file of a folder is the checkpoint, and which reader its content asks for. */
#include "weights/store.h"

#include "base/size.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static uint64_t little_endian_u64(const unsigned char *bytes) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | bytes[i];
    return value;
}

static bool starts_with(const unsigned char *bytes, size_t size, const char *text) {
    size_t length = strlen(text);
    return size >= length && memcmp(bytes, text, length) == 0;
}

static tomo_status not_a_checkpoint(const char *file, const unsigned char *bytes, size_t size,
                                    tomo_error *err) {
    if (size == 0) return tomo_fail(err, TOMO_E_TRUNCATED, "%s: empty; a checkpoint is wanted", file);
    if (starts_with(bytes, size, "version https://git-lfs")) {
        return tomo_fail(err, TOMO_E_FORMAT,
                         "%s: a Git LFS pointer, not the file itself; fetch it with \"git lfs pull\"", file);
    }
    return tomo_fail(err, TOMO_E_FORMAT, "%s: no checkpoint; safetensors, PyTorch .bin or GGUF is wanted",
                     file);
}

tomo_status tomo_store_read(tomo_checkpoint *c, const char *file, const unsigned char *bytes, size_t size,
                            tomo_error *err) {
    size_t twice = 0;
    if (!tomo_size_mul(size, 2, &twice) || !tomo_size_add(c->copy_limit, twice, &c->copy_limit)) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: %zu bytes; fewer are wanted", file, size);
    }
    /* The length of a safetensors header cannot begin like a zip or a pickle: it would be far too long. */
    if (starts_with(bytes, size, "GGUF")) return tomo_gguf_read(c, file, bytes, size, err);
    if (starts_with(bytes, size, "PK\003\004")) return tomo_torch_zip_read(c, file, bytes, size, err);
    bool header = size > 8 && bytes[8] == '{';
    if (header && little_endian_u64(bytes) <= (uint64_t)TOMO_LIMIT_TENSOR_HEADER_BYTES) {
        return tomo_safetensors_read(c, file, bytes, size, err);
    }
    if (size > 2 && bytes[0] == 0x80 && bytes[1] >= 2 && bytes[1] <= 5) {
        return tomo_torch_legacy_read(c, file, bytes, size, err);
    }
    if (header) return tomo_safetensors_read(c, file, bytes, size, err); /* says what is wrong */
    return not_a_checkpoint(file, bytes, size, err);
}

static tomo_status read_file(tomo_checkpoint *c, const char *file, tomo_error *err) {
    if (tomo_ends_with(file, ".index.json")) return tomo_shards_read(c, file, err);
    tomo_map map = {0};
    tomo_status status = tomo_store_map(c, file, &map, err);
    if (status == TOMO_OK) status = tomo_store_read(c, file, map.data, map.size, err);
    if (status == TOMO_OK) status = tomo_store_finish(c, file, err);
    return status;
}

/* In the order of preference: what runs nothing when read comes first. */
static const char *const known_names[] = {
    "model.safetensors",           "model.safetensors.index.json",
    "open_clip_model.safetensors", "open_clip_pytorch_model.bin",
    "pytorch_model.bin",           "pytorch_model.bin.index.json",
};

static tomo_status read_folder(tomo_checkpoint *c, const char *folder, tomo_error *err) {
    for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++) {
        char *file = tomo_path_join(folder, known_names[i]);
        if (file == NULL) return tomo_fail_memory(err, folder, strlen(folder));
        bool exists = tomo_path_exists(file);
        tomo_status status = exists ? read_file(c, file, err) : TOMO_OK;
        free(file);
        if (exists) return status;
    }
    return tomo_fail(err, TOMO_E_IO,
                     "%s: no checkpoint in this folder; model.safetensors, pytorch_model.bin or their "
                     "index.json is wanted",
                     folder);
}

tomo_status tomo_checkpoint_open(const char *path, tomo_checkpoint **checkpoint, tomo_error *err) {
    tomo_checkpoint *c = NULL;
    tomo_status status = tomo_store_create(path, &c, err);
    *checkpoint = NULL;
    if (status != TOMO_OK) return status;
    status = tomo_path_is_folder(path) ? read_folder(c, path, err) : read_file(c, path, err);
    if (status != TOMO_OK) {
        tomo_checkpoint_free(c);
        return status;
    }
    *checkpoint = c;
    return TOMO_OK;
}

tomo_status tomo_checkpoint_open_memory(const char *name, const void *bytes, size_t size,
                                        tomo_checkpoint **checkpoint, tomo_error *err) {
    tomo_checkpoint *c = NULL;
    tomo_status status = tomo_store_create(name, &c, err);
    *checkpoint = NULL;
    if (status != TOMO_OK) return status;
    status = tomo_store_read(c, name, bytes, size, err);
    if (status == TOMO_OK) status = tomo_store_finish(c, name, err);
    if (status != TOMO_OK) {
        tomo_checkpoint_free(c);
        return status;
    }
    *checkpoint = c;
    return TOMO_OK;
}
