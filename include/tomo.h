/* tomo.h - the one public header of libtomo.
 *
 * Tomoscribe reads a 3D CT or MR scan with a frozen 2D encoder and writes a report about it or answers
 * questions. It is for research, not for diagnosis.
 */
#ifndef TOMO_H
#define TOMO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define TOMO_API __attribute__((visibility("default")))
#else
#define TOMO_API
#endif

#define TOMO_VERSION_MAJOR 0
#define TOMO_VERSION_MINOR 1
#define TOMO_VERSION_PATCH 0

/* ------------------------------------------------------------------ status and messages */

/* What a call ended with. Everything from TOMO_E_FORMAT to TOMO_E_NO_IMAGE means that the input was
 * refused: the same file will be refused again. */
typedef enum tomo_status {
    TOMO_OK = 0,
    TOMO_E_USAGE,       /* an argument makes no sense; a bug of the caller */
    TOMO_E_IO,          /* the operating system refused to open, read or write */
    TOMO_E_MEMORY,      /* out of memory */
    TOMO_E_CANCELLED,   /* a callback asked to stop */
    TOMO_E_INTERNAL,    /* a library below reported something that cannot happen */
    TOMO_E_FORMAT,      /* not such a file, or its structure is broken */
    TOMO_E_HEADER,      /* a field of the file makes no sense */
    TOMO_E_TRUNCATED,   /* the data end early */
    TOMO_E_LIMIT,       /* asks for more than a limit of src/base/limits.h allows */
    TOMO_E_UNSUPPORTED, /* valid, but not read by this version */
    TOMO_E_DECODE,      /* compressed data could not be decoded */
    TOMO_E_NO_IMAGE     /* no image in the file, folder or zip */
} tomo_status;

#define TOMO_MESSAGE_SIZE 512

/* Owned by the caller; filled when a call fails, untouched when it succeeds. The message is one line,
 * "FILE: what is wrong; what would be right". Every function that takes one accepts NULL. */
typedef struct tomo_error {
    tomo_status status;
    char message[TOMO_MESSAGE_SIZE];
} tomo_error;

/* "E_FORMAT" and so on; never NULL. */
TOMO_API const char *tomo_status_name(tomo_status status);

/* ------------------------------------------------------------------ callbacks */

typedef enum tomo_log_level { TOMO_LOG_DEBUG, TOMO_LOG_INFO, TOMO_LOG_WARNING } tomo_log_level;

/* Gets one line of text without a line feed. */
typedef void (*tomo_log_fn)(void *user, tomo_log_level level, const char *text);

/* Gets how far a stage is (`total` 0: unknown) and returns whether to go on; false ends the call with
 * TOMO_E_CANCELLED, and nothing half-written is left. */
typedef bool (*tomo_progress_fn)(void *user, const char *stage, int64_t done, int64_t total);

#ifdef __cplusplus
}
#endif

#endif
