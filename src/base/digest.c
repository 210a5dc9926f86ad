#include "base/digest.h"

#include "base/file.h"
#include "base/limits.h"

#include <dirent.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

struct tomo_digest {
    EVP_MD_CTX *context, *copy; /* copy: what is ended while the digest goes on */
};

tomo_status tomo_digest_create(tomo_digest **digest, tomo_error *err) {
    tomo_digest *d = calloc(1, sizeof *d);
    *digest = NULL;
    if (d == NULL) return tomo_fail_memory(err, "SHA-256", sizeof *d);
    d->context = EVP_MD_CTX_new();
    d->copy = EVP_MD_CTX_new();
    if (d->context == NULL || d->copy == NULL || EVP_DigestInit_ex(d->context, EVP_sha256(), NULL) != 1) {
        tomo_digest_free(d);
        return tomo_fail(err, TOMO_E_INTERNAL, "libcrypto offers no SHA-256");
    }
    *digest = d;
    return TOMO_OK;
}

void tomo_digest_free(tomo_digest *digest) {
    if (digest == NULL) return;
    EVP_MD_CTX_free(digest->context);
    EVP_MD_CTX_free(digest->copy);
    free(digest);
}

void tomo_digest_add(tomo_digest *digest, const void *bytes, size_t size) {
    if (size > 0) (void)EVP_DigestUpdate(digest->context, bytes, size);
}

void tomo_digest_add_text(tomo_digest *digest, const char *text) {
    tomo_digest_add(digest, text, strlen(text) + 1);
}

void tomo_digest_bytes(const tomo_digest *digest, unsigned char bytes[TOMO_DIGEST_BYTES]) {
    unsigned size = 0;
    (void)EVP_MD_CTX_copy_ex(digest->copy, digest->context);
    (void)EVP_DigestFinal_ex(digest->copy, bytes, &size);
}

void tomo_digest_text(const tomo_digest *digest, char text[TOMO_DIGEST_TEXT]) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[TOMO_DIGEST_BYTES] = {0};
    tomo_digest_bytes(digest, bytes);
    for (int i = 0; i < TOMO_DIGEST_BYTES; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[TOMO_DIGEST_TEXT - 1] = '\0';
}

/* ------------------------------------------------------------------------------ files */

static tomo_status add_file(tomo_digest *digest, const char *path, tomo_error *err) {
    tomo_map map;
    tomo_status status = tomo_map_open(path, &map, err);
    if (status != TOMO_OK) return status;
    tomo_digest_add(digest, map.data, map.size);
    tomo_map_close(&map);
    return TOMO_OK;
}

static int skip_dots(const struct dirent *entry) {
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

/* By bytes: alphasort asks the locale. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static tomo_status add_path(tomo_digest *digest, const char *path, int depth, tomo_error *err);

static tomo_status add_folder(tomo_digest *digest, const char *path, int depth, tomo_error *err) {
    struct dirent **entries = NULL;
    if (depth == TOMO_LIMIT_FOLDER_DEPTH) {
        return tomo_fail(err, TOMO_E_LIMIT, "%s: more than %d folders deep", path, depth);
    }
    int count = scandir(path, &entries, skip_dots, by_name);
    if (count < 0) return tomo_fail_errno(err, path, "open");
    tomo_status status = TOMO_OK;
    for (int i = 0; i < count; i++) {
        char *below = status == TOMO_OK ? tomo_path_join(path, entries[i]->d_name) : NULL;
        if (status == TOMO_OK && below == NULL) status = tomo_fail_memory(err, path, 0);
        if (status == TOMO_OK) {
            tomo_digest_add_text(digest, entries[i]->d_name);
            status = add_path(digest, below, depth + 1, err);
        }
        free(below);
        free(entries[i]);
    }
    free(entries);
    return status;
}

static tomo_status add_path(tomo_digest *digest, const char *path, int depth, tomo_error *err) {
    return tomo_path_is_folder(path) ? add_folder(digest, path, depth, err) : add_file(digest, path, err);
}

tomo_status tomo_digest_add_path(tomo_digest *digest, const char *path, tomo_error *err) {
    return add_path(digest, path, 0, err);
}
