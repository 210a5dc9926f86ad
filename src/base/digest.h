/* digest.h - SHA-256 (FIPS 180-4; libcrypto does the work) of bytes, files and folders, for content hashes.
 */
#ifndef TOMO_BASE_DIGEST_H
#define TOMO_BASE_DIGEST_H

#include "base/status.h"

#define TOMO_DIGEST_BYTES 32
/* 64 hexadecimal digits and '\0'. */
#define TOMO_DIGEST_TEXT 65

typedef struct tomo_digest tomo_digest;

tomo_status tomo_digest_create(tomo_digest **digest, tomo_error *err);
void tomo_digest_free(tomo_digest *digest);
void tomo_digest_add(tomo_digest *digest, const void *bytes, size_t size);
/* With its '\0', so that two texts are not one when they are joined. */
void tomo_digest_add_text(tomo_digest *digest, const char *text);
/* The content of a file; of a folder the names and contents of all files below it, in order of their names.
 */
tomo_status tomo_digest_add_path(tomo_digest *digest, const char *path, tomo_error *err);
/* What was added so far; the digest may go on. */
void tomo_digest_bytes(const tomo_digest *digest, unsigned char bytes[TOMO_DIGEST_BYTES]);
void tomo_digest_text(const tomo_digest *digest, char text[TOMO_DIGEST_TEXT]);

#endif
