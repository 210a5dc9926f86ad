/* dicom.h - a phantom as a DICOM series: CT images, explicit little endian, without compression. */
#ifndef TOMO_PHANTOM_DICOM_H
#define TOMO_PHANTOM_DICOM_H

#include "phantom/render.h"

/* Writes folder/0001.dcm (the lowest slice) and so on; the folder must exist. UIDs are made from the seed and
 * lie below 2.25 (a UUID as one number, PS3.5 B.2); `name` becomes the patient's name and id. */
tomo_status tomo_dicom_write(const tomo_render *render, uint64_t seed, const char *name, const char *folder,
                             tomo_error *err);

#endif
