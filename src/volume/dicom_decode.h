/* dicom_decode.h - compressed pixels, decoded in a child process.
 *
 * GDCM's codecs end the process on many damaged streams (assertions are on in Debian's build, and old C++
 * writes where it should not), and its libjpeg complains on stderr. In a child neither reaches the program:
 * what goes wrong there is a file that cannot be decoded. The child gets the fragments through a socket,
 * writes pixels into shared memory and touches nothing else. One child serves a whole scan, since GDCM takes
 * a while to start; it is started with the first request and anew after one that ended it. */
#ifndef TOMO_VOLUME_DICOM_DECODE_H
#define TOMO_VOLUME_DICOM_DECODE_H

#include "base/status.h"
#include "volume/gdcm_shim.h"

#include <sys/types.h>

/* Start with {.most_pixels = N}, the largest number of pixels of one file. One thread at a time. */
typedef struct tomo_dicom_decoder {
    size_t most_pixels;
    pid_t child; /* 0: none is running */
    int socket;
    unsigned char *shared;
    size_t shared_size;
} tomo_dicom_decoder;

/* Pixels of all frames in the host's byte order, valid until the next call. */
typedef struct tomo_dicom_decoded {
    const unsigned char *bytes;
    size_t element; /* bytes of one pixel: 1, 2, 4 */
} tomo_dicom_decoded;

/* `count` pixels are wanted. A stream that cannot be decoded, or gives fewer: TOMO_E_DECODE. */
tomo_status tomo_dicom_decode(tomo_dicom_decoder *decoder, const char *name, const tomo_gdcm_image *image,
                              const unsigned char *fragments, size_t size, size_t count,
                              tomo_dicom_decoded *decoded, tomo_error *err);
/* Ends the child and frees what the decoder holds. */
void tomo_dicom_decoder_close(tomo_dicom_decoder *decoder);

#endif
