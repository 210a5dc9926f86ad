/* dicom_files.h - the files of a folder, of a zip, or one file in memory, opened one after the other.
 *
 * Nothing is written to disk: zip entries are expanded in memory, and their names are never used as paths.
 * Folders are searched below each other; each folder is entered once, so that links cannot lead in circles.
 */
#ifndef TOMO_VOLUME_DICOM_FILES_H
#define TOMO_VOLUME_DICOM_FILES_H

#include "base/file.h"
#include "volume/reader.h"

typedef struct tomo_dicom_files tomo_dicom_files;

tomo_status tomo_dicom_files_folder(const tomo_reader *reader, const char *path, tomo_dicom_files **files,
                                    tomo_error *err);
/* The bytes belong to the caller and outlive the list. */
tomo_status tomo_dicom_files_zip(const tomo_reader *reader, const unsigned char *bytes, size_t size,
                                 tomo_dicom_files **files, tomo_error *err);
tomo_status tomo_dicom_files_memory(const tomo_reader *reader, const unsigned char *bytes, size_t size,
                                    tomo_dicom_files **files, tomo_error *err);
void tomo_dicom_files_free(tomo_dicom_files *files);

int64_t tomo_dicom_files_count(const tomo_dicom_files *files);
/* "folder", "zip" or "file". */
const char *tomo_dicom_files_kind(const tomo_dicom_files *files);

/* Which file that is, for messages: "file 17 of the folder", with options.log_phi its path. Empty where there
 * is only one. */
void tomo_dicom_files_describe(const tomo_dicom_files *files, int64_t i, char *text, size_t size);

/* The content of one file. data is NULL when it is no DICOM file; one that cannot be read is a failure, as it
 * may be a slice. */
typedef struct tomo_dicom_content {
    const unsigned char *data;
    size_t size;
    tomo_map map;
    unsigned char *owned;
} tomo_dicom_content;

tomo_status tomo_dicom_content_open(tomo_dicom_files *files, int64_t i, tomo_dicom_content *content,
                                    tomo_error *err);
void tomo_dicom_content_close(tomo_dicom_content *content);

#endif
