/* folder.h - folders that are written as a whole. */
#ifndef TOMO_BASE_FOLDER_H
#define TOMO_BASE_FOLDER_H

#include "base/hooks.h"
#include "base/json.h"

/* Makes a folder and those above it, where they are missing. */
tomo_status tomo_make_folders(const char *path, tomo_error *err);
/* Removes a folder with all in it, if it is there. */
void tomo_folder_remove(const char *path);
/* Waits until the disk has what was written into the folder (and whatever else its file system had to
 * write). */
tomo_status tomo_folder_sync(const char *path, tomo_error *err);
/* Renames `part` to `folder` and removes what was there; on failure that stays. */
tomo_status tomo_folder_replace(const char *part, const char *folder, tomo_error *err);

/* Writes folder/name, atomically: a text, or a JSON document as text. */
tomo_status tomo_folder_write(const char *folder, const char *name, const char *text, tomo_error *err);
tomo_status tomo_json_write(const cJSON *root, const char *folder, const char *name, tomo_error *err);

/* Links (hard) or copies the regular files of `from` to the folder `to`, which is made; weights are left out
 * (*.safetensors, *.bin and their indices) unless `weights`. */
tomo_status tomo_folder_link(const char *from, const char *to, bool weights, tomo_error *err);
/* Links (hard) or copies one file. */
tomo_status tomo_file_link(const char *from, const char *to, tomo_error *err);
/* Copies one file, whole or not at all. hooks: as tomo_folder_copy. */
tomo_status tomo_file_copy(const char *from, const char *to, const tomo_hooks *hooks, tomo_error *err);
/* Copies the regular files of `from` to the folder `to`, which is made; sub-folders are left out. hooks: is
 * told how far it is and may stop it, or NULL. */
tomo_status tomo_folder_copy(const char *from, const char *to, const tomo_hooks *hooks, tomo_error *err);

#endif
